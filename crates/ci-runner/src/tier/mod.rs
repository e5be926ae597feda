//! The shared tier: answers that the nodes of a fleet share through a store of bytes, such as Redis, and that are proven before they
//! are used.
//!
//! # Why it cannot lie
//!
//! A value says at which state of the database it is true: it was loaded at S, and a node that had it in memory knew it to be true
//! up to V. A node that reads it asks its own change log what came after V. Only if the log reaches back to V, and nothing in it
//! touches the answer, is the answer true at the node's own mark, and used. So whatever the tier loses, keeps for too long, brings
//! back from an older state, or gives under another name costs a load and never an answer: deletes are a courtesy.
//!
//! ```text
//! reader                            feed                        another node
//! reads its mark M
//! looks up: nothing, so it leads
//!                                                               writes the value, true at V
//! asks the tier: a value at V
//! reads its mark M', M or later
//!                                   logs a change, drops, raises the mark
//! checks the log: what came after V    (the change is found here, or the registration below is)
//! publishes at M' (or V, if later)
//! ```
//!
//! - *The mark is read before the check.* The feed logs a change before it raises the mark, so every change up to M' is in the log when
//!   it is checked: after the check the answer is true at M', which is what it is published as, and what its reader is told.
//! - *It is published as a load at M' would be.* A change that is logged after the check meets the registration, or is found by the
//!   publication's own check: the answer is then given, true at M', and not kept.
//! - *A reader uses it only if that state includes the mark that it read before it looked up.* That mark keeps its level's promise
//!   (the token of `AtLeast`, the poll of `Strong`), so the answer does. If a new history began meanwhile it looks up again. `Bypass`,
//!   pages, and loads past the cache never ask the tier.
//! - *Without a mark there is no answer from the tier,* as there is none from memory.
//! - *Epochs are part of what is compared.* A database that was restored, failed over or restarted has another one. Where numbers may be used
//!   again in one epoch (a SQLite file that is replaced by an older copy while no node runs) there is no tier.
//!
//! Checksums tell accidents, not forgers: who can write to the tier can make every node say anything. Protect it like the database.
//!
//! What is slow or down is skipped: each call has a time budget, and after a few failures in a row nothing is asked for a while
//! (`../breaker.rs`). Nobody waits for a write: they are done in the background, and those that do not fit are dropped and counted.
//!
//! A question that the tier does not have is loaded by the node that takes its lease; the others wait a little for its answer
//! (`once.rs`). That spares loads and nothing else: whoever does not get a lease, or waits in vain, loads.
//!
//! - `value.rs`: the bytes of a value.
//! - `read.rs`: the validated read; `once.rs`: one load for the fleet, by a `lease.rs`.
//! - `shared.rs`: what a runner knows of its tier; `stats.rs`: what it counts.
//! - `write.rs`: writing and refreshing, in the background; `budgets.rs`: how much of a tenant.
//! - `replay.rs`: how a node that starts gets a log that reaches back.
//! - `doorbell.rs`: who has written wakes the others.

mod budgets;
mod doorbell;
mod lease;
mod once;
mod options;
mod read;
mod replay;
mod rules;
mod shared;
mod stats;
mod value;
mod write;

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use ci_model::TenantId;

pub(crate) use doorbell::answer_doorbell;
pub(crate) use once::{read, read_one};
pub use options::TierOptions;
pub(crate) use read::Tried;
pub(crate) use replay::{leave_bookmark, resume};
#[cfg(feature = "planted")]
pub use rules::TierRules;
#[cfg(not(feature = "planted"))]
pub(crate) use rules::TierRules;
pub(crate) use shared::{Shared, settle_forgotten};
pub use stats::{TierOutcome, TierStats};
#[doc(hidden)]
pub use value::inspect;
#[cfg(fuzzing)]
#[doc(hidden)]
pub use value::plant;
pub(crate) use write::{Job, run};

/// The name of a value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct TierKey {
    /// Whose it is; none for what belongs to the fleet as a whole.
    pub tenant: Option<TenantId>,
    /// Its name within that: letters, digits and `-`.
    pub name: String,
}

impl TierKey {
    /// Puts one together.
    pub fn new(tenant: Option<TenantId>, name: impl Into<String>) -> Self {
        Self {
            tenant,
            name: name.into(),
        }
    }
}

/// How long a value that is written lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Life {
    /// So long from now on.
    For(Duration),
    /// As long as the value that it replaces; nothing is written if there is none.
    AsBefore,
}

/// A value to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierValue {
    /// Its name.
    pub key: TierKey,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// How long it lives.
    pub life: Life,
}

impl TierValue {
    /// Puts one together.
    pub fn new(key: TierKey, bytes: Vec<u8>, life: Life) -> Self {
        Self { key, bytes, life }
    }
}

/// Why a call failed, in words for people: no values, no addresses, no secrets.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the shared tier: {0}")]
pub struct TierError(Box<str>);

impl TierError {
    /// Says why.
    pub fn new(why: impl Into<Box<str>>) -> Self {
        Self(why.into())
    }
}

/// A store of bytes that the nodes of a fleet share. Nothing is asked of it but to be quick: it may lose, keep, mix up and bring back
/// whatever it likes.
///
/// Duties of an implementor: tenants have names of their own, whatever the names of keys; an error says nothing of values, addresses
/// or secrets; each method may be cancelled by dropping its future, and does not wait longer than it has to for a connection: the
/// caller has a time budget and drops what takes longer.
#[async_trait]
pub trait Tier: fmt::Debug + Send + Sync + 'static {
    /// What kind of store it is, in one word for people.
    fn kind(&self) -> &'static str;

    /// Reads values, in one round trip; one result for each key in their order, none for what is not there.
    ///
    /// # Errors
    /// When it did not answer.
    async fn get(&self, keys: &[TierKey]) -> Result<Vec<Option<Vec<u8>>>, TierError>;

    /// Writes values, in one round trip.
    ///
    /// # Errors
    /// When it did not answer, or refused one of them.
    async fn put(&self, values: &[TierValue]) -> Result<(), TierError>;

    /// Forgets values, in one round trip; those that are not there are no errors.
    ///
    /// # Errors
    /// When it did not answer.
    async fn delete(&self, keys: &[TierKey]) -> Result<(), TierError>;

    /// Takes a lease for so long unless somebody has it: says whether it was taken. As long as somebody has it, [`get`](Self::get) finds some bytes
    /// by its name; [`delete`](Self::delete) gives it back. It spares double work; nothing that has to be right may depend on it.
    ///
    /// # Errors
    /// When it did not answer.
    async fn lease(&self, key: &TierKey, length: Duration) -> Result<bool, TierError>;

    /// Wakes whoever [listens](Self::listen), here and elsewhere, as far as it gets. Does nothing in a tier that has no bell, as when it is not
    /// implemented.
    ///
    /// # Errors
    /// When it did not answer, or refused.
    async fn ring(&self) -> Result<(), TierError> {
        Ok(())
    }

    /// Begins to listen for rings; none in a tier that has no bell, as when it is not implemented.
    ///
    /// # Errors
    /// When it did not answer, or refused.
    async fn listen(&self) -> Result<Option<Box<dyn Bell>>, TierError> {
        Ok(None)
    }
}

/// Hears the rings of a fleet. Only a wake-up: rings may be lost, late, doubled and forged.
#[async_trait]
pub trait Bell: fmt::Debug + Send + 'static {
    /// Waits until somebody has rung since it was created or last returned; any number of rings are one.
    ///
    /// Cancel safe: no ring is lost by dropping the future.
    ///
    /// # Errors
    /// When nothing can be heard any more: listen anew.
    async fn rung(&mut self) -> Result<(), TierError>;
}
