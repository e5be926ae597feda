//! The promises of single flight (P1 to P4 of the testing page), and proof that their checkers notice a breach.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio_test::{assert_pending, assert_ready_eq, task};

use crate::rules::Rules;
use crate::{Cache, InsertOptions, Leader, Lookup, LookupOptions, ManualClock, Outcome, Scope, Ttl, Waiter};

type TestCache = Cache<String, u32, &'static str>;
const KEY: &str = "key";

fn cache() -> TestCache {
    TestCache::builder(8, Arc::new(ManualClock::new()))
        .build()
        .unwrap()
}

fn lookup<'a>(cache: &TestCache, scope: impl Into<Option<&'a Scope>>) -> Lookup<String, u32, &'static str> {
    let options = LookupOptions::new();
    cache.lookup(KEY, scope.into().map_or(options, |scope| options.scope(scope)))
}

fn lead<'a>(cache: &TestCache, scope: impl Into<Option<&'a Scope>>) -> Leader<String, u32, &'static str> {
    match lookup(cache, scope) {
        Lookup::Lead(leader) => leader,
        other => panic!("should lead, got {other:?}"),
    }
}

fn join<'a>(cache: &TestCache, scope: impl Into<Option<&'a Scope>>) -> Waiter<u32, &'static str> {
    match lookup(cache, scope) {
        Lookup::Wait(waiter) => waiter,
        other => panic!("should wait, got {other:?}"),
    }
}

#[test]
fn an_invalidated_flight_has_nothing_to_fall_back_on() {
    let clock = Arc::new(ManualClock::new());
    let cache: TestCache = TestCache::builder(8, clock.clone())
        .stale_if_error(Duration::from_secs(9))
        .build()
        .unwrap();
    // (A value of no scope: the next load's scope says what has become of it.)
    cache.insert_with(
        KEY.to_owned(),
        1,
        InsertOptions::new().ttl(Duration::from_secs(1)),
    );
    clock.advance(Duration::from_secs(2));
    let scope = Scope::new();
    let leader = lead(&cache, &scope);
    scope.invalidate();
    assert!(leader.is_detached());
    assert_eq!(leader.fail("down"), None);
    assert_eq!(lead(&cache, &scope).fail("down"), Some(1));
}

#[test]
fn a_published_value_answers_waiters_and_later_lookups() {
    let cache = cache();
    let leader = lead(&cache, None);
    let mut waiter = task::spawn(join(&cache, None));
    assert_pending!(waiter.poll());
    assert!(!leader.is_detached());
    assert!(leader.publish(1));
    assert!(waiter.is_woken());
    assert_ready_eq!(waiter.poll(), Outcome::Loaded(1));
    assert_eq!(cache.get(KEY), Some(1));
    let stats = cache.stats();
    assert_eq!(
        (stats.loads, stats.coalesced, stats.misses, stats.hits),
        (1, 1, 2, 1)
    );
    assert_eq!(cache.in_flight(), 0);
    cache.validate().unwrap();
}

#[test]
fn an_answer_is_not_kept() {
    let cache = cache();
    let leader = lead(&cache, None);
    let waiter = join(&cache, None);
    leader.answer(1);
    assert_eq!(waiter.wait_blocking(), Outcome::Loaded(1));
    assert!(cache.is_empty() && cache.in_flight() == 0);
}

#[test]
fn a_failure_is_shared_and_not_kept() {
    let cache = cache();
    let leader = lead(&cache, None);
    let waiters = [join(&cache, None), join(&cache, None)];
    leader.fail("down");
    for waiter in waiters {
        assert_eq!(waiter.wait_blocking(), Outcome::Failed("down"));
    }
    assert_eq!(cache.stats().load_failures, 1);
    drop(lead(&cache, None));
}

#[test]
fn of_the_waiters_of_a_dropped_leader_exactly_one_leads() {
    let cache = cache();
    let leader = lead(&cache, None);
    let mut waiters: Vec<_> = (0..3).map(|_| task::spawn(join(&cache, None))).collect();
    for waiter in &mut waiters {
        assert_pending!(waiter.poll());
    }
    drop(leader);
    let mut leaders = Vec::new();
    let mut followers = Vec::new();
    for mut waiter in waiters {
        assert!(waiter.is_woken());
        assert_ready_eq!(waiter.poll(), Outcome::Abandoned);
        match lookup(&cache, None) {
            Lookup::Stale(..) => panic!("no window is open"),
            Lookup::Lead(leader) => leaders.push(leader),
            Lookup::Wait(waiter) => followers.push(waiter),
            Lookup::Hit(found) => panic!("nothing was published, got {found:?}"),
        }
    }
    assert_eq!((leaders.len(), followers.len()), (1, 2));
    assert!(leaders.remove(0).publish(5));
    assert!(
        followers
            .into_iter()
            .all(|waiter| waiter.wait_blocking() == Outcome::Loaded(5))
    );
    assert_eq!(cache.stats().abandoned, 1);
}

#[test]
fn a_panicking_load_hands_over() {
    let cache = cache();
    let waiter = {
        let mut waiter = None;
        let load = || {
            waiter = Some(join(&cache, None));
            panic!("the loader's own trouble")
        };
        catch_unwind(AssertUnwindSafe(|| {
            cache.get_or_load(KEY, LookupOptions::new(), load)
        }))
        .unwrap_err();
        waiter.unwrap()
    };
    assert_eq!(waiter.wait_blocking(), Outcome::Abandoned);
    assert_eq!(cache.get_or_load(KEY, LookupOptions::new(), || Ok(2)), Ok(2));
    assert_eq!(
        cache.get_or_load(KEY, LookupOptions::new(), || Err("not asked")),
        Ok(2)
    );
}

#[test]
fn a_dropped_waiter_disturbs_nobody() {
    let cache = cache();
    let leader = lead(&cache, None);
    let mut gone = task::spawn(join(&cache, None));
    let mut stays = task::spawn(join(&cache, None));
    assert_pending!(gone.poll());
    assert_pending!(stays.poll());
    drop(gone);
    drop(join(&cache, None));
    leader.publish(1);
    assert_ready_eq!(stays.poll(), Outcome::Loaded(1));
}

#[test]
fn a_leader_may_outlive_the_handle_and_move_to_a_thread() {
    let leader = lead(&cache(), None);
    assert!(
        std::thread::spawn(move || leader.publish_with(1, Ttl::Never))
            .join()
            .unwrap()
    );
}

#[test]
fn a_flight_has_the_ttl_of_its_lookup_unless_its_leader_says_otherwise() {
    let clock = Arc::new(ManualClock::new());
    let cache: TestCache = TestCache::builder(8, clock.clone()).build().unwrap();
    let options = LookupOptions::new().ttl(Duration::from_secs(1));
    let Lookup::Lead(leader) = cache.lookup("a", options) else {
        panic!("should lead")
    };
    leader.publish(1);
    let Lookup::Lead(leader) = cache.lookup("b", options) else {
        panic!("should lead")
    };
    leader.publish_with(2, Duration::from_secs(2));
    clock.advance(Duration::from_secs(1));
    assert_eq!((cache.get("a"), cache.get("b")), (None, Some(2)));
    clock.advance(Duration::from_secs(1));
    assert_eq!(cache.get("b"), None);
}

#[test]
fn a_hundred_threads_run_one_load() {
    let cache = cache();
    let loads = AtomicUsize::new(0);
    let barrier = std::sync::Barrier::new(100);
    std::thread::scope(|threads| {
        for _ in 0..100 {
            threads.spawn(|| {
                barrier.wait();
                let load = || Ok(u32::try_from(loads.fetch_add(1, Ordering::SeqCst)).unwrap());
                assert_eq!(cache.get_or_load(KEY, LookupOptions::new(), load), Ok(0));
            });
        }
    });
    assert_eq!(loads.load(Ordering::SeqCst), 1);
    let stats = cache.stats();
    assert_eq!(
        (stats.loads, stats.requests(), stats.coalesced + stats.hits),
        (1, 100, 99)
    );
}

#[test]
fn threads_survive_leaders_that_vanish() {
    let cache = cache();
    let vanishing = AtomicUsize::new(5);
    let one_vanishes = || {
        vanishing
            .try_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1))
            .is_ok()
    };
    std::thread::scope(|threads| {
        for _ in 0..20 {
            threads.spawn(|| {
                loop {
                    match lookup(&cache, None) {
                        Lookup::Stale(..) => panic!("no window is open"),
                        Lookup::Hit(found) => break assert_eq!(found.value, 9),
                        Lookup::Lead(leader) if one_vanishes() => drop(leader),
                        Lookup::Lead(leader) => break assert!(leader.publish(9)),
                        Lookup::Wait(waiter) => match waiter.wait_blocking() {
                            Outcome::Loaded(value) => break assert_eq!(value, 9),
                            Outcome::Abandoned => {}
                            Outcome::Failed(error) | Outcome::Fallback { error, .. } => {
                                panic!("nobody failed with {error}")
                            }
                        },
                    }
                }
            });
        }
    });
    assert_eq!((cache.stats().abandoned, cache.stats().loads), (5, 6));
}

/// A name, and something that overtakes a load.
type Overtaker = (&'static str, fn(&TestCache, &Scope));

/// What overtakes a load in the checks below: each takes effect on entries and flights alike.
const OVERTAKERS: [Overtaker; 6] = [
    ("remove", |cache, _| {
        cache.remove(KEY);
    }),
    ("remove_where", |cache, _| {
        cache.remove_where(|key, _| key == KEY);
    }),
    ("retain", |cache, _| {
        cache.retain(|_, _| true);
    }),
    ("clear", |cache, _| cache.clear()),
    ("invalidate", |_, scope| scope.invalidate()),
    ("insert and remove", |cache, scope| {
        cache.insert_with(KEY.into(), 77, InsertOptions::new().scope(scope));
        cache.remove(KEY);
    }),
];

/// P1 and P2: whoever waited gets the overtaken value, nobody else does. Names the overtakers that broke it.
fn overtaken_loads_kept(rules: Rules) -> Vec<&'static str> {
    let breach = |&(name, overtake): &Overtaker| {
        let (cache, scope) = (cache(), Scope::new());
        cache.plant(rules);
        let leader = lead(&cache, &scope);
        let waiter = join(&cache, &scope);
        overtake(&cache, &scope);
        let kept = leader.publish(1);
        assert_eq!(waiter.wait_blocking(), Outcome::Loaded(1), "{name}");
        cache.validate().unwrap();
        (kept || cache.get(KEY).is_some() || cache.stats().refused != 1).then_some(name)
    };
    OVERTAKERS.iter().filter_map(breach).collect()
}

/// P3 and P4: a look-up after the overtaking begins its own flight, whose value is kept. Names the breakers.
fn older_flights_joined(rules: Rules) -> Vec<&'static str> {
    let breach = |&(name, overtake): &Overtaker| {
        let (cache, scope) = (cache(), Scope::new());
        cache.plant(rules);
        let old = lead(&cache, &scope);
        overtake(&cache, &scope);
        let Lookup::Lead(new) = lookup(&cache, &scope) else {
            return Some(name);
        };
        let joined = join(&cache, &scope);
        assert!(old.is_detached() && !new.is_detached(), "{name}");
        assert_eq!(cache.in_flight(), 1, "{name}");
        // The older flight ends first or last: neither ending touches the newer one.
        assert!(!old.publish(1), "{name}");
        assert!(new.publish(2), "{name}");
        assert_eq!(
            (joined.wait_blocking(), cache.get(KEY)),
            (Outcome::Loaded(2), Some(2)),
            "{name}"
        );
        None
    };
    OVERTAKERS.iter().filter_map(breach).collect()
}

#[test]
fn a_load_overtaken_is_answered_and_not_kept() {
    assert!(overtaken_loads_kept(Rules::SHIPPED).is_empty());
}

#[test]
fn a_later_lookup_never_joins_an_older_flight() {
    assert!(older_flights_joined(Rules::SHIPPED).is_empty());
}

#[test]
fn the_checkers_catch_every_planted_defect() {
    assert_eq!(overtaken_loads_kept(Rules::StampsAtPublication), ["invalidate"]);
    assert_eq!(
        overtaken_loads_kept(Rules::RemovalForgetsFlights),
        ["remove", "insert and remove"]
    );
    assert_eq!(older_flights_joined(Rules::JoinsOlderFlights), ["invalidate"]);
    assert_eq!(
        older_flights_joined(Rules::RemovalForgetsFlights),
        ["remove", "insert and remove"]
    );
}

#[test]
fn an_insertion_overtakes_a_load() {
    let cache = cache();
    let leader = lead(&cache, None);
    let waiter = join(&cache, None);
    cache.insert(KEY.into(), 2);
    assert!(leader.is_detached());
    assert!(!leader.publish(1));
    assert_eq!(
        (waiter.wait_blocking(), cache.get(KEY)),
        (Outcome::Loaded(1), Some(2))
    );
}

#[test]
fn an_invalidation_after_the_publication_kills_the_entry() {
    let (cache, scope) = (cache(), Scope::new());
    assert!(lead(&cache, &scope).publish(1));
    assert!(cache.contains(KEY));
    scope.invalidate();
    assert!(!cache.contains(KEY) && cache.peek(KEY).is_none() && cache.entries(9).is_empty());
    assert_eq!(cache.len(), 1, "reclaimed when met");
    assert_eq!(cache.get(KEY), None);
    assert_eq!((cache.len(), cache.stats().invalidations), (0, 1));
}

#[test]
fn a_stamp_from_before_the_reading_is_dead_on_arrival() {
    let (cache, scope) = (cache(), Scope::new());
    let stamp = scope.stamp();
    scope.invalidate();
    cache.insert_with(KEY.into(), 1, InsertOptions::new().stamped(stamp));
    assert_eq!(cache.get(KEY), None);
}

#[test]
fn an_abandoned_detached_flight_leaves_the_newer_one_alone() {
    let cache = cache();
    let old = lead(&cache, None);
    cache.remove(KEY);
    let new = lead(&cache, None);
    drop(old);
    assert!(!new.is_detached());
    assert!(new.publish(2));
}
