//! The rules that the simulation can break, one at a time: it has to notice each, or it proves nothing.

use ci_cache_core::coherence::ProtocolRules;

use super::node::Read;

/// Which rule is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Law {
    /// None: the protocol as it ships.
    Kept,
    /// Whatever was loaded is kept.
    StoresAlways,
    /// A load is refused only if its key was hit while it was known: a generation for each key, a lease.
    LeasesInMemory,
    /// Versions are positions in the database's log.
    ComparesLogPositions,
    /// The feed asks for numbers greater than the last.
    AsksForGreaterNumbers,
    /// Versions of one history are taken for versions of another.
    MixesEpochs,
    /// The feed's position moves before what it brought is applied, and nobody asks whether a batch is missing.
    MovesBeforeApplying,
    /// What the tier has is taken: cache-aside.
    TrustsTier,
    /// What the tier has is taken if no logged change hits it, however far back the log reaches.
    TierWithoutFloor,
    /// The tier refuses to store what was deleted since the miss, and what it has is taken.
    LeasesInTier,
    /// What is stored in the tier is said to be true up to the moment it is stored.
    StampsWhenStored,
    /// A value of another question is taken.
    IgnoresTierKey,
    /// A value of another history is taken for one of this.
    IgnoresTierEpoch,
    /// The mark that a value of the tier is published at is read after the check, not before.
    MarksAfterCheck,
    /// What is confirmed is said to be true at a mark that was read after the entries, not before.
    ConfirmsAtLaterMark,
    /// What a node has it confirms as if it had loaded it, over whatever is there.
    ConfirmsWhatItHad,
    /// What a node has of the tier it confirms over whatever is there.
    ConfirmsOverOthers,
    /// Who waits for the load of another node takes its answer for true.
    TrustsHolder,
    /// Who waits for the load of another node waits until it has its answer.
    WaitsForHolder,
    /// The delete of a wrong value overtakes the value.
    DeletesOvertake,
    /// What was forgotten by hand comes back from the tier.
    IgnoresForgotten,
    /// What was loaded ahead of the mark at which something was forgotten by hand comes back.
    ForgetsUpToMark,
    /// A node that joins by a bookmark answers before a poll has proven it.
    TrustsBookmarks,
    /// A token of another history counts as covered.
    CoversForeignTokens,
    /// An answer of the standby is taken whatever its state includes.
    TrustsWhatIsBehind,
    /// An answer of the standby is taken before the primary has shown its state.
    TrustsWhatIsAhead,
    /// A standby is taken for one of this history whatever epoch is written down there.
    IgnoresStandbyName,
    /// A standby is taken for one of this history whichever timeline it streams.
    IgnoresTimeline,
    /// A standby's snapshot is taken at its word: nothing below its end is at work.
    BelievesSnapshots,
    /// What a standby says is committed counts as seen by a snapshot that was taken before it was asked.
    GuessesMoments,
    /// A standby is asked whom it follows before it is asked what became of the transactions that its snapshot leaves open.
    AsksTimelineFirst,
    /// What was known to be committed on a standby counts after it has crashed.
    RemembersOtherRuns,
    /// What was forgotten by hand comes back from a standby that is late.
    CopiesForgotten,
    /// What is waited for is a poll that is under way, instead of one that begins after.
    JoinsOlderPolls,
}

impl Law {
    /// Every broken one.
    pub(crate) const BROKEN: [Self; 33] = [
        Self::StoresAlways,
        Self::LeasesInMemory,
        Self::ComparesLogPositions,
        Self::AsksForGreaterNumbers,
        Self::MixesEpochs,
        Self::MovesBeforeApplying,
        Self::TrustsTier,
        Self::TierWithoutFloor,
        Self::LeasesInTier,
        Self::StampsWhenStored,
        Self::IgnoresTierKey,
        Self::IgnoresTierEpoch,
        Self::MarksAfterCheck,
        Self::ConfirmsAtLaterMark,
        Self::ConfirmsWhatItHad,
        Self::ConfirmsOverOthers,
        Self::TrustsHolder,
        Self::WaitsForHolder,
        Self::DeletesOvertake,
        Self::IgnoresForgotten,
        Self::ForgetsUpToMark,
        Self::TrustsBookmarks,
        Self::CoversForeignTokens,
        Self::TrustsWhatIsBehind,
        Self::TrustsWhatIsAhead,
        Self::IgnoresStandbyName,
        Self::IgnoresTimeline,
        Self::BelievesSnapshots,
        Self::GuessesMoments,
        Self::AsksTimelineFirst,
        Self::RemembersOtherRuns,
        Self::CopiesForgotten,
        Self::JoinsOlderPolls,
    ];

    /// Whether it is a rule of loads from a standby.
    pub(crate) fn is_of_standby(self) -> bool {
        matches!(
            self,
            Self::TrustsWhatIsBehind
                | Self::TrustsWhatIsAhead
                | Self::IgnoresStandbyName
                | Self::IgnoresTimeline
                | Self::BelievesSnapshots
                | Self::GuessesMoments
                | Self::AsksTimelineFirst
                | Self::RemembersOtherRuns
                | Self::CopiesForgotten
        )
    }

    /// What of it is broken in the engine.
    pub(crate) fn engine(self) -> ProtocolRules {
        match self {
            Self::StoresAlways => ProtocolRules::KeepsAlways,
            Self::LeasesInMemory => ProtocolRules::GenerationOnly,
            Self::MixesEpochs => ProtocolRules::MixesEpochs,
            Self::MovesBeforeApplying => ProtocolRules::TrustsBatches,
            Self::TierWithoutFloor => ProtocolRules::IgnoresFloor,
            _ => ProtocolRules::Kept,
        }
    }

    /// Whether what the tier has is taken without a look at what changed since.
    pub(crate) fn trusts(self, read: &Read) -> bool {
        match self {
            Self::TrustsTier | Self::LeasesInTier => true,
            Self::TrustsHolder => read.leasing.is_some(),
            _ => false,
        }
    }
}
