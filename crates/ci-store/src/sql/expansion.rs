//! An expansion as a statement: for each level some tables that the next one goes on from.
//!
//! PostgreSQL takes all levels in one statement. SQLite writes a table anew wherever it is named, and what that one names, too:
//! planning two levels takes it a hundred times as long as planning one, so it gets them one by one, and where it is
//! ([`From`]) is bound.
//!
//! Of level 2, say, there are
//!
//! | table | rows |
//! |---|---|
//! | `left2` | how many CIs still fit |
//! | `near2` | whether the frontier, `kept1`, has many relations, each way |
//! | `walk2` | the first new CIs in the order of codes, found by walking the tenant's CIs in that order |
//! | `fresh2` | the new CIs, one more than fit |
//! | `kept2` | those that fit |
//! | `known2` | the CIs of all levels so far |
//! | `met2` | the relations, one more than fit |
//!
//! # Hubs
//!
//! The answer holds the first CIs by code. The plain way to them looks every neighbour up and sorts: for a hub with tens of
//! thousands of neighbours that takes a hundred times as long as reading the answer. But where neighbours are that many, one
//! needs not walk far in the order of codes to meet enough of them. So where a frontier has more than [`MANY`] relations the
//! tenant's CIs are walked in that order, for at most [`WALKED`] of them, and each is asked for a relation to the frontier.
//! If that did not find enough, the plain way is taken after all: it costs what it did before, and the walk besides.
//!
//! Where no CI fits any more, it only matters whether there is another: the first that is met will do.
//!
//! CROSS JOIN keeps SQLite to the written order, OFFSET 0 does it in PostgreSQL: from the CIs at hand to their relations by
//! index, never the other way round. A condition that concerns no row (`SELECT n FROM left2`) is asked once in PostgreSQL and
//! for each CI of the frontier in SQLite, and what it guards is not read when it does not hold; it stands where the rows come
//! from, because SQLite fills a subquery before it looks at the conditions around it.

use ci_model::{CiRef, Direction, Expand, Filter};
use uuid::Uuid;

use super::field::{condition, is_document};
use super::graph::{looked_up, types};
use super::select::{SUMMARY, split};
use super::{Argument, Binder, Dialect};

/// From so many relations of a frontier on, CIs are walked in the order of codes.
const MANY: i32 = 2_000;
/// Most CIs that are walked: some 10 ms.
const WALKED: i32 = 10_000;

/// One way along relations: from the end that the frontier is at, to the other.
#[derive(Clone, Copy)]
struct Way {
    near: &'static str,
    other: &'static str,
}

const OUT: Way = Way {
    near: "from_id",
    other: "to_id",
};
const IN: Way = Way {
    near: "to_id",
    other: "from_id",
};

/// Where an expansion goes on from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum From<'a> {
    /// The beginning: the roots are not known yet.
    Root,
    /// A level whose CIs are to be expanded.
    Level {
        /// These CIs.
        frontier: &'a [Uuid],
        /// Those of the levels before.
        past: &'a [Uuid],
        /// The relations in the answer.
        met: usize,
    },
}

/// How many levels a statement reads.
pub(crate) fn levels(dialect: Dialect, left: u8) -> u8 {
    match dialect {
        Dialect::Postgres => left,
        Dialect::Sqlite => left.min(1),
    }
}

/// What every level is written with.
struct Writer<'a> {
    binder: &'a Binder,
    /// Whether the first level is the roots'.
    from_root: bool,
    direction: Direction,
    /// Conditions on the type of a relation `r`, and on a CI `c` that is reached; each begins with AND, or is empty.
    types: String,
    admitted: String,
    max_nodes: String,
    max_edges: String,
}

/// Number of columns of an expansion's rows, of those that have no more than the short columns.
pub(crate) const WIDTH: usize = 12;
/// How many more those have that have all columns.
const MORE: usize = 6;

/// What to read, and from where on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) expand: &'a Expand,
    pub(crate) from: From<'a>,
    /// Levels to come.
    pub(crate) left: u8,
    /// Whether all columns of the CIs are wanted.
    pub(crate) in_full: bool,
}

/// Reads the next levels of an expansion, as many as [`levels`] says of those that are left: rows of kind 0 are CIs (kind, level,
/// no id, short columns), rows of kind 1 relations (kind, level, `to_id`, `from_id` in the place of `ci_id` and the type in the
/// place of `ci_type`), in no order; of each level one more of either than fits when there are more. Levels are counted from where
/// it goes on; roots come as CIs of level 0. No row at all when none is there. In full, the other columns of the CIs
/// come after the short ones.
pub(crate) fn expansion(binder: &mut Binder, reading: Reading<'_>) -> String {
    let Reading {
        expand,
        from,
        left,
        in_full,
    } = reading;
    let types = types(expand.rel_types(), binder);
    let max_nodes = binder.integer(expand.max_nodes());
    let met = match from {
        From::Root => 0,
        From::Level { met, .. } => met,
    };
    let max_edges = i64::from(expand.max_edges()) - i64::try_from(met).unwrap_or(i64::MAX);
    let max_edges = binder.integer(max_edges.max(0));
    let (kept, past) = beginning(binder, expand, from);
    let live = if expand.includes_deleted() {
        ""
    } else {
        " AND c.deleted_at IS NULL"
    };
    let admitted = format!("{live}{}", filtered(binder, expand.admitted().filters()));
    let writer = Writer {
        from_root: matches!(from, From::Root),
        direction: expand.direction(),
        types,
        admitted,
        max_nodes,
        max_edges,
        binder,
    };
    let levels = 1..=levels(writer.binder.dialect, left);
    let table = |wanted: &str| {
        format!(
            "AS MATERIALIZED (SELECT c.ci_id, {code} AS ci_code FROM ci AS c WHERE {own} AND {wanted}{live})",
            code = writer.binder.bytes("c.ci_code"),
            own = writer.binder.own("c"),
        )
    };
    let mut tables = vec![format!("kept0 {}", table(&kept))];
    if let Some(past) = past {
        tables.push(format!("past0 {}", table(&past)));
        tables.push(
            "known0 AS MATERIALIZED (SELECT ci_id, ci_code FROM past0 UNION ALL SELECT ci_id, ci_code FROM kept0)".into(),
        );
    } else {
        tables.push("known0 AS MATERIALIZED (SELECT ci_id, ci_code FROM kept0)".into());
    }
    tables.extend(levels.clone().flat_map(|level| writer.level(level)));
    let fresh: Vec<String> = levels
        .clone()
        .map(|level| format!(" UNION ALL SELECT {level}, ci_id FROM fresh{level}"))
        .collect();
    let fresh = fresh.concat();
    let columns = Columns::new(writer.binder.dialect, in_full);
    let padding = if in_full {
        ", NULL".repeat(MORE)
    } else {
        String::new()
    };
    let met: Vec<String> = levels.map(|level| writer.met_rows(level, &padding)).collect();
    let met = met.concat();
    let no_id = writer.nothing("uuid");
    // Further on, who asks has those of level 0.
    let root = if writer.from_root {
        "SELECT 0 AS level, ci_id AS other FROM kept0"
    } else {
        "SELECT 0 AS level, ci_id AS other FROM kept0 WHERE 1 = 0"
    };
    format!(
        "WITH {tables} SELECT 0 AS kind, o.level, {no_id} AS to_id, {columns} FROM {cis}{met}",
        tables = tables.join(", "),
        columns = columns.outside,
        cis = looked_up(
            &format!("{root}{fresh}"),
            &columns.inside,
            columns.join,
            "",
            writer.binder,
        ),
    )
}

/// The columns of the CIs.
struct Columns {
    /// As they are read from the table.
    inside: String,
    /// As they are named where all is put together.
    outside: String,
    join: &'static str,
}

impl Columns {
    fn new(dialect: Dialect, in_full: bool) -> Self {
        if !in_full {
            return Self {
                inside: SUMMARY.into(),
                outside: SUMMARY.into(),
                join: "",
            };
        }
        let rest = "c.criticality, c.created_at, c.updated_at, c.deleted_at";
        let documents = match dialect {
            Dialect::Postgres => "c.tags, c.attributes",
            Dialect::Sqlite => "e.tags, e.attributes",
        };
        Self {
            inside: format!("{SUMMARY}, {rest}, e.tags::text AS tags, e.attributes::text AS attributes"),
            outside: format!("{SUMMARY}, {rest}, {documents}"),
            join: " LEFT JOIN ci_ext AS e ON e.ci_id = c.ci_id",
        }
    }
}

/// The conditions of the CIs to be expanded first, and of those before them.
fn beginning(binder: &mut Binder, expand: &Expand, from: From<'_>) -> (String, Option<String>) {
    match (from, expand.roots()) {
        (From::Level { frontier, past, .. }, _) => {
            let frontier = binder.bind(Argument::Ids(frontier.to_vec()));
            let past = binder.bind(Argument::Ids(past.to_vec()));
            (
                binder.is_in("c.ci_id", &frontier),
                Some(binder.is_in("c.ci_id", &past)),
            )
        }
        (From::Root, [CiRef::Id(id)]) => {
            let list = binder.bind(Argument::Ids(vec![id.0]));
            (binder.is_in("c.ci_id", &list), None)
        }
        (From::Root, [CiRef::Code(code)]) => {
            let code = binder.bind(Argument::Text(code.as_str().to_owned()));
            (format!("{} = {code}", binder.bytes("c.ci_code")), None)
        }
        // The same text for any number of ids and codes.
        (From::Root, roots) => {
            let (ids, codes) = split(roots.iter());
            let (ids, codes) = (
                binder.bind(Argument::Ids(ids)),
                binder.bind(Argument::Texts(codes)),
            );
            let (by_id, by_code) = (
                binder.is_in("c.ci_id", &ids),
                binder.is_in(&binder.bytes("c.ci_code"), &codes),
            );
            (format!("({by_id} OR {by_code})"), None)
        }
    }
}

/// The conditions that all filters hold for a CI `c`; begins with AND, or is empty. Documents are looked up by a subquery, so that
/// it can stand wherever there is a CI.
fn filtered(binder: &mut Binder, filters: &[Filter]) -> String {
    let (mut columns, mut documents) = (String::new(), Vec::new());
    for filter in filters {
        let holds = condition(filter, binder);
        if is_document(filter.field()) {
            documents.push(holds);
        } else {
            columns = format!("{columns} AND {holds}");
        }
    }
    if documents.is_empty() {
        return columns;
    }
    // A CI without documents has no row of them, and one row of nothing here.
    format!(
        "{columns} AND EXISTS (SELECT 1 FROM (SELECT 1 AS one) AS w LEFT JOIN ci_ext AS e ON e.ci_id = c.ci_id WHERE {})",
        documents.join(" AND ")
    )
}

impl Writer<'_> {
    fn is_postgres(&self) -> bool {
        self.binder.dialect == Dialect::Postgres
    }

    /// A column without a value.
    fn nothing(&self, kind: &str) -> String {
        if self.is_postgres() {
            format!("NULL::{kind}")
        } else {
            "NULL".to_owned()
        }
    }

    fn ways(&self) -> &'static [Way] {
        match self.direction {
            Direction::Out => &[OUT],
            Direction::In => &[IN],
            Direction::Both => &[OUT, IN],
        }
    }

    /// The tables of a level.
    fn level(&self, level: u8) -> [String; 7] {
        let before = level - 1;
        let nodes = &self.max_nodes;
        let by_code = |alias: &str| self.binder.bytes(&format!("{alias}.ci_code"));
        [
            format!("left{level} AS MATERIALIZED (SELECT {nodes} - count(*) AS n FROM known{before})"),
            format!("near{level} AS MATERIALIZED (SELECT {})", self.near(level)),
            format!("walk{level} AS MATERIALIZED ({})", self.walk(level)),
            format!("fresh{level} AS MATERIALIZED ({})", self.fresh(level)),
            format!(
                "kept{level} AS MATERIALIZED (SELECT f.ci_id, f.ci_code FROM fresh{level} AS f ORDER BY {} \
                 LIMIT (SELECT n FROM left{level}))",
                by_code("f"),
            ),
            format!(
                "known{level} AS MATERIALIZED (SELECT ci_id, ci_code FROM known{before} \
                 UNION ALL SELECT ci_id, ci_code FROM kept{level})"
            ),
            format!("met{level} AS MATERIALIZED ({})", self.met(level)),
        ]
    }

    /// How many relations the frontier has in each way, counted up to one more than many; 0 for a way that is not followed.
    fn near(&self, level: u8) -> String {
        let frontier = format!("kept{}", level - 1);
        let counts = self.ways().iter().map(|way| {
            let relations = self.relations(&frontier, way.near, way.other, "");
            format!(
                "(SELECT count(*) FROM (SELECT 1 AS one FROM ({relations}) AS e LIMIT {}) AS e)",
                MANY + 1
            )
        });
        let counts: Vec<String> = counts.chain(["0".to_owned()]).take(2).collect();
        format!("{} AS w0, {} AS w1", counts[0], counts[1])
    }

    /// The relations of a level's frontier, each once, with the end that is not the frontier's as `other`; where `guard`, which
    /// begins with AND, holds.
    ///
    /// Followed both ways, a relation to an earlier level was met when that level was expanded, and one between two CIs of
    /// the frontier is seen from both ends; neither may come again.
    fn edges(&self, level: u8, guard: &str) -> String {
        let ways = self.ways().iter().enumerate();
        let branches = ways.map(|(at, way)| {
            let conditions = format!("{guard}{}", self.again(level, at, *way));
            self.relations(&format!("kept{}", level - 1), way.near, way.other, &conditions)
        });
        branches.collect::<Vec<_>>().join(" UNION ALL ")
    }

    /// What keeps relations of a level that were met from coming again, by the way that they are followed.
    fn again(&self, level: u8, at: usize, way: Way) -> String {
        if self.direction != Direction::Both {
            return String::new();
        }
        let past = match level {
            1 if self.from_root => None,
            1 => Some("past0".to_owned()),
            _ => Some(format!("known{}", level - 2)),
        };
        let frontier = (at > 0).then(|| format!("kept{}", level - 1));
        let tables = past.into_iter().chain(frontier);
        tables
            .map(|table| format!(" AND r.{} NOT IN (SELECT ci_id FROM {table})", way.other))
            .collect::<Vec<_>>()
            .concat()
    }

    /// The relations with one end among the CIs of a table, by index; conditions on `r` begin with AND.
    fn relations(&self, table: &str, near: &str, other: &str, conditions: &str) -> String {
        let (types, columns) = (
            &self.types,
            format!("r.from_id, r.to_id, r.rel_type, r.{other} AS other"),
        );
        if self.is_postgres() {
            format!(
                "SELECT {columns} FROM {table} AS n CROSS JOIN LATERAL (SELECT r.from_id, r.to_id, r.rel_type \
                 FROM ci_relation AS r WHERE r.tenant_id = $1 AND r.{near} = n.ci_id{types} OFFSET 0) AS r \
                 WHERE true{conditions}"
            )
        } else {
            format!(
                "SELECT {columns} FROM {table} AS n CROSS JOIN ci_relation AS r \
                 WHERE r.tenant_id = $1 AND r.{near} = n.ci_id{types}{conditions}"
            )
        }
    }

    /// The first CIs by code that have a relation with the frontier and are not known, of those that are walked: one more than
    /// fit. Nothing unless the frontier has many relations.
    fn walk(&self, level: u8) -> String {
        let (known, frontier) = (format!("known{}", level - 1), format!("kept{}", level - 1));
        let related = self.ways().iter().map(|way| {
            // The plus keeps SQLite from looking through all relations of the frontier instead of this CI's own.
            let plus = if self.is_postgres() { "" } else { "+" };
            format!(
                "SELECT 1 AS one FROM ci_relation AS r WHERE r.tenant_id = $1 AND r.{} = c.ci_id{} \
                 AND {plus}r.{} IN (SELECT ci_id FROM {frontier})",
                way.other, self.types, way.near
            )
        });
        let related = related.collect::<Vec<_>>();
        let related = if self.is_postgres() {
            // A limit keeps it from being joined in another order.
            format!(
                "CROSS JOIN LATERAL (SELECT 1 AS one FROM ({}) AS r LIMIT 1) AS r WHERE true",
                related.join(" UNION ALL ")
            )
        } else {
            let any: Vec<String> = related.iter().map(|one| format!("EXISTS ({one})")).collect();
            format!("WHERE ({})", any.join(" OR "))
        };
        let (code, own) = (self.binder.bytes("c.ci_code"), self.binder.own("c"));
        // The code at which the walk ends; nothing is below none.
        let end = format!(
            "(SELECT CASE WHEN (SELECT w0 + w1 FROM near{level}) > {MANY} AND (SELECT n FROM left{level}) > 0 THEN coalesce(\
             (SELECT c.ci_code FROM ci AS c WHERE {own} ORDER BY {code} LIMIT 1 OFFSET {WALKED}), \
             (SELECT max({code}) FROM ci AS c WHERE {own})) END)"
        );
        format!(
            "SELECT c.ci_id, c.ci_code FROM ci AS c {related} AND {own}{live} AND {code} <= {end} \
             AND c.ci_id NOT IN (SELECT ci_id FROM {known}) ORDER BY {code} LIMIT (SELECT n + 1 FROM left{level})",
            live = self.admitted,
        )
    }

    /// The new CIs of a level, one more than fit: by the walk, by looking all neighbours up, or any one when none fits.
    fn fresh(&self, level: u8) -> String {
        let left = format!("(SELECT n FROM left{level})");
        let enough = format!("(SELECT count(*) FROM walk{level}) > {left}");
        let known = format!(" AND e.other NOT IN (SELECT ci_id FROM known{})", level - 1);
        let look_up = |guard: &str, distinct: &str| {
            let others = format!(
                "SELECT {distinct}e.other FROM ({edges}) AS e WHERE true{known}",
                edges = self.edges(level, guard)
            );
            let columns = format!("c.ci_id, {} AS ci_code", self.binder.bytes("c.ci_code"));
            looked_up(&others, &columns, "", &self.admitted, self.binder)
        };
        let all = look_up(&format!(" AND {left} > 0 AND NOT ({enough})"), "DISTINCT ");
        let any = look_up(&format!(" AND {left} <= 0"), "");
        let code = self.binder.bytes("a.ci_code");
        format!(
            "SELECT w.ci_id, w.ci_code FROM walk{level} AS w WHERE {enough} \
             UNION ALL SELECT a.ci_id, a.ci_code FROM (SELECT a.ci_id, a.ci_code FROM (SELECT c.ci_id, c.ci_code FROM {all}) \
             AS a ORDER BY {code} LIMIT (SELECT n + 1 FROM left{level})) AS a \
             UNION ALL SELECT z.ci_id, z.ci_code FROM (SELECT c.ci_id, c.ci_code FROM {any} LIMIT 1) AS z"
        )
    }

    /// The relations of a level whose two ends are known, the first ones by the codes of their ends and their type.
    fn met(&self, level: u8) -> String {
        let (known, frontier) = (format!("known{level}"), format!("kept{}", level - 1));
        // Read first, then looked up: PostgreSQL would look again for each CI of the frontier.
        let (whole, plus) = if self.is_postgres() {
            (" OFFSET 0", "")
        } else {
            ("", "+")
        };
        let ways = self.ways().iter().enumerate();
        let sources = ways.flat_map(|(at, way)| {
            let (again, many) = (
                self.again(level, at, *way),
                format!("(SELECT w{at} FROM near{level}) > {MANY}"),
            );
            let few = format!(" AND NOT ({many}){again}");
            let from_frontier = format!(
                "SELECT r.from_id, r.to_id, r.rel_type FROM (SELECT e.* FROM ({}) AS e{whole}) AS r \
                 WHERE r.other IN (SELECT ci_id FROM {known})",
                self.relations(&frontier, way.near, way.other, &few)
            );
            // A hub's relations with the known CIs are read from their side.
            let many = format!(
                " AND {many}{again} AND {plus}r.{} IN (SELECT ci_id FROM {frontier})",
                way.near
            );
            let edges = self.relations(&known, way.other, way.near, &many);
            let from_known = format!("SELECT r.from_id, r.to_id, r.rel_type FROM ({edges}) AS r");
            [from_frontier, from_known]
        });
        let sources: Vec<String> = sources.collect();
        let earlier: Vec<String> = (1..level)
            .map(|level| format!(" - (SELECT count(*) FROM met{level})"))
            .collect();
        let (from, to, kind) = (
            self.binder.bytes("f.ci_code"),
            self.binder.bytes("t.ci_code"),
            self.binder.bytes("e.rel_type"),
        );
        format!(
            "SELECT e.from_id, e.to_id, e.rel_type FROM ({}) AS e CROSS JOIN {known} AS f CROSS JOIN {known} AS t \
             WHERE f.ci_id = e.from_id AND t.ci_id = e.to_id ORDER BY {from}, {to}, {kind} LIMIT {}",
            sources.join(" UNION ALL "),
            self.at_least_none(&format!("{} + 1{}", self.max_edges, earlier.concat())),
        )
    }

    /// A number, or 0 if it is negative: SQLite takes a negative limit for none.
    fn at_least_none(&self, number: &str) -> String {
        let greatest = if self.is_postgres() { "greatest" } else { "max" };
        format!("(SELECT {greatest}(0, {number}))")
    }

    fn met_rows(&self, level: u8, padding: &str) -> String {
        let text = self.nothing("text");
        format!(
            " UNION ALL SELECT 1, {level}, m.to_id, m.from_id, {text}, {text}, m.rel_type, {text}, {text}, {text}, {text}, \
             {text}{padding} FROM met{level} AS m"
        )
    }
}
