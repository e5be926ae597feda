//! The target `parsers`: libFuzzer draws the bytes, and `parsers/mod.rs` says what they mean.
#![cfg_attr(fuzzing, no_main)]

use ci_fuzz::{Defect, check};

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    static PLANTED: std::sync::LazyLock<Option<Defect>> = std::sync::LazyLock::new(Defect::of_environment);
    check(input, *PLANTED);
});

/// Checks one input of no bytes: only `cargo xtask check fuzz` builds the fuzzer.
#[cfg(not(fuzzing))]
fn main() {
    check(&[], Defect::of_environment());
}
