//! Loads past the cache, for when memory cannot keep a level's promise: the feed is behind, stopped or not there yet.
//!
//! A database that is slow or coming back must not be asked the same question by everybody at once, so these loads are
//! shared too, by whoever can use an answer that began to be loaded before the call.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ci_cache_core::coherence::Loaded;
use ci_cache_core::{Cache, Clock, Error as EngineError, Leader, Lookup, LookupOptions, Tick};
use ci_model::{Key, Version};

use crate::Error;
use crate::answer::Cached;

/// An answer that was loaded past the cache.
#[derive(Debug)]
pub(crate) struct Passed {
    pub(crate) value: Cached,
    pub(crate) loaded: Loaded<Version>,
    /// When its load began: it is true at a state that was current then, or later.
    pub(crate) begun: Tick,
}

/// The duty to load past the cache.
pub(crate) type PassedLead = Leader<Key, Arc<Passed>, Error>;

/// The loads under way. Nothing is ever kept.
#[derive(Debug)]
pub(crate) struct Through {
    flights: Cache<Key, Arc<Passed>, Error>,
    count: AtomicU64,
}

impl Through {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Result<Self, EngineError> {
        Ok(Self {
            flights: Cache::<Key, Arc<Passed>, Error>::builder(1, clock).build()?,
            count: AtomicU64::new(0),
        })
    }

    /// Joins a load of a question that is under way, or begins one.
    pub(crate) fn join(&self, key: &Key) -> Lookup<Key, Arc<Passed>, Error> {
        self.flights.lookup(key, LookupOptions::new())
    }

    /// Counts an answer past the cache.
    pub(crate) fn add(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }
}
