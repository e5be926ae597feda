//! The doorbell of a fleet: who has written rings, and who hears it looks for changes at once instead of after its pause.
//!
//! ```text
//! node A                        the tier            node B
//! a write commits
//! its own poll shows it
//! rings                         passes it on
//!                                                   hears it, polls, drops what the write touches
//! ```
//!
//! It is a wake-up and nothing else. A ring says neither what has changed nor that something has, and nobody believes that nothing has because
//! nobody rang: what is lost, late, doubled or forged costs a poll or a pause. So polls may be [far apart](crate::RunnerBuilder::poll_every)
//! without writes of the fleet being seen late; those of other programs, which do not ring, are seen by the polls.
//!
//! No write waits for it, and rings that come while one is on its way are one ring.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::Notify;

use super::stats::add;
use super::{Shared, Tier};
use crate::coherence::Follow;

/// Between two polls that rings ask for, at least: where somebody always writes, as often as polls are as installed.
const GATHER: Duration = Duration::from_millis(3);
/// Before listening is tried again after it failed: at first, and at most.
const PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(10)];

/// This node's side of it.
#[derive(Debug, Default)]
pub(super) struct Doorbell {
    /// Somebody has written.
    written: Notify,
    /// Whether rings are heard now.
    is_listening: AtomicBool,
}

impl Doorbell {
    pub(super) fn is_listening(&self) -> bool {
        self.is_listening.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// A write of this node has been committed: the others are told, if that is wanted.
    pub(crate) fn ring(&self) {
        if self.options.doorbell {
            self.doorbell.written.notify_one();
        }
    }
}

/// Rings and listens until the runner is closed, if that is wanted.
pub(crate) async fn answer_doorbell(shared: Arc<Shared>, follow: Arc<Follow>) {
    if !shared.options.doorbell {
        return;
    }
    tokio::select! {
        () = follow.polls.closed() => {}
        () = ring(&shared) => {}
        () = listen(&shared, &follow) => {}
    }
    shared.doorbell.is_listening.store(false, Ordering::Relaxed);
}

/// Rings whenever something was written. Never ends.
async fn ring(shared: &Shared) {
    loop {
        shared.doorbell.written.notified().await;
        if shared.is_skipped() {
            add(&shared.counts.rings_failed, 1);
            continue;
        }
        let rung = async {
            // That a connection has broken is learnt by its use.
            match shared.tier.ring().await {
                Ok(()) => Ok(()),
                Err(_) => shared.tier.ring().await,
            }
        };
        // Past the breaker: an account that may not ring may still read.
        let count = match tokio::time::timeout(shared.options.timeout, rung).await {
            Ok(Ok(())) => &shared.counts.rings_sent,
            Ok(Err(error)) => {
                shared.note_trouble(format!("the doorbell: {error}"));
                &shared.counts.rings_failed
            }
            Err(_) => &shared.counts.rings_failed,
        };
        add(count, 1);
    }
}

/// Has the feed polled whenever somebody rings. Never ends, but where the tier has no bell and nothing is left to do.
async fn listen(shared: &Shared, follow: &Follow) {
    let mut pause = PAUSE[0];
    loop {
        match hear(&*shared.tier, shared, follow, &mut pause).await {
            Ok(()) => return std::future::pending().await,
            Err(error) => shared.note_trouble(format!("the doorbell: {error}")),
        }
        shared.doorbell.is_listening.store(false, Ordering::Relaxed);
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE[1]);
    }
}

/// Listens as long as it can be listened.
///
/// # Errors
/// Why it ended; without one there is no bell.
async fn hear(
    tier: &dyn Tier,
    shared: &Shared,
    follow: &Follow,
    pause: &mut Duration,
) -> Result<(), super::TierError> {
    let Some(mut bell) = tier.listen().await? else {
        return Ok(());
    };
    shared.doorbell.is_listening.store(true, Ordering::Relaxed);
    // Whoever rang before we listened was not heard.
    follow.polls.ring();
    loop {
        bell.rung().await?;
        // Not before: a server may let everybody in and drop them at once.
        *pause = PAUSE[0];
        add(&shared.counts.rings_heard, 1);
        follow.polls.ring();
        tokio::time::sleep(GATHER).await;
    }
}
