//! The target as ordinary tests: the committed inputs again, and some thousand at random. `cargo xtask check fuzz` goes on from there.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::bytes::{Dice, from_hex};
use crate::{Defect, check};

/// The committed inputs, in hexadecimal, one a line: the fuzzer found each to reach what the others do not.
const INPUTS: &str = include_str!("../corpus/parsers.txt");
/// Inputs at random in an ordinary run.
const ROUNDS: usize = 6_000;
/// Inputs at random after which a defect counts as missed.
const MOST_INPUTS: usize = 20_000;
const LONGEST: u64 = 400;

/// Those of the target `tier`, as `ci-runner` writes them.
const VALUES: &str = include_str!("../corpus/tier.txt");

/// How many inputs to draw.
fn rounds() -> usize {
    let is_long = std::env::var_os("CI_CACHE_TEST_LONG").is_some();
    if is_long { ROUNDS * 50 } else { ROUNDS }
}

/// Draws inputs, the same in each run: at random, and committed ones with changes.
fn draw(committed: &str, mut check: impl FnMut(&[u8])) {
    let (inputs, mut dice) = (from_hex(committed), Dice::new(1));
    for round in 0..rounds() {
        let input = if round % 2 == 0 {
            dice.bytes(LONGEST)
        } else {
            dice.change(&inputs)
        };
        check(&input);
    }
}

#[test]
fn inputs_that_were_found_are_read_or_refused() {
    let inputs = from_hex(INPUTS);
    assert!(!inputs.is_empty(), "no inputs");
    inputs.iter().for_each(|input| check(input, None));
}

#[test]
fn inputs_at_random_are_read_or_refused() {
    draw(INPUTS, |input| check(input, None));
}

#[test]
fn values_of_the_tier_at_random_are_read_or_refused() {
    let is_value = ci_runner::tier::inspect;
    assert!(from_hex(VALUES).iter().all(|value| is_value(value)));
    let mut refused = 0;
    draw(VALUES, |input| refused += usize::from(!is_value(input)));
    assert!(refused > 0, "everything is a value");
}

#[test]
fn each_planted_defect_is_noticed() {
    for defect in Defect::ALL {
        let mut dice = Dice::new(7);
        let drawn = std::iter::repeat_with(|| dice.bytes(LONGEST)).take(MOST_INPUTS);
        let mut inputs = from_hex(INPUTS).into_iter().chain(drawn);
        let notices =
            |input: Vec<u8>| catch_unwind(AssertUnwindSafe(|| check(&input, Some(defect)))).is_err();
        assert!(inputs.any(notices), "nobody noticed {defect:?}");
    }
}
