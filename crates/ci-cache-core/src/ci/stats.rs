//! The numbers that the predecessor showed, and those of the engine.

use std::time::Duration;

use crate::Stats;

/// What a [`CiCache`](super::CiCache) has done, and how it is set.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CiStats {
    /// Look-ups answered by a live entry.
    pub hits: u64,
    /// Look-ups that were not.
    pub misses: u64,
    /// Hits in percent of all look-ups, two decimals; 0 when there were none.
    pub hit_rate: f64,
    /// Hits and misses.
    pub total_requests: u64,
    /// Entries now, dead ones included that nobody has met yet.
    pub size: usize,
    /// Most entries.
    pub max_size: usize,
    /// Live entries dropped to make room.
    pub evictions: u64,
    /// How long answers of other kinds are kept.
    pub default_ttl: Duration,
    /// How long answers to questions with keywords and without filters are kept.
    pub keyword_ttl: Duration,
    /// How long answers to questions with filters are kept.
    pub filter_ttl: Duration,
    /// How long single CIs are kept.
    pub get_ttl: Duration,
    /// Every counter of the engine.
    pub engine: Stats,
}
