//! The rules of the lock, of the flight protocol and of a shard that the tests break on purpose: twins with the same functions. Those of
//! coherence are in [`crate::coherence`].
//!
//! The checkers have to notice each broken rule, or they prove nothing. A shard's rules are broken cache by cache, in any test and by the
//! fuzzer (`--cfg fuzzing`); the lock's only in the models, process by process: see [`crate::models`].

/// A rule of the lock that a model can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LockRule {
    /// A reader passes a fence between showing itself and looking at the bias again.
    ReadersFence,
    /// A reader looks at the bias again once it shows itself.
    SecondLook,
    /// Taking the bias back waits for the readers on display.
    RevokingWaits,
    /// Releasing passes a fence before it looks for sleepers.
    ReleaseFences,
    /// Releasing looks for sleepers and wakes one.
    ReleaseWakes,
    /// Waking passes through the queue's mutex.
    WakingQueues,
}

impl LockRule {
    /// Tells whether the running model broke it: never in what ships.
    #[cfg(not(all(test, any(loom, shuttle))))]
    #[expect(clippy::unused_self, reason = "the twin in the models looks which rule it is")]
    #[inline]
    pub(crate) const fn is_broken(self) -> bool {
        false
    }

    /// Tells whether the running model broke it.
    #[cfg(all(test, any(loom, shuttle)))]
    pub(crate) fn is_broken(self) -> bool {
        crate::models::planted() == Some(format!("{self:?}").as_str())
    }
}

#[cfg(not(any(test, fuzzing)))]
pub(crate) use kept::Rules;
#[cfg(any(test, fuzzing))]
pub(crate) use planted::Rules;

/// What ships: nothing is broken, nothing is stored.
#[cfg(not(any(test, fuzzing)))]
mod kept {
    use crate::scope::Stamp;

    #[derive(Debug, Clone, Copy)]
    pub(crate) struct Rules;

    #[expect(clippy::unused_self, reason = "the twin under test has a state")]
    impl Rules {
        /// What every cache starts with.
        pub(crate) const SHIPPED: Self = Self;

        /// A look-up must not join a flight begun before an invalidation (P3).
        pub(crate) const fn join_older_flights(self) -> bool {
            false
        }

        /// A removal must detach the key's flight (P2).
        pub(crate) const fn removal_forgets_flights(self) -> bool {
            false
        }

        /// A value is published under the stamp from before its load (P2).
        pub(crate) fn stamp_to_publish(self, begun: Option<&Stamp>) -> Option<Stamp> {
            begun.cloned()
        }

        /// A value that replaces another lives its own time (P7).
        pub(crate) const fn overwriting_keeps_the_deadline(self) -> bool {
            false
        }

        /// A shard that became too small evicts at once (P5).
        pub(crate) const fn shrinks_later(self) -> bool {
            false
        }

        /// A group within its share loses nothing to another.
        pub(crate) const fn ignores_shares(self) -> bool {
            false
        }

        /// A snapshot is read if its checksum says that it is whole.
        pub(crate) const fn reads_damaged_snapshots(self) -> bool {
            false
        }

        /// Nothing is allocated by a number that was read (P12).
        pub(crate) const fn trusts_counts(self) -> bool {
            false
        }
    }
}

/// What is tested: the same, or with one rule broken.
#[cfg(any(test, fuzzing))]
mod planted {
    use crate::scope::Stamp;

    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) enum Rules {
        Kept,
        /// Joins whatever flight there is.
        JoinsOlderFlights,
        /// Removes the entry and publishes the load that was under way all the same.
        RemovalForgetsFlights,
        /// Takes the stamp when the value is there, as one would naively.
        StampsAtPublication,
        /// Replaces a value and lets the new one live as long as the old one would have.
        OverwritingKeepsTheDeadline,
        /// Takes a new capacity and leaves the eviction to whoever inserts next.
        ShrinksLater,
        /// Evicts what the policy says, whatever the shares.
        IgnoresShares,
        /// Cuts a snapshot into entries whatever its checksum says.
        ReadsDamagedSnapshots,
        /// Makes room for as many entries as a snapshot says it has.
        TrustsCounts,
    }

    impl Rules {
        pub(crate) const SHIPPED: Self = Self::Kept;

        /// Every way to break one that the fuzzer has to notice, or knows by its name. Its caches have no groups, so shares have a test of
        /// their own.
        pub(crate) const BROKEN: [Self; 7] = [
            Self::JoinsOlderFlights,
            Self::RemovalForgetsFlights,
            Self::StampsAtPublication,
            Self::OverwritingKeepsTheDeadline,
            Self::ShrinksLater,
            Self::ReadsDamagedSnapshots,
            Self::TrustsCounts,
        ];

        pub(crate) fn join_older_flights(self) -> bool {
            self == Self::JoinsOlderFlights
        }

        pub(crate) fn removal_forgets_flights(self) -> bool {
            self == Self::RemovalForgetsFlights
        }

        pub(crate) fn stamp_to_publish(self, begun: Option<&Stamp>) -> Option<Stamp> {
            match self {
                Self::StampsAtPublication => begun.map(Stamp::renewed),
                _ => begun.cloned(),
            }
        }

        pub(crate) fn overwriting_keeps_the_deadline(self) -> bool {
            self == Self::OverwritingKeepsTheDeadline
        }

        pub(crate) fn shrinks_later(self) -> bool {
            self == Self::ShrinksLater
        }

        pub(crate) fn ignores_shares(self) -> bool {
            self == Self::IgnoresShares
        }

        pub(crate) fn reads_damaged_snapshots(self) -> bool {
            self == Self::ReadsDamagedSnapshots
        }

        pub(crate) fn trusts_counts(self) -> bool {
            self == Self::TrustsCounts
        }
    }
}
