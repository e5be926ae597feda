//! What a runner knows of its shared tier.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ci_cache_core::ci::Rows as _;
use ci_cache_core::coherence::Mark;
use ci_cache_core::{Clock, Tick};
use ci_model::{Fingerprint, Key, TenantId, Version};
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::doorbell::Doorbell;
use super::stats::{Counts, TierOutcome as Outcome, add};
use super::write::{Job, Known};
use super::{Tier, TierError, TierKey, TierOptions, TierRules, TierStats};
use crate::breaker::Breaker;
use crate::encoding::PROGRAM;
use crate::metrics;
use crate::runner::{Entry, Inner};

/// The tier, and what holds for asking it.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) tier: Arc<dyn Tier>,
    pub(super) options: TierOptions,
    pub(super) rules: TierRules,
    pub(super) counts: Counts,
    /// The runner's, for what is measured.
    name: Arc<str>,
    clock: Arc<dyn Clock>,
    breaker: Breaker,
    trouble: Mutex<Option<String>>,
    pub(super) doorbell: Doorbell,
    /// When answers were forgotten by hand last.
    forgotten: Mutex<Forgotten>,
    /// How often that was.
    times: AtomicU64,
    /// Whether a later state of the database is to be made because of that, and whether somebody sees to it.
    unsettled: AtomicBool,
    is_settling: AtomicBool,
    /// What is to be written in the background. Ends with the last of these.
    pub(super) jobs: mpsc::Sender<Job>,
    /// Bytes of the answers in that queue, which live on in it when the cache has let go of them.
    queued: AtomicUsize,
}

/// Most bytes of answers that wait to be written; one that is larger still may wait alone.
const QUEUED: usize = 64 << 20;

/// So often it is tried to make a later state after answers were forgotten by hand, and so long after one another.
const TRIES: u32 = 30;
const PAUSE: Duration = Duration::from_secs(1);

/// The state up to which answers were forgotten by hand.
#[derive(Debug, Default)]
enum Forgotten {
    /// None ever were.
    #[default]
    Never,
    /// They were at this moment. Loads run ahead of the mark, so no state is known yet that includes all that they saw: it is that of the first poll
    /// that began later.
    ///
    /// ```text
    /// feed task                a reader                     somebody
    /// polls: the mark is 7
    ///                          loads at 9, shares it
    ///                                                       forgets: what was loaded at 7 or before would leave out the 9
    /// polls: the mark is 10    ...
    /// ```
    ///
    /// Which time it was is told by its number: a clock may stand still meanwhile.
    Since(Tick, u64),
    /// All that was loaded at a state of this history that is not later.
    At(u64, Version),
}

/// Why a call gave nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Failed,
    TimedOut,
    Skipped,
}

impl From<Refused> for Outcome {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Failed => Self::Failed,
            Refused::TimedOut => Self::TimedOut,
            Refused::Skipped => Self::Skipped,
        }
    }
}

impl Shared {
    /// Puts it together; what is to be written comes out of the other end.
    pub(crate) fn new(
        tier: Arc<dyn Tier>,
        options: TierOptions,
        rules: TierRules,
        (clock, name): (Arc<dyn Clock>, Arc<str>),
    ) -> (Self, mpsc::Receiver<Job>) {
        let (jobs, to_do) = mpsc::channel(options.queue);
        let shared = Self {
            tier,
            options,
            rules,
            counts: Counts::default(),
            name,
            clock,
            breaker: Breaker::default(),
            trouble: Mutex::default(),
            doorbell: Doorbell::default(),
            forgotten: Mutex::default(),
            times: AtomicU64::new(0),
            unsettled: AtomicBool::new(false),
            is_settling: AtomicBool::new(false),
            jobs,
            queued: AtomicUsize::new(0),
        };
        (shared, to_do)
    }

    /// The name of a question's value. It tells versions of this program apart, so that nodes of two do not displace each other's; and
    /// should two questions share one, the key in the value tells.
    pub(super) fn name(tenant: &TenantId, key: &Key) -> TierKey {
        let mut bytes = PROGRAM.as_bytes().to_vec();
        bytes.push(0);
        bytes.extend_from_slice(key.as_bytes());
        TierKey::new(Some(tenant.clone()), Fingerprint::of(&bytes).to_string())
    }

    /// What a call may take that has to end by then, and is waited for.
    pub(super) fn left(&self, end: Instant) -> Duration {
        self.options
            .timeout
            .min(end.saturating_duration_since(Instant::now()))
    }

    /// Makes a call within a time, unless the tier is left alone.
    ///
    /// What is done in the background has more time than somebody who waits. That it ended well, but later than anybody would have waited, says
    /// neither that the tier works nor that it does not: a tier that is too slow to be asked stays left alone. Neither does it that a call did not
    /// end in what another had left of its time; a look that begins some microseconds late has all of it.
    pub(super) async fn call<T>(
        &self,
        within: Duration,
        call: impl Future<Output = Result<T, TierError>>,
    ) -> Result<T, Refused> {
        if !self.breaker.allows(self.clock.now()) {
            return Err(Refused::Skipped);
        }
        let began = Instant::now();
        let answered = tokio::time::timeout(within, call).await;
        let well = matches!(answered, Ok(Ok(_)));
        let result = match &answered {
            Ok(Ok(_)) => "ok",
            Ok(Err(_)) => "failed",
            Err(_) => "timed_out",
        };
        metrics::tier_called(&self.name, result, began.elapsed());
        let was_cut = answered.is_err() && within < self.options.timeout * 9 / 10;
        let was_late = well && began.elapsed() > self.options.timeout;
        if !was_cut && !was_late {
            self.breaker.ended(well, self.clock.now());
        }
        match answered {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the shared tier failed");
                self.note_trouble(error.to_string());
                Err(Refused::Failed)
            }
            Err(_) => {
                self.note_trouble("it did not answer in time".into());
                Err(Refused::TimedOut)
            }
        }
    }

    /// Something failed, in words for people.
    pub(super) fn note_trouble(&self, trouble: String) {
        *self.trouble.lock() = Some(trouble);
    }

    /// Has a kept answer written, if there is room for it in the queue.
    pub(crate) fn offer(&self, key: Key, tenant: &TenantId, entry: &Entry) {
        let bytes = entry.value().answer().bytes();
        let before = self.queued.fetch_add(bytes, Ordering::Relaxed);
        let has_room = before == 0 || before.saturating_add(bytes) <= QUEUED;
        let job = || Job::Put(tenant.clone(), key, Arc::clone(entry));
        if !has_room || self.jobs.try_send(job()).is_err() {
            self.queued.fetch_sub(bytes, Ordering::Relaxed);
            add(&self.counts.dropped, 1);
        }
    }

    /// An answer has come out of the queue.
    pub(super) fn taken(&self, entry: &Entry) {
        self.queued
            .fetch_sub(entry.value().answer().bytes(), Ordering::Relaxed);
    }

    /// Has a value deleted that is wrong and not to be used by any node, however long that takes.
    pub(crate) fn withdraw(&self, tenant: &TenantId, key: &Key) {
        delete_after(Duration::ZERO, self.jobs.clone(), Self::name(tenant, key));
    }

    /// Whether the tier is left alone until somebody who asks it finds that it works.
    pub(super) fn is_left_alone(&self) -> bool {
        self.breaker.is_open()
    }

    /// An answer of the tier is kept at a state; this node may confirm it from now on, if there is room for that in the queue.
    pub(super) fn adopt(&self, key: Key, kept: Version, loaded: Version) {
        let _too_much_to_do = self.jobs.try_send(Job::Adopted(key, Known { kept, loaded }));
    }

    /// Whether a call now would not be made.
    pub(super) fn is_skipped(&self) -> bool {
        self.breaker.skips(self.clock.now())
    }

    /// Has what changes dropped deleted, if there is room for it in the queue.
    pub(crate) fn dropped(&self) {
        let _too_much_to_do = self.jobs.try_send(Job::Dropped);
    }

    /// Where what is to be done in the background goes.
    pub(crate) fn jobs(&self) -> &mpsc::Sender<Job> {
        &self.jobs
    }

    /// Forgets what was loaded until this moment: it is not used any more on this node. What is loaded again at the very same state cannot be told from it
    /// and is not used either; [`settle_forgotten`] makes another one.
    ///
    /// Says whether nobody sees to that yet.
    #[must_use]
    pub(crate) fn forget(&self, now: Tick) -> bool {
        let mut forgotten = self.forgotten.lock();
        let number = self.times.fetch_add(1, Ordering::SeqCst) + 1;
        *forgotten = Forgotten::Since(now, number);
        drop(forgotten);
        self.unsettled.store(true, Ordering::SeqCst);
        !self.is_settling.swap(true, Ordering::SeqCst)
    }

    /// Outside of a runtime nobody can see to it: the next commit of somebody does, or the next who forgets.
    pub(crate) fn leave_unsettled(&self) {
        self.is_settling.store(false, Ordering::SeqCst);
    }

    /// With the first mark from after answers were forgotten by hand: what was loaded up to it is forgotten then.
    fn settle(&self, mark: &Mark<Version>) {
        let mut forgotten = self.forgotten.lock();
        if matches!(*forgotten, Forgotten::Since(at, _) if mark.polled_at() > at) {
            *forgotten = Forgotten::At(mark.epoch(), mark.version().clone());
        }
    }

    /// The same with a mark of a poll that began after the last of so many times: by the order of things, also where the clock has not moved since.
    fn settle_after(&self, times: u64, mark: &Mark<Version>) {
        let mut forgotten = self.forgotten.lock();
        if matches!(*forgotten, Forgotten::Since(_, number) if number <= times) {
            *forgotten = Forgotten::At(mark.epoch(), mark.version().clone());
        }
    }

    /// Tells whether an answer that was loaded at a state of the mark's history was forgotten by hand.
    pub(super) fn is_forgotten(&self, loaded: &Version, mark: &Mark<Version>) -> bool {
        self.settle(mark);
        match &*self.forgotten.lock() {
            Forgotten::Never => false,
            Forgotten::Since(..) => true,
            Forgotten::At(epoch, at) => *epoch == mark.epoch() && (loaded == at || !loaded.includes(at)),
        }
    }

    /// What was counted.
    pub(crate) fn stats(&self) -> TierStats {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = &self.counts;
        TierStats {
            kind: self.tier.kind(),
            reads: counts.reads(),
            written: load(&counts.written),
            refreshed: load(&counts.refreshed),
            dropped: load(&counts.dropped),
            over_budget: load(&counts.over_budget),
            unwritten: load(&counts.unwritten),
            deleted: load(&counts.deleted),
            rings_sent: load(&counts.rings_sent),
            rings_failed: load(&counts.rings_failed),
            rings_heard: load(&counts.rings_heard),
            is_listening: self.doorbell.is_listening(),
            is_open: self.breaker.is_open(),
            is_skipped: self.is_skipped(),
            waiting: self.jobs.max_capacity() - self.jobs.capacity(),
            waiting_bytes: self.queued.load(Ordering::Relaxed),
            trouble: self.trouble.lock().clone(),
        }
    }
}

/// Has a value deleted after a while, as soon as there is room for that in the queue, and behind all that is in it: the value may be, too.
pub(super) fn delete_after(pause: Duration, jobs: mpsc::Sender<Job>, name: TierKey) {
    tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        let _over = jobs.send(Job::Delete(name)).await;
    });
}

/// After something was forgotten by hand: finds the state up to which that is so, and has the database make a later one, lest all that is loaded while nobody writes
/// count as forgotten. If it cannot be done soon, the next commit of somebody does it. One task at a time, however much is forgotten meanwhile.
///
/// In this order: with a state that was made before the poll, the poll's state would be that one. A reader may find the state first; that one is not later.
///
/// Between two tries it does not keep the runner alive.
pub(crate) async fn settle_forgotten(runner: Weak<Inner>) {
    let mut tries = TRIES;
    loop {
        let Some(inner) = runner.upgrade() else { return };
        let Some(shared) = &inner.tier else { return };
        if !shared.unsettled.swap(false, Ordering::SeqCst) {
            shared.is_settling.store(false, Ordering::SeqCst);
            // Whoever forgot between the two saw that somebody sees to it.
            if !shared.unsettled.load(Ordering::SeqCst) || shared.is_settling.swap(true, Ordering::SeqCst) {
                return;
            }
            continue;
        }
        if settle_once(&inner, shared).await || tries == 0 || inner.follow.polls.is_closed() {
            continue;
        }
        tries -= 1;
        shared.unsettled.store(true, Ordering::SeqCst);
        drop(inner);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Says whether it is done.
async fn settle_once(inner: &Inner, shared: &Shared) -> bool {
    let times = shared.times.load(Ordering::SeqCst);
    if !inner.follow.polls.fresh(inner.follow.pace.patience).await {
        return false;
    }
    let Some(mark) = inner.cache.mark() else {
        return false;
    };
    shared.settle_after(times, &mark);
    match inner.store.advance().await {
        Ok(()) => true,
        Err(error) => {
            tracing::debug!(%error, "no later state was made after answers were forgotten");
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use ci_cache_core::ManualClock;

    use super::*;

    #[derive(Debug)]
    struct NoTier;

    #[async_trait::async_trait]
    impl Tier for NoTier {
        fn kind(&self) -> &'static str {
            "none"
        }
        async fn get(&self, _keys: &[TierKey]) -> Result<Vec<Option<Vec<u8>>>, TierError> {
            Ok(Vec::new())
        }
        async fn put(&self, _values: &[super::super::TierValue]) -> Result<(), TierError> {
            Ok(())
        }
        async fn delete(&self, _keys: &[TierKey]) -> Result<(), TierError> {
            Ok(())
        }
        async fn lease(&self, _key: &TierKey, _length: Duration) -> Result<bool, TierError> {
            Ok(true)
        }
    }

    /// An answer that comes after so long.
    async fn after(wait: Duration) -> Result<(), TierError> {
        let _over = tokio::time::timeout(wait, std::future::pending::<()>()).await;
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn the_rest_of_a_time_is_no_measure_of_the_tier() {
        let (clock, options) = (Arc::new(ManualClock::new()), TierOptions::new());
        let wait = options.timeout;
        let (shared, _jobs) = Shared::new(
            Arc::new(NoTier),
            options,
            TierRules::Kept,
            (clock as Arc<dyn Clock>, "main".into()),
        );
        // A look that takes most of the time, and a lease that gets what is left of it.
        for _ in 0..10 {
            let end = Instant::now() + wait;
            assert!(shared.call(shared.left(end), after(wait * 4 / 5)).await.is_ok());
            let began = Instant::now();
            let taken = shared.call(shared.left(end), after(wait * 4 / 5)).await;
            assert_eq!(taken, Err(Refused::TimedOut));
            assert_eq!(
                began.elapsed(),
                wait / 5,
                "nobody waits longer than the time for both"
            );
            let taken = shared.call(shared.left(end), after(wait * 4 / 5)).await;
            assert_eq!(taken, Err(Refused::TimedOut));
        }
        assert!(!shared.is_left_alone());
        // Between the beginning of a read and its call some time goes by.
        for _ in 0..3 {
            let end = Instant::now() + wait - Duration::from_micros(300);
            assert!(shared.call(shared.left(end), after(wait * 2)).await.is_err());
        }
        assert!(shared.is_left_alone());
    }

    #[tokio::test(start_paused = true)]
    async fn what_works_in_the_background_alone_is_still_left_alone() {
        let (clock, options) = (Arc::new(ManualClock::new()), TierOptions::new());
        let (wait, patient) = (options.timeout, options.timeout * 20);
        let (shared, _jobs) = Shared::new(
            Arc::new(NoTier),
            options,
            TierRules::Kept,
            (Arc::clone(&clock) as Arc<dyn Clock>, "main".into()),
        );
        for _ in 0..3 {
            assert!(shared.call(wait, after(wait * 2)).await.is_err());
        }
        assert!(shared.is_left_alone());
        clock.advance(Duration::from_secs(1));
        assert!(shared.call(patient, after(wait * 2)).await.is_ok());
        assert!(
            shared.is_left_alone(),
            "nobody who asks would have waited for that"
        );
        assert_eq!(
            shared.call(wait, after(Duration::ZERO)).await,
            Err(Refused::Skipped)
        );
        clock.advance(Duration::from_secs(1));
        assert!(shared.call(patient, after(wait / 2)).await.is_ok());
        assert!(!shared.is_left_alone());
    }
}
