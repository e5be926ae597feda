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
    /// When the database was read for it, and by which load, in truth; not in the value.
    pub(crate) loaded_at: u64,
    pub(crate) load: u64,
    /// When it was written here, or came back.
    pub(crate) since: u64,
    /// The checksum does not fit any more.
    pub(crate) damaged: bool,
}

impl Stored {
    /// Whether it is of the load of another, as far as that can be told.
    pub(crate) fn is_of_load(&self, other: &Self) -> bool {
        self.epoch == other.epoch && self.query == other.query && self.loaded == other.loaded
    }
}

/// How a value is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Put {
    /// It was loaded; with a lease, only if nothing was deleted since that was taken.
    Loaded(Option<u64>),
    /// It was confirmed, after a look at that moment: it takes the place of what is there, and of nothing else.
    Confirmed(u64),
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
    /// Until when somebody has the lease of a question's load, or of confirming.
    leases: BTreeMap<Option<usize>, u64>,
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

    /// Stores a value, if it may.
    pub(crate) fn put(&mut self, node: usize, mut stored: Stored, put: Put, now: u64) {
        stored.since = now;
        let slot = stored.query % self.slots;
        let copy = self.copy(node);
        let generation = copy.generations.get(&slot).copied().unwrap_or_default();
        let may = match put {
            Put::Loaded(lease) => lease.is_none_or(|lease| lease == generation),
            Put::Confirmed(_) => copy.values.contains_key(&slot),
        };
        if may {
            copy.values.insert(slot, stored);
        }
    }

    /// Takes a lease unless somebody has it.
    pub(crate) fn lease(&mut self, node: usize, name: Option<usize>, now: u64, until: u64) -> bool {
        let is_free = !self.is_leased(node, name, now);
        if is_free {
            self.copy(node).leases.insert(name, until);
        }
        is_free
    }

    pub(crate) fn is_leased(&mut self, node: usize, name: Option<usize>, now: u64) -> bool {
        let until = self.copy(node).leases.get(&name);
        until.is_some_and(|until| now < *until)
    }

    pub(crate) fn give_back(&mut self, node: usize, name: Option<usize>) {
        self.copy(node).leases.remove(&name);
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
    pub(crate) fn roll_back(&mut self, now: u64) -> bool {
        let saved = self.saved.clone();
        let is_there = saved.is_some();
        self.copies = saved.unwrap_or_else(|| self.copies.clone());
        if is_there {
            self.came_back(now);
        }
        is_there
    }

    /// What is there is there from now on.
    fn came_back(&mut self, now: u64) {
        let values = self.copies.iter_mut().flat_map(|copy| copy.values.values_mut());
        values.for_each(|stored| stored.since = now);
    }

    /// Parts into two copies with the same content.
    pub(crate) fn part(&mut self) {
        self.copies[1] = self.copies[0].clone();
        self.split = true;
    }

    /// Becomes one again: either copy wins.
    pub(crate) fn join(&mut self, winner: usize, now: u64) {
        if self.split {
            self.copies.swap(0, winner);
            self.split = false;
            self.came_back(now);
        }
    }

    /// Breaks some value.
    pub(crate) fn damage(&mut self, query: usize) -> bool {
        let slot = query % self.slots;
        let found = self.copies[0].values.get_mut(&slot);
        found.map(|stored| stored.damaged = true).is_some()
    }
}
