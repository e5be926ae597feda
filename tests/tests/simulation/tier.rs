//! The simulated shared tier: two copies that may part, writes and deletes that come late or never, and older states that come back.

use std::collections::BTreeMap;
use std::sync::Arc;

use ci_model::Version;
use ci_tests::matching::Answer;

/// A value as the tier holds it, header first.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) epoch: u64,
    /// Which question it answers: the full key.
    pub(crate) query: usize,
    /// True up to here, at least.
    pub(crate) validated: Version,
    pub(crate) answer: Arc<Answer>,
    /// The checksum does not fit any more.
    pub(crate) damaged: bool,
}

/// One copy.
#[derive(Debug, Clone, Default)]
struct Copy {
    values: BTreeMap<usize, Stored>,
    /// Counts deletes by slot, for the broken rule that goes by them.
    generations: BTreeMap<usize, u64>,
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

    /// Stores a value, with a lease only if nothing was deleted since.
    pub(crate) fn put(&mut self, node: usize, stored: Stored, lease: Option<u64>) -> bool {
        let slot = stored.query % self.slots;
        let copy = self.copy(node);
        let generation = copy.generations.get(&slot).copied().unwrap_or_default();
        if lease.is_some_and(|lease| lease != generation) {
            return false;
        }
        copy.values.insert(slot, stored);
        true
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
