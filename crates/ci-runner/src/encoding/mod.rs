//! Answers as bytes: one encoding for the warm file and for the shared tier.
//!
//! - `answer.rs`: the bytes of an answer.
//! - `bytes.rs`: numbers and texts.

pub(crate) mod answer;
pub(crate) mod bytes;

/// What wrote them. The bytes hold answers, and what a question means is the program's: another version may fold, rank or follow
/// relations otherwise.
pub(crate) const PROGRAM: &str = env!("CARGO_PKG_VERSION");

/// Mixes word after word by steps that can be undone, so any change within one word changes the sum for certain.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    let mut sum = bytes.len() as u64;
    for chunk in bytes.chunks(8) {
        let mut word = [0; 8];
        word.iter_mut().zip(chunk).for_each(|(to, from)| *to = *from);
        sum = (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        sum ^= sum >> 32;
    }
    sum
}
