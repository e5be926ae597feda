//! What surrounds every handler: a place among the requests at work, a time limit, panics, unknown routes, the trace.

use std::convert::Infallible;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use axum::extract::{MatchedPath, Request};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use tower::{Layer, Service};
use tracing::Instrument;
use tracing::field::Empty;

use super::problem::{Problem, ProblemKind};
use super::{AppState, access, changes, limit, metrics};
use crate::{traces, web};

/// All that surrounds the handlers, as one layer: each of its own costs every request some allocations.
#[derive(Debug, Clone)]
pub(crate) struct Surround {
    pub(crate) app: AppState,
    /// Whether what is for administrators is unknown here.
    pub(crate) is_public: bool,
}

impl<S> Layer<S> for Surround {
    type Service = Surrounded<S>;

    fn layer(&self, inner: S) -> Surrounded<S> {
        Surrounded {
            surround: self.clone(),
            inner,
        }
    }
}

/// A handler with all that surrounds it.
#[derive(Debug, Clone)]
pub(crate) struct Surrounded<S> {
    surround: Surround,
    inner: S,
}

impl<S> Service<Request> for Surrounded<S>
where
    S: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        // The one that was polled ready is used; the clone that stays is polled before it is.
        let inner = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, inner);
        let Surround { app, is_public } = self.surround.clone();
        Box::pin(async move {
            if is_public {
                request.extensions_mut().insert(web::Public);
            }
            let handle =
                |request| async move { inner.call(request).await.unwrap_or_else(|never| match never {}) };
            let handle = |request| limit::check(&app, request, handle);
            let check = |request| async {
                if is_public && access::is_administration(&request) {
                    return no_route().await.into_response();
                }
                access::check(&app, request, handle).await
            };
            let bound = |request| caught(bound(&app, request, check));
            let dressed = |request| web::dress(&app, request, bound);
            Ok(trace(&app, request, dressed).await)
        })
    }
}

/// Paths that take no place, and so are answered when all are taken: whoever asks the first three decides whether to restart the service, or
/// wants to know what it is busy with; to wait for changes is no work, and has places of its own; and who signs in is nobody yet, and has a
/// few of those.
const PLACELESS: [&str; 5] = [
    "/healthz",
    "/readyz",
    "/metrics",
    "/v1/{tenant}/changes",
    "/sign-in",
];

/// Gives the request a place, or refuses it at once, and bounds its time.
async fn bound<F>(app: &AppState, request: Request, next: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let is_placeless = route.is_some_and(|route| PLACELESS.iter().any(|path| route.ends_with(path)));
    let limit = match route {
        Some(route) if route.ends_with("/import") => app.options().import_timeout,
        // As long as a client may wait for something to happen, and then the time for an answer.
        Some(route) if route.ends_with("/changes") => app.options().request_timeout + changes::WAIT,
        _ => app.options().request_timeout,
    };
    // Held until the answer is made; answers are whole by then, only their bytes remain to be sent.
    let place = (!is_placeless).then(|| app.places().try_acquire_owned());
    let Ok(_place) = place.transpose() else {
        metrics::refused(app);
        let detail = "the service is answering as many requests as it may at once";
        return Problem::new(ProblemKind::Overloaded, detail).into_response();
    };
    let late = |detail: &str| Problem::new(ProblemKind::Timeout, detail).into_response();
    tokio::select! {
        // First, so that an answer that is ready is given whatever else has happened.
        biased;
        answered = tokio::time::timeout(limit, next(request)) => answered.unwrap_or_else(|_| {
            late("the answer was not ready in time; of a write it is not known whether it was done")
        }),
        () = app.is_cut() => {
            late("the service stops before the answer is ready; of a write it is not known whether it was done")
        }
    }
}

/// One span per request, one line and one count when it has been answered. Paths hold codes and queries hold keywords, so only
/// the route's pattern is recorded. A request whose client goes away before it is answered is not counted.
async fn trace<F>(app: &AppState, request: Request, next: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map(MatchedPath::as_str);
    let method = request.method().clone();
    let shown = route.unwrap_or_default();
    // Of the level debug, so that a hit is not slower by what nobody reads.
    let span = tracing::debug_span!(
        "http",
        otel.name = Empty,
        otel.kind = "server",
        http.request.method = %method,
        http.route = shown,
        http.response.status_code = Empty,
    );
    traces::join(&span, request.headers(), &method, shown);
    let began = Instant::now();
    let response = next(request).instrument(span.clone()).await;
    let took = began.elapsed();
    metrics::answered(app, route, &method, response.status(), took);
    span.record("http.response.status_code", response.status().as_u16());
    traces::ended(&span, response.status());
    span.in_scope(|| {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(status = response.status().as_u16(), micros, "answered");
    });
    response
}

/// Turns a panic in a handler into a 500, so that it ends one request and nothing else.
async fn caught(work: impl Future<Output = Response>) -> Response {
    // Nothing that the handler changed is looked at after its panic, but what all requests share, which panics leave whole.
    AssertUnwindSafe(work).catch_unwind().await.unwrap_or_else(|_| {
        // The panic hook has printed the message and the place; it may hold values, so the answer does not.
        Problem::new(ProblemKind::Internal, "the cause is in the log of the service").into_response()
    })
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
