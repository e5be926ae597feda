//! quick_cache: the unit of all ratios. Shards by its default (four a processor), our hasher.

use std::convert::Infallible;
use std::hash::BuildHasher;

use anyhow::Context as _;
use foldhash::fast::RandomState;
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{OptionsBuilder, UnitWeighter};

use crate::contender::{Loads, Reads, Setup, Writes};
use crate::key::Key;

/// The name in tables.
pub(crate) const NAME: &str = "quick_cache";

/// quick_cache's cache.
pub(crate) struct Quick<K, V, S = RandomState>(Cache<K, V, UnitWeighter, S>);

impl<K: Key, V: Clone> Quick<K, V> {
    /// Builds it.
    pub(crate) fn new(setup: Setup) -> anyhow::Result<Self> {
        Self::hashed_by(setup, RandomState::default())
    }
}

impl<K: Key, V: Clone, S: BuildHasher + Clone> Quick<K, V, S> {
    /// Builds it with another hasher than ours by default.
    pub(crate) fn hashed_by(setup: Setup, hasher: S) -> anyhow::Result<Self> {
        let mut options = OptionsBuilder::new();
        options
            .estimated_items_capacity(setup.capacity)
            .weight_capacity(setup.capacity as u64);
        if setup.one_shard {
            options.shards(1);
        }
        let options = options.build().context("quick_cache refuses its settings")?;
        Ok(Self(Cache::with_options(
            options,
            UnitWeighter,
            hasher,
            DefaultLifecycle::default(),
        )))
    }
}

impl<K: Key, V: Clone + Send + Sync, S: BuildHasher + Clone + Send + Sync> Reads<K, V> for Quick<K, V, S> {
    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get::<K::Borrowed>(key.borrow())
    }
}

impl<K: Key, V: Clone + Send + Sync, S: BuildHasher + Clone + Send + Sync> Writes<K, V> for Quick<K, V, S> {
    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }
}

impl<K: Key, V: Clone + Send + Sync, S: BuildHasher + Clone + Send + Sync> Loads<K, V> for Quick<K, V, S> {
    #[inline]
    fn get_or_load(&self, key: &K, load: impl FnOnce() -> V) -> V {
        let loaded: Result<V, Infallible> = self
            .0
            .get_or_insert_with::<K::Borrowed, _>(key.borrow(), || Ok(load()));
        let Ok(value) = loaded;
        value
    }
}
