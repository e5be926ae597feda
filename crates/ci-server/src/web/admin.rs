//! The buttons of the dashboard: what the API's commands do, for a form.

use axum::body::Body;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Response};
use maud::{Markup, html};

use super::layout::Shell;
use super::words::things;
use crate::http::{self, AppState, Params, Problem, Subject, Target, Warming, body_bytes};

/// Empties the cache.
pub(crate) async fn clear(State(app): State<AppState>, shell: Shell) -> Response {
    let dropped = http::clear(&app);
    done(
        &shell,
        &html! { (things(dropped, "answer", "answers")) " forgotten." },
        Subject::default(),
    )
}

/// Drops some of it.
pub(crate) async fn invalidate(
    State(app): State<AppState>,
    shell: Shell,
    body: Body,
) -> Result<Response, Problem> {
    let form = form(&app, body, &["tenant", "ci", "key"]).await?;
    let target = Target::read(given(&form, "tenant")?, given(&form, "ci")?, given(&form, "key")?)?;
    let dropped = http::invalidate(&app, &target);
    let said = html! { (things(dropped, "answer", "answers")) " forgotten." };
    Ok(done(&shell, &said, target.subject()))
}

/// Asks the hottest questions again.
pub(crate) async fn warm(State(app): State<AppState>, shell: Shell, body: Body) -> Result<Response, Problem> {
    let form = form(&app, body, &["limit"]).await?;
    let asked = http::warm(&app, Warming::hottest(form.number("limit")?)?).await;
    let said = html! {
        (things(asked.loaded, "question", "questions")) " answered again"
        @if asked.failed > 0 { ", " (asked.failed) " failed" }
        @if asked.left > 0 { ", " (asked.left) " not asked after too many failures" }
        "."
    };
    Ok(done(&shell, &said, Subject::default()))
}

async fn form(app: &AppState, body: Body, fields: &[&str]) -> Result<Params, Problem> {
    let bytes = body_bytes(app, body).await?;
    let text = std::str::from_utf8(&bytes).map_err(|_| Problem::invalid("the form is not text"))?;
    Params::parse(Some(text), fields)
}

/// What was put into a field, if anything was.
fn given<'a>(form: &'a Params, field: &'a str) -> Result<Option<&'a str>, Problem> {
    Ok(form.one(field)?.map(str::trim).filter(|text| !text.is_empty()))
}

/// Says what was done, to htmx in its place, to a browser without scripts on a page.
fn done(shell: &Shell, said: &Markup, subject: Subject) -> Response {
    let said = html! { p class="good" { (said) } };
    let mut response = if shell.is_part {
        Html(said.into_string()).into_response()
    } else {
        let content = html! {
            section class="card" { h1 { "Done" } (said) p { a href={ (shell.base) "/" } { "Back to the dashboard" } } }
        };
        shell.page("Done", &[], &content)
    };
    response.extensions_mut().insert(subject);
    response
}
