//! Writes: a CI by its code, a relation by its three parts.

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use ci_model::{CiCode, CiDraft, CiOutcome, CiRef, Effect, RelationDraft, RelationOutcome, Token};
use ci_runner::Written;
use ci_store::WriteOptions;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::AppState;
use super::answer::set_token;
use super::conditional::{self, DRY_RUN};
use super::extract::{self, Segments};
use super::params::Params;
use super::problem::{DeleteProblems, Problem, ProblemKind, PutProblems, RemoveProblems, WriteProblems};

/// Creates or replaces a CI.
///
/// The body replaces the whole CI: a column that is left out becomes empty. `ci_code` may be left out; when it is
/// there it must equal the path's. With `if-match` nothing is overwritten that the writer has not seen.
#[utoipa::path(
    put,
    path = "/v1/{tenant}/cis/{id_or_code}",
    tag = "writes",
    params(
        ("tenant" = String, Path, description = "Whose CI"),
        ("id_or_code" = String, Path, description = "The code, percent-encoded; not an id"),
        ("dry_run" = Option<bool>, Query, description = "Tell what would be done, and do nothing"),
        ("if-match" = Option<String>, Header,
            description = "Only if the CI still has one of these: `etag` of an answer to a get of it; `*`: only if it is there"),
        ("if-none-match" = Option<String>, Header, description = "`*`: only if the CI is not there"),
    ),
    request_body(content = CiDraft, description = "The CI; `ci_code` may be left out"),
    responses(
        (status = 200, description = "Replaced, or already as given: see `effect`", body = CiOutcome,
            headers(("x-ci-token" = String, description = "A state that includes the write"))),
        (status = 201, description = "Created", body = CiOutcome,
            headers(("x-ci-token" = String, description = "A state that includes the write"))),
        PutProblems,
    ),
)]
pub(crate) async fn put_ci(
    State(app): State<AppState>,
    segments: Segments,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &[DRY_RUN])?;
    let options = conditional::options(&headers, &params)?;
    let code = written_code(segments.target()?)?;
    let mut object = extract::json_object(&app, &headers, body).await?;
    let given = object
        .entry("ci_code")
        .or_insert_with(|| Value::String(code.to_string()));
    if given.as_str() != Some(code.as_str()) {
        return Err(Problem::invalid(
            "the member `ci_code` of the body must equal the path's code, or be left out",
        ));
    }
    if options.only_if.is_some() && object.contains_key("ci_id") {
        // The condition is about the CI that the path names; the id may be another's.
        return Err(Problem::invalid(
            "leave the member `ci_id` out of a conditional write: the path names the CI",
        ));
    }
    let sample = json!({"ci_code": "code", "ci_name": "name", "ci_type": "type"});
    let draft: CiDraft = extract::typed(object, &sample)?;
    let (outcome, token) = only(segments.tenant.upsert_cis_with(vec![draft], options).await?)?;
    Ok(written(outcome.effect, outcome, token.as_ref()))
}

/// Soft-deletes a CI: it keeps its row and its relations, and a `PUT` brings it back.
#[utoipa::path(
    delete,
    path = "/v1/{tenant}/cis/{id_or_code}",
    tag = "writes",
    params(
        ("tenant" = String, Path, description = "Whose CI"),
        ("id_or_code" = String, Path, description = "Its id or code"),
        ("dry_run" = Option<bool>, Query, description = "Tell what would be done, and do nothing"),
        ("if-match" = Option<String>, Header,
            description = "Only if the CI still has one of these: `etag` of an answer to a get of it; `*`: only if it is there"),
    ),
    responses((status = 200, description = "Deleted", body = CiOutcome,
            headers(("x-ci-token" = String, description = "A state that includes the write"))), DeleteProblems),
)]
pub(crate) async fn delete_ci(
    segments: Segments,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &[DRY_RUN])?;
    let options = conditional::options(&headers, &params)?;
    let target = CiRef::parse(segments.target()?)?;
    let (outcome, token) = only(segments.tenant.delete_cis_with(vec![target], options).await?)?;
    if outcome.effect == Effect::Missing {
        return Err(Problem::no_ci(None));
    }
    Ok(written(outcome.effect, outcome, token.as_ref()))
}

/// Creates a relation between two CIs that are there.
#[utoipa::path(
    put,
    path = "/v1/{tenant}/relations",
    tag = "writes",
    params(
        ("tenant" = String, Path, description = "Whose CIs"),
        ("dry_run" = Option<bool>, Query, description = "Tell what would be done, and do nothing"),
    ),
    request_body = RelationDraft,
    responses(
        (status = 200, description = "It was there", body = RelationOutcome,
            headers(("x-ci-token" = String, description = "A state that includes the write"))),
        (status = 201, description = "Created", body = RelationOutcome,
            headers(("x-ci-token" = String, description = "A state that includes the write"))),
        WriteProblems,
    ),
)]
pub(crate) async fn put_relation(
    State(app): State<AppState>,
    segments: Segments,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &[DRY_RUN])?;
    conditional::refuse(&headers)?;
    let options = WriteOptions::default().dry_run(params.flag(DRY_RUN)?);
    let draft = relation(extract::json_object(&app, &headers, body).await?)?;
    let (outcome, token) = only(
        segments
            .tenant
            .upsert_relations_with(vec![draft], options)
            .await?,
    )?;
    Ok(written(outcome.effect, outcome, token.as_ref()))
}

/// Removes a relation for good; it is named by the query or by a JSON body.
#[utoipa::path(
    delete,
    path = "/v1/{tenant}/relations",
    tag = "writes",
    params(
        ("tenant" = String, Path, description = "Whose CIs"),
        ("from" = Option<String>, Query, description = "Code or id of the start"),
        ("to" = Option<String>, Query, description = "Code or id of the end"),
        ("rel_type" = Option<String>, Query, description = "The type"),
        ("dry_run" = Option<bool>, Query, description = "Tell what would be done, and do nothing"),
    ),
    request_body(content = Option<RelationDraft>, description = "Instead of the query"),
    responses((status = 200, description = "Removed", body = RelationOutcome,
            headers(("x-ci-token" = String, description = "A state that includes the write"))), RemoveProblems),
)]
pub(crate) async fn delete_relation(
    State(app): State<AppState>,
    segments: Segments,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    const PARAMS: &[&str] = &["from", "to", "rel_type"];
    let params = Params::parse(query.as_deref(), &[PARAMS, &[DRY_RUN]].concat())?;
    conditional::refuse(&headers)?;
    let options = WriteOptions::default().dry_run(params.flag(DRY_RUN)?);
    let draft = if PARAMS.iter().any(|name| params.all(name).next().is_some()) {
        let part = |name| params.required(name);
        RelationDraft::new(part("from")?, part("rel_type")?, part("to")?)
    } else {
        relation(extract::json_object(&app, &headers, body).await?)?
    };
    let (outcome, token) = only(
        segments
            .tenant
            .delete_relations_with(vec![draft], options)
            .await?,
    )?;
    if outcome.effect == Effect::Missing {
        let detail = "this tenant has no such relation";
        return Err(Problem::new(ProblemKind::RelationNotFound, detail));
    }
    Ok(written(outcome.effect, outcome, token.as_ref()))
}

/// The code that a path names for writing. An id cannot be written to: it is made from the code.
fn written_code(target: &str) -> Result<CiCode, Problem> {
    match CiRef::parse(target)? {
        CiRef::Code(code) => Ok(code),
        CiRef::Id(_) => Err(Problem::invalid(
            "name the CI by its code, not by its id, to write it",
        )),
    }
}

fn relation(object: Map<String, Value>) -> Result<RelationDraft, Problem> {
    extract::typed(object, &json!({"from": "a", "to": "b", "rel_type": "type"}))
}

/// The answer to a write: its outcome, and a state that includes it.
fn written(effect: Effect, outcome: impl Serialize, token: Option<&Token>) -> Response {
    let status = if effect == Effect::Created {
        StatusCode::CREATED
    } else {
        StatusCode::OK
    };
    let mut response = (status, Json(outcome)).into_response();
    set_token(response.headers_mut(), token);
    response
}

/// The outcome of a batch of one, and its token.
fn only<T>(written: Written<T>) -> Result<(T, Option<Token>), Problem> {
    let none = || Problem::new(ProblemKind::Internal, "the store reported no outcome");
    let Written { outcomes, token, .. } = written;
    let outcome = outcomes.into_iter().next().ok_or_else(none)?;
    Ok((outcome, token))
}
