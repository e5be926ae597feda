//! The settings of coherence.

use crate::error::Error;

/// How much coherence remembers, and when it gives up telling changes apart.
#[derive(Debug, Clone)]
#[must_use]
pub struct CoherenceOptions {
    pub(super) log_changes: usize,
    pub(super) log_bytes: usize,
    pub(super) bulk: usize,
    pub(super) history: usize,
    pub(super) compare: bool,
}

impl Default for CoherenceOptions {
    fn default() -> Self {
        Self {
            log_changes: 65_536,
            log_bytes: 64 << 20,
            bulk: 1_000,
            history: 256,
            compare: false,
        }
    }
}

impl CoherenceOptions {
    /// Starts with the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many changes the log holds, at least 1. Default: 65,536. A load that takes so long that more are applied
    /// meanwhile is answered and not kept.
    pub fn log_changes(mut self, changes: usize) -> Self {
        self.log_changes = changes;
        self
    }

    /// Sets how many bytes of changes the log holds, by the estimate of [`Domain::bytes`](super::Domain::bytes), at least 1.
    /// Default: 64 MiB.
    pub fn log_bytes(mut self, bytes: usize) -> Self {
        self.log_bytes = bytes;
        self
    }

    /// Sets how many changes of one group a batch may bring before they count as one change of everything of the group. Default:
    /// 1,000. With 0 each change counts so: the coarse invalidation to compare with.
    pub fn bulk(mut self, changes: usize) -> Self {
        self.bulk = changes;
        self
    }

    /// Sets how many drops are remembered with their reason. Default: 256; 0 remembers none. Each keeps a copy of its key and
    /// holds its batch of changes in memory.
    pub fn history(mut self, drops: usize) -> Self {
        self.history = drops;
        self
    }

    /// Lets each change be matched against every registration too, and what the index did not lead to be dropped and counted
    /// ([`missed`](super::CoherenceStats::missed)): for tests of a domain, slow. Default: no.
    pub fn compare(mut self, compare: bool) -> Self {
        self.compare = compare;
        self
    }

    pub(super) fn validate(&self) -> Result<(), Error> {
        for (field, value) in [("log_changes", self.log_changes), ("log_bytes", self.log_bytes)] {
            if value == 0 {
                return Err(Error::invalid(field, value, "must be at least 1"));
            }
        }
        Ok(())
    }
}
