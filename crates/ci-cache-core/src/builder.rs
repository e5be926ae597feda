//! Building a cache: settings, their defaults, and their validation.

use std::fmt;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::RandomState;

use crate::cache::Cache;
use crate::clock::Clock;
use crate::error::Error;
use crate::linked_slab::MAX_NODES;

/// The most shards a cache may have.
const MAX_SHARDS: usize = 1_024;
/// The default gives each shard at least this many entries, so that small caches keep an exact recency order.
const ENTRIES_PER_SHARD: usize = 1_024;

/// Collects the settings of a [`Cache`]; nothing is checked before [`build`](Self::build).
#[derive(Clone)]
#[must_use]
pub struct CacheBuilder<S = RandomState> {
    capacity: usize,
    clock: Arc<dyn Clock>,
    shards: Option<usize>,
    default_ttl: Option<Duration>,
    hasher: S,
}

impl CacheBuilder {
    /// Starts with a capacity in entries (1 to 2^32 - 1) and the clock that expiry goes by.
    ///
    /// The other settings have defaults: shards by capacity and processors, no expiry, and foldhash under a seed
    /// that differs from process to process and cache to cache.
    pub fn new(capacity: usize, clock: Arc<dyn Clock>) -> Self {
        Self {
            capacity,
            clock,
            shards: None,
            default_ttl: None,
            hasher: RandomState::default(),
        }
    }
}

impl<S> CacheBuilder<S> {
    /// Sets the number of shards: 1 to 1,024 and at most the capacity.
    ///
    /// Each shard has its own lock, its share of the capacity and its own recency order, so one shard makes
    /// eviction exactly least-recently-used over the whole cache. Default: four times the processors, as a power
    /// of two, but at least 1,024 entries each, hence a single shard below 2,048 entries.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Sets the time to live of entries whose insertion names none; positive. Default: no expiry.
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = Some(ttl);
        self
    }

    /// Replaces the hasher. Keys under control of others need a seeded one, as the default is.
    pub fn hasher<T: BuildHasher>(self, hasher: T) -> CacheBuilder<T> {
        let Self {
            capacity,
            clock,
            shards,
            default_ttl,
            ..
        } = self;
        CacheBuilder {
            capacity,
            clock,
            shards,
            default_ttl,
            hasher,
        }
    }

    /// Checks the settings and builds the cache. Entries are allocated as they come, not up front.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] naming the field, its value and what is allowed.
    pub fn build<K, V, E>(self) -> Result<Cache<K, V, E, S>, Error> {
        let shards = self.validated_shards()?;
        if self.default_ttl.is_some_and(|ttl| ttl.is_zero()) {
            return Err(Error::invalid("default_ttl", 0_u64, "must be longer than zero"));
        }
        Ok(Cache::assemble(
            self.capacity,
            shards,
            self.default_ttl,
            self.clock,
            self.hasher,
        ))
    }

    fn validated_shards(&self) -> Result<usize, Error> {
        if self.capacity == 0 || self.capacity > MAX_NODES {
            return Err(Error::invalid(
                "capacity",
                self.capacity,
                "must be from 1 to 4294967295 entries",
            ));
        }
        let shards = self.shards.unwrap_or_else(|| default_shards(self.capacity));
        if shards == 0 || shards > MAX_SHARDS || shards > self.capacity {
            return Err(Error::invalid(
                "shards",
                shards,
                "must be from 1 to 1024 and at most the capacity",
            ));
        }
        Ok(shards)
    }
}

/// Chooses enough shards for the processors, but none so small that its recency order means nothing.
fn default_shards(capacity: usize) -> usize {
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let wanted = (processors * 4).next_power_of_two();
    wanted.min(capacity / ENTRIES_PER_SHARD).clamp(1, MAX_SHARDS)
}

impl<S> fmt::Debug for CacheBuilder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheBuilder")
            .field("capacity", &self.capacity)
            .field("shards", &self.shards)
            .field("default_ttl", &self.default_ttl)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn builder(capacity: usize) -> CacheBuilder {
        CacheBuilder::new(capacity, Arc::new(ManualClock::new()))
    }

    fn rejected<S>(builder: CacheBuilder<S>) -> String {
        let error = builder.build::<u32, u32, ()>().unwrap_err();
        assert!(!error.is_transient());
        error.to_string()
    }

    #[test]
    fn settings_are_validated() {
        assert!(rejected(builder(0)).starts_with("accept capacity = 0: must be"));
        assert!(rejected(builder(usize::MAX)).contains("capacity"));
        assert!(rejected(builder(10).shards(0)).contains("shards = 0"));
        assert!(rejected(builder(10).shards(11)).contains("shards = 11"));
        assert!(rejected(builder(10_000).shards(1_025)).contains("shards = 1025"));
        assert!(rejected(builder(10).default_ttl(Duration::ZERO)).contains("default_ttl"));
    }

    #[test]
    fn small_caches_have_one_shard_and_large_ones_several() {
        assert_eq!(default_shards(1), 1);
        assert_eq!(default_shards(2_047), 1);
        assert!(default_shards(1_000_000) >= 4);
        assert!(format!("{:?}", builder(7)).contains("capacity: 7"));
    }
}
