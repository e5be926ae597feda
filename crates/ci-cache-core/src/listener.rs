//! Telling the embedder what left the cache, and why.

use std::fmt;
use std::sync::Arc;

/// Why a value left the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// It made room for others, or was refused for their sake, or weighs more than its shard may hold.
    Size,
    /// Its time to live or idle was over.
    Expired,
    /// A newer value of its key took its place.
    Replaced,
    /// It was removed by key, by a predicate, by `compute`, or its scope was invalidated.
    Removed,
    /// The cache was cleared.
    Cleared,
}

/// The embedder's function; see [`CacheBuilder::listener`](crate::CacheBuilder::listener).
pub(crate) type Listener<K, V> = Arc<dyn Fn(&K, &V, Cause) + Send + Sync>;

/// A pair that left, on its way out of the lock.
#[derive(Debug)]
pub(crate) struct Gone<K, V> {
    /// The key; for a replaced value an equal one.
    pub(crate) key: K,
    pub(crate) value: V,
    pub(crate) cause: Cause,
    /// What else the entry held and must be dropped outside the lock (a stamp is shared with others).
    pub(crate) _detail: Option<crate::detail::Detail>,
}

/// What leaves a shard in one operation, to be told of and dropped without its lock: a value whose drop calls the cache must
/// not deadlock. Most operations displace at most one pair and allocate nothing.
#[must_use = "bind it so that it is dropped after the lock"]
pub(crate) struct Garbage<K, V, E> {
    first: Option<Gone<K, V>>,
    more: Vec<Gone<K, V>>,
    /// A value that was not kept.
    pub(crate) value: Option<V>,
    /// The flight that the operation detached or landed.
    pub(crate) flight: Option<crate::flights::FlightSlot<K, V, E>>,
    /// Memory, flights and whole tables.
    pub(crate) rest: Vec<Rest<K, V, E>>,
}

/// Larger things that leave a shard. Held to be dropped, most of them.
#[expect(dead_code, reason = "they are carried out of the lock to be dropped")]
pub(crate) enum Rest<K, V, E> {
    /// What a clear or a fault left: all entries of a table and all flights.
    Contents(
        Box<crate::table::Table<K, V>>,
        Box<crate::detail::Columns>,
        Box<crate::flights::Flights<K, V, E>>,
    ),
    /// Detached flights.
    Flights(Vec<crate::flights::FlightSlot<K, V, E>>),
    /// The table before it grew; nothing is in it any more.
    Memory(Box<crate::table::Table<K, V>>),
}

impl<K, V, E> Default for Garbage<K, V, E> {
    fn default() -> Self {
        Self {
            first: None,
            more: Vec::new(),
            value: None,
            flight: None,
            rest: Vec::new(),
        }
    }
}

impl<K, V, E> Garbage<K, V, E> {
    /// Takes a pair that left.
    pub(crate) fn push(&mut self, gone: Gone<K, V>) {
        if self.first.is_none() {
            self.first = Some(gone);
        } else {
            self.more.push(gone);
        }
    }

    /// Tells the listener of every pair that left; outside the lock, before anything is dropped.
    pub(crate) fn tell(&self, listener: Option<&Listener<K, V>>) {
        let Some(listener) = listener else { return };
        for gone in self.first.iter().chain(&self.more) {
            listener(&gone.key, &gone.value, gone.cause);
        }
        for rest in &self.rest {
            if let Rest::Contents(table, ..) = rest {
                for (_, _, key, value) in table.iter() {
                    listener(key, value, Cause::Cleared);
                }
            }
        }
    }

    /// Takes the value of a removed pair out again, for the caller who asked for it.
    pub(crate) fn take_removed(&mut self) -> Option<V> {
        let removed = self.first.take_if(|gone| gone.cause == Cause::Removed)?;
        Some(removed.value)
    }
}

impl<K, V, E> fmt::Debug for Garbage<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Garbage")
            .field("pairs", &(usize::from(self.first.is_some()) + self.more.len()))
            .finish_non_exhaustive()
    }
}
