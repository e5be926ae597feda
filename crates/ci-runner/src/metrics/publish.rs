//! From the runner's counters to the recorder.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ::metrics::{SharedString, counter, gauge};
use ci_model::QuestionKind;

use super::catalogue as name;
use crate::coherence::FeedState;
use crate::savings::Requests;
use crate::{Reason, Runner, Why};

/// What stands for the tenants that are not counted apart.
const OTHERS: &str = "";

/// Publishes everything that is counted.
pub(super) fn publish(runner: &Runner) {
    let series = Series(Arc::clone(&runner.inner().name));
    requests(runner, &series);
    savings(runner, &series);
    cache(runner, &series);
    connections(runner, &series);
    coherence(runner, &series);
    feed(runner, &series);
    tier(runner, &series);
    replica(runner, &series);
    audits(runner, &series);
}

/// Series of one runner.
struct Series(Arc<str>);

impl Series {
    fn counter(&self, name: &'static str, value: u64) {
        counter!(name, "runner" => Arc::clone(&self.0)).absolute(value);
    }

    fn counter_of(&self, name: &'static str, label: &'static str, of: impl Into<SharedString>, value: u64) {
        counter!(name, "runner" => Arc::clone(&self.0), label => of.into()).absolute(value);
    }

    #[expect(clippy::cast_precision_loss, reason = "what a gauge holds")]
    fn gauge(&self, name: &'static str, value: u64) {
        gauge!(name, "runner" => Arc::clone(&self.0)).set(value as f64);
    }

    fn gauge_of(&self, name: &'static str, label: &'static str, of: &'static str, value: f64) {
        gauge!(name, "runner" => Arc::clone(&self.0), label => of).set(value);
    }
}

/// Series of tenants and kinds that never asked are left out: most tenants ask for a few kinds only.
fn requests(runner: &Runner, series: &Series) {
    for (tenant, tally) in runner.inner().tallies.all() {
        let tenant: Arc<str> = tenant.map_or(OTHERS.into(), |tenant| tenant.as_str().into());
        for (kind, requests) in QuestionKind::ALL.into_iter().zip(tally.by_kind()) {
            for (outcome, count) in outcomes(&requests).into_iter().filter(|(_, count)| *count > 0) {
                counter!(
                    name::REQUESTS,
                    "runner" => Arc::clone(&series.0),
                    "tenant" => Arc::clone(&tenant),
                    "operation" => kind.as_str(),
                    "outcome" => outcome
                )
                .absolute(count);
            }
        }
    }
}

fn outcomes(requests: &Requests) -> [(&'static str, u64); 6] {
    [
        ("hit", requests.hits),
        ("tier", requests.tier),
        ("coalesced", requests.coalesced),
        ("miss", requests.misses),
        ("bypass", requests.bypasses),
        ("error", requests.errors),
    ]
}

#[expect(clippy::cast_precision_loss, reason = "what a gauge holds")]
fn savings(runner: &Runner, series: &Series) {
    for savings in runner.savings().by_kind {
        let operation = savings.kind.as_str();
        series.counter_of(name::LOADED, "operation", operation, savings.loaded);
        let (time, statements) = (savings.saved_time(), savings.saved_statements());
        series.gauge_of(name::SAVED_SECONDS, "operation", operation, time.as_secs_f64());
        series.gauge_of(name::SAVED_STATEMENTS, "operation", operation, statements as f64);
    }
}

fn cache(runner: &Runner, series: &Series) {
    let inner = runner.inner();
    let stats = runner.stats();
    series.counter(name::STATEMENTS, stats.statements);
    series.counter(name::THROUGH, stats.through);
    series.counter(name::AGAIN, stats.again);
    series.gauge(name::ENTRIES, stats.cache.size as u64);
    series.gauge(name::ENTRIES_MAX, stats.cache.max_size as u64);
    series.gauge(name::WEIGHT, inner.cache.weight());
    series.gauge(name::FLIGHTS, inner.cache.in_flight() as u64);
    series.gauge(name::LOADS_IN_FLIGHT, inner.loading.load(Ordering::Relaxed));
    series.gauge(name::GETS_WAITING, inner.gathering.waiting() as u64);
    let engine = &stats.cache.engine;
    for (cause, count) in [
        ("size", engine.evictions),
        ("expired", engine.expirations),
        ("replaced", engine.replacements),
        ("removed", engine.invalidations),
        ("rejected", engine.rejections),
    ] {
        series.counter_of(name::EVICTIONS, "cause", cause, count);
    }
    for (ending, count) in [
        ("failed", engine.load_failures),
        ("abandoned", engine.abandoned),
        ("refused", engine.refused),
    ] {
        series.counter_of(name::FLIGHTS_ENDED, "ending", ending, count);
    }
}

/// A store of one's own may have none.
fn connections(runner: &Runner, series: &Series) {
    if let Some(connections) = runner.inner().store.connections() {
        series.gauge_of(name::DB_CONNECTIONS, "state", "used", connections.used.into());
        series.gauge_of(name::DB_CONNECTIONS, "state", "idle", connections.idle.into());
        series.gauge(name::DB_CONNECTIONS_MAX, connections.max.into());
    }
}

fn coherence(runner: &Runner, series: &Series) {
    let stats = runner.stats().coherence;
    for (ending, count) in [
        ("kept", stats.kept),
        ("epoch", stats.refused_epoch),
        ("floor", stats.refused_floor),
        ("overtaken", stats.refused_overtaken),
        ("detached", stats.refused_detached),
        ("rejected", stats.refused_rejected),
        ("unfiled", stats.refused_unfiled),
    ] {
        series.counter_of(name::PUBLICATIONS, "ending", ending, count);
    }
    series.gauge(name::INDEX_BYTES, stats.index_bytes as u64);
    series.gauge(name::LOG_CHANGES, stats.log_records as u64);
    for (why, count) in runner.drop_reasons() {
        series.counter_of(name::INVALIDATIONS, "reason", reason(why), count);
    }
}

/// The name of what hit an entry.
fn reason(why: Why<Reason>) -> &'static str {
    match why {
        Why::Touches(reason) => reason.as_str(),
        Why::Group => "group",
        Why::Everything => "everything",
        Why::Fault => "fault",
    }
}

fn feed(runner: &Runner, series: &Series) {
    let feed = runner.feed();
    for state in FeedState::ALL {
        let is_it = f64::from(u8::from(state == feed.state));
        series.gauge_of(name::FEED_STATE, "state", state.as_str(), is_it);
    }
    series.counter_of(name::FEED_POLLS, "result", "good", feed.polls);
    series.counter_of(name::FEED_POLLS, "result", "failed", feed.failures);
    series.counter(name::FEED_CHANGES, feed.changes);
    series.counter(name::FEED_EPOCHS, feed.epochs);
    // Without a feed there is nothing to be behind.
    if feed.state != FeedState::Absent {
        let lag = feed.lag.map_or(f64::INFINITY, |lag| lag.as_secs_f64());
        gauge!(name::LAG_SECONDS, "runner" => Arc::clone(&series.0)).set(lag);
    }
}

/// Nothing is published of a tier that is not there.
fn tier(runner: &Runner, series: &Series) {
    let Some(tier) = runner.stats().tier else { return };
    for (outcome, count) in tier.reads {
        series.counter_of(name::TIER_READS, "outcome", outcome.as_str(), count);
    }
    for (result, count) in [
        ("written", tier.written),
        ("refreshed", tier.refreshed),
        ("deleted", tier.deleted),
        ("dropped", tier.dropped),
        ("over_budget", tier.over_budget),
        ("failed", tier.unwritten),
    ] {
        series.counter_of(name::TIER_WRITES, "result", result, count);
    }
    for (result, count) in [
        ("sent", tier.rings_sent),
        ("failed", tier.rings_failed),
        ("heard", tier.rings_heard),
    ] {
        series.counter_of(name::TIER_RINGS, "result", result, count);
    }
    series.gauge(name::TIER_WAITING, tier.waiting as u64);
    series.gauge(name::TIER_WAITING_BYTES, tier.waiting_bytes as u64);
    series.gauge(name::TIER_LEFT_ALONE, tier.is_skipped.into());
    series.gauge(name::TIER_LISTENING, tier.is_listening.into());
}

/// Nothing is published of a replica that is not there.
fn replica(runner: &Runner, series: &Series) {
    let Some(replica) = runner.stats().replica else {
        return;
    };
    for (outcome, count) in replica.loads {
        series.counter_of(name::REPLICA_LOADS, "outcome", outcome.as_str(), count);
    }
    series.gauge(name::REPLICA_LEFT_ALONE, replica.is_skipped.into());
}

fn audits(runner: &Runner, series: &Series) {
    let found = runner.audits();
    for (result, count) in [
        ("same", found.same),
        ("changed", found.changed),
        ("violation", found.violations),
        ("unsettled", found.unsettled),
    ] {
        series.counter_of(name::AUDITED, "result", result, count);
    }
    for (result, count) in [
        ("changed", found.drops_changed),
        ("unchanged", found.drops.saturating_sub(found.drops_changed)),
    ] {
        series.counter_of(name::AUDITED_DROPS, "result", result, count);
    }
}
