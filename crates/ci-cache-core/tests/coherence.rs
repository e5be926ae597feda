//! The promise of coherence: every hit equals what the source would have answered at the state that it claims.
//!
//! Random programs of writers, loads, readers and a feed run against a naive model of the source that remembers every state.
#[path = "coherence/programs.rs"]
mod programs;
#[path = "coherence/toy.rs"]
mod toy;
#[path = "coherence/world.rs"]
mod world;

use programs::programs;
use proptest::prelude::*;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use std::cell::{Cell, RefCell};
use world::{Laws, Tally, run};

/// Programs of each kind: 5,000, or 100,000 of a long run.
fn cases() -> u32 {
    if std::env::var_os("CI_CACHE_TEST_LONG").is_some() {
        100_000
    } else {
        5_000
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        rng_algorithm: RngAlgorithm::XorShift,
        ..ProptestConfig::with_cases(cases())
    })]

    #[test]
    fn every_hit_is_true_where_versions_are_snapshots(program in programs()) {
        run(Laws::SNAPSHOTS, &program).map_err(TestCaseError::fail)?;
    }

    #[test]
    fn every_hit_is_true_where_versions_are_numbers(program in programs()) {
        run(Laws::NUMBERS, &program).map_err(TestCaseError::fail)?;
    }
}

/// A campaign that never met what can go wrong proves nothing.
#[test]
fn programs_meet_everything_that_can_happen() {
    let config = ProptestConfig {
        rng_algorithm: RngAlgorithm::XorShift,
        failure_persistence: None,
        ..ProptestConfig::with_cases(1_500)
    };
    let rng = TestRng::deterministic_rng(RngAlgorithm::XorShift);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let met = RefCell::new([0; 11]);
    let epochs = Cell::new(0);
    let done = runner.run(&programs(), |program| {
        let Tally {
            hits,
            evictions,
            stats,
        } = run(Laws::SNAPSHOTS, &program).map_err(TestCaseError::fail)?;
        let counts = [
            hits,
            evictions,
            stats.kept,
            stats.dropped,
            stats.poisoned,
            stats.included,
            stats.group_floors,
            stats.resets,
            stats.refused_floor,
            stats.refused_overtaken,
            stats.refused_detached,
        ];
        epochs.set(epochs.get() + stats.refused_epoch);
        met.borrow_mut()
            .iter_mut()
            .zip(counts)
            .for_each(|(sum, count)| *sum += count);
        Ok(())
    });
    assert_eq!(done.err().map(|error| error.to_string()), None);
    let met = met.into_inner();
    // Another epoch is met only where a reset falls into the check itself.
    let enough = met.iter().all(|&count| count >= 20) && epochs.get() > 0;
    assert!(enough, "{met:?}, {} of another epoch", epochs.get());
}
