//! Flights against what overtakes them, under loom: P1 to P4 of the testing page.
//!
//! The source of truth is one number, which a writer replaces before it invalidates. Whoever begins a look-up after the
//! invalidation returned must get the new number, from whatever flight or entry it comes.

use loom::future::block_on;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use std::sync::Arc;

use super::{ModelCache, cache, catches};
use crate::{Leader, Lookup, LookupOptions, Outcome, Scope};

const KEY: u8 = 7;
const OLD: u64 = 1;
const NEW: u64 = 2;

/// A cache in front of a source.
struct World {
    cache: ModelCache,
    scope: Scope,
    source: AtomicU64,
}

/// How a thread waits for a flight.
#[derive(Debug, Clone, Copy)]
enum Wait {
    Blocking,
    Polling,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            cache: cache(4),
            scope: Scope::new(),
            source: AtomicU64::new(OLD),
        })
    }

    fn lookup(&self) -> Lookup<u8, u64, &'static str> {
        self.cache.lookup(&KEY, LookupOptions::new().scope(&self.scope))
    }

    fn lead(&self) -> Leader<u8, u64, &'static str> {
        match self.lookup() {
            Lookup::Lead(leader) => leader,
            other => panic!("nobody else looks up yet: {other:?}"),
        }
    }

    /// Loads and publishes.
    fn load(&self, leader: Leader<u8, u64, &'static str>) -> u64 {
        let value = self.source.load(Ordering::SeqCst);
        leader.publish(value);
        value
    }

    /// Gets the value in the ordinary way, loading if need be.
    fn get(&self, wait: Wait) -> u64 {
        loop {
            let outcome = match self.lookup() {
                Lookup::Hit(found) => return found.value,
                Lookup::Lead(leader) => return self.load(leader),
                Lookup::Stale(..) => panic!("no window is open"),
                Lookup::Wait(waiter) => match wait {
                    Wait::Blocking => waiter.wait_blocking(),
                    Wait::Polling => block_on(waiter),
                },
            };
            match outcome {
                Outcome::Loaded(value) => return value,
                Outcome::Abandoned => {}
                other => panic!("nobody failed: {other:?}"),
            }
        }
    }

    /// Checks what holds when all threads have ended.
    fn check_at_rest(&self, expected: u64) {
        assert_eq!(self.cache.in_flight(), 0, "a flight is left");
        self.cache.validate().unwrap();
        let kept = self.cache.get(&KEY);
        assert!(
            kept.is_none_or(|value| value == expected),
            "an overtaken load is kept"
        );
    }
}

fn spawn(world: &Arc<World>, act: impl FnOnce(&World) + 'static) -> thread::JoinHandle<()> {
    let world = Arc::clone(world);
    thread::spawn(move || act(&world))
}

/// Explores with at most so many changes of thread that nobody asked for.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 50_000;
    builder.check(model);
}

/// A leader loads, a waiter joins or not, an overtaker changes the source, invalidates, and looks up.
fn overtaken(preemptions: usize, overtake: fn(&World)) {
    explore(preemptions, move || {
        let world = World::new();
        let leader = world.lead();
        let waiter = spawn(&world, |world| {
            let value = world.get(Wait::Blocking);
            assert!([OLD, NEW].contains(&value));
        });
        let overtaker = spawn(&world, move |world| {
            world.source.store(NEW, Ordering::SeqCst);
            overtake(world);
            assert_eq!(
                world.get(Wait::Blocking),
                NEW,
                "an old value after the invalidation"
            );
        });
        world.load(leader);
        waiter.join().unwrap();
        overtaker.join().unwrap();
        world.check_at_rest(NEW);
    });
}

#[test]
fn a_removal_overtakes() {
    overtaken(3, |world| drop(world.cache.remove(&KEY)));
}

#[test]
fn an_invalidation_of_the_scope_overtakes() {
    overtaken(3, |world| world.scope.invalidate());
}

#[test]
fn a_clear_overtakes() {
    overtaken(3, |world| world.cache.clear());
}

#[test]
fn an_insertion_overtakes() {
    overtaken(3, |world| world.cache.insert(KEY, NEW));
}

#[test]
fn a_sweep_overtakes() {
    overtaken(3, |world| {
        world.cache.remove_where(|key, _| *key == KEY);
    });
}

/// One leader ends as told, two threads want the value.
fn abandoned(preemptions: usize, wait: Wait) {
    explore(preemptions, move || {
        let world = World::new();
        let leader = world.lead();
        let threads = [(); 2].map(|()| {
            spawn(&world, move |world| {
                assert_eq!(world.get(wait), OLD);
            })
        });
        drop(leader);
        threads.map(|thread| thread.join().unwrap());
        assert_eq!(world.cache.stats().abandoned, 1);
        assert_eq!(world.cache.stats().loads, 2, "one load and the abandoned one");
        world.check_at_rest(OLD);
    });
}

#[test]
fn of_two_blocked_threads_one_takes_over_from_a_dropped_leader() {
    abandoned(2, Wait::Blocking);
}

#[test]
fn of_two_tasks_one_takes_over_from_a_dropped_leader() {
    abandoned(2, Wait::Polling);
}

/// A waiter that is told to look up again and never does leaves the way free for the other.
#[test]
fn a_promoted_waiter_that_goes_away_holds_nobody_up() {
    explore(3, || {
        let world = World::new();
        let leader = world.lead();
        let fickle = spawn(&world, |world| {
            if let Lookup::Wait(waiter) = world.lookup() {
                drop(waiter.wait_blocking());
            }
        });
        let steady = spawn(&world, |world| assert_eq!(world.get(Wait::Blocking), OLD));
        drop(leader);
        fickle.join().unwrap();
        steady.join().unwrap();
        world.check_at_rest(OLD);
    });
}

/// A waiter dropped at any point of the landing takes no other's waking with it.
#[test]
fn a_waiter_dropped_during_the_landing_disturbs_nobody() {
    explore(4, || {
        let world = World::new();
        let leader = world.lead();
        let Lookup::Wait(mut fickle) = world.lookup() else {
            panic!("a flight is running")
        };
        let Lookup::Wait(steady) = world.lookup() else {
            panic!("a flight is running")
        };
        let task = thread::spawn(move || {
            let mut steady = steady;
            let poll_both = std::future::poll_fn(|cx| {
                let _ = std::pin::Pin::new(&mut fickle).poll(cx);
                std::pin::Pin::new(&mut steady).poll(cx)
            });
            let mut poll_both = std::pin::pin!(poll_both);
            // The first poll registers both; then the fickle one goes.
            let once =
                std::future::poll_fn(|cx| std::task::Poll::Ready(poll_both.as_mut().poll(cx).is_ready()));
            if !block_on(once) {
                assert_eq!(block_on(poll_both), Outcome::Loaded(OLD));
            }
            drop(fickle);
        });
        world.load(leader);
        task.join().unwrap();
        world.check_at_rest(OLD);
    });
}

/// Two threads meet an empty cache: one load, whoever begins it.
#[test]
fn two_threads_run_one_load() {
    explore(4, || {
        let world = World::new();
        let other = spawn(&world, |world| assert_eq!(world.get(Wait::Polling), OLD));
        assert_eq!(world.get(Wait::Blocking), OLD);
        other.join().unwrap();
        assert_eq!(world.cache.stats().loads, 1);
        world.check_at_rest(OLD);
    });
}

#[test]
fn broken_flight_rules_are_noticed() {
    let old = "an old value after the invalidation";
    for (model, rule, symptom) in [
        ("a_removal_overtakes", "RemovalForgetsFlights", old),
        ("an_insertion_overtakes", "RemovalForgetsFlights", ""),
        ("an_invalidation_of_the_scope_overtakes", "JoinsOlderFlights", old),
        (
            "an_invalidation_of_the_scope_overtakes",
            "StampsAtPublication",
            old,
        ),
    ] {
        catches(&format!("models::flights::{model}"), rule, symptom);
    }
}
