//! Lets a request through if its token allows it, and writes down who changed what.

use std::sync::Arc;
use std::time::Instant;

use axum::extract::{FromRequestParts as _, MatchedPath, Path, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use ci_model::TenantId;

use super::problem::{Problem, ProblemKind};
use super::{AppState, guard};
use crate::access::Role;

/// The target of the audit log: `CI_CACHE_LOG=ci_cache::audit=info` shows nothing else.
const AUDIT: &str = "ci_cache::audit";

/// What a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: probes and the service's description, which tell nothing of any tenant.
    Nothing,
    /// A token of this role, for the tenant in the path, or for all where there is none.
    Role(Role),
}

/// What a method of a route takes. A route that is not thought of here takes all there is.
pub(crate) fn need(method: &Method, route: &str) -> Need {
    // Mounted under a prefix, the route begins with that.
    let route = route.find("/v1/").map_or(route, |at| &route[at..]);
    if ["/healthz", "/readyz", "/openapi.json"]
        .iter()
        .any(|open| route.ends_with(open))
    {
        return Need::Nothing;
    }
    // It tells of all tenants, so the token has to be for all; one that may only ask is enough for a scraper, and each scrape is no
    // line of the audit log.
    if route.ends_with("/metrics") {
        return Need::Role(Role::Read);
    }
    if !route.starts_with("/v1/{tenant}/") {
        return Need::Role(Role::Admin);
    }
    // Axum answers HEAD wherever there is a GET.
    let asks = matches!(*method, Method::GET | Method::HEAD) || route.ends_with("/batch-get");
    Need::Role(if asks { Role::Read } else { Role::Write })
}

/// Answers what is for administrators as if it were not there.
pub(crate) async fn hide_administration(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let is_hidden = route.is_some_and(|route| {
        route.ends_with("/metrics") || need(request.method(), route) == Need::Role(Role::Admin)
    });
    if is_hidden {
        return guard::no_route().await.into_response();
    }
    next.run(request).await
}

/// Stands between every route and the world.
pub(crate) async fn check(State(app): State<AppState>, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let Some(need) = route.as_ref().map(|route| need(request.method(), route.as_str())) else {
        // There is nothing to protect, and it says so.
        return next.run(request).await;
    };
    let Need::Role(role) = need else {
        return next.run(request).await;
    };
    let (mut parts, body) = request.into_parts();
    let segments = Path::<Vec<(String, String)>>::from_request_parts(&mut parts, &app).await;
    let segments = segments.map_or_else(|_| Vec::new(), |Path(segments)| segments);
    let named = |name: &str| {
        segments
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    };
    let (tenant, target) = (
        named("tenant").map(str::to_owned),
        named("id_or_code").map(str::to_owned),
    );
    let act = Act {
        method: parts.method.clone(),
        route: route.map_or_else(String::new, |route| route.as_str().to_owned()),
        tenant,
        target,
    };
    let began = Instant::now();
    let (caller, refusal) = judge(&app, &parts.headers, role, act.tenant.as_deref());
    let is_refused = refusal.is_some();
    let response = match refusal {
        Some(problem) => problem.into_response(),
        None => next.run(Request::from_parts(parts, body)).await,
    };
    if is_refused || role > Role::Read {
        act.write_down(caller.as_deref(), &response, began);
    }
    response
}

/// Who it is, if that is known, and why the request may not go on, if it may not.
fn judge(
    app: &AppState,
    headers: &HeaderMap,
    role: Role,
    tenant: Option<&str>,
) -> (Option<Arc<str>>, Option<Problem>) {
    let access = app.access();
    if access.is_open() {
        return (None, None);
    }
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    // Of two it would have to be guessed which one counts.
    let authorization = given.next().filter(|_| given.next().is_none());
    let grant = authorization.and_then(|value| access.grant(value.to_str().ok()?));
    let Some(grant) = grant else {
        let detail = "send `authorization: Bearer TOKEN` with a token of this service that has not expired";
        return (None, Some(Problem::new(ProblemKind::Unauthenticated, detail)));
    };
    // What cannot be a tenant's name is nobody's; the handler says what is wrong with it to those who may ask about all.
    let tenant = tenant.map(TenantId::new);
    let allows = match &tenant {
        Some(Ok(tenant)) => grant.allows(role, Some(tenant)),
        Some(Err(_)) | None => grant.allows(role, None),
    };
    if allows {
        return (Some(grant.name), None);
    }
    // The same words whether the tenant has what was asked for, has anything, or is one at all.
    let detail = format!("this takes a token of the role {role} for what the path names");
    (
        Some(grant.name),
        Some(Problem::new(ProblemKind::Forbidden, detail)),
    )
}

/// What is done or tried.
struct Act {
    method: Method,
    route: String,
    tenant: Option<String>,
    target: Option<String>,
}

impl Act {
    /// Writes a line of the audit log: who, what, about which tenant and CI, and how it ended.
    fn write_down(&self, caller: Option<&str>, response: &Response, began: Instant) {
        let millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            target: AUDIT,
            caller,
            method = %self.method,
            route = self.route,
            tenant = self.tenant,
            ci = self.target,
            status = response.status().as_u16(),
            millis,
            "{}",
            if response.status().is_success() { "done" } else { "refused or failed" }
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_takes_what_it_does() {
        use Method as M;
        let role = |role| Need::Role(role);
        for (method, route, wanted) in [
            (M::GET, "/v1/{tenant}/cis", role(Role::Read)),
            (M::HEAD, "/v1/{tenant}/cis/{id_or_code}", role(Role::Read)),
            (M::POST, "/v1/{tenant}/batch-get", role(Role::Read)),
            (M::PUT, "/v1/{tenant}/cis/{id_or_code}", role(Role::Write)),
            (M::DELETE, "/v1/{tenant}/relations", role(Role::Write)),
            (M::POST, "/v1/{tenant}/import", role(Role::Write)),
            (M::GET, "/prefix/v1/{tenant}/cis", role(Role::Read)),
            (M::GET, "/v1/cache/entries", role(Role::Admin)),
            (M::GET, "/something/new", role(Role::Admin)),
            (M::GET, "/metrics", role(Role::Read)),
            (M::GET, "/prefix/metrics", role(Role::Read)),
            (M::GET, "/healthz", Need::Nothing),
            (M::GET, "/prefix/readyz", Need::Nothing),
            (M::GET, "/openapi.json", Need::Nothing),
        ] {
            assert_eq!(need(&method, route), wanted, "{method} {route}");
        }
    }
}
