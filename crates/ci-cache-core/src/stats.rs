//! Counters of what a cache did; kept per shard and per thread, summed on demand.

use std::ops::AddAssign;

/// What happened in a cache (or in several: the counters add up) since it was built.
///
/// Counting is always on and costs a plain addition to a line that is written anyway. Each insertion ends in
/// exactly one way: `insertions == entries still there + replacements + evictions + rejections + expirations +
/// invalidations`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Stats {
    /// Look-ups (`get`, `lookup`) answered by a fresh entry.
    pub hits: u64,
    /// Look-ups answered by a value past its time to live and within its stale-while-revalidate window.
    pub stale_hits: u64,
    /// Look-ups that found nothing to serve, coalesced ones included.
    pub misses: u64,
    /// Values stored, by `insert` or by a leader's publication.
    pub insertions: u64,
    /// Fresh values overwritten by a newer value of their key.
    pub replacements: u64,
    /// Fresh entries dropped to make room.
    pub evictions: u64,
    /// Values not stored because they weigh more than their shard may hold. (A newcomer that the policy let go at
    /// once counts as evicted.)
    pub rejections: u64,
    /// Entries dropped because their time was over, counted when they are met.
    pub expirations: u64,
    /// Entries dropped by `remove`, `remove_where`, `retain` or `clear`, or met after their scope was invalidated.
    pub invalidations: u64,
    /// Flights begun: each is one load by the caller that leads it.
    pub loads: u64,
    /// Flights whose leader reported an error.
    pub load_failures: u64,
    /// Failed loads in whose place a stale value could be served.
    pub fallbacks: u64,
    /// Flights whose leader was dropped without an answer (cancelled or panicked).
    pub abandoned: u64,
    /// Loads answered but not kept because they were overtaken by a removal, insertion or invalidation.
    pub refused: u64,
    /// Look-ups that joined another caller's flight instead of loading themselves.
    pub coalesced: u64,
    /// Times a shard was emptied because the hash of a key panicked in the middle of a change. Zero in a sound program.
    pub faults: u64,
}

impl Stats {
    /// Counts the insertions whose value is gone.
    pub(crate) fn ended(&self) -> u64 {
        self.replacements + self.evictions + self.rejections + self.expirations + self.invalidations
    }

    /// Counts the insertions whose value is there still, in the table or lost in a panic.
    pub(crate) fn unended(&self) -> u64 {
        self.insertions.saturating_sub(self.ended())
    }

    /// Counts the look-ups.
    pub fn requests(&self) -> u64 {
        self.hits
            .saturating_add(self.stale_hits)
            .saturating_add(self.misses)
    }

    /// Gives the hits in percent of the look-ups, rounded to two decimals; zero before the first look-up.
    #[expect(
        clippy::cast_precision_loss,
        reason = "two decimals of a percentage need no 64 bits"
    )]
    pub fn hit_rate_percent(&self) -> f64 {
        if self.requests() == 0 {
            return 0.0;
        }
        (self.hits as f64 / self.requests() as f64 * 10_000.0).round() / 100.0
    }
}

impl AddAssign for Stats {
    fn add_assign(&mut self, other: Self) {
        self.hits += other.hits;
        self.stale_hits += other.stale_hits;
        self.misses += other.misses;
        self.insertions += other.insertions;
        self.replacements += other.replacements;
        self.evictions += other.evictions;
        self.rejections += other.rejections;
        self.expirations += other.expirations;
        self.invalidations += other.invalidations;
        self.loads += other.loads;
        self.load_failures += other.load_failures;
        self.fallbacks += other.fallbacks;
        self.abandoned += other.abandoned;
        self.refused += other.refused;
        self.coalesced += other.coalesced;
        self.faults += other.faults;
    }
}

impl std::iter::Sum for Stats {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::default(), |mut total, part| {
            total += part;
            total
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hit_rate_has_two_decimals() {
        let stats = Stats {
            hits: 2,
            misses: 1,
            ..Stats::default()
        };
        assert!((stats.hit_rate_percent() - 66.67).abs() < 1e-9);
        assert!(Stats::default().hit_rate_percent().abs() < f64::EPSILON);
    }

    #[test]
    fn counters_add_up() {
        let part = Stats {
            hits: 1,
            loads: 2,
            coalesced: 3,
            ..Stats::default()
        };
        let total: Stats = [part, part].into_iter().sum();
        assert_eq!(
            (total.hits, total.loads, total.coalesced, total.evictions),
            (2, 4, 6, 0)
        );
    }
}
