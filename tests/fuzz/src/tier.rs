//! The target `tier`: libFuzzer draws the bytes of a value of the shared tier, which must be refused or read, and never ask for much memory.
#![cfg_attr(fuzzing, no_main)]

#[cfg(fuzzing)]
libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    static PLANTED: std::sync::Once = std::sync::Once::new();
    PLANTED.call_once(|| {
        if let Ok(name) = std::env::var("CI_CACHE_PLANTED_DEFECT") {
            assert!(ci_runner::tier::plant(&name), "no rule is called {name}");
        }
    });
    let _is_one = ci_runner::tier::inspect(input);
});

/// Checks one input of no bytes: only `cargo xtask check fuzz` builds the fuzzer.
#[cfg(not(fuzzing))]
fn main() {
    assert!(!ci_runner::tier::inspect(&[]));
}
