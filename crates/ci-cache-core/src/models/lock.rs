//! [`BiasedLock`] under loom: who is inside with whom, and who wakes whom.
//!
//! The exclusion itself is checked by loom's cell: a reader and a writer inside together, or a reader that does not see the last
//! write, is a causality violation.

use loom::thread;
use std::sync::Arc;

use super::catches;
use crate::raw::BiasedLock;
use crate::stripes::Stripes;

/// A lock with what its readers need.
struct Guarded {
    lock: BiasedLock<u64>,
    stripes: Stripes,
}

impl Guarded {
    /// Makes a lock that is biased already if it is to be.
    fn new(biased: bool) -> Arc<Self> {
        let guarded = Self {
            lock: BiasedLock::new(0),
            stripes: Stripes::new(),
        };
        if biased {
            guarded.read();
        }
        Arc::new(guarded)
    }

    fn read(&self) -> u64 {
        self.lock.look(&self.stripes, |&value, _| (value, 1))
    }

    fn add(&self) {
        self.lock.write(&self.stripes, |value| *value += 1);
    }
}

/// Explores with at most so many changes of thread that nobody asked for.
fn explore(preemptions: usize, model: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    builder.check(model);
}

fn spawn(guarded: &Arc<Guarded>, act: impl FnOnce(&Guarded) + 'static) -> thread::JoinHandle<()> {
    let guarded = Arc::clone(guarded);
    thread::spawn(move || act(&guarded))
}

/// Runs threads to their ends.
fn join(threads: impl IntoIterator<Item = thread::JoinHandle<()>>) {
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

#[test]
fn a_reader_and_a_writer() {
    explore(5, || {
        let guarded = Guarded::new(true);
        let reader = spawn(&guarded, |guarded| {
            let first = guarded.read();
            assert!(guarded.read() >= first, "a read went back");
        });
        guarded.add();
        assert_eq!(guarded.read(), 1, "a write is lost on its own thread");
        guarded.add();
        join([reader]);
        assert_eq!(guarded.read(), 2);
    });
}

#[test]
fn two_readers_and_a_writer() {
    explore(3, || {
        let guarded = Guarded::new(true);
        let readers = [(); 2].map(|()| {
            spawn(&guarded, |guarded| {
                guarded.read();
            })
        });
        guarded.add();
        join(readers);
        assert_eq!(guarded.read(), 1);
    });
}

#[test]
fn two_writers_and_a_reader() {
    explore(3, || {
        let guarded = Guarded::new(false);
        let writer = spawn(&guarded, Guarded::add);
        let reader = spawn(&guarded, |guarded| {
            guarded.read();
        });
        guarded.add();
        join([writer, reader]);
        assert_eq!(guarded.read(), 2, "an update is lost");
    });
}

#[test]
fn writers_wake_each_other() {
    explore(3, || {
        let guarded = Guarded::new(false);
        let others = [(); 2].map(|()| spawn(&guarded, Guarded::add));
        guarded.add();
        join(others);
        assert_eq!(guarded.read(), 3, "an update is lost");
    });
}

#[test]
fn breaches_of_exclusion_are_noticed() {
    for rule in ["ReadersFence", "SecondLook", "RevokingWaits"] {
        catches("models::lock::a_reader_and_a_writer", rule, "Causality violation");
        catches(
            "models::lock::two_readers_and_a_writer",
            rule,
            "Causality violation",
        );
    }
}

#[test]
fn lost_wake_ups_are_noticed() {
    for rule in ["ReleaseFences", "ReleaseWakes", "WakingQueues"] {
        catches("models::lock::writers_wake_each_other", rule, "deadlock");
    }
}
