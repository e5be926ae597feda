//! What is counted of the shared tier.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

/// How one read of a value ended. All but the first are loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum TierOutcome {
    /// It was there, is true, and was used.
    Hit,
    /// It was not there.
    Absent,
    /// The tier answered with an error.
    Failed,
    /// The tier did not answer in time.
    TimedOut,
    /// The tier was not asked, because it failed too often lately.
    Skipped,
    /// The value is damaged, or is none of ours.
    Corrupt,
    /// Another version of this program wrote it.
    Format,
    /// It answers another question.
    Key,
    /// It is of another history of the database.
    Epoch,
    /// It was confirmed so long ago that this node does not know every change since.
    Floor,
    /// A change since touches it.
    Overtaken,
    /// It was loaded before answers were forgotten by hand.
    Forgotten,
    /// This node does not know at present what has changed.
    NoMark,
    /// What it depends on cannot be told.
    Unfiled,
}

impl TierOutcome {
    /// Every outcome.
    pub const ALL: [Self; 14] = [
        Self::Hit,
        Self::Absent,
        Self::Failed,
        Self::TimedOut,
        Self::Skipped,
        Self::Corrupt,
        Self::Format,
        Self::Key,
        Self::Epoch,
        Self::Floor,
        Self::Overtaken,
        Self::Forgotten,
        Self::NoMark,
        Self::Unfiled,
    ];

    /// The outcome's name, in lower case with underscores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Absent => "absent",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Skipped => "skipped",
            Self::Corrupt => "corrupt",
            Self::Format => "format",
            Self::Key => "key",
            Self::Epoch => "epoch",
            Self::Floor => "floor",
            Self::Overtaken => "overtaken",
            Self::Forgotten => "forgotten",
            Self::NoMark => "no_mark",
            Self::Unfiled => "unfiled",
        }
    }
}

/// What a runner has done with its shared tier since it was built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierStats {
    /// What kind of store it is.
    pub kind: &'static str,
    /// Reads of values by how they ended, in the order of [`TierOutcome::ALL`].
    pub reads: Vec<(TierOutcome, u64)>,
    /// Answers that were written after a load.
    pub written: u64,
    /// Answers that were confirmed anew.
    pub refreshed: u64,
    /// Answers that were not written because too many waited.
    pub dropped: u64,
    /// Answers that were not written because they are too large, or their tenant has written enough.
    pub over_budget: u64,
    /// Answers whose writing failed.
    pub unwritten: u64,
    /// Answers that were deleted because a change touched them.
    pub deleted: u64,
    /// Times that this node woke the others after writes.
    pub rings_sent: u64,
    /// Times that it could not.
    pub rings_failed: u64,
    /// Times that this node was woken, its own rings included.
    pub rings_heard: u64,
    /// Whether it can be woken now; no without the [doorbell](crate::tier::TierOptions::doorbell).
    pub is_listening: bool,
    /// What waits to be done in the background: mostly answers to be written.
    pub waiting: usize,
    /// Bytes of the answers among that.
    pub waiting_bytes: usize,
    /// Whether the tier failed, and nobody has found since that it works.
    pub is_open: bool,
    /// Whether a call now would be skipped for that; after a pause the next is made again.
    pub is_skipped: bool,
    /// The last failure, in words for people.
    pub trouble: Option<String>,
}

impl TierStats {
    /// How many reads ended so.
    pub fn reads_of(&self, outcome: TierOutcome) -> u64 {
        let found = self.reads.iter().find(|(of, _)| *of == outcome);
        found.map_or(0, |(_, count)| *count)
    }
}

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Counts {
    reads: [AtomicU64; TierOutcome::ALL.len()],
    pub(super) written: AtomicU64,
    pub(super) refreshed: AtomicU64,
    pub(super) dropped: AtomicU64,
    pub(super) over_budget: AtomicU64,
    pub(super) unwritten: AtomicU64,
    pub(super) deleted: AtomicU64,
    pub(super) rings_sent: AtomicU64,
    pub(super) rings_failed: AtomicU64,
    pub(super) rings_heard: AtomicU64,
}

impl Counts {
    pub(super) fn read(&self, outcome: TierOutcome) {
        self.reads[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn reads(&self) -> Vec<(TierOutcome, u64)> {
        let all = TierOutcome::ALL.into_iter();
        all.map(|outcome| (outcome, self.reads[outcome as usize].load(Ordering::Relaxed)))
            .collect()
    }
}

/// Adds to a counter.
pub(super) fn add(counter: &AtomicU64, many: usize) {
    counter.fetch_add(many as u64, Ordering::Relaxed);
}
