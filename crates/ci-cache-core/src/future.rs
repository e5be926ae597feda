//! Getting a value or loading it: the awaiting form, for any runtime. Feature `async`.

use std::borrow::ToOwned;
use std::fmt;
use std::hash::{BuildHasher, Hash};

use hashbrown::Equivalent;

use crate::batch::{Batch, BatchError};
use crate::cache::Cache;
use crate::entry::LookupOptions;
use crate::leader::Lookup;
use crate::load::{lead, settled};

/// The same operations as the cache's, awaiting where those block: `cache.awaiting().get_or_load(...).await`.
///
/// A view with the same words instead of functions with a suffix. It knows no runtime: the futures are woken by whoever
/// settles the flight, from a task or a plain thread, and the two faces share flights with each other.
pub struct Awaiting<'a, K, V, E, S> {
    cache: &'a Cache<K, V, E, S>,
}

impl<K, V, E, S> Cache<K, V, E, S> {
    /// Gives the view whose operations await instead of blocking.
    pub fn awaiting(&self) -> Awaiting<'_, K, V, E, S> {
        Awaiting { cache: self }
    }
}

impl<K, V, E, S> Awaiting<'_, K, V, E, S>
where
    K: Hash + Eq,
    V: Clone,
    E: Clone,
    S: BuildHasher,
{
    /// Gets the value or loads it: simultaneous callers share one load.
    ///
    /// `load` is called, and its future polled, only by the caller that leads, as a part of this future. Of a value in its
    /// stale-while-revalidate window one caller loads anew, and the others get it as it is. The load must not await the
    /// same key.
    ///
    /// Cancel safety: may be dropped at any time. A leader's load is dropped with it, its flight is abandoned, and one of
    /// the waiters takes over with its own `load`; a dropped waiter affects nobody. To let a load survive its caller,
    /// run the call in a task of its own.
    ///
    /// Cost: a hit that is never pending; otherwise as [`Cache::get_or_load`], and a waker per waiter.
    ///
    /// # Errors
    /// The leader's error, a clone for each caller that waited, unless there is a value with an open stale window.
    /// Errors are not cached.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use ci_cache_core::{Cache, LookupOptions, ManualClock};
    /// # async fn answer() -> Result<u32, &'static str> { Ok(42) }
    /// # tokio_test::block_on(async {
    /// let cache: Cache<String, u32, &str> =
    ///     Cache::<String, u32>::builder(100, Arc::new(ManualClock::new())).build().unwrap();
    /// let value = cache.awaiting().get_or_load("question", LookupOptions::new(), || answer()).await;
    /// assert_eq!(value, Ok(42));
    /// # });
    /// ```
    pub async fn get_or_load<Q, L>(
        self,
        key: &Q,
        options: LookupOptions<'_>,
        load: impl FnOnce() -> L,
    ) -> Result<V, E>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K>,
        L: Future<Output = Result<V, E>>,
    {
        loop {
            match self.cache.lookup(key, options) {
                Lookup::Hit(found) | Lookup::Stale(found, None) => return Ok(found.value),
                Lookup::Lead(leader) | Lookup::Stale(_, Some(leader)) => return lead(leader, load().await),
                Lookup::Wait(waiter) => {
                    if let Some(result) = settled(waiter.await) {
                        return result;
                    }
                }
            }
        }
    }

    /// Gets the values of many keys and loads those that are missing together; see [`Cache::get_or_load_many`], of which
    /// this is the awaiting form.
    ///
    /// Cancel safety: may be dropped at any time. Flights that it leads and has not published are abandoned, and their
    /// waiters take over; what it has published stays.
    ///
    /// # Errors
    /// As of [`Cache::get_or_load_many`].
    pub async fn get_or_load_many<'q, Q, L>(
        self,
        keys: impl IntoIterator<Item = &'q Q>,
        options: LookupOptions<'_>,
        mut load: impl FnMut(Vec<&'q Q>) -> L,
    ) -> Result<Vec<V>, BatchError<E>>
    where
        Q: ?Sized + Hash + Equivalent<K> + ToOwned<Owned = K> + 'q,
        L: Future<Output = Result<Vec<V>, E>>,
    {
        let mut batch = Batch::new(keys);
        while batch.look(self.cache, options) {
            if !batch.led.is_empty() {
                let loaded = load(batch.wanted()).await;
                batch.report(loaded)?;
            }
            for (index, waiter) in batch.take_waiting() {
                batch.land(index, waiter.await)?;
            }
        }
        Ok(batch.into_values())
    }
}

impl<K, V, E, S> Clone for Awaiting<'_, K, V, E, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<K, V, E, S> Copy for Awaiting<'_, K, V, E, S> {}

impl<K, V, E, S> fmt::Debug for Awaiting<'_, K, V, E, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Awaiting").field(self.cache).finish()
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use std::pin::Pin;
    use std::sync::Arc;
    use std::task::{Context, Poll};

    use tokio_test::{assert_pending, assert_ready, assert_ready_eq, task};

    use super::*;
    use crate::clock::ManualClock;

    type TestCache = Cache<u32, u32, &'static str>;
    /// How often a test's load is pending.
    const STEPS: usize = 3;

    /// Pending so many times, and ready then; wakes itself.
    struct Steps(usize);

    impl Future for Steps {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            if self.0 == 0 {
                return Poll::Ready(());
            }
            self.0 -= 1;
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    }

    fn cache() -> TestCache {
        TestCache::builder(64, Arc::new(ManualClock::new()))
            .build()
            .unwrap()
    }

    async fn one(cache: &TestCache, key: u32) -> Result<u32, &'static str> {
        let load = || async move {
            Steps(STEPS).await;
            Ok(key * 10)
        };
        cache
            .awaiting()
            .get_or_load(&key, LookupOptions::new(), load)
            .await
    }

    async fn many(cache: &TestCache, keys: &[u32]) -> Result<Vec<u32>, BatchError<&'static str>> {
        let load = |keys: Vec<&u32>| {
            let values = keys.into_iter().map(|key| key * 10).collect();
            async move {
                Steps(STEPS).await;
                Ok(values)
            }
        };
        cache
            .awaiting()
            .get_or_load_many(keys, LookupOptions::new(), load)
            .await
    }

    fn poll_until_ready<T>(mut task: task::Spawn<impl Future<Output = T>>) -> T {
        for _ in 0..4 * STEPS {
            if let Poll::Ready(value) = task.poll() {
                return value;
            }
            assert!(task.is_woken(), "pending without a waker to come");
        }
        panic!("never ready");
    }

    #[test]
    fn waiters_share_the_load_of_the_first() {
        let cache = cache();
        let mut leader = task::spawn(one(&cache, 1));
        let mut waiter = task::spawn(one(&cache, 1));
        assert_pending!(leader.poll());
        assert_pending!(waiter.poll());
        assert_eq!(poll_until_ready(leader), Ok(10));
        assert!(waiter.is_woken());
        assert_ready_eq!(waiter.poll(), Ok(10));
        let mut hit = task::spawn(one(&cache, 1));
        assert_ready_eq!(hit.poll(), Ok(10));
        assert_eq!(cache.stats().loads, 1);
    }

    /// A leader dropped at its n-th poll, for every n: the waiters wake, one takes over, the others get its value.
    #[test]
    fn a_leader_may_be_dropped_at_any_poll() {
        for polls in 0..=STEPS {
            let cache = cache();
            let mut leader = task::spawn(one(&cache, 1));
            for _ in 0..polls {
                assert_pending!(leader.poll());
            }
            let mut waiters = [task::spawn(one(&cache, 1)), task::spawn(one(&cache, 1))];
            for waiter in &mut waiters {
                assert_pending!(waiter.poll());
            }
            drop(leader);
            let [first, mut second] = waiters;
            assert!(polls == 0 || (first.is_woken() && second.is_woken()));
            assert_pending!(second.poll());
            assert_eq!(poll_until_ready(first_or(first, &mut second)), Ok(10));
            assert_eq!(cache.in_flight(), 0);
            assert_eq!(cache.get(&1), Some(10));
            cache.validate().unwrap();
        }
    }

    /// Drives both until one is ready, and gives a future of the first's result.
    fn first_or<'a, F: Future<Output = Result<u32, &'static str>> + 'a>(
        mut first: task::Spawn<F>,
        second: &'a mut task::Spawn<F>,
    ) -> task::Spawn<impl Future<Output = Result<u32, &'static str>> + 'a> {
        task::spawn(std::future::poll_fn(move |cx| {
            cx.waker().wake_by_ref();
            if let Poll::Ready(value) = second.poll() {
                return Poll::Ready(value);
            }
            first.poll()
        }))
    }

    /// A waiter dropped at its n-th poll affects nobody.
    #[test]
    fn a_waiter_may_be_dropped_at_any_poll() {
        for polls in 0..=STEPS {
            let cache = cache();
            let mut leader = task::spawn(one(&cache, 1));
            assert_pending!(leader.poll());
            let mut dropped = task::spawn(one(&cache, 1));
            for _ in 0..polls {
                assert_pending!(dropped.poll());
            }
            let mut waiter = task::spawn(one(&cache, 1));
            assert_pending!(waiter.poll());
            drop(dropped);
            assert_eq!(poll_until_ready(leader), Ok(10));
            assert_ready_eq!(waiter.poll(), Ok(10));
        }
    }

    /// A batch dropped at its n-th poll abandons what it leads; a batch that waited takes over.
    #[test]
    fn a_batch_may_be_dropped_at_any_poll() {
        for polls in 1..=STEPS {
            let cache = cache();
            let mut first = task::spawn(many(&cache, &[1, 2]));
            for _ in 0..polls {
                assert_pending!(first.poll());
            }
            let mut second = task::spawn(many(&cache, &[3, 2, 1, 3]));
            while cache.get(&3).is_none() {
                assert_pending!(second.poll());
            }
            drop(first);
            assert!(second.is_woken());
            assert_eq!(poll_until_ready(second), Ok(vec![30, 20, 10, 30]));
            assert_eq!((cache.in_flight(), cache.stats().abandoned), (0, 2));
        }
    }

    #[test]
    fn batches_that_overlap_crosswise_end() {
        let cache = cache();
        let foreign = match cache.lookup(&2, LookupOptions::new()) {
            Lookup::Lead(leader) => leader,
            other => panic!("should lead, got {other:?}"),
        };
        let mut first = task::spawn(many(&cache, &[1, 2]));
        let mut second = task::spawn(many(&cache, &[3, 1, 2]));
        assert_pending!(first.poll());
        assert_pending!(second.poll());
        // Whatever each still waits for, its own keys are published first.
        for _ in 0..=STEPS {
            assert_pending!(first.poll());
            assert_pending!(second.poll());
        }
        assert_eq!((cache.peek(&1), cache.peek(&3)), (Some(10), Some(30)));
        foreign.publish(7);
        assert_ready_eq!(first.poll(), Ok(vec![10, 7]));
        assert_ready_eq!(second.poll(), Ok(vec![30, 10, 7]));
    }

    #[test]
    fn failures_are_shared_and_futures_can_move_between_threads() {
        fn sendable<T: Send>(future: T) -> T {
            future
        }
        let cache = cache();
        let failing = || async { Err("down") };
        let mut failed = task::spawn(sendable(cache.awaiting().get_or_load(
            &1,
            LookupOptions::new(),
            failing,
        )));
        assert_ready_eq!(failed.poll(), Err("down"));
        let mut batch = task::spawn(sendable(cache.awaiting().get_or_load_many(
            &[1, 2],
            LookupOptions::new(),
            |_| async { Ok(vec![1]) },
        )));
        let error = assert_ready!(batch.poll()).unwrap_err();
        assert_eq!(error, BatchError::Count { expected: 2, got: 1 });
        assert!(format!("{:?}", cache.awaiting()).starts_with("Awaiting(Cache"));
    }
}
