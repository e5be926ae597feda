//! Probes: is the process alive, is the database there, what does the service offer.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use ci_runner::{FeedState, FeedStatus};
use serde::Serialize;
use utoipa::ToSchema;

use super::params::Params;
use super::problem::{AliveProblems, OpenProblems, Problem, ProblemKind, ReadyProblems};
use super::{AppState, openapi};

/// A probe's answer.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// `ok`.
    status: &'static str,
}

const OK: Json<Health> = Json(Health { status: "ok" });

/// Says that the process answers; asks nobody else.
#[utoipa::path(get, path = "/healthz", tag = "service", security(()),
    responses((status = 200, description = "It answers", body = Health), AliveProblems))]
pub(crate) async fn healthz(RawQuery(query): RawQuery) -> Result<Json<Health>, Problem> {
    Params::parse(query.as_deref(), &[])?;
    Ok(OK)
}

/// Says whether the service should be sent requests: it is not about to stop, has the keys of JWTs if it needs them, and its change feed, which polls the database all the
/// time, is live and close behind. No statement is run for it while that is so; when not, one poll and one sign of life tell why.
#[utoipa::path(get, path = "/readyz", tag = "service", security(()),
    responses((status = 200, description = "Database and change feed are well", body = Health), ReadyProblems))]
pub(crate) async fn readyz(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Json<Health>, Problem> {
    Params::parse(query.as_deref(), &[])?;
    if app.is_stopping() {
        let detail = "the service was told to stop: send what comes next to another one";
        return Err(Problem::new(ProblemKind::Stopping, detail));
    }
    if app.access().lacks_keys() {
        let detail = "the keys of JWTs could not be fetched from their provider, so none of them counts: `ci-cache doctor` tells more";
        return Err(Problem::new(ProblemKind::KeysUnavailable, detail));
    }
    let runner = app.runner();
    if follows(&app).await {
        return Ok(OK);
    }
    let ping = tokio::time::timeout(app.options().ready_timeout, runner.ping());
    if !matches!(ping.await, Ok(Ok(()))) {
        let detail = "the database does not answer";
        return Err(Problem::new(ProblemKind::DatabaseUnavailable, detail));
    }
    if runner.feed().state == FeedState::Absent {
        return Ok(OK);
    }
    Err(behind(&app))
}

/// Whether the change feed is live and close behind; not where there is none. Runs no statement while it is.
pub(super) async fn follows(app: &AppState) -> bool {
    let runner = app.runner();
    if is_close(app, &runner.feed()) {
        return true;
    }
    // It may have begun just now, or have had a gap: the next poll tells. Who asks together shares one.
    runner.catch_up(app.options().ready_timeout).await;
    is_close(app, &runner.feed())
}

/// Whether answers from memory are as true as they should be.
pub(super) fn is_close(app: &AppState, feed: &FeedStatus) -> bool {
    let polls = matches!(feed.state, FeedState::Live | FeedState::CatchingUp);
    polls && feed.lag.is_some_and(|lag| lag <= app.options().ready_lag)
}

/// What is wrong with the feed.
pub(super) fn behind(app: &AppState) -> Problem {
    let feed = app.runner().feed();
    if feed.state == FeedState::Absent {
        let detail = "this service's store records no changes, so there is nothing to follow";
        return Problem::new(ProblemKind::FeedBehind, detail);
    }
    let bound = app.options().ready_lag.as_millis();
    let lag = match feed.lag {
        Some(lag) => format!("{} ms behind", lag.as_millis()),
        None => "behind by nobody knows how much".into(),
    };
    let advice = "`ci-cache doctor` tells more";
    let detail = format!(
        "the change feed is {} and {lag}; ready is up to {bound} ms: {advice}",
        feed.state.as_str()
    );
    Problem::new(ProblemKind::FeedBehind, detail)
}

/// Describes the service: this document.
#[utoipa::path(get, path = "/openapi.json", tag = "service", security(()),
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Object), OpenProblems))]
pub(crate) async fn openapi_json(RawQuery(query): RawQuery) -> Result<Response, Problem> {
    Params::parse(query.as_deref(), &[])?;
    Ok(([(CONTENT_TYPE, "application/json")], openapi::document()).into_response())
}
