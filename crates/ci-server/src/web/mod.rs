//! The pages for people: a dashboard of the cache, and an explorer of what it answers from.
//!
//! They are drawn here, and work without a script, except that figures then stand still. Scripts make them live: htmx puts parts of pages in
//! place, uPlot draws a curve, a few lines of our own do the rest. All of it is embedded; the content security policy allows nothing
//! else, and no script or style within a page.
//!
//! - `layout.rs`: what every page has around it. `assets.rs`: what pages load. `words.rs`: figures as they are shown.
//! - `session.rs`, `sign_in.rs`: browsers that were let in.
//! - `explore.rs`, `ci.rs`, `graph.rs`, `drawing.rs`: search, a CI's page, its graph and how that is drawn; `fresh.rs`, `highlight.rs`,
//!   `links.rs`: what they share.
//! - `dashboard.rs`, `panels.rs`, `live.rs`: what the cache does, second by second. `admin.rs`: its buttons.

mod admin;
mod assets;
mod ci;
mod dashboard;
mod drawing;
mod explore;
mod fresh;
mod graph;
mod highlight;
mod layout;
mod links;
pub(crate) mod live;
mod panels;
mod session;
mod sign_in;
mod words;

use axum::Router;
use axum::body::Body;
use axum::extract::{MatchedPath, Request};
use axum::http::header::{
    ACCEPT, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderName, HeaderValue, Method, Uri};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{MethodRouter, get, post};
use ci_model::{Question, TenantId};
use maud::html;
use parking_lot::Mutex;
use std::sync::Arc;

use crate::access::Role;
use crate::http::{AppState, Need, ProblemKind, Told};
use layout::Shell;
pub(crate) use layout::{Caller, Public, base};
use links::Links;
pub(crate) use session::{is_of_own_page, is_of_some_page};

/// What pages need of the service.
#[derive(Debug, Default)]
pub(crate) struct Web {
    pub(crate) sessions: session::Sessions,
    /// Who signs in now.
    signing_in: sign_in::Places,
    pub(crate) live: live::Live,
    /// The hottest questions from before the last clear.
    pub(crate) hottest: Mutex<Vec<(TenantId, Question)>>,
}

/// A page, or what one loads.
struct Page {
    route: &'static str,
    need: Need,
    methods: &'static [&'static str],
    handlers: fn() -> MethodRouter<AppState>,
}

const fn page(
    route: &'static str,
    need: Need,
    methods: &'static [&'static str],
    handlers: fn() -> MethodRouter<AppState>,
) -> Page {
    Page {
        route,
        need,
        methods,
        handlers,
    }
}

/// Every page: one list makes the routes and says what they take.
static PAGES: [Page; 12] = {
    const ADMIN: Need = Need::Role(Role::Admin);
    const READ: Need = Need::Role(Role::Read);
    const ASK: &[&str] = &["GET"];
    const DO: &[&str] = &["POST"];
    [
        page("/", ADMIN, ASK, || get(dashboard::page)),
        page("/live", ADMIN, ASK, || get(live::live)),
        page("/control/clear", ADMIN, DO, || post(admin::clear)),
        page("/control/invalidate", ADMIN, DO, || post(admin::invalidate)),
        page("/control/warm", ADMIN, DO, || post(admin::warm)),
        page("/explore", Need::Known, ASK, || get(explore::tenants)),
        page("/explore/{tenant}", READ, ASK, || get(explore::search)),
        page("/explore/{tenant}/{id_or_code}", READ, ASK, || get(ci::page)),
        page("/explore/{tenant}/{id_or_code}/graph", READ, ASK, || {
            get(graph::page)
        }),
        page("/sign-in", Need::Nothing, &["GET", "POST"], || {
            get(sign_in::form).post(sign_in::sign_in)
        }),
        page("/sign-out", Need::Nothing, DO, || post(sign_in::sign_out)),
        page("/assets/{name}", Need::Nothing, ASK, || get(assets::asset)),
    ]
};

/// Every page for people, by method and route: what is served beside the operations of the OpenAPI document.
pub fn pages() -> Vec<(&'static str, &'static str)> {
    let all = PAGES.iter();
    all.flat_map(|page| page.methods.iter().map(|method| (*method, page.route)))
        .collect()
}

/// Nothing but what this service serves, and nothing within a page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// The routes of the pages.
pub(crate) fn routes() -> Router<AppState> {
    let pages = PAGES.iter();
    pages.fold(Router::new(), |router, page| {
        router.route(page.route, (page.handlers)())
    })
}

/// What a page takes; nothing for what is none.
pub(crate) fn page_of(uri: &Uri, extensions: &Extensions, route: &str) -> Option<Need> {
    // Asked for every request, so first by what most of them are: no page is below it.
    if route.contains("/v1/{tenant}/") {
        return None;
    }
    let own = match route.strip_prefix(&base(uri, extensions))? {
        "" => "/",
        own => own,
    };
    PAGES.iter().find(|page| page.route == own).map(|page| page.need)
}

/// Makes every answer to somebody who asked for a page one, also an error, and says what pages may do.
pub(crate) async fn dress<F>(app: &AppState, request: Request, next: impl FnOnce(Request) -> F) -> Response
where
    F: Future<Output = Response>,
{
    let route = request.extensions().get::<MatchedPath>().cloned();
    let (parts, body) = request.into_parts();
    if route
        .and_then(|route| page_of(&parts.uri, &parts.extensions, route.as_str()))
        .is_none()
    {
        return next(Request::from_parts(parts, body)).await;
    }
    let mut asked = Asked::new(&parts, app);
    let mut response = next(Request::from_parts(parts, body)).await;
    if let Some(Caller(grant)) = response.extensions().get() {
        asked.shell.caller = Some(Arc::clone(grant));
    }
    if let Some(told) = response.extensions_mut().remove::<Told>() {
        asked.tell(&told, &mut response);
    }
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // With none at all a browser would not say where a form comes from, either.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Where htmx is to go instead of putting the answer in place.
const HX_REDIRECT: HeaderName = HeaderName::from_static("hx-redirect");

/// What an error page has to know of its request.
struct Asked {
    shell: Shell,
    /// The path below the place where the service is mounted, with its query.
    path: String,
    /// Whether a person waits for a whole page.
    is_visit: bool,
}

impl Asked {
    fn new(parts: &Parts, app: &AppState) -> Self {
        let accepts = parts.headers.get(ACCEPT).and_then(|value| value.to_str().ok());
        let path = parts.uri.path_and_query();
        Self {
            shell: Shell::of(parts, app),
            path: path.map_or_else(|| "/".into(), |path| path.as_str().to_owned()),
            is_visit: parts.method == Method::GET && accepts.is_some_and(|kinds| kinds.contains("text/html")),
        }
    }

    /// Puts a page in the place of an error's JSON; one who has to sign in is sent there.
    fn tell(&self, told: &Told, response: &mut Response) {
        let Shell { base, is_part, .. } = &self.shell;
        if told.kind == ProblemKind::Unauthenticated {
            if *is_part {
                // The explorer's parts are at the address of their page, the commands at one of their own.
                let is_page = self.path.starts_with("/explore");
                let next = if is_page { self.path.as_str() } else { "/" };
                if let Ok(to) = HeaderValue::try_from(sign_in::address(base, next)) {
                    response.headers_mut().insert(HX_REDIRECT, to);
                }
            } else if self.is_visit {
                *response = Redirect::to(&sign_in::address(base, &self.path)).into_response();
                return;
            }
        }
        let said = html! { (told.detail) "." };
        let page = if *is_part {
            html! { p class="bad" role="alert" { (said) } }
                .into_string()
                .into_response()
        } else {
            let content = html! {
                section class="card" {
                    h1 { (told.title) }
                    p { (said) }
                    @for tenant in self.shell.tenants() {
                        p { a href=(Links::new(base, &tenant).search()) { "Explore " bdi { (tenant) } } }
                    }
                }
            };
            self.shell.page(told.title, &[], &content)
        };
        *response.body_mut() = Body::new(page.into_body());
        response.headers_mut().remove(CONTENT_LENGTH);
        let kind = HeaderValue::from_static("text/html; charset=utf-8");
        response.headers_mut().insert(CONTENT_TYPE, kind);
    }
}
