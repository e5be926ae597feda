//! What an administrator may do to the cache: empty it, drop some of it, warm it. The pages' buttons do the same by the same functions.

use std::collections::HashSet;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use ci_model::{CiRef, Get, Question, Search, TenantId};
use ci_runner::AskedAgain;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::params::{self, Params};
use super::problem::{ControlProblems, Problem};
use super::{AppState, extract};
use crate::search::Wanted;

/// Questions that are asked again when nothing is said.
const QUESTIONS: usize = 100;
/// Most questions that are asked again.
const MAX_QUESTIONS: usize = 1_000;

/// Whom a command was about, for the audit log; and who gave it, where that was not known before.
#[derive(Debug, Clone, Default)]
pub(crate) struct Subject {
    pub(crate) caller: Option<Arc<str>>,
    pub(crate) tenant: Option<String>,
    pub(crate) ci: Option<String>,
}

/// What is to be dropped.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    /// Every answer of a tenant.
    Tenant(TenantId),
    /// The answers of a tenant that show a CI or are about it.
    Ci(TenantId, CiRef),
    /// The answer to one question, by its key as it is shown.
    Key(String),
}

impl Target {
    /// Reads what is given: a tenant, with or without a CI of it, or a key.
    ///
    /// # Errors
    /// When it is none of these.
    pub(crate) fn read(tenant: Option<&str>, ci: Option<&str>, key: Option<&str>) -> Result<Self, Problem> {
        match (tenant, ci, key) {
            (Some(tenant), None, None) => Ok(Self::Tenant(TenantId::new(tenant)?)),
            (Some(tenant), Some(ci), None) => Ok(Self::Ci(TenantId::new(tenant)?, CiRef::parse(ci)?)),
            (None, None, Some(key)) if is_key(key) => Ok(Self::Key(key.to_owned())),
            (None, None, Some(_)) => Err(Problem::invalid(
                "`key` must be the 8 digits from 0 to f that the cache's entries show",
            )),
            _ => Err(Problem::invalid("give `tenant`, `tenant` and `ci`, or `key`")),
        }
    }

    /// Whom it is about.
    pub(crate) fn subject(&self) -> Subject {
        match self {
            Self::Tenant(tenant) => Subject {
                tenant: Some(tenant.to_string()),
                ..Subject::default()
            },
            Self::Ci(tenant, ci) => Subject {
                tenant: Some(tenant.to_string()),
                ci: Some(ci.to_string()),
                ..Subject::default()
            },
            Self::Key(_) => Subject::default(),
        }
    }
}

fn is_key(key: &str) -> bool {
    key.len() == 8 && key.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Forgets every answer of every tenant; says how many there were.
pub(crate) fn clear(app: &AppState) -> usize {
    remember(app);
    let entries = app.runner().stats().cache.size;
    app.runner().clear();
    entries
}

/// Forgets some answers; says how many.
pub(crate) fn invalidate(app: &AppState, target: &Target) -> usize {
    match target {
        Target::Tenant(tenant) => {
            remember(app);
            app.runner().tenant(tenant.clone()).invalidate()
        }
        Target::Ci(tenant, ci) => app.runner().tenant(tenant.clone()).invalidate_ci(ci),
        Target::Key(key) => app.runner().invalidate_key(key),
    }
}

/// Keeps the hottest questions in mind, so that they can be asked again when their answers are gone.
fn remember(app: &AppState) {
    let hottest = app.runner().hottest_questions(MAX_QUESTIONS);
    if !hottest.is_empty() {
        *app.web().hottest.lock() = hottest;
    }
}

/// What is to be asked again.
#[derive(Debug, Clone)]
pub(crate) enum Warming {
    /// Up to so many of the hottest questions: those of now, then those of before the last clear.
    Hottest(usize),
    /// These.
    Questions(Vec<(TenantId, Question)>),
}

impl Warming {
    /// The hottest questions, as many as are asked for, if that is a number that may be.
    pub(crate) fn hottest(limit: Option<usize>) -> Result<Self, Problem> {
        match limit.unwrap_or(QUESTIONS) {
            most @ 1..=MAX_QUESTIONS => Ok(Self::Hottest(most)),
            _ => Err(Problem::invalid(format!(
                "`limit` must be from 1 to {MAX_QUESTIONS}"
            ))),
        }
    }
}

/// Asks questions again and keeps the answers.
pub(crate) async fn warm(app: &AppState, warming: Warming) -> AskedAgain {
    let questions = match warming {
        Warming::Questions(questions) => questions,
        Warming::Hottest(most) => {
            let mut questions = app.runner().hottest_questions(most);
            questions.extend(app.web().hottest.lock().iter().cloned());
            let mut seen = HashSet::new();
            questions.retain(|question| seen.insert(question.clone()));
            questions.truncate(most);
            questions
        }
    };
    app.runner().ask_again(questions).await
}

/// How many answers went.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Cleared {
    /// Answers that were dropped.
    dropped: usize,
}

fn cleared(dropped: usize, subject: Subject) -> Response {
    let mut response = Json(Cleared { dropped }).into_response();
    response.extensions_mut().insert(subject);
    response
}

/// A command without particulars.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Clear {}

/// Forgets every cached answer of every tenant. Send `{}`.
///
/// Loads under way are answered and not kept.
#[utoipa::path(post, path = "/v1/cache/clear", tag = "cache", request_body = Clear,
    responses((status = 200, description = "It is empty", body = Cleared), ControlProblems))]
pub(crate) async fn post_clear(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Params::parse(query.as_deref(), &[])?;
    let Clear {} = extract::typed(extract::json_object(&app, &headers, body).await?, &json!({}))?;
    Ok(cleared(clear(&app), Subject::default()))
}

/// What to drop: the answers of a tenant, those about one CI of it, or one by its key.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Invalidate {
    /// Whose answers.
    tenant: Option<String>,
    /// Only those that show this CI, by id or code, or that are about it. Counts are not among them.
    ci: Option<String>,
    /// The key of an entry, as `/v1/cache/entries` shows it.
    key: Option<String>,
}

/// Forgets the answers of a tenant, those that show one CI of it, or the one with a key.
#[utoipa::path(post, path = "/v1/cache/invalidate", tag = "cache", request_body = Invalidate,
    responses((status = 200, description = "They are gone", body = Cleared), ControlProblems))]
pub(crate) async fn post_invalidate(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Params::parse(query.as_deref(), &[])?;
    let object = extract::json_object(&app, &headers, body).await?;
    let given: Invalidate = extract::typed(object, &json!({}))?;
    let target = Target::read(given.tenant.as_deref(), given.ci.as_deref(), given.key.as_deref())?;
    Ok(cleared(invalidate(&app, &target), target.subject()))
}

/// What to ask again: the hottest questions, or these of a tenant.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Warm {
    /// Most of the hottest questions, those from before the last clear included; 100 when nothing is said, 1,000 at most.
    #[schema(minimum = 1, maximum = 1000)]
    limit: Option<usize>,
    /// Whose questions; with `codes` or `searches`.
    tenant: Option<String>,
    /// Codes or ids of CIs to get.
    codes: Vec<String>,
    /// Texts to search for.
    searches: Vec<String>,
}

impl Warm {
    fn read(self) -> Result<Warming, Problem> {
        let asked = self.codes.len() + self.searches.len();
        let Some(tenant) = self.tenant else {
            if asked > 0 {
                return Err(Problem::invalid("`codes` and `searches` go with `tenant`"));
            }
            return Warming::hottest(self.limit);
        };
        if self.limit.is_some() || !(1..=MAX_QUESTIONS).contains(&asked) {
            return Err(Problem::invalid(format!(
                "with `tenant` give 1 to {MAX_QUESTIONS} `codes` and `searches` in all, and no `limit`"
            )));
        }
        let tenant = TenantId::new(tenant)?;
        let mut questions = Vec::with_capacity(asked);
        for code in &self.codes {
            questions.push((tenant.clone(), Question::Get(Get::new(CiRef::parse(code)?))));
        }
        for text in &self.searches {
            let wanted = Wanted {
                keywords: params::keywords(text),
                ..Wanted::default()
            };
            let request = wanted.request(Search::builder())?;
            if let Some((search, _)) = request.alone() {
                questions.push((tenant.clone(), Question::Search(search.clone())));
            }
        }
        Ok(Warming::Questions(questions))
    }
}

/// What became of the questions.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Warmed {
    /// Answered by the database, and kept.
    loaded: usize,
    /// Not answered.
    failed: usize,
    /// Not asked, because ten in a row failed before.
    left: usize,
}

/// Asks questions again and keeps the answers: the hottest ones, also those from before the last clear, or those that are given.
///
/// One after the other; an answer that is there is loaded anew.
#[utoipa::path(post, path = "/v1/cache/warm", tag = "cache", request_body = Warm,
    responses((status = 200, description = "They were asked", body = Warmed), ControlProblems))]
pub(crate) async fn post_warm(
    State(app): State<AppState>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    Params::parse(query.as_deref(), &[])?;
    let object = extract::json_object(&app, &headers, body).await?;
    let given: Warm = extract::typed(object, &json!({}))?;
    let subject = Subject {
        tenant: given.tenant.clone(),
        ..Subject::default()
    };
    let asked = warm(&app, given.read()?).await;
    let mut response = Json(Warmed {
        loaded: asked.loaded,
        failed: asked.failed,
        left: asked.left,
    })
    .into_response();
    response.extensions_mut().insert(subject);
    Ok(response)
}
