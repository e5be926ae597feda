//! One step of a path search as a statement.
//!
//! CROSS JOIN keeps SQLite to the written order: from the relations of the frontier to their CIs, never the other way round.

use ci_model::{Direction, RelationType};
use uuid::Uuid;

use super::select::SUMMARY;
use super::{Argument, Binder, Dialect};

/// Tables of the tenant's CIs, as `c` with some columns, whose ids a query gives as `o.other`: one look-up in the index for
/// each. `join` is another table beside it. Nothing may follow, it can end with conditions.
///
/// Left to itself PostgreSQL reads all of `ci` once the neighbours of a hub are many, and has to guess how many they
/// are; OFFSET keeps the subquery as it is written, as CROSS JOIN does in SQLite.
pub(super) fn looked_up(
    others: &str,
    columns: &str,
    join: &str,
    conditions: &str,
    binder: &Binder,
) -> String {
    let own = binder.own("c");
    match binder.dialect {
        Dialect::Postgres => format!(
            "({others}) AS o CROSS JOIN LATERAL (SELECT {columns} FROM ci AS c{join} \
             WHERE c.ci_id = o.other AND {own}{conditions} OFFSET 0) AS c"
        ),
        Dialect::Sqlite => {
            format!("({others}) AS o CROSS JOIN ci AS c{join} WHERE c.ci_id = o.other AND {own}{conditions}")
        }
    }
}

pub(super) fn types(rel_types: &[RelationType], binder: &mut Binder) -> String {
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
    /// Whether a neighbour comes once for each CI of the frontier that it is a neighbour of, not for the first alone.
    pub(crate) each: bool,
}

/// Reads a step: the live neighbours of the frontier, each once, with the position (from 0) of the first CI of the
/// frontier that it is a neighbour of, and its code. Or once for each such CI, with the position of that one.
pub(crate) fn step(binder: &mut Binder, step: &Step<'_>) -> String {
    let frontier = binder.bind(Argument::Ids(step.frontier.to_vec()));
    let types = types(step.rel_types, binder);
    let source = match binder.dialect {
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
    let (place, and_place) = if step.each {
        ("n.place", ", n.place")
    } else {
        ("min(n.place)", "")
    };
    let others = format!(
        "SELECT n.other, {place} - 1 AS place FROM ({}) AS n GROUP BY n.other{and_place}",
        branches.join(" UNION ALL ")
    );
    let conditions = format!(" AND c.deleted_at IS NULL{}", only.unwrap_or_default());
    let columns = format!("c.ci_id, {} AS ci_code", binder.bytes("c.ci_code"));
    let neighbours = looked_up(&others, &columns, "", &conditions, binder);
    format!("SELECT c.ci_id, o.place, c.ci_code FROM {neighbours}")
}

/// Reads the CIs of a path and every relation between any two of them: rows of kind 0 are CIs (kind, no level, no id, short
/// columns), rows of kind 1 relations, in the form of an [expansion](super::expansion).
pub(crate) fn route(binder: &mut Binder, ids: &[Uuid], rel_types: &[RelationType]) -> String {
    let list = binder.bind(Argument::Ids(ids.to_vec()));
    let types = types(rel_types, binder);
    let (no_id, no_text) = match binder.dialect {
        Dialect::Postgres => ("NULL::uuid", "NULL::text"),
        Dialect::Sqlite => ("NULL", "NULL"),
    };
    format!(
        "SELECT 0 AS kind, 0 AS level, {no_id} AS to_id, {SUMMARY} FROM ci AS c WHERE {own} AND {wanted} \
         UNION ALL SELECT 1, 0, r.to_id, r.from_id, {no_text}, {no_text}, r.rel_type, {no_text}, {no_text}, {no_text}, \
         {no_text}, {no_text} FROM ci_relation AS r WHERE r.tenant_id = $1 AND {from} AND {to}{types}",
        own = binder.own("c"),
        wanted = binder.is_in("c.ci_id", &list),
        from = binder.is_in("r.from_id", &list),
        to = binder.is_in("r.to_id", &list),
    )
}
