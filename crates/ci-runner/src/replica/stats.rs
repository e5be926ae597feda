//! What is counted of loads from a replica.

use std::sync::atomic::{AtomicU64, Ordering};

use ci_store::Unused;
use serde::Serialize;

/// How one load that a replica might have answered ended. All but the first are loads from the primary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ReplicaOutcome {
    /// The replica answered.
    Used,
    /// It had not come as far as the answer has to be, in time.
    Behind,
    /// It shows commits that the primary had not shown in time.
    Ahead,
    /// Which of the last transactions it shows could not be told, in time.
    Blurred,
    /// It does not follow this history of the primary.
    History,
    /// It is not a standby.
    Promoted,
    /// It does not say whom it follows.
    Unproven,
    /// It answered with an error, or not at all.
    Failed,
    /// It took too long.
    TimedOut,
    /// It was not asked, because it failed too often lately.
    Skipped,
    /// This node does not know at present what has changed, or not since answers were forgotten by hand.
    NoMark,
}

impl ReplicaOutcome {
    /// Every outcome.
    pub const ALL: [Self; 11] = [
        Self::Used,
        Self::Behind,
        Self::Ahead,
        Self::Blurred,
        Self::History,
        Self::Promoted,
        Self::Unproven,
        Self::Failed,
        Self::TimedOut,
        Self::Skipped,
        Self::NoMark,
    ];

    /// Whether it works, and is only not where it should be at this moment.
    pub(crate) fn is_late(self) -> bool {
        matches!(self, Self::Behind | Self::Ahead | Self::Blurred | Self::NoMark)
    }

    /// The outcome's name, in lower case with underscores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Used => "used",
            Self::Behind => "behind",
            Self::Ahead => "ahead",
            Self::Blurred => "blurred",
            Self::History => "history",
            Self::Promoted => "promoted",
            Self::Unproven => "unproven",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::Skipped => "skipped",
            Self::NoMark => "no_mark",
        }
    }
}

impl From<&Unused> for ReplicaOutcome {
    fn from(why: &Unused) -> Self {
        match why {
            Unused::History => Self::History,
            Unused::Promoted => Self::Promoted,
            Unused::Unproven => Self::Unproven,
            Unused::Blurred => Self::Blurred,
            _ => Self::Failed,
        }
    }
}

/// What a runner has done with its replica since it was built.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReplicaStats {
    /// Loads by how they ended, in the order of [`ReplicaOutcome::ALL`].
    pub loads: Vec<(ReplicaOutcome, u64)>,
    /// Whether the replica failed or was late, and nobody has found since that it is well.
    pub is_open: bool,
    /// Whether it would not be asked now for that; after a pause the next load asks it again.
    pub is_skipped: bool,
    /// Why it was not used last, in words for people.
    pub trouble: Option<String>,
}

impl ReplicaStats {
    /// How many loads ended so.
    pub fn loads_of(&self, outcome: ReplicaOutcome) -> u64 {
        let found = self.loads.iter().find(|(of, _)| *of == outcome);
        found.map_or(0, |(_, count)| *count)
    }
}

/// The counters.
#[derive(Debug, Default)]
pub(super) struct Counts([AtomicU64; ReplicaOutcome::ALL.len()]);

impl Counts {
    pub(super) fn add(&self, outcome: ReplicaOutcome) {
        self.0[outcome as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn all(&self) -> Vec<(ReplicaOutcome, u64)> {
        let all = ReplicaOutcome::ALL.into_iter();
        all.map(|outcome| (outcome, self.0[outcome as usize].load(Ordering::Relaxed)))
            .collect()
    }
}
