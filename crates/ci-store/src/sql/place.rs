//! The order of a search in SQL: rank, value, id; and what comes after a place in it.

use ci_model::{Order, Ranking, Search};

use super::fold::sqlite_fold;
use super::{Argument, Binder, Dialect};

/// The order of a search, and where in it the rows begin.
pub(crate) struct Placed {
    /// What to order by.
    pub(crate) order: String,
    /// The condition that a row comes after the start; none for a search from the first row on.
    pub(crate) after: Option<String>,
}

impl Placed {
    pub(crate) fn new(search: &Search, binder: &mut Binder) -> Self {
        let sort = search.sort();
        let column = binder.bytes(&format!("c.{}", sort.column.as_str()));
        let rank = rank(search, binder);
        let descending = if sort.order == Order::Descending {
            " DESC"
        } else {
            ""
        };
        // Said only where a value can be absent: it would keep PostgreSQL from reading an index backwards.
        let absent_last = if sort.column.may_be_absent() {
            " NULLS LAST"
        } else {
            ""
        };
        let first = rank.as_ref().map_or(String::new(), |rank| format!("{rank}, "));
        Self {
            order: format!("{first}{column}{descending}{absent_last}, c.ci_id"),
            after: after(search, rank.as_deref(), &column, binder),
        }
    }
}

/// The rank of a row, a number; none where all have the same.
fn rank(search: &Search, binder: &mut Binder) -> Option<String> {
    match search.ranking() {
        Ranking::ExactFirst(first) => {
            let list = binder.bind(Argument::Texts(first.clone()));
            let [code, name] = names(search, binder.dialect);
            let (code, name) = (binder.is_in(&code, &list), binder.is_in(&name, &list));
            Some(format!("CASE WHEN {code} OR {name} THEN 0 ELSE 1 END"))
        }
        Ranking::ByMatch(by) => {
            let by = binder.bind(Argument::Text(by.clone()));
            let [code, name] = names(search, binder.dialect);
            // In a table of its own, so that what folds them is written once.
            Some(format!(
                "(SELECT CASE WHEN n.code = {by} THEN 0 WHEN n.name = {by} THEN 1 WHEN {} THEN 2 WHEN {} THEN 3 ELSE 4 END \
                 FROM (SELECT {code} AS code, {name} AS name) AS n)",
                begins("n.code", &by, binder.dialect),
                begins("n.name", &by, binder.dialect),
            ))
        }
        // Nobody can ask for another.
        _ => None,
    }
}

fn begins(text: &str, by: &str, dialect: Dialect) -> String {
    match dialect {
        Dialect::Postgres => format!("starts_with({text}, {by})"),
        Dialect::Sqlite => format!("substr({text}, 1, length({by})) = {by}"),
    }
}

/// The folded code and name. Folding every row that matches would cost more than finding it, so where the search text is at hand
/// they are taken from there: it begins with both, each as long as its column, because folding keeps the number of characters.
fn names(search: &Search, dialect: Dialect) -> [String; 2] {
    let (text, length) = match dialect {
        Dialect::Postgres => ("c.search_text", "char_length"),
        Dialect::Sqlite if !search.selection().keywords().is_empty() => ("s.text", "length"),
        Dialect::Sqlite => return ["c.ci_code", "c.ci_name"].map(sqlite_fold),
    };
    let code_length = format!("{length}(c.ci_code)");
    [
        format!("substr({text}, 1, {code_length})"),
        format!("substr({text}, {code_length} + 2, {length}(c.ci_name))"),
    ]
}

/// The condition that a row comes after the search's start. Its text depends on whether there the value is absent, and not on the
/// value. Where no value can be absent and nothing ranks, it begins with a comparison that an index can start from.
fn after(search: &Search, rank: Option<&str>, column: &str, binder: &mut Binder) -> Option<String> {
    let start = search.start()?;
    let id = binder.bind(Argument::Id(start.id().0));
    let past = if search.sort().order == Order::Descending {
        "<"
    } else {
        ">"
    };
    let behind = match start.value() {
        Some(value) => {
            let value = binder.bind(Argument::Text(value.to_owned()));
            let behind =
                format!("({column} {past}= {value} AND ({column} {past} {value} OR c.ci_id > {id}))");
            if search.sort().column.may_be_absent() {
                format!("({behind} OR {column} IS NULL)")
            } else {
                behind
            }
        }
        None => format!("({column} IS NULL AND c.ci_id > {id})"),
    };
    let Some(rank) = rank else {
        return Some(behind);
    };
    let least = binder.integer(start.rank());
    Some(format!("({rank} > {least} OR ({rank} = {least} AND {behind}))"))
}
