//! The cache: shards behind their locks, and the operations on them.

use std::borrow::ToOwned;
use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;
use hashbrown::Equivalent;
use parking_lot::Mutex;

use crate::builder::CacheBuilder;
use crate::clock::{Clock, Tick};
use crate::entry::{EntrySnapshot, Found, InsertOptions, Life, LookupOptions};
use crate::expiry::Ttl;
use crate::flight::{Flight, Outcome, Waiter};
use crate::leader::{Leader, Lookup};
use crate::shard::{Garbage, Probe, Shard};
use crate::stats::Stats;

/// A bounded concurrent map with expiry, recency eviction, single flight and scoped invalidation.
///
/// A handle: clones share one cache, and leaders of running flights keep it alive. All operations are
/// synchronous, take the lock of one shard for some tens of nanoseconds (operations on everything take each
/// shard's lock in turn), and drop what they displace after it. `K::eq`, `V::clone` and predicates run under the
/// lock: they must not call the cache. Drops of keys and values may.
///
/// Keys can be looked up by any borrowed form: `Q: Hash + Equivalent<K>`, where equal things hash equally.
pub struct Cache<K, V, E = Infallible, S = RandomState> {
    core: Arc<Core<K, V, E>>,
    hasher: Arc<S>,
}

/// What a cache and its leaders share.
pub(crate) struct Core<K, V, E> {
    shards: Box<[Line<K, V, E>]>,
    capacity: usize,
    default_ttl: Option<Duration>,
    clock: Arc<dyn Clock>,
}

/// A shard on cache lines of its own, so that neighbours' locks do not slow each other down.
#[repr(align(128))]
struct Line<K, V, E>(Mutex<Shard<K, V, E>>);

impl<K, V, E> Core<K, V, E> {
    /// Finds the shard of a hash. The table inside uses the hash's lowest and highest bits, so the shard goes by
    /// bits mixed from all of them.
    pub(crate) fn shard(&self, hash: u64) -> &Mutex<Shard<K, V, E>> {
        let mixed = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let index = usize::try_from((mixed * self.shards.len() as u64) >> 32).unwrap_or(0);
        &self.shards[index].0
    }

    /// Locks the shards one after the other.
    fn each<'a, T: 'a>(
        &'a self,
        mut act: impl FnMut(&mut Shard<K, V, E>) -> T + 'a,
    ) -> impl Iterator<Item = T> + 'a {
        self.shards.iter().map(move |line| act(&mut line.0.lock()))
    }
}

impl<K: Eq, V, E> Core<K, V, E> {
    /// Stores a flight's value unless it was detached; says whether it was kept.
    pub(crate) fn publish(
        &self,
        hash: u64,
        flight: &Arc<Flight<V, E>>,
        value: V,
        ttl: Ttl,
    ) -> (bool, Garbage<K, V, E>) {
        let clock = &*self.clock;
        let now = clock.now();
        let expires = ttl.expires(now, self.default_ttl);
        self.shard(hash)
            .lock()
            .publish(hash, flight, value, (now, expires), clock)
    }
}

impl<K, V, E> Cache<K, V, E> {
    /// Starts building a cache of so many entries over the given clock.
    pub fn builder(capacity: usize, clock: Arc<dyn Clock>) -> CacheBuilder {
        CacheBuilder::new(capacity, clock)
    }
}

impl<K, V, E, S> Cache<K, V, E, S> {
    /// Puts validated settings together; the first shards take what does not divide evenly.
    pub(crate) fn assemble(
        capacity: usize,
        shards: usize,
        default_ttl: Option<Duration>,
        clock: Arc<dyn Clock>,
        hasher: S,
    ) -> Self {
        let share = |index| capacity / shards + usize::from(index < capacity % shards);
        let shards = (0..shards)
            .map(|index| Line(Mutex::new(Shard::new(share(index)))))
            .collect();
        Self {
            core: Arc::new(Core {
                shards,
                capacity,
                default_ttl,
                clock,
            }),
            hasher: Arc::new(hasher),
        }
    }

    /// Gives the capacity in entries.
    pub fn capacity(&self) -> usize {
        self.core.capacity
    }

    /// Gives the number of shards.
    pub fn shards(&self) -> usize {
        self.core.shards.len()
    }

    /// Counts the resident entries, those included that are dead but were not met yet. Never above the capacity.
    pub fn len(&self) -> usize {
        self.core.each(|shard| shard.len()).sum()
    }

    /// Tells whether no entry is resident.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Counts the flights that a look-up could join now (or whose death was not noticed yet).
    pub fn in_flight(&self) -> usize {
        self.core.each(|shard| shard.in_flight()).sum()
    }

    /// Sums the shards' counters. The shards are read one after the other, so sums of a busy cache are not of
    /// one instant.
    pub fn stats(&self) -> Stats {
        self.core.each(|shard| shard.stats()).sum()
    }

    /// Reads the cache's clock, by which entries' ticks are to be judged.
    pub fn now(&self) -> Tick {
        self.core.clock.now()
    }

    /// Removes everything and detaches every flight; a look-up that starts after this returned sees no value
    /// that was inserted or whose load began before the call.
    ///
    /// Each shard is locked for a moment; the dropping happens outside, by the caller's thread.
    pub fn clear(&self) {
        self.core.each(Shard::clear).for_each(drop);
    }

    /// Removes every entry whose key and value match, and detaches every flight whose key matches; says how many
    /// live entries went.
    ///
    /// The predicate gets no value for a flight, since there is none yet; it should say yes if the value might
    /// match. Walks everything, a shard at a time under its lock. Dead entries are reclaimed on the way.
    pub fn remove_where(&self, mut matches: impl FnMut(&K, Option<&V>) -> bool) -> usize {
        let clock = &*self.core.clock;
        self.core
            .each(|shard| shard.remove_where(&mut matches, clock))
            .map(|(live, _)| live)
            .sum()
    }

    /// Keeps only the entries that match, and detaches every flight, since nobody can tell whether its value
    /// would; says how many live entries went. Cost as of [`remove_where`](Self::remove_where).
    pub fn retain(&self, mut matches: impl FnMut(&K, &V) -> bool) -> usize {
        self.remove_where(|key, value| value.is_none_or(|value| !matches(key, value)))
    }

    /// Reclaims the places of all dead entries: expired ones and those of invalidated scopes. Never needed for
    /// correctness. Walks everything, a shard at a time under its lock.
    pub fn purge(&self) {
        self.remove_where(|_, _| false);
    }

    /// Copies up to `limit` live entries, most recently used first.
    ///
    /// With one shard the order is exact. With several each shard's order is, and they are interleaved by rank,
    /// which approximates the overall order because keys spread evenly. No look-up is counted.
    pub fn entries(&self, limit: usize) -> Vec<EntrySnapshot<K, V>>
    where
        K: Clone,
        V: Clone,
    {
        let clock = &*self.core.clock;
        let copy = |shard: &mut Shard<K, V, E>| -> Vec<_> {
            let live = shard
                .iter()
                .filter(|entry| entry.life.death(clock).is_none())
                .take(limit);
            live.map(|entry| EntrySnapshot {
                key: entry.key.clone(),
                value: entry.value.clone(),
                meta: entry.meta(),
            })
            .collect()
        };
        let mut columns: Vec<_> = self.core.each(copy).map(Vec::into_iter).collect();
        let mut entries = Vec::new();
        while entries.len() < limit {
            let before = entries.len();
            entries.extend(columns.iter_mut().filter_map(Iterator::next));
            if entries.len() == before {
                break;
            }
        }
        entries.truncate(limit);
        entries
    }

    /// Checks every internal structure against the others; for tests, slow.
    ///
    /// # Errors
    /// Says what disagrees.
    #[doc(hidden)]
    pub fn validate(&self) -> Result<(), String> {
        self.core.each(|shard| shard.validate()).collect()
    }

    /// Plants a defect for the tests of the tests.
    #[cfg(test)]
    pub(crate) fn plant(&self, rules: crate::rules::Rules) {
        self.core.each(|shard| shard.rules = rules).for_each(drop);
    }
}

impl<K, V, E, S> Cache<K, V, E, S>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    /// Looks a key up: counts a hit or miss and makes a hit the most recently used.
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.get_found(key).map(|found| found.value)
    }

    /// Looks a key up like [`get`](Self::get) and says also since when and until when the value is valid.
    pub fn get_found<Q>(&self, key: &Q) -> Option<Found<V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let hash = self.hash(key);
        let mut garbage = Garbage::default();
        self.core
            .shard(hash)
            .lock()
            .get(hash, key, &*self.core.clock, &mut garbage)
    }

    /// Reads a value without counting and without making it recently used.
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let hash = self.hash(key);
        let shard = self.core.shard(hash).lock();
        shard
            .peek(hash, key, &*self.core.clock)
            .map(|entry| entry.value.clone())
    }

    /// Tells whether a live entry is there, without counting and without making it recently used.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let hash = self.hash(key);
        self.core
            .shard(hash)
            .lock()
            .peek(hash, key, &*self.core.clock)
            .is_some()
    }

    /// Stores a value with the default time to live and no scope; see [`insert_with`](Self::insert_with).
    pub fn insert(&self, key: K, value: V) {
        self.insert_with(key, value, InsertOptions::new());
    }

    /// Stores a value as the most recently used.
    ///
    /// An existing value of the key is replaced and nobody evicted; a new key in a full shard evicts the least
    /// recently used entry. A running flight of the key is detached, for its load began before this insertion.
    pub fn insert_with(&self, key: K, value: V, options: InsertOptions) {
        let clock = &*self.core.clock;
        let created = clock.now();
        let expires = options.ttl.expires(created, self.core.default_ttl);
        let life = Life {
            created,
            expires,
            stamp: options.stamp,
        };
        let hash = self.hash(&key);
        let garbage = self.core.shard(hash).lock().insert(hash, key, value, life, clock);
        drop(garbage);
    }

    /// Removes a key and detaches its flight; says the value if a live one was there.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let hash = self.hash(key);
        let (live, garbage) = self.core.shard(hash).lock().remove(hash, key, &*self.core.clock);
        garbage.evicted.filter(|_| live).map(|entry| entry.value)
    }

    /// Looks a key up and, on a miss, joins its flight or begins one, in one step.
    ///
    /// Of any number of simultaneous callers exactly one becomes leader. Counts a hit, or a miss and either a load
    /// or a coalesced look-up. The owned key is made on beginning a flight only.
    pub fn lookup<Q>(&self, key: &Q, options: LookupOptions<'_>) -> Lookup<K, V, E>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        self.lookup_with(key, || (key.to_owned(), options.begin()))
    }

    /// Looks a key up like [`lookup`](Self::lookup), but asks for key and options only when a flight begins: for
    /// borrowed forms that are not [`ToOwned`] and for scopes that are not at hand.
    ///
    /// `begin` runs under the shard's lock: it must be short and must not call the cache. Its key must equal the
    /// borrowed form, and the stamp in its options must be taken in it, not before.
    pub fn lookup_with<Q>(&self, key: &Q, begin: impl FnOnce() -> (K, InsertOptions)) -> Lookup<K, V, E>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let hash = self.hash(key);
        let mut garbage = Garbage::default();
        let probe = {
            let mut shard = self.core.shard(hash).lock();
            shard.lookup((hash, key), &*self.core.clock, begin, &mut garbage)
        };
        match probe {
            Probe::Hit(found) => Lookup::Hit(found),
            Probe::Join(flight) => Lookup::Wait(Waiter::new(flight)),
            Probe::Lead(flight) => Lookup::Lead(Leader::new(Arc::clone(&self.core), hash, flight)),
        }
    }

    /// Gets the value or loads it, blocking the thread: simultaneous callers share one load.
    ///
    /// `load` runs in the leader's thread, without any lock; should it panic, a waiting caller takes over. It must
    /// not ask for the same key, or it waits for itself.
    ///
    /// # Errors
    /// The leader's error, a clone for each caller that waited. Errors are not cached.
    pub fn get_or_load<Q>(
        &self,
        key: &Q,
        options: LookupOptions<'_>,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
        E: Clone,
    {
        loop {
            match self.lookup(key, options) {
                Lookup::Hit(found) => return Ok(found.value),
                Lookup::Lead(leader) => return lead(leader, load),
                Lookup::Wait(waiter) => match waiter.wait_blocking() {
                    Outcome::Loaded(value) => return Ok(value),
                    Outcome::Failed(error) => return Err(error),
                    Outcome::Abandoned => {}
                },
            }
        }
    }

    fn hash<Q: ?Sized + Hash>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key)
    }
}

/// Loads as the leader and reports either way.
fn lead<K: Eq, V: Clone, E: Clone>(
    leader: Leader<K, V, E>,
    load: impl FnOnce() -> Result<V, E>,
) -> Result<V, E> {
    match load() {
        Ok(value) => {
            leader.publish(value.clone());
            Ok(value)
        }
        Err(error) => {
            leader.fail(error.clone());
            Err(error)
        }
    }
}

impl<K, V, E, S> Clone for Cache<K, V, E, S> {
    fn clone(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
            hasher: Arc::clone(&self.hasher),
        }
    }
}

impl<K, V, E, S> fmt::Debug for Cache<K, V, E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache")
            .field("capacity", &self.capacity())
            .field("shards", &self.shards())
            .field("len", &self.len())
            .finish_non_exhaustive()
    }
}
