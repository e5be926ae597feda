//! Refuses a tenant's requests that are more than it may ask.

use std::time::Duration;

use axum::extract::{FromRequestParts as _, Path, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use ci_model::TenantId;

use super::AppState;
use super::problem::{Problem, ProblemKind};
use crate::tenant_limits::Refusal;

/// Counts the request for the tenant that its path names; what names none is nobody's. After access: who may not ask for a tenant takes
/// nothing from it.
pub(crate) async fn check(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let segments = Path::<Vec<(String, String)>>::from_request_parts(&mut parts, &app).await;
    let request = Request::from_parts(parts, body);
    let tenant = segments.ok().and_then(|Path(segments)| {
        let mut segments = segments.into_iter();
        let (_, tenant) = segments.find(|(name, _)| name == "tenant")?;
        // What cannot be a tenant's name is refused by the handler, and kept by nobody.
        TenantId::new(tenant).ok()
    });
    let Some(tenant) = tenant else {
        return next.run(request).await;
    };
    // Held until the answer is made.
    let _place = match app.buckets().admit(tenant.as_str(), app.runner().now()) {
        Ok(place) => place,
        Err(refusal) => return refused(refusal).into_response(),
    };
    next.run(request).await
}

fn refused(refusal: Refusal) -> Problem {
    let (detail, wait) = match refusal {
        Refusal::Rate(wait) => ("this tenant asks more often than it may", wait),
        Refusal::Concurrency => (
            "this tenant has as many requests at work as it may",
            Duration::ZERO,
        ),
    };
    // A whole second is the least that the header can say.
    let seconds = u16::try_from(wait.as_millis().div_ceil(1_000).max(1)).unwrap_or(u16::MAX);
    Problem::new(ProblemKind::TooManyRequests, detail).retry_after(seconds)
}
