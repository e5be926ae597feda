//! A hash map without lock or eviction: the bound that one thread of pure hits is compared with.

use std::sync::Arc;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::contender::{Reads, Value};
use crate::key::Key;

/// The name in tables.
pub(crate) const NAME: &str = "hashbrown";

/// hashbrown's map, filled once.
pub(crate) struct Plain<K>(HashMap<K, Value, RandomState>);

impl<K: Key> Plain<K> {
    /// Builds and fills it.
    pub(crate) fn filled(keys: &[K]) -> Self {
        let mut map = HashMap::with_capacity_and_hasher(keys.len(), RandomState::default());
        for (number, key) in (0..).zip(keys) {
            map.insert(key.clone(), Arc::new(number));
        }
        Self(map)
    }
}

impl<K: Key> Reads<K, Value> for Plain<K> {
    #[inline]
    fn get(&self, key: &K) -> Option<Value> {
        self.0.get::<K::Borrowed>(key.borrow()).map(Arc::clone)
    }
}
