//! Exact least-recently-used order: every hit moves its entry to the front.

use super::links::Links;
use super::{Policy, Residents};

/// The only queue.
const ALL: usize = 0;

/// One queue by recency of use; the back leaves.
#[derive(Debug, Default)]
pub(crate) struct Lru {
    links: Links<1>,
}

impl Lru {
    /// Makes an empty one. The capacity is the engine's concern alone.
    pub(crate) fn new() -> Self {
        Self::default()
    }
}

impl Policy for Lru {
    #[cfg(test)]
    fn is_exact(&self) -> bool {
        true
    }

    fn hit(&mut self, slot: u32) {
        self.links.move_front(ALL, slot);
    }

    fn insert<R: Residents>(&mut self, slot: u32, _hash: u64, _residents: &R) {
        self.links.push_front(ALL, slot);
    }

    fn remove<R: Residents>(&mut self, slot: u32, _residents: &R) {
        self.links.unlink(slot);
    }

    fn evict<R: Residents>(&mut self, _residents: &R) -> Option<u32> {
        let slot = self.links.back(ALL)?;
        self.links.unlink(slot);
        Some(slot)
    }

    fn spare<R: Residents>(&mut self, slot: u32, _residents: &R) {
        self.links.push_back(ALL, slot);
    }

    fn renumber(&mut self, new_of_old: &[u32], slots: usize) {
        self.links.renumber(new_of_old, slots);
    }

    fn reserve(&mut self, slots: usize) {
        self.links.reserve(slots);
    }

    fn set_capacity(&mut self, _capacity: u64) {}

    fn clear(&mut self) {
        self.links.clear();
    }

    fn queues(&self) -> Vec<(&'static str, Vec<u32>)> {
        vec![("all", self.links.iter(ALL).collect())]
    }

    fn validate<R: Residents>(&self, _residents: &R) -> Result<(), String> {
        self.links.validate()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::testing::{Naive, Twin, ops};
    use super::Lru;

    /// Keys, the most recently used first.
    #[derive(Default)]
    struct Slow(Vec<u16>);

    impl Naive for Slow {
        fn hit(&mut self, key: u16) {
            self.remove(key);
            self.0.insert(0, key);
        }

        fn insert(&mut self, key: u16, _weight: u32, _cost: u32) {
            self.0.insert(0, key);
        }

        fn remove(&mut self, key: u16) {
            self.0.retain(|&held| held != key);
        }

        fn reweigh(&mut self, _key: u16, _weight: u32) {}

        fn evict(&mut self) -> Option<u16> {
            self.0.pop()
        }

        fn spare(&mut self, key: u16, _hits: u8, _weight: u32, _cost: u32) {
            self.0.push(key);
        }

        fn resize(&mut self, _capacity: u64) {}

        fn clear(&mut self) {
            self.0.clear();
        }

        fn queues(&self) -> Vec<(&'static str, Vec<u16>)> {
            vec![("all", self.0.clone())]
        }
    }

    proptest! {
        #[test]
        fn equals_the_naive_list((capacity, ops) in ops(4, 400)) {
            Twin::new(Lru::new(), Slow::default(), capacity).run(ops);
        }
    }
}
