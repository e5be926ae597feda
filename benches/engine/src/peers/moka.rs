//! moka, its synchronous cache, with our hasher.

use std::time::Duration;

use foldhash::fast::RandomState;
use moka::sync::Cache;

use crate::contender::{Loads, Reads, Setup, Writes};
use crate::key::Key;

/// The name in tables.
pub(crate) const NAME: &str = "moka";

/// moka's cache.
pub(crate) struct Moka<K, V>(Cache<K, V, RandomState>);

impl<K: Key, V: Clone + Send + Sync + 'static> Moka<K, V> {
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

impl<K: Key, V: Clone + Send + Sync + 'static> Reads<K, V> for Moka<K, V> {
    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get::<K::Borrowed>(key.borrow())
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Writes<K, V> for Moka<K, V> {
    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }

    fn settle(&self) {
        self.0.run_pending_tasks();
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Loads<K, V> for Moka<K, V> {
    #[inline]
    fn get_or_load(&self, key: &K, load: impl FnOnce() -> V) -> V {
        self.0.get_with_by_ref::<K::Borrowed>(key.borrow(), load)
    }
}
