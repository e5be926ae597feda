//! Numbers and tables as Markdown.

use std::fmt::Write as _;

/// A table under construction: a header, and rows of as many cells.
#[derive(Debug, Clone)]
pub(super) struct Table {
    header: Vec<String>,
    rows: Vec<Vec<String>>,
}

impl Table {
    pub(super) fn new<S: Into<String>>(header: impl IntoIterator<Item = S>) -> Self {
        Self {
            header: header.into_iter().map(Into::into).collect(),
            rows: Vec::new(),
        }
    }

    pub(super) fn row(&mut self, cells: Vec<String>) {
        debug_assert_eq!(cells.len(), self.header.len(), "a cell for each column");
        self.rows.push(cells);
    }

    /// The table, or nothing where it has no rows.
    pub(super) fn markdown(&self) -> String {
        if self.rows.is_empty() {
            return String::new();
        }
        let mut text = line(&self.header);
        text.extend([format!("|{}\n", "---|".repeat(self.header.len()))]);
        text.extend(self.rows.iter().map(|row| line(row)));
        text
    }
}

fn line(cells: &[String]) -> String {
    cells.iter().fold("|".to_owned(), |mut line, cell| {
        // Writing to a string cannot fail.
        let _ = write!(line, " {cell} |");
        line
    }) + "\n"
}

/// A time given in microseconds, in the unit that suits it.
pub(super) fn micros(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{} s", digits(value / 1e6)),
        value if value >= 1e3 => format!("{} ms", digits(value / 1e3)),
        value if value >= 1.0 => format!("{} µs", digits(value)),
        value => format!("{} ns", digits(value * 1e3)),
    }
}

/// A number with its unit as a run file has them.
pub(super) fn with_unit(value: f64, unit: &str) -> String {
    match unit {
        "us" => micros(value),
        "ns" => micros(value / 1e3),
        "ms" => micros(value * 1e3),
        "%" => format!("{value:.1} %"),
        _ => number(value),
    }
}

/// A number: whole where it is large, and with thousands apart.
pub(super) fn number(value: f64) -> String {
    if value.fract() == 0.0 || value.abs() >= 1_000.0 {
        return grouped(value);
    }
    digits(value)
}

/// Three digits or so.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => grouped(value),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn grouped(value: f64) -> String {
    let plain = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in plain.chars().enumerate() {
        if at > 0 && (plain.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

/// How many times as much.
pub(super) fn times(value: f64) -> String {
    format!("{}x", number(if value >= 10.0 { value.round() } else { value }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_for_people() {
        assert_eq!(micros(0.4), "400 ns");
        assert_eq!(micros(5.75), "5.75 µs");
        assert_eq!(micros(45_880.0), "45.9 ms");
        assert_eq!(micros(2_500_000.0), "2.50 s");
        assert_eq!(with_unit(1_234_567.0, "a second"), "1,234,567");
        assert_eq!(with_unit(0.0, "in all"), "0");
        assert_eq!(with_unit(99.95, "%"), "100.0 %");
        assert_eq!(number(-1_500.0), "-1,500");
        assert_eq!(times(1_745.2), "1,745x");
        assert_eq!(times(2.5), "2.50x");
    }

    #[test]
    fn a_table_without_rows_is_nothing() {
        let mut table = Table::new(["a", "b"]);
        assert_eq!(table.markdown(), "");
        table.row(vec!["1".to_owned(), "2".to_owned()]);
        assert_eq!(table.markdown(), "| a | b |\n|---|---|\n| 1 | 2 |\n");
    }
}
