//! Random draws whose results never change: a fixed cipher stream, and arithmetic that is written out here.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// A source of draws for one cell of an estate.
///
/// The range arithmetic of a random number library may change between its versions, and with it every estate; so only
/// the raw stream (ChaCha with 8 rounds, which is fixed by its specification) comes from a library.
pub(crate) struct Draw(ChaCha8Rng);

impl Draw {
    /// The draws of cell `cell` under `seed`; independent of those of every other cell.
    pub(crate) fn new(seed: u64, cell: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&seed.to_le_bytes());
        key[8..16].copy_from_slice(b"estate/1");
        let mut stream = ChaCha8Rng::from_seed(key);
        stream.set_stream(cell);
        Self(stream)
    }

    /// A number from 0 up to, not including, `bound`; 0 when `bound` is 0.
    ///
    /// The high half of a 128-bit product: its bias is under 2^-32 for the bounds used here.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        let product = u128::from(self.0.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high.saturating_sub(low) + 1)
    }

    /// True in `percent` of 100 draws.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    /// One of several; they are constants with at least one member.
    pub(crate) fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        let at = self.below(of.len() as u64);
        &of[usize::try_from(at).unwrap_or(0)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_stay_in_range_and_cells_differ() {
        let mut draw = Draw::new(1, 0);
        let drawn: Vec<u64> = (0..1_000).map(|_| draw.between(3, 5)).collect();
        for value in 3..=5 {
            let times = drawn.iter().filter(|drawn| **drawn == value).count();
            assert!((200..500).contains(&times), "{value}: {times}");
        }
        let first = |seed, cell| Draw::new(seed, cell).below(u64::MAX);
        assert_ne!(first(1, 0), first(1, 1));
        assert_ne!(first(1, 0), first(2, 0));
        assert_eq!(Draw::new(1, 0).below(0), 0);
    }
}
