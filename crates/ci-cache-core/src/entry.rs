//! What callers learn about an entry, and what they ask for when one comes to be.

use std::time::Duration;

use crate::clock::Tick;
use crate::expiry::{Ttl, Windows};
use crate::scope::{Scope, Stamp};

/// What is known about an entry besides its key and value; ticks are of the cache's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// When the value was inserted or published. Known if the cache keeps details
    /// ([`details`](crate::CacheBuilder::details)) or the entry has a scope, a time to idle or a stale window.
    pub created: Option<Tick>,
    /// The first moment at which it is no longer fresh; `None` without expiry.
    pub expires: Option<Tick>,
    /// Look-ups it answered, the one that returns this included; known when `created` is. Of hits at the same instant
    /// by several threads some may be missing.
    pub hits: Option<u64>,
    /// What it weighs; 1 unless the cache weighs entries.
    pub weight: u32,
}

/// A value found by a look-up, with its entry's particulars.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found<V> {
    /// The value.
    pub value: V,
    /// Since when, until when, how often.
    pub meta: Meta,
}

/// What a cache holds for a key at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Freshness<V> {
    /// A value within its time to live.
    Fresh(Found<V>),
    /// A value past its time to live and within its stale-while-revalidate window: may be served if somebody loads
    /// it again.
    Stale(Found<V>),
    /// Nothing that may be served. (A value within its stale-if-error window may be, once a load has failed: see
    /// [`Leader::fail`](crate::Leader::fail).)
    Absent,
}

/// A copy of one entry, as [`Cache::entries`](crate::Cache::entries) lists them.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntrySnapshot<K, V> {
    /// The key.
    pub key: K,
    /// The value.
    pub value: V,
    /// Since when, until when, how often.
    pub meta: Meta,
}

/// How a value is to be inserted: its times, weight and cost, and what it belongs to.
#[derive(Debug, Clone, Default)]
pub struct InsertOptions {
    pub(crate) ttl: Ttl,
    pub(crate) idle: Option<Duration>,
    pub(crate) windows: Windows,
    pub(crate) weight: Option<u32>,
    pub(crate) cost: u32,
    pub(crate) stamp: Option<Stamp>,
}

impl InsertOptions {
    /// Starts with the cache's defaults and no scope.
    pub fn new() -> Self {
        Self::default()
    }

    /// Tells whether nothing was asked for.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self.ttl, Ttl::Inherit)
            && self.idle.is_none()
            && !self.windows.any()
            && self.weight.is_none()
            && self.cost == 0
            && self.stamp.is_none()
    }

    /// Sets the time to live.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// Sets the time to idle: the entry expires when it was not hit for so long, and at the end of its time to live. Zero is
    /// legal: such an entry is never served.
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// Lets the value be served for so long after its time to live while somebody loads it again.
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.windows.revalidate = Some(window);
        self
    }

    /// Lets the value be served for so long after its time to live if loading it again fails.
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.windows.error = Some(window);
        self
    }

    /// Sets the weight, in the units of the capacity, instead of asking the cache's weigher; 0 counts as 1.
    pub fn weight(mut self, weight: u32) -> Self {
        self.weight = Some(weight);
        self
    }

    /// Sets what loading the value again would cost, in any unit as long as it is one (microseconds, say); 0 is
    /// unknown. Counts only if the cache is [`cost_aware`](crate::CacheBuilder::cost_aware).
    pub fn cost(mut self, cost: u32) -> Self {
        self.cost = cost;
        self
    }

    /// Puts the entry under a scope, stamped now: right for a value that was not read from anywhere.
    ///
    /// A value that was read from the source which the scope stands for needs [`stamped`](Self::stamped) with a
    /// stamp taken before the reading, or a flight, which takes the stamp at the right time by itself.
    pub fn scope(self, scope: &Scope) -> Self {
        self.stamped(scope.stamp())
    }

    /// Puts the entry under the scope of a stamp taken earlier; if the scope was invalidated meanwhile, the entry
    /// is dead on arrival.
    pub fn stamped(mut self, stamp: Stamp) -> Self {
        self.stamp = Some(stamp);
        self
    }
}

/// What a flight's value will be subject to, should the look-up have to begin one.
#[derive(Debug, Clone, Copy, Default)]
pub struct LookupOptions<'a> {
    pub(crate) ttl: Ttl,
    pub(crate) idle: Option<Duration>,
    pub(crate) windows: Windows,
    pub(crate) scope: Option<&'a Scope>,
}

impl<'a> LookupOptions<'a> {
    /// Starts with the cache's defaults and no scope.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time to live that the leader's publication gets unless it names its own.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// Sets the time to idle; see [`InsertOptions::idle`].
    pub fn idle(mut self, idle: Duration) -> Self {
        self.idle = Some(idle);
        self
    }

    /// Sets the window in which the value is served while it is loaded again; see
    /// [`InsertOptions::stale_while_revalidate`].
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.windows.revalidate = Some(window);
        self
    }

    /// Sets the window in which the value is served if loading it again fails; see
    /// [`InsertOptions::stale_if_error`].
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.windows.error = Some(window);
        self
    }

    /// Puts the flight and its value under a scope; the stamp is taken when the flight begins.
    pub fn scope(mut self, scope: &'a Scope) -> Self {
        self.scope = Some(scope);
        self
    }

    /// Takes the stamp: the flight begins.
    pub(crate) fn begin(self) -> InsertOptions {
        InsertOptions {
            ttl: self.ttl,
            idle: self.idle,
            windows: self.windows,
            weight: None,
            cost: 0,
            stamp: self.scope.map(Scope::stamp),
        }
    }
}
