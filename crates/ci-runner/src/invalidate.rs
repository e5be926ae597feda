//! A store whose writes invalidate the cache: the one way in which this process writes.
//!
//! Coarse, and therefore simple to be sure of: a write that changed anything drops the tenant's searches, lists,
//! aggregates, expansions and paths, and the gets of the CIs it touched.
//!
//! Why after the commit and before the caller learns of it:
//!
//! ```text
//! writer                      reader
//!                             look-up misses, flight begins, reads old row
//! commits new row
//! invalidates                 (the flight is detached here: its answer is not kept)
//! returns to the caller
//!                             publishes old row: refused
//! ```
//!
//! Invalidating before the commit would let a reader load the old row again and keep it. The write and its
//! invalidation run in one task, so a caller who goes away between the two cannot separate them. When the outcome of a
//! write is unknown (an error may come after the commit), everything of the tenants it named is dropped.
//!
//! A write that changed nothing may have found its rows as given because another one has just committed them, and that
//! one may not have invalidated yet:
//!
//! ```text
//! first writer                second writer
//! commits new row
//!                             finds the row as given, changes nothing
//!                             returns: its caller would be answered with the old row
//! invalidates
//! ```
//!
//! So a write that ends beside another one and left rows alone drops everything of its tenants, too.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ci_cache_core::ci::CiCache;
use ci_model::{
    CiOutcome, CiRecord, CiRef, Effect, Get, Key, Question, Rejection, RelationOutcome, RelationRecord,
    TenantId,
};
use ci_store::{Error as StoreError, Feed, Result, Snapshot, Store, WriteOptions};
use tracing::Instrument;

use crate::Error;
use crate::answer::Cached;

/// Above so many changed CIs the tenant is dropped as a whole, which costs the same for any number.
const MANY: usize = 256;

#[derive(Debug)]
pub(crate) struct Invalidating {
    inner: Arc<dyn Store>,
    cache: Arc<CiCache<Cached, Error>>,
    /// Writes that may have committed and have not invalidated yet.
    running: Arc<AtomicUsize>,
}

impl Invalidating {
    pub(crate) fn new(inner: Arc<dyn Store>, cache: Arc<CiCache<Cached, Error>>) -> Self {
        Self {
            inner,
            cache,
            running: Arc::default(),
        }
    }

    /// Runs a write and then its invalidation, whatever becomes of the caller. `invalidate` drops what the changed rows
    /// touch and says whether all rows were changed.
    async fn run<T: Send + 'static>(
        &self,
        tenants: BTreeSet<TenantId>,
        write: impl Future<Output = Result<T>> + Send + 'static,
        invalidate: impl FnOnce(&CiCache<Cached, Error>, &T) -> bool + Send + 'static,
    ) -> Result<T> {
        let cache = Arc::clone(&self.cache);
        let running = Arc::clone(&self.running);
        let task = async move {
            // Dropped last: whoever sees this write gone sees its invalidation.
            let running = Running::begin(&running);
            // Should the write panic, the guard drops the tenants' entries while the task unwinds.
            let guard = DropTenants {
                cache: &cache,
                tenants,
            };
            let written = write.await;
            match &written {
                Ok(outcomes) if invalidate(&cache, outcomes) || running.is_alone() => guard.disarm(),
                Err(StoreError::Rejected { .. }) if running.is_alone() => guard.disarm(),
                Ok(_) | Err(_) => drop(guard),
            }
            written
        };
        let lost = |_| StoreError::Unavailable("the task that wrote ended without a result".into());
        tokio::spawn(task.in_current_span()).await.map_err(lost)?
    }
}

/// One write among those that run; not counted any more once it is dropped.
struct Running<'a>(&'a AtomicUsize);

impl<'a> Running<'a> {
    fn begin(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::SeqCst);
        Self(count)
    }

    fn is_alone(&self) -> bool {
        self.0.load(Ordering::SeqCst) == 1
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Drops everything of some tenants unless the write's outcome became known.
struct DropTenants<'a> {
    cache: &'a CiCache<Cached, Error>,
    tenants: BTreeSet<TenantId>,
}

impl DropTenants<'_> {
    fn disarm(mut self) {
        self.tenants.clear();
    }
}

impl Drop for DropTenants<'_> {
    fn drop(&mut self) {
        self.tenants
            .iter()
            .for_each(|tenant| self.cache.invalidate_tenant(tenant));
    }
}

/// Drops what changed CIs of one tenant touch; says whether all were changed.
fn changed_cis(cache: &CiCache<Cached, Error>, tenant: &TenantId, outcomes: &[&CiOutcome]) -> bool {
    let changed: Vec<&CiOutcome> = outcomes
        .iter()
        .copied()
        .filter(|outcome| outcome.effect.is_change())
        .collect();
    let all = changed.len() == outcomes.len();
    if changed.len() > MANY {
        cache.invalidate_tenant(tenant);
    } else if !changed.is_empty() {
        cache.invalidate_questions(tenant);
        for outcome in changed {
            let id = outcome.ci_id.map(CiRef::Id);
            let codes = [&outcome.ci_code, &outcome.previous_code].into_iter().flatten();
            for target in id.into_iter().chain(codes.cloned().map(CiRef::Code)) {
                invalidate_get(cache, tenant, &target);
            }
        }
    }
    all
}

fn invalidate_get(cache: &CiCache<Cached, Error>, tenant: &TenantId, target: &CiRef) {
    for deleted in [false, true] {
        let get = Get::new(target.clone()).include_deleted(deleted);
        cache.invalidate(&Key::new(tenant, &Question::Get(get)));
    }
}

#[async_trait]
impl Store for Invalidating {
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        self.inner.snapshot().await
    }

    async fn upsert_cis(
        &self,
        records: Vec<CiRecord>,
        options: WriteOptions,
    ) -> Result<Vec<Result<CiOutcome, Rejection>>> {
        let owners: Vec<TenantId> = records.iter().map(|record| record.tenant.clone()).collect();
        let tenants: BTreeSet<TenantId> = owners.iter().cloned().collect();
        let inner = Arc::clone(&self.inner);
        let each = tenants.clone();
        self.run(
            tenants,
            async move { inner.upsert_cis(records, options).await },
            move |cache, outcomes| {
                let mut all = outcomes.iter().all(Result::is_ok);
                for tenant in &each {
                    let of_tenant = owners.iter().zip(outcomes).filter(|(owner, _)| *owner == tenant);
                    let written: Vec<&CiOutcome> = of_tenant
                        .filter_map(|(_, outcome)| outcome.as_ref().ok())
                        .collect();
                    all &= changed_cis(cache, tenant, &written);
                }
                all
            },
        )
        .await
    }

    async fn delete_cis(
        &self,
        tenant: &TenantId,
        targets: Vec<CiRef>,
        options: WriteOptions,
    ) -> Result<Vec<CiOutcome>> {
        let (inner, owner, of) = (Arc::clone(&self.inner), tenant.clone(), tenant.clone());
        let write = async move { inner.delete_cis(&owner, targets, options).await };
        self.run([tenant.clone()].into(), write, move |cache, outcomes| {
            changed_cis(cache, &of, &outcomes.iter().collect::<Vec<_>>())
        })
        .await
    }

    async fn upsert_relations(
        &self,
        records: Vec<RelationRecord>,
        options: WriteOptions,
    ) -> Result<Vec<Result<RelationOutcome, Rejection>>> {
        let tenants: BTreeSet<TenantId> = records.iter().map(|record| record.tenant.clone()).collect();
        let (inner, each) = (Arc::clone(&self.inner), tenants.clone());
        self.run(
            tenants,
            async move { inner.upsert_relations(records, options).await },
            move |cache, outcomes| {
                let effects = outcomes.iter().flatten().map(|outcome| outcome.effect);
                changed_relations(cache, &each, effects) && outcomes.iter().all(Result::is_ok)
            },
        )
        .await
    }

    async fn delete_relations(&self, records: Vec<RelationRecord>) -> Result<Vec<RelationOutcome>> {
        let tenants: BTreeSet<TenantId> = records.iter().map(|record| record.tenant.clone()).collect();
        let (inner, each) = (Arc::clone(&self.inner), tenants.clone());
        self.run(
            tenants,
            async move { inner.delete_relations(records).await },
            move |cache, outcomes| {
                changed_relations(cache, &each, outcomes.iter().map(|outcome| outcome.effect))
            },
        )
        .await
    }

    async fn analyze(&self) -> Result<()> {
        self.inner.analyze().await
    }

    fn feed(&self) -> Option<Box<dyn Feed>> {
        self.inner.feed()
    }

    async fn ring(&self) {
        self.inner.ring().await;
    }

    async fn retain(&self, older_than: Duration) -> Result<u64> {
        self.inner.retain(older_than).await
    }

    async fn ping(&self) -> Result<()> {
        self.inner.ping().await
    }

    fn backend(&self) -> &'static str {
        self.inner.backend()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

/// Drops the tenants' questions when any relation changed (gets do not show relations); says whether all were changed.
fn changed_relations(
    cache: &CiCache<Cached, Error>,
    tenants: &BTreeSet<TenantId>,
    effects: impl Iterator<Item = Effect>,
) -> bool {
    let (changed, left): (Vec<Effect>, Vec<Effect>) = effects.partition(|effect| effect.is_change());
    if !changed.is_empty() {
        tenants
            .iter()
            .for_each(|tenant| cache.invalidate_questions(tenant));
    }
    left.is_empty()
}
