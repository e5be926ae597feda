//! Why an import did not reach the end of its file.

use std::io;
use std::sync::Arc;

use super::ImportReport;

/// Why an import ended early. What it had committed stays; running it again is safe and finishes the work.
///
/// The texts are lower-case fragments that read after "failed to"; they hold no values of the file.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// The name of the file does not tell its format.
    #[error(
        "tell the format of the file from its name: expected .jsonl, .ndjson, .json or .csv, alone or with .gz or .zst"
    )]
    UnknownFormat,
    /// The file cannot be opened. Nothing was written.
    #[error("open the file: {0}")]
    Open(Arc<io::Error>),
    /// The header of a CSV file is not one that can be imported. Nothing was written.
    #[error("read the header of the CSV file: {0}")]
    Header(Arc<str>),
    /// The file cannot be read to its end: an input error, or damaged compression.
    #[error("read the file beyond the {} committed lines: {source}", report.committed())]
    Read {
        /// What the system or the decompressor says.
        source: Arc<io::Error>,
        /// What was committed.
        report: Box<ImportReport>,
    },
    /// The store did not take a batch; nothing of that batch was written.
    #[error("write beyond the {} committed lines: {source}", report.committed())]
    Store {
        /// Why.
        source: crate::Error,
        /// What was committed.
        report: Box<ImportReport>,
    },
}

impl ImportError {
    /// Tells whether the same import may succeed later without a change of the file.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Store { source, .. } if source.is_transient())
    }

    /// What was committed before the import ended; nothing when it ended before its first line.
    pub fn report(&self) -> Option<&ImportReport> {
        match self {
            Self::Read { report, .. } | Self::Store { report, .. } => Some(report),
            _ => None,
        }
    }
}
