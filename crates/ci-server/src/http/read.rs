//! Questions about CIs: search, list, get, batch get, aggregate.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use ci_model::{Aggregate, CiCode, CiDetail, CiId, CiRef, Get, List, ListPage, Search};
use serde::Deserialize;
use utoipa::ToSchema;

use super::AppState;
use super::answer::Origin;
use super::encoded::Part;
use super::extract::{self, Segments};
use super::params::{self, Params};
use super::problem::{AskProblems, BatchProblems, FindProblems, Problem};
use crate::search::{self, SearchBody, Wanted};
use crate::wire::{BatchBody, GroupsBody};

/// Finds CIs by keywords and filters.
///
/// Every keyword must be found in the code, name, type, subtype or category, in any case, and every filter must hold.
/// When nothing is found and `strict` is not set, identifiers in the text are tried, then any of the keywords; `mode`
/// says which. CIs whose code or name equals a keyword, in any case, come first, unless `sort` or `strict` is given: then
/// the order is the sort alone; with `rank` those come first whose code is `q`, then whose name is, then those that begin with
/// it. Without `q` and filters it lists all CIs in the order of `sort`.
///
/// `next` of an answer is the `cursor` of the next page of the same search: what comes or goes meanwhile shifts nothing. Rows, total
/// and facets are true at one state. `age` is 0 where more than the first rows is asked for.
#[utoipa::path(
    get,
    path = "/v1/{tenant}/cis",
    tag = "questions",
    params(
        ("tenant" = String, Path, description = "Whose CIs"),
        ("q" = Option<String>, Query, description = "Keywords, separated by white space; double quotes keep a phrase"),
        ("filter" = Option<Vec<String>>, Query, explode = true,
            description = "`ci_type=SW`, `owner contains ops`, `criticality>=4`, `tags.env in prod,stage`, …; repeatable"),
        ("sort" = Option<String>, Query, description = "`ci_code` (default), `ci_name`, …; with `:desc` descending"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500, description = "Most results; 10 by default"),
        ("rank" = Option<bool>, Query, description = "By how well `q` fits, then by `sort`"),
        ("cursor" = Option<String>, Query, description = "`next` of an answer to the same search"),
        ("total" = Option<bool>, Query, description = "Also how many there are in all"),
        ("facet" = Option<Vec<String>>, Query, explode = true,
            description = "Also how many there are of each value of this field; up to 16, repeatable or separated by commas"),
        ("facet_limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Most values of a facet; 50 by default"),
        ("fields" = Option<Vec<String>>, Query, explode = true,
            description = "Show these fields alone, such as `ci_code,tags.env`; repeatable or separated by commas"),
        ("strict" = Option<bool>, Query, description = "No fallback when nothing is found"),
        ("include_deleted" = Option<bool>, Query, description = "Also find soft-deleted CIs"),
    ),
    responses(
        (status = 200, description = "What was found, possibly nothing", body = SearchBody),
        AskProblems,
    ),
)]
pub(crate) async fn search(segments: Segments, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    const PARAMS: &[&str] = &[
        "q",
        "filter",
        "sort",
        "rank",
        "limit",
        "cursor",
        "total",
        "facet",
        "facet_limit",
        "fields",
        "strict",
        "include_deleted",
    ];
    let params = Params::of_question(query.as_deref(), PARAMS)?;
    let view = segments.view(&params)?;
    let text = params.one("q")?.unwrap_or_default();
    let wanted = Wanted {
        keywords: params::keywords(text),
        sort: params.word("sort")?,
        strict: params.flag("strict")?,
        rank: params.flag("rank")?.then(|| text.to_owned()),
        after: params.word("cursor")?,
        total: params.flag("total")?,
        facets: params.names("facet"),
        facet_limit: params.number("facet_limit")?,
        fields: params.names("fields"),
    };
    let mut search = Search::builder()
        .filters(params.filters()?)
        .include_deleted(params.flag("include_deleted")?);
    if let Some(limit) = params.number("limit")? {
        search = search.limit(limit);
    }
    let request = wanted.request(search)?;
    let found = search::find(&view, &request).await?;
    let origin = Origin::of_found(&found);
    segments.send(&origin, &found.parts(), || SearchBody::from(&found))
}

/// Lists CIs page by page, newest or last changed first, with their total.
#[utoipa::path(
    get,
    path = "/v1/{tenant}/list",
    tag = "questions",
    params(
        ("tenant" = String, Path, description = "Whose CIs"),
        ("filter" = Option<Vec<String>>, Query, explode = true, description = "As of a search; repeatable"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 500, description = "Results per page; 50 by default"),
        ("offset" = Option<u32>, Query, maximum = 10_000_000, description = "How many of the first to leave out"),
        ("order" = Option<String>, Query, description = "`created` (default) or `updated`: which come first"),
        ("total" = Option<bool>, Query, description = "`false` to leave the total out, which takes the database longer than the page"),
        ("include_deleted" = Option<bool>, Query, description = "Also list soft-deleted CIs"),
    ),
    responses(
        (status = 200, description = "One page", body = ListPage),
        AskProblems,
    ),
)]
pub(crate) async fn list(segments: Segments, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    const PARAMS: &[&str] = &["filter", "limit", "offset", "order", "total", "include_deleted"];
    let params = Params::of_question(query.as_deref(), PARAMS)?;
    let view = segments.view(&params)?;
    let mut list = List::builder()
        .filters(params.filters()?)
        .offset(params.number("offset")?.unwrap_or_default())
        .order(params.word("order")?.unwrap_or_default())
        .total(params.one("total")?.is_none() || params.flag("total")?)
        .include_deleted(params.flag("include_deleted")?);
    if let Some(limit) = params.number("limit")? {
        list = list.limit(limit);
    }
    let answer = view.list(&list.build()?).await?;
    segments.send(&Origin::of(&answer), &[Part::of(&answer.value)], || {
        &*answer.value
    })
}

/// Gets all columns of one CI.
#[utoipa::path(
    get,
    path = "/v1/{tenant}/cis/{id_or_code}",
    tag = "questions",
    params(
        ("tenant" = String, Path, description = "Whose CI"),
        ("id_or_code" = String, Path, description = "A UUID in its hyphenated form, or a code, percent-encoded"),
        ("include_deleted" = Option<bool>, Query, description = "Also when it is soft-deleted"),
    ),
    responses(
        (status = 200, description = "The CI", body = CiDetail),
        FindProblems,
    ),
)]
pub(crate) async fn get(segments: Segments, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::of_question(query.as_deref(), &["include_deleted"])?;
    let view = segments.view(&params)?;
    let get = Get::new(CiRef::parse(segments.target()?)?).include_deleted(params.flag("include_deleted")?);
    let answer = view.get(&get).await?;
    let origin = Origin::of(&answer);
    let ci = answer.value.ok_or_else(|| Problem::no_ci(Some(&origin)))?;
    segments.send(&origin, &[Part::of(&ci)], || &*ci)
}

/// Which CIs to get at once.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
#[schema(as = BatchQuestion)]
pub(crate) struct BatchGet {
    /// Codes.
    codes: Vec<String>,
    /// Ids.
    ids: Vec<CiId>,
    /// Also soft-deleted ones.
    include_deleted: bool,
}

/// Gets all columns of up to 1,000 CIs at once.
#[utoipa::path(
    post,
    path = "/v1/{tenant}/batch-get",
    tag = "questions",
    params(
        ("tenant" = String, Path, description = "Whose CIs"),
    ),
    request_body = BatchGet,
    responses(
        (status = 200, description = "Those that are there, and the names of the others", body = BatchBody),
        BatchProblems,
    ),
)]
pub(crate) async fn batch_get(
    State(app): State<AppState>,
    segments: Segments,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let params = Params::of_question(query.as_deref(), &[])?;
    let view = segments.view(&params)?;
    let object = extract::json_object(&app, &headers, body).await?;
    let asked: BatchGet = extract::typed(object, &serde_json::json!({}))?;
    let mut gets = Vec::with_capacity(asked.codes.len() + asked.ids.len());
    for code in &asked.codes {
        gets.push(Get::new(CiCode::new(code)?).include_deleted(asked.include_deleted));
    }
    for id in &asked.ids {
        gets.push(Get::new(*id).include_deleted(asked.include_deleted));
    }
    let answers = view.get_many(&gets).await?;
    let names: Vec<String> = asked.ids.iter().map(ToString::to_string).collect();
    let names = asked.codes.iter().chain(&names).map(String::as_str);
    let (mut items, mut missing) = (Vec::new(), Vec::new());
    for (name, answer) in names.zip(&answers) {
        match answer.value.as_deref() {
            Some(ci) => items.push(ci),
            None => missing.push(name),
        }
    }
    let origin = Origin::of_all(&answers);
    Segments::send_once(&origin, &BatchBody { items, missing })
}

/// Counts CIs by the values of up to four fields.
#[utoipa::path(
    get,
    path = "/v1/{tenant}/aggregate",
    tag = "questions",
    params(
        ("tenant" = String, Path, description = "Whose CIs"),
        ("group_by" = Option<Vec<String>>, Query, explode = true,
            description = "`ci_type`, `tags.env`, …; repeatable or separated by commas; one group of all when absent"),
        ("distinct" = Option<String>, Query, description = "Also count the distinct values of this field"),
        ("q" = Option<String>, Query, description = "As of a search"),
        ("filter" = Option<Vec<String>>, Query, explode = true, description = "As of a search; repeatable"),
        ("limit" = Option<u32>, Query, minimum = 1, maximum = 200, description = "Most groups; 50 by default"),
        ("include_deleted" = Option<bool>, Query, description = "Also count soft-deleted CIs"),
    ),
    responses(
        (status = 200, description = "The groups, the largest first", body = GroupsBody),
        AskProblems,
    ),
)]
pub(crate) async fn aggregate(segments: Segments, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    const PARAMS: &[&str] = &["group_by", "distinct", "q", "filter", "limit", "include_deleted"];
    let params = Params::of_question(query.as_deref(), PARAMS)?;
    let view = segments.view(&params)?;
    let mut aggregate = Aggregate::builder()
        .keywords(params::keywords(params.one("q")?.unwrap_or_default()))
        .filters(params.filters()?)
        .include_deleted(params.flag("include_deleted")?);
    for field in params.names("group_by") {
        aggregate = aggregate.group_by(field);
    }
    if let Some(field) = params.one("distinct")? {
        aggregate = aggregate.distinct(field);
    }
    if let Some(limit) = params.number("limit")? {
        aggregate = aggregate.limit(limit);
    }
    let answer = view.aggregate(&aggregate.build()?).await?;
    let parts = [Part::of(&answer.value)];
    segments.send(&Origin::of(&answer), &parts, || GroupsBody::from(&*answer.value))
}
