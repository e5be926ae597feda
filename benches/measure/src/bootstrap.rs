//! Is the difference between two series more than noise? Bootstrap confidence intervals of ratios of medians.
//!
//! Both series are drawn again from themselves many times (with replacement), and the ratio of their medians is taken each time: the
//! middle 95 % of these ratios is the interval (Efron's percentile method). No distribution is assumed, and the draws are seeded, so two
//! files always get the same verdict.

use serde::Serialize;

use crate::random::Random;
use crate::statistics::Summary;

/// How often both series are drawn again.
const DRAWS: usize = 2_000;
/// What share of the ratios lies outside of the interval, on each side.
const TAIL: f64 = 0.025;
/// Fewer values than this say nothing about their spread.
pub const LEAST: usize = 3;

/// How many times as large the second median is as the first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Ratio {
    /// The ratio of the medians.
    pub ratio: f64,
    /// The lower end of its 95 % interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// Compares the medians of two series; nothing when one is shorter than [`LEAST`] or the first median is not positive.
pub fn ratio_of_medians(before: &[f64], after: &[f64], seed: u64) -> Option<Ratio> {
    let median = |values: &[f64]| Summary::of(values).median;
    if before.len() < LEAST || after.len() < LEAST || median(before) <= 0.0 {
        return None;
    }
    let mut random = Random::new(seed);
    let mut ratios: Vec<f64> = (0..DRAWS)
        .filter_map(|_| {
            let (one, other) = (again(before, &mut random), again(after, &mut random));
            let unit = median(&one);
            (unit > 0.0).then(|| median(&other) / unit)
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    let tail = crate::number::share(ratios.len(), TAIL);
    Some(Ratio {
        ratio: median(after) / median(before),
        low: *ratios.get(tail)?,
        high: *ratios.get(ratios.len().checked_sub(tail + 1)?)?,
    })
}

fn again(values: &[f64], random: &mut Random) -> Vec<f64> {
    let end = u32::try_from(values.len()).unwrap_or(u32::MAX);
    values
        .iter()
        .map(|_| values[random.below(end) as usize])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALM: [f64; 7] = [100.0, 101.0, 99.0, 102.0, 98.0, 100.5, 99.5];

    #[test]
    fn a_real_difference_is_outside_of_the_interval() {
        let doubled: Vec<f64> = CALM.iter().map(|value| value * 2.0).collect();
        let ratio = ratio_of_medians(&CALM, &doubled, 1).expect("long enough");
        assert!((ratio.ratio - 2.0).abs() < 1e-9);
        assert!(ratio.low > 1.5 && ratio.high < 2.5, "{ratio:?}");
    }

    #[test]
    fn noise_is_inside() {
        let noisy = [70.0, 130.0, 90.0, 140.0, 60.0, 105.0, 100.0];
        let ratio = ratio_of_medians(&noisy, &CALM, 1).expect("long enough");
        assert!(ratio.low < 1.0 && ratio.high > 1.0, "{ratio:?}");
    }

    #[test]
    fn the_same_files_get_the_same_verdict_and_too_little_gets_none() {
        assert_eq!(
            ratio_of_medians(&CALM, &CALM, 5),
            ratio_of_medians(&CALM, &CALM, 5)
        );
        assert_eq!(ratio_of_medians(&CALM[..2], &CALM, 5), None);
        assert_eq!(ratio_of_medians(&[0.0; 3], &CALM, 5), None);
    }
}
