//! The flights of one shard, by key: the one that a look-up may join, and those that it may not join any more.

use std::sync::Arc;

use hashbrown::{Equivalent, HashTable};

use crate::flight::Flight;

/// A running flight that is its key's. Taken out of the table, the flight is detached: it still answers those who wait, but
/// nobody joins it any more and its value is not kept.
#[derive(Debug)]
pub(crate) struct FlightSlot<K, V, E> {
    pub(crate) key: K,
    hash: u64,
    flight: Arc<Flight<V, E>>,
    /// The newest value that another flight of the key has brought since this one began, if values have versions.
    pub(crate) given: Option<V>,
}

type Table<K, V, E> = HashTable<FlightSlot<K, V, E>>;

/// At most one flight per key that look-ups may join, and those that were so before and still run.
#[derive(Debug)]
pub(crate) struct Flights<K, V, E> {
    current: Table<K, V, E>,
    superseded: Table<K, V, E>,
}

impl<K, V, E> Default for Flights<K, V, E> {
    fn default() -> Self {
        Self {
            current: HashTable::new(),
            superseded: HashTable::new(),
        }
    }
}

impl<K, V, E> Flights<K, V, E> {
    /// Counts those that may be joined.
    pub(crate) fn len(&self) -> usize {
        self.current.len()
    }

    /// Tells whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.current.is_empty() && self.superseded.is_empty()
    }

    /// Attaches the flight of a key that has none to join.
    pub(crate) fn attach(&mut self, hash: u64, key: K, flight: Arc<Flight<V, E>>) {
        let slot = FlightSlot {
            key,
            hash,
            flight,
            given: None,
        };
        self.current.insert_unique(hash, slot, |slot| slot.hash);
    }

    /// Finds the flight of a key that may be joined.
    pub(crate) fn of<Q: ?Sized + Equivalent<K>>(&self, hash: u64, key: &Q) -> Option<&Arc<Flight<V, E>>> {
        let found = self.current.find(hash, |slot| slot.is_of(hash, key));
        found.map(|slot| &slot.flight)
    }

    /// Lets nobody join the flight of a key any more. It stays the key's.
    pub(crate) fn supersede<Q: ?Sized + Equivalent<K>>(&mut self, hash: u64, key: &Q) {
        let found = self.current.find_entry(hash, |slot| slot.is_of(hash, key));
        if let Ok(slot) = found {
            let (slot, _) = slot.remove();
            self.superseded.insert_unique(hash, slot, |slot| slot.hash);
        }
    }

    /// A flight of a key has brought a value: tells those that still run, which may have read an older state, and lets nobody join them any
    /// more. Gives what they knew before.
    ///
    /// ```text
    /// first leader                  second leader                 reader
    /// begins
    ///     (its scope is invalidated)
    ///                               begins, reads state 93
    /// reads state 94, answers                                     has it
    ///                                                             asks again: must not be given 93
    /// ```
    pub(crate) fn outrun<Q: ?Sized + Equivalent<K>>(
        &mut self,
        (hash, key): (u64, &Q),
        value: &V,
        is_newer: impl Fn(&V, &V) -> bool,
    ) -> Vec<V>
    where
        V: Clone,
    {
        if self.is_empty() {
            return Vec::new();
        }
        self.supersede(hash, key);
        let running = self
            .superseded
            .iter_hash_mut(hash)
            .filter(|slot| slot.is_of(hash, key));
        let older = running.filter(|slot| slot.given.as_ref().is_none_or(|given| is_newer(value, given)));
        older
            .filter_map(|slot| slot.given.replace(value.clone()))
            .collect()
    }

    /// Takes a flight of a key out; to be called until there is none.
    pub(crate) fn detach<Q: ?Sized + Equivalent<K>>(
        &mut self,
        hash: u64,
        key: &Q,
    ) -> Option<FlightSlot<K, V, E>> {
        self.take(hash, |slot| slot.is_of(hash, key))
    }

    /// Takes a flight out at its landing; nothing if it was detached before.
    pub(crate) fn land(&mut self, hash: u64, flight: &Arc<Flight<V, E>>) -> Option<FlightSlot<K, V, E>> {
        self.take(hash, |slot| Arc::ptr_eq(&slot.flight, flight))
    }

    fn take(
        &mut self,
        hash: u64,
        is_it: impl Fn(&FlightSlot<K, V, E>) -> bool,
    ) -> Option<FlightSlot<K, V, E>> {
        [&mut self.current, &mut self.superseded]
            .into_iter()
            .filter(|table| !table.is_empty())
            .find_map(|table| Some(table.find_entry(hash, &is_it).ok()?.remove().0))
    }

    /// Gives the key of a flight that is its key's.
    pub(crate) fn key_of(&self, hash: u64, flight: &Arc<Flight<V, E>>) -> Option<&K> {
        let tables = [&self.current, &self.superseded];
        let mut found = tables
            .into_iter()
            .filter_map(|table| table.find(hash, |slot| Arc::ptr_eq(&slot.flight, flight)));
        found.next().map(|slot| &slot.key)
    }

    /// Takes out all whose key matches.
    pub(crate) fn detach_where(&mut self, mut matches: impl FnMut(&K) -> bool) -> Vec<FlightSlot<K, V, E>> {
        if self.is_empty() {
            return Vec::new();
        }
        let mut out: Vec<_> = self.current.extract_if(|slot| matches(&slot.key)).collect();
        out.extend(self.superseded.extract_if(|slot| matches(&slot.key)));
        out
    }
}

impl<K, V, E> FlightSlot<K, V, E> {
    fn is_of<Q: ?Sized + Equivalent<K>>(&self, hash: u64, key: &Q) -> bool {
        self.hash == hash && key.equivalent(&self.key)
    }
}
