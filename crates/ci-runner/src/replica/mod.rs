//! Loads from a replica: a hot standby answers in the primary's place where its answer keeps what the primary's would.
//!
//! A load of the primary begins after the call, so it includes whatever was acknowledged before. A replica shows states of its own; of each it is
//! known exactly what it includes, and that it is of the same history ([`Replica`]). Two comparisons are left:
//!
//! - *It includes the mark.* Whoever leads a load has read a mark that keeps its level's promise, and the mark at the beginning of the load is that one
//!   or a later one. An answer whose state includes it keeps the promise, too. It also takes the epoch's name rightly: the poll that raised the mark
//!   read the epoch, so no older state gets a newer epoch's name. Without a mark there is no replica.
//! - *A later mark includes it.* A commit is in the log before the primary shows it, and a replica may be first (with synchronous replication by as
//!   long as another standby is away). Such an answer would be true, and the next one of the primary older, under a token that no poll
//!   reaches. So it is used when the primary has shown all that is in it:
//!
//! ```text
//! primary                         replica                         a reader
//! logs a commit
//!                                 shows it
//!                                                                 is answered with it, passes its token on
//!                                                                 asks at least that: a fresh poll does not have it
//! shows it
//! ```
//!
//! What is not so in time is asked of the primary: a replica that is late, down, slow or somebody else's costs time and never an answer. After a few
//! failures in a row, or ten loads for which it was late, it is left alone for a while (`../breaker.rs`). `Bypass`, what is asked past the cache, writes and the feed never ask it.
//!
//! What was forgotten by hand does not come back from it: then the mark has to be of a poll that began afterwards.

mod options;
mod rules;
mod stats;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ci_cache_core::Tick;
use ci_cache_core::coherence::{Loaded, Mark};
use ci_model::{CiDetail, Epoch, Expand, Graph, Question, TenantId, Version};
use ci_store::{Found, Replica, Unused};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::breaker::Breaker;
use crate::runner::{Inner, OwnHistory};

pub use self::options::ReplicaOptions;
#[cfg(feature = "planted")]
pub use self::rules::ReplicaRules;
#[cfg(not(feature = "planted"))]
pub(crate) use self::rules::ReplicaRules;
use self::stats::Counts;
pub use self::stats::{ReplicaOutcome, ReplicaStats};

/// The first pause between two looks at how far the replica is; each is twice the one before.
const LOOK: Duration = Duration::from_millis(1);

/// Loads in a row for which it was late, after which it is left alone, and for how long at first and at most.
const LATE: u32 = 10;
const LATE_PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

/// A runner's replica, and what is known of it.
#[derive(Debug)]
pub(crate) struct Copy {
    replica: Arc<dyn Replica>,
    options: ReplicaOptions,
    rules: ReplicaRules,
    /// Left alone because it does not answer, or is not what it should be.
    down: Breaker,
    /// Left alone because it is late: after more of it and for less long, as that passes and costs little.
    late: Breaker,
    counts: Counts,
    trouble: Mutex<Option<String>>,
    /// When answers were last forgotten by hand, in microseconds of the runner's clock and one more; 0 for never.
    forgotten: AtomicU64,
}

/// What is asked of one state.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked<'a> {
    /// Questions.
    All(&'a TenantId, &'a [Question]),
    /// An expansion and its CIs in full.
    Traversal(&'a TenantId, &'a Expand),
}

/// A graph and its CIs in full; nothing when no root is there.
pub(crate) type Traversed = Option<(Graph, Vec<CiDetail>)>;

/// What was found.
#[derive(Debug)]
pub(crate) enum Answered {
    All(Vec<Found>),
    Traversal(Traversed),
}

impl Answered {
    pub(crate) fn all(self) -> Option<Vec<Found>> {
        match self {
            Self::All(found) => Some(found),
            Self::Traversal(_) => None,
        }
    }

    pub(crate) fn traversal(self) -> Option<Traversed> {
        match self {
            Self::Traversal(found) => Some(found),
            Self::All(_) => None,
        }
    }
}

/// An answer of a replica.
#[derive(Debug)]
struct Taken {
    answered: Answered,
    statements: u32,
    version: Version,
}

/// An answer of a replica that may be used.
#[derive(Debug)]
pub(crate) struct Used {
    pub(crate) answered: Answered,
    pub(crate) statements: u32,
    pub(crate) loaded: Loaded<Version>,
    /// What it includes.
    pub(crate) floor: Option<Mark<Version>>,
}

/// Why an answer was not used, and what the replica said.
type Refused = (ReplicaOutcome, Option<Unused>);

fn refused(why: Unused) -> Refused {
    (ReplicaOutcome::from(&why), Some(why))
}

impl Copy {
    pub(crate) fn new(replica: Arc<dyn Replica>, options: ReplicaOptions, rules: ReplicaRules) -> Self {
        Self {
            replica,
            options,
            rules,
            down: Breaker::default(),
            late: Breaker::new(LATE, LATE_PAUSE),
            counts: Counts::default(),
            trouble: Mutex::default(),
            forgotten: AtomicU64::new(0),
        }
    }

    /// Answers were forgotten by hand.
    pub(crate) fn forget(&self, now: Tick) {
        self.forgotten.store(now.as_micros() + 1, Ordering::SeqCst);
    }

    pub(crate) fn stats(&self, now: Tick) -> ReplicaStats {
        ReplicaStats {
            loads: self.counts.all(),
            is_open: self.down.is_open() || self.late.is_open(),
            is_skipped: self.down.skips(now) || self.late.skips(now),
            trouble: self.trouble.lock().clone(),
        }
    }

    /// Closes its connections, and waits for that as long as a load may take and no longer: one that swallows what is sent never says that a
    /// connection is free again.
    pub(crate) async fn close(&self) {
        let closing = tokio::time::timeout(self.options.timeout, self.replica.close());
        if closing.await.is_err() {
            tracing::debug!("the replica was left without waiting for its connections");
        }
    }

    /// Asks the replica; nothing when the primary has to be asked.
    pub(crate) async fn ask(&self, inner: &Inner, asked: Asked<'_>) -> Option<Used> {
        let Some(floor) = self.floor(inner) else {
            self.counts.add(ReplicaOutcome::NoMark);
            return None;
        };
        let now = inner.cache.now();
        if !(self.late.allows(now) && self.down.allows(now)) {
            self.counts.add(ReplicaOutcome::Skipped);
            return None;
        }
        let asking = tokio::time::timeout(self.options.timeout, self.taken(inner, &floor, asked));
        let taken = asking.await.unwrap_or(Err((ReplicaOutcome::TimedOut, None)));
        self.ended(
            taken.as_ref().err().map(|(outcome, _)| *outcome),
            inner.cache.now(),
        );
        match taken {
            Ok(taken) => {
                self.counts.add(ReplicaOutcome::Used);
                Some(Used {
                    answered: taken.answered,
                    statements: taken.statements,
                    loaded: Loaded {
                        epoch: floor.epoch(),
                        version: taken.version,
                    },
                    floor: (!self.rules.trusts_what_is_behind()).then_some(floor),
                })
            }
            Err((outcome, why)) => {
                self.counts.add(outcome);
                let words = why.map_or_else(|| outcome.as_str().to_owned(), |why| why.to_string());
                tracing::debug!(
                    outcome = outcome.as_str(),
                    why = words,
                    "the replica was not used"
                );
                *self.trouble.lock() = Some(words);
                None
            }
        }
    }

    /// A load has ended, well if nothing is said.
    fn ended(&self, outcome: Option<ReplicaOutcome>, now: Tick) {
        let is_late = outcome.is_some_and(ReplicaOutcome::is_late);
        self.late.ended(!is_late, now);
        self.down.ended(outcome.is_none() || is_late, now);
    }

    /// What an answer has to include.
    fn floor(&self, inner: &Inner) -> Option<Mark<Version>> {
        let mark = inner.cache.mark()?;
        let is_known = mark.polled_at().as_micros() >= self.forgotten.load(Ordering::SeqCst);
        (is_known && Epoch(mark.epoch()) != OwnHistory::EPOCH).then_some(mark)
    }

    /// An answer that includes the floor, and that the primary has shown.
    async fn taken(&self, inner: &Inner, floor: &Mark<Version>, asked: Asked<'_>) -> Result<Taken, Refused> {
        let epoch = Epoch(floor.epoch());
        let mut looks = Looks::new(self.options.wait);
        let taken = loop {
            let why = match self.attempt(epoch, asked).await {
                Ok(taken) if self.reaches(floor, &taken.version) => break taken,
                Ok(_) => (ReplicaOutcome::Behind, None),
                Err(why) => may_pass(why)?,
            };
            self.catch_up(floor, &mut looks, why).await?;
        };
        self.shown(inner, floor.epoch(), &taken.version).await?;
        Ok(taken)
    }

    fn reaches(&self, floor: &Mark<Version>, version: &Version) -> bool {
        version.includes(floor.version()) || self.rules.trusts_what_is_behind()
    }

    async fn attempt(&self, epoch: Epoch, asked: Asked<'_>) -> Result<Taken, Unused> {
        match asked {
            Asked::All(tenant, questions) => {
                let answers = self.replica.ask_all(epoch, tenant, questions).await?;
                let (_, version) = answers.version.ok_or(Unused::Blurred)?;
                Ok(Taken {
                    answered: Answered::All(answers.found),
                    statements: answers.statements,
                    version,
                })
            }
            Asked::Traversal(tenant, expand) => {
                let (mut snapshot, version) = self.replica.snapshot(epoch).await?;
                let found = snapshot.traverse(tenant, expand).await?;
                Ok(Taken {
                    answered: Answered::Traversal(found),
                    statements: snapshot.statements(),
                    version,
                })
            }
        }
    }

    /// Waits until the replica includes the floor; `why` is what is wrong with it so far.
    async fn catch_up(
        &self,
        floor: &Mark<Version>,
        looks: &mut Looks,
        mut why: Refused,
    ) -> Result<(), Refused> {
        loop {
            looks.pause().await.ok_or(why)?;
            why = match self.replica.state(Epoch(floor.epoch())).await {
                Ok(version) if version.includes(floor.version()) => return Ok(()),
                Ok(_) => (ReplicaOutcome::Behind, None),
                Err(why) => may_pass(why)?,
            };
        }
    }

    /// Waits until the primary has shown a state.
    async fn shown(&self, inner: &Inner, epoch: u64, version: &Version) -> Result<(), Refused> {
        let until = Instant::now() + self.options.wait;
        loop {
            let mark = inner.cache.mark().ok_or((ReplicaOutcome::NoMark, None))?;
            if mark.epoch() != epoch {
                return Err((ReplicaOutcome::History, None));
            }
            if mark.version().includes(version) || self.rules.trusts_what_is_ahead() {
                return Ok(());
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || !inner.follow.polls.fresh(left).await {
                return Err((ReplicaOutcome::Ahead, None));
            }
        }
    }
}

/// What may be another a moment later: the replica has to come to the row with the epoch's name, or to tell what it shows.
///
/// # Errors
/// What will be the same.
fn may_pass(why: Unused) -> Result<Refused, Refused> {
    match why {
        Unused::Blurred | Unused::History => Ok(refused(why)),
        why => Err(refused(why)),
    }
}

/// Pauses between looks, for a bounded time from the first on.
struct Looks {
    wait: Duration,
    until: Option<Instant>,
    next: Duration,
}

impl Looks {
    fn new(wait: Duration) -> Self {
        Self {
            wait,
            until: None,
            next: LOOK,
        }
    }

    /// Nothing when the time is over.
    async fn pause(&mut self) -> Option<()> {
        let now = Instant::now();
        let until = *self.until.get_or_insert(now + self.wait);
        let left = until.checked_duration_since(now).filter(|left| !left.is_zero())?;
        tokio::time::sleep(self.next.min(left)).await;
        self.next *= 2;
        Some(())
    }
}
