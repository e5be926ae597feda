//! Found by review: what panicking listeners and keys whose drop uses the cache must not break.

use std::cell::RefCell;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use ci_cache_core::{Cache, Cause, Compute, Lookup, LookupOptions, ManualClock, Outcome, Restored};

/// Longer than any of these tests takes; over only if one would hang.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn a_listener_that_panics_while_a_leader_is_dropped_strands_no_waiter() {
    let cache: Cache<u32, u32> = Cache::<u32, u32>::builder(8, Arc::new(ManualClock::new()))
        .listener(|_, _, cause| assert_ne!(cause, Cause::Cleared, "the listener's own trouble"))
        .build()
        .unwrap();
    cache.insert(1, 1);
    let (Lookup::Lead(leader), Lookup::Wait(waiter)) = (
        cache.lookup(&2, LookupOptions::new()),
        cache.lookup(&2, LookupOptions::new()),
    ) else {
        panic!("one leads, one waits");
    };
    cache.clear();
    // The drop is the first change after the clear: it tells of what that left.
    assert!(catch_unwind(AssertUnwindSafe(|| drop(leader))).is_err());
    assert_eq!(waiter.wait_blocking_for(LIMIT).ok(), Some(Outcome::Abandoned));
    cache.validate().expect("a sound cache");
}

type CalledCache = Cache<Calling, u32>;

thread_local! {
    /// The cache that dropped keys call.
    static CALLED: RefCell<Option<CalledCache>> = const { RefCell::new(None) };
}

/// A key whose drop changes the cache.
#[derive(Debug, PartialEq, Eq)]
struct Calling(u32);

impl Hash for Calling {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        if let Some(cache) = CALLED.take() {
            cache.remove_where(|_, _| false);
            CALLED.set(Some(cache));
        }
    }
}

/// Runs `act` on a cache that dropped keys call, in a thread that may hang, and says whether it did not.
fn ends(act: impl FnOnce(&CalledCache) + Send + 'static) -> bool {
    let (done, is_done) = mpsc::channel();
    std::thread::spawn(move || {
        let cache: CalledCache = Cache::<Calling, u32>::builder(8, Arc::new(ManualClock::new()))
            .build()
            .expect("fine settings");
        cache.insert(Calling(1), 1);
        CALLED.set(Some(cache.clone()));
        act(&cache);
        drop(CALLED.take());
        cache.validate().expect("a sound cache");
        done.send(()).expect("somebody waits");
    });
    is_done.recv_timeout(LIMIT).is_ok()
}

#[test]
fn compute_drops_the_key_outside_the_lock() {
    for key in [1, 2] {
        for act in [Compute::Keep, Compute::Remove, Compute::Put(5)] {
            assert!(ends(move |cache| {
                cache.compute(Calling(key), |_| act);
            }));
        }
        assert!(ends(move |cache| {
            let act = || cache.compute(Calling(key), |_| panic!("act"));
            assert!(catch_unwind(AssertUnwindSafe(act)).is_err());
        }));
    }
}

#[test]
fn import_drops_the_key_of_a_resident_entry_outside_the_lock() {
    assert!(ends(|cache| {
        let bytes = cache.export(|key, _, out, _| {
            out.extend_from_slice(&key.0.to_le_bytes());
            Some(())
        });
        let imported = cache.import(&bytes, Duration::ZERO, |_, _| Some(Restored::new(Calling(1), 2)));
        assert_eq!(imported.unwrap().present, 1);
    }));
}
