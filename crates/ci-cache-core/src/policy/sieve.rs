//! SIEVE: one queue in order of insertion and a hand that sweeps from back to front, sparing entries hit since its last visit.
//!
//! After Zhang, Yang, Yue, Vigfusson and Rashmi, "SIEVE is simpler than LRU" (NSDI 2024).

use super::links::Links;
use super::{Policy, Residents};

/// The only queue.
const ALL: usize = 0;

/// One queue by age; entries never move.
#[derive(Debug, Default)]
pub(crate) struct Sieve {
    links: Links<1>,
    /// Where the next sweep starts; `None` means at the back.
    hand: Option<u32>,
}

impl Sieve {
    /// Makes an empty one. The capacity is the engine's concern alone.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Unlinks a slot; a hand on it steps on towards the front.
    fn unlink(&mut self, slot: u32) {
        if self.hand == Some(slot) {
            self.hand = self.links.before(slot);
        }
        self.links.unlink(slot);
    }
}

impl Policy for Sieve {
    fn insert<R: Residents>(&mut self, slot: u32, _hash: u64, _residents: &R) {
        self.links.push_front(ALL, slot);
    }

    fn remove<R: Residents>(&mut self, slot: u32, _residents: &R) {
        self.unlink(slot);
    }

    fn evict<R: Residents>(&mut self, residents: &R) -> Option<u32> {
        let mut slot = self.hand.or_else(|| self.links.back(ALL))?;
        // Amortised constant: each step resets a mark that hits had set. A whole round resets them all, so it ends.
        while residents.hits(slot) > 0 {
            residents.set_hits(slot, 0);
            slot = self.links.before(slot).or_else(|| self.links.back(ALL))?;
        }
        self.hand = Some(slot);
        self.unlink(slot);
        Some(slot)
    }

    fn spare<R: Residents>(&mut self, slot: u32, _residents: &R) {
        self.links.push_back(ALL, slot);
    }

    fn renumber(&mut self, new_of_old: &[u32], slots: usize) {
        self.links.renumber(new_of_old, slots);
        self.hand = self.hand.map(|slot| new_of_old[slot as usize]);
    }

    fn reserve(&mut self, slots: usize) {
        self.links.reserve(slots);
    }

    fn set_capacity(&mut self, _capacity: u64) {}

    fn clear(&mut self) {
        self.links.clear();
        self.hand = None;
    }

    fn queues(&self) -> Vec<(&'static str, Vec<u32>)> {
        vec![("all", self.links.iter(ALL).collect())]
    }

    fn validate<R: Residents>(&self, _residents: &R) -> Result<(), String> {
        self.links.validate()?;
        match self.hand {
            Some(slot) if self.links.queue_of(slot).is_none() => {
                Err(format!("the hand is on slot {slot}, which is not queued"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Naive, Twin, ops};
    use super::Sieve;

    /// Keys with their visited flags, the newest first, and the key under the hand.
    #[derive(Default)]
    struct Slow {
        keys: Vec<(u16, bool)>,
        hand: Option<u16>,
    }

    impl Slow {
        fn position(&self, key: u16) -> usize {
            self.keys.iter().position(|&(held, _)| held == key).unwrap()
        }
    }

    impl Naive for Slow {
        fn hit(&mut self, key: u16) {
            let at = self.position(key);
            self.keys[at].1 = true;
        }

        fn insert(&mut self, key: u16, _weight: u32, _cost: u32) {
            self.keys.insert(0, (key, false));
        }

        fn remove(&mut self, key: u16) {
            let at = self.position(key);
            if self.hand == Some(key) {
                self.hand = at.checked_sub(1).map(|newer| self.keys[newer].0);
            }
            self.keys.remove(at);
        }

        fn reweigh(&mut self, _key: u16, _weight: u32) {}

        fn evict(&mut self) -> Option<u16> {
            let mut at = self.hand.map_or(self.keys.len() - 1, |key| self.position(key));
            while self.keys[at].1 {
                self.keys[at].1 = false;
                at = at.checked_sub(1).unwrap_or(self.keys.len() - 1);
            }
            let key = self.keys[at].0;
            self.hand = Some(key);
            self.remove(key);
            Some(key)
        }

        fn spare(&mut self, key: u16, _hits: u8, _weight: u32, _cost: u32) {
            self.keys.push((key, false));
        }

        fn resize(&mut self, _capacity: u64) {}

        fn clear(&mut self) {
            *self = Self::default();
        }

        fn queues(&self) -> Vec<(&'static str, Vec<u16>)> {
            vec![("all", self.keys.iter().map(|&(key, _)| key).collect())]
        }
    }

    proptest! {
        #[test]
        fn equals_the_naive_list((capacity, ops) in ops(4, 400)) {
            Twin::new(Sieve::new(), Slow::default(), capacity).run(ops);
        }
    }
}
