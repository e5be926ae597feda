//! What is known of the schema while versions are read.
//!
//! A version is one only while every trigger records what changes. To look at them takes longer than most questions, and their state can only
//! be another when SQLite's count of schema changes is; so they are looked at when that is new, as polls do.

use std::sync::Arc;

use ci_model::{Epoch, Version};
use parking_lot::RwLock;
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::feed::{Seen, look_from, seen};
use crate::Result;

/// The last state that a version was read of, all triggers in place.
#[derive(Debug, Default)]
pub(super) struct Known(RwLock<Option<Arc<Seen>>>);

impl Known {
    /// What is known: a question's statement is told its schema version.
    pub(super) fn get(&self) -> Option<Arc<Seen>> {
        self.0.read().clone()
    }

    /// Reads a version and its epoch, for [`crate::Snapshot::version`].
    pub(super) async fn version(
        &self,
        connection: &mut SqliteConnection,
    ) -> Result<Option<(Epoch, Version)>> {
        let known = self.get();
        let now = look_from(connection, known.as_deref()).await?;
        Ok(self.take(known.as_deref(), now))
    }

    /// The version in a question's row, whose columns of the state begin at `at`.
    pub(super) fn version_in(
        &self,
        known: Option<&Seen>,
        row: &SqliteRow,
        at: usize,
    ) -> Result<Option<(Epoch, Version)>> {
        Ok(self.take(known, seen(row, at, known)?))
    }

    /// Without the triggers nothing gets a number: many states have the last one, so it does not say which of them this is.
    fn take(&self, known: Option<&Seen>, now: Seen) -> Option<(Epoch, Version)> {
        let is_known = known.is_some_and(|known| known.identity == now.identity);
        // Another file may have the same schema version; its triggers were not looked at.
        let was_looked_at = known.is_none_or(|known| known.cookie != now.cookie);
        let is_whole = now.whole && (is_known || was_looked_at);
        let version = is_whole.then(|| (now.identity.epoch(), now.position()));
        if !is_known {
            *self.0.write() = is_whole.then(|| Arc::new(now));
        }
        version
    }
}
