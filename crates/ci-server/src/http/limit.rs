//! Refuses a tenant's requests that are more than it may ask.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts as _, MatchedPath, RawPathParams, Request};
use axum::response::{IntoResponse as _, Response};
use ci_model::TenantId;

use super::problem::{Problem, ProblemKind};
use super::{AppState, metrics};
use crate::places::{Full, Place, Places};
use crate::tenant_limits::Refusal;

/// Counts the request for the tenant that its path names; what names none is nobody's. After access: who may not ask for a tenant takes
/// nothing from it.
pub(crate) async fn check<F>(app: &AppState, request: Request, next: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    if app.options().tenant_limits.admits_all() {
        return next(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let segments = RawPathParams::from_request_parts(&mut parts, app).await.ok();
    let tenant = segments.as_ref().and_then(|segments| {
        let (_, tenant) = segments.iter().find(|(name, _)| *name == "tenant")?;
        // What cannot be a tenant's name is refused by the handler, and kept by nobody.
        TenantId::new(tenant).ok()
    });
    let route = parts.extensions.get::<MatchedPath>();
    let is_waiting = route.is_some_and(|route| route.as_str().ends_with("/changes"));
    let request = Request::from_parts(parts, body);
    let Some(tenant) = tenant else {
        return next(request).await;
    };
    // Held until the answer is made; to wait for changes is no work.
    let place = match app.buckets().admit(tenant.as_str(), app.runner().now()) {
        Ok(place) => place,
        Err(refusal) => return refused(app, refusal).into_response(),
    };
    let _place = place.filter(|_| !is_waiting);
    next(request).await
}

/// Takes a place for what goes on after its answer began.
pub(crate) fn place(
    app: &AppState,
    places: &Arc<Places>,
    tenant: &TenantId,
    refusal: Refusal,
) -> Result<Place, Problem> {
    places.take(tenant).map_err(|full| match (full, refusal) {
        (Full::Tenant, refusal) => refused(app, refusal),
        (Full::All, Refusal::Exports) => {
            Problem::new(ProblemKind::Overloaded, "as many exports run as may at once")
        }
        (Full::All, _) => Problem::new(ProblemKind::Overloaded, "as many follow changes as may at once"),
    })
}

fn refused(app: &AppState, refusal: Refusal) -> Problem {
    metrics::limited(app, refusal.limit());
    let (detail, wait) = match refusal {
        Refusal::Rate(wait) => ("this tenant asks more often than it may", wait),
        Refusal::Concurrency => (
            "this tenant has as many requests at work as it may",
            Duration::ZERO,
        ),
        Refusal::Followers => (
            "this tenant has as many clients that follow its changes as it may",
            Duration::ZERO,
        ),
        Refusal::Exports => ("this tenant has as many exports as it may", Duration::ZERO),
    };
    // A whole second is the least that the header can say.
    let seconds = u16::try_from(wait.as_millis().div_ceil(1_000).max(1)).unwrap_or(u16::MAX);
    Problem::new(ProblemKind::TooManyRequests, detail).retry_after(seconds)
}
