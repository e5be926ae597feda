//! Telling the embedder what left the cache, and why.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
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
}

/// What leaves a shard in one operation, to be told of and dropped without its lock: a value whose drop calls the cache must
/// not deadlock. Most operations displace at most one pair and allocate nothing.
#[must_use = "bind it so that it is dropped after the lock"]
pub(crate) struct Garbage<K, V, E> {
    first: Option<Gone<K, V>>,
    /// A value that was not kept.
    pub(crate) value: Option<V>,
    /// The flight that the operation detached or landed.
    pub(crate) flight: Option<crate::flights::FlightSlot<K, V, E>>,
    /// What few operations leave, out of the way of the others.
    rare: Option<Box<Rare<K, V, E>>>,
}

/// More pairs than one; memory, flights and whole tables.
struct Rare<K, V, E> {
    more: Vec<Gone<K, V>>,
    rest: Vec<Rest<K, V, E>>,
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
    /// Values that running flights knew of.
    Values(Vec<V>),
    /// A key that was not needed.
    Key(K),
    /// A pair whose weighing panicked.
    Pair(K, V),
    /// The table before it grew; nothing is in it any more.
    Memory(Box<crate::table::Table<K, V>>),
}

impl<K, V, E> Default for Garbage<K, V, E> {
    #[inline]
    fn default() -> Self {
        Self {
            first: None,
            value: None,
            flight: None,
            rare: None,
        }
    }
}

impl<K, V, E> Garbage<K, V, E> {
    /// Takes a pair that left.
    #[inline]
    pub(crate) fn push(&mut self, gone: Gone<K, V>) {
        if self.first.is_none() {
            self.first = Some(gone);
        } else {
            self.rare().more.push(gone);
        }
    }

    /// Takes something larger.
    #[cold]
    pub(crate) fn push_rest(&mut self, rest: Rest<K, V, E>) {
        self.rare().rest.push(rest);
    }

    /// Takes values that running flights knew of.
    pub(crate) fn push_values(&mut self, values: Vec<V>) {
        if !values.is_empty() {
            self.push_rest(Rest::Values(values));
        }
    }

    #[cold]
    fn rare(&mut self) -> &mut Rare<K, V, E> {
        self.rare.get_or_insert_with(|| {
            Box::new(Rare {
                more: Vec::new(),
                rest: Vec::new(),
            })
        })
    }

    /// Tells the listener of every pair that left; outside the lock, before anything is dropped.
    #[inline]
    pub(crate) fn tell(&self, listener: Option<&Listener<K, V>>) {
        if let Some(listener) = listener {
            self.tell_all(listener);
        }
    }

    /// Tells of all of them even if the listener panics on one: whoever keeps books by it must not miss any.
    fn tell_all(&self, listener: &Listener<K, V>) {
        let mut panic = None;
        let mut tell = |key: &K, value: &V, cause| {
            let told = catch_unwind(AssertUnwindSafe(|| listener(key, value, cause)));
            if let Err(payload) = told {
                panic.get_or_insert(payload);
            }
        };
        let more = self.rare.iter().flat_map(|rare| &rare.more);
        for gone in self.first.iter().chain(more) {
            tell(&gone.key, &gone.value, gone.cause);
        }
        for rest in self.rare.iter().flat_map(|rare| &rare.rest) {
            if let Rest::Contents(table, ..) = rest {
                for (_, _, key, value) in table.iter() {
                    tell(key, value, Cause::Cleared);
                }
            }
        }
        if let Some(payload) = panic {
            resume_unwind(payload);
        }
    }

    /// Takes the value of the pair that left first out again, for the caller who asked for it, if it left for this cause.
    pub(crate) fn take_first(&mut self, cause: Cause) -> Option<V> {
        let gone = self.first.take_if(|gone| gone.cause == cause)?;
        Some(gone.value)
    }
}

impl<K, V, E> fmt::Debug for Garbage<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Garbage")
            .field("any", &self.first.is_some())
            .finish_non_exhaustive()
    }
}
