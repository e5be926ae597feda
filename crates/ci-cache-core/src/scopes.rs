//! The scopes of many groups, by group, for as long as they are in use.

use std::hash::Hash;

use hashbrown::HashMap;

use crate::scope::{Scope, Stamp};

/// Unused groups are swept out when so many are known, and again whenever their number has doubled.
pub(crate) const FIRST_SWEEP: usize = 1_024;

/// The scopes of the groups that have entries or flights.
#[derive(Debug)]
pub(crate) struct Scopes<G> {
    known: HashMap<G, Scope>,
    /// The number of groups at which unused ones are swept out.
    sweep_at: usize,
}

impl<G: Clone + Eq + Hash> Scopes<G> {
    pub(crate) fn new() -> Self {
        Self {
            known: HashMap::new(),
            sweep_at: FIRST_SWEEP,
        }
    }

    /// Counts the groups that are known.
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }

    /// Stamps what begins now in a group that is known.
    pub(crate) fn known_stamp(&self, group: &G) -> Option<Stamp> {
        self.known.get(group).map(Scope::stamp)
    }

    /// Stamps what begins now.
    pub(crate) fn stamp(&mut self, group: &G) -> Stamp {
        if let Some(stamp) = self.known_stamp(group) {
            return stamp;
        }
        self.sweep();
        self.known.entry(group.clone()).or_default().stamp()
    }

    /// Invalidates everything of a group. One that is not known has nothing to invalidate.
    pub(crate) fn invalidate(&self, group: &G) {
        if let Some(scope) = self.known.get(group) {
            scope.invalidate();
        }
    }

    /// Forgets groups without a stamp in any entry or flight, so that made-up ones cannot fill the memory.
    ///
    /// A group in use must never be forgotten: its stamps would be out of reach of later invalidations. Nobody can take a
    /// first stamp meanwhile, so a scope without stamps stays without.
    fn sweep(&mut self) {
        if self.known.len() >= self.sweep_at {
            self.known.retain(|_, scope| scope.is_in_use());
            self.sweep_at = FIRST_SWEEP.max(self.known.len() * 2);
        }
    }
}
