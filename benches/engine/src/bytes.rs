//! Memory per entry, part one: the small program that fills one cache and counts the bytes it asked for.

use std::fmt::Write as _;

use anyhow::Context as _;
use serde::{Deserialize, Serialize};

use crate::contender::{Setup, Writes};
use crate::field::{Builder, peers};
use ci_cache_core::Eviction;

use crate::ours::{self, Ours};
use crate::peers::{Dash, Moka, Stretto, Tiny, dash, moka, stretto, tiny};
use ci_measure::random::Random;

/// What a key and a value take by themselves.
pub(crate) const PAIR: usize = 16;

/// Bytes and entries at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Count {
    /// Bytes allocated since before the cache was built, as requested.
    pub(crate) bytes: usize,
    /// Entries that answered a look-up.
    pub(crate) entries: usize,
}

/// What the program prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// After as many insertions as the capacity.
    pub(crate) filled: Count,
    /// After five times as many further ones.
    pub(crate) churned: Option<Count>,
}

/// What is done to every cache.
trait Fill {
    /// Inserts so many keys of the sequence.
    fn fill(&self, keys: &mut Random, count: usize);

    /// Counts which of the first keys of the sequence are there.
    fn entries(&self, keys: Random, count: usize) -> usize;
}

impl<C: Writes<u64, u64>> Fill for C {
    fn fill(&self, keys: &mut Random, count: usize) {
        for number in 0..count {
            let key = keys.bits();
            self.insert(key, key);
            if number % 256 == 255 {
                self.settle();
            }
        }
        self.settle();
    }

    fn entries(&self, mut keys: Random, count: usize) -> usize {
        (0..count).filter(|_| self.get(&keys.bits()).is_some()).count()
    }
}

/// Whose memory is counted; those that evict not at all, or too slowly, are filled and not churned.
fn contenders() -> Vec<(String, bool, Builder<dyn Fill>)> {
    let mut all: Vec<(String, bool, Builder<dyn Fill>)> = vec![
        (expiring(ours::NAME), true, |setup| {
            Ok(Box::new(Ours::<u64, u64>::new(
                setup.with_ttl(),
                Eviction::Adaptive,
            )?))
        }),
        (ours::NAME.to_owned(), true, |setup| {
            Ok(Box::new(Ours::<u64, u64>::new(setup, Eviction::Adaptive)?))
        }),
    ];
    for (name, build) in peers!(dyn Fill, u64, u64) {
        all.push((name.to_owned(), true, build));
    }
    all.push((expiring(moka::NAME), true, |setup| {
        Ok(Box::new(Moka::<u64, u64>::new(setup.with_ttl())))
    }));
    all.push((tiny::COMPACT.to_owned(), true, |setup| {
        Ok(Box::new(Tiny::<u64, u64>::compact(setup)))
    }));
    // Its eviction takes milliseconds at this size: it samples by walking its map from the front.
    all.push((stretto::NAME.to_owned(), false, |setup| {
        Ok(Box::new(Stretto::<u64, u64>::new(setup)?))
    }));
    all.push((dash::NAME.to_owned(), false, |setup| {
        Ok(Box::new(Dash::<u64, u64>::new(setup)))
    }));
    all
}

/// The name of a cache whose entries expire.
pub(crate) fn expiring(name: &str) -> String {
    format!("{name} with TTL")
}

/// Lists the contenders, a line each, or fills one and prints its counts as JSON.
///
/// `allocated` reads the counting allocator.
///
/// # Errors
/// An unknown contender, a number of entries that is none, or a contender that refuses its settings.
pub fn memory(allocated: impl Fn() -> usize) -> anyhow::Result<String> {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        return Ok(contenders().iter().fold(String::new(), |mut list, (name, ..)| {
            // Writing to a string cannot fail.
            let _ = writeln!(list, "{name}");
            list
        }));
    };
    let capacity: usize = arguments.next().context("how many entries?")?.parse()?;
    let seed: u64 = arguments.next().context("which seed?")?.parse()?;
    let contenders = contenders();
    let (_, evicts, build) = contenders
        .iter()
        .find(|contender| contender.0 == name)
        .with_context(|| format!("nobody is called {name}"))?;

    let before = allocated();
    let cache = build(Setup::tight(capacity))?;
    let mut keys = Random::new(seed);
    let mut count = |insertions: usize, total: usize| {
        cache.fill(&mut keys, insertions);
        Count {
            bytes: allocated().saturating_sub(before),
            entries: cache.entries(Random::new(seed), total),
        }
    };
    let filled = count(capacity, capacity);
    let churned = evicts.then(|| count(5 * capacity, 6 * capacity));
    Ok(serde_json::to_string(&Counts { filled, churned })?)
}
