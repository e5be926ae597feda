//! Seeded randomness: a small generator and Zipf's distribution.

use crate::number::{real, real64};

/// A splitmix64 generator: fast, seeded, and good enough to draw keys with.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// Starts the sequence of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Draws 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ (bits >> 31)
    }

    /// Draws a number below `end`, which is positive.
    pub fn below(&mut self, end: u32) -> u32 {
        // The upper half of a 32 x 32 bit product is below its right factor.
        let high = (self.bits() >> 32) * u64::from(end);
        u32::try_from(high >> 32).unwrap_or(0)
    }

    /// Draws a real number from 0 (included) to 1 (excluded).
    pub fn unit(&mut self) -> f64 {
        real64(self.bits() >> 11) / real64(1 << 53)
    }

    /// Puts a slice into random order.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let Ok(end) = u32::try_from(last + 1) else {
                continue;
            };
            items.swap(last, self.below(end) as usize);
        }
    }
}

/// Zipf's distribution over the numbers below a count: the n-th most popular is drawn with weight 1/n^s.
///
/// Popularity is scattered over the numbers at random, so that popular keys are neighbours in no cache's memory.
#[derive(Debug)]
pub struct Zipf {
    cumulative: Vec<f64>,
    number_of_rank: Vec<u32>,
}

impl Zipf {
    /// Prepares the table for `count` numbers (at least one) and an exponent.
    pub fn new(count: u32, exponent: f64, random: &mut Random) -> Self {
        let mut sum = 0.0;
        let cumulative = (1..=count.max(1))
            .map(|rank| {
                sum += 1.0 / f64::from(rank).powf(exponent);
                sum
            })
            .collect();
        let mut number_of_rank: Vec<u32> = (0..count.max(1)).collect();
        random.shuffle(&mut number_of_rank);
        Self {
            cumulative,
            number_of_rank,
        }
    }

    /// Draws one number.
    pub fn draw(&self, random: &mut Random) -> u32 {
        let total = self.cumulative.last().copied().unwrap_or(1.0);
        let target = random.unit() * total;
        let rank = self.cumulative.partition_point(|&sum| sum <= target);
        self.number_of_rank[rank.min(self.number_of_rank.len() - 1)]
    }

    /// Draws a sequence.
    pub fn sequence(&self, length: usize, random: &mut Random) -> Vec<u32> {
        (0..length).map(|_| self.draw(random)).collect()
    }
}

/// Gives the mean of real numbers, 0 for none.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / real(values.len().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_draws_the_same() {
        let draw = |seed| {
            let mut random = Random::new(seed);
            let zipf = Zipf::new(100, 0.99, &mut random);
            zipf.sequence(50, &mut random)
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn numbers_stay_below_their_end() {
        let mut random = Random::new(3);
        let mut seen = [false; 7];
        for _ in 0..1_000 {
            seen[random.below(7) as usize] = true;
            assert!((0.0..1.0).contains(&random.unit()));
        }
        assert_eq!(seen, [true; 7]);
    }

    #[test]
    fn popularity_falls_as_zipf_says() {
        let mut random = Random::new(5);
        let zipf = Zipf::new(1_000, 1.0, &mut random);
        let mut counts = vec![0_usize; 1_000];
        for number in zipf.sequence(200_000, &mut random) {
            counts[number as usize] += 1;
        }
        let of = |rank: usize| real(counts[zipf.number_of_rank[rank] as usize]) / 200_000.0;
        let sum: f64 = (1..=1_000).map(|rank| 1.0 / f64::from(rank)).sum();
        assert!((of(0) - 1.0 / sum).abs() < 0.01, "{}", of(0));
        assert!((of(0) / of(1) - 2.0).abs() < 0.2);
        assert!((of(0) / of(9) - 10.0).abs() < 2.0);
    }

    #[test]
    fn shuffling_loses_nothing() {
        let mut items: Vec<u32> = (0..100).collect();
        Random::new(9).shuffle(&mut items);
        assert_ne!(items[..5], [0, 1, 2, 3, 4]);
        items.sort_unstable();
        assert_eq!(items, (0..100).collect::<Vec<u32>>());
    }
}
