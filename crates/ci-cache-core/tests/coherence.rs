//! The promise of coherence: every hit equals what the source would have answered at the state that it claims.
//!
//! Random programs of writers, loads, readers and a feed run against a naive model of the source that remembers every state.
#[path = "coherence/toy.rs"]
mod toy;
#[path = "coherence/world.rs"]
mod world;

use proptest::prelude::*;
use proptest::test_runner::RngAlgorithm;
use world::{Laws, programs, run};

proptest! {
    #![proptest_config(ProptestConfig { rng_algorithm: RngAlgorithm::XorShift, ..ProptestConfig::with_cases(5_000) })]

    #[test]
    fn every_hit_is_true_where_versions_are_snapshots(program in programs()) {
        run(Laws::SNAPSHOTS, &program).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn every_hit_is_true_where_versions_are_numbers(program in programs()) {
        run(Laws::NUMBERS, &program).map_err(TestCaseError::fail)?;
    }
}
