//! The verdict: each target, the figure that decides it, and whether it is met.

use serde::Serialize;

use crate::hit_ratio::{self, LRU, OPTIMUM, best_peer, is_peer, mean_share};
use crate::peers::{plain, quick};
use crate::report::{Cell, Section, plain_table};
use crate::{bytes, instructions, latency, memory, ours, throughput};

/// The target that does not depend on the machine's day.
const INSTRUCTIONS: &str = "instructions of a hit, to the committed";

/// The side of a bound on which a figure must lie.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    fn holds(self, figure: f64) -> bool {
        match self {
            Self::AtLeast(bound) => figure >= bound,
            Self::AtMost(bound) => figure <= bound,
        }
    }

    /// How far inside the bound a figure lies; negative outside.
    fn margin(self, figure: f64) -> f64 {
        match self {
            Self::AtLeast(bound) => figure - bound,
            Self::AtMost(bound) => bound - figure,
        }
    }
}

/// One target and what became of it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Line {
    /// What has to be.
    pub(crate) target: String,
    /// The bound, as words.
    pub(crate) required: String,
    /// The figure furthest from it.
    pub(crate) figure: f64,
    /// Where that figure is from.
    pub(crate) place: String,
    /// Figures that meet the bound.
    pub(crate) good: usize,
    /// All figures it is asked of.
    pub(crate) all: usize,
}

impl Line {
    /// Whether every figure meets the bound.
    pub(crate) fn met(&self) -> bool {
        self.good == self.all
    }
}

/// Judges figures by a bound; nothing for no figures.
fn judge(target: &str, bound: Bound, figures: &[(String, f64)]) -> Option<Line> {
    let worst = figures
        .iter()
        .min_by(|one, other| bound.margin(one.1).total_cmp(&bound.margin(other.1)))?;
    Some(Line {
        target: target.to_owned(),
        required: match bound {
            Bound::AtLeast(bound) => format!("at least {bound:.3}"),
            Bound::AtMost(bound) => format!("at most {bound:.3}"),
        },
        figure: worst.1,
        place: worst.0.clone(),
        good: figures.iter().filter(|(_, figure)| bound.holds(*figure)).count(),
        all: figures.len(),
    })
}

/// Judges everything that was measured.
pub(crate) fn lines(sections: &[Section]) -> Vec<Line> {
    let mut lines = Vec::new();
    for section in sections {
        let cells = &section.cells;
        match section.name {
            throughput::NAME => lines.extend(of_throughput(cells)),
            latency::NAME => lines.extend(of_latency(cells)),
            hit_ratio::NAME => lines.extend(of_hit_ratio(cells)),
            memory::NAME => lines.extend(of_memory(cells)),
            instructions::NAME => lines.extend(of_instructions(cells)),
            _ => {}
        }
    }
    lines
}

/// Our ratios to another contender in the cells whose column is chosen.
fn ratios(cells: &[Cell], unit: &str, chosen: impl Fn(&str) -> bool) -> Vec<(String, f64)> {
    let cells = cells.iter().filter(|cell| chosen(&cell.column));
    cells
        .filter_map(|cell| Some((cell.name(), cell.ratio(ours::NAME, unit)?)))
        .collect()
}

fn of_throughput(cells: &[Cell]) -> Vec<Line> {
    let to_quick = |chosen: fn(&str) -> bool| ratios(cells, quick::NAME, chosen);
    let single = ratios(cells, plain::NAME, |column| column == "100/0 1t");
    let hits = to_quick(|column| column.starts_with("100/0") && !column.ends_with(" 1t"));
    let few = to_quick(|column| column.starts_with("95/5"));
    let many = to_quick(|column| column.starts_with("75/25"));
    let judged = [
        judge(
            "pure hits, one thread, to hashbrown",
            Bound::AtLeast(0.85),
            &single,
        ),
        judge(
            "pure hits, 2 and 4 threads, to quick_cache",
            Bound::AtLeast(1.4),
            &hits,
        ),
        judge(
            "95/5, 1, 2 and 4 threads, to quick_cache",
            Bound::AtLeast(1.4),
            &few,
        ),
        judge(
            "75/25, 1, 2 and 4 threads, to quick_cache",
            Bound::AtLeast(1.3),
            &many,
        ),
    ];
    judged.into_iter().flatten().collect()
}

fn of_latency(cells: &[Cell]) -> Vec<Line> {
    let cells: Vec<Cell> = cells
        .iter()
        .filter(|cell| cell.table == latency::CHAINED)
        .cloned()
        .collect();
    let cells = &cells;
    let small = ratios(cells, quick::NAME, |column| column.ends_with("10 k"));
    let large = ratios(cells, quick::NAME, |column| column.ends_with("1 M"));
    let judged = [
        judge(
            "latency of a hit at 10 k, to quick_cache",
            Bound::AtMost(0.7),
            &small,
        ),
        judge(
            "latency of a hit at 1 M, to quick_cache",
            Bound::AtMost(0.8),
            &large,
        ),
    ];
    judged.into_iter().flatten().collect()
}

fn of_hit_ratio(cells: &[Cell]) -> Vec<Line> {
    let ours = mean_share(cells, ours::NAME);
    let mut rivals: Vec<&str> = Vec::new();
    for figure in cells.iter().flat_map(|cell| &cell.figures) {
        let name = figure.contender.as_str();
        if name != ours::NAME && name != OPTIMUM && !rivals.contains(&name) {
            rivals.push(name);
        }
    }
    let ahead: Vec<(String, f64)> = rivals
        .iter()
        .map(|name| {
            let kind = if is_peer(name) || *name == LRU {
                ""
            } else {
                "our own "
            };
            (format!("to {kind}{name}"), ours - mean_share(cells, name))
        })
        .collect();
    let points: Vec<(String, f64)> = cells
        .iter()
        .filter_map(|cell| {
            let (peer, best) = best_peer(cell)?;
            let ours = cell.figure(ours::NAME)?.value.median;
            Some((format!("{}, to {peer}", cell.name()), ours - best))
        })
        .collect();
    let judged = [
        judge(
            "mean share of the optimum",
            Bound::AtLeast(0.685),
            &[("all cells".to_owned(), ours)],
        ),
        judge(
            "mean share ahead of every peer and fixed policy",
            Bound::AtLeast(0.0),
            &ahead,
        ),
        judge(
            "points of hit ratio to the best peer, every cell",
            Bound::AtLeast(-3.0),
            &points,
        ),
    ];
    judged.into_iter().flatten().collect()
}

fn of_memory(cells: &[Cell]) -> Vec<Line> {
    let name = bytes::expiring(ours::NAME);
    let figures: Vec<(String, f64)> = cells
        .iter()
        .filter_map(|cell| Some((cell.column.clone(), cell.figure(&name)?.value.median)))
        .collect();
    judge(
        "bytes an entry over the pair, TTL included",
        Bound::AtMost(40.0),
        &figures,
    )
    .into_iter()
    .collect()
}

fn of_instructions(cells: &[Cell]) -> Vec<Line> {
    let ours = cells.iter().filter(|cell| cell.table.starts_with(ours::NAME));
    let figures: Vec<(String, f64)> = ours
        .filter_map(|cell| {
            Some((
                cell.name(),
                cell.ratio(instructions::MEASURED, instructions::COMMITTED)?,
            ))
        })
        .collect();
    judge(
        "instructions of a hit, to the committed",
        Bound::AtMost(1.03),
        &figures,
    )
    .into_iter()
    .collect()
}

/// Whether a hit costs more instructions than is committed.
pub(crate) fn regressed(lines: &[Line]) -> bool {
    lines
        .iter()
        .any(|line| line.target == INSTRUCTIONS && !line.met())
}

/// Renders the verdict.
pub(crate) fn render(lines: &[Line]) -> String {
    let header = ["target", "required", "worst", "where", "figures", ""];
    let mut table = plain_table(header.map(str::to_owned).to_vec());
    for line in lines {
        table.add_row([
            line.target.clone(),
            line.required.clone(),
            format!("{:.3}", line.figure),
            line.place.clone(),
            format!("{} of {}", line.good, line.all),
            if line.met() { "met" } else { "NOT MET" }.to_owned(),
        ]);
    }
    format!("\n## verdict\n\n{table}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use ci_measure::rounds::Series;

    fn cell(table: &str, column: &str, figures: &[(&str, f64)]) -> Cell {
        let series: Vec<Series> = figures
            .iter()
            .map(|(name, value)| Series {
                contender: (*name).to_owned(),
                values: vec![*value],
            })
            .collect();
        Cell::of(table, column, quick::NAME, &series)
    }

    #[test]
    fn the_worst_figure_decides() {
        let figures = [
            ("a".to_owned(), 1.5),
            ("b".to_owned(), 1.39),
            ("c".to_owned(), 1.4),
        ];
        let line = judge("t", Bound::AtLeast(1.4), &figures).expect("figures");
        assert_eq!(
            (line.figure, line.place.as_str(), line.good, line.all),
            (1.39, "b", 2, 3)
        );
        assert!(!line.met());
        let line = judge("t", Bound::AtMost(1.5), &figures).expect("figures");
        assert_eq!((line.figure, line.met()), (1.5, true));
        assert_eq!(judge("t", Bound::AtMost(1.0), &[]), None);
    }

    #[test]
    fn throughput_is_judged_by_its_column() {
        let cells = [
            cell(
                "u128",
                "100/0 1t",
                &[(ours::NAME, 8.0), (quick::NAME, 8.0), (plain::NAME, 10.0)],
            ),
            cell("u128", "100/0 2t", &[(ours::NAME, 15.0), (quick::NAME, 10.0)]),
            cell("u128", "95/5 1t", &[(ours::NAME, 13.0), (quick::NAME, 10.0)]),
            cell("u128", "75/25 4t", &[(ours::NAME, 13.0), (quick::NAME, 10.0)]),
        ];
        let met: Vec<bool> = of_throughput(&cells).iter().map(Line::met).collect();
        assert_eq!(met, [false, true, false, true]);
    }

    #[test]
    fn hit_ratios_are_judged_by_mean_share_and_worst_cell() {
        let peer = quick::NAME;
        let cells = [
            cell(
                "a",
                "1 %",
                &[(OPTIMUM, 80.0), (LRU, 10.0), (ours::NAME, 60.0), (peer, 62.0)],
            ),
            cell(
                "b",
                "1 %",
                &[(OPTIMUM, 50.0), (LRU, 10.0), (ours::NAME, 45.0), (peer, 20.0)],
            ),
        ];
        let lines = of_hit_ratio(&cells);
        assert!((lines[0].figure - 0.825).abs() < 1e-9);
        assert!(lines.iter().all(Line::met), "{lines:?}");
        assert_eq!(lines[2].place, "a, 1 %, to quick_cache");
        assert!((lines[2].figure + 2.0).abs() < 1e-9);

        let behind = [cell(
            "a",
            "1 %",
            &[(OPTIMUM, 80.0), (ours::NAME, 50.0), (peer, 54.0)],
        )];
        let met: Vec<bool> = of_hit_ratio(&behind).iter().map(Line::met).collect();
        assert_eq!(met, [false, false, false]);
    }

    #[test]
    fn more_instructions_are_a_regression() {
        let cells = |count| {
            let figures = [(instructions::MEASURED, count), (instructions::COMMITTED, 100.0)];
            [cell(ours::NAME, "u128", &figures)]
        };
        assert!(!regressed(&of_instructions(&cells(102.0))));
        assert!(regressed(&of_instructions(&cells(104.0))));
        assert!(!regressed(&[]));
    }

    #[test]
    fn only_what_was_measured_is_judged() {
        assert!(lines(&[]).is_empty());
        assert!(of_memory(&[cell("m", memory::FILLED, &[(quick::NAME, 37.0)])]).is_empty());
    }
}
