//! Settings of a runner, checked before it is built.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use ci_cache_core::ci::{CiCacheConfig, CoherentCiCache, TenantPolicy, TenantShares};
use ci_cache_core::coherence::CoherenceOptions;
use ci_cache_core::{Clock, Eviction, SystemClock};
use ci_model::{QuestionKind, TenantId};
use ci_store::{Replica, Store};

use crate::audit::Audits;
use crate::coherence::{self, Follow, Pace};
use crate::gather::Gathering;
use crate::latency::Times;
use crate::record::Recorder;
use crate::replica::{Copy, ReplicaOptions, ReplicaRules};
use crate::runner::{Inner, OwnHistory};
use crate::savings::Costs;
use crate::tally::Tallies;
use crate::through::Through;
use crate::tier::{self, Shared, Tier, TierOptions, TierRules};
use crate::warm::{Warm, WarmOptions};
use crate::writer::Following;
use crate::{Error, Level, Result, Runner};

/// What metrics call a runner when nothing is said.
const NAME: &str = "main";
/// Entries when nothing is said.
const MAX_ENTRIES: usize = 100_000;
/// The lag of questions that ask for no level, at most.
const MAX_LAG: Duration = Duration::from_secs(1);

/// A load is slow from here on when nothing is said.
const SLOW_LOAD: Duration = Duration::from_secs(1);
/// Tenants whose requests are counted apart when nothing is said.
const TENANTS_APART: usize = 100;

/// Collects the settings of a [`Runner`].
pub struct RunnerBuilder {
    store: Arc<dyn Store>,
    name: Arc<str>,
    config: CiCacheConfig,
    clock: Option<Arc<dyn Clock>>,
    level: Level,
    pace: Pace,
    coherence: CoherenceOptions,
    uncached: Vec<QuestionKind>,
    prime: bool,
    recent_changes: usize,
    tenants_apart: usize,
    slow_load: Duration,
    warm: WarmOptions,
    recorder: Option<Recorder>,
    tier: Option<(Arc<dyn Tier>, TierOptions)>,
    tier_rules: TierRules,
    tier_anywhere: bool,
    replica: Option<(Arc<dyn Replica>, ReplicaOptions)>,
    replica_rules: ReplicaRules,
}

impl RunnerBuilder {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            name: NAME.into(),
            config: CiCacheConfig::new()
                .max_size(MAX_ENTRIES)
                .eviction(Eviction::Adaptive)
                .cost_aware(true)
                .tenant_shares(TenantShares::Fair),
            clock: None,
            level: Level::Cached { max_lag: MAX_LAG },
            pace: Pace {
                busy: Duration::from_millis(3),
                idle: Duration::from_millis(250),
                patience: Duration::from_secs(1),
                retention: Duration::from_secs(600),
            },
            coherence: CoherenceOptions::new(),
            uncached: Vec::new(),
            prime: false,
            recent_changes: 8_192,
            tenants_apart: TENANTS_APART,
            slow_load: SLOW_LOAD,
            warm: WarmOptions::default(),
            recorder: None,
            tier: None,
            tier_rules: TierRules::Kept,
            tier_anywhere: false,
            replica: None,
            replica_rules: ReplicaRules::Kept,
        }
    }

    /// Sets what metrics call this runner (their label `runner`); `main` when not called. Runners of one process need names of their
    /// own, or their figures overwrite each other.
    pub fn name(mut self, name: impl AsRef<str>) -> Self {
        self.name = name.as_ref().into();
        self
    }

    /// Sets the most cached answers; 100,000 when not called, at least 1.
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.config = self.config.max_size(entries);
        self
    }

    /// Bounds the memory of the cached answers together as well, in bytes, from 1 MiB; no bound when not called. Answers are weighed by
    /// about what they take, with their keys and what is known of them; the heaviest that can be kept is the bytes divided by the number of
    /// shards.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.config = self.config.max_bytes(bytes);
        self
    }

    /// Lets the time that loading an answer took count when the cache is full, so that answers that are cheap to load and rarely asked
    /// for do not push out expensive ones. On when not called; a cache that is not full is not affected.
    pub fn cost_aware(mut self, cost_aware: bool) -> Self {
        self.config = self.config.cost_aware(cost_aware);
        self
    }

    /// Serves an answer whose time to live is over for so long while it is loaded again in the background; the answer says so
    /// ([`Answer::stale`](field@crate::Answer::stale)). Off when not called.
    ///
    /// What a change has dropped is never served, so with a feed such an answer is as true as any: what is saved is the wait of whoever
    /// comes first after the time to live. Over a store without a feed it may be as old as both times together. Single questions only:
    /// batches and pages, and what is made of pages, load what is past its time.
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.config = self.config.stale_while_revalidate(window);
        self
    }

    /// Serves an answer whose time to live is over for so long if loading it again fails; the answer says so
    /// ([`Answer::stale`](field@crate::Answer::stale)). Off when not called.
    ///
    /// Single questions and batches only: pages, and what is made of pages, give the error. And only where memory may answer at all: with a feed that is behind its bound, or whose triggers are gone, the error is given. What a
    /// change has dropped is never served.
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.config = self.config.stale_if_error(window);
        self
    }

    /// Divides the room for answers between tenants, or does not; [`TenantShares::Fair`] when not called: what a tenant does not use others
    /// borrow, and no tenant's churn empties another's share.
    pub fn tenant_shares(mut self, shares: TenantShares) -> Self {
        self.config = self.config.tenant_shares(shares);
        self
    }

    /// Sets what holds for one tenant in place of the settings for all: its share, its limit, its times to live.
    pub fn tenant(mut self, tenant: TenantId, policy: TenantPolicy) -> Self {
        self.config = self.config.tenant(tenant, policy);
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

    /// Sets the level of questions that ask for none; `Cached` with a lag of at most 1 s when not called.
    pub fn level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Sets the time between two polls of the change feed while somebody asks; 3 ms when not called, from 1 ms to 1 min; a
    /// third of it after a poll that brought changes. It is most of what an answer from memory lags behind the database.
    pub fn poll_every(mut self, pause: Duration) -> Self {
        self.pace.busy = pause;
        self
    }

    /// Sets the time between two polls while nobody has asked for two seconds; 250 ms when not called, up to 1 min.
    pub fn poll_idle(mut self, pause: Duration) -> Self {
        self.pace.idle = pause;
        self
    }

    /// Sets how long a poll may take, and how long a reader or writer waits for one at most before it goes to the database; 1 s
    /// when not called, from 1 ms to 1 min.
    pub fn poll_timeout(mut self, patience: Duration) -> Self {
        self.pace.patience = patience;
        self
    }

    /// Sets how long the database keeps recorded changes; 10 min when not called, from 1 s. A node that was away for longer begins
    /// with an empty cache.
    pub fn retention(mut self, retention: Duration) -> Self {
        self.pace.retention = retention;
        self
    }

    /// Sets how many changes of one tenant a poll may bring before they count as a change of everything of the tenant; 1,000 when not
    /// called. With 0 every change does, which is the coarse invalidation to compare with.
    pub fn bulk(mut self, changes: usize) -> Self {
        self.coherence = self.coherence.bulk(changes);
        self
    }

    /// Sets how many changes are remembered for loads under way; 65,536 when not called, at least 1. A load during which more are
    /// applied is answered and not kept.
    pub fn log_changes(mut self, changes: usize) -> Self {
        self.coherence = self.coherence.log_changes(changes);
        self
    }

    /// Asks the database for questions of these kinds, always, as at [`Level::Bypass`]: for kinds on which the cache does not pay
    /// ([`Runner::savings`] tells). Adds to the kinds given before; none when not called.
    ///
    /// Such questions take no place in the cache, do not share loads, and are counted as bypasses. A page with one of
    /// them goes past the cache altogether, because its answers have to belong together.
    pub fn uncached(mut self, kinds: impl IntoIterator<Item = QuestionKind>) -> Self {
        self.uncached.extend(kinds);
        self
    }

    /// Sets from when on a load is slow: it is logged as a warning with the question in readable words, without values, and told to
    /// subscribers ([`Runner::events`]). 1 s when not called; any; [`Duration::MAX`] for never.
    pub fn slow_load(mut self, from: Duration) -> Self {
        self.slow_load = from;
        self
    }

    /// Sets how many tenants have counters of their own; 100 when not called, 0 for none. The first that are asked for have them
    /// for good, all others share one set, so that whoever makes tenants up takes neither memory (2 KiB for a tenant) nor metric labels
    /// without end.
    pub fn tenants_apart(mut self, tenants: usize) -> Self {
        self.tenants_apart = tenants;
        self
    }

    /// Sets how many changes are remembered for those who follow them ([`Tenant::follow`](crate::Tenant::follow)) and come back; some 100 bytes
    /// each; 8,192 when not called, 0 for none.
    pub fn recent_changes(mut self, changes: usize) -> Self {
        self.recent_changes = changes;
        self
    }

    /// Sets how many drops are remembered with their reason; 256 when not called.
    pub fn drops(mut self, drops: usize) -> Self {
        self.coherence = self.coherence.history(drops);
        self
    }

    /// Starts warm from a file, and keeps it: cached answers are written there now and then and at [`Runner::close`], and a runner that starts
    /// with the file uses those that the change feed proves still true. None when not called; of no use for a store without a feed.
    ///
    /// The file holds answers in the clear: protect it like the database. It belongs to one runner; of two that write it the last one wins.
    /// Times to live begin anew.
    pub fn warm_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.warm.path = Some(path.into());
        self
    }

    /// Sets the time between two writings of the [`warm_file`](Self::warm_file); 60 s when not called, from 1 s.
    pub fn warm_every(mut self, pause: Duration) -> Self {
        self.warm.every = pause;
        self
    }

    /// Sets how many questions of a [`warm_file`](Self::warm_file) are asked again in a second, in the background, when its answers cannot be
    /// used: the feed cannot tell what changed since, or another version of this program wrote them. 50 when not called, at most 1,000, 0
    /// for none. Those that were to be kept longest come first; [`Runner::warm`] tells how far it is.
    pub fn warm_reloads(mut self, per_second: u32) -> Self {
        self.warm.reloads = per_second;
        self
    }

    /// Writes a log of all that is asked, hits included, so that it can be asked again somewhere else; nothing when not called. Requests that come faster
    /// than the file takes them are left out and counted: nobody waits for it.
    ///
    /// The log holds keywords and filter values: protect it like the database.
    pub fn record(mut self, recorder: Recorder) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Shares answers with the other runners of a fleet through a [tier](crate::tier): what one has loaded the others need not, and a runner
    /// that starts is warm at once. None when not called.
    ///
    /// Whoever can write to the tier can make every runner say anything: protect it like the database. Only for PostgreSQL: a SQLite file
    /// that is replaced by an older copy uses its numbers again.
    pub fn tier(mut self, tier: Arc<dyn Tier>, options: TierOptions) -> Self {
        self.tier = Some((tier, options));
        self
    }

    /// Lets any store have a tier: for tests that replace no files.
    #[doc(hidden)]
    pub fn tier_anywhere(mut self) -> Self {
        self.tier_anywhere = true;
        self
    }

    /// Breaks a rule of the tier, for the tests of the tests.
    #[cfg(feature = "planted")]
    #[doc(hidden)]
    pub fn tier_rules(mut self, rules: TierRules) -> Self {
        self.tier_rules = rules;
        self
    }

    /// Lets a [replica](crate::replica) of the store's database answer loads wherever its answer keeps the promise of the level. None when not
    /// called. Writes, the change feed, [`Level::Bypass`] and what is asked past the cache stay with the store; so does every load that the
    /// replica cannot answer.
    ///
    /// ```no_run
    /// # use ci_runner::{Runner, replica::ReplicaOptions};
    /// # use ci_store::StoreOptions;
    /// # async fn build() -> Result<Runner, Box<dyn std::error::Error>> {
    /// let options = StoreOptions::default();
    /// let store = ci_store::open("postgres://app@primary/cmdb", &options).await?;
    /// let replica = store.replica("postgres://app@standby/cmdb", &options)?;
    /// let runner = Runner::builder(store).replica(replica, ReplicaOptions::new()).build()?;
    /// # Ok(runner)
    /// # }
    /// ```
    pub fn replica(mut self, replica: Arc<dyn Replica>, options: ReplicaOptions) -> Self {
        self.replica = Some((replica, options));
        self
    }

    /// Breaks a rule of loads from a replica, for the tests of the tests.
    #[cfg(feature = "planted")]
    #[doc(hidden)]
    pub fn replica_rules(mut self, rules: ReplicaRules) -> Self {
        self.replica_rules = rules;
        self
    }

    /// Sets whether an expansion that is loaded primes the gets of its CIs: it reads all their columns, in the same statement, and keeps each
    /// as the answer to a get by its id. No when not called, since it reads more; [`Tenant::traverse`](crate::Tenant::traverse) always does.
    pub fn prime(mut self, yes: bool) -> Self {
        self.prime = yes;
        self
    }

    /// Lets each change be matched against every entry as well and what the index missed be counted: for tests, slow.
    #[doc(hidden)]
    pub fn compare(mut self, compare: bool) -> Self {
        self.coherence = self.coherence.compare(compare);
        self
    }

    /// Checks the settings and builds the runner. Allocates little: entries are allocated as they come.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting and what is allowed.
    pub fn build(self) -> Result<Runner> {
        self.check()?;
        let clock = self.clock.unwrap_or_else(|| Arc::new(SystemClock::new()));
        let cache =
            CoherentCiCache::new(self.config, &self.coherence, Arc::clone(&clock)).map_err(refused)?;
        let cache = Arc::new(cache);
        let warm = Arc::new(Warm::new(self.warm, self.store.backend()));
        let (feed, own) = (self.store.feed(), Arc::new(OwnHistory::default()));
        let follow = Arc::new(Follow::new(self.pace, feed.is_some(), self.recent_changes));
        let rules = self.tier_rules;
        let shared = self.tier.map(|(tier, options)| {
            Shared::new(tier, options, rules, (Arc::clone(&clock), Arc::clone(&self.name)))
        });
        let (shared, jobs) = shared.map_or((None, None), |(shared, jobs)| {
            (Some(Arc::new(shared)), Some(jobs))
        });
        let writer = Following::new(
            Arc::clone(&self.store),
            Arc::clone(&cache),
            Arc::clone(&follow),
            Arc::clone(&own),
            shared.clone(),
        );
        let rules = self.replica_rules;
        let replica = self
            .replica
            .map(|(replica, options)| Copy::new(replica, options, rules));
        let inner = Arc::new(Inner {
            tier: shared,
            replica,
            store: self.store,
            name: self.name,
            slow_load: self.slow_load,
            writer: Arc::new(writer),
            cache,
            through: Through::new(clock).map_err(refused)?,
            gathering: Gathering::default(),
            follow,
            level: self.level,
            own,
            statements: AtomicU64::new(0),
            again: AtomicU64::new(0),
            uncached: self.uncached,
            prime: self.prime,
            tallies: Tallies::new(self.tenants_apart),
            costs: Costs::default(),
            times: Times::default(),
            loading: AtomicU64::new(0),
            forgotten: AtomicU64::new(0),
            warm,
            recorder: self.recorder,
            audits: Audits::default(),
        });
        match feed {
            Some(feed) => {
                let runtime = tokio::runtime::Handle::try_current().map_err(|_| Error::Config {
                    field: "runtime",
                    reason: "build the runner within a tokio runtime: the change feed is a task".into(),
                })?;
                let follow = Arc::clone(&inner.follow);
                runtime.spawn(coherence::run(Arc::downgrade(&inner), follow, feed));
                if let (Some(jobs), Some(shared)) = (jobs, &inner.tier) {
                    runtime.spawn(tier::run(Arc::downgrade(&inner), jobs));
                    runtime.spawn(tier::answer_doorbell(
                        Arc::clone(shared),
                        Arc::clone(&inner.follow),
                    ));
                }
            }
            None => inner
                .cache
                .reset(OwnHistory::EPOCH.0, inner.own.now(), inner.cache.now()),
        }
        Ok(Runner::new(inner))
    }

    /// States of one epoch are to be those of one history, whoever compares them.
    fn check_tier(&self) -> Result<()> {
        if self.tier_anywhere || self.store.backend() == "postgres" {
            return Ok(());
        }
        Err(Error::Config {
            field: "tier",
            reason: "a shared tier needs PostgreSQL: other stores may use the numbers of their changes again"
                .into(),
        })
    }

    fn check(&self) -> Result<()> {
        const LONGEST: Duration = Duration::from_secs(60);
        const SHORTEST: Duration = Duration::from_millis(1);
        let pace = &self.pace;
        let settings = [
            ("poll_every", pace.busy, SHORTEST, LONGEST),
            ("poll_idle", pace.idle, SHORTEST, LONGEST),
            ("poll_timeout", pace.patience, SHORTEST, LONGEST),
            ("retention", pace.retention, Duration::from_secs(1), Duration::MAX),
            (
                "warm_every",
                self.warm.every,
                Duration::from_secs(1),
                Duration::MAX,
            ),
        ];
        if let Some((_, options)) = &self.tier {
            options.check()?;
            self.check_tier()?;
        }
        if let Some((_, options)) = &self.replica {
            options.check()?;
        }
        if self.warm.reloads > 1_000 {
            return Err(Error::Config {
                field: "warm_reloads",
                reason: format!("{} is not from 0 to 1,000", self.warm.reloads).into(),
            });
        }
        for (field, value, least, most) in settings {
            if value < least || value > most {
                return Err(Error::Config {
                    field,
                    reason: format!("{value:?} is not from {least:?} to {most:?}").into(),
                });
            }
        }
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form that `map_err` wants")]
fn refused(error: ci_cache_core::Error) -> Error {
    Error::Config {
        field: "cache",
        reason: error.to_string().into(),
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
