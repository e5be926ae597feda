//! Coherence under shuttle: writers, a feed with gaps, loads that end in every way, and readers, in random order.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use shuttle::rand::{Rng, thread_rng};
use shuttle::thread;

use super::catches;
use super::one_row::{RowLeader, Source};
use super::schedules::{few_changes, is_long, random};
use crate::coherence::Published;
use crate::{Lookup, Outcome};

const KEYS: u8 = 3;
const THREADS: usize = 4;
/// Steps of one thread.
const STEPS: usize = 5;

type Seen = Arc<Mutex<HashSet<&'static str>>>;

/// Ends a load, in one of the ways there are. It may have read a replica that lags behind.
fn land(source: &Source, leader: RowLeader, old: u64, seen: &Seen) {
    let lags = thread_rng().gen_range(0..3) == 0;
    let snapshot = if lags { old } else { source.snapshot() };
    thread::yield_now();
    if thread_rng().gen_range(0..6) == 0 {
        seen.lock().unwrap().insert("cancelled");
        return drop(leader);
    }
    let what = match source.publish(leader, snapshot).ending {
        Published::Kept => "kept",
        Published::Overtaken(_) => "overtaken",
        Published::Floor => "floor",
        Published::Detached => "detached",
        Published::Rejected => "rejected",
        other => panic!("there is one epoch, and everything is filed: {other:?}"),
    };
    seen.lock().unwrap().insert(what);
}

fn step(source: &Source, seen: &Seen) {
    let key = thread_rng().gen_range(0..KEYS);
    match thread_rng().gen_range(0..16) {
        0..=6 => {
            let old = source.snapshot();
            let mark = source.cache.mark();
            match source.lookup(key) {
                Lookup::Hit(found) => {
                    seen.lock().unwrap().insert("hit");
                    Source::check(mark.as_ref(), &found.value);
                }
                Lookup::Lead(leader) => land(source, leader, old, seen),
                Lookup::Wait(waiter) => {
                    if let Outcome::Loaded(entry) = waiter.wait_blocking() {
                        Source::check(None, &entry);
                    }
                }
                Lookup::Stale(..) => panic!("no window is open"),
            }
        }
        7..=9 => {
            source.read(key);
        }
        10 | 11 => {
            source.commit();
        }
        12..=14 => source.poll(),
        _ => source.gap(),
    }
}

fn storm(seen: &Seen, bulk: bool) {
    let source = Source::new(2, bulk);
    let threads = [(); THREADS].map(|()| {
        let (source, seen) = (Arc::clone(&source), Arc::clone(seen));
        thread::spawn(move || (0..STEPS).for_each(|_| step(&source, &seen)))
    });
    threads.map(|thread| thread.join().unwrap());
    source.poll();
    source.check_at_rest(KEYS);
    let stats = source.cache.stats();
    for (what, count) in [("dropped", stats.dropped), ("poisoned", stats.poisoned)] {
        if count > 0 {
            seen.lock().unwrap().insert(what);
        }
    }
}

/// Schedules of each kind: 10,000, or 150,000 of a long run.
fn schedules() -> usize {
    if is_long() { 150_000 } else { 10_000 }
}

/// What a campaign must have met to prove anything.
const SOMETIMES: [&str; 9] = [
    "hit",
    "cancelled",
    "kept",
    "overtaken",
    "floor",
    "detached",
    "rejected",
    "dropped",
    "poisoned",
];

#[test]
fn a_storm_of_changes_in_random_order() {
    let seen = Seen::default();
    let inner = Arc::clone(&seen);
    random(schedules(), move || storm(&inner, false));
    let seen = seen.lock().unwrap();
    for what in SOMETIMES {
        assert!(seen.contains(what), "never met: {what}");
    }
}

#[test]
fn a_storm_of_changes_in_orders_that_seek_trouble() {
    let seen = Seen::default();
    few_changes(schedules(), move || storm(&seen, false));
}

#[test]
fn a_storm_of_bulk_changes() {
    let seen = Seen::default();
    random(schedules(), move || storm(&seen, true));
}

#[test]
fn broken_rules_of_coherence_are_noticed() {
    let model = "models::coherence_storm::a_storm_of_changes_in_random_order";
    for rule in [
        "KeepsAlways",
        "GenerationOnly",
        "RegistersAfterCheck",
        "ForgetsPoison",
        "IgnoresFloor",
        "RaisesMarkFirst",
    ] {
        catches(model, rule, "an untrue hit");
    }
    // What nobody drops is a stranger to the index, whether or not somebody reads it in time.
    catches(model, "InsertsUnlocked", "");
}
