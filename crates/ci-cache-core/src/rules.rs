//! The rules of the flight protocol that the tests break on purpose: two twins with the same functions.
//!
//! The checkers of flight and removal have to notice each broken rule, or they prove nothing.

#[cfg(not(test))]
pub(crate) use kept::Rules;
#[cfg(test)]
pub(crate) use planted::Rules;

/// What ships: nothing is broken, nothing is stored.
#[cfg(not(test))]
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
    }
}

/// What is tested: the same, or with one rule broken.
#[cfg(test)]
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
    }

    impl Rules {
        pub(crate) const SHIPPED: Self = Self::Kept;

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
    }
}
