//! S3-FIFO: a small queue filters entries that are used once, a main queue gives second chances, ghosts readmit straight into main.
//!
//! After Yang, Zhang, Qiu, Yue and Rashmi, "FIFO queues are all you need for cache eviction" (SOSP 2023).

use super::ghost::{Ghost, WAYS};
use super::links::Links;
use super::{Policy, Residents};

/// New entries.
const SMALL: usize = 0;
/// Entries that proved themselves.
const MAIN: usize = 1;
/// The small queue's share of the capacity is one in this many, by the paper.
const SMALL_SHARE: u64 = 10;
/// Hits needed to leave the small queue for main, by the paper.
const PROMOTE_AT: u8 = 2;
/// Second chances an entry of main can save up, by the paper.
const MAX_CHANCES: u8 = 3;

/// Two queues by age and the ghosts of the small one.
#[derive(Debug)]
pub(crate) struct S3Fifo {
    links: Links<2>,
    /// Total weight of each queue.
    weights: [u64; 2],
    ghost: Ghost,
    /// Most ghosts kept; a test lowers it to where the ghosts are exactly first in, first out.
    ghost_limit: usize,
    /// Total weight the shard may hold.
    capacity: u64,
}

impl S3Fifo {
    /// Makes an empty one.
    pub(crate) fn new(capacity: u64) -> Self {
        let mut ghost = Ghost::default();
        ghost.resize(WAYS);
        Self {
            links: Links::default(),
            weights: [0; 2],
            ghost,
            ghost_limit: usize::MAX,
            capacity,
        }
    }

    /// Gives the weight up to which the small queue is left alone.
    fn small_budget(&self) -> u64 {
        (self.capacity / SMALL_SHARE).max(1)
    }

    /// Takes a slot out of its queue and its weight off the books.
    fn unlink<R: Residents>(&mut self, slot: u32, residents: &R) {
        if let Some(queue) = self.links.unlink(slot) {
            self.weights[queue] -= u64::from(residents.weight(slot));
        }
    }

    /// Puts a slot at the front of a queue and its weight on the books.
    fn push<R: Residents>(&mut self, queue: usize, slot: u32, residents: &R) {
        self.links.push_front(queue, slot);
        self.weights[queue] += u64::from(residents.weight(slot));
    }

    /// Looks at the back of the small queue: a proven entry goes to main, any other leaves and becomes a ghost.
    fn step_small<R: Residents>(&mut self, residents: &R) -> Option<u32> {
        let slot = self.links.back(SMALL)?;
        let proven = residents.hits(slot) >= PROMOTE_AT;
        self.unlink(slot, residents);
        if proven {
            residents.set_hits(slot, 0);
            self.push(MAIN, slot, residents);
            return None;
        }
        self.ghost.insert(residents.hash(slot));
        Some(slot)
    }

    /// Looks at the back of main: an entry with chances left goes round again, any other leaves.
    fn step_main<R: Residents>(&mut self, residents: &R) -> Option<u32> {
        let slot = self.links.back(MAIN)?;
        let chances = residents.hits(slot).min(MAX_CHANCES);
        if chances > 0 {
            residents.set_hits(slot, chances - 1);
            self.links.move_front(MAIN, slot);
            return None;
        }
        self.unlink(slot, residents);
        Some(slot)
    }
}

impl Policy for S3Fifo {
    fn insert<R: Residents>(&mut self, slot: u32, hash: u64, residents: &R) {
        let queue = if self.ghost.take(hash) { MAIN } else { SMALL };
        self.push(queue, slot, residents);
    }

    fn remove<R: Residents>(&mut self, slot: u32, residents: &R) {
        self.unlink(slot, residents);
    }

    fn reweighed(&mut self, slot: u32, from: u32, to: u32) {
        if let Some(queue) = self.links.queue_of(slot) {
            self.weights[queue] = self.weights[queue] + u64::from(to) - u64::from(from);
        }
    }

    fn evict<R: Residents>(&mut self, residents: &R) -> Option<u32> {
        // Each step without a victim uses up a hit or a place in the small queue, so this ends, and in amortised constant time.
        while self.links.total() > 0 {
            let small = self.links.len(MAIN) == 0 || self.weights[SMALL] > self.small_budget();
            let victim = if small {
                self.step_small(residents)
            } else {
                self.step_main(residents)
            };
            if victim.is_some() {
                return victim;
            }
        }
        None
    }

    fn spare<R: Residents>(&mut self, slot: u32, residents: &R) {
        self.ghost.take(residents.hash(slot));
        self.links.push_back(MAIN, slot);
        self.weights[MAIN] += u64::from(residents.weight(slot));
    }

    fn renumber(&mut self, new_of_old: &[u32], slots: usize) {
        self.links.renumber(new_of_old, slots);
        self.reserve(slots);
    }

    fn reserve(&mut self, slots: usize) {
        self.links.reserve(slots);
        let most = usize::try_from(self.capacity).unwrap_or(usize::MAX);
        self.ghost.resize(slots.min(most).min(self.ghost_limit));
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    fn clear(&mut self) {
        self.links.clear();
        self.weights = [0; 2];
        self.ghost.clear();
    }

    fn queues(&self) -> Vec<(&'static str, Vec<u32>)> {
        vec![
            ("main", self.links.iter(MAIN).collect()),
            ("small", self.links.iter(SMALL).collect()),
        ]
    }

    fn validate<R: Residents>(&self, residents: &R) -> Result<(), String> {
        self.links.validate()?;
        super::check_weights(&self.links, &self.weights, residents)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::testing::{Naive, Twin, ops};
    use super::S3Fifo;

    /// The paper's queues as vectors, the newest first, with as many ghosts as the ghost table keeps exactly in order.
    struct Slow {
        small: Vec<u16>,
        main: Vec<u16>,
        ghosts: Vec<u16>,
        hits: BTreeMap<u16, u8>,
        weights: BTreeMap<u16, u64>,
        capacity: u64,
    }

    impl Slow {
        fn new(capacity: u64) -> Self {
            let (hits, weights) = (BTreeMap::new(), BTreeMap::new());
            Self {
                small: Vec::new(),
                main: Vec::new(),
                ghosts: Vec::new(),
                hits,
                weights,
                capacity,
            }
        }
    }

    impl Naive for Slow {
        fn hit(&mut self, key: u16) {
            *self.hits.entry(key).or_default() += 1;
        }

        fn insert(&mut self, key: u16, weight: u32, _cost: u32) {
            self.weights.insert(key, u64::from(weight));
            self.hits.insert(key, 0);
            if self.ghosts.contains(&key) {
                self.ghosts.retain(|&ghost| ghost != key);
                self.main.insert(0, key);
            } else {
                self.small.insert(0, key);
            }
        }

        fn remove(&mut self, key: u16) {
            self.small.retain(|&held| held != key);
            self.main.retain(|&held| held != key);
        }

        fn reweigh(&mut self, key: u16, weight: u32) {
            self.weights.insert(key, u64::from(weight));
        }

        fn evict(&mut self) -> Option<u16> {
            loop {
                let weight: u64 = self.small.iter().map(|key| self.weights[key]).sum();
                if self.main.is_empty() || weight > (self.capacity / 10).max(1) {
                    let key = self.small.pop()?;
                    if self.hits[&key] < 2 {
                        self.ghosts.insert(0, key);
                        self.ghosts.truncate(super::WAYS);
                        return Some(key);
                    }
                    self.hits.insert(key, 0);
                    self.main.insert(0, key);
                } else {
                    let key = self.main.pop()?;
                    let chances = self.hits[&key].min(3);
                    if chances == 0 {
                        return Some(key);
                    }
                    self.hits.insert(key, chances - 1);
                    self.main.insert(0, key);
                }
            }
        }

        fn spare(&mut self, key: u16, _hits: u8, _weight: u32, _cost: u32) {
            self.ghosts.retain(|&ghost| ghost != key);
            self.main.push(key);
        }

        fn resize(&mut self, capacity: u64) {
            self.capacity = capacity;
        }

        fn clear(&mut self) {
            *self = Self::new(self.capacity);
        }

        fn queues(&self) -> Vec<(&'static str, Vec<u16>)> {
            vec![("main", self.main.clone()), ("small", self.small.clone())]
        }
    }

    proptest! {
        #[test]
        fn equals_the_naive_queues((capacity, ops) in ops(4, 400)) {
            let mut policy = S3Fifo::new(capacity);
            policy.ghost_limit = super::WAYS;
            Twin::new(policy, Slow::new(capacity), capacity).run(ops);
        }
    }
}
