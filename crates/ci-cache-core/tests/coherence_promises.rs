//! What coherence promises one by one: every ending of a publication, what a bulk change, a gap, a panic and a listener do.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests panic where something is not as it should be"
)]

#[path = "coherence/rows.rs"]
mod rows;

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, OnceLock};

use ci_cache_core::coherence::{
    Applied, Batch, CoherenceOptions, Coherent, CoherentLeader, Course, Entry, Loaded, Publication,
    Published, Why,
};
use ci_cache_core::{CacheBuilder, Cause, Lookup, LookupOptions, ManualClock, Outcome, Tick, Ttl};
use rows::{Change, Needs, Rows, Trap, UpTo, change, needs};

type RowCache = Coherent<String, u32, Rows, ()>;
type RowLeader = CoherentLeader<String, u32, Rows, ()>;

fn options() -> CoherenceOptions {
    CoherenceOptions::new().bulk(5)
}

fn cache_with(options: &CoherenceOptions) -> RowCache {
    let builder =
        CacheBuilder::new(100, Arc::new(ManualClock::new())).weigher(|_: &String, entry: &Arc<_>| {
            let entry: &Entry<u32, UpTo> = entry;
            if *entry.value() == u32::MAX { 1_000 } else { 1 }
        });
    let cache: RowCache = Coherent::new(builder, Rows, options).unwrap();
    cache.reset(1, UpTo(0), Tick::default());
    cache
}

fn cache() -> RowCache {
    cache_with(&options())
}

fn lead(cache: &RowCache, key: &str) -> RowLeader {
    match cache.lookup(key, LookupOptions::new()) {
        Lookup::Lead(leader) => leader,
        other => panic!("should lead, got {other:?}"),
    }
}

fn at(version: u64) -> Loaded<UpTo> {
    Loaded {
        epoch: 1,
        version: UpTo(version),
    }
}

type Done = Publication<u32, UpTo, &'static str>;

fn put(cache: &RowCache, key: &str, needs: Needs, version: u64) -> Done {
    cache.publish(lead(cache, key), 1, at(version), needs)
}

/// Applies changes that go on from what was applied.
fn apply(cache: &RowCache, position: u64, changes: Vec<Change>) -> Applied {
    cache.apply(Batch {
        epoch: 1,
        since: cache.status().position.unwrap_or(UpTo(0)),
        changes,
        position: UpTo(position),
        polled_at: Tick::from_micros(position),
    })
}

#[test]
fn each_ending_of_a_publication_has_its_name_and_answers_those_who_wait() {
    let cache = cache_with(&options().log_changes(2));
    let mut endings = Vec::new();
    let mut publish = |key: &str, value, loaded: Loaded<UpTo>, needs: Needs, meanwhile: &dyn Fn()| {
        let leader = lead(&cache, key);
        let Lookup::Wait(waiter) = cache.lookup(key, LookupOptions::new()) else {
            panic!("the flight is under way")
        };
        meanwhile();
        let done = cache.publish(leader, value, loaded.clone(), needs);
        let Outcome::Loaded(entry) = waiter.wait_blocking() else {
            panic!("who waits gets the value, whatever the ending")
        };
        assert_eq!((*entry.value(), entry.loaded()), (value, &loaded));
        assert!(Arc::ptr_eq(&entry, &done.entry));
        let kept = cache.get(key).is_some();
        assert_eq!(kept, done.ending == Published::Kept);
        endings.push(done.ending);
    };
    let nothing = || ();
    publish("kept", 1, at(0), needs("a", 1), &nothing);
    let other = Loaded {
        epoch: 2,
        version: UpTo(0),
    };
    publish("epoch", 1, other, needs("a", 1), &nothing);
    let hit = || assert_eq!(apply(&cache, 1, vec![change(1, "a", 2)]).dropped, 0);
    publish("touched", 1, at(0), needs("a", 2), &hit);
    publish("other tenant", 1, at(0), needs("b", 2), &nothing);
    publish("included", 1, at(1), needs("a", 2), &nothing);
    let whole = Change {
        whole: true,
        ..change(2, "a", 0)
    };
    apply(&cache, 2, vec![whole]);
    publish("group", 1, at(1), needs("a", 3), &nothing);
    apply(&cache, 3, vec![change(3, "b", 9)]);
    publish("floor", 1, at(0), needs("a", 3), &nothing);
    let removed = || drop(cache.cache().remove("detached"));
    publish("detached", 1, at(3), needs("a", 3), &removed);
    publish("heavy", u32::MAX, at(3), needs("a", 3), &nothing);
    for trap in [Trap::Nowhere, Trap::File, Trap::Group] {
        let needs = Needs {
            trap: Some(trap),
            ..needs("a", 3)
        };
        publish("unfiled", 1, at(3), needs, &nothing);
    }
    assert_eq!(
        endings,
        [
            Published::Kept,
            Published::Epoch,
            Published::Overtaken(Why::Touches("the row")),
            Published::Kept,
            Published::Kept,
            Published::Overtaken(Why::Group),
            Published::Floor,
            Published::Detached,
            Published::Rejected,
            Published::Unfiled,
            Published::Unfiled,
            Published::Unfiled,
        ]
    );
    let stats = cache.stats();
    assert_eq!((stats.kept, stats.refused_epoch, stats.refused_floor), (3, 1, 1));
    assert_eq!((stats.refused_overtaken, stats.refused_detached), (2, 1));
    assert_eq!((stats.refused_rejected, stats.refused_unfiled), (1, 3));
    cache.validate().unwrap();
}

#[test]
fn nothing_is_kept_and_nothing_known_before_a_history_is_followed() {
    let builder = CacheBuilder::new(10, Arc::new(ManualClock::new()));
    let cache: RowCache = Coherent::new(builder, Rows, &options()).unwrap();
    assert!(cache.mark().is_none());
    assert_eq!(put(&cache, "k", needs("a", 1), 0).ending, Published::Epoch);
    assert_eq!(apply(&cache, 1, Vec::new()).course, Course::OtherEpoch);
    cache.resume();
    assert!(cache.mark().is_none());
    let status = cache.status();
    assert_eq!(
        (status.epoch, status.suspended),
        (None, Some("nothing is followed yet"))
    );
    cache.reset(1, UpTo(4), Tick::from_micros(7));
    let mark = cache.mark().unwrap();
    assert_eq!(
        (mark.epoch(), mark.version().0, mark.polled_at().as_micros()),
        (1, 4, 7)
    );
}

#[test]
fn a_change_drops_what_it_touches_and_nothing_else() {
    let cache = cache();
    for (key, row) in [("one", 1), ("two", 2), ("three", 3)] {
        put(&cache, key, needs("a", row), 0);
    }
    put(&cache, "b's", needs("b", 1), 0);
    put(&cache, "newer", needs("a", 1), 5);
    let applied = apply(&cache, 1, vec![change(1, "a", 1)]);
    assert_eq!(
        (applied.dropped, applied.poisoned, applied.course),
        (1, 0, Course::Follows)
    );
    let here = ["one", "two", "three", "b's", "newer"].map(|key| cache.get(key).is_some());
    assert_eq!(here, [false, true, true, true, true]);
    let mark = cache.mark().unwrap();
    let entry = cache.get("newer").unwrap();
    assert_eq!(
        mark.as_of(&entry),
        (1, &UpTo(5)),
        "beyond the mark it is true at its own version"
    );
    // Delivered once more it does no harm, nor does a poll without changes.
    put(&cache, "one", needs("a", 1), 1);
    assert_eq!(apply(&cache, 1, vec![change(1, "a", 1)]).dropped, 0);
    assert_eq!(apply(&cache, 3, Vec::new()), Applied::default());
    assert_eq!(apply(&cache, 1, vec![change(1, "a", 1)]).course, Course::Repeats);
    assert_eq!(cache.mark().unwrap().version().0, 3);
    assert!(cache.get("one").is_some());
    let stats = cache.stats();
    assert_eq!((stats.dropped, stats.included, stats.registrations), (1, 5, 5));
    cache.validate().unwrap();
}

#[test]
fn many_changes_of_a_group_count_as_one_of_everything_in_it() {
    let cache = cache();
    put(&cache, "a", needs("a", 100), 0);
    put(&cache, "b", needs("b", 100), 0);
    let leader = lead(&cache, "late");
    let mut changes: Vec<Change> = (0..6).map(|row| change(1, "a", row)).collect();
    changes.push(change(1, "b", 1));
    let applied = apply(&cache, 1, changes);
    assert_eq!((applied.floors, applied.dropped), (1, 0));
    assert_eq!(
        cache.stats().log_records,
        2,
        "one record for the group, one for the other's change"
    );
    assert!(cache.get("a").is_none() && cache.get("b").is_some());
    let done = cache.publish(leader, 1, at(0), needs("a", 200));
    assert_eq!(done.ending, Published::Overtaken(Why::Group));
    assert_eq!(put(&cache, "a", needs("a", 100), 1).ending, Published::Kept);
    // Everything of everybody goes in the same way.
    apply(&cache, 2, vec![change(2, "", 0)]);
    assert!(cache.get("a").is_none() && cache.get("b").is_none());
    assert_eq!(
        put(&cache, "a", needs("a", 100), 1).ending,
        Published::Overtaken(Why::Everything)
    );
    assert_eq!(put(&cache, "a", needs("a", 100), 2).ending, Published::Kept);
    cache.validate().unwrap();
    // Told so, coherence is as coarse as dropping a group on each write.
    let coarse = cache_with(&options().bulk(0));
    put(&coarse, "a", needs("a", 100), 0);
    assert_eq!(apply(&coarse, 1, vec![change(1, "a", 1)]).floors, 1);
    assert!(coarse.get("a").is_none());
}

#[test]
fn a_suspended_feed_hides_the_mark_and_drops_all_the_same() {
    let cache = cache();
    put(&cache, "one", needs("a", 1), 0);
    put(&cache, "two", needs("a", 2), 0);
    cache.suspend("the connection is lost");
    assert!(cache.mark().is_none() && cache.get("one").is_some());
    assert_eq!(cache.status().suspended, Some("the connection is lost"));
    assert_eq!(apply(&cache, 1, vec![change(1, "a", 1)]).dropped, 1);
    assert!(cache.mark().is_none() && cache.get("two").is_some());
    cache.resume();
    assert_eq!(cache.mark().unwrap().version().0, 1);
}

#[test]
fn a_gap_drops_everything_and_nothing_from_before_is_ever_kept() {
    let cache = cache();
    put(&cache, "one", needs("a", 1), 0);
    let before = lead(&cache, "two");
    assert_eq!(apply(&cache, 905, vec![change(905, "a", 7)]).course, Course::Gap);
    assert!(cache.mark().is_none() && cache.get("one").is_none());
    let done = cache.publish(before, 1, at(950), needs("a", 2));
    assert_eq!(done.ending, Published::Detached);
    let before = lead(&cache, "two");
    cache.reset(2, UpTo(3), Tick::from_micros(9));
    let done = cache.publish(before, 1, at(950), needs("a", 2));
    assert_eq!(done.ending, Published::Detached);
    assert_eq!(put(&cache, "one", needs("a", 1), 3).ending, Published::Epoch);
    assert_eq!(apply(&cache, 950, Vec::new()).course, Course::OtherEpoch);
    let mark = cache.mark().unwrap();
    assert_eq!((mark.epoch(), mark.version().0), (2, 3));
    cache.validate().unwrap();
}

#[test]
fn a_panic_of_the_domain_counts_as_everything_of_the_group() {
    for (trap, others_too) in [
        (Trap::Touches, false),
        (Trap::Probe, false),
        (Trap::Origin, false),
        (Trap::Reach, true),
    ] {
        let cache = cache();
        put(&cache, "near", needs("a", 1), 0);
        put(&cache, "far", needs("a", 2), 0);
        put(&cache, "other's", needs("b", 1), 0);
        let late = lead(&cache, "late");
        let trapped = Change {
            trap: Some(trap),
            ..change(1, "a", 1)
        };
        apply(&cache, 1, vec![trapped]);
        let here = ["near", "far", "other's"].map(|key| cache.get(key).is_some());
        assert_eq!(here, [false, false, !others_too], "{trap:?}");
        let ending = cache.publish(late, 1, at(0), needs("a", 1)).ending;
        assert_ne!(ending, Published::Kept, "{trap:?}");
        assert_eq!(cache.mark().unwrap().version().0, 1);
        assert_eq!(put(&cache, "near", needs("a", 1), 1).ending, Published::Kept);
        cache.validate().unwrap();
    }
}

#[test]
fn the_history_says_which_change_dropped_what_and_why() {
    let cache = cache_with(&options().history(2));
    for (key, row) in [("one", 1), ("two", 2), ("three", 3)] {
        put(&cache, key, needs("a", row), 0);
    }
    apply(&cache, 7, (1..4).map(|row| change(7, "a", row)).collect());
    let whole = Change {
        whole: true,
        ..change(8, "a", 0)
    };
    apply(&cache, 8, vec![whole]);
    let history = cache.history();
    assert_eq!(history.len(), 2);
    assert_eq!(history[0].key.as_deref(), Some("three"));
    assert_eq!(
        (history[0].why, history[0].at.as_micros()),
        (Why::Touches("the row"), 7)
    );
    assert!(history[0].change.contains("row: 3"), "{}", history[0].change);
    assert_eq!((history[1].key.as_deref(), history[1].why), (None, Why::Group));
    assert!(history[1].change.contains("\"a\""));
    // From a point on: what is remembered of it, and how many there have been.
    for (seen, told) in [(0, 2), (2, 2), (3, 1), (4, 0), (9, 0)] {
        let (drops, total) = cache.dropped_since(seen);
        assert_eq!((drops.len(), total), (told, cache.drops()), "after {seen}");
        assert_eq!(drops, history[history.len() - told..], "after {seen}");
    }
    assert_eq!(cache.drops(), 4);
    let mut reasons = cache.reasons();
    reasons.sort_by_key(|(_, count)| *count);
    assert_eq!(reasons, [(Why::Group, 1), (Why::Touches("the row"), 3)]);
    let silent = cache_with(&options().history(0));
    put(&silent, "one", needs("a", 1), 0);
    apply(&silent, 1, vec![change(1, "a", 1)]);
    assert!(silent.history().is_empty());
    assert_eq!(silent.reasons().len(), 1, "counted all the same");
}

#[test]
fn a_listener_hears_of_drops_once_the_mark_is_raised_and_may_use_the_cache() {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let shared: Arc<OnceLock<RowCache>> = Arc::default();
    let (log, used) = (Arc::clone(&heard), Arc::clone(&shared));
    let builder = CacheBuilder::new(2, Arc::new(ManualClock::new()))
        .shards(1)
        .listener(move |key: &String, _, cause| {
            let cache = used.get().unwrap();
            let mark = cache.mark().unwrap().version().0;
            log.lock().unwrap().push((key.clone(), cause, mark));
            // All of these take locks of coherence.
            apply(cache, mark, Vec::new());
            if key == "one" {
                put(cache, "from the listener", needs("a", 9), mark);
            }
            assert!(cache.stats().registrations <= 4);
            assert!(key != "trouble", "the listener's own trouble");
        });
    let cache: RowCache = Coherent::new(builder, Rows, &options()).unwrap();
    shared.set(cache.clone()).unwrap();
    cache.reset(1, UpTo(0), Tick::default());
    put(&cache, "one", needs("a", 1), 0);
    apply(&cache, 1, vec![change(1, "a", 1)]);
    assert_eq!(*heard.lock().unwrap(), [("one".to_owned(), Cause::Removed, 1)]);
    assert!(cache.get("from the listener").is_some());
    cache.cache().remove("from the listener");
    put(&cache, "trouble", needs("a", 1), 1);
    put(&cache, "two", needs("a", 1), 1);
    let panics = || apply(&cache, 2, vec![change(2, "a", 1)]);
    assert!(catch_unwind(AssertUnwindSafe(panics)).is_err());
    assert_eq!(cache.mark().unwrap().version().0, 2);
    assert!(cache.get("trouble").is_none() && cache.get("two").is_none());
    assert_eq!(
        heard.lock().unwrap().len(),
        4,
        "the others are told of all the same"
    );
    cache.validate().unwrap();
}

#[test]
fn what_leaves_the_cache_leaves_the_index() {
    let clock = Arc::new(ManualClock::new());
    let builder = CacheBuilder::new(50, clock.clone());
    let cache: RowCache = Coherent::new(builder, Rows, &options()).unwrap();
    cache.reset(1, UpTo(0), Tick::default());
    for row in 0..5_000_u32 {
        let key = row.to_string();
        let leader = lead(&cache, &key);
        cache.publish_with(
            leader,
            1,
            at(0),
            needs("a", row),
            Ttl::from(std::time::Duration::from_secs(1)),
        );
        // What a publication displaced is noted, and unregistered by whoever comes next.
        assert!(cache.stats().registrations <= 51);
    }
    let full = cache.stats().index_bytes;
    assert!(full < 50 * 1_000, "{full}");
    clock.advance(std::time::Duration::from_secs(2));
    cache.cache().purge();
    assert_eq!(cache.stats().registrations, 0);
    put(&cache, "replaced", needs("a", 1), 0);
    cache.cache().clear();
    put(&cache, "replaced", needs("a", 1), 0);
    assert_eq!(cache.stats().registrations, 1);
    cache.validate().unwrap();
}

#[test]
fn a_long_batch_is_applied_whole() {
    let cache = cache_with(&options().bulk(1_000));
    for row in 0..80 {
        put(&cache, &row.to_string(), needs("a", row), 0);
    }
    let changes = (10..1_000).map(|row| change(1, "a", row)).collect();
    assert_eq!(apply(&cache, 1, changes).dropped, 70);
    assert_eq!(cache.cache().len(), 10);
    assert_eq!(cache.count_touched(&change(2, "a", 3)), 1);
    assert_eq!(cache.count_touched_by_force(&change(2, "a", 3)), 1);
    assert_eq!(cache.count_touched(&change(2, "a", 30)), 0);
}

#[test]
fn values_kept_elsewhere_are_checked_against_the_log() {
    let cache = cache_with(&options().log_changes(1));
    apply(&cache, 1, vec![change(1, "a", 1)]);
    assert_eq!(cache.check(&at(0), needs("a", 2)), Ok(()));
    let touched = Err(Published::Overtaken(Why::Touches("the row")));
    assert_eq!(cache.check(&at(0), needs("a", 1)), touched);
    assert_eq!(cache.check(&at(1), needs("a", 1)), Ok(()));
    apply(&cache, 2, vec![change(2, "a", 1)]);
    assert_eq!(cache.check(&at(0), needs("a", 2)), Err(Published::Floor));
    let other = Loaded { epoch: 9, ..at(2) };
    assert_eq!(cache.check(&other, needs("a", 2)), Err(Published::Epoch));
    assert_eq!(cache.stats().registrations, 0);
}

/// A log that begins with many changes of one group, read again from where another left off, tells of each.
#[test]
fn a_replay_is_logged_change_by_change() {
    let many = || (0..20).map(|row| change(1, "a", row)).collect::<Vec<_>>();
    let cache = cache();
    apply(&cache, 1, many());
    assert_eq!(cache.check(&at(0), needs("a", 30)), Ok(()));
    let touched = Err(Published::Overtaken(Why::Touches("the row")));
    assert_eq!(cache.check(&at(0), needs("a", 3)), touched);
    let again = (0..20).map(|row| change(2, "a", row)).collect();
    apply(&cache, 2, again);
    let crowded = Err(Published::Overtaken(Why::Group));
    assert_eq!(cache.check(&at(1), needs("a", 30)), crowded, "that was none");
    // With something cached it is a batch like any other, which costs constant time.
    cache.reset(1, UpTo(2), Tick::from_micros(9));
    put(&cache, "one", needs("a", 30), 2);
    let later = (0..20).map(|row| change(3, "a", row)).collect();
    assert_eq!(apply(&cache, 3, later).floors, 1);
    assert!(cache.get("one").is_none());
    cache.validate().unwrap();
}

#[test]
fn settings_are_validated() {
    for (options, field) in [
        (options().log_changes(0), "log_changes"),
        (options().log_bytes(0), "log_bytes"),
    ] {
        let builder = CacheBuilder::new(1, Arc::new(ManualClock::new()));
        let error = RowCache::new(builder, Rows, &options).unwrap_err();
        assert!(error.to_string().contains(field));
    }
    let builder = CacheBuilder::new(0, Arc::new(ManualClock::new()));
    assert!(RowCache::new(builder, Rows, &options()).is_err());
    assert!(format!("{:?}", cache()).contains("UpTo(0)"));
}

thread_local! {
    /// Hashings until one panics; none does at 0.
    static FUSE: Cell<u32> = const { Cell::new(0) };
}

/// A key whose hash panics when its time has come.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Touchy(u32);

impl Hash for Touchy {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let left = FUSE.get();
        FUSE.set(left.saturating_sub(1));
        assert!(left != 1, "the key's own trouble");
        self.0.hash(state);
    }
}

#[test]
fn a_panic_in_the_middle_of_a_batch_leaves_nothing_that_it_should_have_dropped() {
    for fuse in 1..6 {
        let builder = CacheBuilder::new(10, Arc::new(ManualClock::new()));
        let cache: Coherent<Touchy, u32, Rows, ()> = Coherent::new(builder, Rows, &options()).unwrap();
        cache.reset(1, UpTo(0), Tick::default());
        for key in 0..4 {
            let Lookup::Lead(leader) = cache.lookup(&Touchy(key), LookupOptions::new()) else {
                panic!("should lead")
            };
            cache.publish(leader, 1, at(0), needs("a", 1));
        }
        let batch = |number| Batch {
            epoch: 1,
            since: UpTo(number - 1),
            changes: vec![change(number, "a", 1)],
            position: UpTo(number),
            polled_at: Tick::default(),
        };
        FUSE.set(fuse);
        let applied = catch_unwind(AssertUnwindSafe(|| cache.apply(batch(1))));
        FUSE.set(0);
        assert_eq!(applied.is_err(), fuse <= 4);
        assert_eq!(cache.mark().unwrap().version().0, u64::from(fuse > 4));
        assert!((0..4).all(|key| cache.get(&Touchy(key)).is_none()), "fuse {fuse}");
        cache.apply(batch(2));
        assert_eq!(cache.mark().unwrap().version().0, 2);
        cache.validate().unwrap();
        assert_eq!(cache.stats().registrations, 0);
    }
}

#[test]
fn a_batch_that_goes_on_from_what_was_never_applied_is_a_gap() {
    let cache = cache();
    put(&cache, "row", needs("a", 1), 0);
    let batch = |since, number, row| Batch {
        epoch: 1,
        since: UpTo(since),
        changes: vec![change(number, "a", row)],
        position: UpTo(number),
        polled_at: Tick::default(),
    };
    assert_eq!(cache.apply(batch(0, 1, 2)).course, Course::Follows);
    assert_eq!(
        cache.apply(batch(0, 2, 2)).course,
        Course::Follows,
        "more than is missing"
    );
    assert!(cache.get("row").is_some());
    // The batch from 2 to 3 was lost, which changed the row.
    assert_eq!(cache.apply(batch(3, 4, 2)).course, Course::Gap);
    assert!(cache.get("row").is_none() && cache.mark().is_none());
    assert!(cache.status().suspended.is_some());
    cache.reset(1, UpTo(4), Tick::default());
    assert!(cache.mark().is_some());
}
