//! The family of policies that the frequency-based ones move within: a window, a main queue with second chances, and a contest between them.
//!
//! Which rules hold is said with each call, so a policy can change its rules at any time and nothing is rebuilt.

use super::frequency::Frequency;
use super::links::Links;
use super::{Residents, check_weights};

/// New entries.
pub(crate) const WINDOW: usize = 0;
/// Entries that proved themselves.
pub(crate) const MAIN: usize = 1;
/// Most second chances and promotions looked at in one search for a victim; it bounds the work of an eviction.
const SWEEP: usize = 32;
/// Most entries moved from an oversized window to main at an insert: two, so that the window shrinks although each insert adds to it.
const OVERFLOW: usize = 2;
/// How many entries at the back of a queue are compared by benefit when loading them again has a known cost.
const COMPARED: usize = 8;
/// What [`Rules::promote_at`] says when no number of hits is enough.
pub(crate) const NEVER: u8 = u8::MAX;
/// What [`Rules::window`] says when all the capacity is window.
pub(crate) const WHOLE: u16 = 256;

/// One member of the family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rules {
    /// The window's share of the capacity, in 1/256.
    pub(crate) window: u16,
    /// Hits that take an entry at the back of the window straight to main; [`NEVER`] for none.
    pub(crate) promote_at: u8,
    /// If set, any other entry at the back of the window still goes to main if it is known to be used that much more often than main's next victim.
    /// A lead of 1 also stops a loop from trading entries of equal merit: the new one has just been counted for this round, the old one not yet.
    pub(crate) contest: Option<u8>,
    /// Most rounds through main that saved hits buy.
    pub(crate) chances: u8,
    /// Known uses of a key that take its new entry straight to main; 0 for never.
    pub(crate) readmit_at: u8,
    /// Whether the window is kept by recency of use rather than by age.
    pub(crate) recency: bool,
    /// Whether known costs of loading an entry again count when one is to be lost.
    pub(crate) by_cost: bool,
}

/// What is known of how often keys are used.
#[derive(Debug, Default)]
pub(crate) struct Uses {
    /// The counts.
    pub(crate) table: Frequency,
    /// Whether hits are learnt from the marks, when an entry is looked at; else they are counted elsewhere as they happen.
    pub(crate) lazy: bool,
}

impl Uses {
    /// Counts the hits found on a mark.
    fn settle<R: Residents>(&mut self, slot: u32, hits: u8, residents: &R) {
        if self.lazy && hits > 0 {
            self.table.add(residents.hash(slot), hits);
        }
    }

    /// Gives the known uses of an entry's key.
    fn of<R: Residents>(&self, slot: u32, residents: &R) -> u8 {
        self.table.get(residents.hash(slot))
    }

    /// Tells whether losing `a` costs more than losing `b` by uses x cost / weight, as far as costs are known; `b` is given so many uses
    /// more.
    ///
    /// One use more is taken of each: counts fade, and an entry that took 80 ms is not worth nothing because it was not asked for
    /// lately. Without that, what is dear and seldom asked for lost to everything that came along once (`cargo xtask bench admission`).
    fn is_dearer<R: Residents>(&self, a: u32, b: u32, lead: u8, residents: &R) -> bool {
        let worth = |slot, more: u8, per| {
            (u128::from(self.of(slot, residents)) + 1 + u128::from(more))
                * u128::from(residents.cost(slot).max(1))
                * u128::from(residents.weight(per))
        };
        worth(a, 0, b) > worth(b, lead, a)
    }
}

/// The two queues.
#[derive(Debug)]
pub(crate) struct Duo {
    /// Window and main, the newest at the front.
    links: Links<2>,
    /// Total weight of each queue.
    weights: [u64; 2],
    /// Total weight the shard may hold.
    capacity: u64,
}

impl Duo {
    /// Makes empty ones.
    pub(crate) fn new(capacity: u64) -> Self {
        Self {
            links: Links::default(),
            weights: [0; 2],
            capacity,
        }
    }

    /// Counts the entries of both.
    pub(crate) fn len(&self) -> usize {
        self.links.total()
    }

    /// Tells whether an entry is held.
    pub(crate) fn holds(&self, slot: u32) -> bool {
        self.links.queue_of(slot).is_some()
    }

    /// Gives the total weight that may be held.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity
    }

    /// Sets the total weight that may be held.
    pub(crate) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    /// Makes room for slot numbers below `slots`.
    pub(crate) fn reserve(&mut self, slots: usize) {
        self.links.reserve(slots);
    }

    /// Follows a rebuilt table.
    pub(crate) fn renumber(&mut self, new_of_old: &[u32], slots: usize) {
        self.links.renumber(new_of_old, slots);
    }

    /// Empties both.
    pub(crate) fn clear(&mut self) {
        self.links.clear();
        self.weights = [0; 2];
    }

    /// Takes in a new entry whose key had been used `before` times, as far as known.
    pub(crate) fn insert<R: Residents>(&mut self, slot: u32, before: u8, rules: Rules, residents: &R) {
        let known = rules.readmit_at > 0 && before >= rules.readmit_at;
        self.push(if known { MAIN } else { WINDOW }, slot, residents);
        if rules.contest.is_some() {
            self.overflow(rules, residents);
        }
    }

    /// Takes an entry out of its queue.
    pub(crate) fn unlink<R: Residents>(&mut self, slot: u32, residents: &R) {
        if let Some(queue) = self.links.unlink(slot) {
            self.weights[queue] -= u64::from(residents.weight(slot));
        }
    }

    /// Corrects the books of a queue for an entry that changed its weight.
    pub(crate) fn reweighed(&mut self, slot: u32, from: u32, to: u32) {
        if let Some(queue) = self.links.queue_of(slot) {
            self.weights[queue] = self.weights[queue] + u64::from(to) - u64::from(from);
        }
    }

    /// Learns of a hit at about the time it happened: the entry becomes the newest of its queue. An entry that is gone is ignored.
    pub(crate) fn touch<R: Residents>(&mut self, slot: u32, uses: &mut Uses, residents: &R) {
        let Some(queue) = self.links.queue_of(slot) else {
            return;
        };
        uses.settle(slot, residents.hits(slot), residents);
        // The move is what the hit buys; the mark would buy a second chance as well.
        residents.set_hits(slot, 0);
        self.links.move_front(queue, slot);
    }

    /// Chooses the entry to lose and takes it out; `None` only if there is none.
    pub(crate) fn evict<R: Residents>(
        &mut self,
        rules: Rules,
        uses: &mut Uses,
        residents: &R,
    ) -> Option<u32> {
        let found = (0..SWEEP).find_map(|_| self.step(rules, uses, residents));
        let slot = found
            .or_else(|| self.links.back(WINDOW))
            .or_else(|| self.links.back(MAIN))?;
        self.unlink(slot, residents);
        Some(slot)
    }

    /// Takes an entry back that was to be lost: as the next victim of main.
    pub(crate) fn spare<R: Residents>(&mut self, slot: u32, residents: &R) {
        self.links.push_back(MAIN, slot);
        self.weights[MAIN] += u64::from(residents.weight(slot));
    }

    /// Gives both queues, main first, the newest first.
    pub(crate) fn queues(&self) -> Vec<(&'static str, Vec<u32>)> {
        vec![
            ("main", self.links.iter(MAIN).collect()),
            ("window", self.links.iter(WINDOW).collect()),
        ]
    }

    /// Walks all entries from the next victims to the newest, main first.
    pub(crate) fn oldest_first(&self) -> impl Iterator<Item = u32> {
        let mut slot = self.links.back(MAIN).or_else(|| self.links.back(WINDOW));
        std::iter::from_fn(move || {
            let now = slot?;
            slot = self.links.before(now).or_else(|| match self.links.queue_of(now) {
                Some(MAIN) => self.links.back(WINDOW),
                _ => None,
            });
            Some(now)
        })
    }

    /// Checks that queues and books are consistent.
    ///
    /// # Errors
    ///
    /// Says which invariant is broken.
    pub(crate) fn validate<R: Residents>(&self, residents: &R) -> Result<(), String> {
        self.links.validate()?;
        check_weights(&self.links, &self.weights, residents)
    }

    /// Puts a slot at the front of a queue.
    fn push<R: Residents>(&mut self, queue: usize, slot: u32, residents: &R) {
        self.links.push_front(queue, slot);
        self.weights[queue] += u64::from(residents.weight(slot));
    }

    /// Moves an entry to the front of main, its mark used up.
    fn promote<R: Residents>(&mut self, slot: u32, residents: &R) {
        residents.set_hits(slot, 0);
        self.unlink(slot, residents);
        self.push(MAIN, slot, residents);
    }

    /// Gives the weight up to which the window is left alone.
    fn budget(&self, rules: Rules) -> u64 {
        let share = (u128::from(self.capacity) * u128::from(rules.window) + 128) >> 8;
        u64::try_from(share).unwrap_or(u64::MAX)
    }

    /// Moves what the window has too much to main while main has room, without a contest: while the shard fills, and after a change of rules.
    fn overflow<R: Residents>(&mut self, rules: Rules, residents: &R) {
        let budget = self.budget(rules);
        for _ in 0..OVERFLOW {
            let has_room = self.weights[MAIN].saturating_add(budget) < self.capacity;
            let Some(slot) = self
                .links
                .back(WINDOW)
                .filter(|_| has_room && self.weights[WINDOW] > budget)
            else {
                return;
            };
            self.unlink(slot, residents);
            self.push(MAIN, slot, residents);
        }
    }

    /// Looks at one entry at the back of the window, or finds main's victim if the window is within its budget; gives the victim if there is one now.
    fn step<R: Residents>(&mut self, rules: Rules, uses: &mut Uses, residents: &R) -> Option<u32> {
        if self.weights[WINDOW] <= self.budget(rules)
            && let Some(victim) = self.victim(rules, uses, residents)
        {
            return Some(victim);
        }
        let candidate = self.links.back(WINDOW)?;
        let hits = residents.hits(candidate);
        uses.settle(candidate, hits, residents);
        if rules.recency && hits > 0 {
            residents.set_hits(candidate, 0);
            self.links.move_front(WINDOW, candidate);
            return None;
        }
        if hits >= rules.promote_at {
            self.promote(candidate, residents);
            return None;
        }
        let Some(lead) = rules.contest else {
            return Some(self.cheapest(candidate, rules, uses, residents));
        };
        match self.victim(rules, uses, residents) {
            Some(victim) if Self::wins(candidate, victim, lead, rules, uses, residents) => {
                self.promote(candidate, residents);
                Some(victim)
            }
            _ => Some(candidate),
        }
    }

    /// Decides the contest between an entry leaving the window and main's victim.
    fn wins<R: Residents>(
        candidate: u32,
        victim: u32,
        lead: u8,
        rules: Rules,
        uses: &Uses,
        residents: &R,
    ) -> bool {
        if rules.by_cost && (residents.cost(candidate) > 0 || residents.cost(victim) > 0) {
            return uses.is_dearer(candidate, victim, lead, residents);
        }
        uses.of(candidate, residents) > uses.of(victim, residents).saturating_add(lead)
    }

    /// Finds main's victim: the oldest entry without hits, the others going round again.
    fn victim<R: Residents>(&mut self, rules: Rules, uses: &mut Uses, residents: &R) -> Option<u32> {
        for _ in 0..SWEEP {
            let slot = self.links.back(MAIN)?;
            let hits = residents.hits(slot);
            if hits == 0 {
                break;
            }
            uses.settle(slot, hits, residents);
            residents.set_hits(slot, (hits - 1).min(rules.chances.saturating_sub(1)));
            self.links.move_front(MAIN, slot);
        }
        let slot = self.links.back(MAIN)?;
        Some(self.cheapest(slot, rules, uses, residents))
    }

    /// Gives the entry of least benefit among the last few of a queue, or just the last one, `back`, if its cost is unknown or does not count.
    fn cheapest<R: Residents>(&self, back: u32, rules: Rules, uses: &Uses, residents: &R) -> u32 {
        if !rules.by_cost || residents.cost(back) == 0 {
            return back;
        }
        let mut best = back;
        let mut next = self.links.before(back);
        for _ in 1..COMPARED {
            let Some(slot) = next else { break };
            if uses.is_dearer(best, slot, 0, residents) {
                best = slot;
            }
            next = self.links.before(slot);
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::frequency::Frequency;
    use super::super::slow_duo::SlowDuo;
    use super::super::testing::{Naive, Twin, hash_of, ops};
    use super::super::{Policy, Residents};
    use super::{Duo, NEVER, Rules, Uses, WHOLE};

    /// The family under fixed rules, as a policy.
    struct Fixed {
        duo: Duo,
        uses: Uses,
        rules: Rules,
    }

    impl Policy for Fixed {
        fn insert<R: Residents>(&mut self, slot: u32, hash: u64, residents: &R) {
            let before = self.uses.table.add(hash, 1) - 1;
            self.duo.insert(slot, before, self.rules, residents);
        }

        fn remove<R: Residents>(&mut self, slot: u32, residents: &R) {
            self.duo.unlink(slot, residents);
        }

        fn reweighed(&mut self, slot: u32, from: u32, to: u32) {
            self.duo.reweighed(slot, from, to);
        }

        fn evict<R: Residents>(&mut self, residents: &R) -> Option<u32> {
            self.duo.evict(self.rules, &mut self.uses, residents)
        }

        fn spare<R: Residents>(&mut self, slot: u32, residents: &R) {
            self.duo.spare(slot, residents);
        }

        fn renumber(&mut self, new_of_old: &[u32], slots: usize) {
            self.duo.renumber(new_of_old, slots);
        }

        fn reserve(&mut self, slots: usize) {
            self.duo.reserve(slots);
        }

        fn set_capacity(&mut self, capacity: u64) {
            self.duo.set_capacity(capacity);
        }

        fn clear(&mut self) {
            self.duo.clear();
            self.uses.table.clear();
        }

        fn queues(&self) -> Vec<(&'static str, Vec<u32>)> {
            self.duo.queues()
        }

        fn validate<R: Residents>(&self, residents: &R) -> Result<(), String> {
            self.duo.validate(residents)
        }
    }

    /// The same, slowly.
    struct Slow {
        duo: SlowDuo,
        uses: Frequency,
        rules: Rules,
    }

    impl Naive for Slow {
        fn hit(&mut self, key: u16) {
            self.duo.bump(key);
        }

        fn insert(&mut self, key: u16, weight: u32, cost: u32) {
            let before = self.uses.add(hash_of(key), 1) - 1;
            self.duo.insert(key, weight, cost, before, self.rules);
        }

        fn remove(&mut self, key: u16) {
            self.duo.remove(key);
        }

        fn reweigh(&mut self, key: u16, weight: u32) {
            self.duo.reweigh(key, weight);
        }

        fn evict(&mut self) -> Option<u16> {
            self.duo.evict(self.rules, &mut self.uses)
        }

        fn spare(&mut self, key: u16, hits: u8, weight: u32, cost: u32) {
            self.duo.spare(key, hits, weight, cost);
        }

        fn resize(&mut self, capacity: u64) {
            self.duo.capacity = capacity;
        }

        fn clear(&mut self) {
            self.duo = SlowDuo::new(self.duo.capacity, true, hash_of);
            self.uses.clear();
        }

        fn queues(&self) -> Vec<(&'static str, Vec<u16>)> {
            self.duo.queues()
        }
    }

    /// Draws members of the family.
    fn rules() -> impl Strategy<Value = Rules> {
        let promote_at = prop_oneof![3 => 0_u8..4, 1 => Just(NEVER)];
        let queues = (
            prop_oneof![Just(0), Just(26), 0..=WHOLE],
            promote_at,
            any::<bool>(),
        );
        let contest = (prop::option::of(0_u8..3), 1_u8..4, 0_u8..3, any::<bool>());
        (queues, contest).prop_map(
            |((window, promote_at, recency), (contest, chances, readmit_at, by_cost))| Rules {
                window,
                promote_at,
                contest,
                chances,
                readmit_at,
                recency,
                by_cost,
            },
        )
    }

    proptest! {
        #[test]
        fn equals_the_naive_queues((capacity, ops) in ops(4, 400), rules in rules()) {
            let mut uses = Uses { lazy: true, ..Uses::default() };
            uses.table.resize(0);
            let naive = Slow { duo: SlowDuo::new(capacity, true, hash_of), uses: uses.table.clone(), rules };
            Twin::new(Fixed { duo: Duo::new(capacity), uses, rules }, naive, capacity).run(ops);
        }
    }
}
