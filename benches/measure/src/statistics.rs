//! Medians and spread: what a series of rounds is reported by.

use serde::Serialize;

use crate::number::real;

/// The middle of a series and how far its middle half spreads.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub struct Summary {
    /// The median.
    pub median: f64,
    /// The lower quartile.
    pub low: f64,
    /// The upper quartile.
    pub high: f64,
}

impl Summary {
    /// Summarises a series; all zero for an empty one.
    pub fn of(values: &[f64]) -> Self {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Self {
            median: quartile(&sorted, 2),
            low: quartile(&sorted, 1),
            high: quartile(&sorted, 3),
        }
    }
}

/// Interpolates between the two nearest of the sorted values, at so many quarters of the way.
fn quartile(sorted: &[f64], quarters: usize) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else {
        return 0.0;
    };
    let below = last * quarters / 4;
    let above = (below + 1).min(last);
    let weight = real(last * quarters % 4) / 4.0;
    sorted[below] * (1.0 - weight) + sorted[above] * weight
}

/// Divides each value by the unit's of the same round.
pub fn ratios(values: &[f64], unit: &[f64]) -> Vec<f64> {
    values
        .iter()
        .zip(unit)
        .filter(|(_, unit)| **unit != 0.0)
        .map(|(value, unit)| value / unit)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        let summary = Summary::of(&[5.0, 1.0, 3.0, 2.0, 4.0]);
        assert_eq!((summary.low, summary.median, summary.high), (2.0, 3.0, 4.0));
        let middle = Summary {
            median: 1.5,
            low: 1.25,
            high: 1.75,
        };
        assert_eq!(Summary::of(&[1.0, 2.0]), middle);
        let alone = Summary {
            median: 7.0,
            low: 7.0,
            high: 7.0,
        };
        assert_eq!(Summary::of(&[7.0]), alone);
        assert_eq!(Summary::of(&[]), Summary::default());
    }

    #[test]
    fn one_outlier_moves_nothing() {
        let calm = Summary::of(&[1.0, 1.0, 1.0, 1.0, 1.0]);
        let hit = Summary::of(&[1.0, 1.0, 1.0, 1.0, 900.0]);
        assert_eq!(calm, hit);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        assert_eq!(ratios(&[2.0, 9.0, 1.0], &[1.0, 3.0, 0.0]), [2.0, 3.0]);
    }
}
