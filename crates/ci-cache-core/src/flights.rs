//! The flights of one shard that a look-up may join, by key.

use std::sync::Arc;

use hashbrown::{Equivalent, HashTable};

use crate::flight::Flight;

/// A running flight that later look-ups may join. Taken out of the table, the flight is detached: it still
/// answers those who wait, but nobody joins it any more and its value is not kept.
#[derive(Debug)]
pub(crate) struct FlightSlot<K, V, E> {
    pub(crate) key: K,
    hash: u64,
    flight: Arc<Flight<V, E>>,
}

/// At most one attached flight per key.
#[derive(Debug)]
pub(crate) struct Flights<K, V, E>(HashTable<FlightSlot<K, V, E>>);

impl<K, V, E> Default for Flights<K, V, E> {
    fn default() -> Self {
        Self(HashTable::new())
    }
}

impl<K, V, E> Flights<K, V, E> {
    /// Counts them.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Tells whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Attaches the flight of a key that has none.
    pub(crate) fn attach(&mut self, hash: u64, key: K, flight: Arc<Flight<V, E>>) {
        self.0
            .insert_unique(hash, FlightSlot { key, hash, flight }, |slot| slot.hash);
    }

    /// Finds the flight of a key.
    pub(crate) fn of<Q: ?Sized + Equivalent<K>>(&self, hash: u64, key: &Q) -> Option<&Arc<Flight<V, E>>> {
        let found = self
            .0
            .find(hash, |slot| slot.hash == hash && key.equivalent(&slot.key));
        found.map(|slot| &slot.flight)
    }

    /// Takes the flight of a key out.
    pub(crate) fn detach<Q: ?Sized + Equivalent<K>>(
        &mut self,
        hash: u64,
        key: &Q,
    ) -> Option<FlightSlot<K, V, E>> {
        if self.0.is_empty() {
            return None;
        }
        let found = self
            .0
            .find_entry(hash, |slot| slot.hash == hash && key.equivalent(&slot.key));
        found.ok().map(|slot| slot.remove().0)
    }

    /// Takes a flight out at its landing; nothing if it was detached before.
    pub(crate) fn land(&mut self, hash: u64, flight: &Arc<Flight<V, E>>) -> Option<FlightSlot<K, V, E>> {
        let found = self.0.find_entry(hash, |slot| Arc::ptr_eq(&slot.flight, flight));
        found.ok().map(|slot| slot.remove().0)
    }

    /// Gives the key of a flight that is attached.
    pub(crate) fn key_of(&self, hash: u64, flight: &Arc<Flight<V, E>>) -> Option<&K> {
        let found = self.0.find(hash, |slot| Arc::ptr_eq(&slot.flight, flight));
        found.map(|slot| &slot.key)
    }

    /// Takes out all whose key matches.
    pub(crate) fn detach_where(&mut self, mut matches: impl FnMut(&K) -> bool) -> Vec<FlightSlot<K, V, E>> {
        if self.0.is_empty() {
            return Vec::new();
        }
        self.0.extract_if(|slot| matches(&slot.key)).collect()
    }
}
