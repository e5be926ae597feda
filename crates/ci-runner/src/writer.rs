//! A store whose writes are followed: when a write returns, the cache knows of it.
//!
//! The write commits, then a poll of the change feed begins, brings the write's changes like those of anybody else, and drops what
//! they touch; then the write returns. Reading one's own writes needs no waiting on this node.
//!
//! ```text
//! writer                      reader
//!                             look-up misses, flight begins, reads old row
//! commits new row
//! poll: the change is logged and applied
//! returns to the caller
//!                             publishes old row: its version does not cover the logged change, refused
//! ```
//!
//! Should there be no such poll in time, because the feed is down, nobody knows what is true until there is one: the mark is hidden, and
//! readers go to the database. Write and poll run in one task, so a caller who goes away cannot separate them.
//!
//! A store without a feed is followed by its writes alone: each drops everything of the tenants that it names.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ci_cache_core::ci::CoherentCiCache;
use ci_cache_core::coherence::Batch;
use ci_model::{
    Change, CiOutcome, CiRecord, CiRef, Event, Origin, Question, Rejection, RelationOutcome, RelationRecord,
    TenantId,
};
use ci_store::{
    Answers, Connections, Error as StoreError, Feed, Replica, Result, Snapshot, Store, StoreOptions,
    WriteOptions,
};
use tracing::Instrument;

use crate::Error;
use crate::answer::Cached;
use crate::coherence::{Follow, UNFOLLOWED};
use crate::runner::OwnHistory;
use crate::tier::Shared;

#[derive(Debug)]
pub(crate) struct Following {
    store: Arc<dyn Store>,
    followed: Followed,
}

/// What a write's task needs of the runner.
#[derive(Debug, Clone)]
struct Followed {
    cache: Arc<CoherentCiCache<Cached, Error>>,
    follow: Arc<Follow>,
    own: Arc<OwnHistory>,
    /// The tier, for its doorbell.
    tier: Option<Arc<Shared>>,
}

impl Following {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        cache: Arc<CoherentCiCache<Cached, Error>>,
        follow: Arc<Follow>,
        own: Arc<OwnHistory>,
        tier: Option<Arc<Shared>>,
    ) -> Self {
        Self {
            store,
            followed: Followed {
                cache,
                follow,
                own,
                tier,
            },
        }
    }

    /// Runs a write and then what makes the cache know of it, whatever becomes of the caller.
    async fn run<T: Send + 'static>(
        &self,
        tenants: BTreeSet<TenantId>,
        write: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        let (followed, store) = (self.followed.clone(), Arc::clone(&self.store));
        let task = async move {
            // Should the write panic, or the runtime end, nobody knows whether it was committed.
            let unknown = Unknown {
                followed: &followed,
                tenants: &tenants,
            };
            let written = write.await;
            followed.follow.wrote(followed.cache.now());
            if matches!(written, Err(StoreError::Rejected { .. })) || followed.poll().await {
                unknown.settle();
            } else {
                drop(unknown);
            }
            if written.is_ok() {
                if let Some(tier) = &followed.tier {
                    tier.ring();
                }
                store.ring().await;
            }
            written
        };
        let lost = |_| StoreError::Unavailable("the task that wrote ended without a result".into());
        tokio::spawn(task.in_current_span()).await.map_err(lost)?
    }
}

impl Followed {
    /// Tells whether a poll that begins now showed what was committed.
    async fn poll(&self) -> bool {
        self.follow.has_feed() && self.follow.polls.fresh(self.follow.pace.patience).await
    }

    /// Makes sure that nothing is answered from before a write that no poll has shown.
    fn doubt(&self, tenants: &BTreeSet<TenantId>) {
        if self.follow.has_feed() {
            self.follow.doubt();
            self.cache.suspend(UNFOLLOWED);
            return;
        }
        for tenant in tenants {
            let number = self.own.next();
            let change = Change {
                origin: Origin::Sequence(number),
                event: Event::Tenant(tenant.clone()),
            };
            self.cache.apply(Batch {
                epoch: OwnHistory::EPOCH.0,
                since: ci_model::Version::Sequence(0),
                changes: vec![change],
                position: ci_model::Version::Sequence(number),
                polled_at: self.cache.now(),
            });
        }
        self.follow.bus.tell_drops(&self.cache);
    }
}

/// A write of which no poll has been seen yet.
struct Unknown<'a> {
    followed: &'a Followed,
    tenants: &'a BTreeSet<TenantId>,
}

impl Unknown<'_> {
    fn settle(self) {
        std::mem::forget(self);
    }
}

impl Drop for Unknown<'_> {
    fn drop(&mut self) {
        self.followed.doubt(self.tenants);
    }
}

#[async_trait]
impl Store for Following {
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        self.store.snapshot().await
    }

    async fn ask_all(&self, tenant: &TenantId, questions: &[Question]) -> Result<Answers> {
        self.store.ask_all(tenant, questions).await
    }

    async fn upsert_cis(
        &self,
        records: Vec<CiRecord>,
        options: WriteOptions,
    ) -> Result<Vec<Result<CiOutcome, Rejection>>> {
        let store = Arc::clone(&self.store);
        if options.dry_run {
            return store.upsert_cis(records, options).await;
        }
        let tenants = records.iter().map(|record| record.tenant.clone()).collect();
        self.run(tenants, async move { store.upsert_cis(records, options).await })
            .await
    }

    async fn delete_cis(
        &self,
        tenant: &TenantId,
        targets: Vec<CiRef>,
        options: WriteOptions,
    ) -> Result<Vec<CiOutcome>> {
        let (store, tenant) = (Arc::clone(&self.store), tenant.clone());
        if options.dry_run {
            return store.delete_cis(&tenant, targets, options).await;
        }
        let tenants = BTreeSet::from([tenant.clone()]);
        self.run(tenants, async move {
            store.delete_cis(&tenant, targets, options).await
        })
        .await
    }

    async fn upsert_relations(
        &self,
        records: Vec<RelationRecord>,
        options: WriteOptions,
    ) -> Result<Vec<Result<RelationOutcome, Rejection>>> {
        let store = Arc::clone(&self.store);
        if options.dry_run {
            return store.upsert_relations(records, options).await;
        }
        let tenants = records.iter().map(|record| record.tenant.clone()).collect();
        self.run(
            tenants,
            async move { store.upsert_relations(records, options).await },
        )
        .await
    }

    async fn delete_relations(
        &self,
        records: Vec<RelationRecord>,
        options: WriteOptions,
    ) -> Result<Vec<RelationOutcome>> {
        let store = Arc::clone(&self.store);
        if options.dry_run {
            return store.delete_relations(records, options).await;
        }
        let tenants = records.iter().map(|record| record.tenant.clone()).collect();
        self.run(
            tenants,
            async move { store.delete_relations(records, options).await },
        )
        .await
    }

    async fn analyze(&self) -> Result<()> {
        self.store.analyze().await
    }

    fn feed(&self) -> Option<Box<dyn Feed>> {
        self.store.feed()
    }

    async fn ring(&self) {
        self.store.ring().await;
    }

    async fn advance(&self) -> Result<()> {
        self.store.advance().await
    }

    async fn retain(&self, older_than: Duration) -> Result<u64> {
        self.store.retain(older_than).await
    }

    fn replica(&self, address: &str, options: &StoreOptions) -> Result<Arc<dyn Replica>> {
        self.store.replica(address, options)
    }

    async fn ping(&self) -> Result<()> {
        self.store.ping().await
    }

    fn connections(&self) -> Option<Connections> {
        self.store.connections()
    }

    fn backend(&self) -> &'static str {
        self.store.backend()
    }

    async fn close(&self) {
        self.store.close().await;
    }
}
