//! What was wanted, what was measured, and whether that is enough: no figure is left out because it is not.

use super::page::Page;
use super::text::{Table, micros, number, times};
use crate::arms::names;

const DATABASES: [&str; 2] = ["sqlite", "postgres"];

/// The predecessor's number of entries, as figures of memory have it.
const FIRST: &str = "500 entries";

/// One line: what is wanted, what was measured, whether it is reached.
type Line = (String, String, Option<bool>);

impl Page<'_> {
    /// The table of goals.
    pub(super) fn goals(self) -> String {
        let mut table = Table::new(["wanted", "measured", ""]);
        let lines = [
            self.speed(),
            self.statements(),
            self.staleness(),
            self.hits(),
            self.misses(),
            self.bytes(),
            self.growth(),
            self.joining(),
            self.trouble(),
        ];
        for (wanted, measured, reached) in lines.into_iter().flatten() {
            let verdict = match reached {
                Some(true) => "reached",
                Some(false) => "**not reached**",
                None => "not measured in this run",
            };
            table.row(vec![wanted, measured, verdict.to_owned()]);
        }
        table.markdown()
    }

    fn speed(self) -> Vec<Line> {
        let mut lines = Vec::new();
        for (name, [cold, warm, connecting_cold, _]) in self.speed_ups() {
            let told = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), times);
            lines.push((
                format!("{name}: warm at least 10x faster than the predecessor, cold faster"),
                format!(
                    "warm {}, cold {} (with its own way to connect: {})",
                    told(warm),
                    told(cold),
                    told(connecting_cold)
                ),
                warm.zip(cold).map(|(warm, cold)| warm >= 10.0 && cold > 1.0),
            ));
        }
        lines
    }

    fn statements(self) -> Vec<Line> {
        let line = |database: &&str| {
            let fewer = self.fewer(database);
            (
                format!("desk with 10 writes/s, {database}: at least 95 % fewer statements"),
                fewer.map_or_else(|| "-".to_owned(), |fewer| format!("{fewer:.1} % fewer")),
                fewer.map(|fewer| fewer >= 95.0),
            )
        };
        let all = |database: &&str| {
            let fewer = self.fewer_of_all(database);
            let told = |(fewer, from): (f64, Option<f64>)| {
                let from = from.map_or_else(
                    || "at no rate 95 %".to_owned(),
                    |from| format!("95 % from {} operations a second on", number(from.ceil())),
                );
                format!("{fewer:.1} % fewer; {from}")
            };
            (
                format!(
                    "the same, {database}, counting also the versions that the runner reads and its polls, which it makes whatever is asked"
                ),
                fewer.map_or_else(|| "-".to_owned(), told),
                fewer.map(|(fewer, _)| fewer >= 95.0),
            )
        };
        DATABASES
            .iter()
            .map(line)
            .chain(DATABASES.iter().map(all))
            .collect()
    }

    fn staleness(self) -> Vec<Line> {
        let of = |workload, arm, metric| {
            let values = DATABASES.iter().filter_map(|database| {
                let all = self.each(|figure| (figure.section == "mixes").then_some(figure.at.as_str()));
                let values: Vec<f64> = all
                    .into_iter()
                    .filter_map(|at| self.value(["mixes", workload, database, arm, at, metric]))
                    .collect();
                (!values.is_empty()).then(|| values.iter().sum::<f64>())
            });
            let values: Vec<f64> = values.collect();
            (!values.is_empty()).then(|| values.iter().sum::<f64>())
        };
        let desk = |arm| of("desk", arm, "stale answers");
        let (ours, theirs) = (desk(names::RUNNER), desk(names::TTL));
        let told = |arm| {
            let answers = of("desk", arm, "answers").map_or_else(|| "-".to_owned(), number);
            desk(arm).map(|stale| format!("{arm}: {} of {answers}", number(stale)))
        };
        let arms = [names::RUNNER, names::TTL, names::SHORT_TTL, names::REDIS];
        let measured: Vec<String> = arms.into_iter().filter_map(told).collect();
        let foreign = |metric| of("desk, written by another program", names::RUNNER, metric);
        let others = foreign("stale answers").zip(foreign("answers"));
        let mut lines = vec![(
            "no stale answer from the runner, where caches with times to live serve some (all write rates, both databases)".to_owned(),
            measured.join("; "),
            ours.zip(theirs).map(|(ours, theirs)| ours == 0.0 && theirs > 0.0),
        )];
        lines.push((
            "no stale answer from the runner either when another program writes, where it promises to be at most 1 s behind (how old one is was not measured)"
                .to_owned(),
            others.map_or_else(
                || "-".to_owned(),
                |(stale, answers)| format!("{} of {}", number(stale), number(answers)),
            ),
            others.map(|(stale, _)| stale == 0.0),
        ));
        lines
    }

    fn hits(self) -> Vec<Line> {
        let goals = [
            ("a search through the runner", 1_000.0),
            ("a get through the runner", 500.0),
        ];
        let line = |(step, most): &(&str, f64)| {
            let time = self.value(["steps", "hit", "", step, "", "time"]);
            (
                format!(
                    "{step}, warm, single thread: at most {} at the median",
                    micros(most / 1e3)
                ),
                time.map_or_else(|| "-".to_owned(), |time| micros(time / 1e3)),
                time.map(|time| time <= *most),
            )
        };
        goals.iter().map(line).collect()
    }

    fn misses(self) -> Vec<Line> {
        let mut lines = Vec::new();
        for workload in ["get, missed", "search, missed"] {
            for database in DATABASES {
                let overhead = self.overhead(workload, database);
                lines.push((
                    format!("{workload}, {database}: at most 5 % or 20 µs over the store without a cache"),
                    overhead.map_or_else(
                        || "-".to_owned(),
                        |(more, share)| format!("{:+.0} µs, {:+.1} %", more, share * 100.0),
                    ),
                    overhead.map(|(more, share)| more <= 20.0 || share <= 0.05),
                ));
            }
        }
        lines
    }

    fn bytes(self) -> Vec<Line> {
        let workload = "searches of ten rows";
        let of = |at, metric| self.value(["memory", workload, "", names::RUNNER, at, metric]);
        let first = of(FIRST, "over its rows");
        let further = self.further(workload);
        let all = of(FIRST, "in all");
        let told = |bytes: Option<f64>| {
            bytes.map_or_else(|| "-".to_owned(), |bytes| number(bytes.round()) + " bytes")
        };
        vec![
            (
                format!("a cached search of ten rows, {FIRST}: at most 2 KB over its encoded rows"),
                format!("{}, the runner's own memory divided among them", told(first)),
                first.map(|over| over <= 2_048.0),
            ),
            (
                "the same for each further entry (a reading added after the line above was measured)"
                    .to_owned(),
                told(further),
                further.map(|over| over <= 2_048.0),
            ),
            (
                format!("{FIRST} within 1 MB"),
                format!(
                    "{}, of which {} are the rows as JSON",
                    told(all),
                    told(of(FIRST, "its rows as JSON").map(|rows| rows * 500.0))
                ),
                all.map(|all| all <= 1_048_576.0),
            ),
        ]
    }

    /// What each entry beyond the first 500 takes over its rows: the difference of the two fillings, so that what a runner takes by itself is
    /// not counted as an entry's.
    fn further(self, workload: &str) -> Option<f64> {
        let of = |at: &str, metric| self.value(["memory", workload, "", names::RUNNER, at, metric]);
        let ats = self.each(|figure| (figure.section == "memory").then_some(figure.at.as_str()));
        let last = ats.into_iter().find(|at| *at != FIRST)?;
        let (few, many) = (super::page::leading(FIRST)?, super::page::leading(last)?);
        let over = |at| Some(of(at, "over its rows")? * super::page::leading(at)?);
        Some((over(last)? - over(FIRST)?) / (many - few))
    }

    fn growth(self) -> Vec<Line> {
        let workload = "search by two keywords";
        let ats = self.each(|figure| (figure.section == "sizes").then_some(figure.at.as_str()));
        let (Some(first), Some(last)) = (ats.first(), ats.last()) else {
            return vec![("cost against data size".to_owned(), "-".to_owned(), None)];
        };
        let sizes = super::page::leading(first).zip(super::page::leading(last));
        let mut lines = Vec::new();
        for database in DATABASES {
            let of = |arm, at: &str| self.value(["sizes", workload, database, arm, at, "p50"]);
            let grows = |arm| {
                of(arm, first)
                    .zip(of(arm, last))
                    .map(|(first, last)| last / first)
            };
            let told = |ratio: Option<f64>| ratio.map_or_else(|| "-".to_owned(), times);
            let warm = grows("runner, warm");
            lines.push((
                format!("a warm hit does not grow from {first} to {last}, {database} (up to 1.5x is noise)"),
                told(warm),
                warm.map(|warm| warm <= 1.5),
            ));
            let cold = grows("runner, cold");
            let most = sizes.map(|(first, last)| last.ln() / first.ln());
            lines.push((
                format!(
                    "a cold selective search grows at most as the logarithm, {database}: {}",
                    told(most)
                ),
                told(cold),
                cold.zip(most).map(|(cold, most)| cold <= most),
            ));
        }
        lines
    }

    fn joining(self) -> Vec<Line> {
        let of = |metric| self.value(["fleet", "a node joins", "postgres", "with a tier", "", metric]);
        let until = of("until 90 % of the fleet's");
        let (before, most) = (
            of("most statements a second before"),
            of("most statements a second after"),
        );
        vec![
            (
                "a node that joins a warm fleet comes to 90 % of its hit rate within 5 s".to_owned(),
                until.map_or_else(|| "-".to_owned(), |until| format!("{until:.1} s")),
                until.map(|until| until <= 5.0),
            ),
            (
                "the most statements in a second while it joins: at most twice the most before".to_owned(),
                before.zip(most).map_or_else(
                    || "-".to_owned(),
                    |(before, most)| format!("{} after {}", number(most), number(before.round())),
                ),
                before.zip(most).map(|(before, most)| most <= 2.0 * before),
            ),
        ]
    }

    /// What a tier costs, well and in trouble, beside none: against one that is well a tier that costs something could not fail.
    fn trouble(self) -> Vec<Line> {
        let of = |at, metric| self.value(["fleet", "the tier in trouble", "postgres", "runner", at, metric]);
        let told = |pair: Option<(f64, f64)>| {
            pair.map_or_else(
                || "-".to_owned(),
                |(now, none)| format!("{}, {} without a tier", micros(now), micros(none)),
            )
        };
        let beside_none = |at, metric| of(at, metric).zip(of("no tier", metric));
        let mut lines = Vec::new();
        for (quantile, metric) in [("p50", "p50, hits"), ("p99", "p99, hits")] {
            let hits = beside_none("well", metric);
            lines.push((
                format!("the tier is well: the {quantile} of hits as without one (up to 1.5x is noise)"),
                told(hits),
                hits.map(|(now, none)| now <= 1.5 * none),
            ));
        }
        let misses = beside_none("well", "p50, misses");
        lines.push((
            "the tier is well: a miss that no node has loaded before takes 1 ms longer at most (p50)"
                .to_owned(),
            told(misses),
            misses.map(|(now, none)| now <= none + 1_000.0),
        ));
        for at in ["down", "slow"] {
            let hits = beside_none(at, "p99, hits");
            lines.push((
                format!("the tier is {at}: the p99 of hits as without one (up to 1.5x is noise)"),
                told(hits),
                hits.map(|(now, none)| now <= 1.5 * none),
            ));
            let misses = beside_none(at, "p99, misses");
            lines.push((
                format!("the tier is {at}: the p99 of misses within 10 % and the 25 ms that a call may take"),
                told(misses),
                misses.map(|(now, none)| now <= 1.1 * none + 25_000.0),
            ));
        }
        lines
    }
}
