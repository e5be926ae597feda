//! DashMap: a sharded map without eviction, as a bound for what locks cost.

use dashmap::{DashMap, Entry};
use foldhash::fast::RandomState;

use crate::contender::{Loads, Reads, Setup, Writes};
use crate::key::Key;

/// The name in tables.
pub(crate) const NAME: &str = "dashmap";

/// The map.
pub(crate) struct Dash<K, V>(DashMap<K, V, RandomState>);

impl<K: Key, V> Dash<K, V> {
    /// Builds it, with room for as many entries as the caches have.
    pub(crate) fn new(setup: Setup) -> Self {
        Self(DashMap::with_capacity_and_hasher(
            setup.capacity,
            RandomState::default(),
        ))
    }
}

impl<K: Key, V: Clone + Send + Sync> Reads<K, V> for Dash<K, V> {
    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get::<K::Borrowed>(key.borrow()).map(|entry| entry.clone())
    }
}

impl<K: Key, V: Clone + Send + Sync> Writes<K, V> for Dash<K, V> {
    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }
}

impl<K: Key, V: Clone + Send + Sync> Loads<K, V> for Dash<K, V> {
    /// The map has no load by a borrowed key: a look-up, then the entry, as its users write it.
    #[inline]
    fn get_or_load(&self, key: &K, load: impl FnOnce() -> V) -> V {
        if let Some(value) = self.get(key) {
            return value;
        }
        match self.0.entry(key.clone()) {
            Entry::Occupied(entry) => entry.get().clone(),
            Entry::Vacant(entry) => entry.insert(load()).clone(),
        }
    }
}
