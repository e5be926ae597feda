//! The bytes of a value.
//!
//! ```text
//! header    magic (4 bytes), format (u32), program's version, key, token of S, token of V, how the answer is packed
//! payload   the answer, with its length before it
//! end       checksum of all before it (u64)
//! ```
//!
//! S is the state at which the answer was loaded, V a state at which a node knew it to be true; both in one epoch. Nothing is allocated by
//! a length that was read, and nothing that was read makes a panic.

use std::io::Read as _;

use ci_model::{Epoch, Key, Token, Version};

use super::stats::TierOutcome as Outcome;
use crate::Reply;
use crate::encoding::bytes::{Reader, Writer};
use crate::encoding::{PROGRAM, answer, checksum};

const MAGIC: [u8; 4] = *b"CIT\x1A";
/// Raised with every change of the layout, of a key's or of an answer's.
const FORMAT: u32 = 1;
/// An answer of so many bytes or more is compressed.
const COMPRESSED_FROM: usize = 1 << 10;
/// Quick rather than small: it is done in the way of a miss at the other end.
const LEVEL: i32 = 1;
/// The largest answer that is shared, in bytes before it is compressed.
const MOST: usize = 4 << 20;
/// The memory for which a compressed answer may ask, as a power of two.
const WINDOW: u32 = 22;

/// Which states an answer is true at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct States {
    pub(super) epoch: u64,
    /// Where it was loaded.
    pub(super) loaded: Version,
    /// Where it was known to be true last.
    pub(super) valid: Version,
}

/// Writes a value; none for an answer that is too large to be shared.
pub(super) fn encode(key: &Key, states: &States, reply: &Reply) -> Option<Vec<u8>> {
    let mut body = Writer::default();
    answer::write(&mut body, reply);
    if body.0.len() > MOST {
        return None;
    }
    let packed = (body.0.len() >= COMPRESSED_FROM)
        .then(|| zstd::bulk::compress(&body.0, LEVEL).ok())
        .flatten()
        .filter(|packed| packed.len() < body.0.len());
    let mut to = Writer::default();
    to.0.extend_from_slice(&MAGIC);
    to.0.extend_from_slice(&FORMAT.to_le_bytes());
    to.text(PROGRAM);
    to.bytes(key.as_bytes());
    for version in [&states.loaded, &states.valid] {
        let token = Token {
            epoch: Epoch(states.epoch),
            version: version.clone(),
        };
        to.text(&token.to_string());
    }
    to.flag(packed.is_some());
    to.bytes(packed.as_deref().unwrap_or(&body.0));
    let sum = checksum(&to.0);
    to.number(sum);
    Some(to.0)
}

/// A value whose header was read.
#[derive(Debug)]
pub(super) struct Opened<'a> {
    pub(super) key: &'a [u8],
    pub(super) states: States,
    compressed: bool,
    payload: &'a [u8],
}

/// Checks a value as a whole and reads its header.
///
/// # Errors
/// [`Outcome::Format`] for one of another format or program, [`Outcome::Corrupt`] for everything else.
pub(super) fn open(bytes: &[u8]) -> Result<Opened<'_>, Outcome> {
    let mut head = Reader(bytes);
    if head.array() != Some(MAGIC) {
        return Err(Outcome::Corrupt);
    }
    // Before the checksum: another format may have another.
    let format = head.array().map(u32::from_le_bytes).ok_or(Outcome::Corrupt)?;
    if format != FORMAT {
        return Err(Outcome::Format);
    }
    let (body, sum) = bytes.split_last_chunk::<8>().ok_or(Outcome::Corrupt)?;
    if checksum(body) != u64::from_le_bytes(*sum) {
        return Err(Outcome::Corrupt);
    }
    let rest = body.get(MAGIC.len() + size_of::<u32>()..);
    let mut from = Reader(rest.ok_or(Outcome::Corrupt)?);
    if from.text().ok_or(Outcome::Corrupt)? != PROGRAM {
        return Err(Outcome::Format);
    }
    header(&mut from).ok_or(Outcome::Corrupt)
}

fn header<'a>(from: &mut Reader<'a>) -> Option<Opened<'a>> {
    let key = from.bytes()?;
    let loaded: Token = from.text()?.parse().ok()?;
    let valid: Token = from.text()?.parse().ok()?;
    let (compressed, payload) = (from.flag()?, from.bytes()?);
    let whole = from.0.is_empty() && loaded.epoch == valid.epoch;
    whole.then_some(Opened {
        key,
        states: States {
            epoch: valid.epoch.0,
            loaded: loaded.version,
            valid: valid.version,
        },
        compressed,
        payload,
    })
}

impl Opened<'_> {
    /// Reads the answer.
    ///
    /// # Errors
    /// [`Outcome::Corrupt`].
    pub(super) fn answer(&self) -> Result<Reply, Outcome> {
        let unpacked;
        let body = if self.compressed {
            unpacked = unpack(self.payload).ok_or(Outcome::Corrupt)?;
            &unpacked
        } else {
            self.payload
        };
        let mut from = Reader(body);
        let reply = answer::read(&mut from).filter(|_| from.0.is_empty());
        reply.ok_or(Outcome::Corrupt)
    }
}

fn unpack(packed: &[u8]) -> Option<Vec<u8>> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).ok()?;
    decoder.window_log_max(WINDOW).ok()?;
    let mut body = Vec::new();
    let most = MOST as u64 + 1;
    decoder.take(most).read_to_end(&mut body).ok()?;
    (body.len() <= MOST).then_some(body)
}

/// Reads any bytes as a value, for the fuzzer: says whether they are one. It reads past a wrong checksum too, so that what is behind it is
/// reached.
#[doc(hidden)]
pub fn inspect(bytes: &[u8]) -> bool {
    let blind = header(&mut Reader(bytes)).map(|opened| opened.answer().is_ok());
    let read = open(bytes).and_then(|opened| opened.answer());
    blind.is_some_and(|whole| whole) || read.is_ok()
}

/// Breaks a rule of reading by its name, for the fuzzer to notice; says whether there is one.
#[cfg(fuzzing)]
pub fn plant(name: &str) -> bool {
    let known = name == "TrustsCounts";
    crate::encoding::bytes::TRUSTS_COUNTS.store(known, std::sync::atomic::Ordering::Relaxed);
    known
}

#[cfg(test)]
mod tests {
    use super::*;
    use ci_model::{CiCode, CiId, CiSummary, Question, Search, TenantId};

    fn key() -> Key {
        let question: Question = Search::builder().keyword("erp").build().unwrap().into();
        Key::new(&TenantId::new("acme").unwrap(), &question)
    }

    fn states() -> States {
        let version = |text: &str| Version::Snapshot(text.parse().unwrap());
        States {
            epoch: 7,
            loaded: version("10:15:10,12"),
            valid: version("20:25:21"),
        }
    }

    fn rows(count: u128) -> Reply {
        let row = |number| CiSummary {
            ci_id: CiId(uuid::Uuid::from_u128(number)),
            ci_code: CiCode::new(format!("srv-{number}")).unwrap(),
            ci_name: "Ümlaut 😀".into(),
            ci_type: "HW".into(),
            ci_subtype: None,
            ci_category: None,
            status: Some("active".into()),
            location: None,
            owner: None,
        };
        Reply::Rows((0..count).map(row).collect())
    }

    fn sealed(mut body: Vec<u8>) -> Vec<u8> {
        let sum = checksum(&body);
        body.extend_from_slice(&sum.to_le_bytes());
        body
    }

    #[test]
    fn what_was_written_is_read() {
        for (count, compressed) in [(0, false), (3, false), (200, true)] {
            let bytes = encode(&key(), &states(), &rows(count)).unwrap();
            let opened = open(&bytes).unwrap();
            assert_eq!((opened.key, &opened.states), (key().as_bytes(), &states()));
            assert_eq!(opened.compressed, compressed);
            assert_eq!(opened.answer().unwrap(), rows(count));
            assert!(inspect(&bytes));
        }
        let (few, many) = (rows(200), rows(400_000));
        let bytes = encode(&key(), &states(), &few).unwrap();
        assert!(bytes.len() < 8_000, "{} bytes", bytes.len());
        assert_eq!(encode(&key(), &states(), &many), None, "too large to be shared");
    }

    #[test]
    fn whatever_is_damaged_is_refused() {
        for count in [1, 40] {
            let whole = encode(&key(), &states(), &rows(count)).unwrap();
            for end in 0..whole.len() {
                assert!(open(&whole[..end]).is_err(), "cut at {end}");
            }
            for bit in 0..whole.len() * 8 {
                let mut other = whole.clone();
                other[bit / 8] ^= 1 << (bit % 8);
                assert!(open(&other).is_err(), "bit {bit}");
            }
        }
    }

    #[test]
    fn another_format_and_another_program_are_told_apart() {
        let whole = encode(&key(), &states(), &rows(1)).unwrap();
        let mut newer = whole.clone();
        newer[4] = 2;
        assert_eq!(open(&newer).unwrap_err(), Outcome::Format);
        let mut other = whole[..whole.len() - 8].to_vec();
        // The version begins after magic, format and its length.
        other[12] ^= 1;
        assert_eq!(open(&sealed(other)).unwrap_err(), Outcome::Format);
        assert_eq!(open(b"").unwrap_err(), Outcome::Corrupt);
    }

    /// Behind a checksum that fits: lengths and counts that were never written ask for no memory and end in a refusal or another answer.
    #[test]
    fn what_was_never_written_makes_no_panic() {
        for count in [2, 40] {
            let whole = encode(&key(), &states(), &rows(count)).unwrap();
            let body = &whole[..whole.len() - 8];
            for at in 8..body.len() {
                for byte in [0, 1, 0x7F, 0xFF] {
                    let mut other = body.to_vec();
                    other[at] = byte;
                    let other = sealed(other);
                    drop(open(&other).and_then(|opened| opened.answer()));
                }
            }
        }
    }

    /// The inputs that `cargo xtask check fuzz` begins with; `CI_CACHE_REGENERATE=1` writes them anew.
    #[test]
    fn the_inputs_of_the_fuzzer_are_values() {
        const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/corpus/tier.txt");
        use std::fmt::Write as _;
        let mut text =
            "# Values of the shared tier in hexadecimal; crates/ci-runner/src/tier/value.rs writes them\n"
                .to_owned();
        for reply in [rows(1), rows(40), Reply::Ci(None)] {
            let whole = encode(&key(), &states(), &reply).unwrap();
            // With its header, and from the key on, as the fuzzer reads it past a checksum.
            for input in [&whole[..], &whole[12 + PROGRAM.len()..whole.len() - 8]] {
                assert!(inspect(input));
                input.iter().for_each(|byte| write!(text, "{byte:02x}").unwrap());
                text.push('\n');
            }
        }
        if std::env::var_os("CI_CACHE_REGENERATE").is_some() {
            std::fs::write(FILE, &text).unwrap();
        }
        assert!(
            std::fs::read_to_string(FILE).unwrap() == text,
            "run this test with CI_CACHE_REGENERATE=1"
        );
    }

    #[test]
    fn an_answer_that_unpacks_without_end_is_refused() {
        let zeros = vec![0_u8; MOST + 2];
        let packed = zstd::bulk::compress(&zeros, LEVEL).unwrap();
        assert!(packed.len() < 10_000);
        assert_eq!(unpack(&packed), None);
        assert_eq!(unpack(&packed[..packed.len() / 2]), None);
        assert_eq!(unpack(b"no such thing"), None);
    }
}
