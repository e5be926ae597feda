//! The auditor: cached answers are loaded again now and then, and a difference that no change explains is a proven defect.
//!
//! ```text
//! auditor                                   feed
//! reads the mark, then the entry: it is
//! what the cache says is true at A
//! loads the same question: true at B
//! differs; waits for a poll that begins now
//!                                           applies every change up to B, drops what they touch
//! a change after A touches it, and it is
//! gone: that is why. Else the cache would
//! go on serving it as true at B: a defect
//! ```
//!
//! What has not been settled proves nothing and is counted apart: another history began, the feed is behind, the log of changes does not reach
//! back to A. Answers that agreed are held for a while; when a change has dropped one, it is loaded again, which tells how often drops were
//! needed ([`AuditReport::precision`]).

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use ci_cache_core::coherence::{Loaded, Published};
use ci_model::{Key, Question, QuestionKind, TenantId, Token, Version};
use parking_lot::Mutex;

use crate::answer::Traced;
use crate::load::load_past;
use crate::runner::{Entry, Inner};
use crate::{Result, Runner};

/// Entries that samples are drawn from at a time: those that were used last, which are what is served.
const DRAWN: usize = 1_000;
/// Answers that are held until a change drops them, at most.
const HELD: usize = 64;
/// Violations that are remembered.
const REMEMBERED: usize = 16;

/// Errors in a row after which it is given up.
const MOST_ERRORS: usize = 10;
/// What a load that failed proves.
const FAILED: Audited = Audited::Unsettled("the load failed");

/// How one audit ended.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Audited {
    /// The database answers the same.
    Same,
    /// The database answers something else, and a change that touches the answer came between.
    Changed,
    /// The cache's answer is wrong.
    Violation(Violation),
    /// A change had dropped the answer; says whether the database answers something else since.
    Drop {
        /// Whether the drop was needed.
        changed: bool,
    },
    /// Nothing is proven; says why.
    Unsettled(&'static str),
    /// There is nothing to audit.
    Nothing,
}

/// An answer that was wrong. It was dropped as soon as that was known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Violation {
    /// The entry's key as [`entries`](Runner::entries) shows it.
    pub key: String,
    /// Whose answer it was.
    pub tenant: TenantId,
    /// The kind of question.
    pub kind: QuestionKind,
    /// The state at which the cache said that it was true.
    pub as_of: Option<Token>,
    /// The state at which the database answered something else.
    pub loaded: Option<Token>,
    /// What went wrong, in words.
    pub why: &'static str,
}

/// What audits have found since the runner was built.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct AuditReport {
    /// Cached answers that the database confirmed.
    pub same: u64,
    /// Those that a recorded change had overtaken meanwhile.
    pub changed: u64,
    /// Those that were wrong.
    pub violations: u64,
    /// Audits that proved nothing.
    pub unsettled: u64,
    /// Dropped answers that were loaded again.
    pub drops: u64,
    /// Those of them that had really changed.
    pub drops_changed: u64,
    /// The latest violations, the latest last.
    pub latest: Vec<Violation>,
}

impl AuditReport {
    /// Cached answers that were compared with the database, and settled.
    pub fn checked(&self) -> u64 {
        self.same + self.changed + self.violations
    }

    /// The share of the sampled drops that were needed, since the answer had changed; none before the first.
    #[expect(clippy::cast_precision_loss, reason = "a share")]
    pub fn precision(&self) -> Option<f64> {
        (self.drops > 0).then(|| self.drops_changed as f64 / self.drops as f64)
    }
}

/// What all auditors of a runner count.
#[derive(Debug, Default)]
pub(crate) struct Audits {
    same: AtomicU64,
    changed: AtomicU64,
    violations: AtomicU64,
    unsettled: AtomicU64,
    drops: AtomicU64,
    drops_changed: AtomicU64,
    latest: Mutex<VecDeque<Violation>>,
}

impl Audits {
    fn count(&self, audited: &Audited) {
        let counter = match audited {
            Audited::Same => &self.same,
            Audited::Changed => &self.changed,
            Audited::Violation(violation) => {
                let mut latest = self.latest.lock();
                if latest.len() >= REMEMBERED {
                    latest.pop_front();
                }
                latest.push_back(violation.clone());
                &self.violations
            }
            Audited::Drop { changed } => {
                self.drops_changed.fetch_add(u64::from(*changed), Relaxed);
                &self.drops
            }
            Audited::Unsettled(_) => &self.unsettled,
            Audited::Nothing => return,
        };
        counter.fetch_add(1, Relaxed);
    }

    fn report(&self) -> AuditReport {
        AuditReport {
            same: self.same.load(Relaxed),
            changed: self.changed.load(Relaxed),
            violations: self.violations.load(Relaxed),
            unsettled: self.unsettled.load(Relaxed),
            drops: self.drops.load(Relaxed),
            drops_changed: self.drops_changed.load(Relaxed),
            latest: self.latest.lock().iter().cloned().collect(),
        }
    }
}

impl Runner {
    /// An auditor of this runner's answers. Its audits count as loads, and as nobody's requests.
    pub fn auditor(&self) -> Auditor {
        Auditor {
            runner: self.clone(),
            drawn: Vec::new(),
            held: VecDeque::new(),
            looks_at_drops: false,
        }
    }

    /// What audits have found, whichever auditor made them.
    pub fn audits(&self) -> AuditReport {
        self.inner().audits.report()
    }
}

/// An answer as the cache had it.
#[derive(Debug)]
struct Sample {
    key: Key,
    tenant: TenantId,
    question: Question,
    entry: Entry,
    /// The state at which the cache said that it was true.
    claimed: Loaded<Version>,
}

/// Samples cached answers, one audit at a time; how often is its owner's affair. It holds up to 64 answers that the cache may have let go of,
/// and a handle of the runner.
#[derive(Debug)]
pub struct Auditor {
    runner: Runner,
    /// Keys of entries to be looked at, in no order.
    drawn: Vec<Key>,
    /// Answers that agreed, the longest held first.
    held: VecDeque<Sample>,
    looks_at_drops: bool,
}

impl Auditor {
    /// Audits one answer: every other time one that a change has dropped, if one of those that are held was.
    ///
    /// Cost: one load, at most; a wait for a poll of the feed when the answers differ; now and then a copy of the keys of 1,000 entries.
    /// Cancel safe: the load goes on, the sample is lost.
    ///
    /// # Errors
    /// Of the load. It is counted as not settled.
    pub async fn audit(&mut self) -> Result<Audited> {
        let inner = Arc::clone(self.runner.inner());
        if !inner.follow.has_feed() {
            return Ok(Audited::Nothing);
        }
        self.looks_at_drops = !self.looks_at_drops;
        let dropped = if self.looks_at_drops { self.dropped() } else { None };
        let audited = match dropped {
            Some(sample) => audit_drop(&inner, &sample).await,
            None => self.audit_hit(&inner).await,
        };
        inner.audits.count(audited.as_ref().unwrap_or(&FAILED));
        audited
    }

    /// Audits so many answers, one after the other, and tells what these audits found. Ends earlier when there is nothing to audit, and after
    /// 10 loads in a row that failed: a database in trouble has enough to do.
    ///
    /// Cancel safe: what was found until then is in [`Runner::audits`].
    pub async fn audit_many(&mut self, reads: usize) -> AuditReport {
        let (found, mut in_a_row) = (Audits::default(), 0);
        for _ in 0..reads {
            match self.audit().await {
                Ok(Audited::Nothing) => break,
                Ok(audited) => {
                    in_a_row = 0;
                    found.count(&audited);
                }
                Err(error) => {
                    in_a_row += 1;
                    found.count(&FAILED);
                    tracing::debug!(%error, "an answer was not audited");
                    if in_a_row >= MOST_ERRORS {
                        break;
                    }
                }
            }
        }
        found.report()
    }

    async fn audit_hit(&mut self, inner: &Arc<Inner>) -> Result<Audited> {
        let Some(sample) = self.draw() else {
            return Ok(Audited::Nothing);
        };
        let audited = audit(inner, &sample).await?;
        match &audited {
            Audited::Same => {
                if self.held.len() >= HELD {
                    self.held.pop_front();
                }
                self.held.push_back(sample);
            }
            Audited::Violation(violation) => {
                // It must not be served on, nor come back from where the fleet shares it: the log that would have to disprove it is what failed.
                inner.forget_elsewhere();
                inner.cache.invalidate(&sample.key);
                if let Some(shared) = &inner.tier {
                    shared.withdraw(&violation.tenant, &sample.key);
                }
                tracing::error!(
                    key = violation.key,
                    tenant = %violation.tenant,
                    kind = violation.kind.as_str(),
                    as_of = violation.as_of.as_ref().map(ToString::to_string),
                    loaded = violation.loaded.as_ref().map(ToString::to_string),
                    why = violation.why,
                    "an audit found a wrong answer in the cache"
                );
            }
            _ => {}
        }
        Ok(audited)
    }

    /// Takes a sample of what is cached now; none when there is nothing, or nobody knows what is true.
    fn draw(&mut self) -> Option<Sample> {
        if self.drawn.is_empty() {
            let entries = self.runner.inner().cache.entries_with_keys(DRAWN);
            self.drawn = entries.into_iter().map(|(key, _)| key).collect();
            // Hashes of a new seed are as good as dice.
            let dice = RandomState::new();
            self.drawn.sort_by_cached_key(|key| dice.hash_one(key.as_bytes()));
        }
        while let Some(key) = self.drawn.pop() {
            if let Some(sample) = sample(self.runner.inner(), key) {
                return Some(sample);
            }
        }
        None
    }

    /// Takes one of the held answers that a change has dropped; lets go of those that left for another reason.
    fn dropped(&mut self) -> Option<Sample> {
        let inner = self.runner.inner();
        let mut still = VecDeque::with_capacity(self.held.len());
        let mut found = None;
        while let Some(held) = self.held.pop_front() {
            if found.is_some() || inner.is_served(&held) {
                still.push_back(held);
            } else if matches!(inner.since(&held), Err(Published::Overtaken(_))) {
                found = Some(held);
            }
        }
        self.held = still;
        found
    }
}

/// Reads the mark, and then the entry.
fn sample(inner: &Inner, key: Key) -> Option<Sample> {
    let (tenant, question) = Key::read(key.as_bytes())?;
    let mark = inner.cache.mark()?;
    let entry = inner.cache.peek(&key)?;
    let (epoch, version) = mark.as_of(&entry);
    let claimed = Loaded {
        epoch,
        version: version.clone(),
    };
    Some(Sample {
        key,
        tenant,
        question,
        entry,
        claimed,
    })
}

impl Inner {
    /// Whether the cache has this very entry still.
    fn is_served(&self, sample: &Sample) -> bool {
        let now = self.cache.peek(&sample.key);
        now.is_some_and(|now| Arc::ptr_eq(&now, &sample.entry))
    }

    /// Whether a change since the state of a sample touches it, as far as changes were applied.
    fn since(&self, sample: &Sample) -> std::result::Result<(), Published<crate::Reason>> {
        let traced = Traced {
            value: sample.entry.value().answer().clone(),
            // What a path search came by is not known any more: without it more counts as a change of the answer.
            visited: None,
        };
        let question = Arc::new(sample.question.clone());
        let dependency = traced
            .dependency(&sample.tenant, question)
            .ok_or(Published::Unfiled)?;
        self.cache.check(&sample.claimed, dependency)
    }
}

/// Loads what the cache has, and judges the difference.
async fn audit(inner: &Arc<Inner>, sample: &Sample) -> Result<Audited> {
    let question = Arc::new(sample.question.clone());
    let passed = load_past(inner, &sample.tenant, question, None).await?;
    let (claimed, loaded) = (&sample.claimed, &passed.loaded);
    if loaded.epoch != claimed.epoch || !loaded.version.includes(&claimed.version) {
        return Ok(Audited::Unsettled(
            "another history began, or an older state was loaded",
        ));
    }
    if passed.value == *sample.entry.value().answer() {
        return Ok(Audited::Same);
    }
    // A poll that begins now applies all that the load saw.
    if !inner.follow.polls.fresh(inner.follow.pace.patience).await {
        return Ok(Audited::Unsettled("the feed is behind"));
    }
    let covers = |epoch, version: &Version| epoch == loaded.epoch && version.includes(&loaded.version);
    if !inner
        .cache
        .mark()
        .is_some_and(|mark| covers(mark.epoch(), mark.version()))
    {
        return Ok(Audited::Unsettled("nobody knows what the feed has shown"));
    }
    // After the mark was read: what is found now, the cache says to be true at what was loaded.
    let why = match (inner.is_served(sample), inner.since(sample)) {
        (false, Err(Published::Overtaken(_))) => return Ok(Audited::Changed),
        (false, Err(_)) => return Ok(Audited::Unsettled("the log of changes does not reach back")),
        (true, Err(Published::Overtaken(_))) => "a change that touches it did not drop it",
        (true, Err(_)) | (_, Ok(())) => "no change that touches it was applied",
    };
    Ok(Audited::Violation(Violation {
        key: sample.key.short(),
        tenant: sample.tenant.clone(),
        kind: sample.question.kind(),
        as_of: Inner::token(claimed.epoch, &claimed.version),
        loaded: Inner::token(loaded.epoch, &loaded.version),
        why,
    }))
}

/// Loads what a change has dropped, and tells whether it was right to.
async fn audit_drop(inner: &Arc<Inner>, sample: &Sample) -> Result<Audited> {
    let question = Arc::new(sample.question.clone());
    let passed = load_past(inner, &sample.tenant, question, None).await?;
    if passed.loaded.epoch != sample.claimed.epoch {
        return Ok(Audited::Unsettled("another history began"));
    }
    let changed = passed.value != *sample.entry.value().answer();
    Ok(Audited::Drop { changed })
}
