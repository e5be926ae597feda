//! Warm restarts, and input that is no snapshot.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{CacheBuilder, Eviction, Lookup, LookupOptions, ManualClock};

type TestCache = Cache<u32, u32, ()>;
const SECOND: Duration = Duration::from_secs(1);

fn builder(capacity: usize) -> (CacheBuilder<u32, u32>, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    let builder = TestCache::builder(capacity, clock.clone())
        .eviction(Eviction::Lru)
        .shards(1);
    (builder, clock)
}

fn cache(capacity: usize) -> (TestCache, Arc<ManualClock>) {
    let (builder, clock) = builder(capacity);
    (builder.build().unwrap(), clock)
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    clippy::unnecessary_wraps,
    reason = "the shape that export asks for"
)]
fn encode(key: &u32, value: &u32, key_out: &mut Vec<u8>, value_out: &mut Vec<u8>) -> Option<()> {
    key_out.extend_from_slice(&key.to_le_bytes());
    value_out.extend_from_slice(&value.to_le_bytes());
    Some(())
}

fn decode(key: &[u8], value: &[u8]) -> Option<Restored<u32, u32>> {
    let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
    Some(Restored::new(number(key)?, number(value)?))
}

fn order(cache: &TestCache) -> Vec<u32> {
    cache
        .entries(usize::MAX)
        .into_iter()
        .map(|entry| entry.key)
        .collect()
}

fn sample() -> Vec<u8> {
    let (cache, _) = cache(8);
    for key in 0..4 {
        cache.insert_with(key, key * 10, InsertOptions::new().ttl(SECOND * (key + 1)));
    }
    cache.export(encode)
}

#[test]
fn recency_survives() {
    let (before, _) = cache(8);
    for key in 0..6 {
        before.insert(key, key);
    }
    before.get(&2);
    let hits = before.stats().requests();
    let bytes = before.export(encode);
    assert_eq!(before.stats().requests(), hits);
    let (after, _) = cache(8);
    assert_eq!(after.import(&bytes, SECOND, decode).unwrap().kept, 6);
    assert_eq!(order(&after), [2, 5, 4, 3, 1, 0]);
    assert_eq!(order(&after), order(&before));
    let (small, _) = cache(2);
    let imported = small.import(&bytes, SECOND, decode).unwrap();
    assert_eq!((imported.kept, imported.crowded), (2, 4));
    assert_eq!(order(&small), [2, 5]);
    small.validate().unwrap();
}

#[test]
fn every_policy_and_many_shards_take_all_of_it() {
    for eviction in [
        Eviction::Lru,
        Eviction::S3Fifo,
        Eviction::Sieve,
        Eviction::TinyLfu,
        Eviction::Adaptive,
    ] {
        let sharded =
            |capacity| -> TestCache { builder(capacity).0.eviction(eviction).shards(8).build().unwrap() };
        let before = sharded(4_000);
        (0..1_000).for_each(|key| before.insert(key, key + 1));
        let after = sharded(4_000);
        let imported = after.import(&before.export(encode), SECOND, decode).unwrap();
        assert_eq!(imported.kept, 1_000, "{eviction:?}");
        assert!((0..1_000).all(|key| after.peek(&key) == Some(key + 1)));
        after.validate().unwrap();
    }
}

#[test]
fn times_go_on_where_they_stopped() {
    let (before, clock) = cache(8);
    clock.advance(SECOND * 1_000);
    let options = InsertOptions::new();
    before.insert_with(
        1,
        1,
        options
            .clone()
            .ttl(SECOND * 10)
            .stale_while_revalidate(SECOND * 5),
    );
    before.insert_with(2, 2, options.clone().ttl(SECOND * 4));
    before.insert_with(3, 3, options.clone().idle(SECOND * 6));
    before.insert(4, 4);
    clock.advance(SECOND);
    let bytes = before.export(encode);
    let (after, clock) = cache(8);
    let imported = after.import(&bytes, SECOND * 3, decode).unwrap();
    assert_eq!((imported.kept, imported.expired), (3, 1));
    let expires = |key| after.get_found(&key).and_then(|found| found.meta.expires);
    assert_eq!(expires(1), Some(clock.now_after(6)));
    assert_eq!((expires(3), expires(4)), (Some(clock.now_after(6)), None));
    clock.advance(SECOND * 7);
    assert!(matches!(after.get_state(&1), crate::Freshness::Stale(found) if found.value == 1));
    assert!(!after.contains(&3) && after.contains(&4));
    after.validate().unwrap();
}

#[test]
fn a_value_without_a_stale_window_gets_none_by_default() {
    let windowed = || {
        let (builder, clock) = builder(8);
        let builder = builder.stale_while_revalidate(SECOND).stale_if_error(SECOND);
        (builder.build::<()>().unwrap(), clock)
    };
    let (before, _) = windowed();
    let none = Duration::ZERO;
    let options = InsertOptions::new().ttl(SECOND).stale_while_revalidate(none);
    before.insert_with(1, 1, options.stale_if_error(none));
    let (after, clock) = windowed();
    assert_eq!(
        after.import(&before.export(encode), none, decode).unwrap().kept,
        1
    );
    clock.advance(SECOND);
    assert_eq!(after.get_state(&1), crate::Freshness::Absent);
    let Lookup::Lead(leader) = after.lookup(&1, LookupOptions::new()) else {
        panic!("should lead")
    };
    assert_eq!(leader.fail(()), None);
}

impl ManualClock {
    fn now_after(&self, seconds: u32) -> crate::Tick {
        crate::Clock::now(self).saturating_add(SECOND * seconds)
    }
}

#[test]
fn weights_and_costs_are_kept_among_caches_of_a_kind() {
    let weighing = |weigh: fn(&u32, &u32) -> u32| -> TestCache {
        builder(100).0.weigher(weigh).cost_aware(true).build().unwrap()
    };
    let before = weighing(|_, _| 3);
    before.insert(1, 1);
    before.insert_with(2, 2, InsertOptions::new().weight(9).cost(7));
    let bytes = before.export(encode);
    let after = weighing(|_, _| 50);
    after.import(&bytes, SECOND, decode).unwrap();
    assert_eq!(after.weight(), 12);
    assert_eq!(after.export(encode), bytes);
    let (counting, _) = cache(100);
    counting.import(&bytes, SECOND, decode).unwrap();
    assert_eq!(counting.weight(), 2);
}

#[test]
fn scoped_entries_come_in_only_under_a_scope() {
    let (before, _) = cache(8);
    before.insert_with(1, 1, InsertOptions::new().scope(&Scope::new()));
    before.insert(2, 2);
    let (after, _) = cache(8);
    assert_eq!(
        after.import(&before.export(encode), SECOND, decode).unwrap().kept,
        1
    );
    let all = before.export_all(encode);
    let imported = after.import(&all, SECOND, decode).unwrap();
    assert_eq!((imported.unscoped, imported.present, after.len()), (1, 1, 1));
    let scope = Scope::new();
    let rescoped = |key: &[u8], value: &[u8]| decode(key, value).map(|pair| pair.scope(&scope));
    assert_eq!(after.import(&all, SECOND, rescoped).unwrap().kept, 1);
    assert_eq!(after.get(&1), Some(1));
    scope.invalidate();
    assert!(!after.contains(&1) && after.contains(&2));
}

#[test]
fn newer_values_and_flights_stay_and_either_side_may_leave_entries_out() {
    let bytes = sample();
    let (after, _) = cache(8);
    after.insert(1, 99);
    let Lookup::Lead(leader) = after.lookup(&2, LookupOptions::new()) else {
        panic!("should lead")
    };
    let picky = |key: &[u8], value: &[u8]| decode(key, value).filter(|pair| pair.key != 3);
    let imported = after.import(&bytes, Duration::ZERO, picky).unwrap();
    assert_eq!((imported.kept, imported.present, imported.undecoded), (2, 1, 1));
    assert_eq!((after.peek(&1), after.peek(&2)), (Some(99), Some(20)));
    assert!(leader.publish(21));
    assert_eq!(after.get(&2), Some(21));
    let odd = after.export(|key, value, key_out, value_out| {
        encode(key, value, key_out, value_out).filter(|()| key % 2 == 1)
    });
    let (last, _) = cache(8);
    assert_eq!(last.import(&odd, SECOND, decode).unwrap().kept, 1);
    after.validate().unwrap();
}

fn rejected(bytes: &[u8]) -> Error {
    let (cache, _) = cache(8);
    let error = cache.import(bytes, SECOND, decode).unwrap_err();
    assert!(cache.is_empty() && !error.is_transient());
    error
}

#[test]
fn foreign_and_damaged_snapshots_are_told_apart() {
    let bytes = sample();
    let mut newer = bytes.clone();
    newer[8] = 2;
    assert_eq!(rejected(&newer), Error::SnapshotFormat { found: 2 });
    assert!(rejected(&newer).to_string().contains("format 2"));
    assert!(rejected(b"").to_string().contains("does not begin like"));
    for len in 0..bytes.len() {
        assert!(
            matches!(rejected(&bytes[..len]), Error::SnapshotDamaged { .. }),
            "cut at {len}"
        );
    }
    let mut recounted = bytes[..bytes.len() - 8].to_vec();
    format::recount(&mut recounted, u64::MAX);
    assert!(
        rejected(&format::seal(recounted))
            .to_string()
            .contains("more or fewer")
    );
    // Every single flipped bit.
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        rejected(&flipped);
    }
}

proptest! {
    #[test]
    fn any_bytes_are_imported_whole_or_rejected(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        cut in any::<prop::sample::Index>(),
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let mut bytes = sample();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(cut.index(bytes.len() + 1));
        bytes.extend(&tail);
        let (after, _) = cache(8);
        match after.import(&bytes, SECOND, decode) {
            Ok(_) => prop_assert_eq!(&bytes, &sample()),
            Err(_) => prop_assert!(after.is_empty()),
        }
    }

    /// Behind a checksum that was made to match, nothing may panic or allocate by what it reads either.
    #[test]
    fn any_sealed_bytes_are_harmless(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut bytes = sample();
        bytes.truncate(bytes.len() - 8);
        for (at, byte) in edits {
            let at = at.index(bytes.len() - 12) + 12;
            bytes[at] = byte;
        }
        let (after, _) = cache(8);
        let _ = after.import(&format::seal(bytes), SECOND, decode);
        after.validate().map_err(TestCaseError::fail)?;
    }
}
