//! How long an entry lives and what may be done with it, and what the listener hears: against a naive reference.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ci_cache_core::{
    Cache, CacheBuilder, Cause, Eviction, Freshness, InsertOptions, Lookup, LookupOptions, ManualClock,
};
use proptest::prelude::*;

fn micros(micros: u64) -> Duration {
    Duration::from_micros(micros)
}

/// The times of an entry, in microseconds.
#[derive(Debug, Clone, Copy)]
struct Times {
    ttl: u64,
    idle: Option<u64>,
    revalidate: Option<u64>,
    error: Option<u64>,
}

fn times() -> impl Strategy<Value = Times> {
    let window = || proptest::option::of(1..12_u64);
    // No time to idle at all is legal too: such an entry is never served, not even stale.
    let idle = proptest::option::of(0..12_u64);
    (1..12_u64, idle, window(), window()).prop_map(|(ttl, idle, revalidate, error)| Times {
        ttl,
        idle,
        revalidate,
        error,
    })
}

#[derive(Debug, Clone, Copy)]
enum Op {
    Insert,
    Advance(u64),
    Get,
    State,
    /// Looks up; should it lead, the load fails or succeeds.
    Load(bool),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => Just(Op::Insert),
        6 => (1..5_u64).prop_map(Op::Advance),
        3 => Just(Op::Get),
        2 => Just(Op::State),
        2 => any::<bool>().prop_map(Op::Load),
    ]
}

/// What may be done with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Fresh,
    Stale,
    Fallback,
    Absent,
}

/// One key, literally by the documentation.
#[derive(Debug, Default)]
struct Naive {
    now: u64,
    /// Value, insertion, last hit.
    entry: Option<(u64, u64, u64)>,
}

impl Naive {
    fn state(&self, times: Times) -> State {
        let Some((_, inserted, hit)) = self.entry else {
            return State::Absent;
        };
        let end = inserted + times.ttl;
        if self.now < end {
            let idled_out = times.idle.is_some_and(|idle| self.now >= hit + idle);
            return if idled_out { State::Absent } else { State::Fresh };
        }
        // What idled out before its time to live was over is not prolonged.
        if times.idle.is_some_and(|idle| hit + idle < end) {
            return State::Absent;
        }
        let within = |window: Option<u64>| window.is_some_and(|window| self.now < end + window);
        match (within(times.revalidate), within(times.error)) {
            (true, _) => State::Stale,
            (false, true) => State::Fallback,
            (false, false) => State::Absent,
        }
    }

    fn insert(&mut self, value: u64) {
        self.entry = Some((value, self.now, self.now));
    }

    fn value(&self) -> u64 {
        self.entry.map_or(0, |(value, ..)| value)
    }

    fn hit(&mut self) {
        if let Some((_, _, hit)) = &mut self.entry {
            *hit = self.now;
        }
    }
}

fn options(times: Times) -> LookupOptions<'static> {
    let mut options = LookupOptions::new().ttl(micros(times.ttl));
    if let Some(idle) = times.idle {
        options = options.idle(micros(idle));
    }
    if let Some(window) = times.revalidate {
        options = options.stale_while_revalidate(micros(window));
    }
    if let Some(window) = times.error {
        options = options.stale_if_error(micros(window));
    }
    options
}

fn insertion(times: Times) -> InsertOptions {
    let mut options = InsertOptions::new().ttl(micros(times.ttl));
    if let Some(idle) = times.idle {
        options = options.idle(micros(idle));
    }
    if let Some(window) = times.revalidate {
        options = options.stale_while_revalidate(micros(window));
    }
    if let Some(window) = times.error {
        options = options.stale_if_error(micros(window));
    }
    options
}

/// Looks up for a load of `value` that succeeds or fails.
fn load(cache: &Cache<u8, u64, ()>, naive: &mut Naive, times: Times, value: u64, succeeds: bool) {
    let state = naive.state(times);
    let leader = match cache.lookup(&1, options(times)) {
        Lookup::Hit(found) => {
            assert_eq!((found.value, State::Fresh), (naive.value(), state));
            return naive.hit();
        }
        Lookup::Stale(found, leader) => {
            assert_eq!((found.value, State::Stale), (naive.value(), state));
            leader.expect("nobody else loads")
        }
        Lookup::Lead(leader) => {
            assert!(matches!(state, State::Absent | State::Fallback), "{state:?}");
            leader
        }
        Lookup::Wait(_) => panic!("nobody else loads"),
    };
    if succeeds {
        assert!(leader.publish(value));
        naive.insert(value);
    } else {
        let windowed = matches!(state, State::Stale | State::Fallback);
        assert_eq!(leader.fail(()), windowed.then(|| naive.value()), "{state:?}");
    }
}

fn live(eviction: Eviction, times: Times, ops: &[Op]) {
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u8, u64, ()> = CacheBuilder::new(4, clock.clone())
        .eviction(eviction)
        .build()
        .expect("valid settings");
    let mut naive = Naive::default();
    for (op, value) in ops.iter().zip(1..) {
        let state = naive.state(times);
        match *op {
            Op::Insert => {
                cache.insert_with(1, value, insertion(times));
                naive.insert(value);
            }
            Op::Advance(by) => {
                clock.advance(micros(by));
                naive.now += by;
            }
            Op::Get => {
                let expected = (state == State::Fresh).then(|| naive.value());
                assert_eq!(cache.get(&1), expected, "{naive:?}");
                if expected.is_some() {
                    naive.hit();
                }
            }
            Op::State => match cache.get_state(&1) {
                Freshness::Fresh(found) => {
                    assert_eq!((found.value, State::Fresh), (naive.value(), state));
                    naive.hit();
                }
                Freshness::Stale(found) => assert_eq!((found.value, State::Stale), (naive.value(), state)),
                Freshness::Absent => assert!(matches!(state, State::Absent | State::Fallback), "{naive:?}"),
            },
            Op::Load(succeeds) => load(&cache, &mut naive, times, value, succeeds),
        }
        cache
            .validate()
            .unwrap_or_else(|wrong| panic!("after {op:?}: {wrong}"));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_entry_lives_as_documented(
        times in times(),
        ops in proptest::collection::vec(op(), 1..60),
        exact in any::<bool>(),
    ) {
        live(if exact { Eviction::Lru } else { Eviction::Sieve }, times, &ops);
    }

    /// Every value that is not resident at the end was told of once, under the cause that the counters say.
    #[test]
    fn the_listener_hears_of_every_value_once(
        ops in proptest::collection::vec((0..8_u8, 0..12_u8, 1..9_u32), 1..200),
        policy in 0..5_usize,
    ) {
        let policies =
            [Eviction::Lru, Eviction::S3Fifo, Eviction::Sieve, Eviction::TinyLfu, Eviction::Adaptive];
        let clock = Arc::new(ManualClock::new());
        let heard = Arc::new(Mutex::new(HashMap::new()));
        let told = Arc::clone(&heard);
        let cache: Cache<u8, u32, ()> = CacheBuilder::new(20, clock.clone())
            .eviction(policies[policy])
            .weigher(|_, value| value % 16)
            .default_ttl(micros(30))
            .listener(move |_, value, cause| {
                let before = told.lock().expect("nobody panics").insert(*value, cause);
                assert_eq!(before, None, "told twice of {value}");
            })
            .build()
            .expect("valid settings");
        let mut given = Vec::new();
        for (&(what, key, weight), number) in ops.iter().zip(1_u32..) {
            match what {
                0..=3 => {
                    let value = number * 16 + weight;
                    cache.insert(key, value);
                    given.push(value);
                }
                4 => drop(cache.get(&key)),
                5 => drop(cache.remove(&key)),
                6 => clock.advance(micros(weight.into())),
                _ if key == 0 => cache.clear(),
                _ => cache.resize(usize::from(key) + 8).expect("a valid capacity"),
            }
            prop_assert_eq!(cache.validate(), Ok(()));
            prop_assert!(cache.weight() <= cache.capacity() as u64);
        }
        let resident: Vec<u32> = cache.entries(usize::MAX).into_iter().map(|entry| entry.value).collect();
        // Now, what is dead and not yet met.
        cache.purge();
        // (Removed values are told of too: the caller has them, the cache has not.)
        let heard = heard.lock().expect("nobody panics");
        for value in given {
            prop_assert_ne!(heard.contains_key(&value), resident.contains(&value), "{}", value);
        }
        let stats = cache.stats();
        let count = |cause| heard.values().filter(|&&other| other == cause).count() as u64;
        prop_assert_eq!(count(Cause::Size), stats.evictions + stats.rejections);
        prop_assert_eq!(count(Cause::Expired), stats.expirations);
        prop_assert_eq!(count(Cause::Replaced), stats.replacements);
        prop_assert_eq!(count(Cause::Removed) + count(Cause::Cleared), stats.invalidations);
    }

    #[test]
    fn jitter_shortens_by_its_share_at_most(share in 0.0..=1.0_f64, key in any::<u64>(), ttl in 1..1_000_000_u64) {
        let cache: Cache<u64, (), ()> = CacheBuilder::new(4, Arc::new(ManualClock::new()))
            .default_ttl(micros(ttl))
            .jitter(share)
            .build()
            .expect("valid settings");
        cache.insert(key, ());
        // An entry whose whole time was taken from it is not found at all.
        if let Some(found) = cache.get_found(&key) {
            let expires = found.meta.expires.expect("it has a time to live").as_micros();
            prop_assert!(expires <= ttl);
            let least = micros(ttl).mul_f64(1.0 - share).saturating_sub(micros(1));
            prop_assert!(micros(expires) >= least, "{} of {}", expires, ttl);
        } else {
            prop_assert!(share > 0.0);
        }
    }
}
