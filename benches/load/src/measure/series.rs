//! Times and values as they come, and the figures that they make.

use std::time::Duration;

use ci_measure::number::real64;
use ci_measure::statistics::Summary;
use hdrhistogram::Histogram;

use crate::run_file::{Figure, rounded};

/// The longest time that is told from longer ones, in nanoseconds: a minute.
const LONGEST_NS: u64 = 60_000_000_000;

/// What figures of one measurement have in common.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    /// The part of the report.
    pub section: &'a str,
    /// What was asked.
    pub workload: &'a str,
    /// Of which database.
    pub database: &'a str,
    /// Who answered.
    pub arm: &'a str,
    /// Under which condition.
    pub at: &'a str,
}

impl Name<'_> {
    /// A figure that was measured once.
    pub fn figure(self, metric: &str, unit: &str, value: f64) -> Figure {
        Figure {
            section: self.section.to_owned(),
            workload: self.workload.to_owned(),
            database: self.database.to_owned(),
            arm: self.arm.to_owned(),
            at: self.at.to_owned(),
            metric: metric.to_owned(),
            unit: unit.to_owned(),
            value: rounded(value),
            rounds: Vec::new(),
        }
    }

    /// The median of the rounds.
    pub fn median(self, metric: &str, unit: &str, series: &Series) -> Figure {
        Figure {
            rounds: series.0.iter().copied().map(rounded).collect(),
            ..self.figure(metric, unit, Summary::of(&series.0).median)
        }
    }

    /// Percentiles of all rounds together, with those of each round beside them, in microseconds. What is measured is called like
    /// its percentile, with `suffix` behind it.
    pub fn times(self, percentiles: &[f64], suffix: &str, times: &Times) -> Vec<Figure> {
        percentiles
            .iter()
            .map(|percentile| Figure {
                rounds: times
                    .rounds
                    .iter()
                    .map(|round| rounded(micros(round, *percentile)))
                    .collect(),
                ..self.figure(
                    &format!("p{percentile}{suffix}"),
                    "us",
                    times.percentile(*percentile),
                )
            })
            .collect()
    }
}

/// The percentiles that tables have.
pub(super) const USUAL: &[f64] = &[50.0, 99.0];

/// A value a round.
#[derive(Debug, Clone, Default)]
pub struct Series(pub Vec<f64>);

/// Times of all rounds, and of each.
#[derive(Debug, Clone)]
pub struct Times {
    all: Histogram<u64>,
    rounds: Vec<Histogram<u64>>,
}

impl Default for Times {
    fn default() -> Self {
        Self {
            all: histogram(),
            rounds: Vec::new(),
        }
    }
}

impl Times {
    /// The times of one more round.
    pub fn add(&mut self, round: Histogram<u64>) {
        // Made alike, so they can be added.
        self.all += &round;
        self.rounds.push(round);
    }

    /// How many times there are.
    pub fn count(&self) -> u64 {
        self.all.len()
    }

    /// A percentile of all rounds, in microseconds.
    pub fn percentile(&self, percentile: f64) -> f64 {
        micros(&self.all, percentile)
    }
}

/// A histogram of times in nanoseconds, exact to three digits; what is longer than a minute counts as a minute.
pub(super) fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LONGEST_NS, 3).unwrap_or_else(|_| unreachable!("constant bounds are right"))
}

/// Adds a time to a histogram.
pub(super) fn record(times: &mut Histogram<u64>, took: Duration) {
    times.saturating_record(u64::try_from(took.as_nanos()).unwrap_or(LONGEST_NS).max(1));
}

fn micros(times: &Histogram<u64>, percentile: f64) -> f64 {
    if times.is_empty() {
        return 0.0;
    }
    real64(times.value_at_percentile(percentile)) / 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: Name<'_> = Name {
        section: "s",
        workload: "w",
        database: "d",
        arm: "a",
        at: "",
    };

    #[test]
    fn percentiles_are_of_all_rounds_and_of_each() {
        let mut times = Times::default();
        for round in [1_u64, 3] {
            let mut one = histogram();
            for number in 1..=100 {
                record(&mut one, Duration::from_micros(number * round));
            }
            times.add(one);
        }
        let figures = NAME.times(USUAL, "", &times);
        assert_eq!(figures[0].rounds.len(), 2);
        assert!((figures[0].rounds[0] - 50.0).abs() < 0.2, "{figures:?}");
        assert!((figures[0].rounds[1] - 150.0).abs() < 0.3);
        assert!((figures[1].value - 294.0).abs() < 1.0);
        assert_eq!((figures[1].metric.as_str(), times.count()), ("p99", 200));
    }

    #[test]
    fn a_figure_is_the_median_of_its_rounds() {
        let figure = NAME.median("m", "us", &Series(vec![3.0, 1.0, 2.0]));
        assert_eq!((figure.value, figure.rounds), (2.0, vec![3.0, 1.0, 2.0]));
        assert!(NAME.times(USUAL, "", &Times::default())[0].value.abs() < f64::EPSILON);
    }
}
