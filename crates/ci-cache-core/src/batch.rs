//! Many keys at once: looking them up, and loading those that are missing in one go.

use std::borrow::ToOwned;
use std::fmt;
use std::hash::{BuildHasher, Hash};

use hashbrown::Equivalent;

use crate::cache::Cache;
use crate::entry::LookupOptions;
use crate::flight::{Outcome, Waiter};
use crate::leader::{Leader, Lookup};
use crate::load::{lead, settled};

/// Why a batch has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum BatchError<E> {
    /// A load failed: this caller's, or one of another caller that this one waited for.
    Load(E),
    /// The load gave too few or too many values, so none could be told whose it was; nothing was stored, and whoever waited
    /// for one of the keys loads it by itself.
    Count {
        /// How many keys it was given.
        expected: usize,
        /// How many values it gave.
        got: usize,
    },
}

impl<E: fmt::Display> fmt::Display for BatchError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Load(error) => write!(f, "load a batch: {error}"),
            Self::Count { expected, got } => write!(f, "load a batch: {got} values for {expected} keys"),
        }
    }
}

impl<E: std::error::Error + 'static> std::error::Error for BatchError<E> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Load(error) => Some(error),
            Self::Count { .. } => None,
        }
    }
}

impl<K, V, E, S> Cache<K, V, E, S>
where
    K: Hash + Eq,
    V: Clone,
    S: BuildHasher,
{
    /// Looks many keys up, each like [`lookup`](Self::lookup), and answers in their order; one shard lock per key.
    ///
    /// The second of two equal keys waits for the first: settle all leaders before waiting for anybody. Two callers that
    /// wait for each other's keys first would wait for ever.
    pub fn lookup_many<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        options: LookupOptions<'_>,
    ) -> Vec<Lookup<K, V, E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K> + 'q,
    {
        keys.into_iter().map(|key| self.lookup(key, options)).collect()
    }

    /// Gets the values of many keys and loads those that are missing together, blocking the thread; answers in the order of
    /// the keys, which may repeat.
    ///
    /// `load` gets the keys that nobody else is loading and gives a value for each, in their order. It runs in this thread,
    /// without any lock, usually once; again for keys whose other loader gave up meanwhile, and not at all if there is
    /// nothing to load. Its values are published before this caller waits for the loads of others, so batches that overlap
    /// crosswise end. It must not ask for the same keys. Should it panic, waiting callers take over.
    ///
    /// Cost: one shard lock per key, two more per key loaded.
    ///
    /// # Errors
    /// [`BatchError::Load`] if a load failed and its value had no open stale window; [`BatchError::Count`] if
    /// `load` gave the wrong number of values. What was loaded by then is stored all the same; errors are not.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use ci_cache_core::{BatchError, Cache, LookupOptions, ManualClock};
    /// let cache: Cache<u32, u32> = Cache::<u32, u32>::builder(100, Arc::new(ManualClock::new())).build()?;
    /// cache.insert(2, 20);
    /// let squares = cache.get_or_load_many(&[1, 2, 3], LookupOptions::new(), |missing| {
    ///     assert_eq!(missing, [&1, &3]);
    ///     Ok(missing.iter().map(|&key| key * 10).collect())
    /// });
    /// assert_eq!(squares, Ok(vec![10, 20, 30]));
    /// # Ok::<(), ci_cache_core::Error>(())
    /// ```
    pub fn get_or_load_many<'q, Q>(
        &self,
        keys: impl IntoIterator<Item = &'q Q>,
        options: LookupOptions<'_>,
        mut load: impl FnMut(&[&'q Q]) -> Result<Vec<V>, E>,
    ) -> Result<Vec<V>, BatchError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K> + 'q,
        E: Clone,
    {
        let mut batch = Batch::new(keys);
        while batch.look(self, options) {
            if !batch.led.is_empty() {
                let loaded = load(&batch.wanted());
                batch.report(loaded)?;
            }
            for (index, waiter) in batch.take_waiting() {
                batch.land(index, waiter.wait_blocking())?;
            }
        }
        Ok(batch.into_values())
    }
}

/// A batch under way: a state machine that the blocking and the awaiting form both drive.
pub(crate) struct Batch<'q, Q: ?Sized, K, V, E> {
    keys: Vec<&'q Q>,
    /// The answers so far, by the key's place.
    values: Vec<Option<V>>,
    /// Places to be looked up in the next round.
    open: Vec<usize>,
    /// Flights to be loaded by this caller. Empty whenever it waits.
    pub(crate) led: Vec<(usize, Leader<K, V, E>)>,
    /// Flights of others, and of an equal key before.
    waiting: Vec<(usize, Waiter<V, E>)>,
}

impl<'q, Q, K, V, E> Batch<'q, Q, K, V, E>
where
    Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
    K: Hash + Eq,
    V: Clone,
    E: Clone,
{
    pub(crate) fn new(keys: impl IntoIterator<Item = &'q Q>) -> Self {
        let keys: Vec<_> = keys.into_iter().collect();
        Self {
            values: keys.iter().map(|_| None).collect(),
            open: (0..keys.len()).collect(),
            keys,
            led: Vec::new(),
            waiting: Vec::new(),
        }
    }

    /// Looks the open places up; says whether there was any.
    pub(crate) fn look<S: BuildHasher>(
        &mut self,
        cache: &Cache<K, V, E, S>,
        options: LookupOptions<'_>,
    ) -> bool {
        let open = std::mem::take(&mut self.open);
        for &index in &open {
            match cache.lookup(self.keys[index], options) {
                Lookup::Hit(found) | Lookup::Stale(found, None) => self.values[index] = Some(found.value),
                Lookup::Lead(leader) | Lookup::Stale(_, Some(leader)) => self.led.push((index, leader)),
                Lookup::Wait(waiter) => self.waiting.push((index, waiter)),
            }
        }
        !open.is_empty()
    }

    /// Gives the keys to load, in order.
    pub(crate) fn wanted(&self) -> Vec<&'q Q> {
        self.led.iter().map(|&(index, _)| self.keys[index]).collect()
    }

    /// Settles every flight this caller leads; one left out by an early return is dropped, which wakes its waiters.
    pub(crate) fn report(&mut self, loaded: Result<Vec<V>, E>) -> Result<(), BatchError<E>> {
        let led = std::mem::take(&mut self.led);
        let loaded: Vec<Result<V, E>> = match loaded {
            Ok(values) if values.len() != led.len() => {
                return Err(BatchError::Count {
                    expected: led.len(),
                    got: values.len(),
                });
            }
            Ok(values) => values.into_iter().map(Ok).collect(),
            Err(error) => led.iter().map(|_| Err(error.clone())).collect(),
        };
        let mut failed = None;
        for ((index, leader), loaded) in led.into_iter().zip(loaded) {
            match lead(leader, loaded) {
                Ok(value) => self.values[index] = Some(value),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), |error| Err(BatchError::Load(error)))
    }

    /// Gives the flights to wait for, in any order: by now this caller leads none that anybody could wait for.
    pub(crate) fn take_waiting(&mut self) -> Vec<(usize, Waiter<V, E>)> {
        std::mem::take(&mut self.waiting)
    }

    /// Takes in how a flight of another caller ended; an abandoned one is looked up again in the next round, not now:
    /// leading it while others are waited for would be the crosswise wait.
    pub(crate) fn land(&mut self, index: usize, outcome: Outcome<V, E>) -> Result<(), BatchError<E>> {
        match settled(outcome) {
            Some(Ok(value)) => self.values[index] = Some(value),
            Some(Err(error)) => return Err(BatchError::Load(error)),
            None => self.open.push(index),
        }
        Ok(())
    }

    /// Gives the answers; each place has one once no round is left.
    pub(crate) fn into_values(self) -> Vec<V> {
        self.values.into_iter().flatten().collect()
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Barrier};
    use std::time::Duration;

    use super::*;
    use crate::clock::ManualClock;

    type TestCache = Cache<u32, u32, &'static str>;

    fn cache() -> (TestCache, Arc<ManualClock>) {
        let clock = Arc::new(ManualClock::new());
        let cache = TestCache::builder(64, clock.clone()).build().unwrap();
        (cache, clock)
    }

    #[expect(clippy::unnecessary_wraps, reason = "the shape of a load")]
    fn tens(keys: &[&u32]) -> Result<Vec<u32>, &'static str> {
        Ok(keys.iter().map(|&key| key * 10).collect())
    }

    fn lead(cache: &TestCache, key: u32) -> Leader<u32, u32, &'static str> {
        match cache.lookup(&key, LookupOptions::new()) {
            Lookup::Lead(leader) => leader,
            other => panic!("should lead, got {other:?}"),
        }
    }

    #[test]
    fn one_load_answers_in_the_order_of_the_keys() {
        let (cache, _) = cache();
        cache.insert(2, 2);
        let mut calls = Vec::new();
        let values = cache.get_or_load_many(&[3, 2, 1, 3, 3], LookupOptions::new(), |keys| {
            calls.push(keys.iter().map(|&&key| key).collect::<Vec<_>>());
            tens(keys)
        });
        assert_eq!(values, Ok(vec![30, 2, 10, 30, 30]));
        assert_eq!(calls, [[3, 1]]);
        let never = |_: &[&u32]| panic!("all are there");
        assert_eq!(
            cache.get_or_load_many(&[1, 3], LookupOptions::new(), never),
            Ok(vec![10, 30])
        );
        assert_eq!(
            cache.get_or_load_many(&[], LookupOptions::new(), never),
            Ok(vec![])
        );
        assert_eq!(cache.in_flight(), 0);
        cache.validate().unwrap();
    }

    #[test]
    fn a_wrong_count_is_an_error_and_loses_nothing() {
        let (cache, _) = cache();
        for got in [0, 1, 3] {
            let values = cache.get_or_load_many(&[1, 2], LookupOptions::new(), |_| Ok(vec![7; got]));
            assert_eq!(values, Err(BatchError::Count { expected: 2, got }));
            assert!(cache.is_empty() && cache.in_flight() == 0);
        }
        let message = BatchError::<&str>::Count { expected: 2, got: 3 }.to_string();
        assert_eq!(message, "load a batch: 3 values for 2 keys");
        assert_eq!(
            cache.get_or_load_many(&[1, 2], LookupOptions::new(), tens),
            Ok(vec![10, 20])
        );
    }

    #[test]
    fn a_failure_reaches_the_caller_unless_every_key_has_a_fallback() {
        let (cache, clock) = cache();
        let options = LookupOptions::new()
            .ttl(Duration::from_secs(1))
            .stale_if_error(Duration::from_secs(9));
        assert_eq!(cache.get_or_load_many(&[1, 2], options, tens), Ok(vec![10, 20]));
        clock.advance(Duration::from_secs(2));
        assert_eq!(
            cache.get_or_load_many(&[1, 2], options, |_| Err("down")),
            Ok(vec![10, 20])
        );
        let failed = cache.get_or_load_many(&[1, 3], options, |_| Err("down"));
        assert_eq!(failed, Err(BatchError::Load("down")));
        assert_eq!(cache.in_flight(), 0);
    }

    #[test]
    fn a_panic_in_the_load_leaves_no_flight() {
        let (cache, _) = cache();
        let batch = || cache.get_or_load_many(&[1, 2], LookupOptions::new(), |_| panic!("load"));
        assert!(catch_unwind(AssertUnwindSafe(batch)).is_err());
        assert_eq!((cache.in_flight(), cache.stats().abandoned), (0, 2));
    }

    /// Each batch leads one key and waits for the other's: the barrier inside the loads proves that both flights are under way.
    #[test]
    fn batches_that_overlap_crosswise_end() {
        let (cache, _) = cache();
        for round in 0..50 {
            let (a, b) = (round * 2, round * 2 + 1);
            let (led, both) = (Barrier::new(2), Barrier::new(2));
            let run = |own: u32, other: u32| {
                let keys = [own, other];
                let mut batch = Batch::new(&keys[..1]);
                assert!(batch.look(&cache, LookupOptions::new()));
                led.wait();
                batch.keys.push(&keys[1]);
                batch.values.push(None);
                batch.open.push(1);
                assert!(batch.look(&cache, LookupOptions::new()));
                assert_eq!((batch.led.len(), batch.waiting.len()), (1, 1));
                both.wait();
                batch.report(tens(&batch.wanted())).unwrap();
                for (index, waiter) in batch.take_waiting() {
                    batch.land(index, waiter.wait_blocking()).unwrap();
                }
                assert_eq!(batch.into_values(), [own * 10, other * 10]);
            };
            std::thread::scope(|scope| {
                scope.spawn(|| run(a, b));
                scope.spawn(|| run(b, a));
            });
        }
        assert_eq!(cache.stats().loads, 100);
    }

    #[test]
    fn abandoned_flights_of_others_are_led_in_a_further_round() {
        let (cache, _) = cache();
        let foreign = [lead(&cache, 1), lead(&cache, 2)];
        let mut foreign = Some(foreign);
        let mut calls = Vec::new();
        let values = cache.get_or_load_many(&[1, 2, 3], LookupOptions::new(), |keys| {
            calls.push(keys.iter().map(|&&key| key).collect::<Vec<_>>());
            // The others give up while this caller loads its own.
            drop(foreign.take());
            tens(keys)
        });
        assert_eq!(values, Ok(vec![10, 20, 30]));
        assert_eq!(calls, [vec![3], vec![1, 2]]);
    }

    #[test]
    fn a_failure_of_another_leaves_own_values_stored() {
        let (cache, _) = cache();
        let mut foreign = Some(lead(&cache, 1));
        let values = cache.get_or_load_many(&[1, 2], LookupOptions::new(), |keys| {
            foreign.take().map(|leader| leader.fail("down"));
            tens(keys)
        });
        assert_eq!(values, Err(BatchError::Load("down")));
        assert_eq!(cache.get(&2), Some(20));
    }

    #[test]
    fn lookups_of_many_keys_keep_their_order() {
        let (cache, _) = cache();
        cache.insert(2, 2);
        let mut looked = cache.lookup_many(&[1, 2, 1], LookupOptions::new()).into_iter();
        let Some(Lookup::Lead(leader)) = looked.next() else {
            panic!("should lead")
        };
        assert!(matches!(looked.next(), Some(Lookup::Hit(found)) if found.value == 2));
        let Some(Lookup::Wait(waiter)) = looked.next() else {
            panic!("should wait")
        };
        leader.publish(1);
        assert_eq!(waiter.wait_blocking(), Outcome::Loaded(1));
    }
}
