//! Operations on the whole cache: counting, listing, clearing, filtering, resizing.

use std::collections::BTreeMap;

use crate::cache::Cache;
use crate::clock::Tick;
use crate::entry::EntrySnapshot;
use crate::error::Error;
use crate::policy::Eviction;
use crate::share::GroupStats;
use crate::stats::Stats;

impl<K, V, E, S> Cache<K, V, E, S> {
    /// Gives the capacity: in entries, or in the weigher's units.
    pub fn capacity(&self) -> usize {
        usize::try_from(self.core.capacity()).unwrap_or(usize::MAX)
    }

    /// Gives the number of shards.
    pub fn shards(&self) -> usize {
        self.core.shards()
    }

    /// Tells which policy evicts.
    pub fn eviction(&self) -> Eviction {
        self.core.config.eviction
    }

    /// Counts the resident entries, those included that are dead but were not met yet.
    pub fn len(&self) -> usize {
        self.core.read_each(|shard, epoch, _| shard.len(epoch)).sum()
    }

    /// Tells whether no entry is resident.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Gives the weight of the resident entries; never above the capacity, unless a [`resize`](Self::resize) is
    /// under way. Without a weigher, and without weights given at insertion, it is [`len`](Self::len).
    pub fn weight(&self) -> u64 {
        self.core.read_each(|shard, epoch, _| shard.weight(epoch)).sum()
    }

    /// Counts the flights that a look-up could join now (or whose death was not noticed yet).
    pub fn in_flight(&self) -> usize {
        self.core
            .read_each(|shard, epoch, _| shard.in_flight(epoch))
            .sum()
    }

    /// Sums the counters. The shards and threads are read one after the other, so sums of a busy cache are not of
    /// one instant.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// Reads the cache's clock, by which entries' ticks are to be judged.
    pub fn now(&self) -> Tick {
        self.core.config.time.now()
    }

    /// Removes everything and detaches every flight, at one instant and in constant time; a look-up that starts after this
    /// returned sees no value that was inserted or whose load began before the call.
    ///
    /// The values are dropped as their shards are next written to, by whoever does; [`purge`](Self::purge) drops them now.
    pub fn clear(&self) {
        self.core.clear();
    }

    /// Removes every entry whose key and value match, and detaches every flight whose key matches; says how many
    /// fresh entries went.
    ///
    /// The predicate gets no value for a flight, since there is none yet; it should say yes if the value might
    /// match. Walks everything, a shard at a time under its lock. Dead entries are reclaimed on the way.
    pub fn remove_where(&self, mut matches: impl FnMut(&K, Option<&V>) -> bool) -> usize {
        self.core
            .write_each(|shard, config, out| shard.remove_where(&mut matches, config, out))
            .sum()
    }

    /// Removes every entry of a [group](crate::CacheBuilder::groups), detaches its flights and forgets what it did; says how many fresh
    /// entries went. Nothing where entries are not grouped. Walks the group's entries and all flights, a shard at a time under its lock.
    pub fn remove_group(&self, group: u64) -> usize {
        self.core
            .write_each(|shard, config, out| shard.remove_group(group, config, out))
            .sum()
    }

    /// Tells what a [group](crate::CacheBuilder::groups) holds and did; nothing if it is not known. Locks each shard for a moment.
    pub fn group(&self, group: u64) -> Option<GroupStats> {
        let groups = self
            .core
            .read_each(|shard, epoch, _| shard.groups(epoch, |_| ()))
            .flatten();
        groups
            .filter(|(id, ..)| *id == group)
            .map(|(_, _, stats)| stats)
            .reduce(|mut sum, stats| {
                sum += stats;
                sum
            })
    }

    /// Tells what each [group](crate::CacheBuilder::groups) holds and did, in the order of their numbers; `name` is asked of one key of each
    /// that has entries. Groups without entries are forgotten when many are known. Locks each shard for a moment.
    pub fn groups<T>(&self, name: impl Fn(&K) -> T) -> Vec<(u64, Option<T>, GroupStats)> {
        let mut all: BTreeMap<u64, (Option<T>, GroupStats)> = BTreeMap::new();
        let groups = self.core.read_each(|shard, epoch, _| shard.groups(epoch, &name));
        for (group, name, stats) in groups.flatten() {
            let sum = all.entry(group).or_insert((None, GroupStats::default()));
            sum.0 = sum.0.take().or(name);
            sum.1 += stats;
        }
        let all = all.into_iter();
        all.map(|(group, (name, stats))| (group, name, stats)).collect()
    }

    /// Keeps only the entries that match, and detaches every flight, since nobody can tell whether its value
    /// would; says how many fresh entries went. Cost as of [`remove_where`](Self::remove_where).
    pub fn retain(&self, mut matches: impl FnMut(&K, &V) -> bool) -> usize {
        self.remove_where(|key, value| value.is_none_or(|value| !matches(key, value)))
    }

    /// Reclaims the places of all dead entries now: expired ones, those of invalidated scopes and what a clear left.
    /// Never needed for correctness. Walks everything, a shard at a time under its lock.
    pub fn purge(&self) {
        self.remove_where(|_, _| false);
    }

    /// Changes the capacity while the cache is in use: each shard gets its share and evicts what is too much, some
    /// hundred entries at a time. The number of shards stays, so a shard always holds at least one entry. Of two changes at the
    /// same time the later one holds, and the earlier one returns before everything is done.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] if the capacity is out of range; nothing changes then.
    pub fn resize(&self, capacity: usize) -> Result<(), Error> {
        let capacity = capacity as u64;
        crate::builder::validate_capacity(capacity, self.core.config.weigher.is_some())?;
        crate::builder::validate_share(capacity, self.shards(), self.core.config.weigher.is_some())?;
        if capacity < self.shards() as u64 {
            return Err(Error::invalid(
                "capacity",
                capacity,
                "must be at least the number of shards",
            ));
        }
        self.core.resize(capacity);
        Ok(())
    }

    /// Copies up to `limit` fresh entries, the ones to be kept longest first: with [`Eviction::Lru`] that is the most
    /// recently used.
    ///
    /// With one shard the order is exact. With several each shard's order is, and they are interleaved by rank,
    /// which approximates the overall order because keys spread evenly. No look-up is counted.
    pub fn entries(&self, limit: usize) -> Vec<EntrySnapshot<K, V>>
    where
        K: Clone,
        V: Clone,
    {
        let columns = self.core.read_each(|shard, epoch, config| {
            let snapshots = shard.in_order(epoch, config).take(limit);
            snapshots
                .map(|seen| EntrySnapshot {
                    key: seen.key.clone(),
                    value: seen.value.clone(),
                    meta: seen.meta(),
                })
                .collect()
        });
        interleave(columns.collect(), limit)
    }

    /// Checks every internal structure against the others; for tests, slow.
    ///
    /// # Errors
    /// Says what disagrees.
    #[doc(hidden)]
    pub fn validate(&self) -> Result<(), String> {
        self.core
            .read_each(|shard, epoch, config| shard.validate(epoch, config))
            .collect()
    }

    /// Plants a defect by its name; says whether there is one of that name.
    #[cfg(fuzzing)]
    #[doc(hidden)]
    pub fn plant_named(&self, name: &str) -> bool {
        let named = |rules: &crate::rules::Rules| format!("{rules:?}") == name;
        let rules = crate::rules::Rules::BROKEN.into_iter().find(named);
        rules.is_some_and(|rules| {
            self.plant(rules);
            true
        })
    }

    /// Plants a defect for the tests of the tests.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn plant(&self, rules: crate::rules::Rules) {
        self.core
            .write_each(|shard, _, _| shard.rules = rules)
            .for_each(drop);
    }
}

/// Takes the first of each column, then the second of each, up to `limit`.
pub(crate) fn interleave<T>(columns: Vec<Vec<T>>, limit: usize) -> Vec<T> {
    let mut columns: Vec<_> = columns.into_iter().map(Vec::into_iter).collect();
    let mut all = Vec::new();
    while all.len() < limit {
        let before = all.len();
        all.extend(columns.iter_mut().filter_map(Iterator::next));
        if all.len() == before {
            break;
        }
    }
    all.truncate(limit);
    all
}
