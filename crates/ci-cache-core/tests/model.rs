//! The cache against a naive reference: random operations, every answer compared, every structure checked.

use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::{
    Cache, CacheBuilder, Eviction, InsertOptions, Lookup, LookupOptions, ManualClock, Scope, Stats, Ttl,
};
use proptest::prelude::*;

/// Hashes every key to the same number.
#[derive(Clone, Copy)]
struct Colliding;

impl BuildHasher for Colliding {
    type Hasher = Same;

    fn build_hasher(&self) -> Same {
        Same
    }
}

struct Same;

impl Hasher for Same {
    fn finish(&self) -> u64 {
        42
    }

    fn write(&mut self, _: &[u8]) {}
}

#[derive(Debug, Clone)]
enum Op {
    Get(u8),
    Peek(u8),
    Insert { key: u8, ttl: Option<u8>, scoped: bool },
    Load { key: u8, ttl: Option<u8>, scoped: bool },
    Remove(u8),
    RemoveOdd,
    RetainBelow(u8),
    Invalidate,
    Advance(u8),
    Purge,
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..16_u8;
    let ttl = proptest::option::of(0..20_u8);
    prop_oneof![
        8 => key.clone().prop_map(Op::Get),
        2 => key.clone().prop_map(Op::Peek),
        8 => (key.clone(), ttl.clone(), any::<bool>())
            .prop_map(|(key, ttl, scoped)| Op::Insert { key, ttl, scoped }),
        6 => (key.clone(), ttl, any::<bool>()).prop_map(|(key, ttl, scoped)| Op::Load { key, ttl, scoped }),
        3 => key.clone().prop_map(Op::Remove),
        1 => Just(Op::RemoveOdd),
        1 => key.prop_map(Op::RetainBelow),
        1 => Just(Op::Invalidate),
        4 => (0..6_u8).prop_map(Op::Advance),
        1 => Just(Op::Purge),
        1 => Just(Op::Clear),
    ]
}

#[derive(Debug, Clone, PartialEq)]
struct Row {
    key: u8,
    value: u32,
    expires: Option<u64>,
    scoped: bool,
    /// Under a scope that was invalidated since.
    dead: bool,
    hits: u64,
}

/// Least recently used last; everything by walking.
struct Naive {
    rows: Vec<Row>,
    capacity: usize,
    default_ttl: Option<u64>,
    now: u64,
    stats: Counts,
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    hits: u64,
    misses: u64,
    insertions: u64,
    replacements: u64,
    evictions: u64,
    expirations: u64,
    invalidations: u64,
}

impl Counts {
    fn of(stats: &Stats) -> Self {
        Self {
            hits: stats.hits,
            misses: stats.misses,
            insertions: stats.insertions,
            replacements: stats.replacements,
            evictions: stats.evictions,
            expirations: stats.expirations,
            invalidations: stats.invalidations,
        }
    }
}

impl Naive {
    fn live(&self, row: &Row) -> bool {
        !row.dead && row.expires.is_none_or(|at| self.now < at)
    }

    fn bury(&mut self, row: &Row) {
        if row.dead {
            self.stats.invalidations += 1;
        } else {
            self.stats.expirations += 1;
        }
    }

    fn get(&mut self, key: u8) -> Option<u32> {
        let at = self.rows.iter().position(|row| row.key == key);
        let found = at.map(|at| self.rows.remove(at));
        match found {
            Some(mut row) if self.live(&row) => {
                row.hits += 1;
                self.stats.hits += 1;
                let value = row.value;
                self.rows.insert(0, row);
                Some(value)
            }
            dead => {
                if let Some(row) = dead {
                    self.bury(&row);
                }
                self.stats.misses += 1;
                None
            }
        }
    }

    fn insert(&mut self, key: u8, value: u32, ttl: Option<u8>, scoped: bool) {
        self.stats.insertions += 1;
        if let Some(at) = self.rows.iter().position(|row| row.key == key) {
            let old = self.rows.remove(at);
            if self.live(&old) {
                self.stats.replacements += 1;
            } else {
                self.bury(&old);
            }
        } else if self.rows.len() == self.capacity {
            let Some(victim) = self.rows.pop() else { return };
            if self.live(&victim) {
                self.stats.evictions += 1;
            } else {
                self.bury(&victim);
            }
        }
        let expires = ttl.map(u64::from).or(self.default_ttl).map(|ttl| self.now + ttl);
        self.rows.insert(
            0,
            Row {
                key,
                value,
                expires,
                scoped,
                dead: false,
                hits: 0,
            },
        );
    }

    /// Removes matching and dead rows; counts the live ones.
    fn remove_where(&mut self, matches: impl Fn(&Row) -> bool) -> usize {
        let (gone, kept): (Vec<_>, Vec<_>) = std::mem::take(&mut self.rows)
            .into_iter()
            .partition(|row| !self.live(row) || matches(row));
        self.rows = kept;
        let mut count = 0;
        for row in gone {
            if self.live(&row) {
                self.stats.invalidations += 1;
                count += 1;
            } else {
                self.bury(&row);
            }
        }
        count
    }

    fn live_rows(&self) -> Vec<(u8, u32, u64)> {
        let live = self.rows.iter().filter(|row| self.live(row));
        live.map(|row| (row.key, row.value, row.hits)).collect()
    }
}

/// Runs the operations on both and compares after each.
fn duel<S: BuildHasher + Send + Sync + 'static>(
    builder: CacheBuilder<u8, u32, S>,
    clock: &ManualClock,
    naive: Naive,
    ops: &[Op],
) {
    let cache: Cache<u8, u32, (), S> = builder.build().expect("drawn settings are valid");
    let scope = Scope::new();
    let mut naive = naive;
    for (op, value) in ops.iter().zip(1_u32..) {
        apply(&cache, &scope, clock, &mut naive, op, value);
        cache
            .validate()
            .unwrap_or_else(|wrong| panic!("after {op:?}: {wrong}"));
        let entries = cache.entries(usize::MAX);
        let dump: Vec<_> = entries
            .iter()
            .map(|entry| (entry.key, entry.value, entry.meta.hits.expect("details are kept")))
            .collect();
        assert_eq!(dump, naive.live_rows(), "after {op:?}");
        assert_eq!(cache.len(), naive.rows.len(), "after {op:?}");
        assert_eq!(Counts::of(&cache.stats()), naive.stats, "after {op:?}");
        assert_eq!(cache.in_flight(), 0);
    }
}

fn apply<S: BuildHasher>(
    cache: &Cache<u8, u32, (), S>,
    scope: &Scope,
    clock: &ManualClock,
    naive: &mut Naive,
    op: &Op,
    value: u32,
) {
    let ttl_of =
        |ttl: Option<u8>| ttl.map_or(Ttl::Inherit, |ttl| Ttl::After(Duration::from_micros(ttl.into())));
    match *op {
        Op::Get(key) => assert_eq!(cache.get(&key), naive.get(key)),
        Op::Peek(key) => {
            let expected = naive
                .rows
                .iter()
                .find(|row| row.key == key && naive.live(row))
                .map(|row| row.value);
            assert_eq!(cache.peek(&key), expected);
            assert_eq!(cache.contains(&key), expected.is_some());
        }
        Op::Insert { key, ttl, scoped } => {
            let options = InsertOptions::new().ttl(ttl_of(ttl));
            cache.insert_with(key, value, if scoped { options.scope(scope) } else { options });
            naive.insert(key, value, ttl, scoped);
        }
        Op::Load { key, ttl, scoped } => {
            let options = LookupOptions::new().ttl(ttl_of(ttl));
            let expected = naive.get(key);
            match cache.lookup(&key, if scoped { options.scope(scope) } else { options }) {
                Lookup::Hit(found) => assert_eq!(Some(found.value), expected),
                Lookup::Lead(leader) => {
                    assert_eq!(expected, None);
                    assert!(leader.publish(value));
                    naive.insert(key, value, ttl, scoped);
                }
                Lookup::Wait(_) => panic!("nobody else loads"),
                Lookup::Stale(..) => panic!("no window is open"),
            }
        }
        Op::Remove(key) => {
            let expected = naive
                .rows
                .iter()
                .position(|row| row.key == key)
                .map(|at| naive.rows.remove(at));
            let live = expected.filter(|row| {
                let live = naive.live(row);
                if live {
                    naive.stats.invalidations += 1;
                } else {
                    naive.bury(row);
                }
                live
            });
            assert_eq!(cache.remove(&key), live.map(|row| row.value));
        }
        Op::RemoveOdd => {
            let count = cache.remove_where(|key, _| key % 2 == 1);
            assert_eq!(count, naive.remove_where(|row| row.key % 2 == 1));
        }
        Op::RetainBelow(limit) => {
            let count = cache.retain(|key, _| *key < limit);
            assert_eq!(count, naive.remove_where(|row| row.key >= limit));
        }
        Op::Invalidate => {
            scope.invalidate();
            naive.rows.iter_mut().for_each(|row| row.dead |= row.scoped);
        }
        Op::Advance(by) => {
            clock.advance(Duration::from_micros(by.into()));
            naive.now += u64::from(by);
        }
        Op::Purge => {
            cache.purge();
            naive.remove_where(|_| false);
        }
        Op::Clear => {
            cache.clear();
            naive.stats.invalidations += naive.rows.len() as u64;
            naive.rows.clear();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn equals_the_naive_reference(
        ops in proptest::collection::vec(op(), 1..250),
        capacity in 1..12_usize,
        default_ttl in proptest::option::of(1..15_u64),
        colliding in any::<bool>(),
    ) {
        let clock = Arc::new(ManualClock::new());
        let mut builder = CacheBuilder::new(capacity, clock.clone())
            .shards(1)
            .eviction(Eviction::Lru)
            .details(true)
            .reclaim(0);
        if let Some(ttl) = default_ttl {
            builder = builder.default_ttl(Duration::from_micros(ttl));
        }
        let naive = Naive { rows: Vec::new(), capacity, default_ttl, now: 0, stats: Counts::default() };
        if colliding {
            duel(builder.hasher(Colliding), &clock, naive, &ops);
        } else {
            duel(builder, &clock, naive, &ops);
        }
    }
}
