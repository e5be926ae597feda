//! mini-moka, moka's smaller sibling. It has no look-up of a `String` by `str`; it is asked by the key itself.

use std::time::Duration;

use foldhash::fast::RandomState;
use mini_moka::sync::{Cache, ConcurrentCacheExt as _};

use crate::contender::{Reads, Setup, Writes};
use crate::key::Key;

/// The name in tables.
pub(crate) const NAME: &str = "mini-moka";

/// mini-moka's cache.
pub(crate) struct Mini<K, V>(Cache<K, V, RandomState>);

impl<K: Key, V: Clone + Send + Sync + 'static> Mini<K, V> {
    /// Builds it.
    pub(crate) fn new(setup: Setup) -> Self {
        let builder = Cache::builder().max_capacity(setup.capacity as u64);
        let builder = if setup.ttl {
            builder.time_to_live(Duration::from_secs(3_600))
        } else {
            builder
        };
        Self(builder.build_with_hasher(RandomState::default()))
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Reads<K, V> for Mini<K, V> {
    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get(key)
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Writes<K, V> for Mini<K, V> {
    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    fn settle(&self) {
        self.0.sync();
    }
}
