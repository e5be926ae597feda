//! What a run found: cells of figures, printed as tables and written as JSON.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use ci_measure::rounds::Series;
use ci_measure::statistics::{Summary, ratios};

/// One contender's figure in one cell.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Figure {
    /// Whose.
    pub(crate) contender: String,
    /// The figure itself.
    pub(crate) value: Summary,
    /// Its ratio to the unit of the same round, where there is one.
    pub(crate) ratio: Option<Summary>,
    /// The value of each round.
    pub(crate) values: Vec<f64>,
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

impl Cell {
    /// Summarises the rounds of all contenders; `unit` names the one that ratios are taken to.
    pub(crate) fn of(table: &str, column: &str, unit: &str, series: &[Series]) -> Self {
        let unit = series.iter().find(|series| series.contender == unit);
        let figure = |one: &Series| Figure {
            contender: one.contender.clone(),
            value: Summary::of(&one.values),
            ratio: unit.map(|unit| Summary::of(&ratios(&one.values, &unit.values))),
            values: one.values.clone(),
        };
        Self {
            table: table.to_owned(),
            column: column.to_owned(),
            figures: series.iter().map(figure).collect(),
        }
    }

    /// Gives the median of the ratios of one contender to another, round by round.
    pub(crate) fn ratio(&self, contender: &str, unit: &str) -> Option<f64> {
        let (one, unit) = (self.figure(contender)?, self.figure(unit)?);
        Some(Summary::of(&ratios(&one.values, &unit.values)).median)
    }

    /// Names the cell.
    pub(crate) fn name(&self) -> String {
        format!("{}, {}", self.table, self.column)
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
    /// What is printed instead of a table per group of cells.
    #[serde(skip)]
    pub(crate) text: Option<String>,
}

impl Section {
    /// Renders the section: its note, then one table per group of cells with the contenders as rows.
    pub(crate) fn render(&self) -> String {
        let tables = self.text.clone().unwrap_or_else(|| self.tables());
        format!("\n## {}: {}\n{tables}", self.name, self.note)
    }

    fn tables(&self) -> String {
        let mut names: Vec<&str> = Vec::new();
        for cell in &self.cells {
            if !names.contains(&cell.table.as_str()) {
                names.push(&cell.table);
            }
        }
        let render = |name: &str| {
            let cells: Vec<&Cell> = self.cells.iter().filter(|cell| cell.table == name).collect();
            format!("\n{name}: {}\n{}\n", self.unit, table(&cells))
        };
        names.into_iter().map(render).collect()
    }
}

/// A table in the style of all tables here: first column to the left, numbers to the right.
pub(crate) fn plain_table(header: Vec<String>) -> Table {
    let mut table = Table::new();
    table.load_style(UTF8_FULL_CONDENSED).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn table(cells: &[&Cell]) -> Table {
    let columns = cells.iter().map(|cell| cell.column.clone());
    let mut table = plain_table(std::iter::once(String::new()).chain(columns).collect());
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
