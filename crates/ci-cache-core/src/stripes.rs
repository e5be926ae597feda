//! One cache line per thread and cache: where a reader shows itself and counts, without disturbing its neighbours.
//!
//! A counter or lock word that every hit writes is a line that travels between the processors with every hit. Here
//! each thread writes a line of its own. Up to [`STRIPES`] threads alive at a time own one; the others read under
//! the shard's lock.

use crate::shim::{AtomicU64, Ordering};

/// How many threads can own a stripe at a time: as many as fit in the bitmap of claims.
#[cfg(not(any(loom, shuttle)))]
pub(crate) const STRIPES: usize = 64;
/// Models have few threads, and each atomic of theirs costs time; some find no stripe left.
#[cfg(any(loom, shuttle))]
pub(crate) const STRIPES: usize = 3;

/// A thread's line in a cache. Written by its owner only, read by anybody.
#[derive(Debug)]
#[repr(align(128))]
pub(crate) struct Stripe {
    /// Odd while its owner reads a shard without the lock; every hit counted on the way out adds two.
    sequence: AtomicU64,
    /// Look-ups that found nothing.
    misses: AtomicU64,
}

impl Stripe {
    fn new() -> Self {
        Self {
            sequence: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// Shows that the owner reads; gives the sequence to return to, or nothing if it reads already (nested).
    ///
    /// The store is not ordered before later loads: that takes a fence (see `raw`).
    #[inline(always)]
    pub(crate) fn enter(&self) -> Option<u64> {
        let sequence = self.sequence.load(Ordering::Relaxed);
        if sequence % 2 == 1 {
            return None;
        }
        // Release: a writer that waited for the section before this one may see only this store of the two, and must
        // not write before that section's reads.
        self.sequence.store(sequence + 1, Ordering::Release);
        Some(sequence)
    }

    /// Shows that the owner has stopped reading and counts `hits` (0 or 1).
    #[inline(always)]
    pub(crate) fn leave(&self, entered: u64, hits: u64) {
        self.sequence
            .store(entered.wrapping_add(hits * 2), Ordering::Release);
    }

    /// Counts a look-up that found nothing. A plain addition: nobody else writes here.
    #[inline]
    pub(crate) fn miss(&self) {
        self.misses
            .store(self.misses.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Gives the sequence, to compare with a later one.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence.load(Ordering::Acquire)
    }
}

/// The stripes of one cache.
#[derive(Debug)]
pub(crate) struct Stripes(Box<[Stripe]>);

impl Stripes {
    /// Makes one for each thread that can own one.
    pub(crate) fn new() -> Self {
        Self((0..STRIPES).map(|_| Stripe::new()).collect())
    }

    /// Finds the calling thread's own stripe, if it owns one.
    #[inline]
    pub(crate) fn mine(&self) -> Option<&Stripe> {
        self.0.get(owner::index())
    }

    /// Walks all of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Stripe> {
        self.0.iter()
    }

    /// Sums hits and misses.
    pub(crate) fn counts(&self) -> (u64, u64) {
        self.iter().fold((0, 0), |(hits, misses), stripe| {
            (
                hits + stripe.sequence.load(Ordering::Relaxed) / 2,
                misses + stripe.misses.load(Ordering::Relaxed),
            )
        })
    }
}

/// Which stripe a thread owns: an index claimed at its first look-up and given back when it ends.
#[cfg(not(any(loom, shuttle)))]
mod owner {
    use std::cell::Cell;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// No claim was tried yet.
    const UNCLAIMED: usize = usize::MAX;
    /// All indices were taken, or the thread is ending: it reads under locks.
    const NONE: usize = usize::MAX - 1;

    /// A bit per index that a living thread owns.
    static CLAIMED: AtomicU64 = AtomicU64::new(0);

    thread_local! {
        /// The index, apart from its claim: a thread-local without a destructor is a plain load.
        static INDEX: Cell<usize> = const { Cell::new(UNCLAIMED) };
        /// Gives the index back when the thread ends.
        static CLAIM: Claim = const { Claim };
    }

    struct Claim;

    impl Drop for Claim {
        fn drop(&mut self) {
            let index = INDEX.replace(NONE);
            if index < u64::BITS as usize {
                // Release: the next owner must see the stripes as this thread left them.
                CLAIMED.fetch_and(!(1 << index), Ordering::Release);
            }
        }
    }

    /// Gives the calling thread's index; not below the number of stripes if it owns none.
    #[inline]
    pub(super) fn index() -> usize {
        match INDEX.get() {
            UNCLAIMED => claim(),
            index => index,
        }
    }

    #[cold]
    fn claim() -> usize {
        let ending = CLAIM.try_with(|_| ()).is_err();
        let index = if ending { NONE } else { lowest_free() };
        INDEX.set(index);
        index
    }

    fn lowest_free() -> usize {
        let mut claimed = CLAIMED.load(Ordering::Relaxed);
        loop {
            let index = claimed.trailing_ones();
            if index == u64::BITS {
                return NONE;
            }
            match CLAIMED.compare_exchange_weak(
                claimed,
                claimed | 1 << index,
                Ordering::Acquire,
                Ordering::Relaxed,
            ) {
                Ok(_) => return index as usize,
                Err(now) => claimed = now,
            }
        }
    }
}

/// Which stripe a thread owns under loom: threads of one model are numbered as they come.
#[cfg(loom)]
mod owner {
    use loom::sync::atomic::{AtomicUsize, Ordering};

    loom::lazy_static! {
        static ref NEXT: AtomicUsize = AtomicUsize::new(0);
    }

    loom::thread_local! {
        static INDEX: usize = NEXT.fetch_add(1, Ordering::AcqRel);
    }

    /// Gives the calling thread's index.
    pub(super) fn index() -> usize {
        INDEX.with(|index| *index)
    }
}

/// Which stripe a thread owns under shuttle: its number in the schedule.
///
/// Not a counter behind shuttle's `lazy_static`: shuttle runs the threads of a model on one thread of the system, so while a model's
/// leader unwinds, a thread that initialises the counter releases its lock "panicking", and poisons it for all.
#[cfg(shuttle)]
mod owner {
    /// Gives the calling thread's index.
    pub(super) fn index() -> usize {
        shuttle::current::me().into()
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn a_thread_counts_on_its_own_stripe() {
        let stripes = Stripes::new();
        let (Some(mine), Some(again)) = (stripes.mine(), stripes.mine()) else {
            return; // More than 64 tests run at once: nothing to own.
        };
        assert!(std::ptr::eq(mine, again));
        let entered = mine.enter();
        assert_eq!(mine.enter(), None, "nested");
        mine.leave(entered.unwrap_or_default(), 1);
        mine.miss();
        assert_eq!(stripes.counts(), (1, 1));
        assert_eq!(mine.sequence(), 2);
    }

    #[test]
    fn indices_are_owned_by_one_living_thread_and_given_back() {
        for _ in 0..3 {
            let barrier = std::sync::Barrier::new(8);
            let mut seen: Vec<usize> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8)
                    .map(|_| {
                        scope.spawn(|| {
                            let index = owner::index();
                            barrier.wait();
                            index
                        })
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            seen.retain(|&index| index < STRIPES);
            seen.sort_unstable();
            let owned = seen.len();
            seen.dedup();
            assert_eq!(seen.len(), owned, "two living threads owned one index");
        }
    }
}
