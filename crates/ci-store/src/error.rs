//! The one error of this crate, by what a caller can do about it.

use std::sync::Arc;

use ci_model::Rejection;

/// Why a store could not answer or write. Cloning is cheap, so that many waiters can share one failure.
///
/// The texts are lower-case fragments that read after "failed to". They never hold values of rows or filters, nor a
/// connection string.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The database cannot be reached, or ended the connection. Try again later.
    #[error("reach the database: {0}")]
    Unavailable(Arc<str>),
    /// No connection became free in time, or a statement took too long. Try again later, or with less at once.
    #[error("finish in time: {0}")]
    Timeout(Arc<str>),
    /// Another transaction was in the way (serialization failure, deadlock, a locked file). Try again at once.
    #[error("finish beside another transaction: {0}")]
    Conflict(Arc<str>),
    /// A row of an all-or-nothing batch cannot be written; nothing was.
    #[error("write row {index} of the batch: {reason}")]
    Rejected {
        /// Position in the batch, from 0.
        index: usize,
        /// Why.
        reason: Rejection,
    },
    /// The database's tables are not what this program needs; the text says what to change.
    #[error("use this database: {0}")]
    Schema(Arc<str>),
    /// The database's address or options are wrong; the text says what is expected.
    #[error("read the database address: {0}")]
    Address(Arc<str>),
    /// A row holds what this program never writes and cannot read; the text names the column.
    #[error("read a row: {0}")]
    Corrupt(Arc<str>),
    /// Anything else that the database refused.
    #[error("run a statement: {0}")]
    Database(Arc<str>),
}

impl Error {
    /// Tells whether the same call may succeed later without a change of input, schema or configuration.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Timeout(_) | Self::Conflict(_))
    }
}

/// The result of this crate's calls.
pub type Result<T, E = Error> = std::result::Result<T, E>;
