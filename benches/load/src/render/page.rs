//! The report: which tables and charts there are, and what the reader has to know of each.

use super::text::{Table, micros, number, times, with_unit};
use crate::arms::names;
use crate::run_file::{Figure, RunFile};

/// The databases, as figures and readers call them.
const DATABASES: [(&str, &str); 2] = [("sqlite", "SQLite"), ("postgres", "PostgreSQL")];
/// The scenarios, with what the predecessor claimed of each.
const SCENARIOS: [(&str, &str); 3] = [
    ("dashboard", "300 to 50 ms, 6x"),
    ("traversal", "800 to 200 ms, 4x"),
    ("related", "150 to 20 ms, 7.5x"),
];

/// A run, to take figures from.
#[derive(Debug, Clone, Copy)]
pub(super) struct Page<'a>(pub(super) &'a RunFile);

/// Operations a second of the mixes.
const OPERATIONS: f64 = 200.0;

impl<'a> Page<'a> {
    /// A figure's value, by section, workload, database, arm, condition, metric.
    pub(super) fn value(self, name: [&str; 6]) -> Option<f64> {
        self.0.find(name).map(|figure| figure.value)
    }

    /// A figure as a cell; a dash where there is none.
    fn cell(self, name: [&str; 6]) -> String {
        self.0
            .find(name)
            .map_or_else(|| "-".to_owned(), |figure| with_unit(figure.value, &figure.unit))
    }

    /// Different values of a part of the names, in the order of the file.
    pub(super) fn each(self, of: impl Fn(&'a Figure) -> Option<&'a str>) -> Vec<&'a str> {
        let mut all: Vec<&str> = Vec::new();
        for value in self.0.figures.iter().filter_map(of) {
            if !all.contains(&value) {
                all.push(value);
            }
        }
        all
    }

    /// Who was asked a workload of a section.
    fn arms(self, section: &str, workload: &str) -> Vec<&'a str> {
        self.each(|figure| {
            (figure.section == section && figure.workload == workload).then_some(figure.arm.as_str())
        })
    }

    fn conditions(self, section: &str, workload: &str) -> Vec<&'a str> {
        self.each(|figure| {
            (figure.section == section && figure.workload == workload).then_some(figure.at.as_str())
        })
    }

    fn ratio(self, one: [&str; 6], other: [&str; 6]) -> Option<f64> {
        let (one, other) = (self.value(one)?, self.value(other)?);
        (other > 0.0).then(|| one / other)
    }

    /// Where the run comes from.
    pub(super) fn origin(self) -> String {
        let run = self.0;
        let quick = if run.quick {
            ", quick (an impression only)"
        } else {
            ""
        };
        let note = if run.note.is_empty() {
            String::new()
        } else {
            format!(" Note: {}.", run.note)
        };
        format!(
            "Run of {}, commit `{}`, seed {}{quick}; {} cores of {}, {}; PostgreSQL private and without flushing to disk.{note}\n",
            run.date, run.commit, run.seed, run.machine.cores, run.machine.cpu, run.machine.os
        )
    }

    /// How many times faster the runner is than the predecessor: scenario, database, against which connecting, cold, warm.
    pub(super) fn speed_ups(self) -> Vec<(String, [Option<f64>; 4])> {
        let mut all = Vec::new();
        for (scenario, _) in SCENARIOS {
            for (database, shown) in DATABASES {
                let p50 = |arm, at| ["scenarios", scenario, database, arm, at, "p50"];
                let against =
                    |arm| ["cold", "warm"].map(|at| self.ratio(p50(arm, "cold"), p50(names::RUNNER, at)));
                let ([cold, warm], [connecting_cold, connecting_warm]) =
                    (against(names::PREDECESSOR), against(names::RECONNECTING));
                if warm.is_some() {
                    all.push((
                        format!("{scenario}, {shown}"),
                        [cold, warm, connecting_cold, connecting_warm],
                    ));
                }
            }
        }
        all
    }

    pub(super) fn scenarios(self) -> String {
        let mut text = String::new();
        for (scenario, claim) in SCENARIOS {
            let mut table = Table::new([
                "arm",
                "statements cold, warm",
                "SQLite: cold p50 (p99)",
                "warm p50 (p99)",
                "PostgreSQL: cold p50 (p99)",
                "warm p50 (p99)",
            ]);
            for arm in self.arms("scenarios", scenario) {
                let mut cells = vec![arm.to_owned()];
                let statements = |at| {
                    let of = |database| self.cell(["scenarios", scenario, database, arm, at, "statements"]);
                    match (of("sqlite"), of("postgres")) {
                        (one, other) if one == other || other == "-" => one,
                        (one, other) => format!("{one} ({other} on PostgreSQL)"),
                    }
                };
                cells.push(format!("{}, {}", statements("cold"), statements("warm")));
                for (database, _) in DATABASES {
                    for at in ["cold", "warm"] {
                        let of = |metric| self.cell(["scenarios", scenario, database, arm, at, metric]);
                        cells.push(format!("{} ({})", of("p50"), of("p99")));
                    }
                }
                table.row(cells);
            }
            if self.arms("scenarios", scenario).is_empty() {
                continue;
            }
            text.extend([format!(
                "\n### {scenario}\n\nThe predecessor claimed: {claim}.\n\n{}",
                table.markdown()
            )]);
        }
        text
    }

    pub(super) fn speed_up_table(self) -> String {
        let mut table = Table::new([
            "scenario",
            "cold, to the predecessor with a pool",
            "warm",
            "cold, to the predecessor connecting each time",
            "warm",
            "fewer statements cold, warm",
        ]);
        for (name, ratios) in self.speed_ups() {
            let mut cells = vec![name.clone()];
            cells.extend(ratios.map(|ratio| ratio.map_or_else(|| "-".to_owned(), times)));
            let (scenario, shown) = name.split_once(", ").unwrap_or((&name, ""));
            let database = DATABASES
                .iter()
                .find(|(_, known)| *known == shown)
                .map_or("", |(database, _)| database);
            let statements = |arm, at| ["scenarios", scenario, database, arm, at, "statements"];
            let fewer = ["cold", "warm"].map(|at| {
                let share = self.ratio(
                    statements(names::RUNNER, at),
                    statements(names::PREDECESSOR, "cold"),
                );
                share.map_or_else(
                    || "-".to_owned(),
                    |share| format!("{:.1} %", (1.0 - share) * 100.0),
                )
            });
            cells.push(fewer.join(", "));
            table.row(cells);
        }
        table.markdown()
    }

    pub(super) fn mixes(self) -> String {
        let mut text = String::new();
        for workload in self.each(|figure| (figure.section == "mixes").then_some(figure.workload.as_str())) {
            for (database, shown) in DATABASES {
                let mut table = Table::new([
                    "writes",
                    "arm",
                    "statements an operation",
                    "versions read besides",
                    "polls a second",
                    "hit rate",
                    "stale answers",
                    "p50",
                    "p90",
                    "p99",
                    "p99.9",
                    "p50, p99 from its beginning",
                    "processor time",
                ]);
                for at in self.conditions("mixes", workload) {
                    for arm in self.arms("mixes", workload) {
                        let of = |metric| self.cell(["mixes", workload, database, arm, at, metric]);
                        if of("p50") == "-" {
                            continue;
                        }
                        table.row(vec![
                            at.to_owned(),
                            arm.to_owned(),
                            of("statements"),
                            of("versions read"),
                            of("polls"),
                            of("hit rate"),
                            format!("{} of {}", of("stale answers"), of("answers")),
                            of("p50"),
                            of("p90"),
                            of("p99"),
                            of("p99.9"),
                            format!(
                                "{}, {}",
                                of("p50 from its beginning"),
                                of("p99 from its beginning")
                            ),
                            self.value(["mixes", workload, database, arm, at, "processor time"])
                                .map_or_else(|| "-".to_owned(), micros),
                        ]);
                    }
                }
                let table = table.markdown();
                if !table.is_empty() {
                    text.extend([format!("\n{workload}, {shown}:\n\n{table}")]);
                }
            }
        }
        text
    }

    /// How many fewer statements the runner needs than the predecessor over the desk's mix with 10 writes a second, in percent.
    pub(super) fn fewer(self, database: &str) -> Option<f64> {
        let statements = |arm| ["mixes", "desk", database, arm, "10 writes/s", "statements"];
        let share = self.ratio(statements(names::RUNNER), statements(names::PREDECESSOR))?;
        Some((1.0 - share) * 100.0)
    }

    /// The same of everything that the runner asks of the database, its readings of versions and its polls too, at the mix's 200 operations a second;
    /// and from how many operations a second on it is 95 % fewer, if it ever is.
    pub(super) fn fewer_of_all(self, database: &str) -> Option<(f64, Option<f64>)> {
        let of = |arm, metric| self.value(["mixes", "desk", database, arm, "10 writes/s", metric]);
        let theirs = of(names::PREDECESSOR, "statements")?;
        let each = of(names::RUNNER, "statements")? + of(names::RUNNER, "versions read")?;
        let polls = of(names::RUNNER, "polls")?;
        let room = theirs * 0.05 - each;
        Some((
            (1.0 - (each + polls / OPERATIONS) / theirs) * 100.0,
            (room > 0.0).then(|| polls / room),
        ))
    }

    pub(super) fn steps(self) -> String {
        let mut table = Table::new(["step of a hit", "time"]);
        for step in self.arms("steps", "hit") {
            table.row(vec![
                step.to_owned(),
                self.cell(["steps", "hit", "", step, "", "time"]),
            ]);
        }
        let mut text = table.markdown();
        for workload in ["get, missed", "search, missed"] {
            let mut table = Table::new([workload, "SQLite: p50", "p99", "PostgreSQL: p50", "p99"]);
            for step in self.arms("steps", workload) {
                let mut cells = vec![step.to_owned()];
                for (database, _) in DATABASES {
                    for metric in ["p50", "p99"] {
                        cells.push(self.cell(["steps", workload, database, step, "", metric]));
                    }
                }
                table.row(cells);
            }
            let table = table.markdown();
            if !table.is_empty() {
                text.extend([format!("\n{table}")]);
            }
        }
        text
    }

    /// What a miss takes more than the same question straight on the store, asked the fastest way that it has: microseconds and share.
    pub(super) fn overhead(self, workload: &str, database: &str) -> Option<(f64, f64)> {
        let of = |step| self.value(["steps", workload, database, step, "", "p50"]);
        let (transaction, statement) = (
            of("store, in a transaction, without a version"),
            of("store, one statement"),
        );
        let store = transaction.into_iter().chain(statement).reduce(f64::min)?;
        let runner = of("runner, nothing cached")?;
        (store > 0.0).then(|| (runner - store, runner / store - 1.0))
    }

    pub(super) fn methods(self) -> String {
        let mut table = Table::new([
            "method, at 500 entries",
            "predecessor, measured on it",
            "ours",
            "ratio",
        ]);
        for method in self.each(|figure| (figure.workload == "methods").then_some(figure.at.as_str())) {
            let of = |arm| ["steps", "methods", "", arm, method, "time"];
            let (theirs, ours) = (of("predecessor, measured on it"), of("ours"));
            table.row(vec![
                method.to_owned(),
                self.cell(theirs),
                self.cell(ours),
                self.ratio(theirs, ours).map_or_else(|| "-".to_owned(), times),
            ]);
        }
        table.markdown()
    }

    /// The tables of a section whose workloads have figures of their own: a row a condition.
    pub(super) fn by_condition(self, section: &str) -> String {
        let mut text = String::new();
        for workload in self.each(|figure| (figure.section == section).then_some(figure.workload.as_str())) {
            let metrics = self.each(|figure| {
                (figure.section == section && figure.workload == workload).then_some(figure.metric.as_str())
            });
            let mut header = vec!["database", "arm", "condition"];
            header.extend(&metrics);
            let mut table = Table::new(header);
            for (database, shown) in DATABASES {
                for arm in self.arms(section, workload) {
                    for at in self.conditions(section, workload) {
                        let cells: Vec<String> = metrics
                            .iter()
                            .map(|metric| self.cell([section, workload, database, arm, at, metric]))
                            .collect();
                        if cells.iter().any(|cell| cell != "-") {
                            let head = [shown, arm, at].map(str::to_owned);
                            table.row(head.into_iter().chain(cells).collect());
                        }
                    }
                }
            }
            text.extend([format!("\n{workload}:\n\n{}", table.markdown())]);
        }
        text
    }

    pub(super) fn replay(self) -> String {
        let mut table = Table::new([
            "log",
            "database",
            "arm",
            "hit rate",
            "statements an operation",
            "p50",
            "p99",
        ]);
        for workload in self.each(|figure| (figure.section == "replay").then_some(figure.workload.as_str())) {
            for (database, shown) in DATABASES {
                for arm in self.arms("replay", workload) {
                    let of = |metric| self.cell(["replay", workload, database, arm, "", metric]);
                    if of("p50") != "-" {
                        let head = [workload, shown, arm].map(str::to_owned);
                        let cells = ["hit rate", "statements", "p50", "p99"].map(of);
                        table.row(head.into_iter().chain(cells).collect());
                    }
                }
            }
        }
        table.markdown()
    }

    pub(super) fn threads(self) -> String {
        let mut table = Table::new(["threads", "hits a second"]);
        for at in self.conditions("threads", "warm gets") {
            table.row(vec![
                at.to_owned(),
                self.cell(["threads", "warm gets", "", names::RUNNER, at, "hits"]),
            ]);
        }
        table.markdown()
    }

    pub(super) fn memory(self) -> String {
        let workload = "searches of ten rows";
        let mut table = Table::new([
            "cache",
            "entries",
            "an entry",
            "its rows as JSON",
            "over its rows",
            "in all",
        ]);
        for arm in self.arms("memory", workload) {
            for at in self.conditions("memory", workload) {
                let of = |metric| self.cell(["memory", workload, "", arm, at, metric]);
                table.row(vec![
                    arm.to_owned(),
                    at.to_owned(),
                    of("an entry"),
                    of("its rows as JSON"),
                    of("over its rows"),
                    of("in all"),
                ]);
            }
        }
        table.markdown()
    }

    pub(super) fn sizes(self) -> String {
        let workload = "search by two keywords";
        let mut table = Table::new(["arm", "CIs", "SQLite: p50", "p99", "PostgreSQL: p50", "p99"]);
        for arm in self.arms("sizes", workload) {
            for at in self.conditions("sizes", workload) {
                let mut cells = vec![arm.to_owned(), count(at)];
                for (database, _) in DATABASES {
                    for metric in ["p50", "p99"] {
                        cells.push(self.cell(["sizes", workload, database, arm, at, metric]));
                    }
                }
                table.row(cells);
            }
        }
        table.markdown()
    }
}

/// The number that a condition begins with.
fn count(at: &str) -> String {
    leading(at).map_or_else(|| at.to_owned(), number)
}

/// The number that a condition begins with, as a number.
pub(super) fn leading(at: &str) -> Option<f64> {
    at.split(' ').next()?.parse().ok()
}
