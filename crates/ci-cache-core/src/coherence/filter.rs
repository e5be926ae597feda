//! A bitmap in front of a table, for keys that are mostly not there: one bit of a small array against a line of a large one.

/// Bits per key when the bitmap is made; it is made anew at half of that.
const BITS: usize = 16;
/// The least size, in words.
const LEAST_WORDS: usize = 64;

/// Says of a hash that it is not among those added, or that it may be.
///
/// Removed hashes leave their bit behind; the bitmap is made anew when those could be as many as the others.
#[derive(Debug, Default)]
pub(super) struct Filter {
    /// A power of two of words.
    words: Vec<u64>,
    /// Removals since the bitmap was made.
    gone: usize,
}

impl Filter {
    /// Adds a hash, the last of `len` hashes that are to be found; `all` of them.
    pub(super) fn add(&mut self, hash: u64, len: usize, all: impl Iterator<Item = u64>) {
        let bits = self.words.len() * 64;
        if len * BITS / 2 > bits || self.gone > len.max(LEAST_WORDS) || bits == 0 {
            let words = (len * BITS / 64).max(LEAST_WORDS).next_power_of_two();
            self.words.clear();
            self.words.resize(words, 0);
            self.gone = 0;
            all.for_each(|hash| self.set(hash));
        }
        self.set(hash);
    }

    /// Counts a hash that left.
    pub(super) fn removed(&mut self) {
        self.gone += 1;
    }

    fn set(&mut self, hash: u64) {
        let mask = self.words.len() - 1;
        let (word, bit) = place(hash);
        if let Some(word) = self.words.get_mut(word & mask) {
            *word |= bit;
        }
    }

    /// Tells whether a hash may have been added: for one that was, always.
    #[inline]
    pub(super) fn may_have(&self, hash: u64) -> bool {
        let (word, bit) = place(hash);
        let mask = self.words.len().wrapping_sub(1);
        self.words.get(word & mask).is_some_and(|word| word & bit != 0)
    }

    /// What it holds, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }
}

/// The word and bit of a hash: bits that the table next to it does not start from.
#[inline]
fn place(hash: u64) -> (usize, u64) {
    ((hash >> 24) as usize, 1 << (hash >> 18 & 63))
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        mixed ^ mixed >> 32
    }

    #[test]
    fn what_was_added_is_found_and_little_else() {
        let mut filter = Filter::default();
        assert!(!filter.may_have(hash(1)));
        for (number, len) in (0..10_000).zip(1..) {
            let all = (0..number).map(hash);
            filter.add(hash(number), len, all);
        }
        assert!((0..10_000).all(|number| filter.may_have(hash(number))));
        let wrong = (10_000..20_000)
            .filter(|&number| filter.may_have(hash(number)))
            .count();
        assert!(wrong < 1_500, "{wrong} of 10,000");
        assert!(filter.bytes() <= 10_000 * BITS / 4);
        for _ in 0..10_002 {
            filter.removed();
        }
        filter.add(hash(10_000), 1, std::iter::empty());
        assert!(
            (0..10_000)
                .filter(|&number| filter.may_have(hash(number)))
                .count()
                < 10
        );
    }
}
