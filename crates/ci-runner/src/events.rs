//! What happens inside a runner, told to whoever subscribes.

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use ci_cache_core::ci::CoherentCiCache;
use ci_cache_core::ci::matching::Reason;
use ci_cache_core::coherence::Dropped;
use ci_model::{Key, TenantId};
use parking_lot::Mutex;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

use crate::answer::Cached;
use crate::{Error, FeedState, Runner};

/// Events that are kept for a subscriber who is busy.
const KEPT: usize = 1_024;

/// Something that happened inside a runner.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Event {
    /// A change made an answer go: which, why, and the change. Its text holds values of rows, so it does not belong into logs.
    ///
    /// Answers that leave for want of room or because their time is over are not told of, only counted.
    Dropped(Dropped<Key, Reason>),
    /// The change feed is in another state.
    Feed {
        /// Before.
        from: FeedState,
        /// Now.
        to: FeedState,
        /// What is wrong, if something is.
        trouble: Option<String>,
    },
    /// A load took at least as long as [`slow_load`](crate::RunnerBuilder::slow_load) says; logged as well.
    SlowLoad(Load),
    /// A load failed: everybody who waited for it was given the error, or where [`stale_if_error`](crate::RunnerBuilder::stale_if_error) allows
    /// it the answer from before.
    LoadFailed {
        /// What was loaded.
        load: Load,
        /// Why it failed.
        error: Error,
    },
    /// Events that this subscriber was too slow for, or more drops by one poll than are remembered
    /// ([`drops`](crate::RunnerBuilder::drops)): so many were lost, the oldest.
    Missed(u64),
}

/// A load that is over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Load {
    /// Whose.
    pub tenant: TenantId,
    /// The kind of question; `page` for several at one state.
    pub operation: &'static str,
    /// The question in readable words, without values, such as `search: 2 keywords, owner =; limit 20`.
    pub question: String,
    /// The key in 8 characters, as [`Runner::entries`] has it; none for several questions.
    pub key: Option<String>,
    /// How long it took, from asking for a connection to the answer or the error.
    pub took: Duration,
    /// Statements that it ran on the database.
    pub statements: u64,
}

/// A subscription to a runner's events.
///
/// A slow subscriber holds nobody up: up to 1,024 events are kept, then it loses the oldest and is told how many.
pub struct Events(broadcast::Receiver<Event>);

impl Events {
    /// Waits for the next event; none when the runner is gone.
    ///
    /// Cancel safe: an event that was not returned comes with the next call.
    pub async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(RecvError::Lagged(events)) => Some(Event::Missed(events)),
            Err(RecvError::Closed) => None,
        }
    }

    /// The next event, if there is one already.
    pub fn try_next(&mut self) -> Option<Event> {
        match self.0.try_recv() {
            Ok(event) => Some(event),
            Err(TryRecvError::Lagged(events)) => Some(Event::Missed(events)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("waiting", &self.0.len())
            .finish_non_exhaustive()
    }
}

/// Where events are sent to. While nobody listens an event is not even made.
#[derive(Debug)]
pub(crate) struct Bus {
    /// Made for the first subscriber: it allocates room for all events that are kept.
    sender: OnceLock<broadcast::Sender<Event>>,
    /// Drops that the subscribers have been told of, or that were before them.
    told: Mutex<u64>,
}

impl Bus {
    pub(crate) fn new() -> Self {
        Self {
            sender: OnceLock::new(),
            told: Mutex::new(0),
        }
    }

    fn subscribe(&self, cache: &CoherentCiCache<Cached, Error>) -> Events {
        let mut told = self.told.lock();
        if !self.is_heard() {
            // What went before the first subscriber is nobody's news.
            *told = cache.drops();
        }
        let sender = self.sender.get_or_init(|| broadcast::Sender::new(KEPT));
        Events(sender.subscribe())
    }

    /// Tells whether somebody listens.
    pub(crate) fn is_heard(&self) -> bool {
        self.heard().is_some()
    }

    fn heard(&self) -> Option<&broadcast::Sender<Event>> {
        self.sender.get().filter(|sender| sender.receiver_count() > 0)
    }

    /// Tells an event, which is made only if somebody listens.
    pub(crate) fn tell(&self, event: impl FnOnce() -> Event) {
        if let Some(sender) = self.heard() {
            // The last listener may go away right now; then it is nobody's news.
            let _unheard = sender.send(event());
        }
    }

    /// Tells what changes have dropped since it was told last. To be called after changes were applied.
    pub(crate) fn tell_drops(&self, cache: &CoherentCiCache<Cached, Error>) {
        let Some(sender) = self.heard() else {
            return;
        };
        let (drops, forgotten) = {
            let mut told = self.told.lock();
            let (drops, total) = cache.dropped_since(*told);
            let forgotten = (total - *told).saturating_sub(drops.len() as u64);
            *told = total;
            (drops, forgotten)
        };
        if forgotten > 0 {
            let _unheard = sender.send(Event::Missed(forgotten));
        }
        for dropped in drops {
            let _unheard = sender.send(Event::Dropped(dropped));
        }
    }
}

impl Runner {
    /// Subscribes to what happens inside the runner from now on: drops with their reason and change, states of the change feed, loads
    /// that failed or were slow.
    ///
    /// While nobody subscribes no event is made, and nothing is ever told on a hit. The first subscription allocates room for 1,024
    /// events; from then on the task that applies changes puts each drop into words, some microseconds each.
    pub fn events(&self) -> Events {
        let inner = self.inner();
        inner.follow.bus.subscribe(&inner.cache)
    }
}
