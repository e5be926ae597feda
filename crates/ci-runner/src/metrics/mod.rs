//! Metrics through the `metrics` facade: install any recorder, and call [`Runner::publish_metrics`] when it is read.
//!
//! What the runner counts anyway is published then, at the cost of the reading; a request pays nothing for it. Only the time of a load,
//! and of a call of the shared tier, is recorded when it ends, because a histogram cannot be told afterwards.
//!
//! [`CATALOGUE`] lists every name; the page `docs/metrics.md` is its table.

mod catalogue;
mod publish;

use std::sync::Arc;
use std::time::Duration;

pub use catalogue::{CATALOGUE, Kind, Metric};

use crate::Runner;

impl Runner {
    /// Gives the recorder what was counted since the runner was built, and how it does now: counters as absolute values, gauges as they
    /// are, and a description of every name.
    ///
    /// To be called when the recorder is about to be read (on a scrape), or every few seconds. Cost: a lock of each shard for a
    /// moment, and one registration per series: some hundred of them, and up to 30 for each tenant that is counted apart.
    pub fn publish_metrics(&self) {
        catalogue::describe();
        publish::publish(self);
    }
}

/// Records the time of a load.
pub(crate) fn loaded(runner: &Arc<str>, operation: &'static str, result: &'static str, took: Duration) {
    ::metrics::histogram!(
        catalogue::LOAD_SECONDS,
        "runner" => Arc::clone(runner),
        "operation" => operation,
        "result" => result
    )
    .record(took);
}

/// Records the time of a call of the shared tier.
pub(crate) fn tier_called(runner: &Arc<str>, result: &'static str, took: Duration) {
    ::metrics::histogram!(
        catalogue::TIER_SECONDS,
        "runner" => Arc::clone(runner),
        "result" => result
    )
    .record(took);
}
