//! The one error of this crate, by what a caller can do about it.

use std::sync::Arc;

/// Why a question was not answered or a write not made. Cloning is cheap: callers who waited for one load share its
/// error. Errors are never cached.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The input does not fit; the text says what is wrong and what is allowed.
    #[error(transparent)]
    Invalid(#[from] ci_model::Error),
    /// The store failed. Never reported as an empty answer.
    #[error(transparent)]
    Store(#[from] ci_store::Error),
    /// The builder was given a value that it cannot use.
    #[error("build the runner: {field}: {reason}")]
    Config {
        /// The setting.
        field: &'static str,
        /// What is wrong with its value, and what is allowed.
        reason: Arc<str>,
    },
    /// The task that loaded or wrote panicked, or the runtime is shutting down. A read can be asked again; of a write
    /// it is not known whether it was done.
    #[error("finish: the task that ran it ended without a result")]
    TaskLost,
    /// The cache held an answer of another kind than the question's: a defect of this program. The entry was dropped,
    /// so asking again loads.
    #[error("use a cached answer: it is of another kind than the question")]
    WrongKind,
}

impl Error {
    /// Tells whether the same call may succeed later without a change of input or configuration.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Store(error) => error.is_transient(),
            Self::TaskLost | Self::WrongKind => true,
            Self::Invalid(_) | Self::Config { .. } => false,
        }
    }
}

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;
