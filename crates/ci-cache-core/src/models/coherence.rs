//! Publications against what the feed brings meanwhile, under loom: every interleaving of two or three threads.

use std::sync::Arc;

use loom::thread;

use super::catches;
use super::one_row::Source;
use crate::coherence::{Published, Why};
use crate::{Lookup, Outcome};

const KEY: u8 = 1;

fn spawn(source: &Arc<Source>, act: impl FnOnce(&Source) + 'static) -> thread::JoinHandle<()> {
    let source = Arc::clone(source);
    thread::spawn(move || act(&source))
}

/// Explores with at most so many changes of thread that nobody asked for.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 50_000;
    builder.check(model);
}

/// A load of before the change is published while the change is applied, and somebody reads.
fn published(preemptions: usize, bulk: bool) {
    explore(preemptions, move || {
        let source = Source::new(4, bulk);
        let (leader, snapshot) = (source.lead(KEY), source.snapshot());
        let feed = spawn(&source, |source| {
            source.commit();
            source.poll();
            source.read(KEY);
        });
        let reader = spawn(&source, |source| {
            source.read(KEY);
        });
        let ending = source.publish(leader, snapshot).ending;
        let expected = [
            Published::Kept,
            Published::Overtaken(Why::Touches(())),
            Published::Overtaken(Why::Group),
            Published::Detached,
        ];
        assert!(expected.contains(&ending), "{ending:?}");
        feed.join().unwrap();
        reader.join().unwrap();
        assert_eq!(
            source.cache.get(&KEY).map(|entry| *entry.value()),
            None,
            "an untrue hit"
        );
        source.check_at_rest(2);
    });
}

#[test]
fn a_change_meets_a_publication() {
    published(3, false);
}

#[test]
fn a_change_of_the_group_meets_a_publication() {
    published(2, true);
}

/// A load that sees the change is kept, whether the change is applied before or after.
#[test]
fn a_publication_that_includes_the_change_is_kept() {
    explore(3, || {
        let source = Source::new(4, false);
        source.commit();
        let (leader, snapshot) = (source.lead(KEY), source.snapshot());
        let feed = spawn(&source, |source| {
            source.poll();
            source.read(KEY);
        });
        assert_eq!(source.publish(leader, snapshot).ending, Published::Kept);
        feed.join().unwrap();
        assert_eq!(source.read(KEY), Some(1));
        source.check_at_rest(2);
    });
}

/// An entry is dropped while somebody reads.
#[test]
fn a_change_meets_a_reader() {
    explore(3, || {
        let source = Source::new(4, false);
        source.publish(source.lead(KEY), 0);
        let reader = spawn(&source, |source| {
            source.read(KEY);
            source.read(KEY);
        });
        source.commit();
        source.poll();
        reader.join().unwrap();
        source.check_at_rest(2);
    });
}

/// A load of before a gap, whose look-up may come before it or after it.
#[test]
fn a_gap_meets_a_publication() {
    explore(3, || {
        let source = Source::new(4, false);
        let snapshot = source.snapshot();
        let feed = spawn(&source, |source| {
            source.commit();
            source.gap();
            source.read(KEY);
        });
        source.publish(source.lead(KEY), snapshot);
        feed.join().unwrap();
        assert!(source.cache.get(&KEY).is_none(), "an untrue hit");
        source.check_at_rest(2);
    });
}

/// Two loads contend for one place while a change hits either.
#[test]
fn an_eviction_meets_a_publication_and_a_change() {
    explore(3, || {
        let source = Source::new(1, false);
        source.publish(source.lead(KEY), 0);
        let other = spawn(&source, |source| {
            let (leader, snapshot) = (source.lead(KEY + 1), source.snapshot());
            source.publish(leader, snapshot);
        });
        source.commit();
        source.poll();
        source.read(KEY);
        other.join().unwrap();
        source.check_at_rest(3);
    });
}

/// The leader goes away; who takes over publishes while the change is applied.
#[test]
fn a_cancelled_leader_meets_a_change() {
    explore(3, || {
        let source = Source::new(4, false);
        let leader = source.lead(KEY);
        let next = spawn(&source, |source| {
            loop {
                let mark = source.cache.mark();
                match source.lookup(KEY) {
                    Lookup::Lead(leader) => {
                        let snapshot = source.snapshot();
                        source.publish(leader, snapshot);
                        return;
                    }
                    Lookup::Wait(waiter) => {
                        assert!(matches!(waiter.wait_blocking(), Outcome::Abandoned));
                    }
                    Lookup::Hit(found) => return Source::check(mark.as_ref(), &found.value),
                    Lookup::Stale(..) => panic!("no window is open"),
                }
            }
        });
        source.commit();
        drop(leader);
        source.poll();
        next.join().unwrap();
        source.check_at_rest(2);
    });
}

#[test]
fn broken_rules_of_coherence_are_noticed() {
    for (model, rule) in [
        ("a_change_meets_a_publication", "KeepsAlways"),
        ("a_change_meets_a_publication", "GenerationOnly"),
        ("a_change_meets_a_publication", "RegistersAfterCheck"),
        ("a_change_meets_a_publication", "ForgetsPoison"),
        ("a_change_meets_a_publication", "InsertsUnlocked"),
        ("a_change_of_the_group_meets_a_publication", "KeepsAlways"),
        ("a_change_meets_a_reader", "RaisesMarkFirst"),
        ("a_gap_meets_a_publication", "IgnoresFloor"),
    ] {
        catches(&format!("models::coherence::{model}"), rule, "an untrue hit");
    }
}
