//! What the cache keeps: a value, and since which state of the source it is known to be true.

use super::index::Ticket;
use super::watermark::Mark;

/// Where a value comes from: a state of the source, in one uninterrupted history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded<S> {
    /// The history. Versions of different epochs must not be compared.
    pub epoch: u64,
    /// The state, as read in the transaction that read the value.
    pub version: S,
}

/// A value with the state at which it was loaded; shared, and never changed.
#[derive(Debug)]
pub struct Entry<V, S> {
    value: V,
    loaded: Loaded<S>,
    /// Its registration in the dependency index; tells it from others of its key.
    pub(super) ticket: Ticket,
}

impl<V, S> Entry<V, S> {
    pub(super) fn new(value: V, loaded: Loaded<S>, ticket: Ticket) -> Self {
        Self {
            value,
            loaded,
            ticket,
        }
    }

    /// The value.
    pub fn value(&self) -> &V {
        &self.value
    }

    /// The history it was loaded in.
    pub fn epoch(&self) -> u64 {
        self.loaded.epoch
    }

    /// The state at which it was loaded: the value is true there. Found in the cache it is true at later states too: see
    /// [`Mark::as_of`].
    pub fn version(&self) -> &S {
        &self.loaded.version
    }

    /// Both.
    pub fn loaded(&self) -> &Loaded<S> {
        &self.loaded
    }
}

impl<V, S: super::Version> Entry<V, S> {
    /// Tells whether the value is at least as new as a mark, whether or not the cache keeps it: what a caller asks
    /// that waited for another's load. If it is not, it has to look up again: the load may have begun long ago.
    pub fn is_as_new_as(&self, mark: &Mark<S>) -> bool {
        self.epoch() == mark.epoch() && self.version().includes(mark.version())
    }

    /// Tells whether the value was loaded at a later state than another of its key.
    pub(super) fn outdates(&self, other: &Self) -> bool {
        self.epoch() == other.epoch()
            && self.version().includes(other.version())
            && !other.version().includes(self.version())
    }
}
