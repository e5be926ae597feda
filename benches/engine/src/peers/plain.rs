//! A hash map without lock or eviction: the bound that one thread of pure hits is compared with.

use std::hash::BuildHasher;
use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::contender::{Reads, Value};
use crate::key::Key;

/// The name in tables.
pub(crate) const NAME: &str = "hashbrown";

/// hashbrown's map, filled once.
pub(crate) struct Plain<K, S = RandomState>(HashMap<K, Value, S>);

impl<K: Key> Plain<K> {
    /// Builds and fills it.
    pub(crate) fn filled(keys: &[K]) -> Self {
        Self::hashed_by(keys, RandomState::default())
    }
}

impl<K: Key, S: BuildHasher> Plain<K, S> {
    /// Builds and fills it with another hasher than ours by default.
    pub(crate) fn hashed_by(keys: &[K], hasher: S) -> Self {
        let mut map = HashMap::with_capacity_and_hasher(keys.len(), hasher);
        for (number, key) in (0..).zip(keys) {
            map.insert(key.clone(), Arc::new(number));
        }
        Self(map)
    }
}

impl<K: Key, S: BuildHasher + Send + Sync> Reads<K, Value> for Plain<K, S> {
    #[inline]
    fn get(&self, key: &K) -> Option<Value> {
        self.0.get::<K::Borrowed>(key.borrow()).map(Arc::clone)
    }
}
