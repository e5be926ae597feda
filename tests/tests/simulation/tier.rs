//! The simulated shared tier: two copies that may part, writes and deletes that come late or never, and older states that come back.
//! It has values and the bookmarks of feeds.

use std::collections::BTreeMap;
use std::sync::Arc;

use ci_model::Version;
use ci_tests::matching::Answer;

use super::database::Feed;

/// A value as the tier holds it, header first.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) epoch: u64,
    /// Which question it answers: the full key.
    pub(crate) query: usize,
    /// The state at which it was loaded.
    pub(crate) loaded: Version,
    /// True up to here, at least.
    pub(crate) validated: Version,
    pub(crate) answer: Arc<Answer>,
    /// When the database was read for it, in truth; not in the value.
    pub(crate) loaded_at: u64,
    /// The checksum does not fit any more.
    pub(crate) damaged: bool,
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It was loaded; with a lease, only if nothing was deleted since that was taken.
    Loaded(Option<u64>),
    /// It was confirmed: it takes the place of what is there, and of nothing else.
    Confirmed,
}

/// Between two bookmarks, in microseconds: each has the number of its stretch of time.
const STEP: u64 = 20_000;
/// So many bookmarks back a node that joins looks.
const REACH: u64 = 6;

/// One copy.
#[derive(Debug, Clone, Default)]
struct Copy {
    values: BTreeMap<usize, Stored>,
    /// Counts deletes by slot, for the broken rule that goes by them.
    generations: BTreeMap<usize, u64>,
    /// Where the feeds of nodes were, by stretch of time.
    bookmarks: BTreeMap<u64, Feed>,
}

#[derive(Debug)]
pub(crate) struct Tier {
    copies: [Copy; 2],
    pub(crate) up: bool,
    pub(crate) split: bool,
    /// So many places there are: fewer than questions, and two share one.
    slots: usize,
    saved: Option<[Copy; 2]>,
}

impl Tier {
    pub(crate) fn new(slots: usize) -> Self {
        Self {
            copies: Default::default(),
            up: true,
            split: false,
            slots,
            saved: None,
        }
    }

    fn copy(&mut self, node: usize) -> &mut Copy {
        let side = if self.split { node % 2 } else { 0 };
        &mut self.copies[side]
    }

    /// What is there, and the slot's generation.
    pub(crate) fn get(&mut self, node: usize, query: usize) -> (Option<Stored>, u64) {
        let slot = query % self.slots;
        let copy = self.copy(node);
        let generation = copy.generations.get(&slot).copied().unwrap_or_default();
        (copy.values.get(&slot).cloned(), generation)
    }

    /// Stores a value; says whether it did.
    pub(crate) fn put(&mut self, node: usize, stored: Stored, put: Put) -> bool {
        let slot = stored.query % self.slots;
        let copy = self.copy(node);
        let generation = copy.generations.get(&slot).copied().unwrap_or_default();
        let may = match put {
            Put::Loaded(lease) => lease.is_none_or(|lease| lease == generation),
            Put::Confirmed => copy.values.contains_key(&slot),
        };
        if may {
            copy.values.insert(slot, stored);
        }
        may
    }

    /// Keeps where a node's feed is.
    pub(crate) fn leave(&mut self, node: usize, feed: Feed, now: u64) {
        self.copy(node).bookmarks.insert(now / STEP, feed);
    }

    /// The oldest bookmark within reach.
    pub(crate) fn bookmark(&mut self, node: usize, now: u64) -> Option<Feed> {
        let from = (now / STEP).saturating_sub(REACH);
        let mut reached = self.copy(node).bookmarks.range(from..);
        reached.next().map(|(_, feed)| feed.clone())
    }

    pub(crate) fn delete(&mut self, node: usize, query: usize) {
        let slot = query % self.slots;
        let copy = self.copy(node);
        copy.values.remove(&slot);
        *copy.generations.entry(slot).or_default() += 1;
    }

    pub(crate) fn flush(&mut self) {
        self.copies = Default::default();
    }

    pub(crate) fn save(&mut self) {
        self.saved = Some(self.copies.clone());
    }

    /// Goes back to what was saved.
    pub(crate) fn roll_back(&mut self) -> bool {
        let saved = self.saved.clone();
        let is_there = saved.is_some();
        self.copies = saved.unwrap_or_else(|| self.copies.clone());
        is_there
    }

    /// Parts into two copies with the same content.
    pub(crate) fn part(&mut self) {
        self.copies[1] = self.copies[0].clone();
        self.split = true;
    }

    /// Becomes one again: either copy wins.
    pub(crate) fn join(&mut self, winner: usize) {
        if self.split {
            self.copies.swap(0, winner);
            self.split = false;
        }
    }

    /// Breaks some value.
    pub(crate) fn damage(&mut self, query: usize) -> bool {
        let slot = query % self.slots;
        let found = self.copies[0].values.get_mut(&slot);
        found.map(|stored| stored.damaged = true).is_some()
    }
}
