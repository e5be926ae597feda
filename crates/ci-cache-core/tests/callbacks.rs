//! What users' code may do while an operation runs it: panic in a listener, a drop or a clone, or call the cache back.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use ci_cache_core::{Cache, CacheBuilder, Compute, Lookup, LookupOptions, ManualClock, Outcome};

/// Longer than any of these tests takes; over only if one would hang.
const LIMIT: Duration = Duration::from_secs(120);
const SECOND: Duration = Duration::from_secs(1);

/// A value whose drop or clone panics while a fuse is lit.
#[derive(Debug, PartialEq, Eq)]
struct Brittle(u32);

thread_local! {
    /// The drop of any value panics, once.
    static DROP: Cell<bool> = const { Cell::new(false) };
    /// Clones until one panics; negative for never.
    static CLONE: Cell<i64> = const { Cell::new(-1) };
}

impl Drop for Brittle {
    fn drop(&mut self) {
        assert!(!DROP.replace(false), "the value's own trouble");
    }
}

impl Clone for Brittle {
    fn clone(&self) -> Self {
        let left = CLONE.get();
        CLONE.set(left - 1);
        assert!(left != 0, "the clone's own trouble");
        Self(self.0)
    }
}

fn lead<V: Clone, E>(cache: &Cache<u32, V, E>, key: u32) -> bool {
    matches!(cache.lookup(&key, LookupOptions::new()), Lookup::Lead(_))
}

/// The look-up that begins a flight also meets what is to be told of and dropped. If that panics, nobody has the leader.
#[test]
fn a_lookup_that_panics_after_it_began_a_flight_leaves_none() {
    for (clears, by_drop) in [(false, false), (false, true), (true, false), (true, true)] {
        let clock = Arc::new(ManualClock::new());
        let lit = Arc::new(AtomicBool::new(false));
        let fuse = Arc::clone(&lit);
        let cache: Cache<u32, Brittle, ()> = CacheBuilder::new(8, clock.clone())
            .default_ttl(SECOND)
            .listener(move |_, _, _| {
                assert!(!fuse.swap(false, Ordering::Relaxed), "the listener's own trouble");
            })
            .build()
            .unwrap();
        cache.insert(1, Brittle(1));
        if clears {
            cache.clear();
        } else {
            clock.advance(SECOND);
        }
        lit.store(!by_drop, Ordering::Relaxed);
        DROP.set(by_drop);
        let looked = catch_unwind(AssertUnwindSafe(|| lead(&cache, 1)));
        assert!(looked.is_err(), "nothing panicked");
        assert_eq!(
            cache.in_flight(),
            0,
            "a flight without a leader: clears {clears}, drop {by_drop}"
        );
        assert!(lead(&cache, 1));
        assert_eq!(cache.stats().abandoned, 2);
        cache.validate().unwrap();
    }
}

/// A value published over a stale one, whose end the listener hears of and panics.
#[test]
fn a_publication_that_panics_ends_its_flight() {
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u32, u32, ()> = CacheBuilder::new(8, clock.clone())
        .default_ttl(SECOND)
        .stale_while_revalidate(SECOND)
        .shards(1)
        .listener(|_, _, _| panic!("the listener's own trouble"))
        .build()
        .unwrap();
    cache.insert(1, 1);
    clock.advance(SECOND);
    let Lookup::Stale(_, Some(leader)) = cache.lookup(&1, LookupOptions::new()) else {
        panic!("stale");
    };
    assert!(matches!(
        cache.lookup(&1, LookupOptions::new()),
        Lookup::Stale(_, None)
    ));
    assert!(catch_unwind(AssertUnwindSafe(|| leader.publish(2))).is_err());
    assert_eq!((cache.in_flight(), cache.get(&1)), (0, Some(2)));
}

/// Every clone that a failing load makes of the fallback may panic; the waiters end whichever does.
#[test]
fn a_clone_that_panics_while_a_load_fails_strands_no_waiter() {
    for nth in 0..4 {
        let clock = Arc::new(ManualClock::new());
        let cache: Cache<u32, Brittle, u32> = CacheBuilder::new(8, clock.clone())
            .default_ttl(SECOND)
            .stale_if_error(SECOND)
            .build()
            .unwrap();
        cache.insert(1, Brittle(1));
        clock.advance(SECOND);
        let (Lookup::Lead(leader), Lookup::Wait(waiter)) = (
            cache.lookup(&1, LookupOptions::new()),
            cache.lookup(&1, LookupOptions::new()),
        ) else {
            panic!("one leads, one waits");
        };
        CLONE.set(nth);
        let failed = catch_unwind(AssertUnwindSafe(|| leader.fail(7)));
        CLONE.set(-1);
        let outcome = waiter.wait_blocking_for(LIMIT).expect("stranded");
        match failed {
            Err(_) => assert_eq!(outcome, Outcome::Abandoned),
            Ok(fallback) => {
                assert_eq!(fallback, Some(Brittle(1)));
                assert_eq!(
                    outcome,
                    Outcome::Fallback {
                        value: Brittle(1),
                        error: 7
                    }
                );
            }
        }
        assert_eq!(cache.in_flight(), 0);
        cache.validate().unwrap();
    }
}

/// The listener and the drops of values may use the cache: resize it, too, while it is being resized.
#[test]
fn a_listener_may_resize_during_a_resize() {
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let handle: Arc<OnceLock<Cache<u32, u32>>> = Arc::default();
        let inner = Arc::clone(&handle);
        let cache: Cache<u32, u32> = CacheBuilder::new(100, Arc::new(ManualClock::new()))
            .shards(4)
            .listener(move |_, _, _| {
                if let Some(cache) = inner.get()
                    && cache.capacity() == 20
                {
                    cache.resize(60).unwrap();
                }
            })
            .build()
            .unwrap();
        (0..200).for_each(|key| cache.insert(key, key));
        handle.set(cache.clone()).unwrap();
        cache.resize(20).unwrap();
        // The younger wish holds, in every shard.
        cache.validate().unwrap();
        (1_000..2_000).for_each(|key| cache.insert(key, key));
        done.send((cache.capacity(), cache.len())).unwrap();
    });
    assert_eq!(is_done.recv_timeout(LIMIT), Ok((60, 60)));
}

type CalledCache = Cache<u32, Calling, ()>;

thread_local! {
    /// The cache that dropped values call.
    static CALLED: RefCell<Option<CalledCache>> = const { RefCell::new(None) };
}

/// A value whose drop changes the cache.
#[derive(Debug, Clone)]
struct Calling;

impl Drop for Calling {
    fn drop(&mut self) {
        if let Some(cache) = CALLED.take() {
            cache.remove(&7);
            CALLED.set(Some(cache));
        }
    }
}

/// A weigher or an expiry function that panics: the value leaves the lock all the same before it is dropped.
#[test]
fn a_weigher_that_panics_drops_the_value_outside_the_lock() {
    let ways: [fn(&CalledCache); 3] = [
        |cache| cache.insert(1, Calling),
        |cache| drop(cache.get_or_load(&1, LookupOptions::new(), || Ok(Calling))),
        |cache| drop(cache.compute(1, |_| Compute::Put(Calling))),
    ];
    for way in ways {
        for weighs in [true, false] {
            let (done, is_done) = mpsc::channel();
            std::thread::spawn(move || {
                let builder = CacheBuilder::new(8, Arc::new(ManualClock::new()));
                let builder = if weighs {
                    builder.weigher(|_, _| panic!("the weigher's own trouble"))
                } else {
                    builder.expiry(|_, _| panic!("the expiry's own trouble"))
                };
                let cache: CalledCache = builder.build().unwrap();
                CALLED.set(Some(cache.clone()));
                assert!(catch_unwind(AssertUnwindSafe(|| way(&cache))).is_err());
                drop(CALLED.take());
                assert_eq!((cache.len(), cache.in_flight()), (0, 0));
                cache.validate().unwrap();
                done.send(()).unwrap();
            });
            assert_eq!(is_done.recv_timeout(LIMIT), Ok(()));
        }
    }
}
