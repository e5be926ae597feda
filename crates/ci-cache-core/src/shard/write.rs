//! Entries come and go: everything that changes a shard's table.

use std::panic::resume_unwind;

use hashbrown::Equivalent;

use super::{BROKEN, HEARD, Shard};
use crate::clock::Tick;
use crate::config::{Config, Life};
use crate::detail::{Death, State};
use crate::entry::InsertOptions;
use crate::listener::{Cause, Garbage, Gone, Rest};
use crate::mark::Mark;
use crate::policy::Policy;
use crate::shim::Ordering;

/// What became of a value that was to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    /// It is resident.
    Kept,
    /// The policy gave its place to others, or it weighs more than the shard may hold.
    Refused,
}

impl<K, V, E> Shard<K, V, E> {
    /// Stores a pair and detaches the key's flight, whose load began earlier; evicts while the shard is too heavy.
    pub(crate) fn insert(
        &mut self,
        hash: u64,
        key: K,
        value: V,
        options: &InsertOptions,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) -> Stored
    where
        K: Eq,
    {
        self.overtake(hash, &key, out);
        let (key, value, life) = Self::life(hash, key, value, options, config, out);
        self.store(hash, key, value, life, config, out)
    }

    /// Tells whether nothing but pairs and deadlines is kept and nobody loads: then there is a short way to store a pair.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.columns.is_unused() && self.flights.is_empty() && !self.rules.overwriting_keeps_the_deadline()
    }

    /// Counts the replacement of a key's value, if it is there, and lends its place, which the caller then changes. Only while
    /// the shard [is plain](Self::is_plain).
    #[inline]
    pub(crate) fn replace(&mut self, hash: u64, key: &K, config: &Config<K, V>) -> Option<&mut V>
    where
        K: Eq,
    {
        let (slot, ..) = self.table.find(hash, key)?;
        let deadline = config.plain_deadline();
        self.expect(deadline);
        let (mark, _, place) = self.table.get_mut(slot)?;
        let before = mark.read();
        *mark = Mark::new(deadline, false);
        mark.set_hits(before.hits().saturating_add(1));
        self.stats.insertions += 1;
        if before.expires() && before.is_over(config.time.now()) {
            self.stats.expirations += 1;
        } else {
            self.stats.replacements += 1;
        }
        Some(place)
    }

    /// Stores a pair whose key is not there, with a deadline and no more to it. Only while the shard [is plain](Self::is_plain).
    #[inline(never)]
    pub(crate) fn insert_absent(
        &mut self,
        (hash, key, value): (u64, K, V),
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) {
        let life = Life::plain(config.plain_deadline());
        let stored = self.place(hash, key, value, life, config, out);
        self.shrink(stored, config, out);
    }

    /// Takes note of a deadline that an entry was given.
    #[inline]
    fn expect(&mut self, deadline: Tick) {
        self.soonest = self.soonest.min(deadline);
        self.upcoming = self.upcoming.min(deadline);
    }

    /// Decides the life of a pair that is to be stored. Should the caller's weigher or expiry function panic, the pair leaves
    /// the lock before it is dropped.
    #[inline]
    pub(super) fn life(
        hash: u64,
        key: K,
        value: V,
        options: &InsertOptions,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) -> (K, V, Life) {
        match config.life(hash, &key, &value, options) {
            Ok(life) => (key, value, life),
            Err(panic) => {
                out.push_rest(Rest::Pair(key, value));
                resume_unwind(panic)
            }
        }
    }

    pub(super) fn store(
        &mut self,
        hash: u64,
        key: K,
        value: V,
        life: Life,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) -> Stored
    where
        K: Eq,
    {
        // Insertions are counted where no code of the caller's can panic before the shard has an end or a place for them.
        let resident = self.table.find(hash, &key).map(|(slot, ..)| slot);
        if u64::from(life.weight) > self.most(&life) {
            if let Some(slot) = resident {
                self.take(hash, slot, Cause::Replaced, config, out);
            }
            self.stats.insertions += 1;
            return self.refuse(key, value, out);
        }
        let stored = match resident {
            Some(slot) => {
                self.stats.insertions += 1;
                self.overwrite(slot, key, value, life, config, out);
                Some(slot)
            }
            None => self.place(hash, key, value, life, config, out),
        };
        self.shrink(stored, config, out)
    }

    /// Gives a pair back that cannot be stored.
    fn refuse(&mut self, key: K, value: V, out: &mut Garbage<K, V, E>) -> Stored {
        self.stats.rejections += 1;
        out.push(Gone {
            key,
            value,
            cause: Cause::Size,
        });
        Stored::Refused
    }

    /// Replaces the value of a resident key.
    fn overwrite(
        &mut self,
        slot: u32,
        key: K,
        value: V,
        life: Life,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) {
        let state = match self.table.get(slot) {
            Some((mark, ..)) => self.state(slot, mark.read(), config),
            None => return,
        };
        let before = self.columns.weight(slot);
        let slots = self.table.slots();
        self.columns.set(slot, slots, life.detail, life.weight, life.cost);
        let Some((mark, _, place)) = self.table.get_mut(slot) else {
            return;
        };
        // The policy knows the entry: what its hits have earned it stays with it, and this counts as one.
        let hits = mark.read().hits();
        let before_that = mark.read().deadline();
        *mark = life.mark;
        if self.rules.overwriting_keeps_the_deadline() {
            mark.set_deadline(before_that);
        }
        let deadline = mark.read().deadline();
        mark.set_hits(hits.saturating_add(1));
        let old = std::mem::replace(place, value);
        self.expect(deadline);
        self.weight = self.weight - u64::from(before) + u64::from(life.weight);
        if before != life.weight {
            self.policy.reweighed(slot, before, life.weight);
            if let Some(groups) = &mut self.groups {
                groups.reweighed(slot, before, life.weight);
            }
        }
        if config.eviction.is_exact() {
            self.used(slot);
        } else if let Some(groups) = &mut self.groups {
            // Its hits are counted anew from here on, and so is what they have proven.
            groups.touch(slot, life.weight);
        }
        let cause = self.bury(state, Cause::Replaced);
        out.push(Gone {
            key,
            value: old,
            cause,
        });
    }

    /// Places a new pair; nothing if the table cannot grow any more.
    pub(super) fn place(
        &mut self,
        hash: u64,
        key: K,
        value: V,
        life: Life,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) -> Option<u32> {
        self.sweep(config, out);
        // What a panic in the hash of a key leaves half done goes out with the next write (`sync`).
        let epoch = std::mem::replace(&mut self.epoch, BROKEN);
        self.stats.insertions += 1;
        // Before anything moves: what was heard of is named by its slot.
        self.hear(config);
        if self.table.is_full() {
            self.grow(config, out);
        }
        self.expect(life.mark.read().deadline());
        let placed = self.table.insert(hash, life.mark, key, value);
        let slot = match placed {
            Ok(slot) => {
                let slots = self.table.slots();
                self.columns.set(slot, slots, life.detail, life.weight, life.cost);
                self.weight += u64::from(life.weight);
                if let (Some(groups), Some(group)) = (&mut self.groups, life.group) {
                    groups.join((slot, slots), group, life.weight);
                }
                let view = super::View {
                    table: &self.table,
                    columns: &self.columns,
                    rehash: &*config.rehash,
                };
                self.policy.insert(slot, hash, &view);
                self.sample = self.policy.sample_mask().unwrap_or(u64::MAX);
                Some(slot)
            }
            Err((key, value)) => {
                self.refuse(key, value, out);
                None
            }
        };
        self.epoch = epoch;
        slot
    }

    fn grow(&mut self, config: &Config<K, V>, out: &mut Garbage<K, V, E>) {
        // Room for one more than the capacity: the newcomer is placed before the victim is chosen.
        let limit = match &config.weigher {
            None => usize::try_from(self.capacity)
                .unwrap_or(usize::MAX)
                .saturating_add(1),
            Some(_) => usize::MAX,
        };
        if self.table.len() >= crate::table::MAX_ENTRIES {
            return;
        }
        let (old, moved) = self.table.grow(limit, &config.rehash);
        out.push_rest(Rest::Memory(Box::new(old)));
        let slots = self.table.slots();
        self.columns.renumber(&moved, slots);
        if !moved.is_empty() {
            self.policy.renumber(&moved, slots);
            if let Some(groups) = &mut self.groups {
                groups.renumber(&moved, slots);
            }
        }
        self.policy.reserve(slots);
        // The round begins anew; what it has noted stays a bound.
        self.hand = 0;
    }

    /// Tells the policy of the sampled hits.
    fn hear(&mut self, config: &Config<K, V>) {
        let len = self.heard.len.load(Ordering::Relaxed) as usize;
        if len == 0 {
            return;
        }
        let view = super::View {
            table: &self.table,
            columns: &self.columns,
            rehash: &*config.rehash,
        };
        let sampled = self.heard.slots.iter().zip(&self.heard.hashes);
        for (slot, hash) in sampled.take(len.min(HEARD)) {
            self.policy
                .heard(slot.load(Ordering::Relaxed), hash.load(Ordering::Relaxed), &view);
        }
        self.heard.len.store(0, Ordering::Relaxed);
    }

    /// Takes an entry out that the policy still holds; says whether it was fresh.
    pub(super) fn take(
        &mut self,
        hash: u64,
        slot: u32,
        cause: Cause,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) -> bool {
        let Some((mark, ..)) = self.table.get(slot) else {
            return false;
        };
        let state = self.state(slot, mark.read(), config);
        let epoch = std::mem::replace(&mut self.epoch, BROKEN);
        let view = super::View {
            table: &self.table,
            columns: &self.columns,
            rehash: &*config.rehash,
        };
        self.policy.remove(slot, &view);
        self.unseat(hash, slot, state, cause, out);
        self.epoch = epoch;
        state == State::Fresh
    }

    /// Takes an entry out of table and columns that the policy has let go of.
    pub(super) fn unseat(
        &mut self,
        hash: u64,
        slot: u32,
        state: State,
        cause: Cause,
        out: &mut Garbage<K, V, E>,
    ) {
        let weight = self.columns.weight(slot);
        self.weight -= u64::from(weight);
        if let Some(groups) = &mut self.groups {
            groups.leave(slot, weight, cause == Cause::Size && state == State::Fresh);
        }
        let slots = self.table.slots();
        self.columns.set(slot, slots, None, 1, 0);
        if let Some((_, key, value)) = self.table.take(hash, slot) {
            let cause = self.bury(state, cause);
            out.push(Gone { key, value, cause });
        }
    }

    /// Counts an entry's end under what really ended it: one that was dead already was not evicted or replaced.
    fn bury(&mut self, state: State, cause: Cause) -> Cause {
        let cause = match state {
            State::Fresh => cause,
            State::Dead(Death::Invalidated) => Cause::Removed,
            State::Stale | State::Fallback | State::Dead(Death::Expired) => Cause::Expired,
        };
        let counter = match cause {
            Cause::Size => &mut self.stats.evictions,
            Cause::Expired => &mut self.stats.expirations,
            Cause::Replaced => &mut self.stats.replacements,
            Cause::Removed | Cause::Cleared => &mut self.stats.invalidations,
        };
        *counter += 1;
        cause
    }

    /// Takes the entry of a key out and detaches its flight; says whether it was fresh.
    pub(crate) fn remove<Q>(
        &mut self,
        hash: u64,
        key: &Q,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) -> bool
    where
        Q: ?Sized + Equivalent<K>,
    {
        self.overtake(hash, key, out);
        match self.table.find(hash, key).map(|(slot, ..)| slot) {
            Some(slot) => self.take(hash, slot, Cause::Removed, config, out),
            None => false,
        }
    }

    /// Takes the entry of a key out if its value, fresh or not, matches, and lets the key's flight be; says whether it was
    /// fresh.
    pub(crate) fn remove_if<Q>(
        &mut self,
        hash: u64,
        key: &Q,
        matches: impl FnOnce(&V) -> bool,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) -> bool
    where
        Q: ?Sized + Equivalent<K>,
    {
        match self.table.find(hash, key) {
            Some((slot, _, _, value)) if matches(value) => self.take(hash, slot, Cause::Removed, config, out),
            _ => false,
        }
    }

    /// Takes a key's entry out if its time is over: a look-up met it.
    pub(crate) fn reap<Q>(&mut self, hash: u64, key: &Q, config: &Config<K, V>, out: &mut Garbage<K, V, E>)
    where
        Q: ?Sized + Equivalent<K>,
    {
        if let Some((slot, mark, ..)) = self.table.find(hash, key)
            && let State::Dead(_) = self.state(slot, mark.read(), config)
        {
            self.take(hash, slot, Cause::Expired, config, out);
        }
    }

    /// Takes out every entry and flight for which `matches` says so (a flight has no value yet), and every dead
    /// entry met on the way; counts the fresh ones.
    pub(crate) fn remove_where(
        &mut self,
        mut matches: impl FnMut(&K, Option<&V>) -> bool,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) -> usize {
        let doomed: Vec<(u32, u64)> = self
            .table
            .iter()
            .filter(|(slot, mark, key, value)| {
                matches!(self.state(*slot, mark.read(), config), State::Dead(_)) || matches(key, Some(value))
            })
            .map(|(slot, _, key, _)| (slot, (config.rehash)(key)))
            .collect();
        let flights = self.flights.detach_where(|key| matches(key, None));
        if !flights.is_empty() {
            out.push_rest(Rest::Flights(flights));
        }
        let taken = doomed
            .into_iter()
            .map(|(slot, hash)| self.take(hash, slot, Cause::Removed, config, out));
        taken.filter(|&fresh| fresh).count()
    }

    /// Examines the next few slots and takes out what is dead: so every place is reclaimed sooner or later, and no
    /// thread has to see to it. Nothing to do while no deadline has come and nothing else ends an entry.
    #[inline]
    fn sweep(&mut self, config: &Config<K, V>, out: &mut Garbage<K, V, E>) {
        let plain = self.columns.is_unused();
        if config.reclaim == 0 || plain && (self.soonest == Tick::NEVER || config.time.now() < self.soonest) {
            return;
        }
        self.sweep_some(config, out);
    }

    #[inline(never)]
    fn sweep_some(&mut self, config: &Config<K, V>, out: &mut Garbage<K, V, E>) {
        let slots = u32::try_from(self.table.slots()).unwrap_or(u32::MAX);
        for _ in 0..config.reclaim.min(self.table.slots()) {
            let slot = self.hand;
            self.hand = if slot + 1 >= slots { 0 } else { slot + 1 };
            if let Some((mark, key, _)) = self.table.get(slot) {
                let reading = mark.read();
                if (reading.expires() || reading.is_detailed())
                    && let State::Dead(_) = self.state(slot, reading, config)
                {
                    let hash = (config.rehash)(key);
                    self.take(hash, slot, Cause::Expired, config, out);
                } else {
                    self.upcoming = self.upcoming.min(reading.deadline());
                }
            }
            if self.hand == 0 {
                // A round is over: it saw every slot, and every deadline given since it began was noted.
                self.soonest = std::mem::replace(&mut self.upcoming, Tick::NEVER);
            }
        }
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use std::sync::Arc;

    use crate::clock::ManualClock;
    use crate::policy::Eviction;
    use crate::{Cache, CacheBuilder};

    #[test]
    fn the_frequencies_grow_with_the_table_to_two_keys_an_entry() {
        for eviction in [Eviction::TinyLfu, Eviction::Adaptive] {
            let cache: Cache<u32, ()> = CacheBuilder::new(5_000, Arc::new(ManualClock::new()))
                .shards(1)
                .eviction(eviction)
                .build()
                .unwrap();
            (0..5_000).for_each(|key| cache.insert(key, ()));
            let known = cache.core.write(0, |shard, _, _| shard.policy.known_keys());
            assert!(
                (10_000..10_100).contains(&known),
                "{eviction:?} has room for {known} keys"
            );
        }
    }
}
