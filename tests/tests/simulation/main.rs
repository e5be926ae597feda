//! The whole fleet protocol in virtual time: nodes with the cache as it ships, and around them a simulated database,
//! hot standby, network and tier.
//!
//! ```text
//! CI_CACHE_SIMULATION_SEED=17 cargo test -p ci-tests --test simulation one_seed -- --nocapture
//! CI_CACHE_SIMULATION_LAW=TrustsTier   break a rule in that run
//! CI_CACHE_TEST_LONG=1                 many more seeds (cargo xtask test --long sets it)
//! ```
//!
//! What is the product's own code: the engine with its log, index, marks and publications (`CoherentCiCache`), versions, predicates,
//! dependencies and keys (`ci-model`), and the accept rule of the tier (`CoherentCiCache::check`). The steps of a node between them (when it
//! polls, what it waits for, in which order it reads from the tier, confirms, forgets and joins, when it uses a standby's answer, who loads for others,
//! how it works off what is to be written) are written again here after `ci-runner`, whose tasks need a runtime and a real store; and what a standby says
//! of its state, and what that proves, after `ci-store`.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod copying;
mod database;
mod estate;
mod faults;
mod feeding;
mod fleet;
mod judge;
mod laws;
mod leasing;
mod node;
mod queueing;
mod reads;
mod sharing;
mod standby;
mod tier;

use std::collections::BTreeMap;

use estate::Estate;
use faults::Fault;
use laws::Law;

/// Lines of a trace that are shown of a run that went wrong.
const SHOWN: usize = 60;
/// Seeds after which a broken rule must have been noticed.
const ENOUGH: u64 = 200;

/// What a campaign must have met, besides every fault, or it proves nothing.
const OUTCOMES: &[&str] = &[
    "an answer of a state that neither includes its reader's mark nor is included",
    "answers",
    "coalesced",
    "commits",
    "dropped by a change",
    "feed: a batch was missing",
    "feed: answer lost",
    "feed: blind",
    "feed: gap",
    "feed: new epoch",
    "feed: request lost",
    "healed",
    "hit",
    "lease: another has it",
    "lease: ended by itself",
    "lease: found free",
    "lease: given back",
    "lease: its holder died",
    "lease: no answer",
    "lease: not given back",
    "lease: taken",
    "lease: taken after a wait",
    "lease: the holder's answer was used",
    "lease: waited in vain",
    "load failed",
    "past the cache",
    "published: kept",
    "published: refused, detached",
    "published: refused, other epoch",
    "published: refused, older than the log",
    "published: refused, overtaken",
    "queue: a batch was lost in part",
    "queue: a call was given up",
    "queue: a delete is owed",
    "queue: a delete waits for room",
    "queue: a value came late, after its delete",
    "queue: a wrong value was deleted",
    "queue: deletes before values",
    "queue: full",
    "rolled back",
    "standby: ahead",
    "standby: another history",
    "standby: behind",
    "standby: blurred",
    "standby: does not stream",
    "standby: failed",
    "standby: made anew",
    "standby: no mark",
    "standby: promoted",
    "standby: the primary has its name written down",
    "standby: timed out",
    "standby: too old for its reader",
    "standby: used",
    "standby: waited for",
    "standby: waited for the primary",
    "tier: another load is there",
    "tier: another node confirms",
    "tier: bookmark left",
    "tier: confirmed over what came between look and write",
    "tier: delete lost",
    "tier: did not answer",
    "tier: hit",
    "tier: joined by a bookmark",
    "tier: joined without one",
    "tier: nothing",
    "tier: refused, damaged",
    "tier: refused, forgotten by hand",
    "tier: refused, nothing known",
    "tier: refused, older than the log",
    "tier: refused, other epoch",
    "tier: refused, other key",
    "tier: refused, overtaken",
    "tier: too old for its reader",
    "tier: used, not kept",
    "tier: validity renewed",
    "tier: write lost",
    "waited in vain",
    "write not followed",
    "writes returned",
];

fn seeds() -> u64 {
    if std::env::var_os("CI_CACHE_TEST_LONG").is_some() {
        100_000
    } else {
        3_000
    }
}

/// Tells of a run that went wrong, by running it again.
fn report(estate: &Estate, seed: u64, law: Law) -> String {
    let again = fleet::run(estate, seed, law, true);
    let from = again.trace.len().saturating_sub(SHOWN);
    format!(
        "seed {seed}: {}\nthe last of {} events (all: CI_CACHE_SIMULATION_SEED={seed}):\n{}",
        again
            .wrong
            .unwrap_or_else(|| "not wrong the second time".to_owned()),
        again.trace.len(),
        again.trace[from..].join("\n")
    )
}

#[test]
fn no_answer_of_a_fleet_is_wrong_and_each_node_recovers() {
    let estate = Estate::new();
    let mut seen: BTreeMap<&'static str, u64> = BTreeMap::new();
    for seed in 0..seeds() {
        let outcome = fleet::run(&estate, seed, Law::Kept, false);
        assert!(outcome.wrong.is_none(), "{}", report(&estate, seed, Law::Kept));
        for (what, count) in outcome.seen {
            *seen.entry(what).or_default() += count;
        }
    }
    for (what, count) in &seen {
        println!("{count:>9} {what}");
    }
    let faults = Fault::ALL.map(Fault::name);
    let missing: Vec<&&str> = OUTCOMES
        .iter()
        .chain(&faults)
        .filter(|what| !seen.contains_key(**what))
        .collect();
    assert!(missing.is_empty(), "never seen: {missing:?}");
}

#[test]
fn a_seed_is_one_run() {
    let estate = Estate::new();
    for seed in [1, 2, 3, 4, 5, 6, 7, 8] {
        let [first, second] = [(); 2].map(|()| fleet::run(&estate, seed, Law::Kept, true));
        assert_eq!(first.trace, second.trace, "seed {seed}");
        assert!(first.trace.len() > 50, "seed {seed}");
    }
}

/// Runs the seed that the environment names and shows its trace; without one, the first.
#[test]
fn one_seed() {
    let seed = std::env::var("CI_CACHE_SIMULATION_SEED").map_or(0, |seed| seed.parse().unwrap());
    let name = std::env::var("CI_CACHE_SIMULATION_LAW").unwrap_or_default();
    let law = Law::BROKEN.into_iter().find(|law| format!("{law:?}") == name);
    assert!(law.is_some() || name.is_empty(), "no such rule: {name}");
    let outcome = fleet::run(&Estate::new(), seed, law.unwrap_or(Law::Kept), true);
    println!("{}", outcome.trace.join("\n"));
    assert_eq!(outcome.wrong, None, "seed {seed}");
}

#[test]
fn every_broken_rule_is_noticed() {
    let estate = Estate::new();
    let mut unnoticed = Vec::new();
    for law in Law::BROKEN {
        let found = (0..ENOUGH).find_map(|seed| {
            let wrong = fleet::run(&estate, seed, law, false).wrong?;
            Some((seed, wrong))
        });
        match found {
            Some((seed, wrong)) => println!("{law:?}: seed {seed}: {wrong}"),
            None => unnoticed.push(law),
        }
    }
    assert!(
        unnoticed.is_empty(),
        "nobody notices {unnoticed:?} in {ENOUGH} seeds"
    );
}
