//! Shadow caches: what other rules would have done, tried on a sample of the keys.

use std::sync::atomic::{AtomicU8, Ordering};

use super::duo::{Duo, Rules, Uses};
use super::{MAX_HITS, Residents};

/// Marks a free place of the index.
const FREE: u16 = u16::MAX;

/// A use of a key in the sample.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// What the key is known by.
    pub(crate) print: u32,
    /// How often it had been used before, as far as known.
    pub(crate) before: u8,
    /// What it costs to load; 0 if unknown.
    pub(crate) cost: u32,
}

/// The entries of a shadow by slot. A key is known by 32 bits of its hash; two keys of a few hundred rarely share them.
#[derive(Debug)]
struct Table {
    /// The key in each slot.
    prints: Vec<u32>,
    /// The mark of each slot. Touched under the shard's exclusive lock only; atomic because [`Residents`] sets marks
    /// through a shared reference, as readers of the real table do.
    hits: Vec<AtomicU8>,
    /// What the key in each slot costs to load; empty until a cost is known.
    costs: Vec<u32>,
    /// Slots by key, linearly probed, never more than half full; a power of two long.
    index: Vec<u16>,
}

impl Residents for Table {
    fn hits(&self, slot: u32) -> u8 {
        self.hits[slot as usize].load(Ordering::Relaxed)
    }

    fn set_hits(&self, slot: u32, hits: u8) {
        self.hits[slot as usize].store(hits, Ordering::Relaxed);
    }

    fn hash(&self, slot: u32) -> u64 {
        u64::from(self.prints[slot as usize])
    }

    fn weight(&self, _slot: u32) -> u32 {
        1
    }

    fn cost(&self, slot: u32) -> u32 {
        self.costs.get(slot as usize).copied().unwrap_or(0)
    }
}

impl Table {
    /// Makes an empty one of some slots.
    fn new(slots: usize) -> Self {
        let index = vec![FREE; (2 * slots).next_power_of_two()];
        Self {
            prints: vec![0; slots],
            hits: (0..slots).map(|_| AtomicU8::new(0)).collect(),
            costs: Vec::new(),
            index,
        }
    }

    /// Gives the place in the index where the probing for a key starts.
    fn home(&self, print: u32) -> usize {
        (print.wrapping_mul(0x9E37_79B1) >> 16) as usize & (self.index.len() - 1)
    }

    /// Finds the place of a key in the index, and its slot; or else the free place where it belongs.
    fn find(&self, print: u32) -> (usize, Option<u16>) {
        let mut place = self.home(print);
        loop {
            match self.index[place] {
                FREE => return (place, None),
                slot if self.prints[usize::from(slot)] == print => return (place, Some(slot)),
                _ => place = (place + 1) & (self.index.len() - 1),
            }
        }
    }

    /// Puts a key in a slot.
    fn put(&mut self, slot: u16, sample: Sample) {
        let (place, _) = self.find(sample.print);
        self.index[place] = slot;
        self.prints[usize::from(slot)] = sample.print;
        *self.hits[usize::from(slot)].get_mut() = 0;
        if sample.cost > 0 && self.costs.is_empty() {
            self.costs = vec![0; self.prints.len()];
        }
        if let Some(known) = self.costs.get_mut(usize::from(slot)) {
            *known = sample.cost;
        }
    }

    /// Takes the key of a slot out of the index and closes the gap in the probe sequences.
    fn take(&mut self, slot: u32) {
        let mask = self.index.len() - 1;
        let (mut gap, _) = self.find(self.prints[slot as usize]);
        let mut place = (gap + 1) & mask;
        while self.index[place] != FREE {
            let home = self.home(self.prints[usize::from(self.index[place])]);
            // It may move back into the gap unless its probing starts after it.
            if place.wrapping_sub(home) & mask >= place.wrapping_sub(gap) & mask {
                self.index[gap] = self.index[place];
                gap = place;
            }
            place = (place + 1) & mask;
        }
        self.index[gap] = FREE;
    }
}

/// A small cache of keys without values under rules on trial.
#[derive(Debug)]
pub(crate) struct Shadow {
    duo: Duo,
    table: Table,
    /// The slot for the next new key: one more slot than the capacity exists, so after an eviction the victim's is free.
    spare: u16,
}

impl Shadow {
    /// Makes an empty one.
    pub(crate) fn new(capacity: u16) -> Self {
        let slots = usize::from(capacity) + 1;
        let mut duo = Duo::new(u64::from(capacity));
        duo.reserve(slots);
        Self {
            duo,
            table: Table::new(slots),
            spare: 0,
        }
    }

    /// Replays a use of a key, already counted in `uses`, and tells whether it is a hit.
    pub(crate) fn replay(&mut self, sample: Sample, rules: Rules, in_order: bool, uses: &mut Uses) -> bool {
        if let (_, Some(slot)) = self.table.find(sample.print) {
            let mark = &self.table.hits[usize::from(slot)];
            mark.store(
                (mark.load(Ordering::Relaxed) + 1).min(MAX_HITS),
                Ordering::Relaxed,
            );
            if rules.recency && in_order {
                self.duo.touch(u32::from(slot), uses, &self.table);
            }
            return true;
        }
        self.table.put(self.spare, sample);
        self.duo
            .insert(u32::from(self.spare), sample.before, rules, &self.table);
        self.spare = self.next_spare(rules, uses);
        false
    }

    /// Checks that queues and index agree.
    ///
    /// # Errors
    ///
    /// Says which invariant is broken.
    pub(crate) fn validate(&self) -> Result<(), String> {
        self.duo.validate(&self.table)?;
        let indexed = self.table.index.iter().filter(|&&slot| slot != FREE).count();
        let len = self.duo.len();
        if indexed == len {
            Ok(())
        } else {
            Err(format!("a shadow indexes {indexed} keys and queues {len}"))
        }
    }

    /// Evicts if need be and gives the slot that is free then.
    #[expect(clippy::cast_possible_truncation, reason = "slots are at most 65,535")]
    fn next_spare(&mut self, rules: Rules, uses: &mut Uses) -> u16 {
        let len = self.duo.len();
        if len as u64 <= self.duo.capacity() {
            return len as u16;
        }
        let Some(victim) = self.duo.evict(rules, uses, &self.table) else {
            return 0;
        };
        self.table.take(victim);
        victim as u16
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::duo::{Rules, Uses, WHOLE};
    use super::{Sample, Shadow};

    proptest! {
        #[test]
        fn equals_a_naive_fifo(capacity in 1_u16..20, keys in prop::collection::vec(0_u32..32, 0..300)) {
            let fifo = Rules { window: WHOLE, promote_at: 255, contest: None, chances: 1, readmit_at: 0, recency: false, by_cost: false };
            let mut shadow = Shadow::new(capacity);
            let mut naive: Vec<u32> = Vec::new();
            for key in keys {
                // Many of these start probing at nearly the same place.
                let print = key.rotate_right(4);
                let sample = Sample { print, before: 0, cost: key % 3 };
                let hit = naive.contains(&print);
                prop_assert_eq!(shadow.replay(sample, fifo, false, &mut Uses::default()), hit);
                if !hit {
                    naive.push(print);
                    if naive.len() > usize::from(capacity) {
                        naive.remove(0);
                    }
                }
                prop_assert_eq!(shadow.validate(), Ok(()));
                prop_assert_eq!(shadow.duo.len(), naive.len());
            }
        }
    }
}
