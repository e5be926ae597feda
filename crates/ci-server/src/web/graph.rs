//! The page of a graph: drawn here, so that it is there without a script.

use axum::extract::RawQuery;
use axum::response::Response;
use ci_model::{CiRef, Direction, Expand, Graph, View};
use maud::{Markup, html};

use super::drawing::{DRAWN, Drawing};
use super::fresh::fresh;
use super::layout::Shell;
use super::links::Links;
use super::words::{size, things};
use crate::http::{Origin, Params, Problem, Segments};

/// Most CIs and relations that are asked for, so that it can be said how many are not drawn.
const NODES: u32 = 2_000;
const EDGES: u32 = 4_000;
/// The views to choose from.
const VIEWS: [(View, &str); 5] = [
    (View::Neighbors, "Neighbours"),
    (View::Composition, "Composition"),
    (View::Dependency, "Dependencies"),
    (View::Impact, "Impact"),
    (View::Summary, "Summary"),
];
/// The directions, as they are asked for and for people.
const DIRECTIONS: [(Direction, &str, &str); 3] = [
    (Direction::Out, "out", "outwards"),
    (Direction::In, "in", "inwards"),
    (Direction::Both, "both", "both ways"),
];

/// The page.
pub(crate) async fn page(
    shell: Shell,
    segments: Segments,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    let params = Params::of_question(query.as_deref(), &["view", "depth", "direction"])?;
    let tenant = segments.view(&params)?;
    let view = params.word("view")?.unwrap_or(View::Neighbors);
    let depth: Option<u8> = params
        .one("depth")?
        .filter(|text| !text.is_empty())
        .map_or(Ok(None), |_| params.number("depth"))?;
    let mut expand = Expand::builder(CiRef::parse(segments.target()?)?, view)
        .max_nodes(NODES)
        .max_edges(EDGES);
    if let Some(depth) = depth {
        expand = expand.depth(depth);
    }
    if params.one("direction")?.is_some_and(|text| !text.is_empty())
        && let Some(direction) = params.word::<Direction>("direction")?
    {
        expand = expand.direction(direction);
    }
    let expand = expand.build()?;
    let answer = tenant.expand(&expand).await?;
    let origin = Origin::of(&answer);
    let graph = answer.value.ok_or_else(|| Problem::no_ci(None))?;
    let root = graph.items.first().ok_or_else(|| Problem::no_ci(None))?;
    let links = Links::new(&shell.base, tenant.id().as_str());
    let drawing = Drawing::of(&graph, DRAWN);
    let content = html! {
        p {
            a href=(links.search()) { "Explorer: " bdi { (tenant.id()) } } " · "
            a href=(links.ci(&root.ci.ci_code, root.ci.ci_id)) { bdi { (root.ci.ci_code) } }
        }
        h1 { "Graph of " bdi { (root.ci.ci_code) } }
        (fresh(&origin, false))
        (choice(&expand))
        section class="card" aria-label="Graph" {
            (told(&graph, &drawing))
            div class="tools" {
                @for (factor, name) in [("0.77", "Closer"), ("1.3", "Farther"), ("0", "Whole")] {
                    button type="button" data-zoom=(factor) hidden { (name) }
                }
                span class="note" { "Drag or use the arrow keys to move, the wheel or + and − to scale, Tab to go from CI to CI." }
            }
            (drawing.svg(&links))
        }
    };
    let title = format!("Graph of {}", root.ci.ci_code);
    Ok(shell.page(&title, &["graph.js"], &content))
}

/// The view and its bounds.
fn choice(expand: &Expand) -> Markup {
    let most = expand.view().policy().max_depth;
    html! {
        form class="find" method="get" {
            label { "View "
                select name="view" {
                    @for (view, name) in VIEWS { option value=(view.as_str()) selected[view == expand.view()] { (name) } }
                }
            }
            label { "Steps " input name="depth" type="number" min="1" max=(most) value=(expand.depth().min(most)); }
            label { "Direction "
                select name="direction" {
                    option value="" { "of the view" }
                    @for (direction, word, name) in DIRECTIONS {
                        option value=(word) selected[direction == expand.direction()] { (name) }
                    }
                }
            }
            button type="submit" { "Show" }
        }
    }
}

/// How much there is, and how much of it is drawn.
fn told(graph: &Graph, drawing: &Drawing<'_>) -> Markup {
    let part = |shown: usize, all: usize, is_more: bool, one: &str, many: &str| {
        html! {
            @if shown < all || is_more { (size(shown)) " of " @if is_more { "more than " } }
            (things(all, one, many))
        }
    };
    let is_whole = drawing.nodes() == graph.items.len() && !graph.nodes_truncated && !graph.edges_truncated;
    html! {
        p id="told" class=(if is_whole { "note" } else { "bad" }) {
            (part(drawing.nodes(), graph.items.len(), graph.nodes_truncated, "CI", "CIs")) ", "
            (part(drawing.edges(), graph.relations.len(), graph.edges_truncated, "relation", "relations"))
            @if is_whole { ", all of them drawn." } @else { " are drawn: the nearest, by code. Go on from one of them, or take fewer steps." }
        }
    }
}
