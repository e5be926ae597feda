//! The rules of the validated read that tests break on purpose: twins with the same functions, the one that breaks them with the feature
//! `planted`.

#[cfg(not(feature = "planted"))]
pub(crate) use kept::TierRules;
#[cfg(feature = "planted")]
pub use planted::TierRules;

/// What ships: nothing is broken, nothing is stored.
#[cfg(not(feature = "planted"))]
mod kept {
    /// The rules that a runner's tier follows.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum TierRules {
        /// All of them.
        Kept,
    }

    #[expect(clippy::unused_self, reason = "the twin under test has a state")]
    impl TierRules {
        /// A value is used only if no change since touches it.
        pub(crate) const fn trusts_values(self) -> bool {
            false
        }

        /// A value is used only for the question that it answers.
        pub(crate) const fn ignores_key(self) -> bool {
            false
        }

        /// A value is used only in its own history.
        pub(crate) const fn ignores_epoch(self) -> bool {
            false
        }
    }
}

/// What is tested: the same, or with one rule broken.
#[cfg(feature = "planted")]
mod planted {
    /// The rules that a runner's tier follows.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum TierRules {
        /// All of them.
        Kept,
        /// Takes what the tier has for true: plain cache-aside.
        TrustsValues,
        /// Takes a value whatever key it was written for.
        IgnoresKey,
        /// Takes the states of another history for those of this one, and for true.
        IgnoresEpoch,
    }

    impl TierRules {
        pub(crate) fn trusts_values(self) -> bool {
            matches!(self, Self::TrustsValues | Self::IgnoresEpoch)
        }

        pub(crate) fn ignores_key(self) -> bool {
            self == Self::IgnoresKey
        }

        pub(crate) fn ignores_epoch(self) -> bool {
            self == Self::IgnoresEpoch
        }
    }
}
