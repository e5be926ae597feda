//! Counters of what coherence did.

use super::outcome::{Published, Why};

/// What happened since the cache was built. Read under the lock: all of one instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct CoherenceStats {
    /// Batches applied, those without changes included.
    pub batches: u64,
    /// Changes applied.
    pub changes: u64,
    /// Registrations looked at because they had an anchor of a change.
    pub candidates: u64,
    /// Of those, such that the change touches.
    pub verified: u64,
    /// Entries dropped one by one.
    pub dropped: u64,
    /// Publications under way that a change hit.
    pub poisoned: u64,
    /// Changes that touch an entry whose version includes them already: it stays.
    pub included: u64,
    /// Times that everything of a group went.
    pub group_floors: u64,
    /// Times that everything went: by a change, a reset or a gap.
    pub resets: u64,
    /// Panics of the domain.
    pub faults: u64,
    /// Registrations that a change touches and the index does not lead to; counted only where both matchers run
    /// ([`compare`](super::CoherenceOptions::compare)). Zero in a sound domain.
    pub missed: u64,
    /// Publications that were kept.
    pub kept: u64,
    /// Publications of another epoch.
    pub refused_epoch: u64,
    /// Publications of before the floor.
    pub refused_floor: u64,
    /// Publications that a change overtook.
    pub refused_overtaken: u64,
    /// Publications whose flight was detached.
    pub refused_detached: u64,
    /// Publications without a place in the cache.
    pub refused_rejected: u64,
    /// Publications that could not be filed.
    pub refused_unfiled: u64,
    /// Registrations now: entries, publications under way, and what left the cache and was not met since.
    pub registrations: usize,
    /// Groups known now.
    pub groups: usize,
    /// What the index holds in memory, in bytes, without keys and dependencies.
    pub index_bytes: usize,
    /// Records in the log.
    pub log_records: usize,
    /// What the log holds, in bytes, as the domain estimates.
    pub log_bytes: usize,
}

impl CoherenceStats {
    /// Counts the end of a publication.
    pub(super) fn published<R>(&mut self, ending: &Published<R>) {
        let counter = match ending {
            Published::Kept => &mut self.kept,
            Published::Epoch => &mut self.refused_epoch,
            Published::Floor => &mut self.refused_floor,
            Published::Overtaken(_) => &mut self.refused_overtaken,
            Published::Detached => &mut self.refused_detached,
            Published::Rejected => &mut self.refused_rejected,
            Published::Unfiled => &mut self.refused_unfiled,
        };
        *counter += 1;
    }

    /// Counts what a change hit.
    pub(super) fn hit<R>(&mut self, why: &Why<R>) {
        match why {
            Why::Touches(_) => {}
            Why::Group => self.group_floors += 1,
            Why::Everything => self.resets += 1,
            Why::Fault => {
                self.faults += 1;
                self.group_floors += 1;
            }
        }
    }
}
