//! Why was this dropped? The latest drops, with the change that did it, and how many there were for each reason.

use std::collections::VecDeque;
use std::sync::Arc;

use hashbrown::HashMap;

use super::domain::Domain;
use super::log::{Logged, Record};
use super::outcome::Why;
use crate::clock::Tick;

/// Something that a change made go.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Dropped<K, R> {
    /// The key; none when everything of a group or of the cache went.
    pub key: Option<K>,
    /// The change, in the words of its `Debug`.
    pub change: String,
    /// Why it hit.
    pub why: Why<R>,
    /// When the poll that brought the change began.
    pub at: Tick,
}

/// One drop, not put into words yet.
pub(super) struct Past<K, D: Domain> {
    key: Option<K>,
    batch: Arc<Logged<D>>,
    record: usize,
    why: Why<D::Reason>,
}

/// The ring of the latest drops; counts always, remembers as many as it was told to.
pub(super) struct History<K, D: Domain> {
    ring: VecDeque<Past<K, D>>,
    limit: usize,
    /// Drops so far, those that are not remembered included.
    total: u64,
    reasons: HashMap<Why<D::Reason>, u64>,
}

impl<K: Clone, D: Domain> History<K, D> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            ring: VecDeque::new(),
            limit,
            total: 0,
            reasons: HashMap::new(),
        }
    }

    /// Counts a drop, and remembers it if asked to.
    pub(super) fn add(
        &mut self,
        key: Option<&K>,
        batch: &Arc<Logged<D>>,
        record: usize,
        why: Why<D::Reason>,
    ) {
        *self.reasons.entry(why).or_default() += 1;
        self.total += 1;
        if self.limit == 0 {
            return;
        }
        if self.ring.len() >= self.limit {
            self.ring.pop_front();
        }
        self.ring.push_back(Past {
            key: key.cloned(),
            batch: Arc::clone(batch),
            record,
            why,
        });
    }

    /// Counts by reason.
    pub(super) fn reasons(&self) -> Vec<(Why<D::Reason>, u64)> {
        self.reasons.iter().map(|(&why, &count)| (why, count)).collect()
    }

    /// Counts all drops.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// Copies what is remembered, the latest last.
    pub(super) fn copy(&self) -> Vec<Past<K, D>> {
        self.copy_since(0)
    }

    /// Copies what is remembered of the drops after the first `seen`, the latest last.
    pub(super) fn copy_since(&self, seen: u64) -> Vec<Past<K, D>> {
        let later = usize::try_from(self.total.saturating_sub(seen)).unwrap_or(usize::MAX);
        let skipped = self.ring.len().saturating_sub(later);
        let copy = |past: &Past<K, D>| Past {
            key: past.key.clone(),
            batch: Arc::clone(&past.batch),
            record: past.record,
            why: past.why,
        };
        self.ring.iter().skip(skipped).map(copy).collect()
    }
}

impl<K, D: Domain> Past<K, D> {
    /// Puts it into words: runs the change's `Debug`, so not under a lock.
    pub(super) fn tell(self) -> Dropped<K, D::Reason> {
        let change = match self.batch.records.get(self.record) {
            Some(Record::Change { change, .. }) => format!("{change:?}"),
            Some(Record::Group { group, .. }) => format!("everything of {group:?}"),
            Some(Record::Everything { .. }) | None => "everything".to_owned(),
        };
        Dropped {
            key: self.key,
            change,
            why: self.why,
            at: self.batch.polled_at,
        }
    }
}
