//! Reading from a copy of the database that follows it: the contract of [`Replica`].
//!
//! A copy shows states of its own. Each is a set of transactions, as a state of the primary is, and what it includes can be compared; but it
//! may be from before what somebody was promised, from after what the primary shows, or of another history altogether.
//!
//! Duties of an implementor:
//! - an answer is true at exactly the version that it says, and that version is one of the asked-for epoch; what cannot be proven is
//!   [`Unused`], never a guess;
//! - a copy that has become a database of its own is refused for good;
//! - dropping a future in the middle leaves no connection in a transaction that others then use.
//!
//! Duties of a caller: compare the version with what the answer has to include, and with what the primary has shown, before the answer is
//! used. Neither follows from the contract above. Everything that is [`Unused`] is asked of the primary.

use std::fmt;

use async_trait::async_trait;
use ci_model::{Epoch, Question, TenantId, Version};

use crate::store::ask_all_of;
use crate::{Answers, Error, Snapshot};

/// Why a replica was not used.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Unused {
    /// It is not of the asked-for history, or has not come to its beginning yet; or the primary is in another by now.
    #[error("it does not follow this history of the primary")]
    History,
    /// It follows nobody: it was promoted, or is a primary.
    #[error("it is not a standby")]
    Promoted,
    /// Whom it follows cannot be told: it does not stream, or its user may not see it (`pg_read_all_stats`).
    #[error("it does not say which timeline it streams")]
    Unproven,
    /// Which of the transactions that ended last it shows cannot be told at this moment.
    #[error("which transactions it shows cannot be told")]
    Blurred,
    /// It, or the primary of which its history had to be asked, failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

/// A copy of a store's database that follows it, to read from. Made by [`Store::replica`](crate::Store::replica); shared by reference counting.
///
/// It connects when it is used first, so that one that is down is nobody's trouble at the start. Every method may be cancelled by dropping its
/// future.
#[async_trait]
pub trait Replica: fmt::Debug + Send + Sync + 'static {
    /// The state that it shows now, of an epoch of the primary: what a [`snapshot`](Self::snapshot) that begins later includes.
    ///
    /// Cost: one statement; the first time in an epoch three more, on the primary.
    ///
    /// # Errors
    /// [`Unused`], as the others.
    async fn state(&self, epoch: Epoch) -> Result<Version, Unused>;

    /// Begins a read-only view of the state that it shows now. The snapshot's own [`version`](Snapshot::version) is the one that comes with it, with
    /// the epoch.
    ///
    /// # Errors
    /// [`Unused`] when that state is not one of the epoch, or which one it is cannot be told.
    async fn snapshot(&self, epoch: Epoch) -> Result<(Box<dyn Snapshot>, Version), Unused>;

    /// The answers to several questions at one state: as [`Store::ask_all`](crate::Store::ask_all), with a version of the epoch.
    ///
    /// # Errors
    /// As [`snapshot`](Self::snapshot).
    async fn ask_all(
        &self,
        epoch: Epoch,
        tenant: &TenantId,
        questions: &[Question],
    ) -> Result<Answers, Unused> {
        let (mut snapshot, _) = self.snapshot(epoch).await?;
        Ok(ask_all_of(&mut *snapshot, tenant, questions).await?)
    }

    /// Waits for running statements and closes every connection. Later calls fail.
    ///
    /// Without a bound: where a copy swallows what is sent, that takes until the operating system gives the connections up. A caller has a bound of its
    /// own; dropped, the future leaves open what is still in use.
    async fn close(&self);
}
