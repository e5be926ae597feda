//! The way of one question: mark, look-up, and on a miss one load that everybody who asks meanwhile shares.
//!
//! The mark is read before the look-up, because the feed drops entries before it raises the mark: whoever reads a mark
//! finds nothing afterwards that a change below it touches (see [`Coherent::mark`](ci_cache_core::coherence::Coherent::mark)).
//!
//! What only a miss does is boxed: a future is moved several times before it is polled, and one of a hit that has room for a miss as well
//! takes longer to move than to answer.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ci_cache_core::ci::CiPublication;
use ci_cache_core::coherence::{Loaded, Mark, Published};
use ci_cache_core::{Lookup, Outcome, Tick};
use ci_model::{Epoch, Key, Question, TenantId, Version};
use tracing::Instrument;

use crate::answer::{Answer, Cached, Source, Traced};
use crate::reading::{Place, Read};
use crate::runner::{Entry, Inner, Lead};
use crate::through::{Passed, PassedLead};
use crate::tier::{self, Tried};
use crate::watch::Asked;
use crate::{Error, Level, Result, Tenant};
use crate::{gather, latency, reading, record, traverse};

/// A waiter whose answer turned out too old looks up again so often; then it loads past the cache.
const TRIES: usize = 4;

impl Tenant {
    /// Answers a question at this view's level: from the cache, from a load that is under way, or by loading.
    pub(crate) async fn answer(&self, question: &Question) -> Result<Answer<Cached>> {
        let (kind, measured) = (question.kind(), latency::sampled());
        self.recorded(record::Form::One, std::slice::from_ref(question));
        let answer = self.uncounted(question).await;
        if let (Some(began), Ok(answer)) = (measured, &answer) {
            self.inner().times.answered(began, answer.source);
        }
        self.count_one(kind, &answer);
        answer
    }

    /// The same for a question that its caller counts.
    pub(crate) async fn uncounted(&self, question: &Question) -> Result<Answer<Cached>> {
        let key = Key::new(self.id(), question);
        let inner = self.inner();
        inner.follow.ask(inner.cache.now());
        if self.bypasses(question.kind()) {
            let passed = Box::pin(load_past(inner, self.id(), Arc::new(question.clone()), None)).await?;
            return Ok(inner.passed(&passed, Source::Bypass));
        }
        for _ in 0..TRIES {
            let Some(mark) = inner.footing(self.level()).await else {
                break;
            };
            match inner.cache.lookup(self.id(), &key, question) {
                Lookup::Hit(found) => {
                    let age = inner.cache.age(&found);
                    return Ok(inner.hit(&mark, &found.value, age));
                }
                Lookup::Stale(found, leader) => {
                    if let Some(leader) = leader {
                        load_behind(inner, self.id(), question.clone(), leader);
                    }
                    let age = inner.cache.age(&found);
                    return Ok(inner.hit(&mark, &found.value, age).stale());
                }
                Lookup::Lead(leader) => {
                    let begun = inner.cache.now();
                    let got = Box::pin(inner.lead(self.id(), question.clone(), leader)).await?;
                    if got.serves(&mark) {
                        return Ok(inner.got(&mark, &got, begun));
                    }
                    // Another history began meanwhile.
                    inner.again.fetch_add(1, Ordering::Relaxed);
                }
                Lookup::Wait(waiter) => match waiter.await {
                    // The load may have begun long ago: what it saw must include what this caller may expect.
                    Outcome::Loaded(entry) if entry.is_as_new_as(&mark) => {
                        return Ok(inner.hit(&mark, &entry, Duration::ZERO).coalesced());
                    }
                    Outcome::Failed(error) => return Err(error),
                    Outcome::Fallback { value, .. } => {
                        return Ok(inner.hit(&mark, &value, Duration::ZERO).coalesced().stale());
                    }
                    // Too old, or the loader's task was lost; whoever looks up next leads.
                    _ => {
                        inner.again.fetch_add(1, Ordering::Relaxed);
                    }
                },
            }
        }
        Box::pin(self.answer_past(&key, question)).await
    }

    /// Answers from the database, sharing loads with whoever can use the same.
    async fn answer_past(&self, key: &Key, question: &Question) -> Result<Answer<Cached>> {
        let inner = self.inner();
        inner.through.add();
        let question = Arc::new(question.clone());
        let (asked, written) = (inner.cache.now(), inner.follow.written());
        match inner.through.join(key) {
            Lookup::Lead(leader) => {
                let passed = load_past(inner, self.id(), question, Some(leader)).await?;
                return Ok(inner.passed(&passed, Source::Miss));
            }
            Lookup::Wait(waiter) => {
                if let Outcome::Loaded(passed) = waiter.await
                    && serves(self.level(), &passed, (asked, written))
                {
                    return Ok(inner.passed(&passed, Source::Coalesced));
                }
            }
            Lookup::Hit(_) | Lookup::Stale(..) => {}
        }
        let passed = load_past(inner, self.id(), question, None).await?;
        Ok(inner.passed(&passed, Source::Miss))
    }
}

/// The state at which an entry, found after a mark was read, is true, and which has all that the mark has.
///
/// ```text
/// primary shows 102, then 100; its log has 100 before 102
/// a mark of this node            another node's load of a standby, in the shared tier
/// 102, not 100                   100, not 102
/// ```
///
/// What is found is true at both together: no change up to the mark touches it. Who asked for an answer that includes 102 is told that it does.
fn as_of<'a>(mark: &'a Mark<Version>, entry: &'a Entry) -> (u64, Cow<'a, Version>) {
    let (epoch, version) = mark.as_of(entry);
    let is_marks = std::ptr::eq(version, mark.version());
    if is_marks || epoch != mark.epoch() || version.includes(mark.version()) {
        return (epoch, Cow::Borrowed(version));
    }
    let both = version.union(mark.version());
    (epoch, both.map_or(Cow::Borrowed(version), Cow::Owned))
}

/// Tells whether an answer keeps a level's promise to somebody who asked at a moment, when the last write of this runner had
/// returned. Its load may have begun earlier.
///
/// ```text
/// one reader                     a writer                     another reader, Cached
/// begins to load the old row
///                                commits, returns
///                                                             joins the load: it must not see the old row
/// ```
fn serves(level: &Level, passed: &Passed, (asked, written): (Tick, Tick)) -> bool {
    match level {
        Level::Cached { max_lag } => {
            asked.saturating_since(passed.begun) <= *max_lag
                && (passed.begun > written || written == Tick::default())
        }
        Level::AtLeast(token) => {
            token.epoch == Epoch(passed.loaded.epoch) && passed.loaded.version.includes(&token.version)
        }
        Level::Strong | Level::Bypass => passed.begun > asked,
    }
}

impl Inner {
    /// Loads for all who wait.
    async fn lead(self: &Arc<Self>, tenant: &TenantId, question: Question, leader: Lead) -> Result<Got> {
        match question {
            Question::Get(get) => gather::load(self, tenant, get, leader).await,
            Question::Expand(expand) if self.prime => {
                traverse::load_primed(self, tenant, expand, leader).await
            }
            question => load_in_task(self, tenant, question, leader).await,
        }
    }

    /// The mark that hits may be served by at a level; none when memory cannot keep the promise.
    ///
    /// Waits for one poll of the feed where that may help: a poll costs less than most loads, and is shared.
    pub(crate) async fn footing(&self, level: &Level) -> Option<Mark<Version>> {
        if let Some(mark) = self.cache.mark().filter(|mark| self.suffices(level, mark)) {
            return Some(mark);
        }
        if !self.follow.has_feed() || !Box::pin(self.follow.polls.fresh(self.follow.pace.patience)).await {
            return None;
        }
        // That poll began after the call: all that was acknowledged before is in its mark, whatever the level.
        self.cache.mark()
    }

    fn suffices(&self, level: &Level, mark: &Mark<Version>) -> bool {
        if !self.follow.has_feed() {
            // All that can be known is this runner's own writes, and the mark has those.
            return matches!(level, Level::Cached { .. });
        }
        match level {
            Level::Cached { max_lag } => self.lag(mark) <= *max_lag,
            Level::AtLeast(token) => {
                token.epoch == Epoch(mark.epoch()) && mark.version().includes(&token.version)
            }
            Level::Strong | Level::Bypass => false,
        }
    }

    pub(crate) fn hit(&self, mark: &Mark<Version>, entry: &Entry, age: Duration) -> Answer<Cached> {
        let (epoch, version) = as_of(mark, entry);
        Answer {
            value: entry.value().answer().clone(),
            source: Source::Hit,
            age,
            as_of: Inner::token(epoch, &version),
            lag: self.follow.has_feed().then(|| self.lag(mark)),
            stale: false,
        }
    }

    /// What a load gave, for whoever read the mark before it looked up.
    pub(crate) fn got(&self, mark: &Mark<Version>, got: &Got, begun: Tick) -> Answer<Cached> {
        match got {
            Got::Loaded(entry) => self.loaded_now(entry, Source::Miss, begun),
            // Of a replica: it includes the mark, and who knows what came later.
            Got::Copied(entry) => self.hit(mark, entry, Duration::ZERO).missed(),
            Got::Shared(entry) => self.hit(mark, entry, Duration::ZERO).shared(),
            // It was there after the mark was read, so no change up to the mark affects it.
            Got::Fallback(entry) => self.hit(mark, entry, Duration::ZERO).stale(),
        }
    }

    fn loaded_now(&self, entry: &Entry, source: Source, begun: Tick) -> Answer<Cached> {
        Answer {
            value: entry.value().answer().clone(),
            source,
            age: Duration::ZERO,
            as_of: Inner::token(entry.epoch(), entry.version()),
            lag: Some(self.cache.now().saturating_since(begun)),
            stale: false,
        }
    }

    fn passed(&self, passed: &Passed, source: Source) -> Answer<Cached> {
        Answer {
            value: passed.value.clone(),
            source,
            age: Duration::ZERO,
            as_of: Inner::token(passed.loaded.epoch, &passed.loaded.version),
            lag: Some(self.cache.now().saturating_since(passed.begun)),
            stale: false,
        }
    }

    /// Ends a load: those who wait get it, and the cache keeps it unless a change overtook it.
    pub(crate) fn publish(
        &self,
        leader: Lead,
        tenant: &TenantId,
        question: Question,
        answer: Traced,
        loaded: Loaded<Version>,
    ) -> Result<Entry> {
        let question = Arc::new(question);
        let Some(dependency) = answer.dependency(tenant, Arc::clone(&question)) else {
            leader.fail(Error::WrongKind);
            return Err(Error::WrongKind);
        };
        let CiPublication { entry, ending } =
            self.cache
                .publish(leader, &question, answer.value, loaded, dependency);
        if let (Some(shared), Published::Kept) = (&self.tier, ending) {
            shared.offer(Key::new(tenant, &question), tenant, &entry);
        }
        Ok(entry)
    }
}

/// What a load gave.
#[derive(Debug)]
pub(crate) enum Got {
    /// What it read, at a state of its beginning or later.
    Loaded(Entry),
    /// What it read of a replica, at a state that includes the mark of its beginning.
    Copied(Entry),
    /// What the shared tier had, and is true.
    Shared(Entry),
    /// It failed, and this is the answer from before, past its time to live.
    Fallback(Entry),
}

impl Got {
    /// What was read and published, of the primary or of a replica.
    pub(crate) fn read(entry: Entry, floor: Option<&Mark<Version>>) -> Self {
        match floor {
            None => Self::Loaded(entry),
            Some(_) => Self::Copied(entry),
        }
    }

    /// Tells whether it is what somebody may be given who read this mark before the look-up.
    pub(crate) fn serves(&self, mark: &Mark<Version>) -> bool {
        match self {
            Self::Loaded(_) | Self::Fallback(_) => true,
            Self::Shared(entry) | Self::Copied(entry) => entry.is_as_new_as(mark),
        }
    }
}

/// Ends a load that failed.
///
/// # Errors
/// The load's, unless there is an answer to fall back on.
pub(crate) fn failed(leader: Lead, error: Error) -> Result<Got> {
    match leader.fail(error.clone()) {
        Some(entry) => Ok(Got::Fallback(entry)),
        None => Err(error),
    }
}

/// Loads again, behind somebody who was given what was there. An error has been told to those who wait for the load; there is nobody
/// else to tell.
fn load_behind(inner: &Arc<Inner>, tenant: &TenantId, question: Question, leader: Lead) {
    let (inner, tenant) = (Arc::clone(inner), tenant.clone());
    let task = async move {
        let _told = match question {
            Question::Get(get) => gather::load(&inner, &tenant, get, leader).await,
            question => load_in_task(&inner, &tenant, question, leader).await,
        };
    };
    tokio::spawn(task.in_current_span());
}

/// Loads in a task of its own, so that a caller who goes away takes neither the load from those who wait for it nor a
/// database connection in the middle of a statement.
async fn load_in_task(
    inner: &Arc<Inner>,
    tenant: &TenantId,
    question: Question,
    leader: Lead,
) -> Result<Got> {
    let (inner, tenant) = (Arc::clone(inner), tenant.clone());
    let task = async move {
        let (question, leader, _held) = match tier::read_one(&inner, &tenant, question, leader).await {
            Tried::Used(entry) => return Ok(Got::Shared(entry)),
            Tried::Missing(question, leader, held) => (question, leader, held),
        };
        match load(&inner, &tenant, &question, Place::Any).await {
            Ok(Read { found, loaded, floor }) => inner
                .publish(leader, &tenant, question, found, loaded)
                .map(|entry| Got::read(entry, floor.as_ref())),
            Err(error) => failed(leader, error),
        }
    };
    // A panic drops the leader, which wakes the waiters; one of them loads again.
    tokio::spawn(task.in_current_span())
        .await
        .unwrap_or_else(|lost| Err(Error::lost(&lost)))
}

/// Loads past the cache, in a task of its own for the same reasons.
pub(crate) async fn load_past(
    inner: &Arc<Inner>,
    tenant: &TenantId,
    question: Arc<Question>,
    leader: Option<PassedLead>,
) -> Result<Arc<Passed>> {
    let (inner, tenant) = (Arc::clone(inner), tenant.clone());
    let task = async move {
        let begun = inner.cache.now();
        match load(&inner, &tenant, &question, Place::Primary).await {
            Ok(Read { found, loaded, .. }) => {
                let passed = Arc::new(Passed {
                    value: found.value,
                    loaded,
                    begun,
                });
                if let Some(leader) = leader {
                    leader.answer(Arc::clone(&passed));
                }
                Ok(passed)
            }
            Err(error) => {
                if let Some(leader) = leader {
                    leader.fail(error.clone());
                }
                Err(error)
            }
        }
    };
    tokio::spawn(task.in_current_span())
        .await
        .unwrap_or_else(|lost| Err(Error::lost(&lost)))
}

/// Asks the store.
async fn load(inner: &Inner, tenant: &TenantId, question: &Question, place: Place) -> Result<Read<Traced>> {
    let questions = std::slice::from_ref(question);
    let read = reading::ask_all(inner, tenant, Asked::One(question), questions, place).await?;
    let answer = read.found.into_iter().next().map(Traced::from);
    Ok(Read {
        found: answer.ok_or(Error::WrongKind)?,
        loaded: read.loaded,
        floor: read.floor,
    })
}
