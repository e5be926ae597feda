//! The cache: looking up, storing and removing one key.

use std::borrow::ToOwned;
use std::convert::Infallible;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::Equivalent;

use crate::builder::{CacheBuilder, mix};
use crate::clock::Clock;
use crate::core::Core;
use crate::entry::{Found, Freshness, InsertOptions, LookupOptions};
use crate::flight::Waiter;
use crate::leader::{Leader, Lookup};
use crate::listener::{Cause, Garbage};
use crate::shard::{Look, Probe, Seen, Stored};

/// A bounded concurrent map with expiry, eviction, single flight and scoped invalidation.
///
/// A handle: clones share one cache, and leaders of running flights keep it alive. All operations are
/// synchronous. A hit takes no lock in a shard that is only read, and otherwise the lock of one shard for some tens of
/// nanoseconds; operations on everything take each shard's lock in turn. What an operation displaces is dropped after the lock.
///
/// `K::eq`, `K::hash`, `V::clone`, visitors, predicates, the weigher and the expiry function may run under the lock: they must
/// not use this cache, or the thread may wait for itself. Drops of keys and values and the listener may.
///
/// Keys can be looked up by any borrowed form: `Q: Hash + Equivalent<K>`, where equal things hash equally.
pub struct Cache<K, V, E = Infallible, S = RandomState> {
    pub(crate) core: Arc<Core<K, V, E>>,
    hasher: Arc<S>,
    /// The hasher is known to mix all bits: its hashes are used as they are.
    mixed: bool,
    /// Each hit must be told to the policy at once.
    exact: bool,
    /// Most values may be stored the short way.
    short: bool,
}

impl<K, V, E> Cache<K, V, E> {
    /// Starts building a cache of so many entries (or so much weight) over the given clock.
    pub fn builder(capacity: usize, clock: Arc<dyn Clock>) -> CacheBuilder<K, V> {
        CacheBuilder::new(capacity, clock)
    }
}

impl<K, V, E, S> Cache<K, V, E, S> {
    /// Puts the parts together.
    pub(crate) fn assemble(core: Core<K, V, E>, hasher: Arc<S>, mixed: bool) -> Self {
        Self {
            exact: core.config.eviction.is_exact(),
            short: core.config.plain && core.config.listener.is_none() && !core.config.eviction.is_exact(),
            core: Arc::new(core),
            hasher,
            mixed,
        }
    }
}

impl<K, V, E, S> Cache<K, V, E, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Looks a key up and copies its value, if that is fresh: counts a hit or miss.
    #[inline]
    pub fn get<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        self.get_with(key, V::clone)
    }

    /// Looks a key up and visits its value in place, if that is fresh, which saves copying it: counts a hit or miss.
    ///
    /// The visitor holds up writers, of the shard and now and then of others: keep it short, and let it not wait for anybody
    /// who may be writing.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use ci_cache_core::{Cache, ManualClock};
    /// let cache: Cache<String, Vec<u8>> = Cache::<String, Vec<u8>>::builder(100, Arc::new(ManualClock::new())).build()?;
    /// cache.insert("rows".to_owned(), vec![1, 2, 3]);
    /// assert_eq!(cache.get_with("rows", Vec::len), Some(3));
    /// # Ok::<(), ci_cache_core::Error>(())
    /// ```
    #[inline]
    pub fn get_with<Q, R>(&self, key: &Q, visit: impl FnOnce(&V) -> R) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.visit(key, |seen| visit(seen.value))
    }

    /// Looks a key up like [`get`](Self::get) and says also since when and until when the value is valid.
    pub fn get_found<Q>(&self, key: &Q) -> Option<Found<V>>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        self.visit(key, |seen| seen.found())
    }

    /// Looks a key up and tells a stale value from a fresh one: for callers that load by themselves instead of
    /// through [`lookup`](Self::lookup). Counts a hit, stale hit or miss.
    pub fn get_state<Q>(&self, key: &Q) -> Freshness<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        let hash = self.hash(key);
        if !self.exact {
            match self.core.look(hash, key, |seen| seen.found()) {
                Look::Hit(found) => return Freshness::Fresh(found),
                Look::NotFresh => {}
                Look::Absent => {
                    self.core.miss();
                    return Freshness::Absent;
                }
            }
        }
        self.core
            .write(hash, |shard, config, out| shard.freshness(hash, key, config, out))
    }

    #[inline(always)]
    fn visit<Q, R>(&self, key: &Q, visit: impl FnOnce(&Seen<'_, K, V, E>) -> R) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let hash = self.hash(key);
        if self.exact {
            return self.visit_alone(hash, key, visit);
        }
        match self.core.look(hash, key, visit) {
            Look::Hit(result) => return Some(result),
            Look::Absent => {}
            Look::NotFresh => self.reap(hash, key),
        }
        self.core.miss();
        None
    }

    /// Visits under the exclusive lock, for a policy that must know each hit at once.
    #[inline(never)]
    fn visit_alone<Q, R>(&self, hash: u64, key: &Q, visit: impl FnOnce(&Seen<'_, K, V, E>) -> R) -> Option<R>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.core.write(hash, |shard, config, out| {
            shard.get(hash, key, config, out, visit)
        })
    }

    /// Takes out an entry whose time was over when it was met.
    #[cold]
    fn reap<Q>(&self, hash: u64, key: &Q)
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.core
            .write(hash, |shard, config, out| shard.reap(hash, key, config, out));
    }

    /// Reads a fresh value without counting and without effect on eviction.
    pub fn peek<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        self.core.peek(self.hash(key), key, |seen| seen.value.clone())
    }

    /// Tells whether a fresh entry is there, without counting and without effect on eviction.
    pub fn contains<Q>(&self, key: &Q) -> bool
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        self.core.peek(self.hash(key), key, |_| ()).is_some()
    }

    /// Stores a value with the cache's defaults and no scope; see [`insert_with`](Self::insert_with).
    #[inline]
    pub fn insert(&self, key: K, value: V) {
        let hash = self.hash(&key);
        if self.short {
            // What it displaced is dropped here, after the lock.
            let mut out = None;
            let _replaced = self.core.insert_plain(hash, key, value, &mut out);
        } else {
            self.insert_hashed(hash, key, value, &InsertOptions::new());
        }
    }

    /// Stores a value; says whether the cache kept it.
    ///
    /// An existing value of the key is replaced. While the shard then holds more than its share of the capacity, it
    /// evicts, which may hit the newcomer (its admission was refused). A value heavier than the share is not kept. A
    /// running flight of the key is detached, for its load began before this insertion.
    #[expect(clippy::needless_pass_by_value, reason = "options are made for the call")]
    #[inline]
    pub fn insert_with(&self, key: K, value: V, options: InsertOptions) -> bool {
        let hash = self.hash(&key);
        self.insert_hashed(hash, key, value, &options)
    }

    fn insert_hashed(&self, hash: u64, key: K, value: V, options: &InsertOptions) -> bool {
        let stored = self.core.write(hash, |shard, config, out| {
            shard.insert(hash, key, value, options, config, out)
        });
        stored == Stored::Kept
    }

    /// Removes a key and detaches its flight; gives the value if a fresh one was there.
    pub fn remove<Q>(&self, key: &Q) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let hash = self.hash(key);
        let (fresh, mut garbage) = self
            .core
            .write_keeping(hash, |shard, config, out| shard.remove(hash, key, config, out));
        garbage.take_first(Cause::Removed).filter(|_| fresh)
    }

    /// Removes a key if its value matches; gives the value if it did and was fresh. The key's flight goes on: it has no
    /// value yet that could match.
    ///
    /// What was found a moment ago can so be removed without hitting what came in its place since. `matches` runs under the
    /// shard's lock, also for a value whose time is over: it must be short and must not use this cache.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use ci_cache_core::{Cache, ManualClock};
    /// let cache: Cache<&str, u32> = Cache::<&str, u32>::builder(100, Arc::new(ManualClock::new())).build()?;
    /// cache.insert("answer", 41);
    /// assert_eq!(cache.remove_if("answer", |&value| value == 42), None);
    /// assert_eq!(cache.remove_if("answer", |&value| value == 41), Some(41));
    /// # Ok::<(), ci_cache_core::Error>(())
    /// ```
    pub fn remove_if<Q>(&self, key: &Q, matches: impl FnOnce(&V) -> bool) -> Option<V>
    where
        Q: ?Sized + Hash + Equivalent<K>,
    {
        let hash = self.hash(key);
        let (fresh, mut garbage) = self.core.write_keeping(hash, |shard, config, out| {
            shard.remove_if(hash, key, matches, config, out)
        });
        garbage.take_first(Cause::Removed).filter(|_| fresh)
    }

    /// Looks a key up and, if it is not fresh, joins its flight or begins one, in one step.
    ///
    /// Of any number of simultaneous callers exactly one becomes leader. Counts a hit, a stale hit, or a miss and either a
    /// load or a coalesced look-up. The owned key is made on beginning a flight only.
    pub fn lookup<Q>(&self, key: &Q, options: LookupOptions<'_>) -> Lookup<K, V, E>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
        V: Clone,
    {
        self.lookup_with(key, || (key.to_owned(), options.begin()))
    }

    /// Looks a key up like [`lookup`](Self::lookup), but asks for key and options only when a flight begins: for
    /// borrowed forms that are not [`ToOwned`] and for scopes that are not at hand.
    ///
    /// `begin` runs under the shard's lock: it must be short and must not use the cache. Its key must equal the
    /// borrowed form, and the stamp in its options must be taken in it, not before.
    pub fn lookup_with<Q>(&self, key: &Q, begin: impl FnOnce() -> (K, InsertOptions)) -> Lookup<K, V, E>
    where
        Q: ?Sized + Hash + Equivalent<K>,
        V: Clone,
    {
        let hash = self.hash(key);
        if !self.exact
            && let Look::Hit(found) = self.core.look(hash, key, |seen| seen.found())
        {
            return Lookup::Hit(found);
        }
        let mut garbage = Garbage::default();
        let probe = self.core.write_untold(hash, &mut garbage, |shard, config, out| {
            shard.lookup((hash, key), config, begin, out)
        });
        let lead = |flight| Leader::new(Arc::clone(&self.core), hash, flight);
        // A flight has its leader before the listener or a drop can panic: it would have none, and be waited for for ever.
        let lookup = match probe {
            Probe::Hit(found) => Lookup::Hit(found),
            Probe::Stale(found, flight) => Lookup::Stale(found, flight.map(lead)),
            Probe::Join(flight) => Lookup::Wait(Waiter::new(flight)),
            Probe::Lead(flight) => Lookup::Lead(lead(flight)),
        };
        self.core.tell(&garbage);
        drop(garbage);
        lookup
    }

    #[inline(always)]
    pub(crate) fn hash<Q: ?Sized + Hash>(&self, key: &Q) -> u64 {
        mix(self.hasher.hash_one(key), self.mixed)
    }
}

impl<K, V, E, S> Clone for Cache<K, V, E, S> {
    fn clone(&self) -> Self {
        Self {
            core: Arc::clone(&self.core),
            hasher: Arc::clone(&self.hasher),
            mixed: self.mixed,
            exact: self.exact,
            short: self.short,
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
