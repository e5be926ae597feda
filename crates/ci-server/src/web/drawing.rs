//! A graph as a picture: layers by distance from the root, from left to right. The same graph is always the same picture.

use std::collections::{BTreeMap, HashMap};

use ci_model::{CiId, Graph, Node, Relation};
use maud::{Markup, html};

use super::links::Links;
use super::words::things;

/// Most CIs that are drawn: more are a blot.
pub(crate) const DRAWN: usize = 150;
/// CIs of one layer in a column before another begins.
const COLUMN: usize = 18;
/// The box of a CI.
const WIDTH: i32 = 200;
const HEIGHT: i32 = 44;
/// Between boxes.
const GAP_X: i32 = 120;
const GAP_Y: i32 = 16;
/// Between two columns of one layer.
const NEAR_X: i32 = 30;
/// Around everything.
const MARGIN: i32 = 20;
/// The least that a picture shows, so that a small graph is not drawn with huge letters.
const LEAST: (i32, i32) = (1_000, 480);
/// Characters of a line within a box.
const CHARS: usize = 26;
/// Relations up to which each is named in the picture; else when it is pointed at.
const NAMED: usize = 8;

/// A graph with places for its CIs.
#[derive(Debug)]
pub(crate) struct Drawing<'a> {
    nodes: Vec<Placed<'a>>,
    /// Relations, with the places of their ends in `nodes`.
    edges: Vec<(&'a Relation, usize, usize)>,
    width: i32,
    height: i32,
}

#[derive(Debug)]
struct Placed<'a> {
    node: &'a Node,
    /// The upper left corner.
    x: i32,
    y: i32,
}

impl<'a> Drawing<'a> {
    /// Gives up to `most` CIs of a graph, which has them by level and code, their places.
    pub(crate) fn of(graph: &'a Graph, most: usize) -> Self {
        let mut nodes: Vec<Placed<'a>> = graph
            .items
            .iter()
            .take(most)
            .map(|node| Placed { node, x: 0, y: 0 })
            .collect();
        let at: HashMap<CiId, usize> = nodes
            .iter()
            .enumerate()
            .map(|(at, placed)| (placed.node.ci.ci_id, at))
            .collect();
        let ends =
            |relation: &'a Relation| Some((relation, *at.get(&relation.from_id)?, *at.get(&relation.to_id)?));
        let edges: Vec<_> = graph.relations.iter().filter_map(ends).collect();
        let columns = columns(&nodes, &edges);
        let tallest = columns.iter().map(|(_, column)| column.len()).max().unwrap_or(0);
        let height = rows(tallest) + 2 * MARGIN;
        let (mut x, mut last) = (MARGIN, None);
        for (level, column) in &columns {
            x += match last {
                None => 0,
                Some(last) if last == level => WIDTH + NEAR_X,
                Some(_) => WIDTH + GAP_X,
            };
            last = Some(level);
            let top = (height - rows(column.len())) / 2;
            for (row, at) in (0..).zip(column) {
                nodes[*at].x = x;
                nodes[*at].y = top + row * (HEIGHT + GAP_Y);
            }
        }
        Self {
            nodes,
            edges,
            width: x + WIDTH + MARGIN,
            height,
        }
    }

    /// CIs that are drawn.
    pub(crate) fn nodes(&self) -> usize {
        self.nodes.len()
    }

    /// Relations that are drawn.
    pub(crate) fn edges(&self) -> usize {
        self.edges.len()
    }

    /// The picture. Every CI is a link to its graph.
    pub(crate) fn svg(&self, links: &Links) -> Markup {
        let (width, height) = (self.width.max(LEAST.0), self.height.max(LEAST.1));
        let (left, top) = ((self.width - width) / 2, (self.height - height) / 2);
        let is_named = self.edges.len() <= NAMED;
        html! {
            svg class="graph" viewBox={ (left) " " (top) " " (width) " " (height) } xmlns="http://www.w3.org/2000/svg"
                role="group" aria-label="The graph, from the nearest to the farthest" tabindex="0" {
                defs {
                    marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto" {
                        path class="arrow" d="M0 0 L8 4 L0 8 z" {}
                    }
                }
                @for (relation, from, to) in &self.edges { (self.edge(relation, *from, *to, is_named)) }
                @for placed in &self.nodes { (node(placed, links)) }
            }
        }
    }

    fn edge(&self, relation: &Relation, from: usize, to: usize, is_named: bool) -> Markup {
        let (from, to) = (&self.nodes[from], &self.nodes[to]);
        let (from_y, to_y) = (from.y + HEIGHT / 2, to.y + HEIGHT / 2);
        // From the side that faces the other box; within a column out of and into the right one.
        let (from_x, to_x, from_bend, to_bend) = match from.x.cmp(&to.x) {
            std::cmp::Ordering::Less => (from.x + WIDTH, to.x, 40, -40),
            std::cmp::Ordering::Greater => (from.x, to.x + WIDTH, -40, 40),
            std::cmp::Ordering::Equal => (from.x + WIDTH, to.x + WIDTH, 45, 45),
        };
        let path = format!(
            "M{from_x} {from_y} C{} {from_y} {} {to_y} {to_x} {to_y}",
            from_x + from_bend,
            to_x + to_bend
        );
        let x = i32::midpoint(from_x, to_x) + (from_bend + to_bend) / 4;
        let y = i32::midpoint(from_y, to_y) - 3;
        let words = format!("{} {} {}", relation.from, relation.rel_type, relation.to);
        html! {
            path class="edge" d=(path) marker-end="url(#arrow)" { title { (words) } }
            @if is_named {
                text class="kind" x=(x) y=(y)
                    text-anchor="middle" aria-hidden="true" { (cut(relation.rel_type.as_str())) }
            }
        }
    }
}

fn rows(number: usize) -> i32 {
    let number = i32::try_from(number).unwrap_or(i32::MAX / (HEIGHT + GAP_Y));
    number * (HEIGHT + GAP_Y) - GAP_Y
}

/// The columns from left to right, each with its level, and the places of its CIs from top to bottom: near those of the level before
/// that they are related to, so that lines cross less, then by code.
fn columns(nodes: &[Placed<'_>], edges: &[(&Relation, usize, usize)]) -> Vec<(u8, Vec<usize>)> {
    let mut levels: BTreeMap<u8, Vec<usize>> = BTreeMap::new();
    for (at, placed) in nodes.iter().enumerate() {
        levels.entry(placed.node.level).or_default().push(at);
    }
    let mut related: Vec<Vec<usize>> = vec![Vec::new(); nodes.len()];
    for (_, from, to) in edges {
        related[*from].push(*to);
        related[*to].push(*from);
    }
    let mut row: Vec<Option<usize>> = vec![None; nodes.len()];
    let mut columns = Vec::new();
    for (level, mut layer) in levels {
        // Twice the mean row of the related ones that have a row already, in whole numbers.
        let near = |at: &usize| {
            let rows: Vec<usize> = related[*at].iter().filter_map(|other| row[*other]).collect();
            (2 * rows.iter().sum::<usize>())
                .checked_div(rows.len())
                .unwrap_or(usize::MAX)
        };
        layer.sort_by_cached_key(|at| (near(at), *at));
        for (place, at) in layer.iter().enumerate() {
            row[*at] = Some(place);
        }
        columns.extend(layer.chunks(COLUMN).map(|column| (level, column.to_vec())));
    }
    columns
}

fn node(placed: &Placed<'_>, links: &Links) -> Markup {
    let ci = &placed.node.ci;
    let distance = match placed.node.level {
        0 => "where the graph begins".to_owned(),
        level => format!("{} away", things(level.into(), "step", "steps")),
    };
    let words = format!("{}, {}, {}, {distance}", ci.ci_code, ci.ci_name, ci.ci_type);
    let class = if placed.node.level == 0 {
        "node root"
    } else {
        "node"
    };
    html! {
        a class=(class) href=(links.graph(&ci.ci_code, ci.ci_id)) aria-label=(words) {
            title { (words) }
            // What is drawn beyond a picture within a picture is cut off.
            svg x=(placed.x) y=(placed.y) width=(WIDTH) height=(HEIGHT) {
                rect x="1.5" y="1.5" width=(WIDTH - 3) height=(HEIGHT - 3) rx="6" {}
                text x="10" y="18" { (cut(ci.ci_code.as_str())) }
                text class="kind" x="10" y="34" { (cut(&format!("{} · {}", ci.ci_type, ci.ci_name))) }
            }
        }
    }
}

/// The beginning of a text that fits into a box.
fn cut(text: &str) -> String {
    if text.chars().count() <= CHARS {
        return text.to_owned();
    }
    text.chars().take(CHARS - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use ci_model::{CiCode, CiSummary, RelationType, TenantId};

    use super::*;

    fn ci(code: &str) -> CiSummary {
        let code = CiCode::new(code).unwrap();
        CiSummary {
            ci_id: CiId::derived(&TenantId::new("acme").unwrap(), &code),
            ci_code: code,
            ci_name: "n".into(),
            ci_type: "t".into(),
            ci_subtype: None,
            ci_category: None,
            status: None,
            location: None,
            owner: None,
        }
    }

    /// A root, and for each level so many CIs, each related to one of the level before.
    fn graph(levels: &[usize]) -> Graph {
        let mut items = vec![Node {
            ci: ci("root"),
            level: 0,
        }];
        let mut relations = Vec::new();
        let mut before = vec![ci("root")];
        for (level, count) in (1..).zip(levels) {
            let layer: Vec<CiSummary> = (0..*count).map(|at| ci(&format!("{level}-{at:03}"))).collect();
            for (at, ci) in layer.iter().enumerate() {
                // The other way round, so that an order by code alone would cross every line.
                let from = &before[before.len() - 1 - at % before.len()];
                relations.push(Relation {
                    from: from.ci_code.clone(),
                    to: ci.ci_code.clone(),
                    rel_type: RelationType::new("USES").unwrap(),
                    from_id: from.ci_id,
                    to_id: ci.ci_id,
                });
                items.push(Node {
                    ci: ci.clone(),
                    level,
                });
            }
            before = layer;
        }
        Graph {
            root: items[0].ci.ci_id,
            missing: Vec::new(),
            items,
            relations,
            nodes_truncated: false,
            edges_truncated: false,
        }
    }

    #[test]
    fn boxes_are_apart_within_the_picture_and_farther_ones_farther_right() {
        for levels in [&[][..], &[1], &[3, 7, 2], &[60, 5], &[140, 140]] {
            let graph = graph(levels);
            let drawing = Drawing::of(&graph, DRAWN);
            assert_eq!(drawing.nodes(), graph.items.len().min(DRAWN));
            for (at, one) in drawing.nodes.iter().enumerate() {
                assert!(one.x >= MARGIN && one.x + WIDTH + MARGIN <= drawing.width);
                assert!(one.y >= MARGIN && one.y + HEIGHT + MARGIN <= drawing.height);
                for other in &drawing.nodes[..at] {
                    let apart = (one.x - other.x).abs() >= WIDTH || (one.y - other.y).abs() >= HEIGHT;
                    assert!(
                        apart,
                        "{levels:?}: {} and {}",
                        one.node.ci.ci_code, other.node.ci.ci_code
                    );
                    let is_behind = one.node.level > other.node.level;
                    assert!(!is_behind || one.x >= other.x + WIDTH + GAP_X);
                }
            }
        }
    }

    #[test]
    fn lines_cross_less_than_by_code() {
        let graph = graph(&[6, 6]);
        let drawing = Drawing::of(&graph, DRAWN);
        let last = drawing.edges.iter().filter(|(_, from, _)| *from != 0);
        let level = last.map(|(_, from, to)| (drawing.nodes[*from].y, drawing.nodes[*to].y));
        assert!(level.clone().count() == 6 && level.into_iter().all(|(from, to)| from == to));
    }

    #[test]
    fn a_relation_to_what_is_not_drawn_is_left_out() {
        let graph = graph(&[9]);
        let drawing = Drawing::of(&graph, 4);
        assert_eq!((drawing.nodes(), drawing.edges()), (4, 3));
        let svg = drawing.svg(&Links::new("", "acme")).into_string();
        assert_eq!(svg.matches("<a ").count(), 4);
        assert!(svg.contains("href=\"/explore/acme/1-002/graph\"") && !svg.contains("1-003"));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let cut = cut(&"é".repeat(40));
        assert!(cut.chars().count() == CHARS && cut.ends_with('…'));
    }
}
