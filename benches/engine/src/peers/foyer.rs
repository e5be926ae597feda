//! foyer's in-memory cache under three of its policies, each by its default settings; eight shards by its default.

use foldhash::fast::RandomState;
use foyer_memory::{
    Cache, CacheBuilder, CacheProperties, EvictionConfig, LfuConfig, LruConfig, S3FifoConfig,
};

use crate::contender::{Reads, Setup, Writes};
use crate::key::Key;

/// A policy of foyer.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Policy {
    /// S3-FIFO.
    S3Fifo,
    /// W-TinyLFU.
    Lfu,
    /// LRU with a protected part.
    Lru,
}

/// The policies under their names in tables.
pub(crate) const POLICIES: [(&str, Policy); 3] = [
    ("foyer S3-FIFO", Policy::S3Fifo),
    ("foyer LFU", Policy::Lfu),
    ("foyer LRU", Policy::Lru),
];

/// foyer's cache.
pub(crate) struct Foyer<K: Key, V: Send + Sync + 'static>(Cache<K, V, RandomState>);

impl<K: Key, V: Send + Sync + 'static> Foyer<K, V> {
    /// Builds it.
    pub(crate) fn new(setup: Setup, policy: Policy) -> Self {
        let eviction: EvictionConfig = match policy {
            Policy::S3Fifo => S3FifoConfig::default().into(),
            Policy::Lfu => LfuConfig::default().into(),
            Policy::Lru => LruConfig::default().into(),
        };
        let builder = CacheBuilder::new(setup.capacity)
            .with_eviction_config(eviction)
            .with_hash_builder(RandomState::default());
        let builder = if setup.one_shard {
            builder.with_shards(1)
        } else {
            builder
        };
        Self(builder.build::<CacheProperties>())
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Reads<K, V> for Foyer<K, V> {
    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        let entry = self.0.get::<K::Borrowed>(key.borrow())?;
        Some(entry.value().clone())
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Writes<K, V> for Foyer<K, V> {
    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }
}
