//! Reading and changing one entry in one step.

use std::hash::{BuildHasher, Hash};

use crate::cache::Cache;
use crate::entry::InsertOptions;
use crate::listener::Cause;
use crate::shard::{Look, Stored};

/// What is to become of an entry; see [`Cache::compute`].
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Compute<V> {
    /// Leave it as it is.
    Keep,
    /// Store a value with the cache's defaults and no scope.
    Put(V),
    /// Store a value.
    PutWith(V, InsertOptions),
    /// Remove it.
    Remove,
}

/// What became of an entry, with the value that was fresh before, if there was one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Computed<V> {
    /// Nothing was changed, and no flight detached.
    Unchanged,
    /// The new value is resident.
    Stored(Option<V>),
    /// The new value was not kept: it weighs too much, or the policy refused it. What it was to replace is gone too.
    Refused(Option<V>),
    /// The key is not resident.
    Removed(Option<V>),
}

impl<K, V, E, S> Cache<K, V, E, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Reads the fresh value of a key and decides what becomes of it, in one step that no other operation on the key can
    /// come between.
    ///
    /// Storing and removing detach the key's flight, as [`insert_with`](Self::insert_with) and [`remove`](Self::remove) do.
    /// A value within a stale window is not shown, but goes if it is replaced or removed. No look-up is counted, and the
    /// reading has no effect on eviction.
    ///
    /// `act` runs under the shard's lock: it must be short and must not use this cache. Should it panic, everything stays as
    /// it was. Cost: one shard lock.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use ci_cache_core::{Cache, Compute, Computed, ManualClock};
    /// let cache: Cache<&str, u32> = Cache::<&str, u32>::builder(100, Arc::new(ManualClock::new())).build()?;
    /// let count = |seen: Option<&u32>| Compute::Put(seen.map_or(1, |count| count + 1));
    /// assert_eq!(cache.compute("visits", count), Computed::Stored(None));
    /// assert_eq!(cache.compute("visits", count), Computed::Stored(Some(1)));
    /// assert_eq!(cache.get("visits"), Some(2));
    /// # Ok::<(), ci_cache_core::Error>(())
    /// ```
    pub fn compute(&self, key: K, act: impl FnOnce(Option<&V>) -> Compute<V>) -> Computed<V> {
        let hash = self.hash(&key);
        // Lent to the section below: a key that is not stored is dropped outside it, after a panic too.
        let mut held = Some(key);
        let (done, mut garbage) = self.core.write_keeping(hash, |shard, config, out| {
            let Some(key) = &held else { return Done::Nothing };
            let mut act = Some(act);
            let seen = shard.look_here(hash, key, config, |value| act.take().map(|act| act(Some(value))));
            let decided = match seen {
                Look::Hit(decided) => decided,
                Look::Absent | Look::NotFresh => act.take().map(|act| act(None)),
            };
            let (value, options) = match decided {
                None | Some(Compute::Keep) => return Done::Nothing,
                Some(Compute::Remove) => return Done::Removed(shard.remove(hash, key, config, out)),
                Some(Compute::Put(value)) => (value, InsertOptions::new()),
                Some(Compute::PutWith(value, options)) => (value, options),
            };
            match held.take() {
                Some(key) => Done::Put(shard.insert(hash, key, value, &options, config, out)),
                None => Done::Nothing,
            }
        });
        match done {
            Done::Nothing => Computed::Unchanged,
            Done::Removed(fresh) => Computed::Removed(garbage.take_first(Cause::Removed).filter(|_| fresh)),
            // Only the key's own fresh value leaves as replaced, and before any victim.
            Done::Put(Stored::Kept) => Computed::Stored(garbage.take_first(Cause::Replaced)),
            Done::Put(Stored::Refused) => Computed::Refused(garbage.take_first(Cause::Replaced)),
        }
    }
}

/// What was done under the lock.
enum Done {
    Nothing,
    /// Whether the entry was fresh.
    Removed(bool),
    Put(Stored),
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use super::*;
    use crate::{CacheBuilder, Lookup, LookupOptions, ManualClock, Scope};

    type TestCache = Cache<u32, u32, ()>;

    fn builder(clock: &Arc<ManualClock>) -> CacheBuilder<u32, u32> {
        Cache::<u32, u32>::builder(4, clock.clone()).shards(1)
    }

    fn cache() -> TestCache {
        builder(&Arc::default()).build().unwrap()
    }

    #[test]
    fn each_decision_has_its_effect_and_gives_the_value_before() {
        let cache = cache();
        assert_eq!(
            cache.compute(1, |seen| {
                assert_eq!(seen, None);
                Compute::Keep
            }),
            Computed::Unchanged
        );
        assert_eq!(cache.compute(1, |_| Compute::Remove), Computed::Removed(None));
        assert_eq!(cache.compute(1, |_| Compute::Put(10)), Computed::Stored(None));
        assert_eq!(
            cache.compute(1, |seen| {
                assert_eq!(seen, Some(&10));
                Compute::Keep
            }),
            Computed::Unchanged
        );
        let scope = Scope::new();
        let scoped = |_: Option<&u32>| Compute::PutWith(11, InsertOptions::new().scope(&scope));
        assert_eq!(cache.compute(1, scoped), Computed::Stored(Some(10)));
        assert_eq!(cache.peek(&1), Some(11));
        scope.invalidate();
        assert_eq!(cache.compute(1, |_| Compute::Remove), Computed::Removed(None));
        cache.insert(2, 20);
        assert_eq!(cache.compute(2, |_| Compute::Remove), Computed::Removed(Some(20)));
        assert!(cache.is_empty());
        assert_eq!(cache.stats().requests(), 0);
        cache.validate().unwrap();
    }

    #[test]
    fn a_value_that_is_too_heavy_is_refused_and_takes_the_old_one_along() {
        let clock = Arc::default();
        let cache: TestCache = builder(&clock).weigher(|_, &value| value).build().unwrap();
        cache.insert(1, 2);
        assert_eq!(cache.compute(1, |_| Compute::Put(5)), Computed::Refused(Some(2)));
        assert!(!cache.contains(&1));
        cache.validate().unwrap();
    }

    #[test]
    fn an_expired_value_is_neither_shown_nor_given_back() {
        let clock = Arc::new(ManualClock::new());
        let cache: TestCache = builder(&clock)
            .default_ttl(Duration::from_secs(1))
            .stale_while_revalidate(Duration::from_secs(9))
            .build()
            .unwrap();
        cache.insert(1, 1);
        clock.advance(Duration::from_secs(2));
        let put = |seen: Option<&u32>| {
            assert_eq!(seen, None);
            Compute::Put(2)
        };
        assert_eq!(cache.compute(1, put), Computed::Stored(None));
        assert_eq!(cache.get(&1), Some(2));
    }

    #[test]
    fn storing_and_removing_detach_the_flight_and_keeping_does_not() {
        for (act, detached) in [
            (Compute::Keep, false),
            (Compute::Put(2), true),
            (Compute::Remove, true),
        ] {
            let cache = cache();
            let Lookup::Lead(leader) = cache.lookup(&1, LookupOptions::new()) else {
                panic!("should lead")
            };
            cache.compute(1, |_| act);
            assert_eq!(leader.is_detached(), detached);
            assert_eq!(leader.publish(9), !detached);
        }
    }

    #[test]
    fn a_panic_leaves_everything_as_it_was() {
        let cache = cache();
        cache.insert(1, 1);
        let lookup = cache.lookup(&2, LookupOptions::new());
        for key in [1, 2] {
            let act = || cache.compute(key, |_| panic!("act"));
            assert!(catch_unwind(AssertUnwindSafe(act)).is_err());
        }
        assert_eq!((cache.get(&1), cache.len(), cache.in_flight()), (Some(1), 1, 1));
        assert_eq!(cache.stats().faults, 0);
        cache.validate().unwrap();
        drop(lookup);
    }

    #[test]
    fn concurrent_steps_are_all_counted_and_the_listener_hears_of_each() {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&heard);
        let cache: TestCache = builder(&Arc::default())
            .listener(move |_, &value, cause| told.lock().unwrap().push((value, cause)))
            .build()
            .unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        cache.compute(1, |seen| Compute::Put(seen.map_or(1, |count| count + 1)));
                    }
                });
            }
        });
        assert_eq!(cache.get(&1), Some(2_000));
        let heard = heard.lock().unwrap();
        assert_eq!(heard.len(), 1_999);
        assert!(heard.iter().all(|&(_, cause)| cause == Cause::Replaced));
    }
}
