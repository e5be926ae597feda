//! The adaptive policy: it runs the rules that would have done best lately, as shadow caches on a sample of the keys tell.
//!
//! No fixed rules win everywhere: recency wins where working sets move, frequency where they stay, and a loop needs an admission that refuses nearly all.
//! All trial rules are of one family ([`super::duo`]), so following the evidence means no more than saying other rules at the next call.

use super::duo::{Duo, NEVER, Rules, Uses, WHOLE};
use super::shadow::{Sample, Shadow};
use super::{Policy, Residents};

/// The rules on trial, the first in force until there is evidence.
///
/// Chosen greedily on synthetic traces: each adds most to the best of those before it.
const TRIALS: [Rules; 6] = [
    // A tenth is window, one hit proves an entry, others must lead in frequency: best on average.
    PROVEN,
    // Least recently used (exactly so in small shards).
    RECENT,
    // Hardly any window, frequency alone decides: loops and scans.
    FREQUENT,
    // S3-FIFO, with the frequencies as ghosts.
    Rules {
        promote_at: 2,
        contest: None,
        chances: 3,
        readmit_at: 2,
        ..PROVEN
    },
    // S3-FIFO eager: one hit or one earlier use proves an entry.
    Rules {
        contest: None,
        readmit_at: 1,
        ..PROVEN
    },
    // W-TinyLFU with a wide window.
    WIDE,
];

/// The rules on trial once an entry says what it cost to load: some that count costs in place of some that do not.
const COST_TRIALS: [Rules; 6] = [
    PROVEN,
    RECENT,
    Rules {
        by_cost: true,
        ..FREQUENT
    },
    Rules {
        promote_at: NEVER,
        contest: Some(0),
        recency: true,
        by_cost: true,
        ..PROVEN
    },
    Rules {
        by_cost: true,
        ..PROVEN
    },
    Rules {
        recency: true,
        by_cost: true,
        ..WIDE
    },
];

/// The first of [`TRIALS`].
const PROVEN: Rules = Rules {
    window: 26,
    promote_at: 1,
    contest: Some(1),
    chances: 1,
    readmit_at: 0,
    recency: false,
    by_cost: false,
};
/// The second.
const RECENT: Rules = Rules {
    window: WHOLE,
    promote_at: NEVER,
    contest: None,
    chances: 1,
    readmit_at: 0,
    recency: true,
    by_cost: false,
};
/// The third.
const FREQUENT: Rules = Rules {
    window: 3,
    promote_at: NEVER,
    ..PROVEN
};
/// The last.
const WIDE: Rules = Rules {
    window: 154,
    promote_at: NEVER,
    contest: Some(0),
    ..PROVEN
};

/// Most entries of a shadow; larger shards try their rules on a power-of-two share of the keys.
const SHADOW_ENTRIES: u64 = 64;
/// Up to this capacity every hit is heard of, so that recency is exact; above, second chances come close to it.
const IN_ORDER_UP_TO: u64 = 1024;
/// The lowest hash bit that decides whether a key is in the sample. The engine must not choose shards by it or the bits above it up to bit 51.
const SAMPLE_SHIFT: u32 = 20;
/// Fewest sampled uses between two verdicts; above it is the shadow's capacity.
const VERDICT_EVERY: u32 = 128;
/// What a hit scores; each verdict takes a sixteenth off all scores, so older evidence fades.
const HIT: u64 = 64;
/// Rules must lead those in force by one in this many to replace them.
const LEAD: u64 = 64;
/// The same where costs are known: a few dear keys in or out of the sample make the scores uncertain.
const COST_LEAD: u64 = 16;
/// Known keys per resident entry.
const KEYS_PER_ENTRY: usize = 2;

/// The queues in force and the trials beside them.
#[derive(Debug)]
pub(crate) struct Adaptive {
    duo: Duo,
    /// Uses of all keys, for the queues in force.
    uses: Uses,
    /// Boxed: the other policies are much smaller.
    trials: Box<Trials>,
}

/// The shadows and what they showed.
#[derive(Debug)]
struct Trials {
    /// One for each of [`TRIALS`].
    shadows: [Shadow; TRIALS.len()],
    /// Uses of the sampled keys, common to all shadows.
    uses: Uses,
    /// Fading hits of each shadow, weighed by what they saved if costs are known.
    scores: [u64; TRIALS.len()],
    /// Which rules are in force.
    current: usize,
    /// Whether a cost has been seen: then [`COST_TRIALS`] are on trial.
    costs: bool,
    /// How many entries of the shard the shadows were made for.
    entries: u64,
    /// The hash bits that are all zero in a sampled key.
    mask: u64,
    /// Sampled uses between two verdicts.
    period: u32,
    /// Sampled uses until the next verdict.
    left: u32,
}

impl Trials {
    /// Makes empty shadows for a shard of so many entries.
    fn new(entries: u64, current: usize) -> Self {
        let entries = entries.max(1);
        let shift = entries
            .div_ceil(SHADOW_ENTRIES)
            .next_power_of_two()
            .trailing_zeros()
            .min(31);
        // The sample cannot be smaller than the bits allow; the shadows can. They are made anew once the shard is full.
        let capacity = (entries >> shift).clamp(1, SHADOW_ENTRIES) as u16;
        let mut uses = Uses::default();
        uses.table.resize(usize::from(capacity) * KEYS_PER_ENTRY);
        let period = u32::from(capacity).max(VERDICT_EVERY);
        Self {
            shadows: std::array::from_fn(|_| Shadow::new(capacity)),
            uses,
            scores: [0; TRIALS.len()],
            current,
            costs: false,
            entries,
            mask: ((1 << shift) - 1) << SAMPLE_SHIFT,
            period,
            left: period,
        }
    }

    /// Tells whether recency is exact in a shard of this size.
    fn in_order(&self) -> bool {
        self.entries <= IN_ORDER_UP_TO
    }

    /// Gives the rules on trial.
    fn rules(&self) -> &'static [Rules; TRIALS.len()] {
        if self.costs { &COST_TRIALS } else { &TRIALS }
    }

    /// Replays a use of a key on all shadows, if it is in the sample.
    #[expect(clippy::cast_possible_truncation, reason = "32 bits of the hash are meant")]
    fn replay(&mut self, hash: u64, cost: u32) {
        if hash & self.mask != 0 {
            return;
        }
        if cost > 0 && !self.costs {
            self.costs = true;
            self.scores = [0; TRIALS.len()];
        }
        // Folded, so that it keeps all entropy whatever bits the engine chose the shard by.
        let print = (hash ^ hash >> 32) as u32;
        let before = self.uses.table.add(u64::from(print), 1) - 1;
        let sample = Sample { print, before, cost };
        let (rules, in_order) = (self.rules(), self.in_order());
        for ((shadow, &rules), score) in self.shadows.iter_mut().zip(rules).zip(&mut self.scores) {
            if shadow.replay(sample, rules, in_order, &mut self.uses) {
                *score += HIT * u64::from(cost.max(1));
            }
        }
        self.left -= 1;
        if self.left == 0 {
            self.left = self.period;
            self.judge();
        }
    }

    /// Puts the best rules in force if they lead clearly, and fades the scores.
    fn judge(&mut self) {
        let current = self.scores[self.current];
        // Of equals the first.
        let best = (0..TRIALS.len())
            .rev()
            .max_by_key(|&trial| self.scores[trial])
            .unwrap_or(0);
        let lead = current / if self.costs { COST_LEAD } else { LEAD } + HIT;
        if self.scores[best] > current + lead {
            self.current = best;
        }
        for score in &mut self.scores {
            *score -= *score / 16;
        }
    }
}

impl Adaptive {
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
            trials: Box::new(Trials::new(capacity, 0)),
        }
    }

    /// Gives the rules in force.
    fn rules(&self) -> Rules {
        self.trials.rules()[self.trials.current]
    }

    /// Makes the shadows anew if the shard, now full, holds far more or fewer entries than they were made for: weights differ, or the capacity changed.
    ///
    /// They start with the sampled residents. Amortised: the number of entries has halved or doubled since the last time.
    fn fit_trials<R: Residents>(&mut self, residents: &R) {
        let entries = self.duo.len() as u64;
        if entries <= 2 * self.trials.entries && 2 * entries >= self.trials.entries {
            return;
        }
        *self.trials = Trials::new(entries, self.trials.current);
        for slot in self.duo.oldest_first() {
            self.trials.replay(residents.hash(slot), residents.cost(slot));
        }
        self.trials.scores = [0; TRIALS.len()];
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
impl Adaptive {
    /// Gives how many keys it has room to count uses of.
    pub(super) fn known_keys(&self) -> usize {
        self.uses.table.room()
    }
}

impl Policy for Adaptive {
    fn sample_mask(&self) -> Option<u64> {
        Some(if self.trials.in_order() {
            0
        } else {
            self.trials.mask
        })
    }

    fn heard<R: Residents>(&mut self, slot: u32, hash: u64, residents: &R) {
        if self.rules().recency && self.trials.in_order() {
            self.duo.touch(slot, &mut self.uses, residents);
        }
        let cost = if self.duo.holds(slot) {
            residents.cost(slot)
        } else {
            0
        };
        self.trials.replay(hash, cost);
    }

    fn insert<R: Residents>(&mut self, slot: u32, hash: u64, residents: &R) {
        self.trials.replay(hash, residents.cost(slot));
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
        self.fit_trials(residents);
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
        *self.trials = Trials::new(self.duo.capacity(), 0);
    }

    fn queues(&self) -> Vec<(&'static str, Vec<u32>)> {
        self.duo.queues()
    }

    fn validate<R: Residents>(&self, residents: &R) -> Result<(), String> {
        self.duo.validate(residents)?;
        self.trials.shadows.iter().try_for_each(Shadow::validate)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::duo::Rules;
    use super::super::frequency::Frequency;
    use super::super::slow_duo::SlowDuo;
    use super::super::testing::{Naive, Twin, hash_of, ops};
    use super::{Adaptive, COST_TRIALS, HIT, KEYS_PER_ENTRY, TRIALS, Trials};

    /// How the shadows' frequencies know a key.
    fn print_of(key: u16) -> u64 {
        let hash = hash_of(key);
        (hash ^ hash >> 32) & u64::from(u32::MAX)
    }

    /// The queues in force and six slow shadows that see every use, in order.
    struct Slow {
        duo: SlowDuo,
        uses: Frequency,
        shadows: Vec<SlowDuo>,
        shadow_uses: Frequency,
        scores: Vec<u64>,
        costs: BTreeMap<u16, u32>,
        trials: [Rules; 6],
        current: usize,
        entries: u64,
        left: u64,
    }

    impl Slow {
        fn new(capacity: u64) -> Self {
            let mut slow = Self {
                duo: SlowDuo::new(capacity, true, hash_of),
                uses: Frequency::default(),
                shadows: Vec::new(),
                shadow_uses: Frequency::default(),
                scores: Vec::new(),
                costs: BTreeMap::new(),
                trials: TRIALS,
                current: 0,
                entries: 0,
                left: 0,
            };
            slow.uses.resize(0);
            slow.restart(capacity);
            slow
        }

        fn restart(&mut self, entries: u64) {
            self.entries = entries.max(1);
            self.trials = TRIALS;
            self.shadows = vec![SlowDuo::new(self.entries, false, print_of); TRIALS.len()];
            self.shadow_uses = Frequency::default();
            self.shadow_uses
                .resize(KEYS_PER_ENTRY * usize::try_from(self.entries).unwrap());
            self.scores = vec![0; TRIALS.len()];
            self.left = self.entries.max(128);
        }

        fn replay(&mut self, key: u16) {
            let cost = self.costs[&key];
            if cost > 0 && self.trials == TRIALS {
                self.trials = COST_TRIALS;
                self.scores.fill(0);
            }
            let before = self.shadow_uses.add(print_of(key), 1) - 1;
            for (trial, rules) in self.trials.into_iter().enumerate() {
                let shadow = &mut self.shadows[trial];
                if shadow.holds(key) {
                    self.scores[trial] += HIT * u64::from(cost.max(1));
                    shadow.bump(key);
                    if rules.recency {
                        shadow.touch(key, &mut self.shadow_uses);
                    }
                    continue;
                }
                shadow.insert(key, 1, cost, before, rules);
                if shadow.len() as u64 > self.entries {
                    shadow.evict(rules, &mut self.shadow_uses);
                }
            }
            self.left -= 1;
            if self.left == 0 {
                self.left = self.entries.max(128);
                let most = *self.scores.iter().max().unwrap();
                let current = self.scores[self.current];
                let lead = if self.trials == COST_TRIALS { 16 } else { 64 };
                if most > current + current / lead + HIT {
                    self.current = self.scores.iter().position(|&score| score == most).unwrap();
                }
                self.scores.iter_mut().for_each(|score| *score -= *score / 16);
            }
        }
    }

    impl Naive for Slow {
        fn hit(&mut self, key: u16) {
            self.duo.bump(key);
            if self.trials[self.current].recency {
                self.duo.touch(key, &mut self.uses);
            }
            self.replay(key);
        }

        fn insert(&mut self, key: u16, weight: u32, cost: u32) {
            self.costs.insert(key, cost);
            self.replay(key);
            let before = self.uses.add(hash_of(key), 1) - 1;
            self.duo
                .insert(key, weight, cost, before, self.trials[self.current]);
        }

        fn remove(&mut self, key: u16) {
            self.duo.remove(key);
        }

        fn reweigh(&mut self, key: u16, weight: u32) {
            self.duo.reweigh(key, weight);
        }

        fn evict(&mut self) -> Option<u16> {
            let len = self.duo.len() as u64;
            if len > 2 * self.entries || 2 * len < self.entries {
                self.restart(len);
                for key in self.duo.oldest_first() {
                    self.replay(key);
                }
                self.scores.fill(0);
            }
            self.duo.evict(self.trials[self.current], &mut self.uses)
        }

        fn spare(&mut self, key: u16, hits: u8, weight: u32, cost: u32) {
            self.duo.spare(key, hits, weight, cost);
        }

        fn resize(&mut self, capacity: u64) {
            self.duo.capacity = capacity;
        }

        fn clear(&mut self) {
            *self = Self::new(self.duo.capacity);
        }

        fn queues(&self) -> Vec<(&'static str, Vec<u16>)> {
            self.duo.queues()
        }
    }

    proptest! {
        #[test]
        fn equals_the_naive_queues((capacity, ops) in ops(4, 2500)) {
            Twin::new(Adaptive::new(capacity), Slow::new(capacity), capacity).run(ops);
        }
    }

    /// Draws keys in phases: loops of some length, or moving working sets, from some key on.
    fn phases() -> impl Strategy<Value = Vec<u16>> {
        let phase =
            (0_u16..60, 1_u16..60, any::<bool>(), 100_u16..600).prop_map(|(start, length, moves, steps)| {
                let key = move |step| {
                    if moves {
                        step / 9 + step * 7 % length
                    } else {
                        step % length
                    }
                };
                (0..steps).map(|step| start + key(step)).collect::<Vec<_>>()
            });
        prop::collection::vec(phase, 1..8).prop_map(|phases| phases.concat())
    }

    proptest! {
        /// The verdicts themselves: each score and the rules in force, after each use.
        #[test]
        fn judges_as_the_naive_trials(entries in 1_u64..50, keys in phases(), costs in any::<bool>()) {
            let mut trials = Trials::new(entries, 0);
            let mut slow = Slow::new(entries);
            for key in keys {
                let cost = if costs { u32::from(key % 3) } else { 0 };
                trials.replay(hash_of(key), cost);
                slow.costs.insert(key, cost);
                slow.replay(key);
                prop_assert_eq!(&trials.scores[..], &slow.scores[..]);
                prop_assert_eq!(trials.current, slow.current);
            }
        }
    }

    /// Feeds the trials and gives the rules they settle on.
    fn verdict(entries: u64, keys: impl Iterator<Item = u16>) -> usize {
        let mut trials = Trials::new(entries, 0);
        keys.for_each(|key| trials.replay(hash_of(key), 0));
        trials.current
    }

    #[test]
    fn settles_on_recency_when_the_working_set_moves() {
        // Each of a hundred keys is used again after 40 others, then the next hundred come.
        let keys = (0..400).flat_map(|round| (0..100).map(move |step| round * 10 + step % 50));
        assert_eq!(verdict(60, keys), 1);
    }

    #[test]
    fn does_not_settle_on_recency_in_a_loop() {
        let keys = (0..200).flat_map(|_| 0..100);
        let current = verdict(50, keys);
        assert!(TRIALS[current].contest.is_some());
    }

    #[test]
    fn a_shard_of_any_capacity_has_small_shadows() {
        for capacity in [1, 255, 257, 1 << 38, 1 << 39, 1 << 40, 1 << 63, u64::MAX] {
            let trials = Trials::new(capacity, 0);
            // Its slots are its capacity and one, which is the length of a period if that is not the least.
            assert!(
                trials.period <= 256,
                "{capacity}: shadows of {} entries",
                trials.period
            );
        }
    }

    #[test]
    fn large_shards_try_a_share_of_the_keys() {
        let trials = Trials::new(15_625, 0);
        assert_eq!(trials.mask.count_ones(), 8);
        assert!(!trials.in_order());
        assert_eq!(Trials::new(1 << 40, 0).mask.count_ones(), 31);
        assert_eq!(Trials::new(1, 0).mask, 0);
    }
}
