//! Several statements as one.
//!
//! Each becomes a table whose rows are turned into JSON arrays, so that rows of every width fit below each other. The tables are
//! materialized: read in full, in their own order, and read back in it.

use std::fmt::Write as _;

use super::{Binder, Dialect};

/// A statement that is one of several, and how many columns it has.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) text: String,
    pub(crate) width: usize,
}

/// Writes them as one, whose rows are the number of the part, from 0, and the cells as the text of a JSON array: part after
/// part, each in its own order.
pub(crate) fn together(binder: &Binder, parts: &[Part]) -> String {
    let array = match binder.dialect {
        Dialect::Postgres => "json_build_array",
        Dialect::Sqlite => "json_array",
    };
    let cast = match binder.dialect {
        Dialect::Postgres => "::text",
        Dialect::Sqlite => "",
    };
    let (mut tables, mut rows) = (String::new(), String::new());
    for (at, part) in parts.iter().enumerate() {
        let columns: Vec<String> = (0..part.width).map(|column| format!("c{column}")).collect();
        let columns = columns.join(", ");
        let (and, union) = if at == 0 {
            ("WITH ", "")
        } else {
            (", ", " UNION ALL ")
        };
        let _ = write!(tables, "{and}part{at}({columns}) AS MATERIALIZED ({})", part.text);
        let _ = write!(
            rows,
            "{union}SELECT {at} AS part, {array}({columns}){cast} AS cells FROM part{at}"
        );
    }
    format!("{tables} {rows}")
}
