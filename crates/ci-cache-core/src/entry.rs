//! One cached pair and what is known about it.

use crate::clock::{Clock, Tick};
use crate::expiry::Ttl;
use crate::scope::{Scope, Stamp};

/// A resident pair.
#[derive(Debug)]
pub(crate) struct Entry<K, V> {
    pub(crate) key: K,
    pub(crate) value: V,
    /// The key's hash, kept so that growing the table and evicting call no user code.
    pub(crate) hash: u64,
    pub(crate) life: Life,
    /// Look-ups answered by this value.
    pub(crate) hits: u64,
}

/// Since when and until when a value may be served.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) created: Tick,
    /// [`Tick::NEVER`] without expiry, in which case a look-up reads no clock.
    pub(crate) expires: Tick,
    /// The scope's generation from before the value was loaded.
    pub(crate) stamp: Option<Stamp>,
}

/// Why an entry must not be served any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// Its time is over.
    Expired,
    /// Its scope was invalidated after its stamp was taken.
    Invalidated,
}

impl Life {
    /// Says why the entry is dead, or nothing if it may be served.
    pub(crate) fn death(&self, clock: &dyn Clock) -> Option<Death> {
        if self.stamp.as_ref().is_some_and(|stamp| !stamp.is_live()) {
            return Some(Death::Invalidated);
        }
        (self.expires != Tick::NEVER && clock.now() >= self.expires).then_some(Death::Expired)
    }
}

impl<K, V> Entry<K, V> {
    /// Copies what callers may know about the entry.
    pub(crate) fn meta(&self) -> Meta {
        let expires = (self.life.expires != Tick::NEVER).then_some(self.life.expires);
        Meta {
            created: self.life.created,
            expires,
            hits: self.hits,
        }
    }
}

/// What is known about an entry besides its key and value; ticks are of the cache's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meta {
    /// When the value was inserted or published.
    pub created: Tick,
    /// The first moment at which it is no longer served; `None` without expiry.
    pub expires: Option<Tick>,
    /// Look-ups it answered, the one that returns this included.
    pub hits: u64,
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

/// How a value is to be inserted: its time to live and what it belongs to.
#[derive(Debug, Clone, Default)]
pub struct InsertOptions {
    pub(crate) ttl: Ttl,
    pub(crate) stamp: Option<Stamp>,
}

impl InsertOptions {
    /// Starts with the cache's default time to live and no scope.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time to live.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = ttl.into();
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
    pub(crate) scope: Option<&'a Scope>,
}

impl<'a> LookupOptions<'a> {
    /// Starts with the cache's default time to live and no scope.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the time to live that the leader's publication gets unless it names its own.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = ttl.into();
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
            stamp: self.scope.map(Scope::stamp),
        }
    }
}
