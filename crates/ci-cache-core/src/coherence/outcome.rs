//! The names of endings: of publications, of entries, of batches.

use std::sync::Arc;

use super::entry::Entry;

/// Why a change hits an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why<R> {
    /// It touches what the entry was made of; the domain says in which way.
    Touches(R),
    /// Everything of the entry's group went: by a bulk change, or because many changes of the group came at once.
    Group,
    /// Everything went.
    Everything,
    /// The domain panicked over it, so that nobody knows.
    Fault,
}

/// How a publication ended. Those who waited for the load get the value in every case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Published<R> {
    /// The cache keeps the value.
    Kept,
    /// It was loaded in another epoch than the one that is followed, or none is followed yet.
    Epoch,
    /// The log does not reach back to the state it was loaded at, so that nobody can tell what has changed since.
    Floor,
    /// A change that its version does not include hits it.
    Overtaken(Why<R>),
    /// Its flight was detached: the key was removed or inserted, or the cache cleared or reset. Or another load of the key, of a later
    /// state, has ended before: whoever was answered from that must not be answered from this one next.
    Detached,
    /// It weighs too much, or the eviction policy preferred others.
    Rejected,
    /// The domain filed its dependency nowhere, or panicked over it.
    Unfiled,
}

/// A publication: the entry, as those who waited got it, and how it ended.
#[derive(Debug)]
pub struct Publication<V, S, R> {
    /// The value with the state it was loaded at.
    pub entry: Arc<Entry<V, S>>,
    /// Whether the cache keeps it, and if not, why.
    pub ending: Published<R>,
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Applied {
    /// Entries that its changes hit.
    pub dropped: usize,
    /// Publications under way that they hit.
    pub poisoned: usize,
    /// Groups of which everything went.
    pub floors: usize,
    /// What the batch did to the history.
    pub course: Course,
}

/// What a batch means for the history that is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Course {
    /// It goes on: the mark says so, unless it is suspended.
    #[default]
    Follows,
    /// The batch was applied before, by its position; what it hit was dropped again, and the mark stays.
    Repeats,
    /// It goes on from a state that was not reached, or its position is neither before nor after the last one: changes are missing. Everything was dropped and the mark is
    /// suspended until [`reset`](super::Coherent::reset).
    Gap,
    /// It is of another epoch than the one that is followed: it was ignored.
    OtherEpoch,
}
