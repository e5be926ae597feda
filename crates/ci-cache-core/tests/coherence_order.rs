//! What becomes of loads of one key that nobody could share: the order of their states counts, not that in which they began or ended.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests panic where something is not as it should be"
)]

#[path = "coherence/rows.rs"]
mod rows;

use std::sync::Arc;

use ci_cache_core::coherence::{
    Batch, CoherenceOptions, Coherent, CoherentLeader, Entry, Loaded, Published, Why,
};
use ci_cache_core::{CacheBuilder, Lookup, LookupOptions, ManualClock, Scope, Tick};
use rows::{Rows, UpTo, change, needs};

type RowCache = Coherent<String, u32, Rows, ()>;
type RowLeader = CoherentLeader<String, u32, Rows, ()>;

fn cache() -> RowCache {
    let builder =
        CacheBuilder::new(100, Arc::new(ManualClock::new())).weigher(|_: &String, entry: &Arc<_>| {
            let entry: &Entry<u32, UpTo> = entry;
            if *entry.value() == u32::MAX { 1_000 } else { 1 }
        });
    let cache: RowCache = Coherent::new(builder, Rows, &CoherenceOptions::new()).unwrap();
    cache.reset(1, UpTo(0), Tick::default());
    cache
}

fn at(version: u64) -> Loaded<UpTo> {
    Loaded {
        epoch: 1,
        version: UpTo(version),
    }
}

/// A flight that nobody may join any more is still a load: what it brought is judged by the log.
#[test]
fn a_load_whose_scope_was_invalidated_is_kept_unless_a_change_touches_it() {
    for (changed, expected) in [
        (8, Published::Kept),
        (7, Published::Overtaken(Why::Touches("the row"))),
    ] {
        let cache = cache();
        let tenant = Scope::new();
        let Lookup::Lead(leader) = cache.lookup("a", LookupOptions::new().scope(&tenant)) else {
            panic!("nobody else looks up")
        };
        tenant.invalidate();
        cache.apply(Batch {
            epoch: 1,
            since: UpTo(0),
            changes: vec![change(1, "a", changed)],
            position: UpTo(1),
            polled_at: Tick::default(),
        });
        let done = cache.publish(leader, 1, at(0), needs("a", 7));
        assert_eq!(done.ending, expected);
        assert_eq!(cache.get("a").is_some(), expected == Published::Kept);
    }
}

/// Two loads of a key that nobody could share, in the order in which they began.
fn two_loads(cache: &RowCache, tenant: &Scope) -> [RowLeader; 2] {
    [(), ()].map(|()| {
        tenant.invalidate();
        let Lookup::Lead(leader) = cache.lookup("a", LookupOptions::new().scope(tenant)) else {
            panic!("the load before is joined")
        };
        leader
    })
}

/// Whoever was answered from a load is not answered from one of an older state next, whichever began or ended first.
#[test]
fn of_two_loads_the_one_of_the_later_state_stays() {
    let answer = |leader, version: u32, cache: &RowCache| {
        cache
            .publish(leader, version, at(version.into()), needs("a", 7))
            .ending
    };
    for (first, second) in [(94, 93), (93, 94)] {
        for first_ends_first in [true, false] {
            let (cache, tenant) = (cache(), Scope::new());
            let [one, other] = two_loads(&cache, &tenant);
            let endings = if first_ends_first {
                [answer(one, first, &cache), answer(other, second, &cache)]
            } else {
                let ending = answer(other, second, &cache);
                [answer(one, first, &cache), ending]
            };
            let older_came_last = (first < second) != first_ends_first;
            let at_last = if older_came_last {
                Published::Detached
            } else {
                Published::Kept
            };
            assert_eq!(endings[usize::from(first_ends_first)], at_last);
            assert_eq!(endings[usize::from(!first_ends_first)], Published::Kept);
            assert_eq!(*cache.get("a").unwrap().value(), 94);
            cache.validate().unwrap();
        }
    }
}

/// The same where what was answered is not kept, so that nothing is there to compare with.
#[test]
fn a_load_that_another_has_outrun_is_neither_joined_nor_kept() {
    let (cache, tenant) = (cache(), Scope::new());
    let [one, other] = two_loads(&cache, &tenant);
    let waits = |cache: &RowCache| match cache.lookup("a", LookupOptions::new().scope(&tenant)) {
        Lookup::Wait(_) => true,
        Lookup::Lead(_) => false,
        found => panic!("nothing is kept: {found:?}"),
    };
    assert!(waits(&cache));
    let heavy = cache.publish(one, u32::MAX, at(94), needs("a", 7));
    assert_eq!(heavy.ending, Published::Rejected);
    assert!(!waits(&cache), "the second load may have read an older state");
    let older = cache.publish(other, 1, at(93), needs("a", 7));
    assert_eq!(older.ending, Published::Detached);
    assert!(cache.get("a").is_none());
}
