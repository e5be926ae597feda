//! What surrounds every handler: a place among the requests at work, a time limit, panics, unknown routes, the trace.

use std::any::Any;
use std::time::Instant;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tracing::Instrument;

use super::problem::{Problem, ProblemKind};
use super::{AppState, metrics};

/// Paths that take no place, and so are answered when all are taken: whoever asks them decides whether to restart the service, or
/// wants to know what it is busy with.
const PROBES: [&str; 3] = ["/healthz", "/readyz", "/metrics"];

/// Gives the request a place, or refuses it at once, and bounds its time.
pub(crate) async fn bound(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let is_probe = route.is_some_and(|route| PROBES.iter().any(|probe| route.ends_with(probe)));
    let limit = match route {
        Some(route) if route.ends_with("/import") => app.options().import_timeout,
        _ => app.options().request_timeout,
    };
    // Held until the answer is made; answers are whole by then, only their bytes remain to be sent.
    let place = (!is_probe).then(|| app.places().try_acquire_owned());
    let Ok(_place) = place.transpose() else {
        metrics::refused(&app);
        let detail = "the service is answering as many requests as it may at once";
        return Problem::new(ProblemKind::Overloaded, detail).into_response();
    };
    let late = |detail: &str| Problem::new(ProblemKind::Timeout, detail).into_response();
    tokio::select! {
        // First, so that an answer that is ready is given whatever else has happened.
        biased;
        answered = tokio::time::timeout(limit, next.run(request)) => answered.unwrap_or_else(|_| {
            late("the answer was not ready in time; of a write it is not known whether it was done")
        }),
        () = app.is_cut() => {
            late("the service stops before the answer is ready; of a write it is not known whether it was done")
        }
    }
}

/// One span per request, one line and one count when it has been answered. Paths hold codes and queries hold keywords, so only
/// the route's pattern is recorded. A request whose client goes away before it is answered is not counted.
pub(crate) async fn trace(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map(|route| route.as_str().to_owned());
    let method = request.method().clone();
    let shown = route.as_deref().unwrap_or_default();
    let span = tracing::info_span!("http", %method, route = shown, status = tracing::field::Empty);
    let began = Instant::now();
    let response = next.run(request).instrument(span.clone()).await;
    let took = began.elapsed();
    metrics::answered(&app, route, &method, response.status(), took);
    span.record("status", response.status().as_u16());
    span.in_scope(|| {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(status = response.status().as_u16(), micros, "answered");
    });
    response
}

type PanicHandler = fn(Box<dyn Any + Send + 'static>) -> Response;

/// Turns a panic in a handler into a 500, so that it ends one request and nothing else.
pub(crate) fn catch_panic() -> CatchPanicLayer<PanicHandler> {
    CatchPanicLayer::custom(panicked as PanicHandler)
}

fn panicked(_: Box<dyn Any + Send + 'static>) -> Response {
    // The panic hook has printed the message and the place; it may hold values, so the answer does not.
    Problem::new(ProblemKind::Internal, "the cause is in the log of the service").into_response()
}

/// A path that no route has.
pub(crate) async fn no_route() -> Problem {
    Problem::new(
        ProblemKind::RouteNotFound,
        "see /openapi.json for the paths of this service",
    )
}

/// A path that exists, with a method that it does not have.
pub(crate) async fn no_method() -> Problem {
    Problem::new(
        ProblemKind::MethodNotAllowed,
        "see the `allow` header for the methods of this path",
    )
}
