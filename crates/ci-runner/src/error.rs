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
    /// The task that loaded panicked. A read can be asked again. (A task that ends because its runtime does is told as a database that cannot be reached: the
    /// program is ending, and nothing is wrong with it.)
    #[error("finish: the task that ran it ended without a result")]
    TaskLost,
    /// The cache held an answer of another kind than the question's: a defect of this program. The entry was dropped,
    /// so asking again loads.
    #[error("use a cached answer: it is of another kind than the question")]
    WrongKind,
}

impl Error {
    /// Why a task gave no result.
    pub(crate) fn lost(lost: &tokio::task::JoinError) -> Self {
        if lost.is_cancelled() {
            Self::Store(ci_store::Error::Unavailable("this program is ending".into()))
        } else {
            Self::TaskLost
        }
    }

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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_ends_with_its_runtime_is_no_defect() {
        let ended = tokio::spawn(std::future::pending::<()>());
        ended.abort();
        let lost = Error::lost(&ended.await.unwrap_err());
        assert!(
            matches!(lost, Error::Store(ci_store::Error::Unavailable(_))),
            "{lost}"
        );
        let panicked = tokio::spawn(async { panic!("as a test wants it") });
        let lost: Error = Error::lost(&panicked.await.unwrap_err());
        assert!(matches!(lost, Error::TaskLost), "{lost}");
    }
}
