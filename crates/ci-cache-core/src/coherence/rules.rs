//! The rules of coherence that tests break on purpose: twins with the same functions.
//!
//! The models and the simulation of a fleet have to notice each broken rule, or they prove nothing. The simulation is in another package,
//! so the twin with a state is behind the feature `planted` as well, which only tests ask for.

#[cfg(not(any(test, fuzzing, feature = "planted")))]
pub(crate) use kept::ProtocolRules;
#[cfg(any(test, fuzzing, feature = "planted"))]
#[cfg_attr(
    not(feature = "planted"),
    allow(unreachable_pub, reason = "the twin under test is asked for by name")
)]
pub use planted::ProtocolRules;

/// What ships: nothing is broken, nothing is stored.
#[cfg(not(any(test, fuzzing, feature = "planted")))]
mod kept {
    /// The rules of coherence.
    #[derive(Debug, Clone, Copy)]
    pub(crate) struct ProtocolRules;

    #[expect(clippy::unused_self, reason = "the twin under test has a state")]
    impl ProtocolRules {
        /// What every cache starts with.
        pub(crate) const SHIPPED: Self = Self;

        /// A load is checked against the log.
        pub(crate) const fn skips_log(self) -> bool {
            false
        }

        /// A load from before the floor is refused.
        pub(crate) const fn ignores_floor(self) -> bool {
            false
        }

        /// A load is registered before it is checked.
        pub(crate) const fn registers_after_check(self) -> bool {
            false
        }

        /// A registration that was hit is not kept.
        pub(crate) const fn forgets_poison(self) -> bool {
            false
        }

        /// An entry is given to the cache under the lock under which it becomes ready.
        pub(crate) const fn inserts_unlocked(self) -> bool {
            false
        }

        /// The mark is raised after the drops.
        pub(crate) const fn raises_mark_first(self) -> bool {
            false
        }

        /// A batch has to go on from what was applied.
        pub(crate) const fn trusts_batches(self) -> bool {
            false
        }

        /// Versions of different epochs are not compared.
        pub(crate) const fn mixes_epochs(self) -> bool {
            false
        }

        /// Of two loads of a key the one of the later state is kept.
        pub(crate) const fn keeps_the_last(self) -> bool {
            false
        }
    }
}

/// What is tested: the same, or with one rule broken.
#[cfg(any(test, fuzzing, feature = "planted"))]
mod planted {
    /// What the protocol of coherence does wrong.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    #[doc(hidden)]
    #[cfg_attr(
        not(feature = "planted"),
        expect(unreachable_pub, reason = "the twin under test is asked for by name")
    )]
    pub enum ProtocolRules {
        /// Nothing.
        Kept,
        /// Keeps whatever was loaded.
        KeepsAlways,
        /// Refuses a load only if its key was hit while it was known.
        GenerationOnly,
        /// Looks at the log before it registers, and not after.
        RegistersAfterCheck,
        /// Keeps what was hit while it was pending.
        ForgetsPoison,
        /// Keeps what is older than the log.
        IgnoresFloor,
        /// Gives the entry to the cache after releasing the lock.
        InsertsUnlocked,
        /// Raises the mark before it drops.
        RaisesMarkFirst,
        /// Applies a batch whatever it goes on from.
        TrustsBatches,
        /// Takes versions of one epoch for versions of another.
        MixesEpochs,
        /// Keeps the load that ends last, whatever another brought before.
        KeepsTheLast,
    }

    impl ProtocolRules {
        /// What ships.
        pub(crate) const SHIPPED: Self = Self::Kept;

        pub(crate) fn skips_log(self) -> bool {
            matches!(self, Self::KeepsAlways | Self::GenerationOnly)
        }

        pub(crate) fn ignores_floor(self) -> bool {
            matches!(
                self,
                Self::KeepsAlways | Self::GenerationOnly | Self::IgnoresFloor
            )
        }

        pub(crate) fn registers_after_check(self) -> bool {
            self == Self::RegistersAfterCheck
        }

        pub(crate) fn forgets_poison(self) -> bool {
            matches!(self, Self::KeepsAlways | Self::ForgetsPoison)
        }

        pub(crate) fn inserts_unlocked(self) -> bool {
            self == Self::InsertsUnlocked
        }

        pub(crate) fn raises_mark_first(self) -> bool {
            self == Self::RaisesMarkFirst
        }

        pub(crate) fn trusts_batches(self) -> bool {
            self == Self::TrustsBatches
        }

        pub(crate) fn mixes_epochs(self) -> bool {
            self == Self::MixesEpochs
        }

        pub(crate) fn keeps_the_last(self) -> bool {
            self == Self::KeepsTheLast
        }
    }
}
