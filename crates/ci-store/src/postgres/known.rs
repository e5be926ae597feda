//! What is known of the server while versions are read: the epoch, without its catalogue.
//!
//! An epoch is made of much (triggers, functions, tables, the server's run): to read all of it takes three times as long as a get. But every
//! poll of the feed reads it. A load may take the epoch of the last poll, if that was of the same run of the same server, and was over before the
//! load's snapshot began:
//!
//! ```text
//! a poll                           another program                  a load
//! its snapshot T, epoch 1; told
//!                                                                   looks up: epoch 1
//!                                  switches triggers off, writes,
//!                                  switches them on: epoch 2
//!                                                                   its snapshot S: the write is in it; "epoch 1, S"
//! the next poll: epoch 2
//! ```
//!
//! What the load says is true: its answer is that at S. Whether it may be kept is decided by epoch 1, which the poll ends. The other way round it would
//! be wrong: were the epoch looked up after S, a load might say "epoch 2" of a snapshot from before the unrecorded write, and nothing would ever
//! drop it.
//!
//! The same run of the same server: the moment of its start tells servers and runs apart, but not before and after a crash of one of its processes, which
//! ends all connections and may take commits back. So what was told counts only while no connection has been made since its reading began: a
//! connection that is older than a reading, and works after it, has lived through no crash between the two. Where no feed polls, nothing is known, and
//! each version is read in full.

use ci_model::{Epoch, TxSnapshot, Version};
use parking_lot::Mutex;
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgConnection, Row as _};

use super::feed::{Seen, look_once};
use super::feed_sql;
use crate::Result;

/// What polls have told.
#[derive(Debug, Default)]
pub(super) struct Known(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    /// Connections that have been made.
    connections: u64,
    last: Option<Reading>,
}

#[derive(Debug, Clone)]
struct Reading {
    /// When the server started, in its own words.
    start: String,
    epoch: Epoch,
}

/// How many connections had been made when a poll began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked(u64);

/// What was known before a snapshot began.
#[derive(Debug)]
pub(super) struct Before {
    asked: Asked,
    last: Option<Reading>,
}

impl Before {
    /// Whether the epoch may be known without reading it.
    pub(super) fn is_told(&self) -> bool {
        self.last.is_some()
    }
}

impl Known {
    /// A connection that questions may use has been made.
    pub(super) fn connected(&self) {
        let mut told = self.0.lock();
        told.connections += 1;
        told.last = None;
    }

    /// A poll begins: its statement has not been sent.
    pub(super) fn asked(&self) -> Asked {
        Asked(self.0.lock().connections)
    }

    /// What a poll found.
    pub(super) fn tell(&self, asked: Asked, seen: &Seen) {
        let start = seen.identity.server.split(' ').next().unwrap_or_default();
        let reading = seen.whole.then(|| Reading {
            start: start.to_owned(),
            epoch: seen.identity.epoch(),
        });
        let mut told = self.0.lock();
        if asked.0 == told.connections {
            told.last = reading;
        }
    }

    /// Nobody polls any more.
    pub(super) fn forget(&self) {
        self.0.lock().last = None;
    }

    /// What is known now, for a snapshot that begins later.
    pub(super) fn before(&self) -> Before {
        let told = self.0.lock();
        Before {
            asked: Asked(told.connections),
            last: told.last.clone(),
        }
    }

    /// Reads the version of a snapshot that began after `before`, in its transaction.
    pub(super) async fn version(
        &self,
        before: &Before,
        connection: &mut PgConnection,
    ) -> Result<(Epoch, Version)> {
        if before.is_told() {
            let row = sqlx::query(AssertSqlSafe(feed_sql::state_of_snapshot()));
            let row = row.fetch_one(&mut *connection).await?;
            if let Some(version) = self.version_in(before, &row, 0)? {
                return Ok(version);
            }
        }
        let seen = look_once(connection).await?;
        Ok((seen.identity.epoch(), Version::Snapshot(seen.snapshot)))
    }

    /// The version in a row whose columns of the state begin at `at`, of a statement that was sent after `before`; none when the
    /// epoch has to be read in full.
    pub(super) fn version_in(
        &self,
        before: &Before,
        row: &PgRow,
        at: usize,
    ) -> Result<Option<(Epoch, Version)>> {
        let start: &str = row.try_get(at + 1)?;
        let Some(last) = before.last.as_ref().filter(|last| last.start == start) else {
            return Ok(None);
        };
        if self.asked() != before.asked {
            return Ok(None);
        }
        let snapshot: &str = row.try_get(at)?;
        let snapshot: TxSnapshot = snapshot
            .parse()
            .map_err(|error: ci_model::Error| sqlx::Error::Decode(error.into()))?;
        Ok(Some((last.epoch, Version::Snapshot(snapshot))))
    }
}
