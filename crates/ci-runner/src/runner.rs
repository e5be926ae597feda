//! The runner: a store, the cache in front of it, and a writer that keeps the two in step.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ci_cache_core::ci::{CiCache, CiStats, EntrySummary};
use ci_cache_core::{Leader, Waiter};
use ci_model::{Key, TenantId};
use ci_store::{Snapshot, Store};

use crate::answer::Cached;
use crate::builder::RunnerBuilder;
use crate::{Error, Result, Tenant};

/// What entries hold.
pub(crate) type Entry = Arc<ci_cache_core::ci::CiEntry<Cached>>;
/// The duty to load a question's answer.
pub(crate) type Lead = Leader<Key, Entry, Error>;
/// A place in the queue for an answer that somebody loads.
pub(crate) type Wait = Waiter<Entry, Error>;

/// Answers the questions of any number of tenants, cache first. A cheap handle: clone it freely, and share one per
/// database in a process, since what is cached is shared by its clones only.
///
/// Its methods must be called within a tokio runtime: loads and writes run in tasks of their own.
#[derive(Clone)]
pub struct Runner {
    inner: Arc<Inner>,
}

/// What clones share.
pub(crate) struct Inner {
    /// The database, for loads.
    pub(crate) store: Arc<dyn Store>,
    /// The database, for writes: each is followed by its invalidation.
    pub(crate) writer: Arc<dyn Store>,
    pub(crate) cache: Arc<CiCache<Cached, Error>>,
    /// Statements that loads have run.
    pub(crate) statements: AtomicU64,
}

impl Inner {
    /// Adds what a load ran on the database.
    pub(crate) fn count_statements(&self, snapshot: &dyn Snapshot) {
        self.statements
            .fetch_add(snapshot.statements().into(), Ordering::Relaxed);
    }
}

/// What a runner has done since it was built.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// The cache's counters.
    pub cache: CiStats,
    /// Statements that loads have run on the database.
    pub statements: u64,
}

impl Runner {
    /// Starts building a runner over a store.
    pub fn builder(store: Arc<dyn Store>) -> RunnerBuilder {
        RunnerBuilder::new(store)
    }

    pub(crate) fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// One tenant's view; the only way to ask or write.
    pub fn tenant(&self, id: TenantId) -> Tenant {
        Tenant::new(Arc::clone(&self.inner), id)
    }

    /// The store, so wrapped that every write through it invalidates what it touches: for imports and other bulk
    /// writes. Reads through it go to the database.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.inner.writer)
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        Stats {
            cache: self.inner.cache.stats(),
            statements: self.inner.statements.load(Ordering::Relaxed),
        }
    }

    /// Up to `limit` entries, most recently used first. Takes each shard's lock in turn.
    pub fn entries(&self, limit: usize) -> Vec<EntrySummary> {
        self.inner.cache.entries_summary(limit)
    }

    /// Forgets every cached answer of every tenant.
    pub fn clear(&self) {
        self.inner.cache.clear();
    }

    /// Asks the database for a sign of life.
    ///
    /// # Errors
    /// [`Error::Store`] when there is none.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.inner.store.ping().await?)
    }

    /// Waits for running statements and closes the database's connections. Hits go on; loads fail.
    pub async fn close(&self) {
        self.inner.store.close().await;
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("store", &self.inner.store)
            .finish_non_exhaustive()
    }
}
