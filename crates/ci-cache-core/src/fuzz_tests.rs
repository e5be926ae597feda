//! Proof that the fuzzer's targets notice a broken engine: each again with a rule broken.
//!
//! The targets are those of `tests/fuzz`, where they run on the engine as it ships; only in here can its rules be broken.

#[path = "../tests/fuzz/harness/mod.rs"]
mod harness;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::Command;

use crate::rules::Rules;
use harness::bytes::{Dice, from_hex};
use harness::{OPERATIONS, SNAPSHOT, Subject, Target, operations, snapshot};

/// Random inputs after which a defect counts as missed; each is found in some hundred.
const MOST_INPUTS: usize = 20_000;

/// Runs the committed inputs, and then random ones, until one makes the target panic.
fn notices(target: Target, corpus: &str, rules: Rules) -> bool {
    let mut dice = Dice::new(7);
    let drawn = std::iter::repeat_with(move || dice.bytes(400)).take(MOST_INPUTS);
    let plant = |cache: &Subject| cache.plant(rules);
    from_hex(corpus)
        .into_iter()
        .chain(drawn)
        .any(|input| catch_unwind(AssertUnwindSafe(|| target(&input, &plant))).is_err())
}

#[test]
fn the_operations_notice_each_broken_rule_of_the_shard() {
    for rules in Rules::BROKEN {
        let is_of_snapshots = matches!(rules, Rules::ReadsDamagedSnapshots | Rules::TrustsCounts);
        assert!(
            is_of_snapshots || notices(operations::check, OPERATIONS, rules),
            "nobody noticed {rules:?}"
        );
    }
}

#[test]
fn the_snapshots_notice_that_damage_is_read() {
    assert!(notices(snapshot::check, SNAPSHOT, Rules::ReadsDamagedSnapshots));
}

/// In a process of its own: what is asked of the allocator may end it.
#[test]
fn the_snapshots_notice_that_counts_are_trusted() {
    const CHILD: &str = "CI_CACHE_FUZZ_CHILD";
    if std::env::var_os(CHILD).is_some() {
        assert!(!notices(snapshot::check, SNAPSHOT, Rules::TrustsCounts));
        return;
    }
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "fuzz_tests::the_snapshots_notice_that_counts_are_trusted",
            "--exact",
            "--nocapture",
        ])
        .env(CHILD, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("running 1 test"), "{said}");
    assert!(!output.status.success(), "nobody noticed it");
    // By the vector, by the allocator, or by a sanitizer in its place.
    let symptoms = [
        "capacity overflow",
        "memory allocation of",
        "allocation-size-too-big",
    ];
    assert!(symptoms.iter().any(|symptom| said.contains(symptom)), "{said}");
}
