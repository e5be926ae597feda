//! Lets a request through if its token allows it, and writes down who changed what.

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{FromRequestParts as _, MatchedPath, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use ci_model::TenantId;

use super::AppState;
use super::control::Subject;
use super::problem::{Problem, ProblemKind};
use crate::access::{Grant, Role};
use crate::web;

/// The target of the audit log: `CI_CACHE_LOG=ci_cache::audit=info` shows nothing else.
pub(super) const AUDIT: &str = "ci_cache::audit";
/// How many characters of a name it tells: as many as a code may have.
const SHOWN: usize = 200;

/// What a route takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing: probes and the service's description, which tell nothing of any tenant.
    Nothing,
    /// Any token that counts: of a page that shows no tenant's CIs.
    Known,
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
    // All that an assistant can do is ask.
    let asks = matches!(*method, Method::GET | Method::HEAD)
        || ["/v1/{tenant}/batch-get", "/v1/{tenant}/mcp"].contains(&route);
    Need::Role(if asks { Role::Read } else { Role::Write })
}

/// Tells whether a request is for what only administrators see: where they have an address of their own, it is unknown everywhere else.
pub(crate) fn is_administration(request: &Request) -> bool {
    let Some(route) = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str) else {
        return false;
    };
    let need = web::page_of(request.uri(), request.extensions(), route);
    let need = need.unwrap_or_else(|| self::need(request.method(), route));
    route.ends_with("/metrics") || need == Need::Role(Role::Admin)
}

/// Stands between every route and the world.
pub(crate) async fn check<F>(app: &AppState, request: Request, next: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    let Some(route) = request.extensions().get::<MatchedPath>().cloned() else {
        // There is nothing to protect, and it says so.
        return next(request).await;
    };
    let (mut parts, body) = request.into_parts();
    let page = web::page_of(&parts.uri, &parts.extensions, route.as_str());
    let need = page.unwrap_or_else(|| need(&parts.method, route.as_str()));
    let asks = matches!(parts.method, Method::GET | Method::HEAD);
    if need == Need::Nothing && asks {
        return next(Request::from_parts(parts, body)).await;
    }
    let segments = RawPathParams::from_request_parts(&mut parts, app).await.ok();
    let named = |name: &str| {
        let mut all = segments.as_ref()?.iter();
        all.find(|(known, _)| *known == name).map(|(_, value)| value)
    };
    let began = Instant::now();
    let from = if page.is_some() { From::Page } else { From::Program };
    let verdict = judge(app, &parts, need, from, named("tenant"));
    let is_told = match need {
        // Of those whom nobody knows, some: anybody can send any number of such requests.
        _ if verdict.refusal.is_some() => {
            verdict.caller.is_some() || app.strangers().is_told(app.runner().now())
        }
        Need::Role(role) => role > Role::Read,
        Need::Nothing | Need::Known => !asks,
    };
    if !is_told && page.is_none() && verdict.refusal.is_none() {
        return next(Request::from_parts(parts, body)).await;
    }
    let mut act = is_told.then(|| Act {
        method: parts.method.clone(),
        route: route.as_str().to_owned(),
        tenant: named("tenant").map(short),
        target: named("id_or_code").map(short),
        caller: verdict.caller.as_ref().map(|grant| Arc::clone(&grant.name)),
        began,
        is_told: false,
    });
    if let Some(grant) = &verdict.caller {
        parts.extensions.insert(web::Caller(Arc::clone(grant)));
    }
    let mut response = match verdict.refusal {
        Some(problem) => problem.into_response(),
        None => next(Request::from_parts(parts, body)).await,
    };
    if let Some(act) = &mut act {
        act.write_down(&response);
    }
    if let Some(grant) = verdict.caller {
        response.extensions_mut().insert(web::Caller(grant));
    }
    response
}

/// Who asks for a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum From {
    /// A program, by the API: a token is all that counts.
    Program,
    /// A browser, for a page: a session counts as well, and what changes something has to come from a page of this service.
    Page,
}

/// Who it is, if that is known, and why the request may not go on, if it may not.
#[derive(Debug, Default)]
struct Verdict {
    caller: Option<Arc<Grant>>,
    refusal: Option<Problem>,
}

impl Verdict {
    fn refused(caller: Option<Arc<Grant>>, kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            caller,
            refusal: Some(Problem::new(kind, detail)),
        }
    }
}

fn judge(app: &AppState, parts: &Parts, need: Need, from: From, tenant: Option<&str>) -> Verdict {
    let (access, headers) = (app.access(), &parts.headers);
    let asks = matches!(parts.method, Method::GET | Method::HEAD);
    // No page of another site can send a token, but it can send a form, or plain text, and the cookies of a gateway with it.
    let is_of_page = !asks && !headers.contains_key(header::AUTHORIZATION);
    let is_foreign = match from {
        From::Page => !web::is_of_own_page(headers),
        // A program says nothing of a page, and does no more harm by that than it can anyway.
        From::Program => web::is_of_some_page(headers) && !web::is_of_own_page(headers),
    };
    if is_of_page && is_foreign {
        let detail = "a browser may do this from a page of this service alone";
        return Verdict::refused(None, ProblemKind::Forbidden, detail);
    }
    if !app.options().hosts.allow(headers) {
        let detail =
            "this service answers to addresses, to localhost, and to the names of its setting `hosts`";
        return Verdict::refused(None, ProblemKind::Forbidden, detail);
    }
    if access.is_open() || need == Need::Nothing {
        return Verdict::default();
    }
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    // Of two it would have to be guessed which one counts.
    let authorization = given.next().filter(|_| given.next().is_none());
    let grant = match authorization {
        None if from == From::Page => {
            let base = web::base(&parts.uri, &parts.extensions);
            app.web().sessions.grant(access, headers, &base)
        }
        value => value.and_then(|value| access.grant(value.to_str().ok()?)),
    };
    let Some(grant) = grant else {
        let detail = "send `authorization: Bearer TOKEN` with a token of this service that has not expired";
        return Verdict::refused(None, ProblemKind::Unauthenticated, detail);
    };
    let Need::Role(role) = need else {
        return Verdict {
            caller: Some(grant),
            refusal: None,
        };
    };
    // What cannot be a tenant's name is nobody's; the handler says what is wrong with it to those who may ask about all.
    let tenant = tenant.map(TenantId::new);
    let allows = match &tenant {
        Some(Ok(tenant)) => grant.allows(role, Some(tenant)),
        Some(Err(_)) | None => grant.allows(role, None),
    };
    if allows {
        return Verdict {
            caller: Some(grant),
            refusal: None,
        };
    }
    // The same words whether the tenant has what was asked for, has anything, or is one at all.
    let detail = format!("this takes a token of the role {role} for what the path names");
    Verdict::refused(Some(grant), ProblemKind::Forbidden, detail)
}

/// A name as the audit log tells it: a path may hold kilobytes.
fn short(name: &str) -> String {
    name.chars().take(SHOWN).collect()
}

/// What is done or tried.
struct Act {
    method: Method,
    route: String,
    tenant: Option<String>,
    target: Option<String>,
    /// Who does it, if that is known.
    caller: Option<Arc<str>>,
    began: Instant,
    is_told: bool,
}

impl Act {
    /// Writes a line of the audit log: who, what, about which tenant and CI, and how it ended.
    fn write_down(&mut self, response: &Response) {
        // A command names its subject in the body, and who signs in is known only afterwards.
        let subject = response
            .extensions()
            .get::<Subject>()
            .cloned()
            .unwrap_or_default();
        let is_done = response.status().is_success() || response.status().is_redirection();
        let how = if is_done { "done" } else { "refused or failed" };
        self.tell(subject, Some(response.status()), how);
    }

    fn tell(&mut self, subject: Subject, status: Option<StatusCode>, how: &str) {
        self.is_told = true;
        let caller = self.caller.clone().or(subject.caller);
        let millis = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        tracing::info!(
            target: AUDIT,
            caller = caller.as_deref(),
            method = %self.method,
            route = self.route,
            tenant = self.tenant.as_ref().or(subject.tenant.as_ref()),
            ci = self.target.as_ref().or(subject.ci.as_ref()),
            status = status.map(|status| status.as_u16()),
            millis,
            "{how}",
        );
    }
}

/// A client that goes away, a time limit or a panic ends the request before it is answered; a write goes on all the same, so it is written
/// down all the same.
impl Drop for Act {
    fn drop(&mut self) {
        if !self.is_told {
            self.tell(Subject::default(), None, "not answered, perhaps done");
        }
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
            (M::POST, "/prefix/v1/{tenant}/batch-get", role(Role::Read)),
            (M::POST, "/v1/{tenant}/mcp", role(Role::Read)),
            (M::DELETE, "/v1/{tenant}/mcp", role(Role::Read)),
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
