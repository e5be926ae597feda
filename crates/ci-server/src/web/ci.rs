//! A CI's page: all of its fields, what it is related to, what is affected when it fails, what was changed last.

use std::collections::BTreeMap;

use axum::extract::RawQuery;
use axum::response::Response;
use ci_model::{CiDetail, CiId, CiRef, CiSummary, Graph};
use maud::{Markup, html};
use serde_json::Value;

use super::fresh::fresh;
use super::layout::Shell;
use super::links::Links;
use super::words::{size, things};
use crate::http::{Origin, Params, Problem, Segments};

/// Rows of a list that are shown.
const ROWS: usize = 50;

/// The page.
pub(crate) async fn page(
    shell: Shell,
    segments: Segments,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
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
        return Err(Problem::no_ci(None));
    };
    let links = Links::new(&shell.base, view.id().as_str());
    let summary = &ci.summary;
    let graph = links.graph(&summary.ci_code, summary.ci_id);
    let content = html! {
        p { a href=(links.search()) { "Explorer: " bdi { (view.id()) } } }
        h1 { bdi { (summary.ci_code) } }
        (fresh(&origin, true))
        div class="tools" {
            a href=(graph) { "Graph" }
            @for (view, name) in [("composition", "Composition"), ("dependency", "Dependencies"), ("impact", "Impact")] {
                a href={ (graph) "?view=" (view) } { (name) " as a graph" }
            }
        }
        section class="card" aria-label="Fields" { (fields(ci)) }
        section class="card" aria-labelledby="relations" {
            h2 id="relations" { "Relations" }
            (relations(neighbours, &links))
        }
        section class="card" aria-labelledby="impact" {
            h2 id="impact" { "Affected when it fails" }
            (levels(impact, &links))
        }
        section class="card" aria-labelledby="composition" {
            h2 id="composition" { "Composed of" }
            (levels(composition, &links))
        }
        section class="card" aria-labelledby="recent" {
            h2 id="recent" { "Changed last, of all of the tenant's CIs" }
            ul class="rows" {
                @for ci in &found.recent.items {
                    li {
                        (named(ci, &links))
                        @if ci.ci_id == summary.ci_id { " " strong { "this one" } }
                    }
                }
            }
        }
    };
    Ok(shell.page(summary.ci_code.as_str(), &[], &content))
}

fn fields(ci: &CiDetail) -> Markup {
    let summary = &ci.summary;
    let texts = [
        ("Subtype", &summary.ci_subtype),
        ("Category", &summary.ci_category),
        ("Status", &summary.status),
        ("Location", &summary.location),
        ("Owner", &summary.owner),
    ];
    let field = |name: &str, value: Markup| html! { dt { (name) } dd { (value) } };
    let text = |text: &str| html! { bdi { (text) } };
    html! {
        dl class="fields" {
            (field("Name", text(&summary.ci_name)))
            (field("Code", html! { code { bdi { (summary.ci_code) } } }))
            (field("Id", html! { code { (summary.ci_id) } }))
            (field("Type", text(&summary.ci_type)))
            @for (name, value) in texts { (field(name, text(value.as_deref().unwrap_or("–")))) }
            (field("Criticality", text(&ci.criticality.map_or_else(|| "–".into(), |value| value.get().to_string()))))
            (field("Created", text(&ci.created_at.to_string())))
            (field("Changed", text(&ci.updated_at.to_string())))
            @if let Some(deleted) = ci.deleted_at { (field("Deleted", text(&deleted.to_string()))) }
            (field("Tags", document(&serde_json::to_value(&ci.tags).unwrap_or_default())))
            (field("Attributes", document(&serde_json::to_value(&ci.attributes).unwrap_or_default())))
        }
    }
}

/// A document, a line for each of its members.
fn document(value: &Value) -> Markup {
    let members = value.as_object().filter(|members| !members.is_empty());
    html! {
        @match members {
            None => "–",
            Some(members) => {
                dl class="fields" {
                    @for (name, value) in members {
                        dt { bdi { (name) } }
                        dd {
                            @match value {
                                Value::String(text) => bdi { (text) },
                                Value::Object(_) | Value::Array(_) => pre { (format!("{value:#}")) },
                                other => (other.to_string()),
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A CI by its code, name and type.
fn named(ci: &CiSummary, links: &Links) -> Markup {
    html! {
        a class="code" href=(links.ci(&ci.ci_code, ci.ci_id)) { bdi { (ci.ci_code) } }
        " " bdi { (ci.ci_name) } " " span class="facts" { bdi { (ci.ci_type) } }
    }
}

/// The relations of the root, each with the CI at its other end.
fn relations(graph: &Graph, links: &Links) -> Markup {
    let cis: BTreeMap<CiId, &CiSummary> = graph.items.iter().map(|node| (node.ci.ci_id, &node.ci)).collect();
    let own = graph.relations.iter().filter_map(|relation| {
        let (is_out, other) = if relation.from_id == graph.root {
            (true, relation.to_id)
        } else if relation.to_id == graph.root {
            (false, relation.from_id)
        } else {
            return None;
        };
        Some((is_out, relation, *cis.get(&other)?))
    });
    let own: Vec<_> = own.collect();
    html! {
        @if own.is_empty() { p class="none" { "It has no relations." } } @else {
            ul class="rows" {
                @for (is_out, relation, other) in own.iter().take(ROWS) {
                    li {
                        @if *is_out { "→ " } @else { "← " }
                        code { bdi { (relation.rel_type) } } " "
                        @if *is_out { "to " } @else { "from " }
                        (named(other, links))
                    }
                }
            }
            (left_out(own.len(), own.len().min(ROWS), graph, "relation", "relations"))
        }
    }
}

/// The CIs of a graph by their distance.
fn levels(graph: &Graph, links: &Links) -> Markup {
    let others = graph.items.get(1..).unwrap_or_default();
    html! {
        @if others.is_empty() { p class="none" { "Nothing." } } @else {
            ul class="rows" {
                @for node in others.iter().take(ROWS) {
                    li { (named(&node.ci, links)) " " span class="facts" { (things(node.level.into(), "step", "steps")) } }
                }
            }
            (left_out(others.len(), others.len().min(ROWS), graph, "CI", "CIs"))
        }
    }
}

/// Says how many there are, where not all are shown.
fn left_out(all: usize, shown: usize, graph: &Graph, one: &str, many: &str) -> Markup {
    let is_more = graph.nodes_truncated || graph.edges_truncated;
    html! {
        p class="note" {
            @if shown < all || is_more {
                "The first " (size(shown)) " of "
                @if is_more { "more than " }
                (things(all, one, many)) "; the graph tells more."
            } @else { (things(all, one, many)) "." }
        }
    }
}
