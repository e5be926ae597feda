//! W-TinyLFU: a window by recency, a main queue guarded by a contest of frequencies, and a hill climber that finds the window's share.
//!
//! After Einziger, Friedman and Manes, "TinyLFU: a highly efficient cache admission policy" (2017), and Einziger, Eytan, Friedman and Manes, "Adaptive
//! software cache management" (2018). Main gives second chances where theirs is a segmented LRU, because hits take no exclusive lock here.

use super::duo::{Duo, NEVER, Rules, Uses};
use super::{Policy, Residents};

/// The window's first share, in 1/256 of the capacity.
const FIRST_WINDOW: u16 = 26;
/// The widest window the climber tries; some of main must stay to be guarded.
const WIDEST_WINDOW: u16 = 230;
/// The narrowest.
const NARROWEST_WINDOW: u16 = 2;
/// The climber's first step.
const FIRST_STEP: i16 = 32;
/// Requests seen between two steps, per entry of capacity, and at least.
const STEP_EVERY: (u64, u64) = (10, 1000);
/// Most requests seen between two steps: a large shard hears of a share of them only.
const STEP_AT_MOST: u64 = 40_000;
/// A change of the hit ratio, in 1/1024, that restarts the climb with the first step: the workload is another.
const RESTART_AT: i32 = 51;
/// Known keys per resident entry.
const KEYS_PER_ENTRY: usize = 2;
/// Shards up to this capacity hear of every hit, larger ones of one in 16.
const HEAR_ALL_UP_TO: u64 = 1024;
/// The hash bits that are zero in one of 16 keys.
const SAMPLE: u64 = 0xF << 20;

/// Moves the window's share uphill: on while the hit ratio rises, back when it falls, by ever smaller steps.
#[derive(Debug)]
struct Climber {
    /// The share, in 1/256 of the capacity.
    window: u16,
    /// The next change of the share.
    step: i16,
    /// Requests seen since the last step.
    requests: u32,
    /// Hits among them.
    hits: u32,
    /// The hit ratio before the last step, in 1/1024.
    ratio: i32,
}

impl Climber {
    /// Starts at the first share.
    fn new() -> Self {
        Self {
            window: FIRST_WINDOW,
            step: FIRST_STEP,
            requests: 0,
            hits: 0,
            ratio: 0,
        }
    }

    /// Counts a request and steps after `period` of them.
    fn saw(&mut self, hit: bool, period: u64) {
        self.requests += 1;
        self.hits += u32::from(hit);
        if u64::from(self.requests) < period {
            return;
        }
        let ratio = i32::try_from(u64::from(self.hits) * 1024 / u64::from(self.requests)).unwrap_or(0);
        let change = ratio - self.ratio;
        if change < 0 {
            self.step = -self.step;
        }
        if change.abs() >= RESTART_AT {
            self.step = FIRST_STEP * self.step.signum();
        }
        self.window = self
            .window
            .saturating_add_signed(self.step)
            .clamp(NARROWEST_WINDOW, WIDEST_WINDOW);
        // An eighth smaller each time, but never standing still: workloads change.
        self.step -= self.step / 8;
        (self.requests, self.hits, self.ratio) = (0, 0, ratio);
    }
}

/// Window, main, frequencies and the climber.
#[derive(Debug)]
pub(crate) struct TinyLfu {
    duo: Duo,
    uses: Uses,
    climber: Climber,
}

impl TinyLfu {
    /// Makes an empty one.
    pub(crate) fn new(capacity: u64) -> Self {
        let mut uses = Uses {
            lazy: true,
            ..Uses::default()
        };
        uses.table.resize(0);
        Self {
            duo: Duo::new(capacity),
            uses,
            climber: Climber::new(),
        }
    }

    /// Gives the rules of the window's present share.
    fn rules(&self) -> Rules {
        Rules {
            window: self.climber.window,
            promote_at: NEVER,
            contest: Some(0),
            chances: 1,
            readmit_at: 0,
            recency: true,
            by_cost: true,
        }
    }

    /// Tells whether every hit is heard of.
    fn hears_all(&self) -> bool {
        self.duo.capacity() <= HEAR_ALL_UP_TO
    }

    /// Counts a request for the climber.
    fn saw(&mut self, hit: bool) {
        let period = (self.duo.capacity().saturating_mul(STEP_EVERY.0)).clamp(STEP_EVERY.1, STEP_AT_MOST);
        self.climber.saw(hit, period);
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
impl TinyLfu {
    /// Gives how many keys it has room to count uses of.
    pub(super) fn known_keys(&self) -> usize {
        self.uses.table.room()
    }
}

impl Policy for TinyLfu {
    fn sample_mask(&self) -> Option<u64> {
        Some(if self.hears_all() { 0 } else { SAMPLE })
    }

    fn heard<R: Residents>(&mut self, slot: u32, _hash: u64, residents: &R) {
        if self.hears_all() {
            self.duo.touch(slot, &mut self.uses, residents);
        }
        self.saw(true);
    }

    fn insert<R: Residents>(&mut self, slot: u32, hash: u64, residents: &R) {
        if self.hears_all() || hash & SAMPLE == 0 {
            self.saw(false);
        }
        let before = self.uses.table.add(hash, 1) - 1;
        self.duo.insert(slot, before, self.rules(), residents);
    }

    fn remove<R: Residents>(&mut self, slot: u32, residents: &R) {
        self.duo.unlink(slot, residents);
    }

    fn reweighed(&mut self, slot: u32, from: u32, to: u32) {
        self.duo.reweighed(slot, from, to);
    }

    fn evict<R: Residents>(&mut self, residents: &R) -> Option<u32> {
        self.duo.evict(self.rules(), &mut self.uses, residents)
    }

    fn spare<R: Residents>(&mut self, slot: u32, residents: &R) {
        self.duo.spare(slot, residents);
    }

    fn renumber(&mut self, new_of_old: &[u32], slots: usize) {
        self.duo.renumber(new_of_old, slots);
    }

    fn reserve(&mut self, slots: usize) {
        self.duo.reserve(slots);
        let most = usize::try_from(self.duo.capacity()).unwrap_or(usize::MAX);
        self.uses
            .table
            .grow(slots.min(most).saturating_mul(KEYS_PER_ENTRY));
    }

    fn set_capacity(&mut self, capacity: u64) {
        self.duo.set_capacity(capacity);
    }

    fn clear(&mut self) {
        self.duo.clear();
        self.uses.table.clear();
        self.climber = Climber::new();
    }

    fn queues(&self) -> Vec<(&'static str, Vec<u32>)> {
        self.duo.queues()
    }

    fn validate<R: Residents>(&self, residents: &R) -> Result<(), String> {
        self.duo.validate(residents)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frequency::Frequency;
    use super::super::slow_duo::SlowDuo;
    use super::super::testing::{Naive, Twin, hash_of, ops};
    use super::{Climber, NARROWEST_WINDOW, TinyLfu, WIDEST_WINDOW};

    /// Slow queues under the rules of a climber of their own. Tiny shards hear of every hit.
    struct Slow {
        duo: SlowDuo,
        uses: Frequency,
        twin: TinyLfu,
    }

    impl Naive for Slow {
        fn hit(&mut self, key: u16) {
            self.duo.bump(key);
            self.duo.touch(key, &mut self.uses);
            self.twin.saw(true);
        }

        fn insert(&mut self, key: u16, weight: u32, cost: u32) {
            self.twin.saw(false);
            let before = self.uses.add(hash_of(key), 1) - 1;
            self.duo.insert(key, weight, cost, before, self.twin.rules());
        }

        fn remove(&mut self, key: u16) {
            self.duo.remove(key);
        }

        fn reweigh(&mut self, key: u16, weight: u32) {
            self.duo.reweigh(key, weight);
        }

        fn evict(&mut self) -> Option<u16> {
            self.duo.evict(self.twin.rules(), &mut self.uses)
        }

        fn spare(&mut self, key: u16, hits: u8, weight: u32, cost: u32) {
            self.duo.spare(key, hits, weight, cost);
        }

        fn resize(&mut self, capacity: u64) {
            self.duo.capacity = capacity;
            self.twin.duo.set_capacity(capacity);
        }

        fn clear(&mut self) {
            self.duo = SlowDuo::new(self.duo.capacity, true, hash_of);
            self.uses.clear();
            self.twin.climber = Climber::new();
        }

        fn queues(&self) -> Vec<(&'static str, Vec<u16>)> {
            self.duo.queues()
        }
    }

    proptest! {
        #[test]
        fn equals_the_naive_queues((capacity, ops) in ops(4, 2500)) {
            let twin = TinyLfu::new(capacity);
            let naive = Slow { duo: SlowDuo::new(capacity, true, hash_of), uses: twin.uses.table.clone(), twin };
            Twin::new(TinyLfu::new(capacity), naive, capacity).run(ops);
        }
    }

    /// Runs a climber over hit ratios that depend on the window only.
    fn climb(ratio: impl Fn(u16) -> u32) -> u16 {
        let mut climber = Climber::new();
        for _ in 0..40 {
            let window = climber.window;
            (0..1000).for_each(|request| climber.saw(request < ratio(window), 1000));
        }
        climber.window
    }

    #[test]
    fn climbs_to_where_hits_are() {
        assert!(climb(|window| 300 + 2 * u32::from(window)) >= WIDEST_WINDOW - 64);
        assert!(climb(|window| 900 - 2 * u32::from(window)) <= NARROWEST_WINDOW + 64);
    }
}
