//! Checks that every text passes before it is kept.

use crate::Error;

/// Refuses an empty, over-long or control-character text; returns it unchanged.
pub(crate) fn checked<'a>(what: &'static str, text: &'a str, max: usize) -> Result<&'a str, Error> {
    if text.trim().is_empty() {
        return Err(Error::Empty { what });
    }
    bounded(what, text, max)
}

/// Like [`checked`], but an empty text is fine.
pub(crate) fn bounded<'a>(what: &'static str, text: &'a str, max: usize) -> Result<&'a str, Error> {
    // A character takes at most four bytes, so the count is only needed between the two bounds.
    if text.len() > max {
        let actual = text.chars().count();
        if actual > max {
            return Err(Error::TooLong { what, max, actual });
        }
    }
    match text.chars().find(|c| c.is_control()) {
        Some(c) => Err(Error::ControlCharacter {
            what,
            code: u32::from(c),
        }),
        None => Ok(text),
    }
}

/// Refuses a number outside `min..=max`.
pub(crate) fn in_range(what: &'static str, value: u32, min: u32, max: u32) -> Result<u32, Error> {
    if (min..=max).contains(&value) {
        Ok(value)
    } else {
        Err(Error::OutOfRange {
            what,
            min: min.into(),
            max: max.into(),
            actual: value.into(),
        })
    }
}

/// Refuses a list with more than `max` members.
pub(crate) fn at_most(what: &'static str, actual: usize, max: usize) -> Result<(), Error> {
    if actual <= max {
        Ok(())
    } else {
        Err(Error::TooMany { what, max, actual })
    }
}
