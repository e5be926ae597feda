//! Larger programs under shuttle: four threads, three keys, everything that can happen to a flight, in random order.
//!
//! Each key has a source, a number that only grows. Whoever invalidates a key raises its source first and its floor once the
//! invalidation returned; a look-up remembers the floor before it starts and must never get less.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

use shuttle::rand::{Rng, thread_rng};
use shuttle::sync::atomic::{AtomicU64, Ordering};
use shuttle::thread;

use super::schedules::{few_changes, is_long, random};
use super::{ModelCache, cache, catches};
use crate::{Leader, Lookup, LookupOptions, Outcome, Scope};

const KEYS: usize = 3;
const THREADS: usize = 4;
/// Steps of one thread.
const STEPS: usize = 4;

/// The cache, its scope, and per key what it stands for.
struct World {
    cache: ModelCache,
    scope: Scope,
    /// What a load reads.
    source: [AtomicU64; KEYS],
    /// No look-up that starts now may get less.
    floor: [AtomicU64; KEYS],
    /// How many changes have ended; the source counts those that began.
    ended: [AtomicU64; KEYS],
    /// Loads that run now, by key: for each how many changes had ended before the look-up that began it.
    running: [Mutex<Vec<u64>>; KEYS],
    /// What was seen on the way.
    seen: Arc<Mutex<HashSet<&'static str>>>,
}

impl World {
    fn saw(&self, what: &'static str) {
        // Not shuttle's: being seen must not change the schedule.
        self.seen.lock().unwrap().insert(what);
    }

    fn check(&self, key: usize, floor: u64, value: u64) {
        assert!(
            value >= floor,
            "key {key}: {value} after {floor} was acknowledged"
        );
    }

    /// Raises the source, does `invalidate`, and acknowledges.
    fn change(&self, keys: std::ops::Range<usize>, invalidate: impl FnOnce(&Self)) {
        let raised: Vec<u64> = keys
            .clone()
            .map(|key| self.source[key].fetch_add(1, Ordering::SeqCst) + 1)
            .collect();
        invalidate(self);
        for (key, floor) in keys.zip(raised) {
            self.floor[key].fetch_max(floor, Ordering::SeqCst);
            self.ended[key].fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Ends a flight in one of the ways there are.
    fn land(&self, key: usize, leader: Leader<u8, u64, &'static str>) -> Option<u64> {
        let value = self.source[key].load(Ordering::SeqCst);
        match thread_rng().gen_range(0..8) {
            0 => {
                self.saw("cancelled leader");
                drop(leader);
                None
            }
            1 => {
                self.saw("panicked leader");
                let load = AssertUnwindSafe(|| {
                    let _leader = leader;
                    std::panic::resume_unwind(Box::new("the load's own trouble"));
                });
                catch_unwind(load).unwrap_err();
                None
            }
            2 => {
                assert_eq!(leader.fail("down"), None);
                None
            }
            3 => {
                leader.answer(value);
                Some(value)
            }
            _ => {
                if !leader.publish(value) {
                    self.saw("refused publish");
                }
                Some(value)
            }
        }
    }

    /// Looks a key up and sees it through, as often as it takes.
    fn lookup(&self, key: usize) {
        let name = key as u8;
        let floor = self.floor[key].load(Ordering::SeqCst);
        loop {
            let before = self.ended[key].load(Ordering::SeqCst);
            match self.cache.lookup(&name, LookupOptions::new().scope(&self.scope)) {
                Lookup::Hit(found) => {
                    self.saw("hit");
                    return self.check(key, floor, found.value);
                }
                Lookup::Stale(..) => panic!("no window is open"),
                Lookup::Lead(leader) => {
                    self.takes_off(key, before);
                    thread::yield_now();
                    self.lands(key, before);
                    let value = self.land(key, leader);
                    return value.map_or((), |value| self.check(key, floor, value));
                }
                Lookup::Wait(waiter) => match waiter.wait_blocking() {
                    Outcome::Loaded(value) => {
                        self.saw("coalesced");
                        return self.check(key, floor, value);
                    }
                    Outcome::Failed(_) => return,
                    Outcome::Abandoned => self.saw("promoted waiter"),
                    Outcome::Fallback { .. } => panic!("no window is open"),
                },
            }
        }
    }

    /// Checks that nobody loads the key already, unless something overtook one of the two loads since.
    fn takes_off(&self, key: usize, before: u64) {
        let now = self.source[key].load(Ordering::SeqCst);
        let mut running = self.running[key].lock().unwrap();
        assert!(
            running.iter().all(|&other| other.min(before) < now),
            "two live flights of key {key}"
        );
        running.push(before);
    }

    fn lands(&self, key: usize, before: u64) {
        let mut running = self.running[key].lock().unwrap();
        if let Some(at) = running.iter().position(|&other| other == before) {
            running.swap_remove(at);
        }
    }

    fn step(&self) {
        let key = thread_rng().gen_range(0..KEYS);
        let name = key as u8;
        match thread_rng().gen_range(0..16) {
            0..=6 => self.lookup(key),
            7..=9 => {
                let floor = self.floor[key].load(Ordering::SeqCst);
                if let Some(value) = self.cache.get(&name) {
                    self.check(key, floor, value);
                }
            }
            10 | 11 => self.change(key..key + 1, |world| drop(world.cache.remove(&name))),
            12 => self.change(0..KEYS, |world| world.scope.invalidate()),
            13 => self.change(0..KEYS, |world| world.cache.clear()),
            14 => self.cache.resize(thread_rng().gen_range(1..4)).unwrap(),
            _ => self.change(key..key + 1, |world| {
                world.cache.remove_where(|other, _| *other == name);
            }),
        }
    }
}

/// One program: the threads, and what holds when they have ended.
fn storm(seen: &Arc<Mutex<HashSet<&'static str>>>) {
    let world = Arc::new(World {
        cache: cache(2),
        scope: Scope::new(),
        source: [const { 0 }; KEYS].map(AtomicU64::new),
        floor: [const { 0 }; KEYS].map(AtomicU64::new),
        ended: [const { 0 }; KEYS].map(AtomicU64::new),
        running: [const { Vec::new() }; KEYS].map(Mutex::new),
        seen: Arc::clone(seen),
    });
    let threads = [(); THREADS].map(|()| {
        let world = Arc::clone(&world);
        thread::spawn(move || (0..STEPS).for_each(|_| world.step()))
    });
    threads.map(|thread| thread.join().unwrap());
    world.cache.validate().unwrap();
    assert_eq!(world.cache.in_flight(), 0, "a flight is left");
    for key in 0..KEYS {
        if let Some(value) = world.cache.get(&(key as u8)) {
            world.check(key, world.floor[key].load(Ordering::SeqCst), value);
        }
    }
    if world.cache.stats().evictions > 0 {
        world.saw("eviction");
    }
}

/// Schedules of each kind: 20,000, or 300,000 of a long run.
fn schedules() -> usize {
    if is_long() { 300_000 } else { 20_000 }
}

/// What a campaign must have met to prove anything.
const SOMETIMES: [&str; 7] = [
    "hit",
    "coalesced",
    "promoted waiter",
    "cancelled leader",
    "panicked leader",
    "refused publish",
    "eviction",
];

fn campaign(run: impl FnOnce(Box<dyn Fn() + Send + Sync>)) {
    let seen = Arc::new(Mutex::new(HashSet::new()));
    let inner = Arc::clone(&seen);
    run(Box::new(move || storm(&inner)));
    let seen = seen.lock().unwrap();
    for what in SOMETIMES {
        assert!(seen.contains(what), "never met: {what}");
    }
}

#[test]
fn a_storm_in_random_order() {
    campaign(|program| random(schedules(), program));
}

#[test]
fn a_storm_in_orders_that_seek_trouble() {
    campaign(|program| few_changes(schedules(), program));
}

#[test]
fn broken_rules_are_noticed() {
    let model = "models::storm::a_storm_in_random_order";
    for rule in [
        "JoinsOlderFlights",
        "RemovalForgetsFlights",
        "StampsAtPublication",
    ] {
        catches(model, rule, "was acknowledged");
    }
    for rule in ["ReleaseWakes", "WakingQueues"] {
        catches(model, rule, "deadlock");
    }
}
