//! What the cache promises beyond the model: borrowed keys, dropping outside locks, many shards, many threads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use ci_cache_core::{
    Cache, CacheBuilder, Eviction, InsertOptions, Lookup, LookupOptions, ManualClock, Scope, Tick,
};

fn builder<K, V>(capacity: usize) -> CacheBuilder<K, V> {
    CacheBuilder::new(capacity, Arc::new(ManualClock::new()))
}

#[test]
fn looks_up_by_a_borrowed_form() {
    let cache: Cache<String, u32> = builder(4).build().unwrap();
    cache.insert("a".into(), 1);
    assert_eq!(cache.get("a"), Some(1));
    assert_eq!(cache.remove("a"), Some(1));
    let Ok(value) = cache.get_or_load("b", LookupOptions::new(), || Ok(2));
    assert_eq!((value, cache.peek("b")), (2, Some(2)));
}

#[test]
fn overwriting_at_capacity_evicts_nobody() {
    let cache: Cache<u32, u32> = builder(2).eviction(Eviction::Lru).build().unwrap();
    cache.insert(1, 10);
    cache.insert(2, 20);
    cache.insert(1, 11);
    assert_eq!(
        (cache.get(&1), cache.get(&2), cache.stats().evictions),
        (Some(11), Some(20), 0)
    );
    cache.insert(3, 30);
    assert_eq!((cache.contains(&1), cache.stats().evictions), (false, 1));
}

#[test]
fn a_conditional_removal_hits_the_value_that_is_meant_and_no_flight() {
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<String, u32> = CacheBuilder::new(4, clock.clone())
        .default_ttl(Duration::from_secs(1))
        .build()
        .unwrap();
    let Lookup::Lead(leader) = cache.lookup("b", LookupOptions::new()) else {
        panic!("should lead")
    };
    cache.insert("a".into(), 1);
    assert_eq!(cache.remove_if("a", |&value| value == 2), None);
    assert_eq!(cache.remove_if("b", |_| true), None);
    assert!(cache.contains("a") && !leader.is_detached());
    assert_eq!(cache.remove_if("a", |&value| value == 1), Some(1));
    assert!(leader.publish(2), "the flight went on");
    clock.advance(Duration::from_secs(2));
    assert_eq!(
        cache.remove_if("b", |&value| value == 2),
        None,
        "no fresh value was there"
    );
    assert!(cache.is_empty());
    let stats = cache.stats();
    assert_eq!((stats.invalidations, stats.expirations), (1, 1));
    cache.validate().unwrap();
}

#[test]
fn found_says_since_when_and_until_when() {
    let clock = Arc::new(ManualClock::new());
    let cache: Cache<u32, u32> = CacheBuilder::new(2, clock.clone()).details(true).build().unwrap();
    clock.advance(Duration::from_micros(5));
    cache.insert_with(1, 10, InsertOptions::new().ttl(Duration::from_micros(10)));
    clock.advance(Duration::from_micros(9));
    let found = cache.get_found(&1).unwrap();
    assert_eq!((found.value, found.meta.hits), (10, Some(1)));
    assert_eq!(
        (found.meta.created.unwrap().as_micros(), found.meta.expires),
        (5, Some(Tick::from_micros(15)))
    );
    assert_eq!(
        cache.now().saturating_since(found.meta.created.unwrap()),
        Duration::from_micros(9)
    );
    clock.advance(Duration::from_micros(1));
    assert_eq!(cache.get_found(&1), None);
    assert_eq!((cache.stats().expirations, cache.len()), (1, 0));
}

#[test]
fn many_shards_hold_the_capacity_and_list_everything() {
    let cache: Cache<u32, u32> = builder(1_000).shards(7).build().unwrap();
    for key in 0..5_000 {
        cache.insert(key, key);
    }
    cache.validate().unwrap();
    assert_eq!((cache.shards(), cache.capacity(), cache.len()), (7, 1_000, 1_000));
    assert_eq!(cache.entries(usize::MAX).len(), 1_000);
    assert_eq!(cache.entries(10).len(), 10);
    let stats = cache.stats();
    assert_eq!((stats.insertions, stats.evictions), (5_000, 4_000));
    assert_eq!(cache.remove_where(|key, _| key % 2 == 0) + cache.len(), 1_000);
    cache.clear();
    assert!(cache.is_empty());
    cache.validate().unwrap();
}

/// A value whose drop looks into its cache, as a value with a handle of its own may.
struct Nosy {
    home: Weak<OnceLock<NosyCache>>,
    drops: Arc<AtomicUsize>,
}

type NosyCache = Cache<u32, Arc<Nosy>>;

impl Drop for Nosy {
    fn drop(&mut self) {
        let Some(home) = self.home.upgrade() else { return };
        let Some(cache) = home.get() else { return };
        let _ = (cache.get(&1), cache.len());
        cache.remove(&99);
        self.drops.fetch_add(1, Ordering::SeqCst);
    }
}

#[test]
fn values_are_dropped_outside_the_locks() {
    let clock = Arc::new(ManualClock::new());
    let cache: NosyCache = CacheBuilder::new(2, clock.clone())
        .eviction(Eviction::Lru)
        .build()
        .unwrap();
    let home = Arc::new(OnceLock::from(cache.clone()));
    let drops = Arc::new(AtomicUsize::new(0));
    let value = || {
        Arc::new(Nosy {
            home: Arc::downgrade(&home),
            drops: Arc::clone(&drops),
        })
    };
    let scope = Scope::new();
    let dropped = |what: &str, expected: usize| {
        assert_eq!(drops.swap(0, Ordering::SeqCst), expected, "{what}");
        cache.validate().unwrap();
    };

    cache.insert(1, value());
    cache.insert(1, value());
    dropped("replaced", 1);
    cache.insert(2, value());
    cache.insert(3, value());
    dropped("evicted", 1);
    drop(cache.remove(&3));
    dropped("removed", 1);
    cache.insert_with(4, value(), InsertOptions::new().ttl(Duration::from_secs(1)));
    clock.advance(Duration::from_secs(1));
    assert!(cache.get(&4).is_none());
    dropped("expired", 1);
    cache.insert_with(5, value(), InsertOptions::new().scope(&scope));
    scope.invalidate();
    drop(cache.lookup(&5, LookupOptions::new()));
    dropped("invalidated", 1);
    cache.clear();
    assert!(cache.is_empty());
    dropped("cleared, not purged", 0);
    cache.purge();
    dropped("cleared", 1);
    cache.insert(6, value());
    assert_eq!(cache.remove_where(|_, _| true), 1);
    dropped("swept", 1);
    if let Lookup::Lead(leader) = cache.lookup(&7, LookupOptions::new()) {
        cache.remove(&7);
        assert!(!leader.publish(value()));
    }
    dropped("refused", 1);
}

#[test]
fn threads_keep_every_structure_whole() {
    let cache: Cache<u32, u32> = builder(64).shards(4).build().unwrap();
    let scope = Scope::new();
    std::thread::scope(|threads| {
        for seed in 1..=4_u32 {
            let (cache, scope) = (&cache, &scope);
            threads.spawn(move || {
                let mut random = seed;
                for _ in 0..5_000 {
                    random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    let key = (random >> 16) % 128;
                    match random >> 29 {
                        0 => drop(cache.remove(&key)),
                        1 => cache.insert(key, key),
                        2 if key == 0 => scope.invalidate(),
                        3 if key == 0 => cache.clear(),
                        4 => assert!(cache.get(&key).is_none_or(|value| value == key)),
                        _ => {
                            let options = LookupOptions::new().scope(scope);
                            let Ok(value) = cache.get_or_load(&key, options, || Ok(key));
                            assert_eq!(value, key);
                        }
                    }
                }
            });
        }
    });
    cache.validate().unwrap();
    assert!(cache.len() <= 64 && cache.in_flight() == 0);
}

/// A value whose drop panics while it is armed.
struct Explosive(Arc<AtomicUsize>);

impl Drop for Explosive {
    fn drop(&mut self) {
        let armed = self.0.load(Ordering::SeqCst) > 0 && !std::thread::panicking();
        assert!(!armed, "the value's own trouble");
    }
}

#[test]
fn a_drop_that_panics_leaves_the_cache_whole() {
    let cache: Cache<u32, Arc<Explosive>> = builder(1).eviction(Eviction::Lru).build().unwrap();
    let armed = Arc::new(AtomicUsize::new(0));
    let value = || Arc::new(Explosive(Arc::clone(&armed)));
    let explodes = |what: &str, act: &dyn Fn()| {
        armed.store(1, Ordering::SeqCst);
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(act)).expect_err(what);
        armed.store(0, Ordering::SeqCst);
        cache.validate().unwrap();
        assert_eq!(cache.in_flight(), 0, "{what}");
    };
    cache.insert(1, value());
    explodes("replaced", &|| cache.insert(1, value()));
    explodes("evicted", &|| cache.insert(2, value()));
    explodes("removed", &|| drop(cache.remove(&2)));
    cache.insert(3, value());
    explodes("cleared", &|| {
        cache.clear();
        cache.purge();
    });
    cache.insert(4, value());
    explodes("published over", &|| {
        if let Lookup::Lead(leader) = cache.lookup(&5, LookupOptions::new()) {
            leader.publish(value());
        }
    });
    assert!(cache.contains(&5));
}
