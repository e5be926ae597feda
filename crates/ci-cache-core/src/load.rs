//! Getting a value or loading it: the blocking form. (The parts, for every other way of waiting, are
//! [`Cache::lookup`], [`Leader`] and [`Waiter`](crate::Waiter).)

use std::borrow::ToOwned;
use std::hash::{BuildHasher, Hash};

use hashbrown::Equivalent;

use crate::cache::Cache;
use crate::entry::LookupOptions;
use crate::flight::Outcome;
use crate::leader::{Leader, Lookup};

impl<K, V, E, S> Cache<K, V, E, S>
where
    K: Hash + Eq,
    V: Clone,
    E: Clone,
    S: BuildHasher,
{
    /// Gets the value or loads it, blocking the thread: simultaneous callers share one load.
    ///
    /// `load` runs in the leader's thread, without any lock; should it panic, a waiting caller takes over. It must
    /// not ask for the same key, or it waits for itself. Of a value in its stale-while-revalidate window one caller loads
    /// anew, and the others get it as it is.
    ///
    /// # Errors
    /// The leader's error, a clone for each caller that waited, unless there is a value with an open stale window.
    /// Errors are not cached.
    pub fn get_or_load<Q>(
        &self,
        key: &Q,
        options: LookupOptions<'_>,
        load: impl FnOnce() -> Result<V, E>,
    ) -> Result<V, E>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    {
        loop {
            match self.lookup(key, options) {
                Lookup::Hit(found) | Lookup::Stale(found, None) => return Ok(found.value),
                Lookup::Lead(leader) | Lookup::Stale(_, Some(leader)) => return lead(leader, load()),
                Lookup::Wait(waiter) => {
                    if let Some(result) = settled(waiter.wait_blocking()) {
                        return result;
                    }
                }
            }
        }
    }
}

/// Reports a load, either way.
pub(crate) fn lead<K: Eq, V: Clone, E: Clone>(leader: Leader<K, V, E>, loaded: Result<V, E>) -> Result<V, E> {
    match loaded {
        Ok(value) => {
            leader.publish(value.clone());
            Ok(value)
        }
        Err(error) => leader.fail(error.clone()).ok_or(error),
    }
}

/// Makes a result of an outcome; nothing if the leader gave up and the caller is to look again.
pub(crate) fn settled<V, E>(outcome: Outcome<V, E>) -> Option<Result<V, E>> {
    match outcome {
        Outcome::Loaded(value) | Outcome::Fallback { value, .. } => Some(Ok(value)),
        Outcome::Failed(error) => Some(Err(error)),
        Outcome::Abandoned => None,
    }
}
