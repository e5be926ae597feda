//! What writing to both databases has in common: the decisions, made in memory on the rows as they are.
//!
//! A batch is written in three steps inside one transaction that excludes other writers of its tenants: read the rows
//! that it may touch (one statement for ids, one for codes), decide what becomes of every record ([`cis::plan`],
//! [`relations::plan`]), write what differs (a few statements for all rows). Only the first and the last step know the
//! database.

pub(crate) mod cis;
pub(crate) mod existing;
pub(crate) mod expected;
pub(crate) mod relations;

use ci_model::{Rejection, Timestamp};
use tracing::Instrument as _;

use crate::{Error, OnRejection, Result, WriteOptions, clock};

/// How often a write begins anew when another program's write came between reading and writing.
const ATTEMPTS: u32 = 6;

/// The moment that a write stamps rows with.
pub(crate) fn moment(options: &WriteOptions) -> Timestamp {
    options.at.unwrap_or_else(clock::now)
}

/// Fails with the first rejection when rejected rows are not to be skipped.
pub(crate) fn checked<T>(outcomes: &[Result<T, Rejection>], on_rejection: OnRejection) -> Result<()> {
    if on_rejection == OnRejection::Skip {
        return Ok(());
    }
    let rejected = outcomes
        .iter()
        .enumerate()
        .find_map(|(index, outcome)| Some((index, outcome.as_ref().err()?)));
    match rejected {
        None => Ok(()),
        Some((index, reason)) => Err(Error::Rejected {
            index,
            reason: reason.clone(),
        }),
    }
}

/// Runs a transaction to its end, even when the caller stops waiting for it.
///
/// A future that is dropped in the middle of `begin` leaves a pooled PostgreSQL connection inside a transaction
/// (launchbadge/sqlx#4393): the next user's statements would join it. A task of its own is not dropped with its caller.
pub(crate) async fn detached<T: Send + 'static>(
    transaction: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    match tokio::spawn(transaction.in_current_span()).await {
        Ok(result) => result,
        Err(join) if join.is_panic() => std::panic::resume_unwind(join.into_panic()),
        Err(_) => Err(Error::Unavailable("the runtime is shutting down".into())),
    }
}

/// Whether another writer came in between, so that the same write, begun anew, sees what that one wrote.
fn is_clash(error: &sqlx::Error) -> bool {
    let sqlx::Error::Database(error) = error else {
        return false;
    };
    let code = error.code().unwrap_or_default();
    error.is_unique_violation()
        || error.is_foreign_key_violation()
        // PostgreSQL: serialization failure, deadlock.
        || matches!(code.as_ref(), "40001" | "40P01")
}

/// Why one attempt at a write did not succeed.
pub(crate) enum Failure {
    /// Another writer came in between; begin anew.
    Clash(Error),
    /// Nothing to be done about it here.
    Final(Error),
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        if is_clash(&error) {
            Self::Clash(error.into())
        } else {
            Self::Final(error.into())
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Final(error)
    }
}

impl Failure {
    /// Counts an attempt that failed.
    ///
    /// # Errors
    /// The failure itself when it is final, or when it was the last attempt.
    pub(crate) fn again(self, attempts: &mut u32) -> Result<()> {
        *attempts += 1;
        match self {
            Self::Clash(_) if *attempts < ATTEMPTS => Ok(()),
            Self::Clash(error) | Self::Final(error) => Err(error),
        }
    }
}
