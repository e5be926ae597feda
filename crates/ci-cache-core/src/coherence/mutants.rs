//! Proof that the checkers of coherence notice a breach: each rule of the protocol is broken once.

use std::cell::Cell;

use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestError, TestRng, TestRunner};

use super::Coherent;
use super::programs::programs;
use super::rules::ProtocolRules;
use super::toy::Compare;
use super::world::{Laws, run};

/// Programs after which a broken rule must have been noticed.
const ENOUGH: u32 = 20_000;

/// Runs random programs, the same in each run, until one goes wrong; says how many it took and what was wrong.
fn breach(laws: Laws) -> Option<(u32, String)> {
    let config = Config {
        cases: ENOUGH,
        max_shrink_iters: 0,
        failure_persistence: None,
        rng_algorithm: RngAlgorithm::XorShift,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::XorShift));
    let count = Cell::new(0);
    let done = runner.run(&programs(), |program| {
        count.set(count.get() + 1);
        run(laws, &program).map(drop).map_err(TestCaseError::fail)
    });
    match done {
        Err(TestError::Fail(reason, _)) => Some((count.get(), reason.message().to_owned())),
        _ => None,
    }
}

fn is_noticed(what: &str, laws: Laws) {
    let Some((count, wrong)) = breach(laws) else {
        panic!("nobody notices: {what}");
    };
    assert!(wrong.contains("instead of"), "{what}, program {count}: {wrong}");
}

/// Makes a test of a broken rule.
macro_rules! broken {
    ($($name:ident: $rule:ident,)*) => {$(
        #[test]
        fn $name() {
            let build = |builder, toy, options: &_| Coherent::with_rules(builder, toy, options, ProtocolRules::$rule);
            is_noticed(stringify!($rule), Laws { build, ..Laws::SNAPSHOTS });
        }
    )*};
}

broken! {
    keeping_always_is_noticed: KeepsAlways,
    a_generation_per_key_alone_is_noticed: GenerationOnly,
    registering_after_the_check_is_noticed: RegistersAfterCheck,
    forgetting_poison_is_noticed: ForgetsPoison,
    ignoring_the_floor_is_noticed: IgnoresFloor,
    raising_the_mark_before_the_drops_is_noticed: RaisesMarkFirst,
    trusting_every_batch_is_noticed: TrustsBatches,
    keeping_the_load_that_ends_last_is_noticed: KeepsTheLast,
}

#[test]
fn a_feed_that_asks_for_greater_numbers_is_noticed() {
    let laws = Laws {
        feed_by_number: true,
        ..Laws::SNAPSHOTS
    };
    is_noticed("number > last", laws);
    // Where one transaction ends before the next begins, it is right.
    let laws = Laws {
        feed_by_number: true,
        ..Laws::NUMBERS
    };
    assert_eq!(breach(laws), None);
}

#[test]
fn versions_compared_as_numbers_are_noticed() {
    let laws = Laws {
        compare: Compare::Numbers,
        ..Laws::SNAPSHOTS
    };
    is_noticed("versions as numbers", laws);
}

#[test]
fn a_mark_read_after_the_look_up_is_noticed() {
    let laws = Laws {
        mark_after_lookup: true,
        ..Laws::SNAPSHOTS
    };
    is_noticed("mark after look-up", laws);
}
