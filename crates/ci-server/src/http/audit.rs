//! The auditor of the service: cached answers are loaded again and compared, in the background or by command.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use ci_runner::{AuditReport, Audited, Violation};
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::time::MissedTickBehavior;
use utoipa::ToSchema;

use super::params::Params;
use super::problem::{ControlProblems, PlainProblems, Problem};
use super::{AppState, extract};

/// Answers that are audited when nothing is said.
const READS: usize = 100;
/// Most answers that are audited by one command.
const MAX_READS: usize = 1_000;

/// What audits found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Audit)]
pub(crate) struct AuditBody {
    /// Cached answers that were compared with the database, and settled.
    checked: u64,
    /// Those that the database confirmed.
    same: u64,
    /// Those that a recorded change had overtaken between the two looks.
    changed: u64,
    /// Those that were wrong: a defect of the cache. They were dropped.
    violations: u64,
    /// Audits that proved nothing: the load failed, the feed was behind, another history began.
    unsettled: u64,
    /// Answers that a change had dropped and that were loaded again.
    drops: u64,
    /// Those of them that had really changed.
    drops_changed: u64,
    /// Their share: how precise invalidation is; absent before the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    precision: Option<f64>,
    /// The latest violations, the latest last.
    latest: Vec<ViolationBody>,
}

/// An answer that was wrong.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Violation)]
pub(crate) struct ViolationBody {
    /// The first characters of the entry's key, as `/v1/cache/entries` showed it.
    key: String,
    /// Whose answer it was.
    tenant: String,
    /// The kind of question.
    kind: &'static str,
    /// The state at which the cache said that it was true.
    #[serde(skip_serializing_if = "Option::is_none")]
    as_of: Option<String>,
    /// The state at which the database answered something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    loaded: Option<String>,
    /// What went wrong.
    why: &'static str,
}

impl From<&AuditReport> for AuditBody {
    fn from(report: &AuditReport) -> Self {
        Self {
            checked: report.checked(),
            same: report.same,
            changed: report.changed,
            violations: report.violations,
            unsettled: report.unsettled,
            drops: report.drops,
            drops_changed: report.drops_changed,
            precision: report.precision(),
            latest: report.latest.iter().map(ViolationBody::from).collect(),
        }
    }
}

impl From<&Violation> for ViolationBody {
    fn from(violation: &Violation) -> Self {
        Self {
            key: violation.key.clone(),
            tenant: violation.tenant.to_string(),
            kind: violation.kind.as_str(),
            as_of: violation.as_of.as_ref().map(ToString::to_string),
            loaded: violation.loaded.as_ref().map(ToString::to_string),
            why: violation.why,
        }
    }
}

/// What was found, as the service tells it.
pub(crate) fn json(report: &AuditReport) -> serde_json::Value {
    // Numbers and texts always have a JSON form.
    serde_json::to_value(AuditBody::from(report)).unwrap_or_default()
}

/// Tells what audits have found since the service started, those in the background (`audit_rate`) and those by command.
#[utoipa::path(get, path = "/v1/cache/audit", tag = "cache",
    responses((status = 200, description = "What was found", body = AuditBody), PlainProblems))]
pub(crate) async fn audits(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Json<AuditBody>, Problem> {
    Params::parse(query.as_deref(), &[])?;
    Ok(Json((&app.runner().audits()).into()))
}

/// How many answers to audit.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct AuditRequest {
    /// Most cached answers to audit; 100 when nothing is said, 1,000 at most.
    #[schema(minimum = 1, maximum = 1000)]
    reads: Option<usize>,
}

/// Audits cached answers now: loads them again, and tells whether the cache was right. One after the other.
///
/// A difference that no recorded change explains is a violation: a defect of the cache. Each audit is a load for the database.
#[utoipa::path(post, path = "/v1/cache/audit", tag = "cache", request_body = AuditRequest,
    responses((status = 200, description = "What these audits found", body = AuditBody), ControlProblems))]
pub(crate) async fn post_audit(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<AuditBody>, Problem> {
    Params::parse(query.as_deref(), &[])?;
    let object = extract::json_object(&app, &headers, body).await?;
    let given: AuditRequest = extract::typed(object, &json!({}))?;
    let reads = given.reads.unwrap_or(READS);
    if !(1..=MAX_READS).contains(&reads) {
        return Err(Problem::invalid(format!("`reads` must be from 1 to {MAX_READS}")));
    }
    Ok(Json((&app.runner().auditor().audit_many(reads).await).into()))
}

/// Audits in the background, as often as the options say, for as long as it is polled. Never ends.
pub(super) async fn run(app: &AppState) {
    let Some(pause) = Duration::from_secs(60).checked_div(app.options().audit_rate) else {
        return std::future::pending().await;
    };
    let mut auditor = app.runner().auditor();
    let mut ticks = tokio::time::interval(pause);
    // After a slow load the others keep their distance.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match auditor.audit().await {
            // The runner tells of violations in the log.
            Ok(Audited::Unsettled(why)) => tracing::debug!(why, "an audit proved nothing"),
            Ok(_) => {}
            Err(error) => tracing::debug!(%error, "an answer was not audited"),
        }
    }
}
