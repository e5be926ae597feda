//! What changed between two runs beyond noise.
//!
//! Figures of one name are compared by the medians of their interleaved rounds: the ratio of the two, with its 95 % bootstrap confidence
//! interval ([`ci_measure::bootstrap`]). A figure **changed** when the interval does not contain 1 and the ratio is beyond a least effect, because
//! with hundreds of figures some intervals miss 1 by chance, and because two runs are two days of one machine. Of fewer than five rounds the interval is
//! hardly more than their range (of two runs of three rounds that do not differ, one in ten has ranges apart): then the ratio has to be beyond the
//! spreads of the rounds within both runs, too. What has no rounds is compared by its value alone where that does not depend on the day: the runner's stale
//! answers, statements of a scenario, bytes of memory.

use std::fmt::Write as _;

use ci_measure::bootstrap::{Ratio, ratio_of_medians};
use serde::Serialize;

use crate::arms::names;
use crate::run_file::{Figure, RunFile};

/// From so many rounds on their interval alone says how much they vary.
const ENOUGH: usize = 5;
/// Changes below this are not told, however sure they are.
const LEAST_EFFECT: f64 = 0.05;

/// What became of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// It is better, beyond noise.
    Better,
    /// It is worse, beyond noise.
    Worse,
    /// It is not different, as far as these runs can tell.
    Same,
    /// Too few rounds to tell.
    Unknown,
    /// Only one run has it.
    Alone,
}

/// A figure of both runs.
#[derive(Debug, Clone, PartialEq)]
pub struct Change<'a> {
    /// The figure in the run that has it; in the later one where both have.
    pub figure: &'a Figure,
    /// What became of it.
    pub verdict: Verdict,
    /// How many times as large it is, where that can be told.
    pub ratio: Option<Ratio>,
}

/// Compares every figure of two runs, in the order of the later one; what only the earlier one has comes last.
pub fn changes<'a>(before: &'a RunFile, after: &'a RunFile) -> Vec<Change<'a>> {
    let seed = after.seed;
    let compared = after
        .figures
        .iter()
        .map(|figure| match before.find(figure.name()) {
            Some(earlier) => change(earlier, figure, seed),
            None => alone(figure),
        });
    let gone = before
        .figures
        .iter()
        .filter(|figure| after.find(figure.name()).is_none())
        .map(alone);
    compared.chain(gone).collect()
}

fn alone(figure: &Figure) -> Change<'_> {
    Change {
        figure,
        verdict: Verdict::Alone,
        ratio: None,
    }
}

fn change<'a>(before: &Figure, after: &'a Figure, seed: u64) -> Change<'a> {
    let ratio = ratio_of_medians(&before.rounds, &after.rounds, seed);
    let better_lower = !is_better_higher(&after.metric);
    let spreads = spread(&before.rounds) * spread(&after.rounds);
    let least = LEAST_EFFECT.max(spreads - 1.0);
    let verdict = match ratio {
        Some(ratio) if ratio.low > 1.0 && ratio.ratio > 1.0 + least => worse_if(better_lower),
        Some(ratio) if ratio.high < 1.0 && ratio.ratio < 1.0 / (1.0 + least) => worse_if(!better_lower),
        Some(_) => Verdict::Same,
        None => match of_values(before, after) {
            Some(std::cmp::Ordering::Less) => worse_if(better_lower),
            Some(std::cmp::Ordering::Greater) => worse_if(!better_lower),
            Some(std::cmp::Ordering::Equal) => Verdict::Same,
            None => Verdict::Unknown,
        },
    };
    Change {
        figure: after,
        verdict,
        ratio,
    }
}

fn worse_if(worse: bool) -> Verdict {
    if worse { Verdict::Worse } else { Verdict::Better }
}

/// Whether more of it is better: hits are, times and statements are not.
fn is_better_higher(metric: &str) -> bool {
    metric.starts_with("hit") || metric == "answers"
}

/// How many times as large the largest of few rounds is as the smallest; 1 of many, whose interval tells.
fn spread(rounds: &[f64]) -> f64 {
    let (least, most) = rounds
        .iter()
        .fold((f64::INFINITY, 0.0_f64), |(least, most), round| {
            (least.min(*round), most.max(*round))
        });
    if rounds.len() >= ENOUGH || least <= 0.0 {
        return 1.0;
    }
    most / least
}

/// Compares the values of figures that do not depend on the machine's day; bytes within the least effect are the same.
fn of_values(before: &Figure, after: &Figure) -> Option<std::cmp::Ordering> {
    let is_count = match after.metric.as_str() {
        "stale answers" => after.arm == names::RUNNER,
        "statements" => after.section == "scenarios",
        _ => false,
    };
    if is_count {
        return Some(before.value.total_cmp(&after.value));
    }
    (after.section == "memory" && before.value > 0.0).then(|| {
        if (after.value / before.value - 1.0).abs() <= LEAST_EFFECT {
            std::cmp::Ordering::Equal
        } else {
            before.value.total_cmp(&after.value)
        }
    })
}

/// The comparison for people: what is better, what is worse, and how much was compared.
pub fn report(before: &RunFile, after: &RunFile) -> String {
    let all = changes(before, after);
    let mut text = format!(
        "{} ({}) -> {} ({})\n",
        before.date, before.commit, after.date, after.commit
    );
    if before.machine != after.machine {
        text.push_str("The machines differ: times say nothing about the program.\n");
    }
    if before.quick != after.quick {
        text.push_str(
            "One is a quick run and the other is not: they measure other data, and nothing is compared.",
        );
        return text;
    }
    if before.seed != after.seed {
        text.push_str("The seeds differ: other questions were asked.\n");
    }
    if before.quick {
        text.push_str("A quick run measures little: take it as an impression.\n");
    }
    for (verdict, title) in [(Verdict::Worse, "worse"), (Verdict::Better, "better")] {
        for change in all.iter().filter(|change| change.verdict == verdict) {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{title}: {}", line(change));
        }
    }
    let count = |verdict| all.iter().filter(|change| change.verdict == verdict).count();
    let _ = write!(
        text,
        "{} figures: {} better, {} worse, {} the same within noise, {} with too few rounds to tell, {} in one run only",
        all.len(),
        count(Verdict::Better),
        count(Verdict::Worse),
        count(Verdict::Same),
        count(Verdict::Unknown),
        count(Verdict::Alone)
    );
    text
}

fn line(change: &Change<'_>) -> String {
    let name: Vec<&str> = change
        .figure
        .name()
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect();
    let ratio = change.ratio.map_or_else(String::new, |ratio| {
        format!(
            ", {:.2}x (95 %: {:.2} to {:.2})",
            ratio.ratio, ratio.low, ratio.high
        )
    });
    format!(
        "{}: {} {}{ratio}",
        name.join(", "),
        change.figure.value,
        change.figure.unit
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Machine;

    const CALM: [f64; 5] = [100.0, 101.0, 99.0, 100.5, 99.5];

    fn figure(workload: &str, metric: &str, rounds: &[f64], value: f64) -> Figure {
        Figure {
            section: "s".to_owned(),
            workload: workload.to_owned(),
            database: String::new(),
            arm: "runner".to_owned(),
            at: String::new(),
            metric: metric.to_owned(),
            unit: "us".to_owned(),
            value,
            rounds: rounds.to_vec(),
        }
    }

    fn run(figures: Vec<Figure>) -> RunFile {
        let machine = Machine {
            cores: 2,
            cpu: "a processor".to_owned(),
            os: "an os".to_owned(),
        };
        let text = |text: &str| text.to_owned();
        let mut run = RunFile::new(text("2026"), text("abc"), false, 7, String::new(), machine);
        run.figures = figures;
        run
    }

    fn verdict(metric: &str, before: &[f64], after: &[f64]) -> Verdict {
        let one = |rounds: &[f64]| {
            run(vec![figure(
                "w",
                metric,
                rounds,
                rounds.first().copied().unwrap_or(0.0),
            )])
        };
        changes(&one(before), &one(after))[0].verdict
    }

    #[test]
    fn planted_changes_are_found_and_noise_is_not() {
        let times = |factor: f64| CALM.map(|value| value * factor);
        assert_eq!(verdict("p50", &CALM, &times(1.3)), Verdict::Worse);
        assert_eq!(verdict("p50", &CALM, &times(0.7)), Verdict::Better);
        assert_eq!(verdict("hit rate", &CALM, &times(0.7)), Verdict::Worse);
        assert_eq!(verdict("p50", &CALM, &CALM), Verdict::Same);
        // Sure, and too small to matter.
        assert_eq!(verdict("p50", &CALM, &times(1.03)), Verdict::Same);
        // Large, and not sure.
        let noisy = [60.0, 190.0, 100.0, 150.0, 55.0];
        assert_eq!(
            verdict("p50", &noisy, &noisy.map(|value| value * 1.2)),
            Verdict::Same
        );
        assert_eq!(verdict("p50", &CALM[..2], &times(2.0)[..2]), Verdict::Unknown);
    }

    /// Two runs of the same program: what is told of them is chance.
    #[test]
    fn of_runs_that_do_not_differ_hardly_a_figure_changed() {
        let mut random = ci_measure::random::Random::new(11);
        for (rounds, most) in [(3, 30), (7, 60)] {
            let mut draw = || -> Vec<f64> {
                let of = |_| (0..4).map(|_| 25.0 * (0.6 + 0.8 * random.unit())).sum();
                (0..rounds).map(of).collect()
            };
            let changed = (0..1_000)
                .filter(|_| verdict("p50", &draw(), &draw()) != Verdict::Same)
                .count();
            assert!(changed <= most, "{changed} of 1000 with {rounds} rounds");
        }
    }

    #[test]
    fn counts_change_without_rounds() {
        let one = |value| run(vec![figure("w", "stale answers", &[], value)]);
        assert_eq!(changes(&one(0.0), &one(3.0))[0].verdict, Verdict::Worse);
        assert_eq!(changes(&one(3.0), &one(3.0))[0].verdict, Verdict::Same);
    }

    #[test]
    fn what_one_run_alone_has_is_told() {
        let before = run(vec![figure("gone", "p50", &CALM, 1.0)]);
        let after = run(vec![figure("new", "p50", &CALM, 1.0)]);
        let all = changes(&before, &after);
        let told: Vec<(&str, Verdict)> = all
            .iter()
            .map(|change| (change.figure.workload.as_str(), change.verdict))
            .collect();
        assert_eq!(told, [("new", Verdict::Alone), ("gone", Verdict::Alone)]);
        assert!(report(&before, &after).contains("2 in one run only"));
    }

    #[test]
    fn the_report_names_what_is_worse_first() {
        let slow: Vec<f64> = CALM.iter().map(|value| value * 2.0).collect();
        let before = run(vec![
            figure("a", "p50", &slow, 200.0),
            figure("b", "p50", &CALM, 100.0),
        ]);
        let after = run(vec![
            figure("a", "p50", &CALM, 100.0),
            figure("b", "p50", &slow, 200.0),
        ]);
        let text = report(&before, &after);
        let (worse, better) = (
            text.find("worse: s, b").expect("worse"),
            text.find("better: s, a").expect("better"),
        );
        assert!(worse < better, "{text}");
        assert!(text.contains("2.00x"));
    }
}
