//! What can go wrong when a cache is built; a built cache has no errors of its own.

use std::fmt;

/// An error of this crate.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// A setting lies outside what is allowed.
    InvalidConfig {
        /// The setting's name.
        field: &'static str,
        /// The rejected value, in the setting's unit (durations in milliseconds).
        value: String,
        /// What is allowed instead.
        reason: &'static str,
    },
}

impl Error {
    /// Tells whether the same call may succeed later; a wrong setting never will.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::InvalidConfig { .. } => false,
        }
    }

    /// Rejects `value` of `field`.
    pub(crate) fn invalid(field: &'static str, value: impl ToString, reason: &'static str) -> Self {
        Self::InvalidConfig {
            field,
            value: value.to_string(),
            reason,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidConfig { field, value, reason } => write!(f, "accept {field} = {value}: {reason}"),
        }
    }
}

impl std::error::Error for Error {}
