//! LRU mode equals a naive reference on ten million random operations: every answer, the whole order, every structure.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests panic where something is not as it should be"
)]

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::{
    Cache, CacheBuilder, Eviction, InsertOptions, Lookup, LookupOptions, ManualClock, Scope, Ttl,
};

/// In all; the profile of the workspace optimises this crate for it.
const OPERATIONS: u64 = 10_000_000;
/// Operations under one configuration.
const EPISODE: u64 = 1_000;

/// A sequence of numbers that a seed determines (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }
}

#[derive(Debug, Clone)]
struct Row {
    key: u8,
    value: u64,
    weight: u32,
    expires: Option<u64>,
    scoped: bool,
    dead: bool,
}

/// Least recently used last; everything by walking.
#[derive(Debug)]
struct Naive {
    rows: Vec<Row>,
    capacity: u64,
    ttl: Option<u64>,
    now: u64,
}

impl Naive {
    fn is_live(&self, row: &Row) -> bool {
        !row.dead && row.expires.is_none_or(|at| self.now < at)
    }

    fn at(&self, key: u8) -> Option<usize> {
        self.rows.iter().position(|row| row.key == key)
    }

    fn weight(&self) -> u64 {
        self.rows.iter().map(|row| u64::from(row.weight)).sum()
    }

    fn get(&mut self, key: u8) -> Option<u64> {
        let row = self.at(key).map(|at| self.rows.remove(at))?;
        if !self.is_live(&row) {
            return None;
        }
        let value = row.value;
        self.rows.insert(0, row);
        Some(value)
    }

    fn peek(&self, key: u8) -> Option<u64> {
        let row = &self.rows[self.at(key)?];
        self.is_live(row).then_some(row.value)
    }

    fn remove(&mut self, key: u8) -> Option<u64> {
        let row = self.at(key).map(|at| self.rows.remove(at))?;
        self.is_live(&row).then_some(row.value)
    }

    /// Says whether the value is kept.
    fn insert(&mut self, key: u8, value: u64, weight: u32, ttl: Option<u64>, scoped: bool) -> bool {
        self.rows.retain(|row| row.key != key);
        if u64::from(weight) > self.capacity {
            return false;
        }
        let expires = ttl.or(self.ttl).map(|ttl| self.now + ttl);
        let row = Row {
            key,
            value,
            weight,
            expires,
            scoped,
            dead: false,
        };
        self.rows.insert(0, row);
        self.shrink();
        true
    }

    fn shrink(&mut self) {
        while self.weight() > self.capacity {
            self.rows.pop();
        }
    }

    fn keep(&mut self, keep: impl Fn(&Row) -> bool) {
        let now = self.now;
        self.rows
            .retain(|row| !row.dead && row.expires.is_none_or(|at| now < at) && keep(row));
    }
}

/// Both caches, and what they share.
struct Duel {
    cache: Cache<u8, u64>,
    naive: Naive,
    clock: Arc<ManualClock>,
    scope: Scope,
    random: Random,
    weighted: bool,
}

impl Duel {
    fn new(mut random: Random) -> Self {
        let clock = Arc::new(ManualClock::new());
        let weighted = random.one_in(2);
        let capacity = 1 + random.below(if weighted { 24 } else { 17 });
        let ttl = random.one_in(2).then(|| 1 + random.below(12));
        let mut builder = CacheBuilder::new(usize::try_from(capacity).unwrap(), clock.clone())
            .shards(1)
            .eviction(Eviction::Lru)
            .details(random.one_in(2))
            .reclaim(0);
        if let Some(ttl) = ttl {
            builder = builder.default_ttl(Duration::from_micros(ttl));
        }
        Self {
            cache: builder.build().unwrap(),
            naive: Naive {
                rows: Vec::new(),
                capacity,
                ttl,
                now: 0,
            },
            clock,
            scope: Scope::new(),
            random,
            weighted,
        }
    }

    fn ttl(&mut self) -> Option<u64> {
        self.random.one_in(4).then(|| self.random.below(15))
    }

    fn insert(&mut self, key: u8, value: u64) {
        let weight = if self.weighted {
            1 + self.random.below(6)
        } else {
            1
        };
        let weight = u32::try_from(weight).unwrap();
        let (ttl, scoped) = (self.ttl(), self.random.one_in(4));
        let mut options = InsertOptions::new().weight(weight);
        if let Some(ttl) = ttl {
            options = options.ttl(Duration::from_micros(ttl));
        }
        if scoped {
            options = options.scope(&self.scope);
        }
        let kept = self.cache.insert_with(key, value, options);
        assert_eq!(kept, self.naive.insert(key, value, weight, ttl, scoped));
    }

    fn load(&mut self, key: u8, value: u64) {
        let (ttl, scoped) = (self.ttl(), self.random.one_in(4));
        let mut options = LookupOptions::new();
        if let Some(ttl) = ttl {
            options = options.ttl(Ttl::After(Duration::from_micros(ttl)));
        }
        if scoped {
            options = options.scope(&self.scope);
        }
        let expected = self.naive.get(key);
        match self.cache.lookup(&key, options) {
            Lookup::Hit(found) => assert_eq!(Some(found.value), expected),
            Lookup::Lead(leader) => {
                assert_eq!(expected, None);
                assert!(leader.publish(value) && self.naive.insert(key, value, 1, ttl, scoped));
            }
            other => panic!("one thread, no window: {other:?}"),
        }
    }

    fn step(&mut self, value: u64) {
        let key = u8::try_from(self.random.below(16)).unwrap();
        match self.random.below(64) {
            0..=23 => assert_eq!(self.cache.get(&key), self.naive.get(key)),
            24..=27 => assert_eq!(self.cache.peek(&key), self.naive.peek(key)),
            28..=43 => self.insert(key, value),
            44..=53 => self.load(key, value),
            54..=56 => assert_eq!(self.cache.remove(&key), self.naive.remove(key)),
            57..=59 => {
                let by = self.random.below(5);
                self.clock.advance(Duration::from_micros(by));
                self.naive.now += by;
            }
            60 => {
                let capacity = 1 + self.random.below(24);
                self.cache.resize(usize::try_from(capacity).unwrap()).unwrap();
                self.naive.capacity = capacity;
                self.naive.shrink();
            }
            61 => {
                self.scope.invalidate();
                self.naive.rows.iter_mut().for_each(|row| row.dead |= row.scoped);
            }
            62 => {
                self.cache.retain(|other, _| *other < key);
                self.naive.keep(|row| row.key < key);
            }
            _ => {
                self.cache.clear();
                self.naive.rows.clear();
            }
        }
    }

    fn compare(&self) {
        self.cache.validate().unwrap();
        let ours = self.cache.entries(usize::MAX);
        let ours = ours
            .iter()
            .map(|entry| (entry.key, entry.value, entry.meta.weight));
        let theirs = self.naive.rows.iter().filter(|row| self.naive.is_live(row));
        assert!(
            ours.eq(theirs.map(|row| (row.key, row.value, row.weight))),
            "{:?}",
            self.naive
        );
        assert_eq!(self.cache.len(), self.naive.rows.len());
        assert_eq!(self.cache.weight(), self.naive.weight());
    }
}

#[test]
fn lru_equals_the_naive_reference_on_ten_million_operations() {
    let half = |seed: u64| {
        let mut random = Random(seed);
        for _ in 0..OPERATIONS / 2 / EPISODE {
            let mut duel = Duel::new(Random(random.next() | 1));
            for value in 0..EPISODE {
                duel.step(value);
                duel.compare();
            }
        }
    };
    std::thread::scope(|threads| {
        threads.spawn(|| half(0x9E37_79B9_7F4A_7C15));
        threads.spawn(|| half(0xD1B5_4A32_D192_ED03));
    });
}
