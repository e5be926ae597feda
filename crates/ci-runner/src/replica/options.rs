//! The settings of loads from a replica.

use std::time::Duration;

use crate::{Error, Result};

/// How a runner uses its replica.
#[derive(Debug, Clone)]
#[must_use]
pub struct ReplicaOptions {
    pub(super) wait: Duration,
    pub(super) timeout: Duration,
}

impl Default for ReplicaOptions {
    fn default() -> Self {
        Self {
            wait: Duration::from_millis(20),
            timeout: Duration::from_secs(2),
        }
    }
}

impl ReplicaOptions {
    /// Starts with the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how long a load waits at most for the replica to come as far as it has to be, and as long again for the primary to show what the
    /// replica shows; 20 ms when not called, up to 1 min, 0 for not at all. Then the primary is asked.
    pub fn wait(mut self, wait: Duration) -> Self {
        self.wait = wait;
        self
    }

    /// Sets how long the replica may take for a load, waits included, from 1 ms to 10 min; 2 s when not called. What takes longer is asked of the
    /// primary and counts as a failure; after a few in a row the replica is left alone for a while.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Checks the settings.
    ///
    /// # Errors
    /// [`Error::Config`] naming the setting and what is allowed.
    pub fn check(&self) -> Result<()> {
        let settings = [
            ("replica_wait", self.wait, Duration::ZERO, Duration::from_secs(60)),
            (
                "replica_timeout",
                self.timeout,
                Duration::from_millis(1),
                Duration::from_secs(600),
            ),
        ];
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked() {
        let wrong = |options: ReplicaOptions| match options.check() {
            Err(Error::Config { field, .. }) => Some(field),
            _ => None,
        };
        let (none, long) = (Duration::ZERO, Duration::from_secs(601));
        assert_eq!(wrong(ReplicaOptions::new()), None);
        assert_eq!(wrong(ReplicaOptions::new().wait(none)), None);
        assert_eq!(wrong(ReplicaOptions::new().wait(long)), Some("replica_wait"));
        assert_eq!(
            wrong(ReplicaOptions::new().timeout(none)),
            Some("replica_timeout")
        );
        assert_eq!(
            wrong(ReplicaOptions::new().timeout(long)),
            Some("replica_timeout")
        );
    }
}
