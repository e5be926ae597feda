//! What a cache was built with, validated, and how it turns a caller's wishes into an entry's life.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::{Clock, Tick, TickCell};
use crate::detail::Detail;
use crate::entry::InsertOptions;
use crate::expiry::{Ttl, Windows, shorten};
use crate::listener::Listener;
use crate::mark::Mark;
use crate::policy::Eviction;
use crate::share::{Grouping, Share};
use crate::shim::AtomicU64;

/// Computes a weight; see [`CacheBuilder::weigher`](crate::CacheBuilder::weigher).
pub(crate) type Weigher<K, V> = Arc<dyn Fn(&K, &V) -> u32 + Send + Sync>;
/// Computes a time to live; see [`CacheBuilder::expiry`](crate::CacheBuilder::expiry).
pub(crate) type Expiry<K, V> = Arc<dyn Fn(&K, &V) -> Ttl + Send + Sync>;
/// Hashes a resident key once more, for eviction and growth.
pub(crate) type Rehash<K> = Box<dyn Fn(&K) -> u64 + Send + Sync>;

/// The clock, and a short cut to its tick if it offers one: a look-up then costs a load instead of a call.
#[derive(Debug, Clone)]
#[repr(C)]
pub(crate) struct Time {
    cell: Option<Arc<TickCell>>,
    clock: Arc<dyn Clock>,
}

impl Time {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            cell: clock.cell(),
            clock,
        }
    }

    #[inline]
    pub(crate) fn now(&self) -> Tick {
        match &self.cell {
            Some(cell) => cell.get(),
            None => self.clock.now(),
        }
    }
}

/// The settings of a cache that its shards go by.
#[repr(C)]
pub(crate) struct Config<K, V> {
    pub(crate) time: Time,
    pub(crate) ttl: Option<Duration>,
    pub(crate) idle: Option<Duration>,
    pub(crate) windows: Windows,
    /// The share of a time to live by which it may be shortened, in 1/65,536.
    pub(crate) jitter: u32,
    pub(crate) weigher: Option<Weigher<K, V>>,
    pub(crate) expiry: Option<Expiry<K, V>>,
    pub(crate) listener: Option<Listener<K, V>>,
    pub(crate) rehash: Rehash<K>,
    pub(crate) eviction: Eviction,
    /// How entries are grouped, if they are.
    pub(crate) groups: Option<Arc<Grouping<K>>>,
    /// Keep a detail for every entry.
    pub(crate) details: bool,
    /// Let what a load cost count at eviction.
    pub(crate) cost_aware: bool,
    /// Slots that each insertion examines for entries past their time.
    pub(crate) reclaim: usize,
    /// Nothing above makes an entry more than a pair with a time to live: most insertions take a short cut then.
    pub(crate) plain: bool,
}

/// What an entry starts its life with.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) mark: Mark,
    pub(crate) detail: Option<Detail>,
    pub(crate) weight: u32,
    pub(crate) cost: u32,
    /// Its group and what that may count on, if entries are grouped.
    pub(crate) group: Option<(u64, Share)>,
}

impl Life {
    /// Of a pair with a deadline, and no more than that.
    #[inline]
    pub(crate) fn plain(deadline: Tick) -> Self {
        Self {
            mark: Mark::new(deadline, false),
            detail: None,
            weight: 1,
            cost: 0,
            group: None,
        }
    }
}

impl<K, V> Config<K, V> {
    /// Decides how long an entry lives, what it weighs and where it belongs. Runs the caller's weigher, expiry and group functions.
    ///
    /// # Errors
    /// Gives back their panic, so that the pair can be brought out of the lock first.
    #[inline]
    pub(crate) fn life(
        &self,
        hash: u64,
        key: &K,
        value: &V,
        options: &InsertOptions,
    ) -> std::thread::Result<Life> {
        if self.plain && options.is_plain() {
            return Ok(Life::plain(self.plain_deadline()));
        }
        catch_unwind(AssertUnwindSafe(|| self.full_life(hash, key, value, options)))
    }

    /// Gives the deadline of a plain entry; no clock is read where nothing expires.
    #[inline]
    pub(crate) fn plain_deadline(&self) -> Tick {
        match self.ttl {
            None => Tick::NEVER,
            Some(ttl) => self.time.now().saturating_add(ttl),
        }
    }

    /// The general case of [`life`](Self::life).
    #[inline(never)]
    fn full_life(&self, hash: u64, key: &K, value: &V, options: &InsertOptions) -> Life {
        let weight = options
            .weight
            .unwrap_or_else(|| self.weigher.as_ref().map_or(1, |weigh| weigh(key, value)));
        let ttl = match (options.ttl, &self.expiry) {
            (Ttl::Inherit, Some(expiry)) => expiry(key, value),
            (ttl, _) => ttl,
        };
        let ttl = ttl.or(self.ttl);
        let idle = options.idle.or(self.idle);
        let windows = options.windows.or(self.windows);
        let detailed = self.details || options.stamp.is_some() || idle.is_some() || windows.any();
        // No expiry and no particulars: no clock is read.
        let now = if detailed || ttl.is_some() {
            self.time.now()
        } else {
            Tick::default()
        };
        let hard = ttl.map_or(Tick::NEVER, |ttl| {
            now.saturating_add(shorten(ttl, self.jitter, hash ^ now.as_micros()))
        });
        let idle_micros = idle.map_or(0, crate::clock::micros);
        let deadline = match idle {
            Some(_) => hard.min(now.after_micros(idle_micros)),
            None => hard,
        };
        let detail = detailed.then(|| Detail {
            created: now,
            hits: AtomicU64::new(0),
            stamp: options.stamp.clone(),
            hard,
            // Zero means none here; an entry that may not idle at all is dead by its deadline already.
            idle_micros: idle.map_or(0, |_| idle_micros.max(1)),
            stale_until: windows
                .revalidate
                .map_or(hard, |window| hard.saturating_add(window)),
            fallback_until: windows.error.map_or(hard, |window| hard.saturating_add(window)),
        });
        Life {
            mark: Mark::new(deadline, detailed),
            detail,
            weight: weight.max(1),
            cost: if self.cost_aware { options.cost } else { 0 },
            group: self.groups.as_ref().map(|groups| {
                let group = (groups.of)(key);
                (group, (groups.share)(group))
            }),
        }
    }
}

impl<K, V> fmt::Debug for Config<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("ttl", &self.ttl)
            .field("idle", &self.idle)
            .field("eviction", &self.eviction)
            .finish_non_exhaustive()
    }
}
