//! What a run found: cells of figures, printed as tables and written as JSON.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use crate::statistics::{Summary, ratios};

/// One contender's figure in one cell.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// Whose.
    pub(crate) contender: String,
    /// The figure itself.
    pub(crate) value: Summary,
    /// Its ratio to the unit of the same round, where there is one.
    pub(crate) ratio: Option<Summary>,
}

/// All contenders under the same conditions.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Cell {
    /// The table it belongs to.
    pub(crate) table: String,
    /// Its column there.
    pub(crate) column: String,
    /// The contenders' figures.
    pub(crate) figures: Vec<Figure>,
}

/// A contender's values, one a round.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// Whose.
    pub(crate) contender: String,
    /// In the order of the rounds.
    pub(crate) values: Vec<f64>,
}

impl Cell {
    /// Summarises the rounds of all contenders; `unit` names the one that ratios are taken to.
    pub(crate) fn of(table: &str, column: &str, unit: &str, series: &[Series]) -> Self {
        let unit = series.iter().find(|series| series.contender == unit);
        let figure = |one: &Series| Figure {
            contender: one.contender.clone(),
            value: Summary::of(&one.values),
            ratio: unit.map(|unit| Summary::of(&ratios(&one.values, &unit.values))),
        };
        Self {
            table: table.to_owned(),
            column: column.to_owned(),
            figures: series.iter().map(figure).collect(),
        }
    }

    /// Finds a contender's figure.
    pub(crate) fn figure(&self, contender: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.contender == contender)
    }
}

/// One measurement: what is asked, in which unit, and the cells.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Section {
    /// Its name on the command line.
    pub(crate) name: &'static str,
    /// What is measured and how, for the reader of the table.
    pub(crate) note: String,
    /// The unit of the values.
    pub(crate) unit: &'static str,
    /// The figures.
    pub(crate) cells: Vec<Cell>,
}

impl Section {
    /// Renders one table per group of cells, contenders as rows.
    pub(crate) fn tables(&self) -> String {
        let mut text = format!("\n## {}: {}\n", self.name, self.note);
        let mut names: Vec<&str> = Vec::new();
        for cell in &self.cells {
            if !names.contains(&cell.table.as_str()) {
                names.push(&cell.table);
            }
        }
        for name in names {
            let cells: Vec<&Cell> = self.cells.iter().filter(|cell| cell.table == name).collect();
            text.push_str(&format!(
                "\n{name} ({}; ratio to the unit, middle half of the rounds)\n{}\n",
                self.unit,
                table(&cells)
            ));
        }
        text
    }
}

fn table(cells: &[&Cell]) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED);
    let columns = cells.iter().map(|cell| cell.column.clone());
    table.set_header(std::iter::once(String::new()).chain(columns));
    let mut contenders: Vec<&str> = Vec::new();
    for figure in cells.iter().flat_map(|cell| &cell.figures) {
        if !contenders.contains(&figure.contender.as_str()) {
            contenders.push(&figure.contender);
        }
    }
    for contender in contenders {
        let texts = cells
            .iter()
            .map(|cell| cell.figure(contender).map_or_else(String::new, text));
        table.add_row(std::iter::once(contender.to_owned()).chain(texts));
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A figure on up to two lines: the value, then the ratio with its middle half.
fn text(figure: &Figure) -> String {
    let value = rounded(figure.value.median);
    match &figure.ratio {
        Some(ratio) => format!(
            "{value}\n{:.2} ({:.2}-{:.2})",
            ratio.median, ratio.low, ratio.high
        ),
        None => value,
    }
}

/// Three significant digits or so.
fn rounded(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
