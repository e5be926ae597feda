//! How often anchors are met lately, so that a dependency is filed under the rarest of those it may choose from.

use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

use super::domain::Anchor;

/// Counters of a row; two rows of two bytes each make 64 KiB.
const WIDTH: u16 = 1 << 14;
/// Sightings after which all counts are halved.
const PERIOD: u32 = 1 << 18;

/// A sketch of how often anchors were seen in changes and rows, forgetting the past by half every 262,144 sightings.
///
/// A count-min sketch of two rows (Cormode and Muthukrishnan, 2005), 64 KiB whatever is seen: estimates are seldom too high,
/// and never too low but for sightings that two threads count at the same instant. Counted and read without a lock: it is
/// advice, and wrong advice costs a look at a dependency too many.
#[derive(Debug)]
pub struct Rarity {
    rows: [Box<[AtomicU16]>; 2],
    seen: AtomicU32,
}

impl Rarity {
    /// Makes one that has seen nothing.
    pub fn new() -> Self {
        let row = || (0..WIDTH).map(|_| AtomicU16::new(0)).collect();
        Self {
            rows: [row(), row()],
            seen: AtomicU32::new(0),
        }
    }

    /// Estimates how often an anchor was seen lately, up to 65,535. Two loads.
    pub fn estimate(&self, anchor: Anchor) -> u32 {
        let counts = self.cells(anchor).map(|cell| cell.load(Ordering::Relaxed));
        counts.into_iter().min().unwrap_or(0).into()
    }

    /// Counts a sighting.
    pub fn observe(&self, anchor: Anchor) {
        for cell in self.cells(anchor) {
            let count = cell.load(Ordering::Relaxed);
            cell.store(count.saturating_add(1), Ordering::Relaxed);
        }
        if self.seen.fetch_add(1, Ordering::Relaxed) % PERIOD == PERIOD - 1 {
            self.halve();
        }
    }

    #[cold]
    fn halve(&self) {
        for cell in self.rows.iter().flatten() {
            cell.store(cell.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "parts of a hash are meant")]
    fn cells(&self, anchor: Anchor) -> [&AtomicU16; 2] {
        let mixed = anchor.0.wrapping_mul(0xA24B_AED4_963E_E407);
        let at = |row: usize, bits: u64| &self.rows[row][usize::from(bits as u16 & (WIDTH - 1))];
        [at(0, mixed >> 20), at(1, mixed >> 44)]
    }
}

impl Default for Rarity {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn the_rare_are_told_from_the_frequent_and_the_past_fades() {
        let rarity = Rarity::new();
        for number in 0..200_000_u64 {
            rarity.observe(Anchor(number % 1_000 + 1));
            if number % 10 == 0 {
                rarity.observe(Anchor(u64::MAX - number % 3));
            }
        }
        let frequent = rarity.estimate(Anchor(u64::MAX));
        let rare = (1..=1_000).map(|number| rarity.estimate(Anchor(number)));
        let (least, most) = rare.fold((u32::MAX, 0), |(least, most), count| {
            (least.min(count), most.max(count))
        });
        assert!((150..500).contains(&least), "{least}");
        assert!(most < 1_000, "{most}");
        assert!((6_000..7_000).contains(&frequent), "{frequent}");
        (0..PERIOD).for_each(|_| rarity.observe(Anchor(7)));
        assert!(rarity.estimate(Anchor(u64::MAX)) <= frequent / 2 + 1);
        assert!(rarity.estimate(Anchor(7)) >= u32::from(u16::MAX) / 2);
    }
}
