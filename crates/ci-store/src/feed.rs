//! The change feed: what was committed to the database, by whatever program, in the order in which it can be seen.
//!
//! Duties of an implementor ([`Feed`]):
//! - every committed change of a CI, its documents or a relation comes in exactly one poll, whichever program made it
//!   and however long its transaction took; what was rolled back never comes;
//! - a poll's position is the version whose changes it has told: [`Version::covers`] holds for the origin of every
//!   change told so far, and for no other change;
//! - for every state between two commits, the images of the changes that lead into it and out of it include the row as
//!   it was in that state, or an unknown where it could not be told: a consumer that matches images against predicates
//!   may match too much, never too little;
//! - what would break one of these is never passed over in silence but ends in [`Polled::NewEpoch`], [`Polled::Blind`]
//!   or an error;
//! - losing the connection loses nothing: a poll connects again and continues where the last one ended.
//!
//! Duties of a consumer: call [`Feed::start`] first; on `NewEpoch` forget everything older than its position, in one
//! step with taking the new epoch over; on `Blind` or an error trust nothing that the feed has not confirmed since; poll
//! more often than the retention (see [`Store::retain`](crate::Store::retain)) deletes.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use ci_model::{Change, Epoch, Token, Version};

use crate::Result;

/// Most changes that one poll tells one by one. With more, it tells the tenants that they belong to
/// ([`Event::Tenant`](ci_model::Event::Tenant)).
pub const POLL_CHANGES: usize = 10_000;

/// Where a database is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// The history that the position belongs to.
    pub epoch: Epoch,
    /// The state that was seen: the first poll tells what was committed after it.
    pub position: Version,
}

/// What a poll found.
#[derive(Debug, Clone, PartialEq)]
pub enum Polled {
    /// The history went on.
    Changes {
        /// The history, and the position from which it went on: that of the start or poll before. A consumer that has not
        /// reached it has missed a poll, for example because the future of one was dropped when it had its answer, and
        /// has to treat this one as a [`NewEpoch`](Self::NewEpoch).
        since: Token,
        /// What was committed since the last position, in the order of its making; often nothing. Changes of one
        /// transaction are never in two polls. Some may be told more than once in this one list, with less known.
        changes: Vec<Change>,
        /// The state that includes them, and nothing later.
        position: Version,
    },
    /// Changes may have been missed. Everything that was loaded at a state which does not include `position` is to be
    /// forgotten, and what is still being loaded is not to be kept unless its version includes `position`.
    NewEpoch {
        /// What happened.
        why: EpochReason,
        /// The history from now on. After [`EpochReason::Gap`] the same as before: old versions can still be compared.
        epoch: Epoch,
        /// Where it is now.
        position: Version,
    },
    /// Changes are not recorded now. Nothing may be trusted until a later poll answers with a `NewEpoch`, or
    /// [`Feed::start`] works again.
    Blind {
        /// What is missing.
        why: BlindReason,
    },
}

/// Why a history ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EpochReason {
    /// The server was restarted or recovered from a crash, or another server or database answers at this address: what
    /// was acknowledged last may be lost, and numbers may be used again.
    Restarted,
    /// The database went back to an older state, as by restoring a backup.
    Rewound,
    /// Triggers or tables were changed: for some time changes may not have been recorded.
    Schema,
    /// More changed since the last poll than is still recorded or can be told.
    Gap,
}

/// Why changes cannot be seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum BlindReason {
    /// A trigger of ours is not there or is disabled, or it was made before a unique index that is there now (SQLite). Opening the
    /// store anew makes it again. Or another table inherits from one of ours (PostgreSQL), and its rows fire no trigger.
    Triggers,
    /// A table of ours is not there, or the tables are those of another version of this program.
    Tables,
}

impl fmt::Display for EpochReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restarted => "restarted",
            Self::Rewound => "rewound",
            Self::Schema => "schema",
            Self::Gap => "gap",
        })
    }
}

impl fmt::Display for BlindReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Triggers => "triggers",
            Self::Tables => "tables",
        })
    }
}

/// One consumer's view of a database's changes. It owns one connection beside the store's pools.
///
/// Every method may be cancelled by dropping its future: nothing is lost, the next poll tells it.
#[async_trait]
pub trait Feed: fmt::Debug + Send {
    /// Connects if need be and reads where the database is now, without changes. Whatever was not polled is skipped, so
    /// a consumer that starts again treats it as a new epoch.
    ///
    /// # Errors
    /// Transient ones when the database does not answer; [`Error::Schema`](crate::Error::Schema) when changes are not
    /// recorded (then polls are [`Polled::Blind`]).
    ///
    /// # Cost
    /// One statement, and connecting the first time.
    async fn start(&mut self) -> Result<Start>;

    /// Everything that was committed since the position of the last start or poll, and the new position.
    ///
    /// After an error the position is the one before; the next poll connects again if need be and continues from there.
    /// Before the first successful start it is that start's errors, or a [`Polled::NewEpoch`].
    ///
    /// # Errors
    /// Transient ones when the database does not answer.
    ///
    /// # Cost
    /// One statement and so one snapshot; a second one when there are more than [`POLL_CHANGES`].
    async fn poll(&mut self) -> Result<Polled>;

    /// Where the last start or poll left this feed, and what a later one needs to [`resume`](Self::resume) there, in this process or
    /// another: text that only this kind of store understands. None before the first start, while changes are not recorded, and for a
    /// feed that cannot go on later. Reads nothing.
    fn bookmark(&self) -> Option<(Start, String)> {
        None
    }

    /// Goes on from a bookmark instead of from now, and gives its position; none for a text that is no bookmark of this kind of store:
    /// then [`start`](Self::start).
    ///
    /// Nothing is read and nothing checked yet. The first poll tells what was committed since, or answers with a
    /// [`Polled::NewEpoch`]: the history is another, or more was forgotten than since the position. Before it nothing that was true at
    /// the position may be trusted.
    fn resume(&mut self, _bookmark: &str) -> Option<Start> {
        None
    }

    /// Waits until something may have changed, or until the time is over. Only a matter of speed: it may return at any
    /// moment and may miss a change, a poll does not.
    async fn wait(&mut self, at_most: Duration);
}
