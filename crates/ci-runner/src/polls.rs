//! Polls of the change feed that many callers share.
//!
//! Polls are numbered in the order in which they begin. Whoever needs one that begins after this moment waits for the
//! number after the last that has begun; a poll that is under way may have taken its snapshot before.
//!
//! ```text
//! feed task                     caller
//! poll 7 begins, reads nothing
//!                               a write commits
//!                               needs a poll: 7 has begun, so 8
//! poll 7 ends
//! poll 8 begins, sees the write, ends
//!                               goes on
//! ```

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::{Notify, watch};

/// How the polls went so far.
#[derive(Debug, Clone, Copy, Default)]
struct Ended {
    /// The last that ended in any way.
    last: u64,
    /// The last that ended well: what it saw has been applied.
    good: u64,
}

/// The polls of one feed.
#[derive(Debug)]
pub(crate) struct Polls {
    begun: AtomicU64,
    ended: watch::Sender<Ended>,
    bell: Notify,
    /// Set once: nobody polls any more.
    over: watch::Sender<bool>,
}

impl Polls {
    pub(crate) fn new() -> Self {
        Self {
            begun: AtomicU64::new(0),
            ended: watch::Sender::new(Ended::default()),
            bell: Notify::new(),
            over: watch::Sender::new(false),
        }
    }

    /// The feed task begins a poll.
    pub(crate) fn begin(&self) -> u64 {
        // SeqCst: a caller that wrote before it reads `begun` must not wait for a poll that began before its write.
        self.begun.fetch_add(1, Ordering::SeqCst) + 1
    }

    /// The last poll that has begun.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }

    /// The feed task has ended a poll, and applied what it saw if it ended well.
    pub(crate) fn end(&self, number: u64, good: bool) {
        self.ended.send_modify(|ended| {
            ended.last = number;
            if good {
                ended.good = number;
            }
        });
    }

    /// Nobody polls any more.
    pub(crate) fn close(&self) {
        self.over.send_replace(true);
        self.bell.notify_one();
    }

    /// Tells whether nobody polls any more.
    pub(crate) fn is_closed(&self) -> bool {
        *self.over.borrow()
    }

    /// Waits until nobody polls any more.
    pub(crate) async fn closed(&self) {
        let mut over = self.over.subscribe();
        // The sender is ours, and so is never gone.
        let _over = over.wait_for(|over| *over).await;
    }

    /// Asks for a poll, without waiting for it.
    pub(crate) fn ring(&self) {
        self.bell.notify_one();
    }

    /// Waits until somebody asks for a poll.
    pub(crate) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// Waits for a good poll that begins after this call, for at most so long; tells whether there was one.
    ///
    /// Cancel safe.
    pub(crate) async fn fresh(&self, at_most: Duration) -> bool {
        let wanted = self.begun() + 1;
        let (mut ended, mut over) = (self.ended.subscribe(), self.over.subscribe());
        self.bell.notify_one();
        let polled = async {
            tokio::select! {
                ended = ended.wait_for(|ended| ended.last >= wanted) => {
                    ended.is_ok_and(|ended| ended.good >= wanted)
                }
                _ = over.wait_for(|over| *over) => false,
            }
        };
        tokio::time::timeout(at_most, polled).await.unwrap_or(false)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    const LONG: Duration = Duration::from_secs(3_600);

    #[tokio::test(start_paused = true)]
    async fn a_poll_under_way_is_not_fresh() {
        let polls = Arc::new(Polls::new());
        let first = polls.begin();
        let waiting = tokio::spawn({
            let polls = Arc::clone(&polls);
            async move { polls.fresh(LONG).await }
        });
        polls.rung().await;
        polls.end(first, true);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "it began before the call");
        let second = polls.begin();
        polls.end(second, true);
        assert!(waiting.await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn failure_silence_and_the_end_are_told() {
        let polls = Arc::new(Polls::new());
        assert!(!polls.fresh(Duration::from_millis(5)).await, "nobody polls");
        let waiting = tokio::spawn({
            let polls = Arc::clone(&polls);
            async move { polls.fresh(LONG).await }
        });
        polls.rung().await;
        tokio::task::yield_now().await;
        let number = polls.begin();
        polls.end(number, false);
        assert!(!waiting.await.unwrap(), "the poll failed");
        polls.close();
        assert!(!polls.fresh(LONG).await, "nobody will");
        assert!(polls.is_closed());
    }
}
