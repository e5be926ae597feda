//! The watermark: up to which state of the source the cache is true, for readers that take no lock.

use std::fmt;

use super::domain::Version;
use super::entry::Entry;
use crate::clock::Tick;
use crate::shim::{ArcCell, ArcGuard, AtomicU64, Ordering};

/// A state that every entry found *after* this was read is true at; see [`Coherent::mark`](super::Coherent::mark).
///
/// Cheap to get and to hold for the time of a look-up; it keeps the version alive, so do not collect many.
pub struct Mark<S> {
    at: ArcGuard<Option<At<S>>>,
    polled_at: Tick,
}

/// What the mark says.
#[derive(Debug)]
struct At<S> {
    epoch: u64,
    version: S,
}

impl<S: Version> Mark<S> {
    fn at(&self) -> &At<S> {
        let at: &Option<At<S>> = &self.at;
        match at {
            Some(at) => at,
            None => unreachable!("a mark is made of something"),
        }
    }

    /// The history that is followed.
    pub fn epoch(&self) -> u64 {
        self.at().epoch
    }

    /// The state: all its changes have been applied.
    pub fn version(&self) -> &S {
        &self.at().version
    }

    /// When the last good poll of the source began, by the feed's clock: every change that was committed before is included. So
    /// now minus this is how much an answer may lag behind.
    pub fn polled_at(&self) -> Tick {
        self.polled_at
    }

    /// The state at which an entry, found after this mark was read, is known to be true, with its epoch: the mark's, or the
    /// entry's own if that has more. (If neither includes the other it is true at the entry's own, and at both together.)
    pub fn as_of<'a, V>(&'a self, entry: &'a Entry<V, S>) -> (u64, &'a S) {
        if entry.epoch() == self.epoch() && self.version().includes(entry.version()) {
            (self.epoch(), self.version())
        } else {
            (entry.epoch(), entry.version())
        }
    }
}

impl<S: Version> fmt::Debug for Mark<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mark")
            .field("epoch", &self.epoch())
            .field("version", self.version())
            .field("polled_at", &self.polled_at)
            .finish_non_exhaustive()
    }
}

/// Where readers find the mark. Written under the feed's lock.
#[derive(Debug)]
pub(super) struct Watermark<S> {
    at: ArcCell<Option<At<S>>>,
    polled_at: AtomicU64,
}

impl<S: Version> Watermark<S> {
    /// Starts unknown.
    pub(super) fn new() -> Self {
        Self {
            at: ArcCell::new(None),
            polled_at: AtomicU64::new(0),
        }
    }

    /// Reads it. The time first: were it read after the version, it could be of a later poll, and the lag would be
    /// understated.
    #[inline]
    pub(super) fn read(&self) -> Option<Mark<S>> {
        let polled_at = Tick::from_micros(self.polled_at.load(Ordering::Acquire));
        let at = self.at.load();
        at.is_some().then_some(Mark { at, polled_at })
    }

    /// Raises it: the version first, for the same reason.
    pub(super) fn raise(&self, epoch: u64, version: S, polled_at: Tick) {
        self.at.store(Some(At { epoch, version }));
        self.polled_at.store(polled_at.as_micros(), Ordering::Release);
    }

    /// Makes it unknown.
    pub(super) fn hide(&self) {
        self.at.store(None);
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::*;
    use crate::coherence::{Loaded, index::Ticket};

    impl Version for u64 {
        type Origin = u64;

        fn covers(&self, origin: u64) -> bool {
            origin <= *self
        }

        fn includes(&self, other: &Self) -> bool {
            other <= self
        }
    }

    #[test]
    fn an_entry_is_true_at_the_mark_or_beyond_it() {
        let watermark = Watermark::new();
        assert!(watermark.read().is_none());
        watermark.raise(1, 5_u64, Tick::from_micros(9));
        let mark = watermark.read().unwrap();
        assert_eq!(
            (mark.epoch(), *mark.version(), mark.polled_at().as_micros()),
            (1, 5, 9)
        );
        assert!(format!("{mark:?}").contains("version: 5"));
        let entry = |epoch, version| Entry::new((), Loaded { epoch, version }, Ticket::NONE);
        for (epoch, version, expected, new) in [
            (1, 3, (1, 5), false),
            (1, 5, (1, 5), true),
            (1, 8, (1, 8), true),
            (2, 3, (2, 3), false),
        ] {
            let entry = entry(epoch, version);
            let (epoch, version) = mark.as_of(&entry);
            assert_eq!((epoch, *version), expected);
            assert_eq!(entry.is_as_new_as(&mark), new);
        }
        watermark.hide();
        assert!(watermark.read().is_none());
        assert_eq!(*mark.version(), 5, "what was read stays");
    }
}
