//! Tokens and cursors: texts that callers keep and give back, and may have changed.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use ci_model::{Epoch, Question, Token, TxSnapshot, Version};

use super::Defect;
use super::questions::{Parts, row};
use crate::bytes::Bytes;

/// Digits of a checksum.
const SUM: usize = 16;

/// A token's text: it reads as what it was written for, and as nothing when it was changed.
pub(super) fn token(bytes: &mut Bytes<'_>, planted: Option<Defect>) {
    let made = made_token(bytes);
    let read = texts(bytes, made.as_ref(), planted);
    if let (Some(read), Some(made)) = (&read, &made) {
        // Whatever states are compared, one includes itself, and comparing them ends.
        assert!(read.version.includes(&read.version));
        let (one, other) = (
            read.version.includes(&made.version),
            made.version.includes(&read.version),
        );
        assert_eq!(
            one && other,
            read.version.partial_cmp(&made.version) == Some(std::cmp::Ordering::Equal)
        );
    }
}

fn made_token(bytes: &mut Bytes<'_>) -> Option<Token> {
    let version = if bytes.byte().is_multiple_of(2) {
        Version::Sequence(bytes.micros())
    } else {
        let (xmin, width) = (bytes.micros(), bytes.micros());
        let running = (0..bytes.byte() % 6)
            .map(|_| xmin.saturating_add(bytes.micros()))
            .collect();
        Version::Snapshot(TxSnapshot::new(xmin, xmin.saturating_add(width), running).ok()?)
    };
    Some(Token {
        epoch: Epoch(bytes.micros()),
        version,
    })
}

/// A cursor's text: the same, and it belongs to its search alone.
pub(super) fn cursor(bytes: &mut Bytes<'_>, planted: Option<Defect>) {
    let search = |bytes: &mut Bytes<'_>| match Parts::draw(bytes).search() {
        Some(Question::Search(search)) => Some(search),
        _ => None,
    };
    let (of, other) = (search(bytes), search(bytes));
    let made = of.as_ref().map(|search| search.cursor_at(&row(bytes)));
    let read = texts(bytes, made.as_ref(), planted);
    let (Some(of), Some(made)) = (of, made) else {
        return;
    };
    let (after, next) = (of.after(&made).expect("its own cursor"), row(bytes));
    assert_eq!(
        after.cursor_at(&next),
        of.cursor_at(&next),
        "a page is of another search"
    );
    for cursor in [Some(made), read].into_iter().flatten() {
        if let Some(other) = &other {
            let taken = other.after(&cursor).is_ok();
            let same = of.selection() == other.selection()
                && of.sort() == other.sort()
                && of.ranking() == other.ranking();
            assert!(!taken || same, "a cursor was taken for another search");
        }
    }
}

/// Draws a text, made, changed or at random, and reads it.
fn texts<T>(bytes: &mut Bytes<'_>, made: Option<&T>, planted: Option<Defect>) -> Option<T>
where
    T: FromStr + Display + PartialEq + Debug,
{
    let whole = made.map(ToString::to_string).unwrap_or_default();
    let (text, is_damaged) = match bytes.byte() % 5 {
        0 => (whole.clone(), false),
        1 => (String::from_utf8_lossy(bytes.rest()).into_owned(), false),
        2 => (sealed(bytes.rest()), false),
        3 => {
            let text = changed(&whole, bytes);
            (text.clone(), text != whole)
        }
        _ => (whole.to_uppercase(), false),
    };
    let read = parse::<T>(&text, planted);
    assert!(!is_damaged || read.is_none(), "{text} was changed and is read");
    if let Some(read) = &read {
        assert_eq!(read.to_string(), text, "two texts of one content");
        assert_eq!(parse::<T>(&text, planted).as_ref(), Some(read));
    }
    if text == whole
        && let Some(made) = made
    {
        assert_eq!(read.as_ref(), Some(made), "{text} is not what it was written for");
    }
    read
}

fn parse<T: FromStr>(text: &str, planted: Option<Defect>) -> Option<T> {
    match planted {
        Some(Defect::TakesCapitals) => text.to_lowercase().parse().ok(),
        Some(Defect::TakesAnyChecksum) => {
            let body = text.get(..text.len().saturating_sub(SUM))?;
            sealed(&from_hex(body)?).parse().ok()
        }
        _ => text.parse().ok(),
    }
}

/// One character of a text made another.
fn changed(text: &str, bytes: &mut Bytes<'_>) -> String {
    let mut other = text.to_owned().into_bytes();
    let at = usize::from(bytes.byte()).checked_rem(other.len()).unwrap_or(0);
    if let Some(byte) = other.get_mut(at) {
        *byte = bytes.pick(*b"0123456789abcdefABCDEFg ");
    }
    String::from_utf8(other).unwrap_or_default()
}

/// Bytes with a checksum that fits, as texts that are given back have it: FNV-1a in 64 bits, in hexadecimal digits.
fn sealed(bytes: &[u8]) -> String {
    let sum = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hex(&[bytes, &sum.to_le_bytes()].concat())
}

/// Bytes as hexadecimal digits.
pub(super) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits
        .filter_map(|digit| char::from_digit(digit.into(), 16))
        .collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |digit: u8| {
        char::from(digit)
            .to_digit(16)
            .and_then(|digit| u8::try_from(digit).ok())
    };
    let pairs = text.as_bytes().chunks(2);
    pairs
        .map(|pair| Some(digit(*pair.first()?)? << 4 | digit(*pair.get(1)?)?))
        .collect()
}
