//! Shares against a naive reference, and proof that it notices when they are ignored.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::clock::ManualClock;
use crate::entry::InsertOptions;
use crate::policy::Eviction;
use crate::rules::Rules;
use crate::share::Share;
use crate::{Cache, CacheBuilder};

/// Keys of one group.
const KEYS: u8 = 10;

#[derive(Debug, Clone, Copy)]
enum Op {
    Get(u8),
    Insert(u8, u32),
    Remove(u8),
    RemoveGroup(u8),
    Resize(u8),
    Clear,
}

fn group_of(key: u8) -> u64 {
    u64::from(key / KEYS)
}

fn op() -> impl Strategy<Value = Op> {
    let key = || 0..4 * KEYS;
    prop_oneof![
        10 => key().prop_map(Op::Get),
        20 => (key(), 1_u32..4).prop_map(|(key, weight)| Op::Insert(key, weight)),
        // One that never stops coming.
        20 => (0..KEYS, 1_u32..4).prop_map(|(key, weight)| Op::Insert(key, weight)),
        3 => key().prop_map(Op::Remove),
        1 => (0_u8..5).prop_map(Op::RemoveGroup),
        1 => (1_u8..30).prop_map(Op::Resize),
        1 => Just(Op::Clear),
    ]
}

/// Entries by recency of use, the last used first, and the shares of four groups.
#[derive(Debug, Clone)]
struct Naive {
    rows: Vec<(u8, u32)>,
    capacity: u64,
    shares: [Share; 4],
}

impl Naive {
    fn share(&self, group: u64) -> Share {
        self.shares[usize::try_from(group).unwrap()]
    }

    fn weights(&self) -> BTreeMap<u64, u64> {
        let mut weights = BTreeMap::new();
        for &(key, weight) in &self.rows {
            *weights.entry(group_of(key)).or_default() += u64::from(weight);
        }
        weights
    }

    fn excess(&self) -> BTreeMap<u64, u64> {
        let weights = self.weights();
        let parts: u64 = weights
            .keys()
            .map(|&group| u64::from(self.share(group).parts))
            .sum();
        let over = weights.into_iter().filter_map(|(group, weight)| {
            let share = self.capacity * u64::from(self.share(group).parts) / parts.max(1);
            (weight > share).then(|| (group, weight - share))
        });
        over.collect()
    }

    /// Who loses its least recently used entry when the shard is too heavy.
    fn loser(&self, newcomer: Option<u64>) -> u64 {
        let excess = self.excess();
        let last = group_of(self.rows.last().unwrap().0);
        if newcomer == Some(last) || excess.contains_key(&last) {
            return last;
        }
        let own = newcomer.filter(|own| excess.contains_key(own));
        let most = excess.values().max();
        own.or_else(|| {
            excess
                .iter()
                .find(|(_, over)| Some(*over) == most)
                .map(|(&group, _)| group)
        })
        .unwrap()
    }

    fn lose(&mut self, group: u64) {
        let last = self.rows.iter().rposition(|&(key, _)| group_of(key) == group);
        self.rows.remove(last.unwrap());
    }

    fn shrink(&mut self, newcomer: Option<u64>) {
        loop {
            let weights = self.weights();
            if weights.values().sum::<u64>() > self.capacity {
                self.lose(self.loser(newcomer));
            } else if let Some(own) = newcomer
                && weights
                    .get(&own)
                    .is_some_and(|&weight| weight > self.share(own).limit)
            {
                self.lose(own);
            } else {
                return;
            }
        }
    }

    fn insert(&mut self, key: u8, weight: u32) {
        self.rows.retain(|&(held, _)| held != key);
        let group = group_of(key);
        if u64::from(weight) <= self.capacity.min(self.share(group).limit) {
            self.rows.insert(0, (key, weight));
            self.shrink(Some(group));
        }
    }

    fn get(&mut self, key: u8) -> bool {
        let at = self.rows.iter().position(|&(held, _)| held == key);
        let row = at.map(|at| self.rows.remove(at));
        row.inspect(|&row| self.rows.insert(0, row)).is_some()
    }
}

fn shares() -> impl Strategy<Value = [Share; 4]> {
    let share = || {
        (0_u32..4, prop::option::of(1_u64..20)).prop_map(|(parts, limit)| {
            let share = Share::new().parts(parts);
            limit.map_or(share, |limit| share.limit(limit))
        })
    };
    [share(), share(), share(), share()]
}

fn grouped(capacity: u64, shares: [Share; 4], eviction: Eviction) -> Cache<u8, ()> {
    let share = move |group| shares[usize::try_from(group).unwrap()];
    CacheBuilder::new(usize::try_from(capacity).unwrap(), Arc::new(ManualClock::new()))
        .shards(1)
        .eviction(eviction)
        .groups(|&key| group_of(key), share)
        .build()
        .unwrap()
}

fn apply(cache: &Cache<u8, ()>, op: Op) {
    match op {
        Op::Get(key) => {
            cache.get(&key);
        }
        Op::Insert(key, weight) => {
            cache.insert_with(key, (), InsertOptions::new().weight(weight));
        }
        Op::Remove(key) => {
            cache.remove(&key);
        }
        Op::RemoveGroup(group) => {
            cache.remove_group(group.into());
        }
        Op::Resize(capacity) => cache.resize(capacity.into()).unwrap(),
        Op::Clear => cache.clear(),
    }
}

/// Runs the operations on a cache and the reference, and compares the whole order after each.
fn duel(mut naive: Naive, ops: Vec<Op>, rules: Rules) {
    let cache = grouped(naive.capacity, naive.shares, Eviction::Lru);
    cache.plant(rules);
    for op in ops {
        match op {
            Op::Get(key) => assert_eq!(cache.contains(&key), naive.get(key)),
            Op::Insert(key, weight) => naive.insert(key, weight),
            Op::Remove(key) => naive.rows.retain(|&(held, _)| held != key),
            Op::RemoveGroup(group) => naive.rows.retain(|&(key, _)| group_of(key) != u64::from(group)),
            Op::Resize(capacity) => {
                naive.capacity = capacity.into();
                naive.shrink(None);
            }
            Op::Clear => naive.rows.clear(),
        }
        apply(&cache, op);
        let entries = cache.entries(usize::MAX);
        let rows = entries.iter().map(|entry| (entry.key, entry.meta.weight));
        assert_eq!(rows.collect::<Vec<_>>(), naive.rows, "after {op:?}");
        cache.validate().unwrap();
        for (group, weight) in naive.weights() {
            assert_eq!(cache.group(group).unwrap().weight, weight);
        }
    }
}

fn drawn() -> impl Strategy<Value = (Naive, Vec<Op>)> {
    let naive = (1_u64..30, shares()).prop_map(|(capacity, shares)| Naive {
        rows: Vec::new(),
        capacity,
        shares,
    });
    (naive, prop::collection::vec(op(), 1..200))
}

fn config(cases: u32) -> Config {
    Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 200,
        ..Config::default()
    }
}

#[test]
fn shares_equal_the_naive_reference() {
    let equal = TestRunner::new(config(2_000)).run(&drawn(), |(naive, ops)| {
        duel(naive, ops, Rules::SHIPPED);
        Ok(())
    });
    equal.unwrap();
}

#[test]
fn the_reference_notices_that_shares_are_ignored() {
    let mut runner = TestRunner::new(Config {
        max_shrink_iters: 0,
        ..config(200)
    });
    let noticed = runner.run(&drawn(), |(naive, ops)| {
        let held = catch_unwind(AssertUnwindSafe(|| duel(naive, ops, Rules::IgnoresShares)));
        prop_assert!(held.is_ok());
        Ok(())
    });
    assert!(noticed.is_err(), "nobody noticed it");
}

/// Under every policy: an insertion takes nothing from another group that is within its share.
#[test]
fn no_policy_takes_from_a_group_within_its_share() {
    let policies = [
        Eviction::Lru,
        Eviction::S3Fifo,
        Eviction::Sieve,
        Eviction::TinyLfu,
        Eviction::Adaptive,
    ];
    for eviction in policies {
        let kept = TestRunner::new(config(300)).run(&drawn(), |(naive, ops)| {
            let cache = grouped(naive.capacity, naive.shares, eviction);
            for op in ops {
                let before = cache.groups(|_| ());
                apply(&cache, op);
                cache.validate().map_err(TestCaseError::fail)?;
                let Op::Insert(key, _) = op else { continue };
                // A group that comes lessens the shares of the others: they may be brought down to those, not below.
                let others = before.into_iter().filter(|(group, ..)| *group != group_of(key));
                for (group, _, was) in others {
                    let is = cache.group(group).unwrap_or_default();
                    let parts = u64::from(naive.share(group).parts);
                    let all: u64 = cache
                        .groups(|_| ())
                        .iter()
                        .filter(|(other, _, stats)| {
                            [group, group_of(key)].contains(other) || stats.entries > 0
                        })
                        .map(|(other, ..)| u64::from(naive.share(*other).parts))
                        .sum();
                    let capacity = u64::try_from(cache.capacity()).unwrap();
                    let floor = was.weight.min(capacity * parts / all.max(1));
                    // Entries are whole: the last one that left weighed 3 at most.
                    prop_assert!(
                        is.weight + 2 >= floor,
                        "{:?}: {:?} became {:?}",
                        eviction,
                        was,
                        is
                    );
                }
            }
            Ok(())
        });
        kept.unwrap();
    }
}

#[test]
fn a_group_is_counted_limited_and_forgotten() {
    let cache = grouped(
        30,
        [Share::new().limit(3), Share::new(), Share::new(), Share::new()],
        Eviction::Adaptive,
    );
    (0..KEYS).for_each(|key| cache.insert(key, ()));
    assert!(cache.get(&(KEYS - 1)).is_some());
    cache.insert(KEYS, ());
    let stats = cache.group(0).unwrap();
    assert_eq!(
        (stats.entries, stats.weight, stats.share, stats.hits),
        (3, 3, 15, 1)
    );
    assert_eq!(stats.evictions, u64::from(KEYS) - 3);
    assert_eq!(cache.groups(|&key| key).len(), 2);
    assert_eq!(cache.remove_group(0), 3);
    assert_eq!((cache.group(0), cache.len()), (None, 1));
    assert_eq!(cache.group(1).unwrap().share, 30, "what nobody uses is lent");
    cache.clear();
    assert_eq!(cache.group(1).unwrap().entries, 0);
    cache.validate().unwrap();
}

#[test]
fn a_flight_of_a_removed_group_is_detached() {
    let cache = grouped(30, [Share::new(); 4], Eviction::Adaptive);
    let crate::Lookup::Lead(leader) = cache.lookup(&1, crate::LookupOptions::new()) else {
        panic!("nobody else loads");
    };
    cache.remove_group(0);
    assert!(!leader.publish(()));
}

#[test]
fn made_up_groups_are_forgotten() {
    let cache: Cache<u64, ()> = CacheBuilder::new(10, Arc::new(ManualClock::new()))
        .groups(|&key| key, |_| Share::new())
        .build()
        .unwrap();
    (0..10_000).for_each(|key| cache.insert(key, ()));
    assert!(cache.groups(|_| ()).len() <= 1_024);
    cache.validate().unwrap();
}
