//! A store that counts what it is asked, so that every arm's statements are counted in one way.
//!
//! Apart from the statements of questions, which [`Snapshot::statements`] tells, the reading of a state's version and the polls of a
//! change feed are counted: they are round trips too, and only the runner needs them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use ci_model::{
    Aggregate, CiDetail, CiOutcome, CiRecord, CiRef, CiSummary, Epoch, Expand, Get, Graph, Groups, List,
    ListPage, Path, Question, Rejection, Relation, RelationOutcome, RelationRecord, Search, TenantId,
    Version,
};
use ci_store::{
    Answers, Connections, Feed, Found, PathTrace, Polled, Result, Snapshot, Start, Store, WriteOptions,
};
use serde::Serialize;

/// What reached the database.
#[derive(Debug, Default)]
struct Counters {
    statements: AtomicU64,
    versions: AtomicU64,
    polls: AtomicU64,
}

/// What reached the database, at a moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Statements of questions.
    pub statements: u64,
    /// Readings of a state's version.
    pub versions: u64,
    /// Polls of a feed.
    pub polls: u64,
}

impl Counts {
    /// What came since an earlier moment.
    pub fn since(self, earlier: Self) -> Self {
        Self {
            statements: self.statements.saturating_sub(earlier.statements),
            versions: self.versions.saturating_sub(earlier.versions),
            polls: self.polls.saturating_sub(earlier.polls),
        }
    }
}

/// A store around another one.
#[derive(Debug)]
pub struct Counted {
    inner: Arc<dyn Store>,
    counters: Arc<Counters>,
}

impl Counted {
    /// Counts what a store is asked through the result.
    pub fn around(inner: Arc<dyn Store>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            counters: Arc::default(),
        })
    }

    /// What has reached it so far. Snapshots count when they are dropped.
    pub fn counts(&self) -> Counts {
        Counts {
            statements: self.counters.statements.load(Ordering::Relaxed),
            versions: self.counters.versions.load(Ordering::Relaxed),
            polls: self.counters.polls.load(Ordering::Relaxed),
        }
    }
}

#[async_trait]
impl Store for Counted {
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(CountedSnapshot {
            inner: self.inner.snapshot().await?,
            counters: Arc::clone(&self.counters),
        }))
    }

    async fn ask_all(&self, tenant: &TenantId, questions: &[Question]) -> Result<Answers> {
        let answers = self.inner.ask_all(tenant, questions).await?;
        let count = |counter: &AtomicU64, ran: u32| counter.fetch_add(u64::from(ran), Ordering::Relaxed);
        count(&self.counters.statements, answers.statements);
        count(&self.counters.versions, answers.version_statements);
        Ok(answers)
    }

    async fn upsert_cis(
        &self,
        records: Vec<CiRecord>,
        options: WriteOptions,
    ) -> Result<Vec<Result<CiOutcome, Rejection>>> {
        self.inner.upsert_cis(records, options).await
    }

    async fn delete_cis(
        &self,
        tenant: &TenantId,
        targets: Vec<CiRef>,
        options: WriteOptions,
    ) -> Result<Vec<CiOutcome>> {
        self.inner.delete_cis(tenant, targets, options).await
    }

    async fn upsert_relations(
        &self,
        records: Vec<RelationRecord>,
        options: WriteOptions,
    ) -> Result<Vec<Result<RelationOutcome, Rejection>>> {
        self.inner.upsert_relations(records, options).await
    }

    async fn delete_relations(
        &self,
        records: Vec<RelationRecord>,
        options: WriteOptions,
    ) -> Result<Vec<RelationOutcome>> {
        self.inner.delete_relations(records, options).await
    }

    async fn analyze(&self) -> Result<()> {
        self.inner.analyze().await
    }

    fn feed(&self) -> Option<Box<dyn Feed>> {
        Some(Box::new(CountedFeed {
            inner: self.inner.feed()?,
            counters: Arc::clone(&self.counters),
        }))
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

    fn connections(&self) -> Option<Connections> {
        self.inner.connections()
    }

    fn backend(&self) -> &'static str {
        self.inner.backend()
    }

    /// Leaves the store open: several arms share it.
    async fn close(&self) {}
}

struct CountedSnapshot {
    inner: Box<dyn Snapshot>,
    counters: Arc<Counters>,
}

impl Drop for CountedSnapshot {
    fn drop(&mut self) {
        let ran = self.inner.statements();
        self.counters
            .statements
            .fetch_add(u64::from(ran), Ordering::Relaxed);
    }
}

#[async_trait]
impl Snapshot for CountedSnapshot {
    async fn search(&mut self, tenant: &TenantId, search: &Search) -> Result<Vec<CiSummary>> {
        self.inner.search(tenant, search).await
    }

    async fn get_many(&mut self, tenant: &TenantId, gets: &[Get]) -> Result<Vec<Option<CiDetail>>> {
        self.inner.get_many(tenant, gets).await
    }

    async fn list(&mut self, tenant: &TenantId, list: &List) -> Result<ListPage> {
        self.inner.list(tenant, list).await
    }

    async fn aggregate(&mut self, tenant: &TenantId, aggregate: &Aggregate) -> Result<Groups> {
        self.inner.aggregate(tenant, aggregate).await
    }

    async fn expand(&mut self, tenant: &TenantId, expand: &Expand) -> Result<Option<Graph>> {
        self.inner.expand(tenant, expand).await
    }

    async fn traverse(
        &mut self,
        tenant: &TenantId,
        expand: &Expand,
    ) -> Result<Option<(Graph, Vec<CiDetail>)>> {
        self.inner.traverse(tenant, expand).await
    }

    async fn relations(
        &mut self,
        tenant: &TenantId,
        after: Option<&Relation>,
        limit: u32,
    ) -> Result<Vec<Relation>> {
        self.inner.relations(tenant, after, limit).await
    }

    async fn path(&mut self, tenant: &TenantId, path: &Path) -> Result<PathTrace> {
        self.inner.path(tenant, path).await
    }

    async fn ask_all(&mut self, tenant: &TenantId, questions: &[Question]) -> Result<Vec<Found>> {
        self.inner.ask_all(tenant, questions).await
    }

    async fn version(&mut self) -> Result<Option<(Epoch, Version)>> {
        self.counters.versions.fetch_add(1, Ordering::Relaxed);
        self.inner.version().await
    }

    fn statements(&self) -> u32 {
        self.inner.statements()
    }
}

#[derive(Debug)]
struct CountedFeed {
    inner: Box<dyn Feed>,
    counters: Arc<Counters>,
}

#[async_trait]
impl Feed for CountedFeed {
    async fn start(&mut self) -> Result<Start> {
        self.inner.start().await
    }

    async fn poll(&mut self) -> Result<Polled> {
        self.counters.polls.fetch_add(1, Ordering::Relaxed);
        self.inner.poll().await
    }

    fn bookmark(&self) -> Option<(Start, String)> {
        self.inner.bookmark()
    }

    fn resume(&mut self, bookmark: &str) -> Option<Start> {
        self.inner.resume(bookmark)
    }

    async fn wait(&mut self, at_most: Duration) {
        self.inner.wait(at_most).await;
    }
}
