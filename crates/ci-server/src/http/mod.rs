//! The HTTP service: a router to mount, and `serve` for a service of its own.

mod access;
mod answer;
mod audit;
mod bodies;
mod cache;
mod changes;
mod common;
mod conditional;
mod connection;
mod control;
mod desk;
mod encoded;
mod export;
mod extract;
mod graph;
mod guard;
mod health;
mod hosts;
mod import;
mod level;
mod limit;
#[cfg(feature = "mcp")]
mod mcp;
#[cfg(not(feature = "mcp"))]
#[path = "mcp_off.rs"]
mod mcp;
mod metrics;
mod openapi;
mod params;
mod patient;
mod problem;
mod read;
mod saved;
mod serve;
mod state;
mod strangers;
mod tls;
mod words;
mod write;

use axum::Router;

use crate::web;

pub use crate::web::pages;
pub(crate) use access::Need;
pub(crate) use answer::Origin;
pub use answer::X_CACHE;
pub(crate) use audit::json as audit_body;
pub(crate) use cache::reason as drop_reason;
pub(crate) use control::{Subject, Target, Warming, clear, invalidate, warm};
pub(crate) use encoded::Part;
pub(crate) use extract::{Segments, bytes as body_bytes, bytes_within};
pub use level::{X_CI_LAG, X_CI_SOURCE, X_CI_TOKEN};
pub(crate) use mcp::{fault as assistants_fault, set as set_assistants};
pub use metrics::{CATALOGUE as METRICS, Exporter, PROMETHEUS_TEXT};
pub use openapi::document;
pub(crate) use params::{Params, keywords, split_names};
pub(crate) use problem::Told;
pub use problem::{PROBLEM_JSON, Problem, ProblemKind, retry_after};
pub use serve::{Server, serve};
pub use state::{AppState, ServerOptions};
pub use tls::{Tls, TlsError};

pub use crate::tenant_limits::TenantLimits;

/// Builds the service's router: every route of the OpenAPI document, the pages for people ([`pages`]), with the feature `mcp` the one for AI
/// assistants (`POST /v1/{tenant}/mcp`), and no other, with all limits in place.
///
/// Mount it at the root, or under a prefix with [`Router::nest`]. Every answer of the API that is not a success is
/// `application/problem+json`; of the pages it is a page. `/metrics` answers 404 unless [`ServerOptions::metrics`] was given an exporter; a program with a
/// recorder of its own calls [`AppState::publish_metrics`] when that is read.
pub fn router(state: AppState) -> Router {
    surrounded(state, false)
}

/// The router without what is for administrators, `/v1/cache/...`, `/metrics` and the dashboard: those paths are answered as unknown. For a
/// service that has [`router`] on a listener of its own for them, as [`Server::admin`] does.
pub fn public_router(state: AppState) -> Router {
    surrounded(state, true)
}

fn surrounded(app: AppState, is_public: bool) -> Router {
    let (routes, _) = openapi::api().split_for_parts();
    routes
        .merge(web::routes())
        .merge(mcp::routes())
        .fallback(guard::no_route)
        .method_not_allowed_fallback(guard::no_method)
        .layer(guard::Surround {
            app: app.clone(),
            is_public,
        })
        .with_state(app)
}
