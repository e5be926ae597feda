//! Building a cache: settings, their defaults, and their validation.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::cache::Cache;
use crate::clock::Clock;
use crate::config::{Config, Expiry, Time, Weigher};
use crate::core::Core;
use crate::error::Error;
use crate::expiry::{Ttl, WHOLE, Windows};
use crate::listener::{Cause, Listener};
use crate::policy::Eviction;
use crate::share::{Grouping, Share};
use crate::table;

/// The most entries a cache may have.
const MAX_ENTRIES: u64 = 1 << 31;
/// The most shards a cache may have.
const MAX_SHARDS: usize = 1_024;
/// The default gives each shard at least this many entries: below, a shard's share of the capacity and of the keys
/// differ too much, which costs hits.
const ENTRIES_PER_SHARD: u64 = 1_024;
/// The default for a cache that weighs: entries weigh any number of units, and none may be heavier than its shard.
const WEIGHT_PER_SHARD: u64 = 1 << 22;
/// Slots that each insertion examines for dead entries.
const RECLAIM: usize = 4;

/// Collects the settings of a [`Cache`]; nothing is checked before [`build`](Self::build).
#[derive(Clone)]
#[must_use]
pub struct CacheBuilder<K, V, S = RandomState> {
    capacity: u64,
    clock: Arc<dyn Clock>,
    shards: Option<usize>,
    eviction: Eviction,
    ttl: Option<Duration>,
    idle: Option<Duration>,
    windows: Windows,
    jitter: f64,
    weigher: Option<Weigher<K, V>>,
    expiry: Option<Expiry<K, V>>,
    listener: Option<Listener<K, V>>,
    groups: Option<Arc<Grouping<K>>>,
    details: bool,
    cost_aware: bool,
    reclaim: usize,
    hasher: S,
    /// The hasher is ours and mixes well.
    mixed: bool,
}

impl<K, V> CacheBuilder<K, V> {
    /// Starts with a capacity (1 to 2^31 entries, or in a weigher's units any positive number) and the clock that
    /// expiry goes by.
    ///
    /// The other settings have defaults: shards by capacity and processors, adaptive eviction, no expiry, and foldhash
    /// under a seed that differs from process to process and cache to cache.
    pub fn new(capacity: usize, clock: Arc<dyn Clock>) -> Self {
        Self {
            capacity: capacity as u64,
            clock,
            shards: None,
            eviction: Eviction::default(),
            ttl: None,
            idle: None,
            windows: Windows::default(),
            jitter: 0.0,
            weigher: None,
            expiry: None,
            listener: None,
            groups: None,
            details: false,
            cost_aware: false,
            reclaim: RECLAIM,
            hasher: RandomState::default(),
            mixed: true,
        }
    }
}

impl<K, V, S> CacheBuilder<K, V, S> {
    /// Sets the number of shards: 1 to 1,024, at most the capacity, and so many that none has 850 million entries.
    ///
    /// Each shard has its own lock, its share of the capacity and its own eviction, so one shard makes
    /// [`Eviction::Lru`] exact over the whole cache. Default: sixteen times the processors, as a power of two, but at least
    /// 1,024 entries each (or, in a cache that weighs, 4,194,304 units), hence a single shard below 2,048 entries.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Chooses which entry leaves a full shard. Default: [`Eviction::default`].
    pub fn eviction(mut self, eviction: Eviction) -> Self {
        self.eviction = eviction;
        self
    }

    /// Sets the time to live of entries whose insertion names none; positive. Default: no expiry.
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Sets the time to idle: an entry expires when it was not hit for so long; positive. Default: none. Costs a detail
    /// per entry (see [`details`](Self::details)).
    pub fn default_idle(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// Lets values be served for so long after their time to live while somebody loads them again. Default: not.
    /// Costs a detail per entry.
    ///
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use ci_cache_core::{Cache, Lookup, LookupOptions, ManualClock};
    /// let clock = Arc::new(ManualClock::new());
    /// let cache: Cache<String, u32> = Cache::<String, u32>::builder(100, clock.clone())
    ///     .default_ttl(Duration::from_secs(60))
    ///     .stale_while_revalidate(Duration::from_secs(30))
    ///     .build()?;
    /// cache.insert("answer".to_owned(), 41);
    /// clock.advance(Duration::from_secs(70));
    /// assert_eq!(cache.get("answer"), None);
    /// match cache.lookup("answer", LookupOptions::new()) {
    ///     Lookup::Stale(found, Some(leader)) => {
    ///         assert_eq!(found.value, 41); // serve this now,
    ///         leader.publish(42); // and this, perhaps from another thread, from here on
    ///     }
    ///     other => panic!("{other:?}"),
    /// }
    /// assert_eq!(cache.get("answer"), Some(42));
    /// # Ok::<(), ci_cache_core::Error>(())
    /// ```
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.windows.revalidate = Some(window);
        self
    }

    /// Lets values be served for so long after their time to live if loading them again fails. Default: not. Costs
    /// a detail per entry.
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.windows.error = Some(window);
        self
    }

    /// Shortens each time to live by a random part of up to this share (0 to 1) of it, so that entries inserted together do not
    /// expire together. Default: 0. The stale windows are not touched.
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = share;
        self
    }

    /// Decides the time to live of each entry whose insertion names none, before the default does. Runs under the shard's lock.
    pub fn expiry(mut self, expiry: impl Fn(&K, &V) -> Ttl + Send + Sync + 'static) -> Self {
        self.expiry = Some(Arc::new(expiry));
        self
    }

    /// Weighs entries: the capacity is then in the weigher's units, not in entries. A weight of 0 counts as 1. An entry heavier
    /// than its shard's share of the capacity is not kept, nor is one beyond 850 million in its shard. Runs under the shard's
    /// lock, once per insertion.
    ///
    /// ```
    /// # use std::sync::{Arc, atomic::{AtomicUsize, Ordering::Relaxed}};
    /// # use ci_cache_core::{Cache, Cause, ManualClock};
    /// let freed = Arc::new(AtomicUsize::new(0));
    /// let counter = Arc::clone(&freed);
    /// let cache: Cache<u32, String> = Cache::<u32, String>::builder(1_000, Arc::new(ManualClock::new()))
    ///     .weigher(|_, text| u32::try_from(text.len()).unwrap_or(u32::MAX))
    ///     .listener(move |_, text, cause| {
    ///         if cause == Cause::Size {
    ///             counter.fetch_add(text.len(), Relaxed);
    ///         }
    ///     })
    ///     .build()?;
    /// for key in 0..10 {
    ///     cache.insert(key, "x".repeat(150));
    /// }
    /// assert_eq!((cache.len(), cache.weight(), freed.load(Relaxed)), (6, 900, 600));
    /// # Ok::<(), ci_cache_core::Error>(())
    /// ```
    pub fn weigher(mut self, weigher: impl Fn(&K, &V) -> u32 + Send + Sync + 'static) -> Self {
        self.weigher = Some(Arc::new(weigher));
        self
    }

    /// Tells a function of every value that leaves the cache, and why, by the thread that displaced it and outside the
    /// locks; it may use the cache. Values of a cleared cache are told of as they are dropped. Should it panic, the
    /// operation is done all the same, the others are told of too, and the (first) panic is the caller's.
    pub fn listener(mut self, listener: impl Fn(&K, &V, Cause) + Send + Sync + 'static) -> Self {
        self.listener = Some(Arc::new(listener));
        self
    }

    /// Tells `first` before the listener that is set by now.
    pub(crate) fn tell_first(mut self, first: impl Fn(&K, &V, Cause) + Send + Sync + 'static) -> Self
    where
        K: 'static,
        V: 'static,
    {
        self.listener = Some(match self.listener.take() {
            None => Arc::new(first),
            Some(then) => Arc::new(move |key: &K, value: &V, cause| {
                first(key, value, cause);
                then(key, value, cause);
            }),
        });
        self
    }

    /// Groups entries, by tenant for instance, so that one group's churn cannot empty another's. `of` names the group of a key, `share` says
    /// what a group may count on and hold at most. Default: no groups.
    ///
    /// A group may use whatever others leave unused. What is to leave a full shard is the policy's choice, but for two cases. Churn is paid by
    /// who causes it: where a group's entries that have not been used yet take more than a quarter of its share, an insertion of it displaces the
    /// oldest of those, never another group's (beside a few, however small the share is). And a share is safe: an entry of a group within its share that was used (or any, up to an eighth
    /// of the share) leaves for nobody; the newcomer's group loses its oldest if it is over its share, else the group that is over by most.
    ///
    /// A group's share is its parts of the shard's capacity, of all the parts of groups with entries there; so a group that comes lessens the
    /// shares of the others, and one that goes leaves them more. Where no group has any parts the policy decides alone.
    ///
    /// Both functions run at each insertion, under the shard's lock; `of` also when flights are detached. The same key must always have the
    /// same group; a share may change, and counts from the group's next insertion on.
    ///
    /// Cost: [details](Self::details), 24 bytes a slot and some 100 a group and shard; in the worst case (newcomer and victim both within
    /// their shares) an eviction looks at each group of the shard.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use ci_cache_core::{Cache, ManualClock, Share};
    /// let cache: Cache<(u64, u32), &str> = Cache::<(u64, u32), &str>::builder(100, Arc::new(ManualClock::new()))
    ///     .groups(|&(tenant, _)| tenant, |tenant| Share::new().parts(if tenant == 1 { 3 } else { 1 }))
    ///     .build()?;
    /// (0..100).for_each(|row| cache.insert((1, row), "tenant 1 alone"));
    /// (0..10_000).for_each(|row| cache.insert((2, row), "tenant 2 scans"));
    /// assert!(cache.group(1).is_some_and(|stats| stats.entries >= 75));
    /// # Ok::<(), ci_cache_core::Error>(())
    /// ```
    pub fn groups(
        mut self,
        of: impl Fn(&K) -> u64 + Send + Sync + 'static,
        share: impl Fn(u64) -> Share + Send + Sync + 'static,
    ) -> Self {
        self.groups = Some(Arc::new(Grouping {
            of: Box::new(of),
            share: Box::new(share),
        }));
        self
    }

    /// Keeps for every entry when it was inserted and how often it was hit, for [`Meta`](crate::Meta). Default: no, which
    /// saves some 90 bytes per entry and a cache line per hit.
    pub fn details(mut self, details: bool) -> Self {
        self.details = details;
        self
    }

    /// Lets what loading an entry cost count at eviction: an entry that took 80 ms to load is worth more than one of
    /// 0.2 ms. The cost is the time a flight took, or what the insertion says. Default: no. Policies that keep no frequencies
    /// ([`Eviction::Lru`], [`Eviction::Sieve`]) ignore it.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use ci_cache_core::{Cache, InsertOptions, ManualClock};
    /// let cache: Cache<u32, u32> =
    ///     Cache::<u32, u32>::builder(100, Arc::new(ManualClock::new())).cost_aware(true).build()?;
    /// // A flight is timed by itself; an insertion says what loading took, here in microseconds.
    /// cache.insert_with(1, 10, InsertOptions::new().cost(80_000));
    /// cache.insert_with(2, 20, InsertOptions::new().cost(200));
    /// # Ok::<(), ci_cache_core::Error>(())
    /// ```
    pub fn cost_aware(mut self, cost_aware: bool) -> Self {
        self.cost_aware = cost_aware;
        self
    }

    /// Sets how many places each insertion of a new key examines for dead entries, to reclaim them; 0 leaves them where they are
    /// until they are met, evicted or purged. At most 1,024. Default: 4.
    pub fn reclaim(mut self, places: usize) -> Self {
        self.reclaim = places;
        self
    }

    /// Replaces the hasher. Keys under control of others need a seeded one, as the default is. Its hashes are mixed once more, so a
    /// weak one will do.
    pub fn hasher<T: BuildHasher>(self, hasher: T) -> CacheBuilder<K, V, T> {
        CacheBuilder {
            capacity: self.capacity,
            clock: self.clock,
            shards: self.shards,
            eviction: self.eviction,
            ttl: self.ttl,
            idle: self.idle,
            windows: self.windows,
            jitter: self.jitter,
            weigher: self.weigher,
            expiry: self.expiry,
            listener: self.listener,
            groups: self.groups,
            details: self.details,
            cost_aware: self.cost_aware,
            reclaim: self.reclaim,
            hasher,
            mixed: false,
        }
    }

    fn validate(&self) -> Result<usize, Error> {
        validate_capacity(self.capacity, self.weigher.is_some())?;
        let shards = self
            .shards
            .unwrap_or_else(|| default_shards(self.capacity, self.weigher.is_some()));
        if shards == 0 || shards > MAX_SHARDS || shards as u64 > self.capacity {
            return Err(Error::invalid(
                "shards",
                shards,
                "must be from 1 to 1024 and at most the capacity",
            ));
        }
        validate_share(self.capacity, shards, self.weigher.is_some())?;
        for (field, time) in [("default_ttl", self.ttl), ("default_idle", self.idle)] {
            if time.is_some_and(|time| time.is_zero()) {
                return Err(Error::invalid(field, 0_u64, "must be longer than zero"));
            }
        }
        if !(0.0..=1.0).contains(&self.jitter) {
            return Err(Error::invalid(
                "jitter",
                self.jitter,
                "must be a share from 0 to 1",
            ));
        }
        if self.reclaim > 1_024 {
            return Err(Error::invalid(
                "reclaim",
                self.reclaim,
                "must be at most 1024 places",
            ));
        }
        Ok(shards)
    }
}

impl<K, V, S> CacheBuilder<K, V, S>
where
    K: Hash + Eq + 'static,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Checks the settings and builds the cache. Entries are allocated as they come, not up front.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] naming the field, its value and what is allowed.
    pub fn build<E>(self) -> Result<Cache<K, V, E, S>, Error> {
        let shards = self.validate()?;
        let hasher = Arc::new(self.hasher);
        let (rehasher, mixed) = (Arc::clone(&hasher), self.mixed);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share from 0 to 1 of 65,536"
        )]
        let jitter = (self.jitter * f64::from(WHOLE)) as u32;
        let plain = self.weigher.is_none()
            && self.expiry.is_none()
            && self.idle.is_none()
            && !self.windows.any()
            && !self.details
            && self.groups.is_none()
            && jitter == 0;
        let config = Config {
            plain,
            time: Time::new(self.clock),
            ttl: self.ttl,
            idle: self.idle,
            windows: self.windows,
            jitter,
            weigher: self.weigher,
            expiry: self.expiry,
            listener: self.listener,
            rehash: Box::new(move |key: &K| mix(rehasher.hash_one(key), mixed)),
            eviction: self.eviction,
            details: self.details || self.groups.is_some(),
            groups: self.groups,
            cost_aware: self.cost_aware,
            reclaim: self.reclaim,
        };
        Ok(Cache::assemble(
            Core::new(self.capacity, shards, config),
            hasher,
            mixed,
        ))
    }
}

/// Spreads the bits of a hasher that is not known to do so: table and shards go by the upper ones.
#[inline(always)]
pub(crate) fn mix(hash: u64, mixed: bool) -> u64 {
    if mixed { hash } else { mix_again(hash) }
}

/// Out of the way: as a conditional move it would delay those who do not need it.
#[cold]
#[inline(never)]
fn mix_again(hash: u64) -> u64 {
    let product = hash.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    product ^ (product >> 32)
}

/// Checks a capacity in entries, or in units of weight.
pub(crate) fn validate_capacity(capacity: u64, weighs: bool) -> Result<(), Error> {
    if capacity == 0 {
        return Err(Error::invalid("capacity", capacity, "must be at least 1"));
    }
    if !weighs && capacity > MAX_ENTRIES {
        return Err(Error::invalid(
            "capacity",
            capacity,
            "must be from 1 to 2147483648 entries",
        ));
    }
    Ok(())
}

/// Checks what a capacity leaves for each shard.
pub(crate) fn validate_share(capacity: u64, shards: usize, weighs: bool) -> Result<(), Error> {
    if !weighs && capacity.div_ceil(shards as u64) >= table::MAX_ENTRIES as u64 {
        return Err(Error::invalid(
            "capacity",
            capacity,
            "must leave each shard less than 850000000 entries",
        ));
    }
    Ok(())
}

/// Chooses enough shards that the processors seldom meet in one, but none so small that its share means nothing.
pub(crate) fn default_shards(capacity: u64, weighs: bool) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let wanted = (processors * 16).next_power_of_two().clamp(1, MAX_SHARDS);
    let each = if weighs {
        WEIGHT_PER_SHARD
    } else {
        ENTRIES_PER_SHARD
    };
    usize::try_from(capacity / each).map_or(wanted, |most| wanted.min(most).max(1))
}

impl<K, V, S> fmt::Debug for CacheBuilder<K, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("capacity", &self.capacity)
            .field("shards", &self.shards)
            .field("eviction", &self.eviction)
            .field("default_ttl", &self.ttl)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn builder(capacity: usize) -> CacheBuilder<u32, u32> {
        CacheBuilder::new(capacity, Arc::new(ManualClock::new()))
    }

    fn rejected(builder: CacheBuilder<u32, u32>) -> String {
        let error = builder.build::<()>().unwrap_err();
        assert!(!error.is_transient());
        error.to_string()
    }

    #[test]
    fn settings_are_validated() {
        assert!(rejected(builder(0)).starts_with("accept capacity = 0: must be"));
        assert!(rejected(builder(usize::MAX)).contains("capacity"));
        assert!(rejected(builder(10).shards(0)).contains("shards = 0"));
        assert!(rejected(builder(10).shards(11)).contains("shards = 11"));
        assert!(rejected(builder(10_000).shards(1_025)).contains("shards = 1025"));
        assert!(rejected(builder(1 << 31).shards(2)).contains("capacity = 2147483648"));
        assert!(builder(1 << 31).shards(3).build::<()>().is_ok());
        assert!(builder(1 << 31).build::<()>().is_ok());
        let weighs = builder(1 << 31).shards(1).weigher(|_, _| 1);
        assert!(weighs.build::<()>().is_ok());
        assert!(rejected(builder(10).default_ttl(Duration::ZERO)).contains("default_ttl"));
        assert!(rejected(builder(10).default_idle(Duration::ZERO)).contains("default_idle"));
        assert!(rejected(builder(10).jitter(1.5)).contains("jitter = 1.5"));
        assert!(rejected(builder(10).jitter(f64::NAN)).contains("jitter"));
        assert!(rejected(builder(10).reclaim(2_000)).contains("reclaim"));
        assert!(builder(usize::MAX).weigher(|_, _| 1).build::<()>().is_ok());
    }

    #[test]
    fn small_caches_have_one_shard_and_large_ones_several() {
        assert_eq!(default_shards(1, false), 1);
        assert_eq!(default_shards(1_023, false), 1);
        assert!(default_shards(1_000_000, false) >= 16);
        assert_eq!(default_shards(1_000_000, true), 1);
        assert!(format!("{:?}", builder(7)).contains("capacity: 7"));
    }
}
