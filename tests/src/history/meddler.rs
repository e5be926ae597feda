//! A store whose feed, loads and writes go wrong on command; or that has a defect, which the checker must find.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ci_model::{
    Aggregate, CiDetail, CiOutcome, CiRecord, CiRef, CiSummary, Epoch, Expand, Get, Graph, Groups, List,
    ListPage, Path, Question, Rejection, RelationOutcome, RelationRecord, Search, TenantId, Version,
};
use ci_store::{
    Answers, Error, Feed, Found, PathTrace, Polled, Replica, Result, Snapshot, Store, StoreOptions,
    WriteOptions,
};
use tokio::sync::watch;

use super::planted::PlantedFeed;

/// Of so many calls that may fail one does.
const FAILING: u64 = 3;

/// How the feed does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FeedMode {
    /// Well.
    #[default]
    On,
    /// Polls do not end.
    Stalls,
    /// Polls fail.
    Fails,
    /// Polls take so long before they begin.
    Lags(Duration),
    /// Polls take so long after they have seen the database.
    Tarries(Duration),
}

/// A defect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Planted {
    /// The feed loses one change in fifty.
    LosesChanges,
    /// The feed loses every change: nothing is ever dropped.
    LosesAll,
    /// The feed asks for what is above the last number it saw, as an outbox is read by everybody once (PostgreSQL).
    AboveLast,
    /// The feed tells its position at once, and the changes up to it with the next poll.
    RunsAhead,
    /// The feed says that all is well while the triggers are gone.
    IgnoresTriggers,
    /// The feed goes on from where it was after a gap.
    IgnoresGaps,
    /// The feed answers without asking.
    Sleeps,
    /// Snapshots tell a version that is newer than their rows.
    NewerVersions,
    /// Snapshots tell a version that is older than their rows.
    OlderVersions,
    /// Snapshots fail by answering nothing.
    EmptyErrors,
}

/// What is wrong now; shared by the store, its snapshots and feeds, and the test.
#[derive(Debug)]
pub struct Meddling {
    /// The defect.
    pub planted: Option<Planted>,
    feed: watch::Sender<FeedMode>,
    slow_loads: AtomicU64,
    held_loads: watch::Sender<bool>,
    /// The tenants of the loads that are held.
    held_of: watch::Sender<Vec<TenantId>>,
    failing_loads: AtomicBool,
    unknown_writes: AtomicBool,
    calls: AtomicU64,
    /// How often the feed told of what is wrong, in the runner's words.
    told: Mutex<BTreeMap<String, u64>>,
}

impl Meddling {
    /// How often the feed has told the runner of what is wrong, or of a new epoch, by the runner's words for it.
    ///
    /// # Panics
    /// When another test thread panicked here.
    pub fn told(&self) -> BTreeMap<String, u64> {
        self.told.lock().expect("nobody panics with this lock").clone()
    }

    fn tell(&self, polled: &Polled) {
        let words = match polled {
            Polled::Changes { .. } => return,
            Polled::NewEpoch { why, .. } => format!("new epoch: {why}"),
            Polled::Blind { why } => format!("changes are not recorded: {why}"),
        };
        let mut told = self.told.lock().expect("nobody panics with this lock");
        *told.entry(words).or_default() += 1;
    }

    /// Sets how the feed does from now on.
    pub fn feed(&self, mode: FeedMode) {
        self.feed.send_replace(mode);
    }

    /// Sets how long loads pause when they have read their version, before or after their rows.
    pub fn slow_loads(&self, pause: Duration) {
        self.slow_loads
            .store(u64::try_from(pause.as_millis()).unwrap_or(0), SeqCst);
    }

    /// Keeps loads that have been answered from ending, until they may.
    pub fn hold_loads(&self, yes: bool) {
        self.held_of.send_replace(Vec::new());
        self.held_loads.send_replace(yes);
    }

    /// Waits until a load of a tenant is held that has been answered.
    pub async fn holds(&self, tenant: &TenantId) {
        // An error means that nobody sets it any more.
        let mut held = self.held_of.subscribe();
        let _held = held.wait_for(|held| held.contains(tenant)).await;
    }

    /// What a load waits for when it has been answered.
    async fn answered(&self, tenant: &TenantId) {
        pause(Duration::from_millis(self.slow_loads.load(SeqCst))).await;
        let mut held = self.held_loads.subscribe();
        if *held.borrow_and_update() {
            self.held_of.send_modify(|held| held.push(tenant.clone()));
        }
        let _ended = held.wait_for(|held| !held).await;
    }

    /// Lets loads fail now and then.
    pub fn failing_loads(&self, yes: bool) {
        self.failing_loads.store(yes, SeqCst);
    }

    /// Lets writes that were committed be reported as failed now and then.
    pub fn unknown_writes(&self, yes: bool) {
        self.unknown_writes.store(yes, SeqCst);
    }

    /// Lets everything go well.
    pub fn nothing(&self) {
        self.feed(FeedMode::On);
        self.slow_loads(Duration::ZERO);
        self.hold_loads(false);
        self.failing_loads(false);
        self.unknown_writes(false);
    }

    fn turn(&self) -> bool {
        self.calls.fetch_add(1, SeqCst).is_multiple_of(FAILING)
    }

    fn load(&self) -> Result<()> {
        if self.failing_loads.load(SeqCst) && self.turn() {
            return Err(Error::Unavailable("injected".into()));
        }
        Ok(())
    }

    fn written<T>(&self, written: Result<T>) -> Result<T> {
        if written.is_ok() && self.unknown_writes.load(SeqCst) && self.turn() {
            return Err(Error::Unavailable("injected, after the commit".into()));
        }
        written
    }
}

/// Lets time pass.
pub(crate) async fn pause(time: Duration) {
    if !time.is_zero() {
        let _over = tokio::time::timeout(time, std::future::pending::<()>()).await;
    }
}

/// The store.
#[derive(Debug)]
pub struct Meddler {
    inner: Arc<dyn Store>,
    meddling: Arc<Meddling>,
}

impl Meddler {
    /// Wraps a store.
    pub fn around(inner: Arc<dyn Store>, planted: Option<Planted>) -> (Arc<dyn Store>, Arc<Meddling>) {
        let meddling = Arc::new(Meddling {
            planted,
            feed: watch::Sender::new(FeedMode::On),
            slow_loads: AtomicU64::new(0),
            held_loads: watch::Sender::new(false),
            held_of: watch::Sender::new(Vec::new()),
            failing_loads: AtomicBool::new(false),
            unknown_writes: AtomicBool::new(false),
            calls: AtomicU64::new(0),
            told: Mutex::default(),
        });
        let store = Self {
            inner,
            meddling: Arc::clone(&meddling),
        };
        (Arc::new(store), meddling)
    }
}

#[async_trait]
impl Store for Meddler {
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        self.meddling.load()?;
        Ok(Box::new(MeddledSnapshot {
            earlier: match self.meddling.planted {
                Some(Planted::OlderVersions) => Some(self.inner.snapshot().await?),
                _ => None,
            },
            inner: self.inner.snapshot().await?,
            store: Arc::clone(&self.inner),
            meddling: Arc::clone(&self.meddling),
        }))
    }

    /// As the store does it, in one statement where it can. A slow one tarries with its answers, while others write.
    async fn ask_all(&self, tenant: &TenantId, questions: &[Question]) -> Result<Answers> {
        if self.meddling.planted.is_none() {
            self.meddling.load()?;
            let answers = self.inner.ask_all(tenant, questions).await;
            self.meddling.answered(tenant).await;
            return answers;
        }
        let mut snapshot = self.snapshot().await?;
        let version = snapshot.version().await?;
        let found = snapshot.ask_all(tenant, questions).await?;
        Ok(Answers {
            found,
            version,
            statements: snapshot.statements(),
            version_statements: 1,
        })
    }

    async fn upsert_cis(
        &self,
        records: Vec<CiRecord>,
        options: WriteOptions,
    ) -> Result<Vec<Result<CiOutcome, Rejection>>> {
        self.meddling
            .written(self.inner.upsert_cis(records, options).await)
    }

    async fn delete_cis(
        &self,
        tenant: &TenantId,
        targets: Vec<CiRef>,
        options: WriteOptions,
    ) -> Result<Vec<CiOutcome>> {
        self.meddling
            .written(self.inner.delete_cis(tenant, targets, options).await)
    }

    async fn upsert_relations(
        &self,
        records: Vec<RelationRecord>,
        options: WriteOptions,
    ) -> Result<Vec<Result<RelationOutcome, Rejection>>> {
        self.meddling
            .written(self.inner.upsert_relations(records, options).await)
    }

    async fn delete_relations(
        &self,
        records: Vec<RelationRecord>,
        options: WriteOptions,
    ) -> Result<Vec<RelationOutcome>> {
        self.meddling
            .written(self.inner.delete_relations(records, options).await)
    }

    fn feed(&self) -> Option<Box<dyn Feed>> {
        let feed = self.inner.feed()?;
        let feed: Box<dyn Feed> = match self.meddling.planted {
            Some(planted) => Box::new(PlantedFeed::new(feed, planted)),
            None => feed,
        };
        Some(Box::new(MeddledFeed {
            inner: feed,
            mode: self.meddling.feed.subscribe(),
            held: None,
            meddling: Arc::clone(&self.meddling),
        }))
    }

    async fn ring(&self) {
        self.inner.ring().await;
    }

    async fn retain(&self, older_than: Duration) -> Result<u64> {
        self.inner.retain(older_than).await
    }

    fn replica(&self, address: &str, options: &StoreOptions) -> Result<Arc<dyn Replica>> {
        self.inner.replica(address, options)
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

#[derive(Debug)]
struct MeddledFeed {
    inner: Box<dyn Feed>,
    mode: watch::Receiver<FeedMode>,
    /// What was read and is not told yet: who waits for it may go away, and it has to be told with what comes after it.
    held: Option<Polled>,
    meddling: Arc<Meddling>,
}

impl MeddledFeed {
    /// Reads on, and adds it to what is held.
    async fn read(&mut self) -> Result<()> {
        let polled = self.inner.poll().await?;
        self.held = Some(match (self.held.take(), polled) {
            (
                Some(Polled::Changes {
                    since, mut changes, ..
                }),
                Polled::Changes {
                    changes: more,
                    position,
                    ..
                },
            ) => {
                changes.extend(more);
                Polled::Changes {
                    since,
                    changes,
                    position,
                }
            }
            // All before it is forgotten: it makes no difference where it begins.
            (Some(Polled::NewEpoch { why, epoch, .. }), Polled::Changes { position, .. }) => {
                Polled::NewEpoch { why, epoch, position }
            }
            // A look at what is not recorded has a new epoch behind it.
            (_, polled) => polled,
        });
        Ok(())
    }
}

#[async_trait]
impl Feed for MeddledFeed {
    async fn start(&mut self) -> Result<ci_store::Start> {
        self.held = None;
        self.inner.start().await
    }

    async fn poll(&mut self) -> Result<Polled> {
        let mode = *self.mode.borrow();
        match mode {
            FeedMode::On | FeedMode::Tarries(_) => {}
            FeedMode::Stalls => {
                // An error means that nobody sets it any more.
                let _on = self.mode.wait_for(|mode| *mode != FeedMode::Stalls).await;
            }
            FeedMode::Fails => return Err(Error::Unavailable("injected".into())),
            FeedMode::Lags(time) => pause(time).await,
        }
        self.read().await?;
        if let FeedMode::Tarries(time) = mode {
            pause(time).await;
        }
        let polled = match self.held.take() {
            Some(polled) => polled,
            None => self.inner.poll().await?,
        };
        self.meddling.tell(&polled);
        Ok(polled)
    }

    async fn wait(&mut self, at_most: Duration) {
        self.inner.wait(at_most).await;
    }
}

struct MeddledSnapshot {
    /// Of before the other.
    earlier: Option<Box<dyn Snapshot>>,
    inner: Box<dyn Snapshot>,
    store: Arc<dyn Store>,
    meddling: Arc<Meddling>,
}

impl MeddledSnapshot {
    /// Whether an error is to be hidden.
    fn hides(&self) -> bool {
        self.meddling.planted == Some(Planted::EmptyErrors) && self.meddling.turn()
    }
}

#[async_trait]
impl Snapshot for MeddledSnapshot {
    async fn search(&mut self, tenant: &TenantId, search: &Search) -> Result<Vec<CiSummary>> {
        if self.hides() {
            return Ok(Vec::new());
        }
        self.inner.search(tenant, search).await
    }

    async fn get_many(&mut self, tenant: &TenantId, gets: &[Get]) -> Result<Vec<Option<CiDetail>>> {
        if self.hides() {
            return Ok(vec![None; gets.len()]);
        }
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

    async fn path(&mut self, tenant: &TenantId, path: &Path) -> Result<PathTrace> {
        self.inner.path(tenant, path).await
    }

    async fn ask_all(&mut self, tenant: &TenantId, questions: &[Question]) -> Result<Vec<Found>> {
        let mut found = self.inner.ask_all(tenant, questions).await?;
        for answer in &mut found {
            match answer {
                Found::Ci(ci) if self.hides() => *ci = None,
                Found::Rows(rows) if self.hides() => rows.clear(),
                _ => {}
            }
        }
        Ok(found)
    }

    async fn version(&mut self) -> Result<Option<(Epoch, Version)>> {
        self.meddling.load()?;
        let version = match (self.meddling.planted, &mut self.earlier) {
            (Some(Planted::NewerVersions), _) => {
                pause(Duration::from_millis(2)).await;
                self.store.snapshot().await?.version().await
            }
            (_, Some(earlier)) => earlier.version().await,
            _ => self.inner.version().await,
        };
        pause(Duration::from_millis(self.meddling.slow_loads.load(SeqCst))).await;
        version
    }

    fn statements(&self) -> u32 {
        self.inner.statements()
    }
}
