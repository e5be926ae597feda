//! Questions about relations: the graph around a CI, and the way between two.

use axum::extract::RawQuery;
use axum::response::Response;
use ci_model::{CiRef, Expand, Graph, Path, View};

use super::answer::Origin;
use super::encoded::Part;
use super::extract::Segments;
use super::params::Params;
use super::problem::{FindProblems, Problem};
use crate::wire::RouteBody;

/// The parameters of an expansion.
pub(super) const PARAMS: &[&str] = &[
    "view",
    "depth",
    "direction",
    "type",
    "root",
    "filter",
    "max_nodes",
    "max_edges",
    "include_deleted",
];

/// Expands the graph around a CI by a view, bounded; or around several at once.
#[utoipa::path(
    get,
    path = "/v1/{tenant}/cis/{id_or_code}/graph",
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
        (status = 200, description = "The graph", body = Graph),
        FindProblems,
    ),
)]
pub(crate) async fn expand(segments: Segments, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    let params = Params::of_question(query.as_deref(), PARAMS)?;
    let view = segments.view(&params)?;
    let answer = view.expand(&asked(&segments, &params)?).await?;
    let origin = Origin::of(&answer);
    let graph = answer.value.ok_or_else(|| Problem::no_ci(Some(&origin)))?;
    segments.send(&origin, &[Part::of(&graph)], || &*graph)
}

/// Reads the expansion that is asked for.
pub(super) fn asked(segments: &Segments, params: &Params) -> Result<Expand, Problem> {
    let graph_view = params.word("view")?.unwrap_or(View::Summary);
    let mut expand = Expand::builder(CiRef::parse(segments.target()?)?, graph_view)
        .rel_types(params.names("type"))
        .roots(
            params
                .all("root")
                .map(CiRef::parse)
                .collect::<Result<Vec<_>, _>>()?,
        )
        .filters(params.filters()?)
        .include_deleted(params.flag("include_deleted")?);
    if let Some(depth) = params.number("depth")? {
        expand = expand.depth(depth);
    }
    if let Some(direction) = params.word("direction")? {
        expand = expand.direction(direction);
    }
    if let Some(nodes) = params.number("max_nodes")? {
        expand = expand.max_nodes(nodes);
    }
    if let Some(edges) = params.number("max_edges")? {
        expand = expand.max_edges(edges);
    }
    Ok(expand.build()?)
}

/// Finds a shortest path between two CIs, or several.
#[utoipa::path(
    get,
    path = "/v1/{tenant}/paths",
    tag = "graph",
    params(
        ("tenant" = String, Path, description = "Whose CIs"),
        ("from" = String, Query, description = "Id or code of the start"),
        ("to" = String, Query, description = "Id or code of the end"),
        ("max_hops" = Option<u8>, Query, minimum = 1, maximum = 6, description = "Most steps; 6 by default"),
        ("direction" = Option<String>, Query, description = "out, in or both (default)"),
        ("type" = Option<Vec<String>>, Query, explode = true,
            description = "Only these relation types; repeatable or separated by commas"),
        ("most" = Option<u8>, Query, minimum = 1, maximum = 25,
            description = "Most paths; 1 by default. All have as many steps as the shortest, the first by codes come first"),
    ),
    responses(
        (status = 200, description = "The path, or an empty one when there is none within the bounds", body = RouteBody),
        FindProblems,
    ),
)]
pub(crate) async fn path(segments: Segments, RawQuery(query): RawQuery) -> Result<Response, Problem> {
    const PARAMS: &[&str] = &["from", "to", "max_hops", "direction", "type", "most"];
    let params = Params::of_question(query.as_deref(), PARAMS)?;
    let view = segments.view(&params)?;
    let from = CiRef::parse(params.required("from")?)?;
    let to = CiRef::parse(params.required("to")?)?;
    let mut path = Path::builder(from, to).rel_types(params.names("type"));
    if let Some(hops) = params.number("max_hops")? {
        path = path.max_hops(hops);
    }
    if let Some(most) = params.number("most")? {
        path = path.most(most);
    }
    if let Some(direction) = params.word("direction")? {
        path = path.direction(direction);
    }
    let answer = view.path(&path.build()?).await?;
    let origin = Origin::of(&answer);
    let found = answer.value.ok_or_else(|| Problem::no_ci(Some(&origin)))?;
    segments.send(&origin, &[Part::of(&found)], || RouteBody::from(&*found))
}
