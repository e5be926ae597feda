//! The target `operations`: libFuzzer draws the bytes, and `ci-cache-core/tests/fuzz/harness/operations.rs` says what they mean.
#![cfg_attr(fuzzing, no_main)]

mod planted;

use planted::harness::operations::check;
use planted::plant;

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| check(input, &plant));

/// Checks one input of no bytes: only `cargo xtask check fuzz` builds the fuzzer.
#[cfg(not(fuzzing))]
fn main() {
    check(&[], &plant);
}
