//! Following the database: the task that polls the change feed and keeps the cache true.
//!
//! ```text
//!            start                poll: changes            poll fails
//! Starting ---------> Live <-----------------> Live  Live -------------> CatchingUp --poll: changes--> Live
//!                      ^                                                     |
//!                      | poll: changes                poll: new epoch        v
//!                      +------------------ Gapped <---------------------- any of them
//!                                                     poll: blind  any of them ---> Stopped --poll: new epoch--> Gapped
//! ```
//!
//! In `CatchingUp` the cache stays as it is: nothing was missed, its lag grows, and readers that bound the lag go to the
//! database. In `Gapped` everything was forgotten and the history goes on from the new position. In `Stopped` nobody
//! knows what changes: the cache says so, and every reader goes to the database.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ci_cache_core::Tick;
use ci_cache_core::ci::matching::CiDomain;
use ci_cache_core::coherence::{Batch, Course};
use ci_model::Token;
use ci_store::{Feed, Polled};
use parking_lot::Mutex;
use serde::Serialize;

use crate::changes::Recent;
use crate::events::{Bus, Event};
use crate::polls::Polls;
use crate::runner::Inner;
use crate::tier;
use crate::warm::{self, Warm};

/// How the change feed does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FeedState {
    /// The store records no changes: answers are bounded by their times to live, and writes through this runner are seen.
    Absent,
    /// Not connected yet.
    #[default]
    Starting,
    /// The last poll was good.
    Live,
    /// The last poll failed. Nothing was missed; the next good one goes on from where the last one ended.
    CatchingUp,
    /// Changes may have been missed, so everything was forgotten; the history goes on from there.
    Gapped,
    /// The database does not record changes now, or the runner was closed. Nothing is answered from memory.
    Stopped,
}

impl FeedState {
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Absent,
        Self::Starting,
        Self::Live,
        Self::CatchingUp,
        Self::Gapped,
        Self::Stopped,
    ];

    /// The state's name, in lower case with underscores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Starting => "starting",
            Self::Live => "live",
            Self::CatchingUp => "catching_up",
            Self::Gapped => "gapped",
            Self::Stopped => "stopped",
        }
    }
}

/// What the feed has done since the runner was built, and where it is.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct FeedStatus {
    /// How it does.
    pub state: FeedState,
    /// How far the cache is behind the database at most; none when nobody knows.
    pub lag: Option<Duration>,
    /// Up to where changes were applied, as a token.
    #[serde(serialize_with = "as_text")]
    pub position: Option<Token>,
    /// Polls that went well.
    pub polls: u64,
    /// Polls that failed.
    pub failures: u64,
    /// Changes that were applied.
    pub changes: u64,
    /// How often everything was forgotten because the history had a gap or ended.
    pub epochs: u64,
    /// The last failure, or why the history ended or cannot be seen.
    pub trouble: Option<String>,
}

#[expect(clippy::ref_option, reason = "the form that serde wants")]
fn as_text<S: serde::Serializer>(token: &Option<Token>, serializer: S) -> Result<S::Ok, S::Error> {
    match token {
        Some(token) => serializer.collect_str(token),
        None => serializer.serialize_none(),
    }
}

/// How the feed is polled.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    /// Between two polls while somebody asks.
    pub(crate) busy: Duration,
    /// Between two polls while nobody does.
    pub(crate) idle: Duration,
    /// Longest time of a poll; and longest wait of a reader for one.
    pub(crate) patience: Duration,
    /// How long changes are kept in the database.
    pub(crate) retention: Duration,
}

/// Why the mark is hidden after a write that no poll has shown.
pub(crate) const UNFOLLOWED: &str = "a write could not be followed";
/// Without a question for so long nobody is asking.
const IDLE_AFTER: Duration = Duration::from_secs(2);
/// By what the pause is divided after a poll that brought changes: where something changes, more does.
const BRISK: u32 = 3;
/// Between two rounds of forgetting old changes.
const RETAIN_EVERY: Duration = Duration::from_secs(60);
/// So often a poll that failed is given twice the time.
const LONGER_POLLS: u32 = 5;
/// Longest pause after a failure.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What readers, writers and observers know of the feed task.
#[derive(Debug)]
pub(crate) struct Follow {
    pub(crate) polls: Polls,
    pub(crate) pace: Pace,
    /// Whether there is something to follow; asked on every hit, so beside the lock.
    has_feed: bool,
    /// When the last question was asked.
    asked: AtomicU64,
    /// When the last write of this runner returned from the database.
    written: AtomicU64,
    /// The last poll that had begun when a write could not be followed: the mark stays hidden until a later one is good.
    doubt: AtomicU64,
    shared: Mutex<Shared>,
    /// Who is told of what happens.
    pub(crate) bus: Bus,
    /// What changed lately.
    pub(crate) recent: Recent,
}

#[derive(Debug, Default)]
struct Shared {
    state: FeedState,
    polls: u64,
    failures: u64,
    changes: u64,
    epochs: u64,
    trouble: Option<String>,
}

impl Follow {
    pub(crate) fn new(pace: Pace, has_feed: bool, recent_changes: usize) -> Self {
        let state = if has_feed {
            FeedState::Starting
        } else {
            FeedState::Absent
        };
        Self {
            polls: Polls::new(),
            pace,
            has_feed,
            asked: AtomicU64::new(0),
            written: AtomicU64::new(0),
            doubt: AtomicU64::new(0),
            shared: Mutex::new(Shared {
                state,
                ..Shared::default()
            }),
            bus: Bus::new(),
            recent: Recent::new(recent_changes),
        }
    }

    /// Tells whether the store has a feed.
    pub(crate) fn has_feed(&self) -> bool {
        self.has_feed
    }

    /// Somebody asks.
    #[inline]
    pub(crate) fn ask(&self, now: Tick) {
        let before = self.asked.swap(now.as_micros(), Ordering::Relaxed);
        if now.saturating_since(Tick::from_micros(before)) > IDLE_AFTER {
            self.polls.ring();
        }
    }

    /// A write has returned from the database, committed or not.
    pub(crate) fn wrote(&self, now: Tick) {
        self.written.fetch_max(now.as_micros(), Ordering::SeqCst);
    }

    /// When the last write of this runner returned from the database: a load that began later includes it.
    pub(crate) fn written(&self) -> Tick {
        Tick::from_micros(self.written.load(Ordering::SeqCst))
    }

    /// A write may have been committed that no poll has shown: until one does, nobody knows what is true.
    ///
    /// ```text
    /// feed task                     writer
    /// poll 7 begins
    ///                               commits, waits for poll 8 in vain, hides the mark
    /// poll 7 ends well              (must not show it again: it did not see the commit)
    /// ```
    pub(crate) fn doubt(&self) {
        self.doubt.fetch_max(self.polls.begun(), Ordering::SeqCst);
        self.polls.ring();
    }

    /// Tells whether a poll that went well has shown every write that could not be followed. To be asked within the step that
    /// shows the mark: a writer doubts first, and hides it then.
    pub(crate) fn settles(&self, poll: u64) -> bool {
        poll > self.doubt.load(Ordering::SeqCst)
    }

    fn note(&self, state: FeedState, trouble: Option<String>) {
        let mut shared = self.shared.lock();
        // A poll that fails while changes are not recorded makes nothing better.
        let now = if (shared.state, state) == (FeedState::Stopped, FeedState::CatchingUp) {
            FeedState::Stopped
        } else {
            state
        };
        let before = std::mem::replace(&mut shared.state, now);
        if before != now {
            tracing::info!(state = ?now, trouble, "the change feed");
        }
        let event = (before != now && self.bus.is_heard()).then(|| Event::Feed {
            from: before,
            to: now,
            trouble: trouble.clone(),
        });
        if trouble.is_some() {
            shared.trouble = trouble;
        }
        match state {
            FeedState::CatchingUp => shared.failures += 1,
            FeedState::Live => shared.polls += 1,
            FeedState::Gapped => {
                shared.polls += 1;
                shared.epochs += 1;
            }
            FeedState::Stopped | FeedState::Starting | FeedState::Absent => {}
        }
        // Without the lock: whoever is woken may look at the feed at once.
        drop(shared);
        if let Some(event) = event {
            self.bus.tell(|| event);
        }
    }

    pub(crate) fn status(&self, lag: Option<Duration>, position: Option<Token>) -> FeedStatus {
        let shared = self.shared.lock();
        // Closed, it polls no more, though its task may not have come to say so.
        let is_over = self.has_feed && self.polls.is_closed();
        FeedStatus {
            state: if is_over { FeedState::Stopped } else { shared.state },
            lag,
            position,
            polls: shared.polls,
            failures: shared.failures,
            changes: shared.changes,
            epochs: shared.epochs,
            trouble: shared.trouble.clone(),
        }
    }
}

/// Polls until the runner is gone.
pub(crate) async fn run(inner: Weak<Inner>, follow: Arc<Follow>, feed: Box<dyn Feed>) {
    let warm = inner.upgrade().map(|inner| Arc::downgrade(&inner.warm));
    let mut end = End {
        follow: Arc::clone(&follow),
        warm: warm.unwrap_or_default(),
        why: "the task that polls was lost",
    };
    let mut task = Task {
        inner,
        follow,
        feed,
        started: false,
        from_file: false,
        failed: 0,
        brought: false,
        retained: Tick::default(),
        bookmark: None,
    };
    task.resume().await;
    while task.round().await {
        task.save(false).await;
        task.pause().await;
    }
    task.save(true).await;
    end.why = "the runner was closed";
}

/// Tells that nobody polls any more, however that came about: a panic, or the end of the runtime. Whoever waits for a poll would wait in
/// vain.
struct End {
    follow: Arc<Follow>,
    warm: Weak<Warm>,
    why: &'static str,
}

impl Drop for End {
    fn drop(&mut self) {
        self.follow.note(FeedState::Stopped, Some(self.why.into()));
        self.follow.polls.close();
        self.follow.recent.close();
        if let Some(warm) = self.warm.upgrade() {
            warm.finish();
        }
    }
}

struct Task {
    inner: Weak<Inner>,
    follow: Arc<Follow>,
    feed: Box<dyn Feed>,
    started: bool,
    /// Whether the first poll goes on from the warm file's bookmark.
    from_file: bool,
    /// Failures in a row.
    failed: u32,
    /// Whether the last poll brought changes.
    brought: bool,
    retained: Tick,
    /// The bookmark that was left in the shared tier last.
    bookmark: Option<u64>,
}

impl Task {
    /// Takes in what the last process left, at the position where it left off. The first poll tells whether it is true; until then nothing
    /// is answered from memory.
    async fn resume(&mut self) {
        if let Some(inner) = self.inner.upgrade() {
            self.started = warm::restore(&inner, &mut *self.feed).await;
            self.from_file = self.started;
            if !self.started && tier::resume(&inner, &mut *self.feed).await {
                self.started = true;
                // The file's questions are asked again, if its answers were refused.
                self.ask_again(&inner, "its answers were refused");
            }
        }
    }

    /// The warm file's bookmark is of another history, or more was forgotten since. The fleet may have left a later one: what the tier has is of
    /// use then, for the file's questions, too.
    ///
    /// Within a part of the time of the poll that it belongs to. To look at bookmarks moves the feed: dropped meanwhile, it begins anew.
    async fn leave_file(&mut self, inner: &Inner, number: u64, polled_at: Tick, why: String) -> bool {
        self.started = false;
        let resumed = tokio::time::timeout(self.allowed() / 2, tier::resume(inner, &mut *self.feed)).await;
        self.started = true;
        if resumed.unwrap_or(false) {
            self.ask_again(inner, &why);
            // The same round from there; it does not come by here again.
            return Box::pin(self.poll(inner, number, polled_at)).await;
        }
        self.start(inner, number, polled_at).await
    }

    /// Writes down what is cached, if it is time to, or if this is the end.
    async fn save(&mut self, last: bool) {
        let due =
            |inner: &Arc<Inner>| inner.warm.is_wanted() && (last || inner.warm.is_due(inner.cache.now()));
        let Some(inner) = self.inner.upgrade().filter(due) else {
            return;
        };
        if let Some((at, bookmark)) = self.feed.bookmark() {
            let writing = warm::save(inner, at, bookmark);
            if last {
                writing.await;
            } else {
                // Beside the polls: what is cached is true at that position also while later ones are applied.
                tokio::spawn(writing);
            }
        }
    }

    /// One poll, applied; says whether to go on.
    async fn round(&mut self) -> bool {
        let Some(inner) = self.inner.upgrade().filter(|_| !self.follow.polls.is_closed()) else {
            return false;
        };
        let number = self.follow.polls.begin();
        let polled_at = inner.cache.now();
        let good = tokio::time::timeout(self.allowed(), self.poll(&inner, number, polled_at)).await;
        let good = good.unwrap_or_else(|_| {
            self.follow
                .note(FeedState::CatchingUp, Some("a poll took too long".into()));
            false
        });
        self.failed = if good { 0 } else { self.failed.saturating_add(1) };
        self.follow.polls.end(number, good);
        if good {
            self.retain(&inner, polled_at);
            tier::leave_bookmark(&inner, &*self.feed, &mut self.bookmark);
        }
        true
    }

    /// How long the next poll may take: twice as long after each that failed. A poll that is given up begins anew, with more to
    /// read; were each given up after the same time, a batch that takes longer to read would never be read.
    fn allowed(&self) -> Duration {
        self.follow.pace.patience * 2_u32.pow(self.failed.min(LONGER_POLLS))
    }

    /// Says whether the cache is true up to the beginning of this poll.
    async fn poll(&mut self, inner: &Inner, number: u64, polled_at: Tick) -> bool {
        self.brought = false;
        if !self.started {
            return self.start(inner, number, polled_at).await;
        }
        match self.feed.poll().await {
            Ok(Polled::Changes {
                since,
                changes,
                position,
            }) => {
                let count = changes.len() as u64;
                self.brought = count > 0;
                let prepared = self.follow.recent.prepare(&changes);
                let told = (since.epoch, since.version.clone(), position.clone());
                let applied = inner.cache.apply(Batch::<CiDomain> {
                    epoch: since.epoch.0,
                    since: since.version,
                    changes,
                    position,
                    polled_at,
                });
                self.follow.bus.tell_drops(&inner.cache);
                if let Some(shared) = inner.tier.as_ref().filter(|_| applied.dropped > 0) {
                    shared.dropped();
                }
                if matches!(applied.course, Course::Gap | Course::OtherEpoch) {
                    // An answer of the feed was lost, or the feed contradicts itself: that must not become a wrong answer.
                    return self.start(inner, number, polled_at).await;
                }
                self.follow.recent.record(prepared, told);
                self.follow.shared.lock().changes += count;
                self.from_file = false;
                inner.warm.proven();
                self.follow.note(FeedState::Live, None);
                inner.cache.resume_if(|| self.follow.settles(number));
                true
            }
            Ok(Polled::NewEpoch { why, epoch, position }) => {
                let why = format!("new epoch: {why}");
                if std::mem::take(&mut self.from_file) && inner.tier.is_some() {
                    return self.leave_file(inner, number, polled_at, why).await;
                }
                inner.follow_from(epoch, position, polled_at, number);
                self.ask_again(inner, &why);
                self.follow.note(FeedState::Gapped, Some(why));
                true
            }
            Ok(Polled::Blind { why }) => {
                self.from_file = false;
                inner.cache.suspend("changes are not recorded");
                self.follow.note(
                    FeedState::Stopped,
                    Some(format!("changes are not recorded: {why}")),
                );
                false
            }
            Err(error) => {
                // What the database refuses to tell it will refuse the next time, too, and nothing would be answered from memory any
                // more. To begin anew is to pass it over, and to forget everything.
                let anew = if error.is_transient() {
                    None
                } else {
                    self.feed.start().await.ok()
                };
                if let Some(start) = &anew {
                    inner.follow_from(start.epoch, start.position.clone(), polled_at, number);
                    self.ask_again(inner, &format!("the first poll was refused: {error}"));
                }
                let state = anew.as_ref().map_or(FeedState::CatchingUp, |_| FeedState::Gapped);
                self.follow.note(state, Some(error.to_string()));
                anew.is_some()
            }
        }
    }

    /// Begins to follow, or begins again: everything cached goes.
    async fn start(&mut self, inner: &Inner, number: u64, polled_at: Tick) -> bool {
        match self.feed.start().await {
            Ok(start) => {
                let state = if self.started {
                    FeedState::Gapped
                } else {
                    FeedState::Live
                };
                self.started = true;
                inner.follow_from(start.epoch, start.position, polled_at, number);
                // Restored answers are here only if the first poll did not go on from where they are true.
                self.ask_again(inner, "the feed did not go on from its bookmark");
                self.follow.note(state, None);
                true
            }
            Err(error) => {
                let state = if error.is_transient() {
                    FeedState::CatchingUp
                } else {
                    FeedState::Stopped
                };
                self.follow.note(state, Some(error.to_string()));
                false
            }
        }
    }

    /// Everything was forgotten: what the last process left and no poll has proven is asked again, in the background.
    fn ask_again(&self, inner: &Inner, why: &str) {
        if let Some((questions, per_second)) = inner.warm.refuse_unproven(why) {
            tokio::spawn(warm::reload(self.inner.clone(), questions, per_second));
        }
    }

    /// Waits for the next round: not long while somebody asks, or has asked for a poll.
    async fn pause(&mut self) {
        let Some(now) = self.inner.upgrade().map(|inner| inner.cache.now()) else {
            return;
        };
        let pace = self.follow.pace;
        let asked = Tick::from_micros(self.follow.asked.load(Ordering::Relaxed));
        let pause = if self.failed > 0 {
            // 5, 10, 20, ... milliseconds.
            LONGEST_PAUSE.min(Duration::from_millis(5) * 2_u32.saturating_pow(self.failed.min(10) - 1))
        } else if now.saturating_since(asked) > IDLE_AFTER {
            pace.idle
        } else if self.brought {
            pace.busy / BRISK
        } else {
            pace.busy
        };
        if self.failed > 0 {
            // A database that is down is not asked more often because more callers wait for it.
            tokio::time::sleep(pause).await;
            return;
        }
        tokio::select! {
            () = self.follow.polls.rung() => {}
            () = self.feed.wait(pause) => {}
        }
    }

    /// Has old changes forgotten now and then, beside the polls.
    fn retain(&mut self, inner: &Inner, now: Tick) {
        if now.saturating_since(self.retained) < RETAIN_EVERY && self.retained != Tick::default() {
            return;
        }
        self.retained = now;
        let (store, retention) = (Arc::clone(&inner.store), self.follow.pace.retention);
        tokio::spawn(async move {
            if let Err(error) = store.retain(retention).await {
                tracing::warn!(%error, "old changes were not forgotten");
            }
        });
    }
}
