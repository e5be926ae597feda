//! The rules of loads from a replica that tests break on purpose: twins with the same functions, the one that breaks them with the feature
//! `planted`.

#[cfg(not(feature = "planted"))]
pub(crate) use kept::ReplicaRules;
#[cfg(feature = "planted")]
pub use planted::ReplicaRules;

/// What ships: nothing is broken, nothing is stored.
#[cfg(not(feature = "planted"))]
mod kept {
    /// The rules that loads from a replica follow.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum ReplicaRules {
        /// All of them.
        Kept,
    }

    #[expect(clippy::unused_self, reason = "the twin under test has a state")]
    impl ReplicaRules {
        /// An answer is used only if its state includes the mark.
        pub(crate) const fn trusts_what_is_behind(self) -> bool {
            false
        }

        /// An answer is used only when the primary has shown its state.
        pub(crate) const fn trusts_what_is_ahead(self) -> bool {
            false
        }
    }
}

/// What is tested: the same, or with one rule broken.
#[cfg(feature = "planted")]
mod planted {
    /// The rules that loads from a replica follow.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum ReplicaRules {
        /// All of them.
        Kept,
        /// Takes an answer whatever its state includes, as if it were the primary's.
        TrustsWhatIsBehind,
        /// Takes an answer of a state that the primary may not have shown yet.
        TrustsWhatIsAhead,
    }

    impl ReplicaRules {
        pub(crate) fn trusts_what_is_behind(self) -> bool {
            self == Self::TrustsWhatIsBehind
        }

        pub(crate) fn trusts_what_is_ahead(self) -> bool {
            self == Self::TrustsWhatIsAhead
        }
    }
}
