//! Whole operations: a dashboard, a CI's page, a traversal. Each is true at one state.

use std::sync::Arc;

use axum::extract::RawQuery;
use axum::response::Response;
use ci_model::{CiDetail, CiRef, CiSummary, Graph};
use serde::Serialize;
use utoipa::ToSchema;

use super::answer::Origin;
use super::encoded::Part;
use super::extract::Segments;
use super::graph;
use super::params::Params;
use super::problem::{AskProblems, FindProblems, Problem};
use crate::wire::GroupsBody;

/// What a tenant has.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Dashboard)]
pub(crate) struct DashboardBody<'a> {
    /// How many CIs there are.
    total: u64,
    /// How many of each type,
    by_type: GroupsBody<'a>,
    /// of each status,
    by_status: GroupsBody<'a>,
    /// at each location,
    by_location: GroupsBody<'a>,
    /// and of each owner.
    by_owner: GroupsBody<'a>,
    /// The first 10 CIs of criticality 5, then 4, by code.
    #[schema(value_type = Vec<CiSummary>)]
    critical: Vec<&'a CiSummary>,
    /// The 10 CIs that were changed last, the latest first.
    #[schema(value_type = Vec<CiSummary>)]
    recent: &'a [CiSummary],
}

/// Counts a tenant's CIs by type, status, location and owner, and shows the most critical ones and those that were changed last.
///
/// All of it is true at one state. `age` is 0: the parts are cached by themselves.
#[utoipa::path(
    get,
    path = "/v1/{tenant}/dashboard",
    tag = "questions",
    params(
        ("tenant" = String, Path, description = "Whose CIs"),
    ),
    responses(
        (status = 200, description = "The dashboard", body = DashboardBody),
        AskProblems,
    ),
)]
pub(crate) async fn dashboard(segments: Segments, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::of_question(query.as_deref(), &[])?;
    let found = segments.view(&params)?.dashboard().await?;
    let origin = Origin::of_parts(found.source, found.as_of.clone(), found.lag);
    let [high, next] = &found.most_critical;
    let parts = [
        Part::Number(Some(found.total)),
        Part::of(&found.by_type),
        Part::of(&found.by_status),
        Part::of(&found.by_location),
        Part::of(&found.by_owner),
        Part::Rows(Arc::clone(high)),
        Part::Rows(Arc::clone(next)),
        Part::of(&found.recent),
    ];
    segments.send(&origin, &parts, || DashboardBody {
        total: found.total,
        by_type: GroupsBody::from(&*found.by_type),
        by_status: GroupsBody::from(&*found.by_status),
        by_location: GroupsBody::from(&*found.by_location),
        by_owner: GroupsBody::from(&*found.by_owner),
        critical: found.critical().collect(),
        recent: &found.recent.items,
    })
}

/// All about one CI.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = CiPage)]
pub(crate) struct CiPageBody<'a> {
    /// The CI in full.
    #[schema(value_type = CiDetail)]
    ci: &'a CiDetail,
    /// Its neighbours, both ways.
    #[schema(value_type = Graph)]
    neighbours: &'a Graph,
    /// What it is composed of.
    #[schema(value_type = Graph)]
    composition: &'a Graph,
    /// What is affected when it fails.
    #[schema(value_type = Graph)]
    impact: &'a Graph,
    /// The tenant's 10 CIs that were changed last, the latest first.
    #[schema(value_type = Vec<CiSummary>)]
    recent: &'a [CiSummary],
}

/// Gets one CI with its neighbours, its composition, its impact, and what was changed last.
///
/// All of it is true at one state. `age` is 0: the parts are cached by themselves.
#[utoipa::path(
    get,
    path = "/v1/{tenant}/cis/{id_or_code}/page",
    tag = "questions",
    params(
        ("tenant" = String, Path, description = "Whose CI"),
        ("id_or_code" = String, Path, description = "A UUID in its hyphenated form, or a code, percent-encoded"),
    ),
    responses(
        (status = 200, description = "The page", body = CiPageBody),
        FindProblems,
    ),
)]
pub(crate) async fn page(segments: Segments, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::of_question(query.as_deref(), &[])?;
    let view = segments.view(&params)?;
    let found = view.ci_page(CiRef::parse(segments.target()?)?).await?;
    let origin = Origin::of_parts(found.source, found.as_of.clone(), found.lag);
    let (Some(ci), Some(neighbours), Some(composition), Some(impact)) = (
        &found.detail,
        &found.neighbours,
        &found.composition,
        &found.impact,
    ) else {
        return Err(Problem::no_ci(Some(&origin)));
    };
    let parts = [
        Part::of(ci),
        Part::of(neighbours),
        Part::of(composition),
        Part::of(impact),
        Part::of(&found.recent),
    ];
    segments.send(&origin, &parts, || CiPageBody {
        ci,
        neighbours,
        composition,
        impact,
        recent: &found.recent.items,
    })
}

/// A graph, and its CIs in full.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Traversal)]
pub(crate) struct TraversalBody<'a> {
    /// The graph.
    #[schema(value_type = Graph)]
    graph: &'a Graph,
    /// Its CIs in full, in the order of its items.
    #[schema(value_type = Vec<CiDetail>)]
    items: Vec<&'a CiDetail>,
}

/// Expands the graph around a CI, or several, and gets all columns of every CI in it.
///
/// All of it is true at one state. `age` is 0: the graph and each CI are cached by themselves.
#[utoipa::path(
    get,
    path = "/v1/{tenant}/cis/{id_or_code}/traversal",
    tag = "graph",
    params(
        ("tenant" = String, Path, description = "Whose CI"),
        ("id_or_code" = String, Path, description = "Where it starts"),
        ("view" = Option<String>, Query,
            description = "SUMMARY (default), COMPOSITION, DEPENDENCY, IMPACT or NEIGHBORS"),
        ("depth" = Option<u8>, Query, description = "Most steps; at most the view's largest depth"),
        ("direction" = Option<String>, Query, description = "out, in or both, instead of the view's"),
        ("type" = Option<Vec<String>>, Query, explode = true,
            description = "Relation types, instead of the view's; repeatable or separated by commas"),
        ("root" = Option<Vec<String>>, Query, explode = true,
            description = "Another CI to start at, by id or code; repeatable, 15 at most. Level 0 holds those that are there"),
        ("filter" = Option<Vec<String>>, Query, explode = true,
            description = "Reach only CIs for which this holds, as of a search; repeatable. The roots are not asked"),
        ("max_nodes" = Option<u32>, Query, minimum = 1, maximum = 2000, description = "Most CIs; 200 by default"),
        ("max_edges" = Option<u32>, Query, maximum = 4000, description = "Most relations; 400 by default"),
        ("include_deleted" = Option<bool>, Query, description = "Also follow to soft-deleted CIs"),
    ),
    responses(
        (status = 200, description = "The graph and its CIs", body = TraversalBody),
        FindProblems,
    ),
)]
pub(crate) async fn traversal(segments: Segments, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::of_question(query.as_deref(), graph::PARAMS)?;
    let view = segments.view(&params)?;
    let found = view.traverse(&graph::asked(&segments, &params)?).await?;
    let origin = Origin::of_parts(found.source, found.as_of.clone(), found.lag);
    let graph = found
        .graph
        .as_ref()
        .ok_or_else(|| Problem::no_ci(Some(&origin)))?;
    let parts = std::iter::once(Part::of(graph)).chain(found.details.iter().map(Part::of));
    segments.send(&origin, &parts.collect::<Vec<_>>(), || TraversalBody {
        graph,
        items: found.details.iter().map(|ci| &**ci).collect(),
    })
}
