//! What a cache, its clones and its leaders share: the shards behind their locks.

use std::fmt;
use std::sync::Arc;

use hashbrown::Equivalent;

use crate::config::Config;
use crate::entry::InsertOptions;
use crate::expiry::Ttl;
use crate::flight::Flight;
use crate::listener::Garbage;
use crate::raw::BiasedLock;
use crate::rules::Rules;
use crate::scope::Stamp;
use crate::shard::{Landing, Look, Seen, Shard};
use crate::shim::{AtomicU64, Mutex, Ordering, lock};
use crate::stats::Stats;
use crate::stripes::Stripes;

/// The shared part of a cache. What a hit reads comes first.
#[repr(C)]
pub(crate) struct Core<K, V, E> {
    shards: Box<[Line<K, V, E>]>,
    stripes: Stripes,
    /// Raised by a clear: contents of shards in an older epoch are gone at once.
    epoch: AtomicU64,
    pub(crate) config: Config<K, V>,
    /// Misses of threads without a stripe.
    stray_misses: AtomicU64,
    /// The capacity in total weight. Outside the shards only a report.
    capacity: AtomicU64,
    /// Counts the changes of the capacity, so that two cannot mix: the younger one holds. Taken within a shard's lock or
    /// without one, never the other way round, and never while a caller's code runs.
    resizes: Mutex<u64>,
}

/// A shard on cache lines of its own, so that neighbours' locks do not slow each other down.
#[repr(align(128))]
struct Line<K, V, E>(BiasedLock<Shard<K, V, E>>);

/// Gives the shares of so many shards; the first take what does not divide evenly.
fn shares(capacity: u64, shards: usize) -> impl Iterator<Item = u64> {
    let count = shards as u64;
    (0..count).map(move |index| (capacity / count + u64::from(index < capacity % count)).max(1))
}

impl<K, V, E> Core<K, V, E> {
    pub(crate) fn new(capacity: u64, shards: usize, config: Config<K, V>) -> Self {
        let shards = shares(capacity, shards)
            .map(|share| Line(BiasedLock::new(Shard::new(share, shards as u64, &config))))
            .collect();
        Self {
            shards,
            config,
            stripes: Stripes::new(),
            epoch: AtomicU64::new(0),
            stray_misses: AtomicU64::new(0),
            capacity: AtomicU64::new(capacity),
            resizes: Mutex::new(0),
        }
    }

    /// Counts the shards.
    pub(crate) fn shards(&self) -> usize {
        self.shards.len()
    }

    /// Gives the capacity.
    pub(crate) fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    /// Finds the shard of a hash by bits 8 to 19: the table inside goes by the lowest eight and the highest, policies
    /// sample by those in between.
    #[inline]
    fn lock_of(&self, hash: u64) -> &BiasedLock<Shard<K, V, E>> {
        let index = (((hash >> 8) & 0xFFF) * self.shards.len() as u64) >> 12;
        &self.shards[index as usize].0
    }

    /// The epoch now: what a look-up that begins now may see.
    #[inline]
    fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Visits a key's fresh entry under shared access. Counts a hit, not a miss.
    #[inline(always)]
    pub(crate) fn look<Q, R>(
        &self,
        hash: u64,
        key: &Q,
        visit: impl FnOnce(&Seen<'_, K, V, E>) -> R,
    ) -> Look<R>
    where
        Q: ?Sized + Equivalent<K>,
    {
        self.lock_of(hash).look(&self.stripes, |shard, access| {
            let look = shard.look((hash, key), self.epoch(), &self.config, |seen| {
                seen.hit(hash, &self.config);
                visit(&seen)
            });
            let hit = matches!(look, Look::Hit(_));
            if hit {
                shard.count_hit(access);
            }
            (look, u64::from(hit))
        })
    }

    /// Visits a key's fresh entry under shared access and counts nothing.
    pub(crate) fn peek<Q, R>(
        &self,
        hash: u64,
        key: &Q,
        visit: impl FnOnce(&Seen<'_, K, V, E>) -> R,
    ) -> Option<R>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let shard = self.lock_of(hash).share(&self.stripes);
        match shard.look((hash, key), self.epoch(), &self.config, |seen| visit(&seen)) {
            Look::Hit(result) => Some(result),
            Look::Absent | Look::NotFresh => None,
        }
    }

    /// Counts a look-up that found nothing.
    #[inline]
    pub(crate) fn miss(&self) {
        match self.stripes.mine() {
            Some(stripe) => stripe.miss(),
            None => {
                self.stray_misses.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    /// Changes the shard of a hash; what leaves it is told of and dropped after its lock.
    #[inline]
    pub(crate) fn write<R>(
        &self,
        hash: u64,
        act: impl FnOnce(&mut Shard<K, V, E>, &Config<K, V>, &mut Garbage<K, V, E>) -> R,
    ) -> R {
        self.write_lock(self.lock_of(hash), &mut Garbage::default(), act)
    }

    /// Changes the shard of a hash and hands out what left it, after telling of it.
    #[inline]
    pub(crate) fn write_keeping<R>(
        &self,
        hash: u64,
        act: impl FnOnce(&mut Shard<K, V, E>, &Config<K, V>, &mut Garbage<K, V, E>) -> R,
    ) -> (R, Garbage<K, V, E>) {
        let mut out = Garbage::default();
        let result = self.write_lock(self.lock_of(hash), &mut out, act);
        (result, out)
    }

    /// Changes the shard of a hash and leaves it to the caller to [`tell`](Self::tell) of what left it: for a result that
    /// must be in safe hands before the listener or a drop can panic.
    #[inline]
    pub(crate) fn write_untold<R>(
        &self,
        hash: u64,
        out: &mut Garbage<K, V, E>,
        act: impl FnOnce(&mut Shard<K, V, E>, &Config<K, V>, &mut Garbage<K, V, E>) -> R,
    ) -> R {
        self.lock_untold(self.lock_of(hash), out, act)
    }

    /// Tells the listener of what left a shard.
    #[inline]
    pub(crate) fn tell(&self, out: &Garbage<K, V, E>) {
        out.tell(self.config.listener.as_ref());
    }

    #[inline]
    fn write_lock<R>(
        &self,
        lock: &BiasedLock<Shard<K, V, E>>,
        out: &mut Garbage<K, V, E>,
        act: impl FnOnce(&mut Shard<K, V, E>, &Config<K, V>, &mut Garbage<K, V, E>) -> R,
    ) -> R {
        let result = self.lock_untold(lock, out, act);
        self.tell(out);
        result
    }

    #[inline]
    fn lock_untold<R>(
        &self,
        lock: &BiasedLock<Shard<K, V, E>>,
        out: &mut Garbage<K, V, E>,
        act: impl FnOnce(&mut Shard<K, V, E>, &Config<K, V>, &mut Garbage<K, V, E>) -> R,
    ) -> R {
        lock.write(&self.stripes, |shard| {
            shard.sync(self.epoch(), out);
            act(shard, &self.config, out)
        })
    }

    /// Changes the shards one after the other.
    pub(crate) fn write_each<R>(
        &self,
        mut act: impl FnMut(&mut Shard<K, V, E>, &Config<K, V>, &mut Garbage<K, V, E>) -> R,
    ) -> impl Iterator<Item = R> {
        self.shards
            .iter()
            .map(move |line| self.write_lock(&line.0, &mut Garbage::default(), &mut act))
    }

    /// Reads the shards one after the other, each at the epoch of that moment.
    pub(crate) fn read_each<R>(
        &self,
        mut look: impl FnMut(&Shard<K, V, E>, u64, &Config<K, V>) -> R,
    ) -> impl Iterator<Item = R> {
        self.shards.iter().map(move |line| {
            let shard = line.0.share(&self.stripes);
            look(&shard, self.epoch(), &self.config)
        })
    }

    /// Gives the rules that hold, which are the same in each shard; in what ships, all of them.
    pub(crate) fn rules(&self) -> Rules {
        let mut each = self.read_each(|shard, _, _| shard.rules);
        each.next().unwrap_or(Rules::SHIPPED)
    }

    /// Sums the counters.
    pub(crate) fn stats(&self) -> Stats {
        let (hits, misses) = self.stripes.counts();
        let mut stats: Stats = self.read_each(|shard, epoch, _| shard.stats(epoch)).sum();
        stats.hits += hits;
        stats.misses += misses + self.stray_misses.load(Ordering::Relaxed);
        stats
    }

    /// Makes everything that is there, and every flight under way, a thing of the past.
    ///
    /// `SeqCst`: a look-up that starts after this returned, on whatever thread, reads the new epoch.
    pub(crate) fn clear(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// Changes the capacity and evicts what is too much, a few entries at a time under each lock. Ends early if another
    /// change overtakes it, of another thread or out of a listener that hears of the evictions.
    pub(crate) fn resize(&self, capacity: u64) {
        /// Evictions in one go; some ten microseconds.
        const AT_ONCE: usize = 128;
        let mine = {
            let mut resizes = lock(&self.resizes);
            *resizes += 1;
            self.capacity.store(capacity, Ordering::Relaxed);
            *resizes
        };
        for (line, share) in self.shards.iter().zip(shares(capacity, self.shards.len())) {
            loop {
                let has_more = self.write_lock(&line.0, &mut Garbage::default(), |shard, config, out| {
                    // Looked at under the shard's lock: a younger change counts itself before it comes to this shard, so
                    // it either is seen here or sets the share after this.
                    (*lock(&self.resizes) == mine).then(|| shard.resize(share, AT_ONCE, config, out))
                });
                match has_more {
                    Some(true) => {}
                    Some(false) => break,
                    None => return,
                }
            }
        }
    }
}

impl<K: Eq, V, E> Core<K, V, E> {
    /// Stores a pair with the cache's defaults, in a cache whose defaults make it no more than a pair with a deadline and where
    /// nobody listens. Gives the key and the value that it replaced, to be dropped; anything else that it displaced is in `out`.
    #[inline]
    pub(crate) fn insert_plain(
        &self,
        hash: u64,
        key: K,
        value: V,
        out: &mut Option<Garbage<K, V, E>>,
    ) -> Option<(K, V)> {
        self.lock_of(hash).write(&self.stripes, |shard| {
            let epoch = self.epoch();
            if !shard.is_of(epoch) || !shard.is_plain() {
                self.insert_slowly(shard, epoch, (hash, key, value), out);
                return None;
            }
            if let Some(place) = shard.replace(hash, &key, &self.config) {
                return Some((key, std::mem::replace(place, value)));
            }
            let out = out.insert(Garbage::default());
            shard.insert_absent((hash, key, value), &self.config, out);
            None
        })
    }

    /// Stores a pair the long way.
    #[cold]
    fn insert_slowly(
        &self,
        shard: &mut Shard<K, V, E>,
        epoch: u64,
        (hash, key, value): (u64, K, V),
        out: &mut Option<Garbage<K, V, E>>,
    ) {
        let out = out.insert(Garbage::default());
        shard.sync(epoch, out);
        shard.insert(hash, key, value, &InsertOptions::new(), &self.config, out);
    }

    /// Stores a flight's value unless it was detached; the caller tells of what that displaces ([`tell`](Self::tell)).
    ///
    /// The value gets the options of the look-up that began the flight, but for `ttl` where given.
    pub(crate) fn publish(
        &self,
        (hash, flight): (u64, &Arc<Flight<V, E>>),
        value: V,
        ttl: Option<Ttl>,
        out: &mut Garbage<K, V, E>,
    ) -> Landing {
        let options = self.options_of(flight, ttl);
        self.write_untold(hash, out, |shard, config, out| {
            shard.publish(hash, flight, value, &options, config, out)
        })
    }

    /// Stores a flight's value, which has a version, under a stamp, unless the flight was detached or another flight of the key brought one
    /// that `is_newer`.
    pub(crate) fn publish_version(
        &self,
        (hash, flight): (u64, &Arc<Flight<V, E>>),
        value: V,
        is_newer: impl Fn(&V, &V) -> bool,
        (ttl, stamp): (Option<Ttl>, Stamp),
        out: &mut Garbage<K, V, E>,
    ) -> Landing
    where
        V: Clone,
    {
        let options = InsertOptions {
            stamp: Some(stamp),
            ..self.options_of(flight, ttl)
        };
        self.write_untold(hash, out, |shard, config, out| {
            shard.publish_version((hash, flight), value, is_newer, &options, config, out)
        })
    }

    fn options_of(&self, flight: &Flight<V, E>, ttl: Option<Ttl>) -> InsertOptions {
        let mut options: InsertOptions = flight.options.clone();
        if let Some(ttl) = ttl {
            options.ttl = ttl;
        }
        if self.config.cost_aware && options.cost == 0 {
            let took = self.config.time.now().saturating_since(flight.begun);
            options.cost = u32::try_from(took.as_micros()).unwrap_or(u32::MAX);
        }
        options
    }
}

impl<K, V, E> fmt::Debug for Core<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
