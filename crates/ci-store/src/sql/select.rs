//! Search, get and list as statements.

use ci_model::{CiRef, Get, List, ListOrder, Search, Selection, limits};
use uuid::Uuid;

use super::place::Placed;
use super::{Argument, Binder, Dialect, field, keyword};

/// The nine short columns of `c`, in the order in which they are read.
pub(crate) const SUMMARY: &str =
    "c.ci_id, c.ci_code, c.ci_name, c.ci_type, c.ci_subtype, c.ci_category, c.status, c.location, c.owner";

/// Where a selection's rows come from, and which they are.
pub(super) struct Rows {
    pub(super) from: String,
    pub(super) conditions: String,
}

/// Writes the tables and conditions of a selection; `fields` are those that the statement reads beside the filters'.
pub(super) fn rows<'a>(
    selection: &'a Selection,
    fields: impl IntoIterator<Item = &'a ci_model::Field>,
    binder: &mut Binder,
) -> Rows {
    let filters = selection.filters();
    let documents = filters
        .iter()
        .map(ci_model::Filter::field)
        .chain(fields)
        .any(field::is_document);
    let (mut from, mut conditions) = match binder.dialect {
        Dialect::Postgres => postgres_rows(selection, binder),
        Dialect::Sqlite => sqlite_rows(selection, binder),
    };
    if documents {
        from.push_str(" LEFT JOIN ci_ext AS e ON e.ci_id = c.ci_id");
    }
    conditions.push(binder.own("c"));
    if !selection.include_deleted() {
        conditions.push("c.deleted_at IS NULL".into());
    }
    conditions.extend(filters.iter().map(|filter| field::condition(filter, binder)));
    Rows {
        from,
        conditions: conditions.join(" AND "),
    }
}

fn postgres_rows(selection: &Selection, binder: &mut Binder) -> (String, Vec<String>) {
    let found = keyword::condition(selection, "c.search_text", binder);
    ("ci AS c".into(), found.into_iter().collect())
}

/// CROSS JOIN keeps SQLite's planner to this order: index, search text, row. Without an index query it walks the rows
/// (in the order that is asked for, so that it can stop early) and looks at each one's search text.
fn sqlite_rows(selection: &Selection, binder: &mut Binder) -> (String, Vec<String>) {
    let Some(found) = keyword::condition(selection, "s.text", binder) else {
        return ("ci AS c".into(), Vec::new());
    };
    match keyword::fts_query(selection) {
        Some(query) => {
            let query = binder.bind(Argument::Text(query));
            (
                "ci_search_fts CROSS JOIN ci_search AS s ON s.doc = ci_search_fts.rowid \
                 CROSS JOIN ci AS c ON c.ci_id = s.ci_id"
                    .into(),
                vec![
                    format!("ci_search_fts MATCH {query}"),
                    "s.tenant_id = $1".into(),
                    found,
                ],
            )
        }
        None => (
            "ci AS c CROSS JOIN ci_search AS s ON s.ci_id = c.ci_id".into(),
            vec![found],
        ),
    }
}

/// The CIs of a search: the short columns.
pub(crate) fn search(binder: &mut Binder, search: &Search) -> String {
    let rows = rows(search.selection(), [], binder);
    let placed = Placed::new(search, binder);
    let after = placed
        .after
        .map_or(String::new(), |after| format!(" AND {after}"));
    let limit = binder.rows(search.limit());
    format!(
        "SELECT {SUMMARY} FROM {from} WHERE {conditions}{after} ORDER BY {order} LIMIT {limit}",
        from = rows.from,
        conditions = rows.conditions,
        order = placed.order,
    )
}

/// A page of a list: per row the short columns, the total (0 where that is not asked) and the moment that it is ordered by; one row without columns when the page is empty.
pub(crate) fn list(binder: &mut Binder, list: &List) -> String {
    let rows = rows(list.selection(), [], binder);
    let (limit, offset) = (binder.rows(list.limit()), binder.rows(list.offset()));
    let (from, conditions) = (rows.from, rows.conditions);
    let moment = match list.order() {
        ListOrder::Updated => "updated_at",
        // Nobody can ask for another.
        _ => "created_at",
    };
    let total = if list.has_total() {
        format!("(SELECT count(*) FROM {from} WHERE {conditions})")
    } else {
        "0".to_owned()
    };
    let order = format!("ORDER BY c.{moment} DESC, c.ci_id");
    let ordered = format!("SELECT {SUMMARY}, c.{moment} FROM {from} WHERE {conditions} {order}");
    let ordered = if list.offset() == 0 && binder.dialect == Dialect::Postgres {
        // A plan that is made once, for any limit, is one for reading a tenth of the table unless it says how little that can be.
        format!(
            "SELECT c.* FROM ({ordered} LIMIT {}) AS c {order}",
            limits::SEARCH_RESULTS
        )
    } else {
        ordered
    };
    format!(
        "SELECT {columns}, {total} AS total, p.{moment} FROM (SELECT 1 AS one) AS one \
         LEFT JOIN ({ordered} LIMIT {limit} OFFSET {offset}) AS p ON 1 = 1 \
         ORDER BY p.{moment} DESC, p.ci_id",
        columns = SUMMARY.replace("c.", "p."),
    )
}

/// CIs by id and by code, all columns and both documents as text, in any order; a CI named twice may come twice.
pub(crate) fn get_many<'a>(binder: &mut Binder, gets: impl Iterator<Item = &'a Get> + Clone) -> String {
    let (ids, codes) = split(gets.clone().map(Get::target));
    let include_deleted = { gets }.any(Get::includes_deleted);
    let documents = match binder.dialect {
        Dialect::Postgres => "e.tags::text, e.attributes::text",
        Dialect::Sqlite => "e.tags, e.attributes",
    };
    let columns = format!("{SUMMARY}, c.criticality, c.created_at, c.updated_at, c.deleted_at, {documents}");
    by_refs(binder, ids, codes, include_deleted, &columns, true)
}

/// The live CIs (or any) of some references: the short columns.
pub(crate) fn summaries<'a>(
    binder: &mut Binder,
    targets: impl Iterator<Item = &'a CiRef>,
    include_deleted: bool,
) -> String {
    let (ids, codes) = split(targets);
    by_refs(binder, ids, codes, include_deleted, SUMMARY, false)
}

pub(super) fn split<'a>(targets: impl Iterator<Item = &'a CiRef>) -> (Vec<Uuid>, Vec<String>) {
    let (mut ids, mut codes) = (Vec::new(), Vec::new());
    for target in targets {
        match target {
            CiRef::Id(id) => ids.push(id.0),
            CiRef::Code(code) => codes.push(code.as_str().to_owned()),
        }
    }
    (ids, codes)
}

/// One branch per kind of reference, so that each uses its own index.
fn by_refs(
    binder: &mut Binder,
    ids: Vec<Uuid>,
    codes: Vec<String>,
    include_deleted: bool,
    columns: &str,
    documents: bool,
) -> String {
    let join = if documents {
        " LEFT JOIN ci_ext AS e ON e.ci_id = c.ci_id"
    } else {
        ""
    };
    let live = if include_deleted {
        ""
    } else {
        " AND c.deleted_at IS NULL"
    };
    let mut wanted = Vec::new();
    if !ids.is_empty() || codes.is_empty() {
        let list = binder.bind(Argument::Ids(ids));
        wanted.push(binder.is_in("c.ci_id", &list));
    }
    if !codes.is_empty() {
        let list = binder.bind(Argument::Texts(codes));
        wanted.push(binder.is_in(&binder.bytes("c.ci_code"), &list));
    }
    let own = binder.own("c");
    let branches: Vec<String> = wanted
        .iter()
        .map(|wanted| format!("SELECT {columns} FROM ci AS c{join} WHERE {own} AND {wanted}{live}"))
        .collect();
    branches.join(" UNION ALL ")
}

#[cfg(test)]
mod tests {
    use super::super::{
        Statement,
        expansion::{From, Reading, expansion},
        groups::aggregate,
    };
    use super::*;
    use ci_model::{Aggregate, CiSummary, Expand, Filter, TenantId, View};

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    /// The statements of one shape of question with the given texts in every place that takes one.
    fn statements(dialect: Dialect, word: &str) -> Vec<Statement> {
        let filters = || {
            ["owner", "tags.\"a b\"", "attributes.x.y"]
                .into_iter()
                .flat_map(|field| {
                    [
                        ("=", vec![word]),
                        ("!=", vec![word]),
                        ("contains", vec![word]),
                        ("in", vec![word, "other"]),
                    ]
                    .map(|(operator, values)| Filter::new(field, operator, &values).unwrap())
                })
        };
        let keywords = [format!("k{word}"), "x".to_owned()];
        let question = Search::builder()
            .keywords(keywords)
            .filters(filters())
            .exact_first([word])
            .build()
            .unwrap();
        // Long enough for the index, whatever the word: whether it is asked is of the shape.
        let by = || Search::builder().keyword(format!("k{word}")).rank_by(word);
        let ranked = [by(), by().sort("ci_subtype:desc".parse().unwrap())].map(|search| {
            let search = search.build().unwrap();
            let row = CiSummary {
                ci_id: "0189d7a4-1111-4222-8333-444455556666".parse().unwrap(),
                ci_code: ci_model::CiCode::new(word).unwrap(),
                ci_name: word.to_owned(),
                ci_type: word.to_owned(),
                ci_subtype: Some(word.to_owned()),
                ci_category: None,
                status: None,
                location: None,
                owner: None,
            };
            search.after(&search.cursor_at(&row)).unwrap()
        });
        let page = List::builder().filters(filters()).build().unwrap();
        let groups = Aggregate::builder()
            .filters(filters())
            .group_by("tags.role")
            .build()
            .unwrap();
        let tenant = tenant(word);
        let get = Get::new(ci_model::CiCode::new(word).unwrap());
        let graph = Expand::builder(get.target().clone(), View::Impact);
        let filtered = graph
            .clone()
            .filters(filters())
            .roots([ci_model::CiId(Uuid::nil())]);
        let (graph, filtered) = (graph.build().unwrap(), filtered.build().unwrap());
        let reading = Reading {
            expand: &graph,
            from: From::Root,
            left: 2,
            in_full: true,
        };
        let write = |text: &dyn Fn(&mut Binder) -> String| Statement::write(dialect, &tenant, text);
        vec![
            write(&|binder| search(binder, &question)),
            write(&|binder| search(binder, &ranked[0])),
            write(&|binder| search(binder, &ranked[1])),
            write(&|binder| list(binder, &page)),
            write(&|binder| aggregate(binder, &groups)),
            write(&|binder| get_many(binder, [&get].into_iter())),
            write(&|binder| expansion(binder, reading)),
            write(&|binder| {
                let expand = &filtered;
                expansion(binder, Reading { expand, ..reading })
            }),
        ]
    }

    #[test]
    fn the_text_of_a_statement_depends_on_the_shape_alone() {
        for dialect in [Dialect::Sqlite, Dialect::Postgres] {
            let plain: Vec<String> = statements(dialect, "plain").into_iter().map(|s| s.text).collect();
            for word in [
                "' OR 1=1 --",
                "$1",
                "\";DROP TABLE ci;",
                "%_\\",
                "é😀x",
                "@FOLD_FROM@",
            ] {
                let hostile: Vec<String> = statements(dialect, word).into_iter().map(|s| s.text).collect();
                assert_eq!(hostile, plain);
            }
            for text in plain {
                assert!(text.contains("tenant_id") && !text.contains("plain"), "{text}");
            }
        }
    }

    #[test]
    fn the_number_of_values_of_a_list_does_not_change_the_text() {
        let one_of = |values: &[&str]| {
            let filter = Filter::new("status", "in", values).unwrap();
            let question = Search::builder().filter(filter).build().unwrap();
            Statement::write(Dialect::Postgres, &tenant("t"), |binder| {
                search(binder, &question)
            })
            .text
        };
        assert_eq!(one_of(&["a"]), one_of(&["a", "b", "c"]));
    }
}
