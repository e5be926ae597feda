//! A store that counts, waits and fails on command, around a real one.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use ci_model::{
    Aggregate, CiDetail, CiOutcome, CiRecord, CiRef, CiSummary, Epoch, Expand, Get, Graph, Groups, List,
    ListPage, Path, Question, Rejection, RelationOutcome, RelationRecord, Search, TenantId, Token, Version,
};
use ci_store::{
    Connections, EpochReason, Error, Feed, Found, PathTrace, Polled, Result, Snapshot, Start, Store,
    WriteOptions,
};
use tokio::sync::{Semaphore, oneshot};

/// What the wrapper sees and does; shared with the test.
#[derive(Debug)]
pub struct Control {
    /// Reads that reached the store.
    pub reads: AtomicU64,
    /// Writes that reached the store.
    pub writes: AtomicU64,
    /// Store calls until one fails; `u64::MAX` for never.
    fail_in: AtomicU64,
    /// The call that would fail panics instead.
    panics: AtomicBool,
    /// What the next write waits for after its commit.
    held: Mutex<Option<oneshot::Receiver<()>>>,
    /// The snapshot that is to be held.
    waiting: Mutex<Option<Waiting>>,
    /// Writes that wait after their commit, or did.
    holding: AtomicU64,
    /// Reads take a permit first; a test closes the gate by taking all of them.
    gate: Semaphore,
    /// What becomes of the next polls of a feed.
    polls: Mutex<VecDeque<Poll>>,
    /// Polls that wait with what they saw, or did.
    polls_held: AtomicU64,
    polls_lost: AtomicU64,
    /// The store records no changes, and knows no versions.
    feedless: AtomicBool,
    /// The first poll after a resumption skips what was committed since its bookmark, and says nothing of it.
    skips: AtomicBool,
}

/// What becomes of a poll.
#[derive(Debug)]
enum Poll {
    Fails(Error),
    /// It reads, and nobody hears what.
    Lost,
    /// It reads, then waits, then says what it read; or that some was missed.
    Held(oneshot::Receiver<()>, bool),
}

/// A snapshot to be held before it begins.
#[derive(Debug)]
struct Waiting {
    /// Which one, counted from the next one, which is 1.
    left: u64,
    /// Hears when it comes.
    reached: oneshot::Sender<()>,
    /// What it waits for.
    released: oneshot::Receiver<()>,
}

/// Permits of an open gate: more than any test has readers.
const OPEN: u32 = 100_000;

impl Control {
    fn new() -> Self {
        Self {
            reads: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            fail_in: AtomicU64::new(u64::MAX),
            panics: AtomicBool::new(false),
            held: Mutex::new(None),
            waiting: Mutex::new(None),
            holding: AtomicU64::new(0),
            gate: Semaphore::new(OPEN as usize),
            polls: Mutex::new(VecDeque::new()),
            polls_held: AtomicU64::new(0),
            polls_lost: AtomicU64::new(0),
            feedless: AtomicBool::new(false),
            skips: AtomicBool::new(false),
        }
    }

    fn next_poll(&self, poll: Poll) {
        let mut polls = self.polls.lock().expect("nobody panics with this lock");
        polls.push_back(poll);
    }

    /// Makes a poll of the feed fail as if the database were gone, after those that are arranged already.
    pub fn fail_poll(&self) {
        self.next_poll(Poll::Fails(Error::Unavailable("injected".into())));
    }

    /// Makes a poll of the feed fail as if the database refused it, after those that are arranged already.
    pub fn refuse_poll(&self) {
        self.next_poll(Poll::Fails(Error::Database("injected".into())));
    }

    /// Holds a poll of the feed, after those that are arranged already, between its reading and its answer, until the guard is used or
    /// dropped. With `gap` the answer is that changes were missed.
    pub fn hold_poll(&self, gap: bool) -> oneshot::Sender<()> {
        let (release, held) = oneshot::channel();
        self.next_poll(Poll::Held(held, gap));
        release
    }

    /// Has the next poll read, and its answer get lost: whoever asked hears that it failed.
    pub fn lose_poll(&self) {
        self.next_poll(Poll::Lost);
    }

    /// The number of polls whose answers were lost.
    pub fn polls_lost(&self) -> u64 {
        self.polls_lost.load(SeqCst)
    }

    /// Plants a defect: what was committed between a bookmark and the first poll after its resumption is not told.
    pub fn skip_downtime(&self) {
        self.skips.store(true, SeqCst);
    }

    /// The number of polls that were held.
    pub fn polls_held(&self) -> u64 {
        self.polls_held.load(SeqCst)
    }

    /// The number of reads so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(SeqCst)
    }

    /// Makes the n-th store call from now fail as if the database were gone (1 is the next one); then works again.
    pub fn fail_nth(&self, n: u64) {
        self.panics.store(false, SeqCst);
        self.fail_in.store(n, SeqCst);
    }

    /// Makes the n-th store call from now panic; then works again.
    pub fn panic_nth(&self, n: u64) {
        self.panics.store(true, SeqCst);
        self.fail_in.store(n, SeqCst);
    }

    /// Holds the next upsert of CIs between its commit and its return, until the guard is dropped or used.
    ///
    /// # Panics
    /// When another test thread panicked here.
    pub fn hold_next_upsert(&self) -> oneshot::Sender<()> {
        let (release, held) = oneshot::channel();
        *self.held.lock().expect("nobody panics with this lock") = Some(held);
        release
    }

    /// Holds the n-th snapshot from now before it begins (1 is the next one), until the sender is used or dropped; the receiver
    /// hears when it comes.
    ///
    /// # Panics
    /// When another test thread panicked here.
    pub fn hold_nth_snapshot(&self, n: u64) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let (told, reached) = oneshot::channel();
        let (release, released) = oneshot::channel();
        *self.waiting.lock().expect("nobody panics with this lock") = Some(Waiting {
            left: n,
            reached: told,
            released,
        });
        (reached, release)
    }

    async fn begins(&self) {
        let due = {
            let mut waiting = self.waiting.lock().expect("nobody panics with this lock");
            if let Some(waiting) = &mut *waiting {
                waiting.left -= 1;
            }
            waiting.take_if(|waiting| waiting.left == 0)
        };
        if let Some(due) = due {
            // Errors mean that the test does not care any more.
            let _told = due.reached.send(());
            let _released = due.released.await;
        }
    }

    /// The number of writes that were held after their commit.
    pub fn holding(&self) -> u64 {
        self.holding.load(SeqCst)
    }

    async fn committed(&self) {
        let held = self.held.lock().expect("nobody panics with this lock").take();
        if let Some(held) = held {
            self.holding.fetch_add(1, SeqCst);
            // An error means that the guard was dropped, which releases as well.
            let _released = held.await;
        }
    }

    /// Tells whether the failure was used up.
    pub fn has_failed(&self) -> bool {
        self.fail_in.load(SeqCst) == u64::MAX
    }

    /// Lets no read pass until the guard is dropped.
    ///
    /// # Panics
    /// When a read is already under way: close the gate before asking.
    pub fn close_gate(&self) -> impl Drop + '_ {
        self.gate
            .try_acquire_many(OPEN)
            .expect("close the gate before any read runs")
    }

    fn call(&self) -> Result<()> {
        let left = self.fail_in.load(SeqCst);
        if left == u64::MAX {
            return Ok(());
        }
        if left <= 1 {
            self.fail_in.store(u64::MAX, SeqCst);
            assert!(!self.panics.load(SeqCst), "injected panic");
            return Err(Error::Unavailable("injected".into()));
        }
        self.fail_in.store(left - 1, SeqCst);
        Ok(())
    }

    async fn read(&self) -> Result<()> {
        self.reads.fetch_add(1, SeqCst);
        let _permit = self
            .gate
            .acquire()
            .await
            .expect("the gate is never closed for good");
        self.call()
    }

    fn write(&self) -> Result<()> {
        self.writes.fetch_add(1, SeqCst);
        self.call()
    }
}

/// A store around another one.
#[derive(Debug)]
pub struct Observed {
    inner: Arc<dyn Store>,
    control: Arc<Control>,
}

impl Observed {
    /// Wraps a store; the control is for the test.
    pub fn around(inner: Arc<dyn Store>) -> (Arc<dyn Store>, Arc<Control>) {
        let control = Arc::new(Control::new());
        (
            Arc::new(Self {
                inner,
                control: Arc::clone(&control),
            }),
            control,
        )
    }

    /// The same as a store that records no changes and knows no versions.
    pub fn without_feed(inner: Arc<dyn Store>) -> (Arc<dyn Store>, Arc<Control>) {
        let (store, control) = Self::around(inner);
        control.feedless.store(true, SeqCst);
        (store, control)
    }
}

#[async_trait]
impl Store for Observed {
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        self.control.call()?;
        self.control.begins().await;
        Ok(Box::new(ObservedSnapshot {
            inner: self.inner.snapshot().await?,
            control: Arc::clone(&self.control),
        }))
    }

    async fn upsert_cis(
        &self,
        records: Vec<CiRecord>,
        options: WriteOptions,
    ) -> Result<Vec<Result<CiOutcome, Rejection>>> {
        self.control.write()?;
        let written = self.inner.upsert_cis(records, options).await;
        self.control.committed().await;
        written
    }

    async fn delete_cis(
        &self,
        tenant: &TenantId,
        targets: Vec<CiRef>,
        options: WriteOptions,
    ) -> Result<Vec<CiOutcome>> {
        self.control.write()?;
        self.inner.delete_cis(tenant, targets, options).await
    }

    async fn upsert_relations(
        &self,
        records: Vec<RelationRecord>,
        options: WriteOptions,
    ) -> Result<Vec<Result<RelationOutcome, Rejection>>> {
        self.control.write()?;
        self.inner.upsert_relations(records, options).await
    }

    async fn delete_relations(
        &self,
        records: Vec<RelationRecord>,
        options: WriteOptions,
    ) -> Result<Vec<RelationOutcome>> {
        self.control.write()?;
        self.inner.delete_relations(records, options).await
    }

    async fn analyze(&self) -> Result<()> {
        self.inner.analyze().await
    }

    fn feed(&self) -> Option<Box<dyn Feed>> {
        if self.control.feedless.load(SeqCst) {
            return None;
        }
        let feed = ObservedFeed {
            inner: self.inner.feed()?,
            control: Arc::clone(&self.control),
            resumed: None,
        };
        Some(Box::new(feed))
    }

    async fn ring(&self) {
        self.inner.ring().await;
    }

    /// Not among the calls that fail by number: the runner makes it when time has passed, whatever a test is at.
    async fn retain(&self, older_than: Duration) -> Result<u64> {
        self.inner.retain(older_than).await
    }

    async fn ping(&self) -> Result<()> {
        self.control.call()?;
        self.inner.ping().await
    }

    fn connections(&self) -> Option<Connections> {
        self.inner.connections()
    }

    fn backend(&self) -> &'static str {
        self.inner.backend()
    }

    async fn close(&self) {
        self.inner.close().await;
    }
}

#[derive(Debug)]
struct ObservedFeed {
    inner: Box<dyn Feed>,
    control: Arc<Control>,
    /// Where it was resumed, until the first poll.
    resumed: Option<Start>,
}

#[async_trait]
impl Feed for ObservedFeed {
    async fn start(&mut self) -> Result<Start> {
        self.inner.start().await
    }

    fn bookmark(&self) -> Option<(Start, String)> {
        self.inner.bookmark()
    }

    fn resume(&mut self, bookmark: &str) -> Option<Start> {
        let start = self.inner.resume(bookmark)?;
        self.resumed = Some(start.clone()).filter(|_| self.control.skips.load(SeqCst));
        Some(start)
    }

    async fn poll(&mut self) -> Result<Polled> {
        if let Some(Start { epoch, position }) = self.resumed.take() {
            let since = Token {
                epoch,
                version: position,
            };
            return Ok(Polled::Changes {
                since,
                changes: Vec::new(),
                position: self.inner.start().await?.position,
            });
        }
        let next = self
            .control
            .polls
            .lock()
            .expect("nobody panics with this lock")
            .pop_front();
        match next {
            None => self.inner.poll().await,
            Some(Poll::Fails(error)) => Err(error),
            Some(Poll::Lost) => {
                self.inner.poll().await?;
                self.control.polls_lost.fetch_add(1, SeqCst);
                Err(Error::Unavailable("injected: the answer is lost".into()))
            }
            Some(Poll::Held(held, gap)) => {
                let mut polled = self.inner.poll().await?;
                let at = if gap {
                    Some(self.inner.start().await?)
                } else {
                    None
                };
                self.control.polls_held.fetch_add(1, SeqCst);
                // An error means that the guard was dropped, which releases as well.
                let _released = held.await;
                if let Some(Start { epoch, position }) = at {
                    let why = EpochReason::Gap;
                    polled = Polled::NewEpoch { why, epoch, position };
                }
                Ok(polled)
            }
        }
    }

    async fn wait(&mut self, at_most: Duration) {
        self.inner.wait(at_most).await;
    }
}

struct ObservedSnapshot {
    inner: Box<dyn Snapshot>,
    control: Arc<Control>,
}

#[async_trait]
impl Snapshot for ObservedSnapshot {
    async fn search(&mut self, tenant: &TenantId, search: &Search) -> Result<Vec<CiSummary>> {
        self.control.read().await?;
        self.inner.search(tenant, search).await
    }

    async fn get_many(&mut self, tenant: &TenantId, gets: &[Get]) -> Result<Vec<Option<CiDetail>>> {
        self.control.read().await?;
        self.inner.get_many(tenant, gets).await
    }

    async fn list(&mut self, tenant: &TenantId, list: &List) -> Result<ListPage> {
        self.control.read().await?;
        self.inner.list(tenant, list).await
    }

    async fn aggregate(&mut self, tenant: &TenantId, aggregate: &Aggregate) -> Result<Groups> {
        self.control.read().await?;
        self.inner.aggregate(tenant, aggregate).await
    }

    async fn expand(&mut self, tenant: &TenantId, expand: &Expand) -> Result<Option<Graph>> {
        self.control.read().await?;
        self.inner.expand(tenant, expand).await
    }

    async fn traverse(
        &mut self,
        tenant: &TenantId,
        expand: &Expand,
    ) -> Result<Option<(Graph, Vec<CiDetail>)>> {
        self.control.read().await?;
        self.inner.traverse(tenant, expand).await
    }

    async fn path(&mut self, tenant: &TenantId, path: &Path) -> Result<PathTrace> {
        self.control.read().await?;
        self.inner.path(tenant, path).await
    }

    async fn ask_all(&mut self, tenant: &TenantId, questions: &[Question]) -> Result<Vec<Found>> {
        self.control.read().await?;
        self.inner.ask_all(tenant, questions).await
    }

    async fn version(&mut self) -> Result<Option<(Epoch, Version)>> {
        self.control.call()?;
        if self.control.feedless.load(SeqCst) {
            return Ok(None);
        }
        self.inner.version().await
    }

    fn statements(&self) -> u32 {
        self.inner.statements()
    }
}
