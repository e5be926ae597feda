//! What can go wrong when a cache is built or a snapshot imported; nothing else fails but loads.

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
    /// A snapshot was written in a format that this version does not read; start cold.
    SnapshotFormat {
        /// The format's number.
        found: u32,
    },
    /// Bytes are no snapshot, or not all of one, or changed since; start cold.
    SnapshotDamaged {
        /// What is wrong with them.
        reason: &'static str,
    },
}

impl Error {
    /// Tells whether the same call may succeed later; none of these will.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::InvalidConfig { .. } | Self::SnapshotFormat { .. } | Self::SnapshotDamaged { .. } => false,
        }
    }

    /// Rejects `value` of `field`.
    #[expect(clippy::needless_pass_by_value, reason = "numbers")]
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
            Self::SnapshotFormat { found } => {
                write!(f, "import a snapshot of format {found}: this version reads 1")
            }
            Self::SnapshotDamaged { reason } => write!(f, "import a snapshot: {reason}"),
        }
    }
}

impl std::error::Error for Error {}
