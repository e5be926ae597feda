//! One level of an expansion and one step of a path search as statements.
//!
//! The statement itself bounds what is returned: a hub with thousands of relations is cut where it is read. CROSS JOIN
//! keeps SQLite to the written order: from the relations of the frontier to their CIs, never the other way round.

use std::fmt::Write as _;

use ci_model::{Direction, RelationType, TenantId};
use uuid::Uuid;

use super::select::SUMMARY;
use super::{Argument, Binder, Dialect, Statement};

/// What a level of an expansion is read with.
#[derive(Debug)]
pub(crate) struct Level<'a> {
    pub(crate) direction: Direction,
    pub(crate) rel_types: &'a [RelationType],
    pub(crate) include_deleted: bool,
    /// The CIs whose relations are followed.
    pub(crate) frontier: &'a [Uuid],
    /// CIs of the levels that were expanded before.
    pub(crate) expanded: &'a [Uuid],
    /// How many more CIs and relations fit into the answer; one more of each is returned when there are more.
    pub(crate) nodes_left: usize,
    pub(crate) edges_left: usize,
}

/// Reads a level: rows of kind 0 are new CIs (kind, no id, short columns), rows of kind 1 relations (kind, `to_id`,
/// `from_id` in the place of `ci_id` and the type in the place of `ci_type`), each kind in no order.
pub(crate) fn level(dialect: Dialect, tenant: &TenantId, level: &Level<'_>) -> Statement {
    let mut binder = Binder::new(dialect, tenant);
    let frontier = binder.bind(Argument::Ids(level.frontier.to_vec()));
    let expanded = binder.bind(Argument::Ids(level.expanded.to_vec()));
    let edges = edges(level, &frontier, &expanded, &mut binder);
    let live = if level.include_deleted {
        ""
    } else {
        " AND c.deleted_at IS NULL"
    };
    let others = format!(
        "SELECT DISTINCT edge.other FROM edge WHERE {} AND {}",
        binder.is_not_in("edge.other", &frontier),
        binder.is_not_in("edge.other", &expanded),
    );
    let fresh = looked_up(&others, live, &binder);
    let (nodes, one_more) = (
        bounded(level.nodes_left, 0, &mut binder),
        bounded(level.nodes_left, 1, &mut binder),
    );
    let most_edges = bounded(level.edges_left, 1, &mut binder);
    let (from_code, to_code, rel_type) = (
        binder.bytes("f.ci_code"),
        binder.bytes("t.ci_code"),
        binder.bytes("edge.rel_type"),
    );
    let (no_id, no_text) = match dialect {
        Dialect::Postgres => ("NULL::uuid", "NULL::text"),
        Dialect::Sqlite => ("NULL", "NULL"),
    };
    let text = format!(
        "WITH edge AS MATERIALIZED ({edges}), \
         fresh AS MATERIALIZED (SELECT n.ci_id, n.ci_code FROM (SELECT c.ci_id, c.ci_code FROM {fresh}) AS n \
         ORDER BY {new_code} LIMIT {one_more}), \
         answer AS MATERIALIZED (SELECT kept.ci_id, kept.ci_code FROM \
         (SELECT fresh.ci_id, fresh.ci_code FROM fresh ORDER BY {fresh_code} LIMIT {nodes}) AS kept \
         UNION ALL SELECT c.ci_id, {code} FROM ci AS c WHERE {in_frontier} \
         UNION ALL SELECT c.ci_id, {code} FROM ci AS c WHERE {in_expanded}), \
         met AS MATERIALIZED (SELECT edge.from_id, edge.to_id, edge.rel_type FROM edge \
         CROSS JOIN answer AS f CROSS JOIN answer AS t WHERE f.ci_id = edge.from_id AND t.ci_id = edge.to_id \
         ORDER BY {from_code}, {to_code}, {rel_type} LIMIT {most_edges}) \
         SELECT 0 AS kind, {no_id} AS to_id, {SUMMARY} FROM fresh CROSS JOIN ci AS c WHERE c.ci_id = fresh.ci_id \
         UNION ALL SELECT 1, met.to_id, met.from_id, {no_text}, {no_text}, met.rel_type, {no_text}, {no_text}, \
         {no_text}, {no_text}, {no_text} FROM met",
        new_code = binder.bytes("n.ci_code"),
        fresh_code = binder.bytes("fresh.ci_code"),
        code = binder.bytes("c.ci_code"),
        in_frontier = binder.is_in("c.ci_id", &frontier),
        in_expanded = binder.is_in("c.ci_id", &expanded),
    );
    binder.finish(text)
}

/// Tables of the tenant's CIs, as `c` with `ci_id` and `ci_code`, whose ids a query gives as `o.other`: one look-up in
/// the index for each. Nothing may follow, it can end with conditions.
///
/// Left to itself PostgreSQL reads all of `ci` once the neighbours of a hub are many, and has to guess how many they
/// are; OFFSET keeps the subquery as it is written, as CROSS JOIN does in SQLite.
fn looked_up(others: &str, conditions: &str, binder: &Binder) -> String {
    let own = binder.own("c");
    match binder.dialect {
        Dialect::Postgres => format!(
            "({others}) AS o CROSS JOIN LATERAL (SELECT c.ci_id, {code} AS ci_code FROM ci AS c \
             WHERE c.ci_id = o.other AND {own}{conditions} OFFSET 0) AS c",
            code = binder.bytes("c.ci_code"),
        ),
        Dialect::Sqlite => {
            format!("({others}) AS o CROSS JOIN ci AS c WHERE c.ci_id = o.other AND {own}{conditions}")
        }
    }
}

fn bounded(left: usize, more: usize, binder: &mut Binder) -> String {
    binder.integer(i64::try_from(left.saturating_add(more)).unwrap_or(i64::MAX))
}

/// The relations of the frontier in the wanted directions and types, each once, with the end that is not the
/// frontier's as `other`.
///
/// Followed both ways, a relation to an earlier level was met when that level was expanded, and one between two CIs of
/// the frontier is seen from both ends; neither may come again.
fn edges(level: &Level<'_>, frontier: &str, expanded: &str, binder: &mut Binder) -> String {
    let types = types(level.rel_types, binder);
    let both = level.direction == Direction::Both;
    let mut branches = Vec::new();
    if level.direction != Direction::In {
        let mut outwards = branch("from_id", "to_id", frontier, &types, binder);
        if both {
            let _ = write!(outwards, " AND {}", binder.is_not_in("r.to_id", expanded));
        }
        branches.push(outwards);
    }
    if level.direction != Direction::Out {
        let mut inwards = branch("to_id", "from_id", frontier, &types, binder);
        if both {
            let (earlier, same) = (
                binder.is_not_in("r.from_id", expanded),
                binder.is_not_in("r.from_id", frontier),
            );
            let _ = write!(inwards, " AND {earlier} AND {same}");
        }
        branches.push(inwards);
    }
    branches.join(" UNION ALL ")
}

fn branch(near: &str, other: &str, frontier: &str, types: &str, binder: &Binder) -> String {
    format!(
        "SELECT r.from_id, r.to_id, r.rel_type, r.{other} AS other FROM ci_relation AS r \
         WHERE r.tenant_id = $1 AND {}{types}",
        binder.is_in(&format!("r.{near}"), frontier)
    )
}

fn types(rel_types: &[RelationType], binder: &mut Binder) -> String {
    if rel_types.is_empty() {
        return String::new();
    }
    let names = rel_types.iter().map(|kind| kind.as_str().to_owned()).collect();
    let list = binder.bind(Argument::Texts(names));
    format!(" AND {}", binder.is_in("r.rel_type", &list))
}

/// What a step of a path search is read with.
#[derive(Debug)]
pub(crate) struct Step<'a> {
    pub(crate) direction: Direction,
    pub(crate) rel_types: &'a [RelationType],
    /// The CIs to step from, the preferred one first.
    pub(crate) frontier: &'a [Uuid],
    /// The only CIs that matter, when this is the last step.
    pub(crate) only: Option<&'a [Uuid]>,
}

/// Reads a step: the live neighbours of the frontier, each once, with the position (from 0) of the first CI of the
/// frontier that it is a neighbour of, and its code.
pub(crate) fn step(dialect: Dialect, tenant: &TenantId, step: &Step<'_>) -> Statement {
    let mut binder = Binder::new(dialect, tenant);
    let frontier = binder.bind(Argument::Ids(step.frontier.to_vec()));
    let types = types(step.rel_types, &mut binder);
    let source = match dialect {
        Dialect::Postgres => format!("unnest({frontier}) WITH ORDINALITY AS o(id, place)"),
        Dialect::Sqlite => format!("(SELECT value AS id, key + 1 AS place FROM json_each({frontier})) AS o"),
    };
    let only = step.only.map(|ids| {
        let list = binder.bind(Argument::Ids(ids.to_vec()));
        format!(" AND {}", binder.is_in("c.ci_id", &list))
    });
    let branch = |near: &str, other: &str| {
        format!(
            "SELECT r.{other} AS other, o.place FROM {source} CROSS JOIN ci_relation AS r \
             WHERE r.tenant_id = $1 AND r.{near} = o.id{types}"
        )
    };
    let mut branches = Vec::new();
    if step.direction != Direction::In {
        branches.push(branch("from_id", "to_id"));
    }
    if step.direction != Direction::Out {
        branches.push(branch("to_id", "from_id"));
    }
    let others = format!(
        "SELECT n.other, min(n.place) - 1 AS place FROM ({}) AS n GROUP BY n.other",
        branches.join(" UNION ALL ")
    );
    let conditions = format!(" AND c.deleted_at IS NULL{}", only.unwrap_or_default());
    let neighbours = looked_up(&others, &conditions, &binder);
    let text = format!("SELECT c.ci_id, o.place, c.ci_code FROM {neighbours}");
    binder.finish(text)
}

/// Reads the CIs of a path and every relation between any two of them, in the form of [`level`].
pub(crate) fn route(
    dialect: Dialect,
    tenant: &TenantId,
    ids: &[Uuid],
    rel_types: &[RelationType],
) -> Statement {
    let mut binder = Binder::new(dialect, tenant);
    let list = binder.bind(Argument::Ids(ids.to_vec()));
    let types = types(rel_types, &mut binder);
    let (no_id, no_text) = match dialect {
        Dialect::Postgres => ("NULL::uuid", "NULL::text"),
        Dialect::Sqlite => ("NULL", "NULL"),
    };
    let text = format!(
        "SELECT 0 AS kind, {no_id} AS to_id, {SUMMARY} FROM ci AS c WHERE {own} AND {wanted} \
         UNION ALL SELECT 1, r.to_id, r.from_id, {no_text}, {no_text}, r.rel_type, {no_text}, {no_text}, {no_text}, \
         {no_text}, {no_text} FROM ci_relation AS r WHERE r.tenant_id = $1 AND {from} AND {to}{types}",
        own = binder.own("c"),
        wanted = binder.is_in("c.ci_id", &list),
        from = binder.is_in("r.from_id", &list),
        to = binder.is_in("r.to_id", &list),
    );
    binder.finish(text)
}
