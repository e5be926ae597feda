//! What the cache is good for: what it saved by kind of question, and what each tenant has of it.

use std::time::Duration;

use axum::Json;
use axum::extract::{RawQuery, State};
use ci_runner::KindSavings;
use serde::Serialize;
use utoipa::ToSchema;

use super::AppState;
use super::params::Params;
use super::problem::{PlainProblems, Problem};

/// What the cache saved since the service started. Estimates: hits times the mean of the loads that were measured.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Savings)]
pub(crate) struct SavingsBody {
    /// Statements that the database did not run.
    saved_statements: u64,
    /// How much longer callers would have waited, in seconds.
    saved_s: f64,
    /// By kind of question.
    items: Vec<KindBody>,
}

/// One kind of question.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = KindSavings)]
pub(crate) struct KindBody {
    /// `get`, `search`, `list`, `aggregate`, `expand` or `path`.
    kind: &'static str,
    /// Whether its answers are cached.
    cached: bool,
    /// Requests answered from memory.
    hits: u64,
    /// Those answered from the tier that the fleet shares.
    tier: u64,
    /// Those that waited for another's load.
    coalesced: u64,
    /// Those that loaded.
    misses: u64,
    /// Those that went past the cache because they were told to.
    bypasses: u64,
    /// Those that failed.
    errors: u64,
    /// Answers that loads brought.
    loaded: u64,
    /// How long loading an answer takes on average, in milliseconds; absent before the first load.
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_load_ms: Option<f64>,
    /// Statements that an answer takes on average; absent before the first load.
    #[serde(skip_serializing_if = "Option::is_none")]
    mean_statements: Option<f64>,
    /// Statements that the database did not run.
    saved_statements: u64,
    /// How much longer callers would have waited, in seconds.
    saved_s: f64,
}

impl From<&KindSavings> for KindBody {
    fn from(kind: &KindSavings) -> Self {
        Self {
            kind: kind.kind.as_str(),
            cached: kind.cached,
            hits: kind.requests.hits,
            tier: kind.requests.tier,
            coalesced: kind.requests.coalesced,
            misses: kind.requests.misses,
            bypasses: kind.requests.bypasses,
            errors: kind.requests.errors,
            loaded: kind.loaded,
            mean_load_ms: kind.mean_load_time().map(|time| seconds(time) * 1_000.0),
            mean_statements: kind.mean_statements(),
            saved_statements: kind.saved_statements(),
            saved_s: seconds(kind.saved_time()),
        }
    }
}

/// Seconds with microseconds.
fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

/// Tells what the cache saved since the service started, by kind of question.
#[utoipa::path(get, path = "/v1/cache/savings", tag = "cache",
    responses((status = 200, description = "What was saved", body = SavingsBody), PlainProblems))]
pub(crate) async fn savings(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Json<SavingsBody>, Problem> {
    Params::parse(query.as_deref(), &[])?;
    let savings = app.runner().savings();
    Ok(Json(SavingsBody {
        saved_statements: savings.saved_statements(),
        saved_s: seconds(savings.saved_time()),
        items: savings.by_kind.iter().map(KindBody::from).collect(),
    }))
}

/// What one tenant has of the cache.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TenantUse)]
pub(crate) struct TenantBody {
    /// The tenant.
    tenant: String,
    /// Answers that are kept.
    entries: usize,
    /// How many it may count on now; 0 where shares are off.
    share: u64,
    /// Look-ups answered from memory.
    hits: u64,
    /// Look-ups that found nothing. Counted for the first 16,384 tenants.
    misses: u64,
    /// Answers dropped to make room.
    evictions: u64,
}

/// Tenants that have answers in the cache, by name.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = TenantUses)]
pub(crate) struct TenantsBody {
    items: Vec<TenantBody>,
}

/// Tells what each tenant has of the cache.
#[utoipa::path(get, path = "/v1/cache/tenants", tag = "cache",
    responses((status = 200, description = "Tenants", body = TenantsBody), PlainProblems))]
pub(crate) async fn tenants(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Json<TenantsBody>, Problem> {
    Params::parse(query.as_deref(), &[])?;
    let tenants = app.runner().tenants().into_iter();
    let items = tenants.map(|(tenant, stats)| TenantBody {
        tenant: tenant.as_str().to_owned(),
        entries: stats.entries,
        share: stats.share,
        hits: stats.hits,
        misses: stats.misses,
        evictions: stats.evictions,
    });
    Ok(Json(TenantsBody {
        items: items.collect(),
    }))
}
