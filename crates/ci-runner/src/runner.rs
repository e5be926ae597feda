//! The runner: a store, the cache in front of it, and what keeps the two in step.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ci_cache_core::ci::matching::Reason;
use ci_cache_core::ci::{CiShared, CiStats, CoherentCiCache, CoherentCiLeader, EntrySummary, TenantStats};
use ci_cache_core::coherence::{CoherenceStats, Dropped, Mark, Why};
use ci_cache_core::{Tick, Waiter};
use ci_model::{Epoch, Key, QuestionKind, TenantId, Token, Version};
use ci_store::Store;

use crate::answer::Cached;
use crate::audit::Audits;
use crate::builder::RunnerBuilder;
use crate::coherence::{FeedStatus, Follow, UNFOLLOWED};
use crate::gather::Gathering;
use crate::latency::Times;
use crate::record::Recorder;
use crate::replica::{Copy, ReplicaStats};
use crate::savings::Costs;
use crate::tally::Tallies;
use crate::through::Through;
use crate::tier::{self, Job, Shared, TierStats};
use crate::warm::{Warm, WarmStatus};
use crate::{Error, Level, Result, Tenant};

/// What entries hold.
pub(crate) type Entry = CiShared<Cached>;
/// The duty to load a question's answer.
pub(crate) type Lead = CoherentCiLeader<Cached, Error>;
/// A place in the queue for an answer that somebody loads.
pub(crate) type Wait = Waiter<Entry, Error>;

/// Answers the questions of any number of tenants, cache first. A cheap handle: clone it freely, and share one per
/// database in a process, since what is cached is shared by its clones only.
///
/// Built and used within a tokio runtime: the change feed, loads and writes run in tasks of their own. The feed's task ends
/// when the last handle is dropped, or at [`close`](Self::close).
#[derive(Clone)]
pub struct Runner {
    inner: Arc<Inner>,
}

/// What clones share.
pub(crate) struct Inner {
    /// The database, for loads.
    pub(crate) store: Arc<dyn Store>,
    /// The database, for writes: each is followed before it returns.
    pub(crate) writer: Arc<dyn Store>,
    pub(crate) cache: Arc<CoherentCiCache<Cached, Error>>,
    /// Loads past the cache that callers share.
    pub(crate) through: Through,
    /// Gets that wait to be loaded together.
    pub(crate) gathering: Gathering,
    pub(crate) follow: Arc<Follow>,
    /// The level of questions that ask for none.
    pub(crate) level: Level,
    /// The history that is followed, where the store has no feed: of this runner's own writes.
    pub(crate) own: Arc<OwnHistory>,
    /// From when on a load is slow.
    pub(crate) slow_load: Duration,
    /// What metrics call this runner.
    pub(crate) name: Arc<str>,
    /// Statements that loads have run.
    pub(crate) statements: AtomicU64,
    /// Callers who waited for a load that turned out too old for them, or was lost, and looked up again.
    pub(crate) again: AtomicU64,
    /// Kinds of questions that are not cached.
    pub(crate) uncached: Vec<QuestionKind>,
    /// Whether an expansion also loads its CIs in full.
    pub(crate) prime: bool,
    /// How requests ended.
    pub(crate) tallies: Tallies,
    /// What loads cost.
    pub(crate) costs: Costs,
    /// How long answers took.
    pub(crate) times: Times,
    /// Loads under way.
    pub(crate) loading: AtomicU64,
    /// How often answers were forgotten by hand.
    pub(crate) forgotten: AtomicU64,
    /// What is carried over a restart.
    pub(crate) warm: Arc<Warm>,
    /// What writes down what is asked.
    pub(crate) recorder: Option<Recorder>,
    /// What the fleet shares.
    pub(crate) tier: Option<Arc<Shared>>,
    /// Who may answer loads in the store's place.
    pub(crate) replica: Option<Copy>,
    /// What audits found.
    pub(crate) audits: Audits,
}

/// The history of a store that records no changes: the writes through this runner, numbered.
#[derive(Debug, Default)]
pub(crate) struct OwnHistory(AtomicU64);

impl OwnHistory {
    /// Its epoch. Tokens of it are never given out.
    pub(crate) const EPOCH: Epoch = Epoch(0);

    /// What a load that begins now will include.
    pub(crate) fn now(&self) -> Version {
        Version::Sequence(self.0.load(Ordering::SeqCst))
    }

    /// The number of a write that was just committed.
    pub(crate) fn next(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }
}

impl Inner {
    /// Adds what a load ran on the database.
    pub(crate) fn count_statements(&self, statements: u32) {
        self.statements.fetch_add(statements.into(), Ordering::Relaxed);
    }

    /// Follows a history from a position on, as a poll told it. What that poll cannot have seen stays in doubt.
    pub(crate) fn follow_from(&self, epoch: Epoch, position: Version, polled_at: Tick, poll: u64) {
        self.cache.reset_but(epoch.0, position.clone(), polled_at, || {
            (!self.follow.settles(poll)).then_some(UNFOLLOWED)
        });
        // After that, so that who is told of it and asks is not answered from what was forgotten.
        self.follow.recent.restart(epoch, position);
    }

    /// Somebody is about to have answers forgotten by hand: what the shared tier, a replica, or a load that brings more than it was asked for
    /// has from before is not to come back.
    pub(crate) fn forget_elsewhere(self: &Arc<Self>) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        if let Some(shared) = &self.tier
            && shared.forget(self.cache.now())
        {
            match tokio::runtime::Handle::try_current() {
                Ok(runtime) => drop(runtime.spawn(tier::settle_forgotten(Arc::downgrade(self)))),
                Err(_) => shared.leave_unsettled(),
            }
        }
        if let Some(replica) = &self.replica {
            replica.forget(self.cache.now());
        }
    }

    /// How long ago a mark was true.
    pub(crate) fn lag(&self, mark: &Mark<Version>) -> Duration {
        self.cache.now().saturating_since(mark.polled_at())
    }

    /// A version as a token for callers; none where the store has no feed.
    pub(crate) fn token(epoch: u64, version: &Version) -> Option<Token> {
        (Epoch(epoch) != OwnHistory::EPOCH).then(|| Token {
            epoch: Epoch(epoch),
            version: version.clone(),
        })
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.follow.polls.close();
    }
}

/// What a runner has done since it was built.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Stats {
    /// The cache's counters.
    pub cache: CiStats,
    /// Changes that were matched, and what became of entries and publications.
    pub coherence: CoherenceStats,
    /// What the entries weigh together, in the unit of the capacity.
    pub weight: u64,
    /// Statements that loads have run on the database.
    pub statements: u64,
    /// Questions that were answered past the cache because memory could not keep the level's promise.
    pub through: u64,
    /// How often somebody waited for another caller's load, could not use it (it had begun too early, or was lost), and looked up
    /// again.
    pub again: u64,
    /// What was done with the shared tier; none without one.
    pub tier: Option<TierStats>,
    /// What was done with the replica; none without one.
    pub replica: Option<ReplicaStats>,
}

impl Runner {
    /// Starts building a runner over a store.
    pub fn builder(store: Arc<dyn Store>) -> RunnerBuilder {
        RunnerBuilder::new(store)
    }

    pub(crate) fn new(inner: Arc<Inner>) -> Self {
        Self { inner }
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// One tenant's view; the only way to ask or write. Cost: a look-up of the tenant's counters under a lock that only a tenant
    /// that was not seen before writes to; clones of a view are cheaper.
    pub fn tenant(&self, id: TenantId) -> Tenant {
        Tenant::new(Arc::clone(&self.inner), id)
    }

    /// The store, so wrapped that every write through it is followed before it returns: for imports and other bulk
    /// writes. Reads through it go to the database.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.inner.writer)
    }

    /// What metrics call it: [`RunnerBuilder::name`](crate::RunnerBuilder::name).
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// The counters.
    pub fn stats(&self) -> Stats {
        Stats {
            cache: self.inner.cache.stats(),
            coherence: self.inner.cache.coherence(),
            weight: self.inner.cache.weight(),
            statements: self.inner.statements.load(Ordering::Relaxed),
            through: self.inner.through.count(),
            again: self.inner.again.load(Ordering::Relaxed),
            tier: self.inner.tier.as_ref().map(|shared| shared.stats()),
            replica: self
                .inner
                .replica
                .as_ref()
                .map(|replica| replica.stats(self.inner.cache.now())),
        }
    }

    /// How the change feed does, and how far the cache is behind the database.
    pub fn feed(&self) -> FeedStatus {
        let mark = self.inner.cache.mark();
        let lag = mark.as_ref().map(|mark| self.inner.lag(mark));
        let position = mark.and_then(|mark| Inner::token(mark.epoch(), mark.version()));
        self.inner.follow.status(lag, position)
    }

    /// How many entries and publications changes have hit, for each reason; in no order.
    pub fn drop_reasons(&self) -> Vec<(Why<Reason>, u64)> {
        self.inner.cache.reasons()
    }

    /// The moment, by the cache's clock: what [`drops`](Self::drops) are dated by.
    pub fn now(&self) -> Tick {
        self.inner.cache.now()
    }

    /// The latest drops, the latest last: which change hit which entry, and why.
    pub fn drops(&self) -> Vec<Dropped<Key, Reason>> {
        self.inner.cache.history()
    }

    /// Up to `limit` entries, most recently used first. Takes each shard's lock in turn.
    pub fn entries(&self, limit: usize) -> Vec<EntrySummary> {
        self.inner.cache.entries_summary(limit)
    }

    /// What each tenant with cached answers has in memory and did, by name. Takes each shard's lock in turn. Empty under
    /// [`TenantShares::Off`](crate::TenantShares::Off) without limits.
    pub fn tenants(&self) -> Vec<(TenantId, TenantStats)> {
        self.inner.cache.tenants()
    }

    /// Forgets a tenant that is gone: its answers, its loads under way (they are answered, not kept) and its statistics. Says how many live
    /// answers went. Walks the tenant's answers; the database is not asked. It may come back at any time.
    pub fn drop_tenant(&self, tenant: &TenantId) -> usize {
        self.inner.forget_elsewhere();
        self.inner.cache.drop_tenant(tenant)
    }

    /// Forgets every cached answer of every tenant; nothing that was loaded before comes back from the shared tier either.
    pub fn clear(&self) {
        self.inner.forget_elsewhere();
        self.inner.cache.clear();
    }

    /// Waits for a poll of the change feed that begins after this call, for at most so long; says whether there was a good
    /// one. Afterwards no question is answered from before what was committed before the call. Always false for a store without a
    /// feed.
    ///
    /// Cost: one poll, which all who wait share. Cancel safe.
    pub async fn catch_up(&self, at_most: Duration) -> bool {
        self.inner.follow.has_feed() && self.inner.follow.polls.fresh(at_most).await
    }

    /// Asks the database for a sign of life: one round trip, never shared or cached. Cancel safe.
    ///
    /// # Errors
    /// [`Error::Store`] when there is none.
    pub async fn ping(&self) -> Result<()> {
        Ok(self.inner.store.ping().await?)
    }

    /// What became of the [warm file](RunnerBuilder::warm_file) at the start, and of the last writing.
    pub fn warm(&self) -> WarmStatus {
        self.inner.warm.status()
    }

    /// Stops following, writes the [warm file](RunnerBuilder::warm_file), waits for running statements and closes the database's connections.
    /// Loads fail then; what is cached is served for as long as its lag is within a reader's bound.
    ///
    /// The last step of a graceful end, after requests have ended; to be called again is harmless, also after its future was dropped.
    ///
    /// Waits for a poll that is under way at most as long as polls may take, and for a replica at most as long as
    /// [it may take for a load](crate::replica::ReplicaOptions::timeout); meanwhile the database's own connections are closed. For those there is no
    /// bound here: where a network swallows what is sent to the database, their statements hang until the operating system gives the connections up.
    /// Who has to end before that gives this future up, as `ci-cache serve` does. Cancelled, it may leave connections open and the file as it was.
    pub async fn close(&self) {
        self.inner.follow.polls.close();
        self.inner.follow.recent.close();
        if self.inner.follow.has_feed() && self.inner.warm.is_wanted() {
            self.inner.warm.finished(self.inner.follow.pace.patience).await;
        }
        // Side by side: a replica that does not answer keeps nobody else's connections open.
        let replica = async {
            if let Some(replica) = &self.inner.replica {
                replica.close().await;
            }
        };
        tokio::join!(self.inner.store.close(), replica);
    }

    /// Waits until what was to be written to the shared tier is written, or dropped; with `refresh` also confirms now what is used
    /// most. For tests, and for the end of a process that wants to leave what it has.
    #[doc(hidden)]
    pub async fn settle_tier(&self, refresh: bool) {
        let Some(shared) = &self.inner.tier else { return };
        let (done, settled) = tokio::sync::oneshot::channel();
        for job in [refresh.then_some(Job::Refresh), Some(Job::Done(done))] {
            if let Some(job) = job
                && shared.jobs().send(job).await.is_err()
            {
                return;
            }
        }
        let _lost = settled.await;
    }

    /// Checks the cache's internal structures while nobody else uses it; for tests.
    ///
    /// # Errors
    /// Says what disagrees.
    #[doc(hidden)]
    pub fn validate(&self) -> std::result::Result<(), String> {
        self.inner.cache.validate()
    }
}

impl fmt::Debug for Runner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runner")
            .field("store", &self.inner.store)
            .finish_non_exhaustive()
    }
}
