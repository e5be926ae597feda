//! Expansion over any [`Source`]: a statement for each level at most.

use std::collections::{BTreeMap, HashMap};

use ci_model::{
    CiCode, CiDetail, CiId, CiRef, CiSummary, Expand, Graph, Node, Relation, RelationType, TenantId,
};
use uuid::Uuid;

use crate::Result;
use crate::decode::{corrupt, detail, present, summary};
use crate::source::{Cells, Source};
use crate::sql::expansion::{From, Reading, expansion, levels};
use crate::sql::{Binder, Dialect, Statement};

/// Positions in a row: kind, level, the relation's other end, then the short columns.
const KIND: usize = 0;
const LEVEL: usize = 1;
const TO_ID: usize = 2;
const SUMMARY: usize = 3;
const REL_TYPE: usize = SUMMARY + 3;

/// A relation as the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Edge {
    pub(crate) from: Uuid,
    pub(crate) to: Uuid,
    pub(crate) rel_type: RelationType,
}

impl Edge {
    /// The relation with the codes of its ends.
    pub(crate) fn named(self, codes: &HashMap<Uuid, CiCode>) -> Result<Relation> {
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
pub(crate) fn split<R: Cells>(rows: &[R]) -> Result<(Vec<CiSummary>, Vec<Edge>)> {
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
        let statement = Statement::write(S::DIALECT, tenant, |binder| growth.next(binder))
            .planned_once(growth.has_one_plan());
        growth.take(&source.rows(statement).await?, tenant, S::DIALECT)?;
    }
    Ok(growth)
}

/// An answer that grows level by level.
pub(crate) struct Growth<'a> {
    expand: &'a Expand,
    /// None before the first statement, and when no root is there.
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

    /// Whether one plan is as good for all values as a plan for each: a filter's may leave many CIs or few.
    pub(crate) fn has_one_plan(&self) -> bool {
        self.expand.admitted().filters().is_empty()
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
            self.begin(found.remove(&0).unwrap_or_default().0);
            if self.graph.is_none() {
                self.left = 0;
                return Ok(());
            }
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

    /// Begins with the roots that are there, if any.
    fn begin(&mut self, mut roots: Vec<CiSummary>) {
        roots.sort_unstable_by(|a, b| a.ci_code.cmp(&b.ci_code));
        let Some(first) = roots.first() else {
            return;
        };
        let root = first.ci_id;
        let is_there = |target: &CiRef| roots.iter().any(|ci| is_named(ci, target));
        let missing = self.expand.roots().iter().filter(|target| !is_there(target));
        let missing = missing.cloned().collect();
        for ci in &roots {
            self.codes.insert(ci.ci_id.0, ci.ci_code.clone());
            self.frontier.push(ci.ci_id.0);
        }
        self.graph = Some(Graph {
            root,
            missing,
            items: roots.into_iter().map(|ci| Node { ci, level: 0 }).collect(),
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

/// Tells whether a CI is the one that a reference names.
pub(crate) fn is_named(ci: &CiSummary, target: &CiRef) -> bool {
    match target {
        CiRef::Id(id) => ci.ci_id == *id,
        CiRef::Code(code) => ci.ci_code == *code,
    }
}
