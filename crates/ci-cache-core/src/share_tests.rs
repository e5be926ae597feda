//! Shares against a naive reference, and proof that it notices when they are ignored.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use foldhash::fast::FixedState;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

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

#[derive(Debug, Clone, Copy, PartialEq)]
struct Row {
    key: u8,
    weight: u32,
    proven: bool,
}

/// Entries by recency of use, the last used first, and the shares of four groups.
#[derive(Debug, Clone)]
struct Naive {
    rows: Vec<Row>,
    capacity: u64,
    shares: [Share; 4],
    /// The last group that inserted with too much on probation.
    churner: Option<u64>,
}

impl Naive {
    fn share(&self, group: u64) -> Share {
        self.shares[usize::try_from(group).unwrap()]
    }

    fn weights(&self, counts: impl Fn(&Row) -> bool) -> BTreeMap<u64, u64> {
        let mut weights = BTreeMap::new();
        for row in &self.rows {
            let weight = if counts(row) { u64::from(row.weight) } else { 0 };
            *weights.entry(group_of(row.key)).or_default() += weight;
        }
        weights
    }

    fn claim(&self, group: u64) -> u64 {
        let parts = |group: &u64| u64::from(self.share(*group).parts);
        let all: u64 = self.weights(|_| true).keys().map(parts).sum();
        self.capacity * parts(&group) / all.max(1)
    }

    fn excess(&self) -> BTreeMap<u64, u64> {
        let weights = self.weights(|_| true).into_iter();
        let over = weights.filter(|&(group, weight)| weight > self.claim(group));
        over.map(|(group, weight)| (group, weight - self.claim(group)))
            .collect()
    }

    /// The oldest entry on probation, or the least recently used one.
    fn oldest(&self, group: u64) -> usize {
        let of = |row: &Row| group_of(row.key) == group;
        let unproven = self.rows.iter().rposition(|row| of(row) && !row.proven);
        unproven.or_else(|| self.rows.iter().rposition(of)).unwrap()
    }

    /// Where the entry is that leaves when the shard is too heavy.
    fn loser(&mut self, newcomer: Option<u64>) -> usize {
        let at = self.rows.len() - 1;
        let (victim, group) = (self.rows[at], group_of(self.rows[at].key));
        if self
            .weights(|_| true)
            .keys()
            .all(|&group| self.share(group).parts == 0)
        {
            return at;
        }
        let probation = self.weights(|row| !row.proven);
        let on_probation = |group: u64| probation.get(&group).copied().unwrap_or(0);
        let newest = |group: u64| {
            let mut rows = self.rows.iter();
            rows.find(|row| group_of(row.key) == group && !row.proven)
                .map_or(0, |row| u64::from(row.weight))
        };
        let floor = |own: u64| (newest(own) * 8).min(self.capacity / 64);
        let has_churned = |own: u64| {
            on_probation(own) > self.claim(own) / 4 && on_probation(own) - newest(own) > floor(own)
        };
        let weight = self.weights(|_| true);
        let churns_more = |one: u64, other: u64| {
            let all = |group: u64| weight.get(&group).copied().unwrap_or(0).max(1);
            on_probation(one) * all(other) > on_probation(other) * all(one)
        };
        if let Some(own) = newcomer {
            let rival = self.churner.filter(|&rival| rival != own && has_churned(rival));
            let worse = rival.filter(|&rival| !has_churned(own) || churns_more(rival, own));
            let payer = Some(own)
                .filter(|&own| has_churned(own) && own != group)
                .or(worse.filter(|&rival| rival != group));
            let remembered = has_churned(own) && worse.is_none();
            let oldest = payer.map(|payer| self.oldest(payer));
            if remembered {
                self.churner = newcomer;
            }
            if let Some(oldest) = oldest {
                return oldest;
            }
        }
        let excess = self.excess();
        let is_within = !excess.contains_key(&group);
        if !is_within || !victim.proven && on_probation(group) > self.claim(group) / 8 {
            return at;
        }
        let own = newcomer.filter(|own| excess.contains_key(own));
        let most = excess.values().max();
        let most = excess
            .iter()
            .find(|(_, over)| Some(*over) == most)
            .map(|(&group, _)| group);
        self.oldest(own.or(most).unwrap())
    }

    fn shrink(&mut self, newcomer: Option<u64>) {
        loop {
            let weights = self.weights(|_| true);
            if weights.values().sum::<u64>() > self.capacity {
                let loser = self.loser(newcomer);
                self.rows.remove(loser);
            } else if let Some(own) = newcomer
                && weights
                    .get(&own)
                    .is_some_and(|&weight| weight > self.share(own).limit)
            {
                self.rows.remove(self.oldest(own));
            } else {
                return;
            }
        }
    }

    fn insert(&mut self, key: u8, weight: u32) {
        let at = self.rows.iter().position(|row| row.key == key);
        let was = at.map(|at| self.rows.remove(at));
        let group = group_of(key);
        if u64::from(weight) <= self.capacity.min(self.share(group).limit) {
            let proven = was.is_some();
            self.rows.insert(0, Row { key, weight, proven });
            self.shrink(Some(group));
        }
    }

    fn get(&mut self, key: u8) -> bool {
        let at = self.rows.iter().position(|row| row.key == key);
        let row = at.map(|at| self.rows.remove(at));
        row.inspect(|&row| self.rows.insert(0, Row { proven: true, ..row }))
            .is_some()
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
            Op::Remove(key) => naive.rows.retain(|row| row.key != key),
            Op::RemoveGroup(group) => {
                naive.rows.retain(|row| group_of(row.key) != u64::from(group));
                naive.churner = naive.churner.filter(|&churner| churner != u64::from(group));
            }
            Op::Resize(capacity) => {
                naive.capacity = capacity.into();
                naive.shrink(None);
            }
            Op::Clear => naive.rows.clear(),
        }
        apply(&cache, op);
        let entries = cache.entries(usize::MAX);
        let rows = entries.iter().map(|entry| (entry.key, entry.meta.weight));
        let expected = naive.rows.iter().map(|row| (row.key, row.weight));
        assert_eq!(
            rows.collect::<Vec<_>>(),
            expected.collect::<Vec<_>>(),
            "after {op:?}"
        );
        cache.validate().unwrap();
        for (group, weight) in naive.weights(|_| true) {
            assert_eq!(cache.group(group).unwrap().weight, weight);
        }
    }
}

fn drawn() -> impl Strategy<Value = (Naive, Vec<Op>)> {
    let naive = (1_u64..30, shares()).prop_map(|(capacity, shares)| Naive {
        rows: Vec::new(),
        capacity,
        shares,
        churner: None,
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
    let config = Config {
        max_shrink_iters: 0,
        ..config(200)
    };
    // The same in each run: that it is noticed must not be a matter of luck.
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let noticed = runner.run(&drawn(), |(naive, ops)| {
        let held = catch_unwind(AssertUnwindSafe(|| duel(naive, ops, Rules::IgnoresShares)));
        prop_assert!(held.is_ok());
        Ok(())
    });
    assert!(noticed.is_err(), "nobody noticed it");
}

/// Under every policy: an insertion takes no proven entry from another group that is within its share.
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
                // Used at once, so that whatever is there is proven.
                cache.get(&key);
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

/// A scan takes a quarter of its share at most, whatever it does to the policy, and however much faster it is.
#[test]
fn a_scan_displaces_a_quarter_of_its_share_at_most() {
    for eviction in [
        Eviction::Lru,
        Eviction::S3Fifo,
        Eviction::Sieve,
        Eviction::TinyLfu,
        Eviction::Adaptive,
    ] {
        let cache: Cache<u32, ()> = CacheBuilder::new(100, Arc::new(ManualClock::new()))
            .eviction(eviction)
            .groups(|&key| u64::from(key >= 1_000), |_| Share::new())
            .build()
            .unwrap();
        (0..100).for_each(|key| cache.insert(key, ()));
        for key in 1_000..3_000 {
            cache.insert(key, ());
            cache.get(&(key % 100));
        }
        let kept = cache.group(0).unwrap().entries;
        assert!(kept >= 87, "{eviction:?}: {kept}");
        // And what is used comes to its share.
        for key in (1_000..1_060).cycle().take(6_000) {
            cache.insert(key, ());
            cache.get(&key);
        }
        let entries = cache.group(1).unwrap().entries;
        assert!(entries >= 45, "{eviction:?}: {entries}");
        cache.validate().unwrap();
    }
}

/// However many groups share the room: the newest of them asks a few questions again and again, and is answered.
#[test]
fn a_group_among_very_many_keeps_what_it_asks_for_again() {
    for eviction in [Eviction::Lru, Eviction::default()] {
        for groups in [50_u64, 200, 400, 1_000, 3_000] {
            let cache: Cache<(u64, u32), ()> = CacheBuilder::new(1_024, Arc::new(ManualClock::new()))
                .shards(1)
                .eviction(eviction)
                .groups(|&(group, _)| group, |_| Share::new())
                .build()
                .unwrap();
            for row in 0..40 {
                (0..groups).for_each(|group| cache.insert((group, row), ()));
            }
            let (mut hits, rounds) = (0, 200);
            for _ in 0..rounds {
                for row in 0..6 {
                    if cache.get(&(9_999, row)).is_some() {
                        hits += 1;
                    } else {
                        cache.insert((9_999, row), ());
                    }
                }
            }
            assert!(
                hits >= (rounds - 3) * 6,
                "{eviction:?}, {groups} groups: {hits} hits"
            );
        }
    }
}

/// What was used and then stored again, because its time was over, is not on probation anew, under any policy.
#[test]
fn what_is_stored_again_stays_proven() {
    for eviction in [
        Eviction::Lru,
        Eviction::S3Fifo,
        Eviction::Sieve,
        Eviction::default(),
    ] {
        let cache: Cache<(u64, u32), ()> = CacheBuilder::new(100, Arc::new(ManualClock::new()))
            .shards(1)
            .eviction(eviction)
            .groups(|&(group, _)| group, |_| Share::new())
            .build()
            .unwrap();
        for _ in 0..2 {
            for row in 0..40 {
                cache.insert((1, row), ());
            }
        }
        (0..10_000).for_each(|row| cache.insert((2, row), ()));
        let kept = cache.group(1).map_or(0, |group| group.entries);
        assert_eq!(kept, 40, "{eviction:?}");
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

/// A sequence of numbers that a seed determines (xorshift, Marsaglia 2003).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 >> 11
    }
}

/// A shard of so many entries, an object space ten times as large with a zipf-like load, and a scan beside it.
struct Scan {
    entries: u32,
    /// Scanned keys for each request.
    rate: u32,
    /// Determines where keys go and which are in the sample.
    seed: u64,
}

impl Scan {
    /// Gives the hits in a thousand of the zipf-like load in the second half of a hundred requests for each entry.
    fn hits(&self) -> u64 {
        let (objects, requests) = (self.entries * 10, self.entries * 100);
        let cache: Cache<u64, (), (), FixedState> =
            CacheBuilder::new(self.entries as usize, Arc::new(ManualClock::new()))
                .shards(1)
                .hasher(FixedState::with_seed(self.seed))
                .groups(|&key| key >> 63, |_| Share::new())
                .build()
                .unwrap();
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let mut sum = 0_u64;
        let weights: Vec<u64> = (1..=objects)
            .map(|rank| {
                sum += u64::from(1_000_000_000 / rank);
                sum
            })
            .collect();
        let ask = |key: u64| {
            let hit = cache.get(&key).is_some();
            if !hit {
                cache.insert(key, ());
            }
            u64::from(hit)
        };
        let mut hits = 0;
        for number in 0..requests {
            let drawn = random.next() % sum;
            let hit = ask(weights.partition_point(|&weight| weight <= drawn) as u64);
            hits += if number >= requests / 2 { hit } else { 0 };
            (0..self.rate).for_each(|_| {
                ask((1 << 63) | (random.next() % 20_000_000));
            });
        }
        hits * 1_000 / u64::from(requests / 2)
    }
}

/// Tells what a scan of each rate costs a cache whose keys are placed by a seed: less than 5 points.
fn assert_scans_cost_little(seed: u64, rates: &[u32]) {
    let hits = |rate| {
        let scan = Scan {
            entries: 2_048,
            rate,
            seed,
        };
        scan.hits()
    };
    let alone = hits(0);
    assert!((600..950).contains(&alone), "{alone}, seed {seed}");
    for &rate in rates {
        let beside = hits(rate);
        println!("{alone} of 1000 alone, {beside} beside a scan of {rate} times the rate");
        assert!(
            beside + 50 > alone,
            "{alone} alone, {beside} beside {rate} times the rate, seed {seed}"
        );
    }
}

/// One tenant's random scan costs another less than 5 points, under the default policy, wherever the keys fall: with 60 of 60 seeds (100 to 159), of which the worst lost 4.5 points. It is no law: with seed
/// 8293007558203311560 and four times the rate 6.8 are lost. A long run draws another seed each time.
#[test]
fn a_scan_costs_another_group_less_than_five_points() {
    assert_scans_cost_little(1, &[1, 4, 10]);
    if std::env::var_os("CI_CACHE_TEST_LONG").is_some() {
        assert_scans_cost_little(RandomState::new().hash_one(0_u8), &[1, 4, 10]);
    }
}

/// With these seeds the scan fills the shard first and the rules in force refuse what comes after it: the other group kept 450 entries of a
/// share of 1,024, an eighth of them never asked for again, and lost 11 points.
#[test]
fn a_group_whose_newcomers_are_refused_still_gets_its_share() {
    for seed in [0, 6, 20] {
        assert_scans_cost_little(seed, &[4]);
    }
}
