//! What every page has around its content.

use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::{FromRequestParts, OriginalUri};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, Uri};
use axum::response::{Html, IntoResponse, Response};
use maud::{DOCTYPE, Markup, html};

use super::assets;
use crate::access::{Grant, Role, Tenants};
use crate::http::AppState;

/// How htmx is to behave: the style that it would insert is in our own.
const HTMX: &str = r#"{"includeIndicatorCSS":false}"#;

/// Who asks for a page; nobody where everybody is let in.
#[derive(Debug, Clone)]
pub(crate) struct Caller(pub(crate) Arc<Grant>);

/// Marks a request that came where administrators do not ask.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Public;

/// What a page has to know of its request.
#[derive(Debug, Clone)]
pub(crate) struct Shell {
    /// What the service is mounted under: nothing, or a path without a slash at its end.
    pub(crate) base: String,
    /// Who asks, where that is known.
    pub(crate) caller: Option<Arc<Grant>>,
    /// Whether htmx asks for a part of the page.
    pub(crate) is_part: bool,
    /// Whether everybody may do everything.
    is_open: bool,
    /// Whether there is no dashboard here: it has an address of its own.
    is_public: bool,
}

impl Shell {
    pub(crate) fn of(parts: &Parts, app: &AppState) -> Self {
        let caller = parts.extensions.get::<Caller>();
        Self {
            base: base(&parts.uri, &parts.extensions),
            caller: caller.map(|Caller(grant)| Arc::clone(grant)),
            is_part: asks_for_part(&parts.headers),
            is_open: app.access().is_open(),
            is_public: parts.extensions.get::<Public>().is_some(),
        }
    }

    /// Whether the caller may see the dashboard and use its controls.
    pub(crate) fn may_control(&self) -> bool {
        self.is_open
            || self
                .caller
                .as_ref()
                .is_some_and(|grant| grant.allows(Role::Admin, None))
    }

    /// The tenants that a caller's token names; none where it is for all.
    pub(crate) fn tenants(&self) -> Vec<String> {
        match self.caller.as_ref().map(|grant| &grant.tenants) {
            Some(Tenants::Named(names)) => names.iter().map(|name| name.as_str().to_owned()).collect(),
            Some(Tenants::All) | None => Vec::new(),
        }
    }

    /// A whole page.
    pub(crate) fn page(&self, title: &str, scripts: &[&str], content: &Markup) -> Response {
        Html(self.document(title, scripts, content).into_string()).into_response()
    }

    fn document(&self, title: &str, scripts: &[&str], content: &Markup) -> Markup {
        let asset = |name: &str| assets::address(&self.base, name);
        html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="htmx-config" content=(HTMX);
                    title { (title) " · ci-cache" }
                    link rel="icon" href="data:,";
                    @if scripts.contains(&"uplot.min.js") {
                        link rel="stylesheet" href=(asset("uplot.min.css"));
                    }
                    link rel="stylesheet" href=(asset("ci-cache.css"));
                    script defer src=(asset("htmx.min.js")) {}
                    @for name in scripts {
                        script defer src=(asset(name)) {}
                    }
                }
                body {
                    a class="skip" href="#content" { "Skip to the content" }
                    header class="top" { (self.top()) }
                    main id="content" tabindex="-1" { (content) }
                }
            }
        }
    }

    fn top(&self) -> Markup {
        html! {
            a class="brand" href={ (self.base) "/explore" } { "ci-cache" }
            nav aria-label="Pages" {
                @if self.may_control() && !self.is_public {
                    a href={ (self.base) "/" } { "Dashboard" }
                }
                @if self.is_open || self.caller.is_some() {
                    a href={ (self.base) "/explore" } { "Explorer" }
                }
            }
            @if let Some(grant) = &self.caller {
                form class="who" method="post" action={ (self.base) "/sign-out" } {
                    span { (grant.name) " (" (grant.role) ")" }
                    button type="submit" { "Sign out" }
                }
            }
        }
    }
}

impl FromRequestParts<AppState> for Shell {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Infallible> {
        Ok(Self::of(parts, app))
    }
}

/// Tells whether htmx asks for what it puts into a page. A page that it lost, when somebody goes back, it asks for as a whole.
fn asks_for_part(headers: &HeaderMap) -> bool {
    let is_whole = headers.contains_key("hx-history-restore-request")
        || headers
            .get("hx-request-type")
            .is_some_and(|kind| kind.as_bytes() == b"full");
    headers.contains_key("hx-request") && !is_whole
}

/// What the service is mounted under: what of the address was taken off before it came here.
pub(crate) fn base(uri: &Uri, extensions: &Extensions) -> String {
    let Some(OriginalUri(whole)) = extensions.get::<OriginalUri>() else {
        return String::new();
    };
    let (whole, own) = (whole.path(), uri.path());
    let base = whole.strip_suffix(own).unwrap_or(whole);
    base.trim_end_matches('/').to_owned()
}
