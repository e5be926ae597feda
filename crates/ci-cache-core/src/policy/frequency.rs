//! How often keys were wanted lately, resident or not: about two bytes a key, fingerprints with small counts.

/// Keys a bucket remembers: with their age they fill sixteen bytes, so that a look-up touches one cache line.
pub(crate) const WAYS: usize = 7;

/// The bits of a cell that count; the others are the fingerprint.
const COUNT_BITS: u16 = 4;

/// The highest count; counts saturate here.
pub(crate) const MAX_COUNT: u8 = (1 << COUNT_BITS) - 1;

/// The least room: a kilobyte, so that even a tiny shard knows its traffic well.
const LEAST_KEYS: usize = 512;

/// Uses between two halvings, per key there is room for.
const USES_PER_KEY: usize = 6;

/// Halvings after which any count is 0.
const HALVINGS: u16 = COUNT_BITS;

/// Some keys with their counts.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// Cells of fingerprint and count, the most recently counted key first; 0 is an empty cell.
    cells: [u16; WAYS],
    /// The generation in which the counts were last halved.
    generation: u16,
}

/// Counts uses of keys, forgetting the least used and oldest first.
///
/// Unlike a count-min sketch of the same size it keeps no counts for the many keys seen once long ago, so that the few it keeps are nearly exact. A key
/// takes the counts of another with the same fingerprint in about one of 500 look-ups.
#[derive(Debug, Clone, Default)]
pub(crate) struct Frequency {
    buckets: Vec<Bucket>,
    /// Rises each time all counts are due to be halved; a bucket catches up when it is next counted in.
    generation: u16,
    /// Uses to go until the next generation.
    credit: usize,
    /// Uses between two generations.
    period: usize,
}

#[expect(clippy::cast_possible_truncation, reason = "parts of a hash are meant")]
impl Frequency {
    /// Makes room for about `keys` keys, at least [`LEAST_KEYS`]. Forgets all when the number of buckets changes.
    pub(crate) fn resize(&mut self, keys: usize) {
        let keys = keys.max(LEAST_KEYS);
        let buckets = keys.div_ceil(WAYS);
        self.period = keys.saturating_mul(USES_PER_KEY);
        if buckets != self.buckets.len() {
            self.buckets = vec![Bucket::default(); buckets];
            self.credit = self.period;
        }
    }

    /// Makes room for about `keys` keys unless there is as much already. Forgets all when it grows.
    pub(crate) fn grow(&mut self, keys: usize) {
        if keys.div_ceil(WAYS) > self.buckets.len() {
            self.resize(keys);
        }
    }

    /// Gives how many keys there is room for.
    #[cfg(test)]
    #[cfg(not(any(loom, shuttle)))]
    pub(crate) fn room(&self) -> usize {
        self.buckets.len() * WAYS
    }

    /// Counts `uses` of a key and gives its count.
    pub(crate) fn add(&mut self, hash: u64, uses: u8) -> u8 {
        self.age(usize::from(uses));
        let (at, print) = self.locate(hash);
        let generation = self.generation;
        let Some(bucket) = self.buckets.get_mut(at) else {
            return 0;
        };
        bucket.catch_up(generation);
        bucket.add(print, uses)
    }

    /// Gives the count of a key, 0 if it is not remembered.
    pub(crate) fn get(&self, hash: u64) -> u8 {
        let (at, print) = self.locate(hash);
        let Some(bucket) = self.buckets.get(at) else {
            return 0;
        };
        let cell = bucket.cells.into_iter().find(|&cell| cell >> COUNT_BITS == print);
        cell.map_or(0, |cell| count(cell) >> bucket.halvings(self.generation))
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.buckets.fill(Bucket::default());
    }

    /// Pays for `uses` and starts the next generation when its time has come.
    fn age(&mut self, uses: usize) {
        match self.credit.checked_sub(uses) {
            Some(rest) if rest > 0 => self.credit = rest,
            _ => {
                self.credit = self.period;
                self.generation = self.generation.wrapping_add(1);
            }
        }
    }

    /// Gives the bucket of a hash (by its upper half) and its fingerprint (from its lower half, never 0).
    fn locate(&self, hash: u64) -> (usize, u16) {
        // Mixed again: the keys of one shard, or of one sample, share bits of their hashes.
        let mixed = hash.wrapping_mul(0xA24B_AED4_963E_E407);
        let mixed = mixed ^ mixed >> 32;
        let mixed = mixed.wrapping_mul(0x9FB2_1C65_1E98_DF25);
        let bucket = ((mixed >> 32) * self.buckets.len() as u64) >> 32;
        let print = (mixed >> 16) as u16 & (u16::MAX >> COUNT_BITS);
        (bucket as usize, print.max(1))
    }
}

impl Bucket {
    /// Tells how often the counts are still to be halved; from four times on they are all 0.
    fn halvings(&self, generation: u16) -> u16 {
        generation.wrapping_sub(self.generation).min(HALVINGS)
    }

    /// Halves the counts as often as is due.
    fn catch_up(&mut self, generation: u16) {
        let halvings = self.halvings(generation);
        if halvings > 0 {
            for cell in &mut self.cells {
                *cell = *cell & !u16::from(MAX_COUNT) | u16::from(count(*cell) >> halvings);
            }
            self.generation = generation;
        }
    }

    /// Counts `uses` of a key, which replaces the least used one if it is new, and gives its count.
    fn add(&mut self, print: u16, uses: u8) -> u8 {
        let known = self.cells.iter().position(|&cell| cell >> COUNT_BITS == print);
        let place = known.unwrap_or_else(|| self.least());
        let before = known.map_or(0, |place| count(self.cells[place]));
        let now = before.saturating_add(uses).min(MAX_COUNT);
        self.cells.copy_within(..place, 1);
        self.cells[0] = print << COUNT_BITS | u16::from(now);
        now
    }

    /// Finds the cell with the lowest count, the oldest of several.
    fn least(&self) -> usize {
        // Backwards, because of several lowest `min_by_key` gives the first it meets.
        (0..WAYS)
            .rev()
            .min_by_key(|&place| count(self.cells[place]))
            .unwrap_or(WAYS - 1)
    }
}

/// Gives the count in a cell.
fn count(cell: u16) -> u8 {
    cell.to_le_bytes()[0] & MAX_COUNT
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::testing::hash_of;
    use super::{Frequency, LEAST_KEYS, MAX_COUNT, USES_PER_KEY};

    proptest! {
        /// With few keys nothing is displaced, so counts are exact: those of a map whose counts are all halved at once.
        #[test]
        fn equals_a_map_while_there_is_room(adds in prop::collection::vec((0_u16..40, 1_u8..8), 0..4000)) {
            let mut table = Frequency::default();
            table.resize(0);
            let mut map: BTreeMap<u16, u8> = BTreeMap::new();
            let mut credit = LEAST_KEYS * USES_PER_KEY;
            for (key, uses) in adds {
                if let Some(rest) = credit.checked_sub(usize::from(uses)).filter(|&rest| rest > 0) {
                    credit = rest;
                } else {
                    credit = LEAST_KEYS * USES_PER_KEY;
                    map.values_mut().for_each(|count| *count /= 2);
                }
                let count = map.entry(key).or_default();
                *count = (*count + uses).min(MAX_COUNT);
                prop_assert_eq!(table.add(hash_of(key), uses), *count);
            }
            for key in 0..40 {
                prop_assert_eq!(table.get(hash_of(key)), map.get(&key).copied().unwrap_or(0));
            }
        }
    }

    #[test]
    fn forgets_the_least_used_first() {
        let mut table = Frequency::default();
        table.resize(0);
        table.add(hash_of(0), 5);
        for key in 1..3000 {
            table.add(hash_of(key), 1);
        }
        // Halved perhaps, but not displaced by the 2,999 keys used once.
        assert!(table.get(hash_of(0)) >= 2);
        // No more than there is room for, and a few that share a fingerprint with one of those.
        assert!((1..3000).filter(|&key| table.get(hash_of(key)) > 0).count() <= LEAST_KEYS + 30);
        table.clear();
        assert_eq!(table.get(hash_of(0)), 0);
    }
}
