//! Several statements as one.
//!
//! Each becomes a table whose rows are turned into JSON arrays, so that rows of every width fit below each other. The tables are
//! materialized: read in full, in their own order, and read back in it.

use super::{Binder, Dialect};

/// A statement that is one of several, and how many columns it has.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) text: String,
    pub(crate) width: usize,
}

/// Writes them as one, after the tables that some of them read (each a name, `AS` and its statement). Its rows are the number of the part, from 0, and the cells as the text of a JSON array: part after
/// part, each in its own order.
pub(crate) fn together(binder: &Binder, shared: &[String], parts: &[Part]) -> String {
    let (array, cast) = match binder.dialect {
        Dialect::Postgres => ("json_build_array", "::text"),
        Dialect::Sqlite => ("json_array", ""),
    };
    // Another program may have stored bytes where we store text, and JSON has none.
    let cell = |column: &String| match binder.dialect {
        Dialect::Postgres => column.clone(),
        Dialect::Sqlite => {
            format!("CASE typeof({column}) WHEN 'blob' THEN CAST({column} AS TEXT) ELSE {column} END")
        }
    };
    let mut tables = shared.to_vec();
    let mut rows = Vec::with_capacity(parts.len());
    for (at, part) in parts.iter().enumerate() {
        let columns: Vec<String> = (0..part.width).map(|column| format!("c{column}")).collect();
        let cells = columns.iter().map(cell).collect::<Vec<_>>().join(", ");
        let columns = columns.join(", ");
        tables.push(format!("part{at}({columns}) AS MATERIALIZED ({})", part.text));
        rows.push(format!(
            "SELECT {at} AS part, {array}({cells}){cast} AS cells FROM part{at}"
        ));
    }
    format!("WITH {} {}", tables.join(", "), rows.join(" UNION ALL "))
}

/// Writes one with columns of the database's state behind its own, read from `from`: its rows in their order, or one that has nothing but the
/// state. Between the two is a column that is 1 in the rows that it has.
pub(crate) fn with_state(part: &Part, state: &str, from: &str) -> String {
    let columns: Vec<String> = (0..part.width).map(|column| format!("c{column}")).collect();
    let cells: Vec<String> = columns.iter().map(|column| format!("a.{column}")).collect();
    format!(
        "WITH asked({}) AS MATERIALIZED ({}) SELECT {}, a.there, {state} FROM {from} \
         LEFT JOIN (SELECT asked.*, 1 AS there FROM asked) AS a ON true",
        columns.join(", "),
        part.text,
        cells.join(", "),
    )
}
