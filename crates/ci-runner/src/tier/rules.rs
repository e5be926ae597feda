//! The rules of the validated read that tests break on purpose: with the feature `planted`, and never without.

/// Which rules a runner's tier follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    not(feature = "planted"),
    expect(unreachable_pub, reason = "public for tests alone")
)]
pub enum TierRules {
    /// All of them.
    #[default]
    Kept,
    /// Takes what the tier has for true: plain cache-aside.
    #[cfg(feature = "planted")]
    TrustsValues,
    /// Takes a value whatever key it was written for.
    #[cfg(feature = "planted")]
    IgnoresKey,
    /// Takes the states of another history for those of this one.
    #[cfg(feature = "planted")]
    IgnoresEpoch,
}

impl TierRules {
    /// A value is used only if no change since touches it.
    pub(super) fn trusts_values(self) -> bool {
        #[cfg(feature = "planted")]
        return self == Self::TrustsValues;
        #[cfg(not(feature = "planted"))]
        false
    }

    /// A value is used only for the question that it answers.
    pub(super) fn ignores_key(self) -> bool {
        #[cfg(feature = "planted")]
        return self == Self::IgnoresKey;
        #[cfg(not(feature = "planted"))]
        false
    }

    /// A value is used only in its own history.
    pub(super) fn ignores_epoch(self) -> bool {
        #[cfg(feature = "planted")]
        return matches!(self, Self::IgnoresEpoch);
        #[cfg(not(feature = "planted"))]
        false
    }
}
