//! What users' types and threads may do to a cache: hashes that panic or collide, values of no size, more threads than stripes.

use std::cell::Cell;
use std::hash::{BuildHasher, Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Barrier};

use ci_cache_core::{Cache, CacheBuilder, Eviction, Lookup, LookupOptions, ManualClock};

const POLICIES: [Eviction; 5] = [
    Eviction::Lru,
    Eviction::S3Fifo,
    Eviction::Sieve,
    Eviction::TinyLfu,
    Eviction::Adaptive,
];

fn builder<K, V>(capacity: usize, eviction: Eviction) -> CacheBuilder<K, V> {
    CacheBuilder::new(capacity, Arc::new(ManualClock::new()))
        .shards(1)
        .eviction(eviction)
}

thread_local! {
    /// Hashes until one panics; negative for never.
    static FUSE: Cell<i64> = const { Cell::new(-1) };
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Brittle(u32);

impl Hash for Brittle {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let left = FUSE.get();
        FUSE.set(left - 1);
        assert!(left != 0, "the key's own trouble");
        self.0.hash(state);
    }
}

/// Makes the n-th hash of each insertion panic, for every n up to the first that is not reached.
#[test]
fn a_hash_that_panics_in_the_middle_of_a_change_costs_the_shard_and_no_more() {
    let mut faults = 0;
    for eviction in POLICIES {
        // 12 entries: the table is full and grows. 30: it is at its capacity, and somebody is evicted.
        for before in [12, 30] {
            for nth in 0..64 {
                let cache: Cache<Brittle, u32> = builder(30, eviction).build().unwrap();
                FUSE.set(-1);
                (0..before).for_each(|key| cache.insert(Brittle(key), key));
                FUSE.set(nth);
                let act = AssertUnwindSafe(|| (100..103).for_each(|key| cache.insert(Brittle(key), key)));
                let panicked = catch_unwind(act).is_err();
                FUSE.set(-1);
                cache.validate().unwrap();
                // Nothing wrong is served, and the next change works.
                for key in (0..before).chain(100..103) {
                    assert!(cache.get(&Brittle(key)).is_none_or(|value| value == key));
                }
                cache.insert(Brittle(200), 200);
                cache.insert(Brittle(201), 201);
                cache.validate().unwrap();
                assert!(!cache.is_empty() && cache.len() <= 30);
                let stats = cache.stats();
                assert!(stats.faults <= u64::from(panicked), "{stats:?}");
                faults += stats.faults;
                if !panicked {
                    break;
                }
            }
        }
    }
    assert!(faults > 0, "no hash ran in the middle of a change");
}

/// A waiter of a flight in a shard that is emptied by a fault still ends.
#[test]
fn a_fault_strands_no_waiter() {
    let cache: Cache<Brittle, u32> = builder(4, Eviction::Sieve).build().unwrap();
    FUSE.set(-1);
    let options = LookupOptions::new();
    let mut faults = 0;
    for nth in 0..40 {
        // Brittle is Clone, hence ToOwned.
        let (Lookup::Lead(leader), Lookup::Wait(waiter)) = (
            cache.lookup(&Brittle(9), options),
            cache.lookup(&Brittle(9), options),
        ) else {
            panic!("one leads, one waits");
        };
        FUSE.set(nth);
        let _ = catch_unwind(AssertUnwindSafe(|| {
            (10..20).for_each(|key| cache.insert(Brittle(key), key));
        }));
        FUSE.set(-1);
        faults = cache.stats().faults;
        leader.publish(1);
        assert_eq!(waiter.wait_blocking(), ci_cache_core::Outcome::Loaded(1));
        cache.remove(&Brittle(9));
        cache.validate().unwrap();
    }
    assert!(faults > 0 || cache.stats().faults > 0);
}

/// Gives every key the same hash.
#[derive(Debug, Clone, Copy)]
struct Same;

impl BuildHasher for Same {
    type Hasher = Self;

    fn build_hasher(&self) -> Self {
        Self
    }
}

impl Hasher for Same {
    fn finish(&self) -> u64 {
        7
    }

    fn write(&mut self, _: &[u8]) {}
}

#[test]
fn keys_that_all_hash_the_same_work_under_every_policy() {
    for eviction in POLICIES {
        let cache: Cache<u32, u32, (), Same> = builder(200, eviction).hasher(Same).build().unwrap();
        for round in 0..1_000 {
            cache.insert(round, round);
            let asked = round / 2;
            assert!(cache.get(&asked).is_none_or(|value| value == asked));
            if round % 3 == 0 {
                cache.remove(&(round / 3));
            }
            if round % 50 == 0 {
                cache.validate().unwrap();
            }
        }
        cache.validate().unwrap();
        assert!(
            cache.len() > 100 && cache.len() <= 200,
            "{eviction:?}: {}",
            cache.len()
        );
    }
}

#[test]
fn values_and_keys_may_have_no_size() {
    for eviction in POLICIES {
        let cache: Cache<u32, ()> = builder(10, eviction).build().unwrap();
        (0..100).for_each(|key| cache.insert(key, ()));
        cache.validate().unwrap();
        assert_eq!(cache.len(), 10);
        let cache: Cache<(), ()> = builder(10, eviction).build().unwrap();
        cache.insert((), ());
        assert_eq!(
            (cache.get(&()), cache.remove(&()), cache.len()),
            (Some(()), Some(()), 0)
        );
    }
}

/// More threads than have a stripe, twice: the second lot gets the stripes that the first gave back.
#[test]
fn more_threads_than_stripes_count_every_lookup() {
    const THREADS: u32 = 80;
    const READS: u32 = 3_000;
    let cache: Cache<u32, u32> = builder(1_000, Eviction::Sieve).build().unwrap();
    (0..500).for_each(|key| cache.insert(key, key));
    for lot in 1..=2 {
        let barrier = Barrier::new(THREADS as usize);
        std::thread::scope(|threads| {
            for thread in 0..THREADS {
                let (cache, barrier) = (&cache, &barrier);
                threads.spawn(move || {
                    cache.get(&0);
                    // All are alive at once, each with its stripe or without.
                    barrier.wait();
                    for read in 1..READS {
                        let key = (read * 7 + thread) % 1_000;
                        assert_eq!(cache.get(&key), (key < 500).then_some(key));
                        if read % 1_000 == 0 {
                            cache.insert(key % 500, key % 500);
                        }
                    }
                });
            }
        });
        cache.validate().unwrap();
        assert_eq!(cache.stats().requests(), u64::from(lot * THREADS * READS));
    }
}
