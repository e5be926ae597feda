//! Matching by looking at everything: what the index is compared with, in tests and in the benchmark.

use std::hash::{BuildHasher, Hash};

use super::coherent::Coherent;
use super::domain::{Domain, Reach};

impl<K, V, D, E, S> Coherent<K, V, D, E, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    D: Domain,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Counts the registrations that a change touches, by the index, and drops nothing. Nothing for a change of a whole group.
    /// Takes the coherence lock. (Not guarded against panics of the domain.)
    #[doc(hidden)]
    pub fn count_touched(&self, change: &D::Change) -> usize {
        let inner = &*self.inner;
        let Reach::Some(group) = inner.domain.reach(change) else {
            return 0;
        };
        let mut state = inner.lock();
        state.search(&inner.domain, change, inner.hash(group));
        state.found().len()
    }

    /// Counts the same by looking at every registration.
    #[doc(hidden)]
    pub fn count_touched_by_force(&self, change: &D::Change) -> usize {
        let inner = &*self.inner;
        let Reach::Some(group) = inner.domain.reach(change) else {
            return 0;
        };
        let group = inner.hash(group);
        let state = inner.lock();
        let registrations = state.index.slots().map(|(_, registration)| registration);
        registrations
            .filter(|registration| {
                registration.group == group
                    && inner.domain.touches(change, &registration.dependency).is_some()
            })
            .count()
    }
}
