//! What the service counts about itself, and `GET /metrics`.
//!
//! Labels are bounded: a route is the pattern of a path, never a path; what fits no route, and methods that HTTP does not
//! define, have one value together.

mod catalogue;
mod exporter;
mod series;

use std::sync::Arc;
use std::time::Duration;

use ::metrics::{counter, gauge, histogram};
use axum::extract::{RawQuery, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use ci_runner::metrics::Metric;

use super::AppState;
use super::params::Params;
use super::problem::{MetricsProblems, Problem, ProblemKind};
use crate::tenant_limits::Refusal;

pub use catalogue::CATALOGUE;
pub use exporter::Exporter;
pub(crate) use series::Series;

/// The text format of Prometheus.
pub const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What stands for a path that no route has.
const NO_ROUTE: &str = "none";
/// How often times are put into their buckets when nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);

/// Tells the metrics of the service, its runner and its cache to Prometheus. 404 when the service was given no exporter.
#[utoipa::path(get, path = "/metrics", tag = "service",
    responses(
        (status = 200, description = "All series, in the text format", body = String, content_type = PROMETHEUS_TEXT),
        MetricsProblems,
    ))]
pub(crate) async fn metrics(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    Params::parse(query.as_deref(), &[])?;
    let Some(exporter) = app.exporter() else {
        let detail = "this service publishes no metrics: the program it is part of may have a place of its own for them";
        return Err(Problem::new(ProblemKind::RouteNotFound, detail));
    };
    app.publish_metrics();
    Ok(([(CONTENT_TYPE, PROMETHEUS_TEXT)], exporter.render()).into_response())
}

/// Puts times into their buckets for as long as it is polled.
pub(super) async fn upkeep(app: &AppState) {
    let Some(exporter) = app.exporter() else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(UPKEEP).await;
        exporter.upkeep();
    }
}

/// Counts a request that was answered; without a route if no route has its path.
pub(super) fn answered(
    app: &AppState,
    route: Option<&str>,
    with: &Method,
    status: StatusCode,
    took: Duration,
) {
    let route = route.unwrap_or(NO_ROUTE);
    if let Some(exporter) = app.exporter() {
        let series = app.series();
        series.answered((app, exporter), route, (with, status), took.as_secs_f64());
        return;
    }
    let route: Arc<str> = route.into();
    counter!(
        catalogue::REQUESTS,
        "runner" => app.runner_name(),
        "route" => Arc::clone(&route),
        "method" => METHODS[method(with)].1,
        "status" => CLASSES[class(status)]
    )
    .increment(1);
    histogram!(catalogue::SECONDS, "runner" => app.runner_name(), "route" => route).record(took);
}

/// Counts a request that found no place.
pub(super) fn refused(app: &AppState) {
    to_recorder(app, || {
        counter!(catalogue::REFUSED, "runner" => app.runner_name()).increment(1);
    });
}

/// Counts a request of a tenant that asks for more than it may.
pub(super) fn limited(app: &AppState, limit: &'static str) {
    to_recorder(app, || {
        counter!(catalogue::LIMITED, "runner" => app.runner_name(), "limit" => limit).increment(1);
    });
}

/// Publishes the runner's metrics, and those of the service that are not counted as they happen.
#[expect(clippy::cast_precision_loss, reason = "what a gauge holds")]
pub(super) fn publish(app: &AppState) {
    let most = app.options().concurrency;
    let at_work = most.saturating_sub(app.places().available_permits());
    to_recorder(app, || {
        app.runner().publish_metrics();
        CATALOGUE.iter().for_each(Metric::describe);
        gauge!(catalogue::IN_FLIGHT, "runner" => app.runner_name()).set(at_work as f64);
        gauge!(catalogue::IN_FLIGHT_MAX, "runner" => app.runner_name()).set(most as f64);
        // A series that begins when the first is refused would hide that one from every rate.
        counter!(catalogue::REFUSED, "runner" => app.runner_name()).increment(0);
        for limit in Refusal::LIMITS {
            counter!(catalogue::LIMITED, "runner" => app.runner_name(), "limit" => limit).increment(0);
        }
    });
}

/// To the service's own exporter, or else to whatever recorder the program has.
fn to_recorder(app: &AppState, record: impl FnOnce()) {
    match app.exporter() {
        Some(exporter) => ::metrics::with_local_recorder(exporter, record),
        None => record(),
    }
}

/// The methods by what the label says; the last stands for those that HTTP does not define, of which clients can make up any number.
static METHODS: [(Method, &str); 10] = [
    (Method::GET, "GET"),
    (Method::HEAD, "HEAD"),
    (Method::POST, "POST"),
    (Method::PUT, "PUT"),
    (Method::DELETE, "DELETE"),
    (Method::PATCH, "PATCH"),
    (Method::OPTIONS, "OPTIONS"),
    (Method::CONNECT, "CONNECT"),
    (Method::TRACE, "TRACE"),
    (Method::GET, "other"),
];

/// Where a method is in [`METHODS`].
fn method(method: &Method) -> usize {
    let known = METHODS.iter().position(|(known, _)| known == method);
    known.unwrap_or(METHODS.len() - 1)
}

/// The classes of statuses.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Where the class of a status is in [`CLASSES`].
fn class(status: StatusCode) -> usize {
    usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1
}
