//! The settings of the shared tier.

use std::time::Duration;

use crate::{Error, Result};

/// How a runner uses its shared tier.
#[derive(Debug, Clone)]
#[must_use]
pub struct TierOptions {
    pub(super) timeout: Duration,
    pub(super) ttl: Duration,
    pub(super) tenant_bytes: u64,
    pub(super) queue: usize,
    pub(super) refresh_every: Duration,
    pub(super) refresh: usize,
    pub(super) replay: Duration,
    pub(super) wait: Duration,
    pub(super) doorbell: bool,
}

impl Default for TierOptions {
    fn default() -> Self {
        Self {
            timeout: Duration::from_millis(25),
            ttl: Duration::from_secs(3_600),
            tenant_bytes: 256 << 20,
            queue: 4_096,
            refresh_every: Duration::from_secs(60),
            refresh: 1_000,
            replay: Duration::from_secs(300),
            wait: Duration::from_millis(50),
            doorbell: false,
        }
    }
}

impl TierOptions {
    /// Starts with the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long a miss waits for the tier at most, from 1 ms to 10 s; 25 ms when not called. What takes longer counts as a failure, and
    /// after a few in a row the tier is left alone for a while. Where another node loads the same, the miss waits for that
    /// ([`wait`](Self::wait)), and once more so long at most for its last look; a tier that takes more than half of this for a look is not asked who loads.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sets how long an answer stays in the tier after it was loaded, 1 s to 30 days; 1 h when not called.
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = ttl;
        self
    }

    /// Sets how many bytes of one tenant's answers this node has in the tier at most; 256 MiB when not called. What would be more is not written, and
    /// counted. Answers that are written again or deleted make room for themselves; those that end are counted until all begin anew, once in the time to
    /// live of a value.
    pub fn tenant_bytes(mut self, bytes: u64) -> Self {
        self.tenant_bytes = bytes;
        self
    }

    /// Sets how many answers may wait to be written, at least 1; 4,096 when not called. What is more is not written, and counted.
    pub fn queue(mut self, answers: usize) -> Self {
        self.queue = answers;
        self
    }

    /// Sets the time between two rounds in which a node of the fleet says anew of what it uses most that it is still true, 1 s to 30 days; 60 s
    /// when not called; each is up to a quarter shorter or longer. A node that starts can use what was confirmed within its [`replay`](Self::replay).
    pub fn refresh_every(mut self, pause: Duration) -> Self {
        self.refresh_every = pause;
        self
    }

    /// Sets how many answers one such round confirms at most; 1,000 when not called, 0 for none.
    pub fn refresh(mut self, answers: usize) -> Self {
        self.refresh = answers;
        self
    }

    /// Sets how far back a node that starts reads the changes, so that it can use what the tier has; 5 min when not called, 0 for not at
    /// all. Not further than to a minute before the end of the [retention](crate::RunnerBuilder::retention): nothing could be told of older changes.
    pub fn replay(mut self, back: Duration) -> Self {
        self.replay = back;
        self
    }

    /// Sets how long a miss waits at most for another node that loads the same answer now; 50 ms when not called, up to 10 s, 0 for not at
    /// all.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Sets whether this node wakes the others after a write and is woken by theirs, so that polls may be
    /// [far apart](crate::RunnerBuilder::poll_every); no when not called. A wake-up only: writes of other programs are seen by the polls.
    pub fn doorbell(mut self, yes: bool) -> Self {
        self.doorbell = yes;
        self
    }

    /// Checks them, as the runner's builder does.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting and what is allowed.
    pub fn check(&self) -> Result<()> {
        const SECOND: Duration = Duration::from_secs(1);
        const MONTH: Duration = Duration::from_secs(30 * 24 * 3_600);
        let settings = [
            (
                "tier_timeout",
                self.timeout,
                Duration::from_millis(1),
                SECOND * 10,
            ),
            ("tier_wait", self.wait, Duration::ZERO, SECOND * 10),
            ("tier_ttl", self.ttl, SECOND, MONTH),
            ("tier_replay", self.replay, Duration::ZERO, MONTH),
            ("tier_refresh_every", self.refresh_every, SECOND, MONTH),
        ];
        for (field, value, least, most) in settings {
            if value < least || value > most {
                return Err(Error::Config {
                    field,
                    reason: format!("{value:?} is not from {least:?} to {most:?}").into(),
                });
            }
        }
        if self.queue == 0 {
            return Err(Error::Config {
                field: "tier_queue",
                reason: "0 is not at least 1".into(),
            });
        }
        Ok(())
    }
}
