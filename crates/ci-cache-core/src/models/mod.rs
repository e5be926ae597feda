//! Models of what threads may do to each other, for the checkers that explore interleavings.
//!
//! - `lock`, `flights`, `coherence` (`--cfg loom`): every interleaving of two or three threads.
//! - `storm`, `coherence_storm` (`--cfg shuttle`): random interleavings of larger programs.
//!
//! Each model is a test; beside it stands a test that runs it again in a process of its own with a rule broken ([`planted`]) and fails
//! unless the model notices. `cargo xtask check` runs them; an ordinary build does not know this module.

#[cfg(loom)]
mod coherence;
#[cfg(shuttle)]
mod coherence_storm;
#[cfg(loom)]
mod flights;
#[cfg(loom)]
mod lock;
mod one_row;
#[cfg(shuttle)]
mod schedules;
#[cfg(shuttle)]
mod storm;
mod tests;

use std::hash::{BuildHasher, Hasher};
use std::sync::{Arc, LazyLock};

use crate::rules::Rules;
use crate::{Cache, CacheBuilder, Eviction, ManualClock};

use tests::catches;

/// Names the rule to break, in the environment of a process that is to notice.
const PLANTED: &str = "CI_CACHE_PLANTED_DEFECT";

/// Gives the rule that this process breaks.
pub(crate) fn planted() -> Option<&'static str> {
    static NAME: LazyLock<Option<String>> = LazyLock::new(|| std::env::var(PLANTED).ok());
    NAME.as_deref()
}

/// Hashes by the bytes alone: an exploration must run the same way each time.
#[derive(Debug, Clone, Copy)]
struct Fixed;

impl BuildHasher for Fixed {
    type Hasher = Sum;

    fn build_hasher(&self) -> Sum {
        Sum(17)
    }
}

/// See [`Fixed`].
#[derive(Debug)]
struct Sum(u64);

impl Hasher for Sum {
    fn finish(&self) -> u64 {
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.wrapping_mul(31).wrapping_add(byte.into());
        }
    }
}

/// What the models look up in.
type ModelCache = Cache<u8, u64, &'static str, Fixed>;

/// Builds a cache of one shard, with the flight rule broken that this process is to break.
fn cache(capacity: usize) -> ModelCache {
    let cache: ModelCache = CacheBuilder::new(capacity, Arc::new(ManualClock::new()))
        .shards(1)
        .eviction(Eviction::Sieve)
        .hasher(Fixed)
        .build()
        .unwrap();
    let broken = [
        Rules::JoinsOlderFlights,
        Rules::RemovalForgetsFlights,
        Rules::StampsAtPublication,
    ];
    let broken = broken
        .into_iter()
        .find(|rules| planted() == Some(format!("{rules:?}").as_str()));
    if let Some(rules) = broken {
        cache.plant(rules);
    }
    cache
}
