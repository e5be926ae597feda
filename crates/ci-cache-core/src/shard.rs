//! One shard: a table over a recency list, the flights of its keys, and its counters, all under one lock.
//!
//! Everything that carries a user's key or value out of the shard is returned as [`Garbage`] or by value, so that
//! it is dropped after the caller has released the lock: a value whose drop calls the cache must not deadlock.

use std::sync::Arc;

use hashbrown::{Equivalent, HashTable};

use crate::clock::{Clock, Tick};
use crate::entry::{Death, Entry, Found, InsertOptions, Life};
use crate::flight::Flight;
use crate::linked_slab::LinkedSlab;
use crate::rules::Rules;
use crate::scope::Stamp;
use crate::stats::Stats;

/// A running flight that later look-ups may join. Taken out of the table, the flight is detached: it still
/// answers those who wait, but nobody joins it any more and its value is not kept.
#[derive(Debug)]
pub(crate) struct FlightSlot<K, V, E> {
    key: K,
    hash: u64,
    flight: Arc<Flight<V, E>>,
}

/// Keys and values that left the shard, to be dropped without its lock.
#[derive(Debug)]
#[must_use = "bind it so that it is dropped after the lock"]
pub(crate) struct Garbage<K, V, E> {
    pub(crate) key: Option<K>,
    pub(crate) value: Option<V>,
    pub(crate) evicted: Option<Entry<K, V>>,
    pub(crate) flight: Option<FlightSlot<K, V, E>>,
}

impl<K, V, E> Default for Garbage<K, V, E> {
    fn default() -> Self {
        Self {
            key: None,
            value: None,
            evicted: None,
            flight: None,
        }
    }
}

/// The answer of one look-up that may begin or join a flight.
#[derive(Debug)]
pub(crate) enum Probe<V, E> {
    Hit(Found<V>),
    Lead(Arc<Flight<V, E>>),
    Join(Arc<Flight<V, E>>),
}

/// See the module's page. The fields are touched only under the shard's lock.
#[derive(Debug)]
pub(crate) struct Shard<K, V, E> {
    /// Tokens of `entries` by key hash.
    table: HashTable<u32>,
    /// The pairs, most recently used first.
    entries: LinkedSlab<Entry<K, V>>,
    /// At most one attached flight per key.
    flights: HashTable<FlightSlot<K, V, E>>,
    /// Entries at most; at least one.
    capacity: usize,
    stats: Stats,
    /// The rules of the protocol that tests break on purpose.
    pub(crate) rules: Rules,
}

/// How a flight ended that left nothing to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The leader answered its waiters only.
    Answered,
    /// The leader reported an error.
    Failed,
    /// The leader was dropped.
    Abandoned,
}

/// What a sweep took out of a shard, to be dropped without its lock.
#[derive(Debug)]
#[must_use = "bind it so that it is dropped after the lock"]
pub(crate) struct Taken<K, V, E> {
    _entries: Vec<Entry<K, V>>,
    _flights: Vec<FlightSlot<K, V, E>>,
}

impl<K, V, E> Shard<K, V, E> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            table: HashTable::new(),
            entries: LinkedSlab::default(),
            flights: HashTable::new(),
            capacity,
            stats: Stats::default(),
            rules: Rules::SHIPPED,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.flights.len()
    }

    pub(crate) fn stats(&self) -> Stats {
        self.stats
    }

    /// Walks the entries, most recently used first, the dead ones included.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry<K, V>> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    fn find<Q: ?Sized + Equivalent<K>>(&self, hash: u64, key: &Q) -> Option<u32> {
        self.table
            .find(hash, |&token| matches(&self.entries, token, hash, key))
            .copied()
    }

    /// Borrows the live entry of a key without counting or touching anything.
    pub(crate) fn peek<Q>(&self, hash: u64, key: &Q, clock: &dyn Clock) -> Option<&Entry<K, V>>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let entry = self.entries.get(self.find(hash, key)?)?;
        entry.life.death(clock).is_none().then_some(entry)
    }

    /// Looks a key up: a live entry is counted and becomes the most recently used, a dead one is taken out into
    /// `out`, and its key counts as absent.
    pub(crate) fn get<Q>(
        &mut self,
        hash: u64,
        key: &Q,
        clock: &dyn Clock,
        out: &mut Garbage<K, V, E>,
    ) -> Option<Found<V>>
    where
        Q: ?Sized + Equivalent<K>,
        V: Clone,
    {
        let found = self.find(hash, key).and_then(|token| self.hit(token, clock, out));
        if found.is_none() {
            self.stats.misses += 1;
        }
        found
    }

    /// Answers from a resident entry if it is live.
    fn hit(&mut self, token: u32, clock: &dyn Clock, out: &mut Garbage<K, V, E>) -> Option<Found<V>>
    where
        V: Clone,
    {
        let entry = self.entries.get_mut(token)?;
        if let Some(death) = entry.life.death(clock) {
            out.evicted = self.take(token);
            self.bury(death);
            return None;
        }
        // The clone first: should it panic, nothing has changed yet.
        let value = entry.value.clone();
        entry.hits += 1;
        let meta = entry.meta();
        self.entries.touch(token);
        self.stats.hits += 1;
        Some(Found { value, meta })
    }

    /// Looks a key up and, if it is absent, joins its flight or begins one.
    pub(crate) fn lookup<Q>(
        &mut self,
        (hash, key): (u64, &Q),
        clock: &dyn Clock,
        begin: impl FnOnce() -> (K, InsertOptions),
        out: &mut Garbage<K, V, E>,
    ) -> Probe<V, E>
    where
        Q: ?Sized + Equivalent<K>,
        V: Clone,
    {
        if let Some(found) = self.get(hash, key, clock, out) {
            return Probe::Hit(found);
        }
        if let Some(flight) = self.joinable(hash, key, out) {
            self.stats.coalesced += 1;
            return Probe::Join(flight);
        }
        // The stamp is taken here, before the caller can start to load (see `Scope`).
        let (key, options) = begin();
        let flight = Arc::new(Flight::new(options.stamp, options.ttl));
        let slot = FlightSlot {
            key,
            hash,
            flight: Arc::clone(&flight),
        };
        self.flights.insert_unique(hash, slot, |slot| slot.hash);
        self.stats.loads += 1;
        Probe::Lead(flight)
    }

    /// Finds a flight that this look-up may join; one whose scope was invalidated is detached instead.
    fn joinable<Q>(&mut self, hash: u64, key: &Q, out: &mut Garbage<K, V, E>) -> Option<Arc<Flight<V, E>>>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let flight = &self
            .flights
            .find(hash, |slot| slot.hash == hash && key.equivalent(&slot.key))?
            .flight;
        if flight.is_live() || self.rules.join_older_flights() {
            return Some(Arc::clone(flight));
        }
        out.flight = self.detach(hash, key);
        None
    }

    /// Takes the flight of a key out of the table.
    fn detach<Q: ?Sized + Equivalent<K>>(&mut self, hash: u64, key: &Q) -> Option<FlightSlot<K, V, E>> {
        if self.flights.is_empty() {
            return None;
        }
        let found = self
            .flights
            .find_entry(hash, |slot| slot.hash == hash && key.equivalent(&slot.key));
        found.ok().map(|slot| slot.remove().0)
    }

    /// Detaches the flight of a key that a removal or insertion overtakes.
    fn overtake<Q: ?Sized + Equivalent<K>>(&mut self, hash: u64, key: &Q) -> Option<FlightSlot<K, V, E>> {
        if self.rules.removal_forgets_flights() {
            None
        } else {
            self.detach(hash, key)
        }
    }

    /// Takes a flight out of the table at its landing; nothing if it was detached before.
    fn land(&mut self, hash: u64, flight: &Arc<Flight<V, E>>) -> Option<FlightSlot<K, V, E>> {
        let found = self
            .flights
            .find_entry(hash, |slot| Arc::ptr_eq(&slot.flight, flight));
        found.ok().map(|slot| slot.remove().0)
    }

    /// Ends a flight without a value to keep.
    pub(crate) fn abandon(&mut self, hash: u64, flight: &Arc<Flight<V, E>>, why: Ending) -> Garbage<K, V, E> {
        match why {
            Ending::Answered => {}
            Ending::Failed => self.stats.load_failures += 1,
            Ending::Abandoned => self.stats.abandoned += 1,
        }
        Garbage {
            flight: self.land(hash, flight),
            ..Garbage::default()
        }
    }

    /// Tells whether a flight could still publish.
    pub(crate) fn is_attached(&self, hash: u64, flight: &Arc<Flight<V, E>>) -> bool {
        flight.is_live()
            && self
                .flights
                .find(hash, |slot| Arc::ptr_eq(&slot.flight, flight))
                .is_some()
    }

    /// Stores the value of a flight unless it was detached or its scope invalidated since it began.
    ///
    /// Says whether the value was kept.
    pub(crate) fn publish(
        &mut self,
        hash: u64,
        flight: &Arc<Flight<V, E>>,
        value: V,
        (created, expires): (Tick, Tick),
        clock: &dyn Clock,
    ) -> (bool, Garbage<K, V, E>)
    where
        K: Eq,
    {
        let stamp = self.rules.stamp_to_publish(flight.stamp.as_ref());
        match self.land(hash, flight) {
            Some(slot) if stamp.as_ref().is_none_or(Stamp::is_live) => (
                true,
                self.insert(
                    hash,
                    slot.key,
                    value,
                    Life {
                        created,
                        expires,
                        stamp,
                    },
                    clock,
                ),
            ),
            slot => {
                self.stats.refused += 1;
                (
                    false,
                    Garbage {
                        value: Some(value),
                        flight: slot,
                        ..Garbage::default()
                    },
                )
            }
        }
    }

    /// Stores a pair as the most recently used and detaches the key's flight, whose load began earlier.
    ///
    /// A new key in a full shard evicts the least recently used entry; an overwritten key evicts nobody.
    pub(crate) fn insert(
        &mut self,
        hash: u64,
        key: K,
        value: V,
        life: Life,
        clock: &dyn Clock,
    ) -> Garbage<K, V, E>
    where
        K: Eq,
    {
        let mut out = Garbage {
            flight: self.overtake(hash, &key),
            ..Garbage::default()
        };
        self.stats.insertions += 1;
        if let Some(token) = self.find(hash, &key) {
            out.key = Some(key);
            out.value = self.overwrite(token, value, life, clock);
            return out;
        }
        if self.entries.len() >= self.capacity {
            out.evicted = self.evict(clock);
        }
        let entry = Entry {
            key,
            value,
            hash,
            life,
            hits: 0,
        };
        if let Some(token) = self.entries.push_front(entry, self.capacity) {
            let entries = &self.entries;
            self.table
                .insert_unique(hash, token, |&token| hash_of(entries, token));
        }
        out
    }

    /// Replaces the value of a resident key and makes it the most recently used.
    fn overwrite(&mut self, token: u32, value: V, life: Life, clock: &dyn Clock) -> Option<V> {
        let entry = self.entries.get_mut(token)?;
        let death = entry.life.death(clock);
        entry.life = life;
        entry.hits = 0;
        let old = std::mem::replace(&mut entry.value, value);
        self.entries.touch(token);
        match death {
            None => self.stats.replacements += 1,
            Some(death) => self.bury(death),
        }
        Some(old)
    }

    /// Takes the least recently used entry out; if it was dead already, it does not count as evicted.
    fn evict(&mut self, clock: &dyn Clock) -> Option<Entry<K, V>> {
        let victim = self.entries.back().and_then(|token| self.take(token))?;
        match victim.life.death(clock) {
            None => self.stats.evictions += 1,
            Some(death) => self.bury(death),
        }
        Some(victim)
    }

    /// Takes the entry of a key out and detaches its flight; also says whether the entry was live.
    pub(crate) fn remove<Q>(&mut self, hash: u64, key: &Q, clock: &dyn Clock) -> (bool, Garbage<K, V, E>)
    where
        Q: ?Sized + Equivalent<K>,
    {
        let mut out = Garbage {
            flight: self.overtake(hash, key),
            ..Garbage::default()
        };
        out.evicted = self.find(hash, key).and_then(|token| self.take(token));
        let live = out
            .evicted
            .as_ref()
            .is_some_and(|entry| self.retire(entry, clock));
        (live, out)
    }

    /// Takes out every entry and flight for which `matches` says so (a flight has no value yet), and every dead
    /// entry met on the way; also counts the live ones.
    pub(crate) fn remove_where(
        &mut self,
        mut matches: impl FnMut(&K, Option<&V>) -> bool,
        clock: &dyn Clock,
    ) -> (usize, Taken<K, V, E>) {
        let doomed: Vec<u32> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.life.death(clock).is_some() || matches(&entry.key, Some(&entry.value)))
            .map(|(token, _)| token)
            .collect();
        let flights = self.flights.extract_if(|slot| matches(&slot.key, None)).collect();
        let entries: Vec<_> = doomed.into_iter().filter_map(|token| self.take(token)).collect();
        let live = entries.iter().filter(|entry| self.retire(entry, clock)).count();
        (
            live,
            Taken {
                _entries: entries,
                _flights: flights,
            },
        )
    }

    /// Empties the shard and detaches all flights; what it held is dropped by the caller, outside the lock.
    pub(crate) fn clear(&mut self) -> impl Sized + use<K, V, E> {
        self.stats.invalidations += self.entries.len() as u64;
        self.table.clear();
        (
            std::mem::take(&mut self.entries),
            std::mem::take(&mut self.flights),
        )
    }

    /// Counts an entry that a command took out; says whether it was live.
    fn retire(&mut self, entry: &Entry<K, V>, clock: &dyn Clock) -> bool {
        let death = entry.life.death(clock);
        self.bury(death.unwrap_or(Death::Invalidated));
        death.is_none()
    }

    fn bury(&mut self, death: Death) {
        match death {
            Death::Expired => self.stats.expirations += 1,
            Death::Invalidated => self.stats.invalidations += 1,
        }
    }

    /// Takes an entry out of list and table.
    fn take(&mut self, token: u32) -> Option<Entry<K, V>> {
        let entry = self.entries.remove(token)?;
        if let Ok(slot) = self.table.find_entry(entry.hash, |&other| other == token) {
            slot.remove();
        }
        Some(entry)
    }

    /// Checks table, list, flights and counters against each other; for tests.
    ///
    /// # Errors
    /// Says what disagrees.
    pub(crate) fn validate(&self) -> Result<(), String> {
        self.entries.validate()?;
        let len = self.entries.len();
        if self.table.len() != len || len > self.capacity {
            return Err(format!(
                "{} tokens, {len} entries, capacity {}",
                self.table.len(),
                self.capacity
            ));
        }
        for (token, entry) in self.entries.iter() {
            if self.table.find(entry.hash, |&other| other == token).is_none() {
                return Err(format!("entry {token} is not in the table"));
            }
        }
        let Stats {
            insertions,
            replacements,
            evictions,
            expirations,
            invalidations,
            ..
        } = self.stats;
        let ended = replacements + evictions + expirations + invalidations;
        if insertions != ended + len as u64 {
            return Err(format!("{insertions} insertions, {ended} ended, {len} entries"));
        }
        Ok(())
    }
}

/// Tells whether a token's entry has the given key; compares the hashes first, which are in the same node.
fn matches<K, V, Q>(entries: &LinkedSlab<Entry<K, V>>, token: u32, hash: u64, key: &Q) -> bool
where
    Q: ?Sized + Equivalent<K>,
{
    entries
        .get(token)
        .is_some_and(|entry| entry.hash == hash && key.equivalent(&entry.key))
}

/// Gives the stored hash of a token's entry, for the table's growth.
fn hash_of<K, V>(entries: &LinkedSlab<Entry<K, V>>, token: u32) -> u64 {
    entries.get(token).map_or(0, |entry| entry.hash)
}
