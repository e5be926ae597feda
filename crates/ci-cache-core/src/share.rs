//! Shares of the capacity: which group an entry belongs to, what a group may count on, and what it may hold at most.

use std::fmt;

/// Names the group of a key.
type Of<K> = Box<dyn Fn(&K) -> u64 + Send + Sync>;
/// Tells the share of a group.
type Shares = Box<dyn Fn(u64) -> Share + Send + Sync>;

/// What a group of entries may count on, and what it may hold at most; see [`CacheBuilder::groups`](crate::CacheBuilder::groups).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Share {
    pub(crate) parts: u32,
    pub(crate) limit: u64,
}

impl Default for Share {
    fn default() -> Self {
        Self {
            parts: 1,
            limit: u64::MAX,
        }
    }
}

impl Share {
    /// Starts with one part and no limit: all groups of the same size.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many parts of the capacity the group may count on: of all the parts of the groups that have entries, those that
    /// this one has. With 0 it may count on nothing, and holds what others leave it. Default: 1.
    pub fn parts(mut self, parts: u32) -> Self {
        self.parts = parts;
        self
    }

    /// Sets the most weight that the group may hold, even where there is room: in entries, or in the weigher's units; at least 1.
    /// Default: no limit.
    ///
    /// Divided by the number of shards and rounded up, so a group may exceed it by less than one for each shard.
    pub fn limit(mut self, weight: u64) -> Self {
        self.limit = weight.max(1);
        self
    }
}

/// What a group holds and has done; see [`Cache::groups`](crate::Cache::groups).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct GroupStats {
    /// Resident entries, those included that are dead but were not met yet.
    pub entries: usize,
    /// Their weight; the number of entries unless the cache weighs.
    pub weight: u64,
    /// What it may count on now, in the units of the capacity. Changes as groups come and go.
    pub share: u64,
    /// Look-ups that its entries answered. Of hits at the same instant by several threads some may be missing.
    pub hits: u64,
    /// Entries dropped to make room.
    pub evictions: u64,
}

impl std::ops::AddAssign for GroupStats {
    fn add_assign(&mut self, other: Self) {
        self.entries += other.entries;
        self.weight += other.weight;
        self.share += other.share;
        self.hits += other.hits;
        self.evictions += other.evictions;
    }
}

/// How a cache groups its entries.
pub(crate) struct Grouping<K> {
    pub(crate) of: Of<K>,
    pub(crate) share: Shares,
}

impl<K> fmt::Debug for Grouping<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grouping").finish_non_exhaustive()
    }
}
