//! Every metric's name, kind, unit, labels and meaning.

use ::metrics::{Unit, describe_counter, describe_gauge, describe_histogram};

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// Grows since the runner was built.
    Counter,
    /// As it is now; may go down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// One metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name, by the conventions of Prometheus: counters end in `_total`, units are spelled out.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// Its unit.
    pub unit: Unit,
    /// The names of its labels, beside `runner`, which all have.
    pub labels: &'static [&'static str],
    /// What it means, in one sentence.
    pub help: &'static str,
}

impl Metric {
    /// A metric that a program publishes beside the runner's: by the same conventions, and with the label `runner`.
    pub const fn new(
        name: &'static str,
        kind: Kind,
        unit: Unit,
        labels: &'static [&'static str],
        help: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            unit,
            labels,
            help,
        }
    }

    /// Tells the recorder what it is.
    pub fn describe(&self) {
        match self.kind {
            Kind::Counter => describe_counter!(self.name, self.unit, self.help),
            Kind::Gauge => describe_gauge!(self.name, self.unit, self.help),
            Kind::Histogram => describe_histogram!(self.name, self.unit, self.help),
        }
    }
}

macro_rules! catalogue {
    ($($constant:ident = $name:literal, $kind:ident, $unit:ident, [$($label:literal),*], $help:literal;)*) => {
        $(pub(super) const $constant: &str = $name;)*

        /// Every metric, in the order of the page `docs/metrics.md`.
        pub const CATALOGUE: &[Metric] = &[$(Metric {
            name: $name,
            kind: Kind::$kind,
            unit: Unit::$unit,
            labels: &[$($label),*],
            help: $help,
        }),*];
    };
}

catalogue! {
    REQUESTS = "ci_cache_requests_total", Counter, Count, ["tenant", "operation", "outcome"],
        "Requests by how they ended: hit, tier, coalesced, miss, bypass, error.";
    LOAD_SECONDS = "ci_cache_load_seconds", Histogram, Seconds, ["operation", "result"],
        "How long loads took, from asking for a connection to the answer; result: ok, error.";
    LOADED = "ci_cache_loaded_answers_total", Counter, Count, ["operation"],
        "Answers that measured loads brought.";
    STATEMENTS = "ci_cache_load_statements_total", Counter, Count, [],
        "Statements that loads ran on the database.";
    SAVED_SECONDS = "ci_cache_saved_seconds", Gauge, Seconds, ["operation"],
        "Estimate of the time that hits saved: hits times the mean time of a load.";
    SAVED_STATEMENTS = "ci_cache_saved_statements", Gauge, Count, ["operation"],
        "Estimate of the statements that hits saved: hits times the mean of a load.";
    THROUGH = "ci_cache_through_total", Counter, Count, [],
        "Questions answered past the cache because memory could not keep the level's promise.";
    AGAIN = "ci_cache_lookups_again_total", Counter, Count, [],
        "Waits for another caller's load that ended in another look-up.";
    ENTRIES = "ci_cache_entries", Gauge, Count, [],
        "Cached answers.";
    ENTRIES_MAX = "ci_cache_entries_max", Gauge, Count, [],
        "Cached answers at most.";
    WEIGHT = "ci_cache_weight", Gauge, Count, [],
        "Weight of the cached answers, in the cache's unit of capacity.";
    EVICTIONS = "ci_cache_evictions_total", Counter, Count, ["cause"],
        "Answers that left the cache: size, expired, replaced, removed, rejected.";
    INVALIDATIONS = "ci_cache_invalidations_total", Counter, Count, ["reason"],
        "Entries and publications that changes hit, by why the change matters.";
    PUBLICATIONS = "ci_cache_publications_total", Counter, Count, ["ending"],
        "Loaded answers by what became of them: kept, epoch, floor, overtaken, detached, rejected, unfiled.";
    FLIGHTS = "ci_cache_flights", Gauge, Count, [],
        "Loads that a question asked now could join.";
    FLIGHTS_ENDED = "ci_cache_flights_ended_total", Counter, Count, ["ending"],
        "Loads that others could join and that ended without a kept answer: failed, abandoned, refused.";
    LOADS_IN_FLIGHT = "ci_cache_loads_in_flight", Gauge, Count, [],
        "Loads that ask the database now, those past the cache included.";
    GETS_WAITING = "ci_cache_gets_waiting", Gauge, Count, [],
        "Gets that wait to be loaded together.";
    DB_CONNECTIONS = "ci_cache_db_connections", Gauge, Count, ["state"],
        "Connections to the database that questions use: used, idle.";
    DB_CONNECTIONS_MAX = "ci_cache_db_connections_max", Gauge, Count, [],
        "Connections to the database that questions use at most.";
    INDEX_BYTES = "ci_cache_index_bytes", Gauge, Bytes, [],
        "Memory of the index that leads from changes to entries.";
    LOG_CHANGES = "ci_cache_log_changes", Gauge, Count, [],
        "Changes that are remembered for loads under way.";
    LAG_SECONDS = "ci_cache_lag_seconds", Gauge, Seconds, [],
        "How far the cache is behind the database at most; infinite when nobody knows.";
    FEED_STATE = "ci_cache_feed_state", Gauge, Count, ["state"],
        "1 for the state that the change feed is in, 0 for the others.";
    FEED_POLLS = "ci_cache_feed_polls_total", Counter, Count, ["result"],
        "Polls of the change feed: good, failed.";
    FEED_CHANGES = "ci_cache_feed_changes_total", Counter, Count, [],
        "Changes that were applied.";
    FEED_EPOCHS = "ci_cache_feed_epochs_total", Counter, Count, [],
        "Times that everything was forgotten because the history had a gap or ended.";
    TIER_READS = "ci_cache_tier_reads_total", Counter, Count, ["outcome"],
        "Values asked of the shared tier by how that ended: hit, absent, failed, timed_out, skipped, corrupt, format, key, epoch, floor, overtaken, forgotten, no_mark, unfiled.";
    TIER_WRITES = "ci_cache_tier_writes_total", Counter, Count, ["result"],
        "Answers for the shared tier by what became of them: written, refreshed, deleted, dropped, over_budget, failed.";
    TIER_SECONDS = "ci_cache_tier_call_seconds", Histogram, Seconds, ["result"],
        "How long calls of the shared tier took, those in the background included; result: ok, failed, timed_out.";
    TIER_WAITING = "ci_cache_tier_waiting", Gauge, Count, [],
        "What waits to be done in the shared tier, mostly answers to be written.";
    TIER_WAITING_BYTES = "ci_cache_tier_waiting_bytes", Gauge, Bytes, [],
        "Memory of the answers among that.";
    TIER_LEFT_ALONE = "ci_cache_tier_left_alone", Gauge, Count, [],
        "1 while a call of the shared tier would be skipped because it failed.";
    TIER_RINGS = "ci_cache_tier_rings_total", Counter, Count, ["result"],
        "Rings of the fleet's doorbell: sent after a write, failed to be sent, heard (own ones too).";
    TIER_LISTENING = "ci_cache_tier_listening", Gauge, Count, [],
        "1 while the fleet's doorbell can be heard; 0 without it.";
    REPLICA_LOADS = "ci_cache_replica_loads_total", Counter, Count, ["outcome"],
        "Loads that a replica might answer by how that ended: used, or answered by the primary: behind, ahead, blurred, history, promoted, unproven, failed, timed_out, skipped, no_mark.";
    REPLICA_LEFT_ALONE = "ci_cache_replica_left_alone", Gauge, Count, [],
        "1 while the replica would not be asked because it failed or was late.";
    AUDITED = "ci_cache_audited_total", Counter, Count, ["result"],
        "Cached answers that were loaded again: same, changed (a recorded change explains it), violation (the answer was wrong), unsettled.";
    AUDITED_DROPS = "ci_cache_audited_drops_total", Counter, Count, ["result"],
        "Dropped answers that were loaded again: changed (the drop was needed), unchanged.";
}

/// Tells the recorder what every metric is.
pub(super) fn describe() {
    CATALOGUE.iter().for_each(Metric::describe);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let mut names = std::collections::BTreeSet::new();
        for metric in CATALOGUE {
            assert!(names.insert(metric.name), "{} twice", metric.name);
            assert!(metric.name.starts_with("ci_cache_"), "{}", metric.name);
            let is_total = metric.name.ends_with("_total");
            assert_eq!(is_total, metric.kind == Kind::Counter, "{}", metric.name);
            assert_eq!(
                metric.name.ends_with("_seconds"),
                metric.unit == Unit::Seconds,
                "{}",
                metric.name
            );
            assert_eq!(
                metric.name.ends_with("_bytes"),
                metric.unit == Unit::Bytes,
                "{}",
                metric.name
            );
            assert!(metric.help.ends_with('.'), "{}", metric.help);
        }
    }
}
