//! The fuzzer's targets as ordinary tests: its inputs again, and some thousand at random. `cargo xtask check fuzz` goes on from there.

mod harness;

use std::alloc::System;

use cap::Cap;
use harness::bytes::{Dice, from_hex};
use harness::{OPERATIONS, SNAPSHOT, Target, operations, snapshot};

/// No input may make the engine ask for more: past this the program ends, loudly.
#[global_allocator]
static MEMORY: Cap<System> = Cap::new(System, 256 << 20);

/// Whether to run much longer.
fn is_long() -> bool {
    std::env::var_os("CI_CACHE_TEST_LONG").is_some()
}

/// Runs the committed inputs.
fn replay(target: Target, corpus: &str) {
    let inputs = from_hex(corpus);
    assert!(!inputs.is_empty(), "no inputs");
    inputs.iter().for_each(|input| target(input, &|_| ()));
}

/// Runs inputs drawn at random, the same in each run, and committed ones with changes.
fn explore(target: Target, corpus: &str, inputs: u32) {
    let corpus = from_hex(corpus);
    let inputs = if is_long() { inputs * 50 } else { inputs };
    let mut dice = Dice::new(1);
    for round in 0..inputs {
        let input = if round % 2 == 0 {
            dice.bytes(400)
        } else {
            dice.change(&corpus)
        };
        target(&input, &|_| ());
    }
}

#[test]
fn operations_that_were_found_agree_with_the_reference() {
    replay(operations::check, OPERATIONS);
}

#[test]
fn operations_at_random_agree_with_the_reference() {
    explore(operations::check, OPERATIONS, 6_000);
}

#[test]
fn snapshots_that_were_found_are_imported_whole_or_not_at_all() {
    replay(snapshot::check, SNAPSHOT);
}

#[test]
fn snapshots_at_random_are_imported_whole_or_not_at_all() {
    explore(snapshot::check, SNAPSHOT, 6_000);
}
