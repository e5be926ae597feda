//! Expansion and shortest path over any [`Source`]: a statement for each level of an expansion at most, and
//! one for each step of a path search, whatever the number of CIs in it.

use std::collections::{BTreeMap, HashMap, HashSet};

use ci_model::{
    CiCode, CiDetail, CiId, CiRef, CiSummary, Direction, Expand, Graph, Node, Path, PathAnswer, Relation,
    RelationType, Route, TenantId,
};
use uuid::Uuid;

use crate::decode::{corrupt, detail, present, summary};
use crate::source::{Cells, Source};
use crate::sql::expansion::{From, Reading, expansion, levels};
use crate::sql::{Binder, Dialect, Statement, graph, select};
use crate::{Error, PathTrace, Result, TRACE_CIS};

/// Most CIs that a path search looks at before it gives up, over both of its sides: about 200 MB.
const PATH_CIS: usize = 2_000_000;
/// Positions in a row: kind, level, the relation's other end, then the short columns.
const KIND: usize = 0;
const LEVEL: usize = 1;
const TO_ID: usize = 2;
const SUMMARY: usize = 3;
const REL_TYPE: usize = SUMMARY + 3;

/// A relation as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Edge {
    from: Uuid,
    to: Uuid,
    rel_type: RelationType,
}

impl Edge {
    fn named(self, codes: &HashMap<Uuid, CiCode>) -> Result<Relation> {
        let code = |id: &Uuid| present(codes.get(id).cloned(), "ci_code");
        Ok(Relation {
            from: code(&self.from)?,
            to: code(&self.to)?,
            rel_type: self.rel_type,
            from_id: CiId(self.from),
            to_id: CiId(self.to),
        })
    }
}

/// Splits rows into CIs and relations.
fn split<R: Cells>(rows: &[R]) -> Result<(Vec<CiSummary>, Vec<Edge>)> {
    let (mut nodes, mut edges) = (Vec::new(), Vec::new());
    for row in rows {
        take_row(row, &mut nodes, &mut edges)?;
    }
    Ok((nodes, edges))
}

fn take_row(row: &impl Cells, nodes: &mut Vec<CiSummary>, edges: &mut Vec<Edge>) -> Result<()> {
    if row.integer(KIND)? == Some(0) {
        nodes.push(summary(row, SUMMARY)?);
        return Ok(());
    }
    let rel_type = present(row.text(REL_TYPE)?, "rel_type")?;
    edges.push(Edge {
        from: present(row.id(SUMMARY)?, "from_id")?,
        to: present(row.id(TO_ID)?, "to_id")?,
        rel_type: RelationType::new(rel_type).map_err(|_| corrupt("rel_type"))?,
    });
    Ok(())
}

/// See [`crate::Snapshot::expand`].
pub(crate) async fn expand<S: Source>(
    source: &mut S,
    tenant: &TenantId,
    expand: &Expand,
) -> Result<Option<Graph>> {
    let growth = grown(source, tenant, Growth::new(expand)).await?;
    Ok(growth.graph)
}

/// See [`crate::Snapshot::traverse`].
pub(crate) async fn traverse<S: Source>(
    source: &mut S,
    tenant: &TenantId,
    expand: &Expand,
) -> Result<Option<(Graph, Vec<CiDetail>)>> {
    let growth = Growth {
        in_full: Some(HashMap::new()),
        ..Growth::new(expand)
    };
    let mut growth = grown(source, tenant, growth).await?;
    let (Some(graph), Some(mut details)) = (growth.graph.take(), growth.in_full.take()) else {
        return Ok(None);
    };
    let details = graph
        .items
        .iter()
        .map(|node| present(details.remove(&node.ci.ci_id), "ci_id"));
    let details = details.collect::<Result<_>>()?;
    Ok(Some((graph, details)))
}

async fn grown<'a, S: Source>(
    source: &mut S,
    tenant: &TenantId,
    mut growth: Growth<'a>,
) -> Result<Growth<'a>> {
    while growth.goes_on() {
        let statement = Statement::write(S::DIALECT, tenant, |binder| growth.next(binder));
        growth.take(&source.rows(statement).await?, tenant, S::DIALECT)?;
    }
    Ok(growth)
}

/// An answer that grows level by level.
pub(crate) struct Growth<'a> {
    expand: &'a Expand,
    /// None before the first statement, and when the root is not there.
    pub(crate) graph: Option<Graph>,
    codes: HashMap<Uuid, CiCode>,
    frontier: Vec<Uuid>,
    /// CIs of earlier levels.
    past: Vec<Uuid>,
    /// Levels to come.
    left: u8,
    /// All columns of the CIs, if they are wanted.
    in_full: Option<HashMap<CiId, CiDetail>>,
}

impl<'a> Growth<'a> {
    pub(crate) fn new(expand: &'a Expand) -> Self {
        Self {
            expand,
            graph: None,
            codes: HashMap::new(),
            frontier: Vec::new(),
            past: Vec::new(),
            left: expand.depth(),
            in_full: None,
        }
    }

    /// Tells whether there is more to read.
    pub(crate) fn goes_on(&self) -> bool {
        self.left > 0
    }

    /// Writes the next statement.
    pub(crate) fn next(&self, binder: &mut Binder) -> String {
        let from = self.graph.as_ref().map_or(From::Root, |graph| From::Level {
            frontier: &self.frontier,
            past: &self.past,
            met: graph.relations.len(),
        });
        let reading = Reading {
            expand: self.expand,
            from,
            left: self.left,
            in_full: self.in_full.is_some(),
        };
        expansion(binder, reading)
    }

    /// Adds what that statement read.
    pub(crate) fn take(&mut self, rows: &[impl Cells], tenant: &TenantId, dialect: Dialect) -> Result<()> {
        let mut found: BTreeMap<i64, (Vec<CiSummary>, Vec<Edge>)> = BTreeMap::new();
        for row in rows {
            let (nodes, edges) = found.entry(present(row.integer(LEVEL)?, "level")?).or_default();
            take_row(row, nodes, edges)?;
            if let Some(details) = &mut self.in_full
                && row.integer(KIND)? == Some(0)
            {
                let ci = detail(row, SUMMARY, tenant)?;
                details.insert(ci.summary.ci_id, ci);
            }
        }
        if self.graph.is_none() {
            let root = found.remove(&0).and_then(|(mut nodes, _)| nodes.pop());
            let Some(root) = root else {
                self.left = 0;
                return Ok(());
            };
            self.begin(root);
        }
        let read = levels(dialect, self.left);
        for level in 1..=read {
            let (nodes, edges) = found.remove(&i64::from(level)).unwrap_or_default();
            self.take_level(nodes, edges)?;
        }
        if self.frontier.is_empty() {
            self.left = 0;
        }
        Ok(())
    }

    fn begin(&mut self, root: CiSummary) {
        let id = root.ci_id;
        self.codes.insert(id.0, root.ci_code.clone());
        self.frontier = vec![id.0];
        self.graph = Some(Graph {
            root: id,
            items: vec![Node { ci: root, level: 0 }],
            relations: Vec::new(),
            nodes_truncated: false,
            edges_truncated: false,
        });
    }

    /// Adds a level that the statement bounded to one more than there is room for.
    fn take_level(&mut self, mut nodes: Vec<CiSummary>, edges: Vec<Edge>) -> Result<()> {
        let Some(graph) = &mut self.graph else {
            return Err(corrupt("level"));
        };
        let level = self.expand.depth() - self.left + 1;
        self.left -= 1;
        let room = (self.expand.max_nodes() as usize).saturating_sub(graph.items.len());
        graph.nodes_truncated |= nodes.len() > room;
        nodes.sort_unstable_by(|a, b| a.ci_code.cmp(&b.ci_code));
        nodes.truncate(room);
        self.past.append(&mut self.frontier);
        for ci in nodes {
            self.frontier.push(ci.ci_id.0);
            self.codes.insert(ci.ci_id.0, ci.ci_code.clone());
            graph.items.push(Node { ci, level });
        }
        let room = (self.expand.max_edges() as usize).saturating_sub(graph.relations.len());
        graph.edges_truncated |= edges.len() > room;
        let mut met = edges
            .into_iter()
            .map(|edge| edge.named(&self.codes))
            .collect::<Result<Vec<_>>>()?;
        met.sort_unstable_by(|a, b| (&a.from, &a.to, &a.rel_type).cmp(&(&b.from, &b.to, &b.rel_type)));
        met.truncate(room);
        graph.relations.append(&mut met);
        Ok(())
    }
}

/// See [`crate::Snapshot::path`].
pub(crate) async fn path<S: Source>(source: &mut S, tenant: &TenantId, path: &Path) -> Result<PathTrace> {
    let targets = [path.from(), path.to()];
    let statement = Statement::write(S::DIALECT, tenant, |binder| {
        select::summaries(binder, targets.into_iter(), false)
    });
    let rows = source.rows(statement).await?;
    let ends: Vec<CiSummary> = rows.iter().map(|row| summary(row, 0)).collect::<Result<_>>()?;
    let end = |target: &CiRef| ends.iter().find(|ci| is_named(ci, target)).cloned();
    let trace = |answer, visited| Ok(PathTrace { answer, visited });
    let met = Some(ends.iter().map(|ci| ci.ci_id).collect());
    let (Some(from), Some(to)) = (end(path.from()), end(path.to())) else {
        return trace(None, met);
    };
    if from.ci_id == to.ci_id {
        let itself = Route {
            items: vec![from],
            relations: Vec::new(),
            hops: 0,
        };
        return trace(Some(PathAnswer::Found(itself)), met);
    }
    let mut sides = Sides::new(from.ci_id.0, to.ci_id.0, path.direction());
    let ids = sides.shortest(source, tenant, path).await?;
    let visited = sides.visited();
    let Some(ids) = ids else {
        return trace(Some(PathAnswer::NoPath), visited);
    };
    let statement = Statement::write(S::DIALECT, tenant, |binder| {
        graph::route(binder, &ids, path.rel_types())
    });
    let rows = source.rows(statement).await?;
    let (nodes, edges) = split(&rows)?;
    let route = route(&ids, nodes, &edges, path.direction())?;
    trace(Some(PathAnswer::Found(route)), visited)
}

fn is_named(ci: &CiSummary, target: &CiRef) -> bool {
    match target {
        CiRef::Id(id) => ci.ci_id == *id,
        CiRef::Code(code) => ci.ci_code == *code,
    }
}

/// One side of a path search: every CI reached so far with the CI it is best reached from.
///
/// "Best" is what makes the answer the one whose codes come first. From the start: the frontier is kept in the order of
/// the best ways to its CIs, so the first of several predecessors gives the best way, and (predecessor, code) orders
/// the next frontier. From the end: what follows a CI is decided by the next CI's code alone, so the frontier is kept
/// in the order of codes.
struct Side {
    frontier: Vec<Uuid>,
    /// To the CI one step nearer to this side's end; none for the end itself.
    nearer: HashMap<Uuid, Option<Uuid>>,
    direction: Direction,
    by_way: bool,
}

impl Side {
    fn new(end: Uuid, direction: Direction, by_way: bool) -> Self {
        Self {
            frontier: vec![end],
            nearer: HashMap::from([(end, None)]),
            direction,
            by_way,
        }
    }

    /// Makes the new CIs among the neighbours the frontier.
    fn advance(&mut self, mut neighbours: Vec<Neighbour>) {
        neighbours.retain(|neighbour| !self.nearer.contains_key(&neighbour.id));
        if self.by_way {
            neighbours.sort_unstable_by(|a, b| (a.place, &a.code).cmp(&(b.place, &b.code)));
        } else {
            neighbours.sort_unstable_by(|a, b| a.code.cmp(&b.code));
        }
        let fresh: Vec<Uuid> = neighbours.iter().map(|neighbour| neighbour.id).collect();
        for neighbour in &neighbours {
            self.nearer
                .insert(neighbour.id, self.frontier.get(neighbour.place).copied());
        }
        self.frontier = fresh;
    }

    /// From a CI to this side's end, both included.
    fn way(&self, from: Uuid) -> Vec<Uuid> {
        std::iter::successors(Some(from), |id| self.nearer.get(id).copied().flatten()).collect()
    }
}

struct Neighbour {
    id: Uuid,
    place: usize,
    code: String,
}

/// The two sides of a search, which grow towards each other.
struct Sides {
    start: Side,
    end: Side,
}

impl Sides {
    fn new(from: Uuid, to: Uuid, direction: Direction) -> Self {
        Self {
            start: Side::new(from, direction, true),
            end: Side::new(to, reversed(direction), false),
        }
    }

    /// The ids of the answer's CIs from start to end; nothing when there is no path within the bounds.
    async fn shortest<S: Source>(
        &mut self,
        source: &mut S,
        tenant: &TenantId,
        path: &Path,
    ) -> Result<Option<Vec<Uuid>>> {
        for hop in 1..=path.max_hops() {
            let (near, far) = if self.start.frontier.len() <= self.end.frontier.len() {
                (&mut self.start, &self.end)
            } else {
                (&mut self.end, &self.start)
            };
            let step = graph::Step {
                direction: near.direction,
                rel_types: path.rel_types(),
                frontier: &near.frontier,
                // The last step only matters where it meets the other side.
                only: (hop == path.max_hops()).then_some(&far.frontier),
            };
            let statement = Statement::write(S::DIALECT, tenant, |binder| graph::step(binder, &step));
            let room = PATH_CIS.saturating_sub(near.nearer.len() + far.nearer.len());
            let neighbours = neighbours(source, statement, room).await?;
            near.advance(neighbours);
            if near.frontier.is_empty() {
                return Ok(None);
            }
            if let Some(ids) = meeting(&self.start, &self.end) {
                return Ok(Some(ids));
            }
        }
        Ok(None)
    }

    /// Every CI of both sides; nothing when they are too many to be of use.
    fn visited(&self) -> Option<Vec<CiId>> {
        let reached: HashSet<Uuid> = self
            .start
            .nearer
            .keys()
            .chain(self.end.nearer.keys())
            .copied()
            .collect();
        (reached.len() <= TRACE_CIS).then(|| reached.into_iter().map(CiId).collect())
    }
}

async fn neighbours<S: Source>(source: &mut S, statement: Statement, room: usize) -> Result<Vec<Neighbour>> {
    let mut found = Vec::new();
    let take = |row: &S::Row| {
        if found.len() >= room {
            return Err(Error::Timeout(
                "too many CIs lie between the two; ask for fewer hops or types".into(),
            ));
        }
        found.push(Neighbour {
            id: present(row.id(0)?, "ci_id")?,
            place: usize::try_from(present(row.integer(1)?, "place")?).map_err(|_| corrupt("place"))?,
            code: present(row.text(2)?, "ci_code")?,
        });
        Ok(())
    };
    source.each(statement, take).await?;
    Ok(found)
}

/// The best path through a CI that both sides have just reached.
///
/// Until now the sides had none in common, so a common one lies on both frontiers; every shortest path passes through
/// exactly one of them, and the first in the start's order is on the best.
fn meeting(start: &Side, end: &Side) -> Option<Vec<Uuid>> {
    let reached: HashSet<&Uuid> = end.frontier.iter().collect();
    let middle = *start.frontier.iter().find(|id| reached.contains(id))?;
    let mut ids = start.way(middle);
    ids.reverse();
    ids.extend(end.way(middle).into_iter().skip(1));
    Some(ids)
}

fn reversed(direction: Direction) -> Direction {
    match direction {
        Direction::Out => Direction::In,
        Direction::In => Direction::Out,
        Direction::Both => Direction::Both,
    }
}

/// The answer along `ids`: between two CIs the relation whose type comes first, the forward one of two.
fn route(ids: &[Uuid], nodes: Vec<CiSummary>, edges: &[Edge], direction: Direction) -> Result<Route> {
    let codes: HashMap<Uuid, CiCode> = nodes.iter().map(|ci| (ci.ci_id.0, ci.ci_code.clone())).collect();
    let mut by_id: HashMap<Uuid, CiSummary> = nodes.into_iter().map(|ci| (ci.ci_id.0, ci)).collect();
    let relations = ids.windows(2).map(|pair| {
        let leads = |edge: &Edge| (edge.from, edge.to) == (pair[0], pair[1]) && direction != Direction::In;
        let leads_back =
            |edge: &Edge| (edge.to, edge.from) == (pair[0], pair[1]) && direction != Direction::Out;
        let between = edges.iter().filter(|edge| leads(edge) || leads_back(edge));
        let best = between.min_by(|a, b| (&a.rel_type, !leads(a)).cmp(&(&b.rel_type, !leads(b))));
        present(best.cloned(), "rel_type")?.named(&codes)
    });
    let relations = relations.collect::<Result<Vec<_>>>()?;
    let items = ids
        .iter()
        .map(|id| present(by_id.remove(id), "ci_id"))
        .collect::<Result<Vec<_>>>()?;
    Ok(Route {
        hops: u8::try_from(relations.len()).unwrap_or(u8::MAX),
        items,
        relations,
    })
}
