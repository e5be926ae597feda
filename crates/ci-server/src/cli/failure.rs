//! Why a command failed: what it says, and its exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use ci_store::import::ImportError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The input does not fit.
    #[error("{0}")]
    Input(String),
    /// The domain refused the input.
    #[error(transparent)]
    Invalid(#[from] ci_model::Error),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] ci_store::Error),
    /// The CI is not there.
    #[error("find the CI `{code}` of tenant `{tenant}`")]
    NotFound {
        /// As given by the caller.
        code: String,
        /// As given by the caller.
        tenant: String,
    },
    /// Lines were rejected; everything else was written.
    #[error("import {rejected} of {lines} lines")]
    Rejected {
        /// Lines that were not written.
        rejected: u64,
        /// All lines.
        lines: u64,
    },
    /// The import ended early.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// The address cannot be listened on.
    #[error("listen on {address}: {source}")]
    Listen {
        /// As given.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// Reading or writing failed.
    #[error("read or write: {0}")]
    Io(#[from] io::Error),
    /// The tokens' file.
    #[error(transparent)]
    Tokens(#[from] crate::access::FileError),
    /// The keys of JWTs.
    #[error(transparent)]
    Keys(#[from] crate::access::KeysError),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] crate::http::TlsError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// Something that a service needs is not as it should be; it has been told.
    #[error("find everything in order: {0} failures")]
    Unwell(usize),
    /// An audit found wrong answers; they have been told.
    #[error("find every cached answer right: {0} violations")]
    Wrong(u64),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl From<ci_runner::Error> for Failure {
    fn from(error: ci_runner::Error) -> Self {
        match error {
            ci_runner::Error::Invalid(error) => Self::Invalid(error),
            ci_runner::Error::Store(error) => Self::Store(error),
            error @ ci_runner::Error::Config { .. } => Self::Input(error.to_string()),
            other => Self::Other(other.to_string()),
        }
    }
}

impl Failure {
    /// The exit code, as `--help` documents it.
    fn code(&self) -> u8 {
        match self {
            Self::Store(ci_store::Error::Address(_))
            | Self::Input(_)
            | Self::Invalid(_)
            | Self::Tokens(_)
            | Self::Config(_)
            | Self::Tls(_)
            | Self::Keys(_)
            | Self::Listen { .. } => 2,
            Self::Store(_) | Self::Import(ImportError::Store { .. }) => 3,
            Self::Import(_) => 2,
            Self::NotFound { .. } => 4,
            Self::Rejected { .. } => 5,
            Self::Unwell(_) => 6,
            Self::Wrong(_) => 7,
            Self::Io(_) | Self::Other(_) => 1,
        }
    }

    /// What to do about it.
    fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Store(ci_store::Error::Address(_)) => {
                "give --database sqlite:PATH or postgres://USER@HOST:PORT/NAME, or set CI_CACHE_DATABASE"
            }
            Self::Store(error) if error.is_transient() => {
                "check that the database runs and the address is right; `ci-cache import` makes a missing SQLite file"
            }
            Self::NotFound { .. } => "`ci-cache search` finds codes; codes are compared byte for byte",
            Self::Rejected { .. } => {
                "correct those lines and import the file again; --rejects FILE lists all of them"
            }
            Self::Import(ImportError::UnknownFormat) => {
                "name the file so, or give --format jsonl or --format csv"
            }
            Self::Import(ImportError::Store { .. }) => {
                "run the import again: what is committed is found unchanged"
            }
            Self::Config(_) => {
                "`ci-cache config check` says where each setting comes from, `ci-cache config example` prints all"
            }
            Self::Unwell(_) => "each failure is told with what mends it",
            Self::Listen { .. } => "take another port; port 0 is any free one",
            _ => return None,
        })
    }

    /// Says on stderr what failed and what to do; returns the exit code. A reader that went away is no failure.
    pub(crate) fn report(&self) -> ExitCode {
        if matches!(self, Self::Io(error) if error.kind() == io::ErrorKind::BrokenPipe) {
            return ExitCode::SUCCESS;
        }
        let mut text = format!("error: failed to {self}\n");
        if let Some(hint) = self.hint() {
            text.push_str("hint: ");
            text.push_str(hint);
            text.push('\n');
        }
        // When stderr is gone there is nobody to tell; the exit code still says it.
        let _ = io::stderr().write_all(text.as_bytes());
        ExitCode::from(self.code())
    }
}
