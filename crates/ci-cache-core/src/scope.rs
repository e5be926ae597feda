//! Invalidation of many entries and flights at once, in constant time.

use std::sync::Arc;

use crate::shim::{AtomicU64, Ordering};

/// A group of entries and flights that can be invalidated together in O(1), however many there are.
///
/// A scope is a generation number behind a cheap handle; clones are the same scope, and one scope may span any
/// number of caches. Each entry and each flight carries the [`Stamp`] it was made under and counts only while the
/// scope is still in that generation.
///
/// # Why the stamp is read before the load
///
/// ```text
/// reader                                 writer
/// look-up misses, flight begins
/// reads row (old)
///                                        commits row (new)
///                                        scope.invalidate()
/// publishes old row
/// ```
///
/// Were the stamp taken at publication, the old row would carry the new generation and be served until it
/// expired: a removal cannot hit what is not there yet. So the stamp is taken when the flight begins, under the
/// shard's lock and before the caller's load can start. Wherever `invalidate` falls after that, the stamp is of an
/// older generation: a publication that checks after it is refused, and one that checked just before it stores an
/// entry that is dead already. In the same way a look-up that starts after `invalidate` returned finds the running
/// flight dead, detaches it and begins its own.
#[derive(Debug, Clone)]
pub struct Scope {
    generation: Arc<AtomicU64>,
}

impl Default for Scope {
    fn default() -> Self {
        Self {
            generation: Arc::new(AtomicU64::new(0)),
        }
    }
}

impl Scope {
    /// Makes a scope that nothing belongs to yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Kills every entry and flight stamped so far; a look-up that starts after this returned sees none of them.
    ///
    /// One atomic addition. Dead entries keep their place until they are looked up, evicted or purged.
    pub fn invalidate(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// Tells whether any other handle or any stamp of this scope exists.
    pub(crate) fn is_in_use(&self) -> bool {
        Arc::strong_count(&self.generation) > 1
    }

    /// Takes a stamp of the current generation; take it before reading what is to be inserted under it.
    pub fn stamp(&self) -> Stamp {
        Stamp {
            generation: self.generation.load(Ordering::Acquire),
            scope: self.clone(),
        }
    }
}

/// A scope and the generation it was in when something began.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// Keeps the scope's counter alive and is read at each look-up.
    scope: Scope,
    /// The generation at the moment of stamping; never changes.
    generation: u64,
}

impl Stamp {
    /// Tells whether the scope has not been invalidated since this stamp was taken.
    pub fn is_live(&self) -> bool {
        self.scope.generation.load(Ordering::Acquire) == self.generation
    }

    /// Takes a new stamp of the same scope: the mistake that the flight tests must notice.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn renewed(&self) -> Self {
        self.scope.stamp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invalidation_kills_older_stamps_of_all_clones() {
        let scope = Scope::new();
        let before = scope.stamp();
        let twin = scope.clone();
        assert!(before.is_live());
        twin.invalidate();
        assert!(!before.is_live());
        assert!(scope.stamp().is_live());
        assert!(Scope::new().stamp().is_live());
    }
}
