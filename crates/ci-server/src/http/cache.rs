//! What the cache does: its counters, and its entries.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use ci_runner::replica::ReplicaStats;
use ci_runner::tier::TierStats;
use ci_runner::{CoherenceStats, FeedState, FeedStatus, Reason, Why};
use serde::Serialize;
use utoipa::ToSchema;

use super::AppState;
use super::params::Params;
use super::problem::{PlainProblems, Problem};

/// Entries that are told when nothing is said.
const ENTRIES: usize = 50;
/// Most entries that are told.
const MAX_ENTRIES: usize = 1_000;

/// What the cache did since the service started.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheStats {
    /// Look-ups answered by a live entry.
    hits: u64,
    /// Look-ups that were not.
    misses: u64,
    /// Hits in percent of all look-ups.
    hit_rate: f64,
    /// Hits and misses.
    total_requests: u64,
    /// Entries now.
    size: usize,
    /// Most entries.
    max_size: usize,
    /// Entries dropped to make room.
    evictions: u64,
    /// Entries dropped because their time was over.
    expirations: u64,
    /// Entries dropped because of a write, or by command.
    invalidations: u64,
    /// Loads begun.
    loads: u64,
    /// Loads that failed.
    load_failures: u64,
    /// Questions that waited for another's load.
    coalesced: u64,
    /// Loads whose answer was not kept, because a write overtook them.
    refused: u64,
    /// Statements that loads have run on the database.
    statements: u64,
    /// Questions that were answered past the cache, because memory could not keep the promise of their level.
    through: u64,
    /// Changes of the database that were applied.
    changes: u64,
    /// Entries that a change dropped.
    dropped: u64,
    /// What hit them, and how often: `entered_window`, `columns_of_row`, …, `group`, `everything`, `fault`.
    drops_by_reason: BTreeMap<String, u64>,
    /// The change feed.
    feed: Feed,
    /// The tier that the fleet shares; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    tier: Option<TierBody>,
    /// The replica that answers loads; absent without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    replica: Option<ReplicaBody>,
    /// How long answers to questions with keywords and without filters are kept, in seconds.
    keyword_ttl_s: u64,
    /// How long answers to questions with filters are kept, in seconds.
    filter_ttl_s: u64,
    /// How long single CIs are kept, in seconds.
    get_ttl_s: u64,
    /// How long everything else is kept, in seconds.
    default_ttl_s: u64,
}

/// The replica that answers loads in the database's place.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ReplicaStatus)]
pub(crate) struct ReplicaBody {
    /// Loads that it might answer by how that ended: `used`, or why the primary was asked: `behind`, `ahead`, `blurred`, `history`, `promoted`,
    /// `unproven`, `failed`, `timed_out`, `skipped`, `no_mark`.
    loads: BTreeMap<&'static str, u64>,
    /// Whether it would not be asked now because it failed.
    left_alone: bool,
    /// Why it was not used last, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

impl From<ReplicaStats> for ReplicaBody {
    fn from(stats: ReplicaStats) -> Self {
        let loads = stats.loads.iter();
        Self {
            loads: loads.map(|(outcome, count)| (outcome.as_str(), *count)).collect(),
            left_alone: stats.is_skipped,
            trouble: stats.trouble,
        }
    }
}

/// The tier that the services of a fleet share.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TierStatus)]
pub(crate) struct TierBody {
    /// What kind of store it is.
    kind: &'static str,
    /// Values asked of it by how that ended: `hit`, `absent`, `failed`, `timed_out`, `skipped`, and why others were refused.
    reads: BTreeMap<&'static str, u64>,
    /// Answers that were written after a load.
    written: u64,
    /// Answers that were confirmed anew.
    refreshed: u64,
    /// Answers that were deleted because a change touched them.
    deleted: u64,
    /// Answers that were not written: too many waited, they were too large, their tenant has written enough, or the tier failed.
    unwritten: u64,
    /// Times that this service woke the others after a write.
    rings_sent: u64,
    /// Times that it could not.
    rings_failed: u64,
    /// Times that it was woken, its own rings included.
    rings_heard: u64,
    /// Whether it can be woken now; false without `tier_doorbell`.
    listening: bool,
    /// Whether it would not be asked now because it failed.
    left_alone: bool,
    /// The last trouble, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

impl From<TierStats> for TierBody {
    fn from(stats: TierStats) -> Self {
        let reads = stats.reads.iter();
        Self {
            kind: stats.kind,
            reads: reads.map(|(outcome, count)| (outcome.as_str(), *count)).collect(),
            written: stats.written,
            refreshed: stats.refreshed,
            deleted: stats.deleted,
            unwritten: stats.dropped + stats.over_budget + stats.unwritten,
            rings_sent: stats.rings_sent,
            rings_failed: stats.rings_failed,
            rings_heard: stats.rings_heard,
            listening: stats.is_listening,
            left_alone: stats.is_skipped,
            trouble: stats.trouble,
        }
    }
}

/// The change feed.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = FeedStatus)]
pub(crate) struct Feed {
    /// `starting`, `live`, `catching_up`, `gapped`, `stopped` or `absent`.
    #[schema(value_type = String)]
    state: FeedState,
    /// How far the cache is behind the database at most, in milliseconds; absent when nobody knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    lag_ms: Option<f64>,
    /// Polls that went well.
    polls: u64,
    /// Polls that failed.
    failures: u64,
    /// How often everything was forgotten because the history had a gap or ended.
    epochs: u64,
    /// The last trouble, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    trouble: Option<String>,
}

impl From<FeedStatus> for Feed {
    fn from(status: FeedStatus) -> Self {
        Self {
            state: status.state,
            lag_ms: status.lag.map(|lag| seconds(lag * 1_000)),
            polls: status.polls,
            failures: status.failures,
            epochs: status.epochs,
            trouble: status.trouble,
        }
    }
}

/// Loads that were answered and not kept, for any reason but the room.
fn refused(stats: &CoherenceStats) -> u64 {
    stats.refused_epoch
        + stats.refused_floor
        + stats.refused_overtaken
        + stats.refused_detached
        + stats.refused_unfiled
}

/// The name of what hit an entry.
pub(crate) fn reason(why: Why<Reason>) -> String {
    match why {
        Why::Touches(reason) => reason.to_string(),
        Why::Group => "group".into(),
        Why::Everything => "everything".into(),
        Why::Fault => "fault".into(),
    }
}

/// Tells what the cache did since the service started.
#[utoipa::path(get, path = "/v1/cache/stats", tag = "cache",
    responses((status = 200, description = "Counters", body = CacheStats), PlainProblems))]
pub(crate) async fn stats(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Json<CacheStats>, Problem> {
    Params::parse(query.as_deref(), &[])?;
    let stats = app.runner().stats();
    let cache = &stats.cache;
    let feed = app.runner().feed();
    let reasons = app.runner().drop_reasons().into_iter();
    Ok(Json(CacheStats {
        through: stats.through,
        changes: feed.changes,
        dropped: stats.coherence.dropped,
        drops_by_reason: reasons.map(|(why, count)| (reason(why), count)).collect(),
        feed: feed.into(),
        tier: stats.tier.map(TierBody::from),
        replica: stats.replica.map(ReplicaBody::from),
        hits: cache.hits,
        misses: cache.misses,
        hit_rate: cache.hit_rate,
        total_requests: cache.total_requests,
        size: cache.size,
        max_size: cache.max_size,
        evictions: cache.evictions,
        expirations: cache.engine.expirations,
        invalidations: cache.engine.invalidations,
        loads: cache.engine.loads,
        load_failures: cache.engine.load_failures,
        coalesced: cache.engine.coalesced,
        refused: refused(&stats.coherence),
        statements: stats.statements,
        keyword_ttl_s: cache.keyword_ttl.as_secs(),
        filter_ttl_s: cache.filter_ttl.as_secs(),
        get_ttl_s: cache.get_ttl.as_secs(),
        default_ttl_s: cache.default_ttl.as_secs(),
    }))
}

/// One entry, without its answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheEntry {
    /// The first characters of its key.
    key: String,
    /// Whose answer it is.
    tenant: String,
    /// The kind of question.
    kind: &'static str,
    /// CIs or groups in the answer.
    results: usize,
    /// Seconds since it was stored.
    age_s: f64,
    /// Seconds until it is too old.
    expires_in_s: f64,
    /// Look-ups that it answered.
    hits: u64,
    /// Filters of the question.
    filters: usize,
    /// Up to three keywords of the question.
    keywords: Vec<String>,
}

/// Entries, the most recently used first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CacheEntries {
    items: Vec<CacheEntry>,
}

/// Shows cached entries of all tenants without their answers, the most recently used first.
#[utoipa::path(get, path = "/v1/cache/entries", tag = "cache",
    params(("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Most entries; 50 by default")),
    responses((status = 200, description = "Entries", body = CacheEntries), PlainProblems))]
pub(crate) async fn entries(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Json<CacheEntries>, Problem> {
    let limit = limit(&Params::parse(query.as_deref(), &["limit"])?)?;
    let items = app.runner().entries(limit);
    let items = items.into_iter().map(|entry| CacheEntry {
        key: entry.key,
        tenant: entry.tenant,
        kind: entry.kind.as_str(),
        results: entry.results,
        age_s: seconds(entry.age),
        expires_in_s: seconds(entry.expires_in),
        hits: entry.hits,
        filters: entry.filters,
        keywords: entry.keywords,
    });
    Ok(Json(CacheEntries {
        items: items.collect(),
    }))
}

/// Seconds with three decimals.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1_000.0).round() / 1_000.0
}

/// Something that a change made go.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Drop)]
pub(crate) struct DropBody {
    /// The first characters of the entry's key; absent when everything of a tenant or of the cache went.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
    /// Why the change hit it.
    reason: String,
    /// What changed, for people: its form is not an interface.
    change: String,
    /// Seconds since the poll that brought the change.
    age_s: f64,
}

/// Drops, the latest first.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Drops {
    items: Vec<DropBody>,
}

/// Answers "why was this dropped?": the latest drops of all tenants, the latest first, each with the change that did it.
#[utoipa::path(get, path = "/v1/cache/drops", tag = "cache",
    params(("limit" = Option<u32>, Query, minimum = 1, maximum = 1000, description = "Most drops; 50 by default")),
    responses((status = 200, description = "Drops", body = Drops), PlainProblems))]
pub(crate) async fn drops(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Json<Drops>, Problem> {
    let limit = limit(&Params::parse(query.as_deref(), &["limit"])?)?;
    let now = app.runner().now();
    let latest = app.runner().drops().into_iter().rev().take(limit);
    let items = latest.map(|dropped| DropBody {
        key: dropped.key.map(|key| key.short()),
        reason: reason(dropped.why),
        change: dropped.change,
        age_s: seconds(now.saturating_since(dropped.at)),
    });
    Ok(Json(Drops {
        items: items.collect(),
    }))
}

/// How many to tell.
fn limit(params: &Params) -> Result<usize, Problem> {
    let limit = params.number("limit")?.unwrap_or(ENTRIES);
    if (1..=MAX_ENTRIES).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::invalid(format!(
        "the parameter `limit` must be from 1 to {MAX_ENTRIES}"
    )))
}
