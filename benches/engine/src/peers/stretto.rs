//! stretto, with ten counters an entry as it advises. It keeps hashes instead of keys; the index is by our hasher.

use std::borrow::Borrow;
use std::hash::{BuildHasher as _, Hash};
use std::marker::PhantomData;
use std::time::Duration;

use anyhow::Context as _;
use foldhash::fast::RandomState;
use stretto::{Cache, DefaultCacheCallback, DefaultCoster, DefaultUpdateValidator, KeyBuilder};

use crate::contender::{Reads, Setup, Writes};
use crate::key::Key;

/// The name in tables.
pub(crate) const NAME: &str = "stretto";

/// One hash of 64 bits, without the second one that tells colliding keys apart.
pub(crate) struct Hasher<K>(RandomState, PhantomData<fn() -> K>);

impl<K: Hash + Eq> KeyBuilder for Hasher<K> {
    type Key = K;

    #[inline]
    fn hash_index<Q>(&self, key: &Q) -> u64
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.0.hash_one(key)
    }
}

type Inner<K, V> =
    Cache<K, V, Hasher<K>, DefaultCoster<V>, DefaultUpdateValidator<V>, DefaultCacheCallback<V>, RandomState>;

/// stretto's cache.
pub(crate) struct Stretto<K: Key, V: Send + Sync + 'static> {
    cache: Inner<K, V>,
    ttl: bool,
}

impl<K: Key, V: Clone + Send + Sync + 'static> Stretto<K, V> {
    /// Builds it and starts its thread.
    pub(crate) fn new(setup: Setup) -> anyhow::Result<Self> {
        let capacity = i64::try_from(setup.capacity).context("the capacity is too large")?;
        let cache = Cache::builder(setup.capacity * 10, capacity)
            .set_key_builder(Hasher(RandomState::default(), PhantomData))
            .set_hasher(RandomState::default())
            .set_ignore_internal_cost(true)
            .finalize()
            .context("stretto refuses its settings")?;
        Ok(Self {
            cache,
            ttl: setup.ttl,
        })
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Reads<K, V> for Stretto<K, V> {
    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        let value = self.cache.get::<K::Borrowed>(key.borrow())?;
        Some(value.value().clone())
    }
}

impl<K: Key, V: Clone + Send + Sync + 'static> Writes<K, V> for Stretto<K, V> {
    #[inline]
    fn insert(&self, key: K, value: V) {
        if self.ttl {
            self.cache
                .insert_with_ttl(key, value, 1, Duration::from_secs(3_600));
        } else {
            self.cache.insert(key, value, 1);
        }
    }

    fn settle(&self) {
        // It fails only when the cache is closed, and then the missing hits show.
        let _ = self.cache.wait();
    }
}
