//! Schedules of shuttle: the same in each ordinary run, so that it passes or fails for the code alone; others in each long run.

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, Runner};

/// What ordinary runs begin with.
const SEED: u64 = 20_261_128;

/// How far changes of order are apart, at most, in orders that seek trouble.
const DEPTH: usize = 3;

/// Runs a program in so many random orders.
pub(super) fn random(count: usize, program: impl Fn() + Send + Sync + 'static) {
    if is_long() {
        run(RandomScheduler::new(count), program);
    } else {
        run(RandomScheduler::new_from_seed(SEED, count), program);
    }
}

/// Runs a program in so many orders that change at few places: Burckhardt et al., "A Randomized Scheduler with Probabilistic
/// Guarantees of Finding Bugs", ASPLOS 2010.
pub(super) fn few_changes(count: usize, program: impl Fn() + Send + Sync + 'static) {
    if is_long() {
        run(PctScheduler::new(DEPTH, count), program);
    } else {
        run(PctScheduler::new_from_seed(SEED, DEPTH, count), program);
    }
}

/// Tells whether this is a long run.
pub(super) fn is_long() -> bool {
    std::env::var_os("CI_CACHE_TEST_LONG").is_some()
}

fn run(scheduler: impl Scheduler + 'static, program: impl Fn() + Send + Sync + 'static) {
    Runner::new(scheduler, Config::default()).run(program);
}
