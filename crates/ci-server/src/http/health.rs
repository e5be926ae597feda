//! Probes: is the process alive, is the database there, what does the service offer.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
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

/// Says whether the database answers, within a time limit.
#[utoipa::path(get, path = "/readyz", tag = "service", security(()),
    responses((status = 200, description = "The database answers", body = Health), ReadyProblems))]
pub(crate) async fn readyz(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Json<Health>, Problem> {
    Params::parse(query.as_deref(), &[])?;
    let ping = tokio::time::timeout(app.options().ready_timeout, app.runner().ping());
    if let Ok(Ok(())) = ping.await {
        return Ok(OK);
    }
    let detail = "the database does not answer";
    Err(Problem::new(ProblemKind::DatabaseUnavailable, detail))
}

/// Describes the service: this document.
#[utoipa::path(get, path = "/openapi.json", tag = "service", security(()),
    responses((status = 200, description = "An OpenAPI 3.1 document", body = Object), OpenProblems))]
pub(crate) async fn openapi_json(RawQuery(query): RawQuery) -> Result<Response, Problem> {
    Params::parse(query.as_deref(), &[])?;
    Ok(([(CONTENT_TYPE, "application/json")], openapi::document()).into_response())
}
