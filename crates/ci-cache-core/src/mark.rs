//! What a hit needs to know about an entry and may write, in one word beside its key.

use crate::clock::Tick;
use crate::policy::MAX_HITS;
use crate::shim::{AtomicU64, Ordering};

/// The lowest bits: hits since the policy last looked, up to [`MAX_HITS`].
const HITS: u64 = 0b111;
/// The entry has a detail: the look-up must read it.
const DETAILED: u64 = 0b1000;
/// The deadline starts here.
const SHIFT: u32 = 8;
/// The deadline of an entry without expiry.
const NEVER: u64 = u64::MAX >> SHIFT;

const _: () = assert!(MAX_HITS as u64 <= HITS);

/// Deadline in microseconds (56 bits, 2,283 years), flags and hit count.
///
/// Readers beside each other write it with plain stores: of two simultaneous hits one may be lost, the deadline
/// cannot.
#[derive(Debug)]
pub(crate) struct Mark(AtomicU64);

impl Default for Mark {
    fn default() -> Self {
        Self::new(Tick::NEVER, false)
    }
}

impl Mark {
    /// Marks a new entry: no hits yet.
    pub(crate) fn new(deadline: Tick, detailed: bool) -> Self {
        Self(AtomicU64::new(
            encode(deadline) << SHIFT | if detailed { DETAILED } else { 0 },
        ))
    }

    /// Reads it all at once.
    #[inline]
    pub(crate) fn read(&self) -> Reading {
        Reading(self.0.load(Ordering::Relaxed))
    }

    /// Counts a hit on an entry read a moment ago, unless it has enough of them.
    #[inline]
    pub(crate) fn hit(&self, reading: Reading) {
        if reading.0 & HITS < u64::from(MAX_HITS) {
            self.0.store(reading.0 + 1, Ordering::Relaxed);
        }
    }

    /// Sets the hits.
    pub(crate) fn set_hits(&self, hits: u8) {
        let word = self.0.load(Ordering::Relaxed);
        self.0
            .store(word & !HITS | u64::from(hits.min(MAX_HITS)), Ordering::Relaxed);
    }

    /// Moves the deadline and keeps the rest.
    pub(crate) fn set_deadline(&self, deadline: Tick) {
        let word = self.0.load(Ordering::Relaxed);
        let low = word & ((1 << SHIFT) - 1);
        self.0.store(encode(deadline) << SHIFT | low, Ordering::Relaxed);
    }
}

/// A deadline in 56 bits; one too far away for them counts as the last they can say, on the safe side.
fn encode(deadline: Tick) -> u64 {
    if deadline == Tick::NEVER {
        NEVER
    } else {
        deadline.as_micros().min(NEVER - 1)
    }
}

/// A mark as it was at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reading(u64);

impl Reading {
    /// The deadline, [`Tick::NEVER`] without expiry.
    #[inline]
    pub(crate) fn deadline(self) -> Tick {
        match self.0 >> SHIFT {
            NEVER => Tick::NEVER,
            micros => Tick::from_micros(micros),
        }
    }

    /// Tells whether a clock must be read to know if the entry is fresh.
    #[inline]
    pub(crate) fn expires(self) -> bool {
        self.0 >> SHIFT != NEVER
    }

    /// Tells whether the deadline has come.
    #[inline]
    pub(crate) fn is_over(self, now: Tick) -> bool {
        self.0 >> SHIFT <= now.as_micros()
    }

    /// Tells whether the entry has a detail.
    #[inline]
    pub(crate) fn is_detailed(self) -> bool {
        self.0 & DETAILED != 0
    }

    /// The hits, up to [`MAX_HITS`].
    #[inline]
    pub(crate) fn hits(self) -> u8 {
        (self.0 & HITS) as u8
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_a_mark_do_not_touch_each_other() {
        let mark = Mark::new(Tick::from_micros(77), true);
        for _ in 0..20 {
            mark.hit(mark.read());
        }
        let reading = mark.read();
        assert_eq!((reading.hits(), reading.is_detailed()), (MAX_HITS, true));
        assert_eq!(reading.deadline(), Tick::from_micros(77));
        assert!(reading.expires() && reading.is_over(Tick::from_micros(77)));
        assert!(!reading.is_over(Tick::from_micros(76)));
        mark.set_hits(0);
        mark.set_deadline(Tick::NEVER);
        let reading = mark.read();
        assert_eq!(
            (reading.hits(), reading.is_detailed(), reading.expires()),
            (0, true, false)
        );
        assert_eq!(reading.deadline(), Tick::NEVER);
    }

    #[test]
    fn a_deadline_beyond_56_bits_comes_early_rather_than_never() {
        let mark = Mark::new(Tick::from_micros(u64::MAX - 1), false);
        assert!(mark.read().expires());
        assert!(mark.read().is_over(Tick::from_micros(u64::MAX - 1)));
    }
}
