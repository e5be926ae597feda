//! Races that other caches lose, each with threads in lock step: nothing sleeps, nothing is left to luck.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests panic where something is not as it should be"
)]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier};

use ci_cache_core::{Cache, CacheBuilder, Lookup, LookupOptions, ManualClock, Outcome, Scope};

type TestCache = Cache<u32, u64, usize>;

fn cache() -> TestCache {
    CacheBuilder::new(100, Arc::new(ManualClock::new()))
        .build()
        .unwrap()
}

/// A load that says when it has read its source and goes on when told.
struct Gate {
    has_read: Sender<()>,
    go_on: Receiver<()>,
}

fn gate() -> (Gate, Receiver<()>, Sender<()>) {
    let (has_read, reads) = channel();
    let (goes, go_on) = channel();
    (Gate { has_read, go_on }, reads, goes)
}

/// Begins a load of key 1 on a thread, runs `overtake` once the old value is read, and gives what the loader and a waiter
/// from before got.
fn overtaken_by(cache: &TestCache, scope: &Scope, overtake: impl FnOnce()) -> (u64, Outcome<u64, usize>) {
    let (gate, reads, goes) = gate();
    std::thread::scope(|threads| {
        let first = threads.spawn(|| {
            cache.get_or_load(&1, LookupOptions::new().scope(scope), move || {
                gate.has_read.send(()).unwrap();
                gate.go_on.recv().unwrap();
                Ok(1)
            })
        });
        reads.recv().unwrap();
        let Lookup::Wait(waiter) = cache.lookup(&1, LookupOptions::new().scope(scope)) else {
            panic!("the flight is under way");
        };
        overtake();
        // Whoever comes after the invalidation does not join the older flight, though it is still under way.
        let Lookup::Lead(younger) = cache.lookup(&1, LookupOptions::new().scope(scope)) else {
            panic!("should begin a flight of its own");
        };
        goes.send(()).unwrap();
        let loaded = first.join().unwrap().unwrap();
        assert_eq!(cache.get(&1), None, "the overtaken value was kept");
        let joined = cache.lookup(&1, LookupOptions::new().scope(scope));
        assert!(younger.publish(2), "the older flight's end touched the younger");
        let Lookup::Wait(joined) = joined else {
            panic!("should join the younger flight")
        };
        assert_eq!(
            (joined.wait_blocking(), cache.get(&1)),
            (Outcome::Loaded(2), Some(2))
        );
        (loaded, waiter.wait_blocking())
    })
}

/// moka's `get_with` stores what a load returns although `invalidate` of its key came between.
#[test]
fn a_load_overtaken_by_an_invalidation_of_its_key_is_answered_and_not_kept() {
    let (cache, scope) = (cache(), Scope::new());
    let answers = overtaken_by(&cache, &scope, || assert_eq!(cache.remove(&1), None));
    assert_eq!(answers, (1, Outcome::Loaded(1)));
    assert_eq!((cache.stats().refused, cache.stats().loads), (1, 2));
}

#[test]
fn so_is_one_overtaken_by_an_invalidation_of_its_scope() {
    let (cache, scope) = (cache(), Scope::new());
    let answers = overtaken_by(&cache, &scope, || scope.invalidate());
    assert_eq!(answers, (1, Outcome::Loaded(1)));
    assert_eq!(cache.stats().refused, 1);
}

#[test]
fn so_is_one_overtaken_by_a_clear() {
    let (cache, scope) = (cache(), Scope::new());
    let answers = overtaken_by(&cache, &scope, || cache.clear());
    assert_eq!(answers, (1, Outcome::Loaded(1)));
    assert_eq!(cache.stats().refused, 1);
}

const CALLERS: usize = 1_000;

/// Lets a thousand threads ask for one key at once; gives how many loads ran, and every answer.
fn stampede(failures: usize) -> (usize, Vec<Result<u64, usize>>) {
    let (cache, loads, barrier) = (cache(), AtomicUsize::new(0), Barrier::new(CALLERS));
    // A load ends once everybody who takes part in it has looked up: nobody is late for it.
    let waiting = |joined: u64| {
        while cache.stats().coalesced < joined {
            std::thread::yield_now();
        }
    };
    let ask = || {
        barrier.wait();
        loop {
            let load = || {
                let load = loads.fetch_add(1, Ordering::SeqCst);
                if load == 0 {
                    waiting(CALLERS as u64 - 1);
                }
                if load < failures { Err(load) } else { Ok(9) }
            };
            let answer = cache.get_or_load(&1, LookupOptions::new(), load);
            // A caller whose load failed asks again.
            if answer.is_ok() || failures == 0 {
                return answer;
            }
        }
    };
    let answers = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CALLERS)
            .map(|_| {
                std::thread::Builder::new()
                    .stack_size(1 << 16)
                    .spawn_scoped(scope, ask)
                    .unwrap()
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    cache.validate().unwrap();
    assert_eq!(cache.in_flight(), 0);
    (loads.into_inner(), answers)
}

#[test]
fn a_stampede_of_a_thousand_callers_causes_one_load() {
    let (loads, answers) = stampede(0);
    assert_eq!(loads, 1);
    assert!(answers.iter().all(|answer| *answer == Ok(9)));
}

#[test]
fn a_leader_that_fails_three_times_is_followed_by_three_more_loads() {
    let (loads, answers) = stampede(3);
    assert_eq!(loads, 4);
    assert!(answers.iter().all(|answer| *answer == Ok(9)));
}
