//! Opaque texts that callers keep and give back: bytes with a checksum, in hexadecimal.

use std::fmt;

/// Bytes whose digits are written at once: every answer over HTTP has a token, and a formatter call for each byte is most of its cost.
const AT_ONCE: usize = 32;

/// Writes bytes and their checksum.
pub(crate) fn write(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let sum = checksum(bytes).to_le_bytes();
    bytes
        .chunks(AT_ONCE)
        .chain([&sum[..]])
        .try_for_each(|part| write_digits(f, part))
}

/// Writes at most [`AT_ONCE`] bytes as hexadecimal digits.
fn write_digits(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut digits = [0; 2 * AT_ONCE];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    let written = digits.get(..2 * bytes.len()).unwrap_or_default();
    f.write_str(std::str::from_utf8(written).unwrap_or_default())
}

/// Reads what [`write`] wrote; nothing for any other text. Upper-case digits are read, too: whoever wants one text per content
/// compares it with what would be written.
pub(crate) fn read(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() {
        return None;
    }
    let pairs = text.as_bytes().chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    let mut bytes = pairs.collect::<Option<Vec<u8>>>()?;
    let (body, sum) = bytes.split_last_chunk::<8>()?;
    if checksum(body) != u64::from_le_bytes(*sum) {
        return None;
    }
    bytes.truncate(body.len());
    Some(bytes)
}

/// FNV-1a in 64 bits (Fowler, Noll, Vo): each step is a bijection of the state, so no change within one byte is missed.
pub(crate) fn checksum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}
