//! The keys of the measurements, made from a seed.

use std::borrow::Borrow;
use std::fmt::Debug;
use std::hash::Hash;

use ci_measure::random::Random;

/// A key and the form it is looked up by.
pub(crate) trait Key:
    Borrow<<Self as Key>::Borrowed> + Hash + Eq + Clone + Debug + Send + Sync + 'static
{
    /// What a look-up passes, so that a hit never builds an owned key.
    type Borrowed: ?Sized + Hash + Eq + ToOwned<Owned = Self>;

    /// What tables call this kind of key.
    const LABEL: &'static str;

    /// Makes a key out of 128 random bits.
    fn from_bits(high: u64, low: u64) -> Self;
}

impl Key for String {
    type Borrowed = str;
    const LABEL: &'static str = "string";

    /// 32 characters, all of them random.
    fn from_bits(high: u64, low: u64) -> Self {
        format!("{high:016x}{low:016x}")
    }
}

impl Key for u128 {
    type Borrowed = Self;
    const LABEL: &'static str = "u128";

    fn from_bits(high: u64, low: u64) -> Self {
        (Self::from(high) << 64) | Self::from(low)
    }
}

impl Key for u64 {
    type Borrowed = Self;
    const LABEL: &'static str = "u64";

    fn from_bits(_high: u64, low: u64) -> Self {
        low
    }
}

/// Makes so many keys, different from each other but for a chance of about count²/2^64.
pub(crate) fn keys<K: Key>(count: usize, random: &mut Random) -> Vec<K> {
    (0..count)
        .map(|_| K::from_bits(random.bits(), random.bits()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn keys_differ_and_repeat_with_their_seed() {
        let made: Vec<String> = keys(1_000, &mut Random::new(1));
        assert!(made.iter().all(|key| key.len() == 32));
        assert_eq!(made.iter().collect::<HashSet<_>>().len(), 1_000);
        assert_eq!(made, keys::<String>(1_000, &mut Random::new(1)));
        assert_ne!(
            keys::<u128>(3, &mut Random::new(1)),
            keys::<u128>(3, &mut Random::new(2))
        );
    }
}
