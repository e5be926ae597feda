//! Signing in: a token is posted once, and a session's cookie is given for it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use maud::html;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::sync::Semaphore;

use super::layout::Shell;
use super::session;
use crate::http::{AppState, Params, Problem, ProblemKind, Subject, bytes_within};

/// Largest form, in bytes, and how long it may take to arrive: whoever sends it is nobody yet.
const FORM: (usize, Duration) = (16 * 1_024, Duration::from_secs(5));

/// A place for each of a few who sign in at the same time: apart from those of requests, which somebody without a token cannot take.
#[derive(Debug)]
pub(super) struct Places(Semaphore);

impl Default for Places {
    fn default() -> Self {
        Self(Semaphore::new(64))
    }
}

/// The form.
pub(crate) async fn form(shell: Shell, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["next"])?;
    Ok(page(&shell, own_path(params.one("next")?), false))
}

/// Checks the token, and begins a session.
pub(crate) async fn sign_in(
    State(app): State<AppState>,
    shell: Shell,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let Ok(_place) = app.web().signing_in.0.try_acquire() else {
        let detail = "as many sign in as may at once";
        return Err(Problem::new(ProblemKind::Overloaded, detail));
    };
    let bytes = bytes_within(FORM, body).await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Problem::invalid("the form is not text"))?;
    let params = Params::parse(Some(text), &["token", "next"])?;
    let next = own_path(params.one("next")?);
    let proof = app
        .access()
        .proof(params.one("token")?.unwrap_or_default().trim());
    let Some(proof) = proof.filter(|proof| app.access().granted(proof).is_some()) else {
        let mut response = page(&shell, next, true);
        *response.status_mut() = StatusCode::UNAUTHORIZED;
        return Ok(response);
    };
    let subject = Subject {
        caller: app.access().granted(&proof).map(|grant| Arc::clone(&grant.name)),
        ..Subject::default()
    };
    app.web().sessions.end(&headers, &shell.base);
    let secret = app.web().sessions.begin(proof);
    let to = format!("{}{next}", shell.base);
    let mut response = with_cookie(Redirect::to(&to), &secret, &shell, &headers);
    response.extensions_mut().insert(subject);
    Ok(response)
}

/// Ends the session.
pub(crate) async fn sign_out(State(app): State<AppState>, shell: Shell, headers: HeaderMap) -> Response {
    app.web().sessions.end(&headers, &shell.base);
    let to = format!("{}/sign-in", shell.base);
    with_cookie(Redirect::to(&to), "", &shell, &headers)
}

fn with_cookie(to: Redirect, secret: &str, shell: &Shell, headers: &HeaderMap) -> Response {
    let mut response = to.into_response();
    if let Some(cookie) = session::cookie(secret, &shell.base, headers) {
        response.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    response
}

/// Where one goes who has to sign in first.
pub(crate) fn address(base: &str, next: &str) -> String {
    format!(
        "{base}/sign-in?next={}",
        utf8_percent_encode(next, NON_ALPHANUMERIC)
    )
}

/// A path of this service, which an address made by somebody else need not be; the page that every token may see if it is none.
fn own_path(next: Option<&str>) -> &str {
    // Browsers take `\` for `/`, leave tabs and line ends out, and read `//HOST` as another site.
    let is_own = |path: &&str| {
        path.starts_with('/')
            && !path.starts_with("//")
            && !path.contains('\\')
            && !path.contains(char::is_control)
    };
    next.filter(is_own).unwrap_or("/explore")
}

fn page(shell: &Shell, next: &str, is_wrong: bool) -> Response {
    let content = html! {
        form class="card sign-in" method="post" action={ (shell.base) "/sign-in" } {
            h1 { "Sign in" }
            p { "With an API token of this service: of the role " code { "read" } " for the explorer, " code { "admin" }
                " for all tenants for the dashboard." }
            label for="token" { "Token" }
            input id="token" name="token" type="password" autocomplete="off" required autofocus
                aria-describedby=[is_wrong.then_some("wrong")];
            @if is_wrong {
                p id="wrong" class="bad" role="alert" { "This is no API token of this service, or it has expired. A JWT is for programs alone." }
            }
            input type="hidden" name="next" value=(next);
            button type="submit" { "Sign in" }
        }
    };
    shell.page("Sign in", &[], &content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_paths_of_this_service_are_gone_to() {
        for (next, to) in [
            (None, "/explore"),
            (Some("/explore/acme?q=a b"), "/explore/acme?q=a b"),
            (Some("//evil.example"), "/explore"),
            (Some("/\\evil.example"), "/explore"),
            (Some("/\t/evil.example"), "/explore"),
            (Some("https://evil.example"), "/explore"),
            (Some(""), "/explore"),
        ] {
            assert_eq!(own_path(next), to, "{next:?}");
        }
        assert_eq!(
            address("/x", "/explore/a?q=1"),
            "/x/sign-in?next=%2Fexplore%2Fa%3Fq%3D1"
        );
    }
}
