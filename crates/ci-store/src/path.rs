//! Shortest paths over any [`Source`]: a statement for each step of the search, whatever the number of CIs in it, and for
//! several paths at most one more for each.

use std::collections::{HashMap, HashSet};

use ci_model::{CiCode, CiId, CiRef, CiSummary, Direction, Path, PathAnswer, Route, Routes, TenantId};
use uuid::Uuid;

use crate::decode::{corrupt, present, summary};
use crate::graph::{Edge, is_named, split};
use crate::source::{Cells, Source};
use crate::sql::{Statement, graph, select};
use crate::ways::{Beside, Ways};
use crate::{Error, PathTrace, Result, TRACE_CIS};

/// Most CIs that a path search looks at before it gives up, over both of its sides: about 200 MB.
const PATH_CIS: usize = 2_000_000;

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
        return trace(Some(answer(path, vec![itself])), met);
    }
    let mut sides = Sides::new(from.ci_id.0, to.ci_id.0, path.direction());
    let best = sides.shortest(source, tenant, path).await?;
    let visited = sides.visited();
    let Some(best) = best else {
        return trace(Some(PathAnswer::NoPath), visited);
    };
    let ways = if path.most() > 1 {
        // One more than are wanted, to tell whether there is one.
        let ways = sides.ways(source, tenant, path).await?;
        ways.paths(usize::from(path.most()) + 1)
    } else {
        vec![best]
    };
    let ids: HashSet<Uuid> = ways.iter().flatten().copied().collect();
    let ids: Vec<Uuid> = ids.into_iter().collect();
    let statement = Statement::write(S::DIALECT, tenant, |binder| {
        graph::route(binder, &ids, path.rel_types())
    });
    let rows = source.rows(statement).await?;
    let (nodes, edges) = split(&rows)?;
    let nodes: HashMap<Uuid, CiSummary> = nodes.into_iter().map(|ci| (ci.ci_id.0, ci)).collect();
    let routes = ways
        .iter()
        .map(|ids| route(ids, &nodes, &edges, path.direction()));
    trace(Some(answer(path, routes.collect::<Result<_>>()?)), visited)
}

/// The answer in the form that was asked for.
fn answer(path: &Path, mut routes: Vec<Route>) -> PathAnswer {
    if path.most() > 1 {
        let most = usize::from(path.most());
        let truncated = routes.len() > most;
        routes.truncate(most);
        return PathAnswer::Several(Routes {
            items: routes,
            truncated,
        });
    }
    routes.pop().map_or(PathAnswer::NoPath, PathAnswer::Found)
}

/// One side of a path search: every CI reached so far with the CI it is best reached from.
///
/// "Best" is what makes the answer the one whose codes come first. From the start: the frontier is kept in the order of
/// the best ways to its CIs, so the first of several predecessors gives the best way, and (predecessor, code) orders
/// the next frontier. From the end: what follows a CI is decided by the next CI's code alone, so the frontier is kept
/// in the order of codes.
struct Side {
    frontier: Vec<Uuid>,
    /// The frontiers before it, this side's end first.
    past: Vec<Vec<Uuid>>,
    /// To the CI one step nearer to this side's end; none for the end itself.
    nearer: HashMap<Uuid, Option<Uuid>>,
    direction: Direction,
    by_way: bool,
}

impl Side {
    fn new(end: Uuid, direction: Direction, by_way: bool) -> Self {
        Self {
            frontier: vec![end],
            past: Vec::new(),
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
        self.past.push(std::mem::replace(&mut self.frontier, fresh));
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
                each: false,
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

    /// All shortest paths, once the sides have met: what lies between them and both ends is read again, this time with all that
    /// leads to it, and only as far as it is on a path.
    ///
    /// ```text
    /// start - s1 - s2 - both frontiers - e1 - end
    ///         <----------    m     ---->            e1 and the s come from what the search has reached
    /// ```
    async fn ways<S: Source>(&self, source: &mut S, tenant: &TenantId, path: &Path) -> Result<Ways> {
        let reached: HashSet<&Uuid> = self.start.frontier.iter().collect();
        // The end's frontier is in the order of codes.
        let middle = self.end.frontier.iter().filter(|id| reached.contains(id));
        let mut ways = Ways::of(middle.copied().collect());
        let mut read = async |side: &Side, frontier: &[Uuid], only: &[Uuid]| {
            let step = graph::Step {
                direction: reversed(side.direction),
                rel_types: path.rel_types(),
                frontier,
                only: Some(only),
                each: true,
            };
            let statement = Statement::write(S::DIALECT, tenant, |binder| graph::step(binder, &step));
            let beside = neighbours(source, statement, PATH_CIS).await?;
            let beside = beside.into_iter().map(|one| (one.code, one.id, one.place));
            Ok::<Beside, Error>(beside.collect())
        };
        for only in self.start.past.iter().skip(1).rev() {
            let beside = read(&self.start, ways.first(), only).await?;
            ways.lead(beside);
        }
        for only in self.end.past.iter().skip(1).rev() {
            let beside = read(&self.end, ways.last(), only).await?;
            ways.follow(beside);
        }
        // The ends are beside all of the last layers.
        let of_end = |end: &Uuid, count: usize| (0..count).map(|at| (String::new(), *end, at)).collect();
        if let Some(start) = self.start.past.first().and_then(|ends| ends.first()) {
            ways.lead(of_end(start, ways.first().len()));
        }
        if let Some(end) = self.end.past.first().and_then(|ends| ends.first()) {
            ways.follow(of_end(end, ways.last().len()));
        }
        Ok(ways)
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

/// The path along `ids`: between two CIs the relation whose type comes first, the forward one of two.
fn route(
    ids: &[Uuid],
    nodes: &HashMap<Uuid, CiSummary>,
    edges: &[Edge],
    direction: Direction,
) -> Result<Route> {
    let items = ids
        .iter()
        .map(|id| present(nodes.get(id).cloned(), "ci_id"))
        .collect::<Result<Vec<_>>>()?;
    let codes: HashMap<Uuid, CiCode> = items.iter().map(|ci| (ci.ci_id.0, ci.ci_code.clone())).collect();
    let relations = ids.windows(2).map(|pair| {
        let leads = |edge: &Edge| (edge.from, edge.to) == (pair[0], pair[1]) && direction != Direction::In;
        let leads_back =
            |edge: &Edge| (edge.to, edge.from) == (pair[0], pair[1]) && direction != Direction::Out;
        let between = edges.iter().filter(|edge| leads(edge) || leads_back(edge));
        let best = between.min_by(|a, b| (&a.rel_type, !leads(a)).cmp(&(&b.rel_type, !leads(b))));
        present(best.cloned(), "rel_type")?.named(&codes)
    });
    let relations = relations.collect::<Result<Vec<_>>>()?;
    Ok(Route {
        hops: u8::try_from(relations.len()).unwrap_or(u8::MAX),
        items,
        relations,
    })
}
