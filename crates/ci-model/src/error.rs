//! The one error of this crate: input that does not fit, with what is wrong and what is allowed.

/// Longest part of a caller's own word that an error repeats, in characters.
const ECHO_CHARS: usize = 64;

/// Input that was refused. Nothing was changed or sent anywhere.
///
/// The texts are lower-case fragments that read after "failed to". They name fields, sizes and what is allowed; they
/// never repeat a filter's value or a row's content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A required text is empty (or blank).
    #[error("accept {what}: it is empty")]
    Empty {
        /// What was given, such as `tenant`.
        what: &'static str,
    },
    /// A text is longer than its limit.
    #[error("accept {what}: {actual} characters, at most {max} are allowed")]
    TooLong {
        /// What was given, such as `keyword`.
        what: &'static str,
        /// Largest number of characters (bytes for JSON documents).
        max: usize,
        /// Number of characters (bytes for JSON documents) that were given.
        actual: usize,
    },
    /// A list has more members than its limit.
    #[error("accept {what}: {actual} given, at most {max} are allowed")]
    TooMany {
        /// What was given, in the plural, such as `keywords`.
        what: &'static str,
        /// Largest number of members.
        max: usize,
        /// Number of members that were given.
        actual: usize,
    },
    /// A text has a NUL or another control character where none is allowed.
    #[error("accept {what}: it has a control character (U+{code:04X}); remove it")]
    ControlCharacter {
        /// What was given, such as `keyword`.
        what: &'static str,
        /// The character's code point.
        code: u32,
    },
    /// A number is outside its range.
    #[error("accept {what}: {actual} is outside {min} to {max}")]
    OutOfRange {
        /// What was given, such as `limit`.
        what: &'static str,
        /// Smallest allowed value.
        min: i64,
        /// Largest allowed value.
        max: i64,
        /// The value that was given.
        actual: i64,
    },
    /// A field's name is not one that may be used there.
    #[error("accept the field `{field}`: unknown; allowed are {allowed}")]
    UnknownField {
        /// The name as given, shortened.
        field: String,
        /// The allowed names.
        allowed: &'static str,
    },
    /// An operator is unknown, or does not fit its field.
    #[error("accept the operator `{operator}` on `{field}`: allowed are {allowed}")]
    UnknownOperator {
        /// The operator as given, shortened.
        operator: String,
        /// The field it was used on.
        field: String,
        /// The allowed operators.
        allowed: &'static str,
    },
    /// A word is not one of a closed set: a view, a direction, a sort column.
    #[error("accept the {what} `{given}`: unknown; allowed are {allowed}")]
    UnknownWord {
        /// What kind of word, such as `view`.
        what: &'static str,
        /// The word as given, shortened.
        given: String,
        /// The allowed words.
        allowed: &'static str,
    },
    /// A value does not have the form that its field needs.
    #[error("accept the value of {what}: expected {expected}")]
    InvalidValue {
        /// The field or part.
        what: String,
        /// The form that is expected.
        expected: &'static str,
    },
    /// A cursor is sound, but was made for another search.
    #[error(
        "accept the cursor: it was made for another search; ask with the keywords, filters and order that it came with"
    )]
    ForeignCursor,
}

impl Error {
    pub(crate) fn field(field: &str, allowed: &'static str) -> Self {
        Self::UnknownField {
            field: echo(field),
            allowed,
        }
    }

    pub(crate) fn operator(operator: &str, field: &str, allowed: &'static str) -> Self {
        Self::UnknownOperator {
            operator: echo(operator),
            field: echo(field),
            allowed,
        }
    }

    pub(crate) fn word(what: &'static str, given: &str, allowed: &'static str) -> Self {
        Self::UnknownWord {
            what,
            given: echo(given),
            allowed,
        }
    }

    pub(crate) fn value(what: &str, expected: &'static str) -> Self {
        Self::InvalidValue {
            what: echo(what),
            expected,
        }
    }

    /// Tells whether the same input could be accepted later: never, so always false.
    pub fn is_transient(&self) -> bool {
        false
    }
}

/// The first characters of a caller's own word, with control characters shown as escapes.
fn echo(word: &str) -> String {
    let mut shown: String = word
        .chars()
        .take(ECHO_CHARS)
        .flat_map(char::escape_debug)
        .collect();
    if word.chars().nth(ECHO_CHARS).is_some() {
        shown.push('…');
    }
    shown
}
