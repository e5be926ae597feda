//! The HTTP service: a router to mount, and `serve` for a service of its own.

mod access;
mod answer;
mod cache;
mod connection;
mod desk;
mod extract;
mod graph;
mod guard;
mod health;
mod import;
mod level;
mod limit;
mod metrics;
mod openapi;
mod params;
mod problem;
mod read;
mod saved;
mod serve;
mod state;
mod tls;
mod write;

use axum::Router;
use axum::middleware;

pub use answer::X_CACHE;
pub use level::{X_CI_LAG, X_CI_SOURCE, X_CI_TOKEN};
pub use metrics::{CATALOGUE as METRICS, Exporter, PROMETHEUS_TEXT};
pub use openapi::document;
pub(crate) use params::split_names;
pub use problem::{PROBLEM_JSON, Problem, ProblemKind, retry_after};
pub use serve::{Server, serve};
pub use state::{AppState, ServerOptions};
pub use tls::{Tls, TlsError};

pub use crate::tenant_limits::TenantLimits;

/// Builds the service's router: every route of the OpenAPI document and no other, with all limits in place.
///
/// Mount it at the root, or under a prefix with [`Router::nest`]. Every answer that is not a success is
/// `application/problem+json`. `/metrics` answers 404 unless [`ServerOptions::metrics`] was given an exporter; a program with a
/// recorder of its own calls [`AppState::publish_metrics`] when that is read.
pub fn router(state: AppState) -> Router {
    let routes = routes(&state);
    surrounded(routes, state)
}

/// The router without what is for administrators, `/v1/cache/...` and `/metrics`: those paths are answered as unknown. For a service that
/// has [`router`] on a listener of its own for them, as [`Server::admin`] does.
pub fn public_router(state: AppState) -> Router {
    let routes = routes(&state).layer(middleware::from_fn(access::hide_administration));
    surrounded(routes, state)
}

fn routes(state: &AppState) -> Router<AppState> {
    let (routes, _) = openapi::api().split_for_parts();
    routes
        .fallback(guard::no_route)
        .method_not_allowed_fallback(guard::no_method)
        .layer(middleware::from_fn_with_state(state.clone(), limit::check))
        .layer(middleware::from_fn_with_state(state.clone(), access::check))
}

fn surrounded(routes: Router<AppState>, state: AppState) -> Router {
    routes
        .layer(middleware::from_fn_with_state(state.clone(), guard::bound))
        .layer(guard::catch_panic())
        .layer(middleware::from_fn_with_state(state.clone(), guard::trace))
        .with_state(state)
}
