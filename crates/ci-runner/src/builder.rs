//! Settings of a runner, checked before it is built.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ci_cache_core::ci::{CiCache, CiCacheConfig};
use ci_cache_core::{Clock, Eviction, SystemClock};
use ci_store::Store;

use crate::invalidate::Invalidating;
use crate::runner::Inner;
use crate::{Error, Result, Runner};

/// Entries when nothing is said.
const MAX_ENTRIES: usize = 100_000;

/// Collects the settings of a [`Runner`].
pub struct RunnerBuilder {
    store: Arc<dyn Store>,
    config: CiCacheConfig,
    clock: Option<Arc<dyn Clock>>,
}

impl RunnerBuilder {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            config: CiCacheConfig::new()
                .max_size(MAX_ENTRIES)
                .eviction(Eviction::Adaptive),
            clock: None,
        }
    }

    /// Sets the most cached answers; 100,000 when not called, at least 1.
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.config = self.config.max_size(entries);
        self
    }

    /// Sets how long answers to questions with keywords and no filters are kept; 600 s when not called.
    pub fn keyword_ttl(mut self, ttl: Duration) -> Self {
        self.config = self.config.keyword_ttl(ttl);
        self
    }

    /// Sets how long answers to questions with filters are kept; 300 s when not called.
    pub fn filter_ttl(mut self, ttl: Duration) -> Self {
        self.config = self.config.filter_ttl(ttl);
        self
    }

    /// Sets how long single CIs are kept; 300 s when not called.
    pub fn get_ttl(mut self, ttl: Duration) -> Self {
        self.config = self.config.get_ttl(ttl);
        self
    }

    /// Sets how long everything else is kept: graphs, paths, lists and counts without filters; 300 s when not called.
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.config = self.config.default_ttl(ttl);
        self
    }

    /// Sets the clock that decides expiry; the system's monotonic clock when not called.
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = Some(clock);
        self
    }

    /// Checks the settings and builds the runner. Allocates little: entries are allocated as they come.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting and what is allowed.
    pub fn build(self) -> Result<Runner> {
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let cache = CiCache::new(self.config, clock).map_err(|error| Error::Config {
            field: "cache",
            reason: error.to_string().into(),
        })?;
        let cache = Arc::new(cache);
        let writer = Arc::new(Invalidating::new(Arc::clone(&self.store), Arc::clone(&cache)));
        Ok(Runner::new(Inner {
            store: self.store,
            writer,
            cache,
            statements: AtomicU64::new(0),
        }))
    }
}

impl fmt::Debug for RunnerBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RunnerBuilder")
            .field("store", &self.store)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
