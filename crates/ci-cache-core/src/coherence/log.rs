//! The change log: what was applied lately, for loads that were under way meanwhile.

use std::collections::VecDeque;
use std::sync::Arc;

use super::domain::{Domain, Version};
use crate::clock::Tick;

/// Where a change stands in its history.
pub(super) type Origin<D> = <<D as Domain>::Version as Version>::Origin;

/// One record of the log.
pub(super) enum Record<D: Domain> {
    /// A change that touches what it touches.
    Change {
        change: D::Change,
        origin: Origin<D>,
        /// Hash of the group it is about.
        group: u64,
    },
    /// Something that touches everything of a group. Without an origin it is covered by the batch's position alone.
    Group {
        group: D::Group,
        hash: u64,
        origin: Option<Origin<D>>,
    },
    /// Something that touches everything.
    Everything { origin: Option<Origin<D>> },
}

impl<D: Domain> Record<D> {
    /// Tells whether a state includes it for certain.
    pub(super) fn is_covered_by(&self, version: &D::Version) -> bool {
        let origin = match self {
            Self::Change { origin, .. } => Some(*origin),
            Self::Group { origin, .. } | Self::Everything { origin } => *origin,
        };
        origin.is_some_and(|origin| version.covers(origin))
    }
}

/// Changes that were applied together.
pub(super) struct Logged<D: Domain> {
    pub(super) records: Vec<Record<D>>,
    /// A state that includes all of them, and all applied before.
    pub(super) position: D::Version,
    pub(super) polled_at: Tick,
    /// What they hold, in bytes, about.
    pub(super) bytes: usize,
}

/// The latest batches, as many as fit.
///
/// Invariant: every applied change that the floor does not cover is in one of the batches; their positions only grow.
pub(super) struct Log<D: Domain> {
    batches: VecDeque<Arc<Logged<D>>>,
    records: usize,
    bytes: usize,
    /// None before anything is followed: no load is known to be late enough.
    floor: Option<D::Version>,
    max_records: usize,
    max_bytes: usize,
}

/// Batches on their way out of a lock.
pub(super) type Fallen<D> = VecDeque<Arc<Logged<D>>>;

impl<D: Domain> Log<D> {
    pub(super) fn new(max_records: usize, max_bytes: usize) -> Self {
        Self {
            batches: VecDeque::new(),
            records: 0,
            bytes: 0,
            floor: None,
            max_records,
            max_bytes,
        }
    }

    /// Counts records and bytes.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.records, self.bytes)
    }

    /// Tells whether a load at this version can be checked.
    pub(super) fn reaches(&self, version: &D::Version) -> bool {
        self.floor.as_ref().is_some_and(|floor| version.includes(floor))
    }

    /// Adds a batch; the oldest fall out, and with them the floor rises. A batch that does not fit falls out at once.
    pub(super) fn push(&mut self, batch: Arc<Logged<D>>) -> Fallen<D> {
        self.records += batch.records.len();
        self.bytes += batch.bytes;
        self.batches.push_back(batch);
        let mut fallen = Fallen::new();
        while self.records > self.max_records || self.bytes > self.max_bytes {
            let Some(oldest) = self.batches.pop_front() else {
                break;
            };
            self.records -= oldest.records.len();
            self.bytes -= oldest.bytes;
            self.floor = Some(oldest.position.clone());
            fallen.push_back(oldest);
        }
        fallen
    }

    /// Copies the batches that a state may not include all of.
    pub(super) fn since(&self, version: &D::Version) -> Vec<Arc<Logged<D>>> {
        // Positions grow: what is older than an included position is included.
        let late = self.batches.iter().rev();
        late.take_while(|batch| !version.includes(&batch.position))
            .cloned()
            .collect()
    }

    /// Starts again from a position.
    pub(super) fn restart(&mut self, position: D::Version) -> Fallen<D> {
        self.floor = Some(position);
        self.records = 0;
        self.bytes = 0;
        std::mem::take(&mut self.batches)
    }

    /// Checks the sums and the order; for tests.
    ///
    /// # Errors
    /// Says what disagrees.
    pub(super) fn validate(&self) -> Result<(), String> {
        let records: usize = self.batches.iter().map(|batch| batch.records.len()).sum();
        let bytes: usize = self.batches.iter().map(|batch| batch.bytes).sum();
        let positions = self.batches.iter().map(|batch| &batch.position);
        let all: Vec<_> = self.floor.iter().chain(positions).collect();
        let grows = all.windows(2).all(|pair| pair[1].includes(pair[0]));
        if (records, bytes) != self.size() || !grows || records > self.max_records {
            return Err(format!(
                "log: {records} records of {bytes} bytes, {:?} counted, positions grow: {grows}",
                self.size()
            ));
        }
        Ok(())
    }
}
