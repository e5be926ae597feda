//! TinyUFO, in its fast and its compact form. It keeps hashes (by its own hasher) instead of keys.

use tinyufo::TinyUfo;

use crate::contender::{Reads, Setup, Writes};
use crate::key::Key;

/// The fast form's name in tables.
pub(crate) const NAME: &str = "TinyUFO";
/// The compact form's.
pub(crate) const COMPACT: &str = "TinyUFO compact";

/// TinyUFO's cache.
pub(crate) struct Tiny<K, V>(TinyUfo<K, V>);

impl<K: Key, V: Clone + Send + Sync + 'static> Tiny<K, V> {
    /// Builds the form that trades memory for speed.
    pub(crate) fn new(setup: Setup) -> Self {
        Self(TinyUfo::new(setup.capacity, setup.capacity))
    }

    /// Builds the form that trades speed for memory.
    pub(crate) fn compact(setup: Setup) -> Self {
        Self(TinyUfo::new_compact(setup.capacity, setup.capacity))
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Reads<K, V> for Tiny<K, V> {
    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(key)
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Writes<K, V> for Tiny<K, V> {
    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.put(key, value, 1);
    }
}
