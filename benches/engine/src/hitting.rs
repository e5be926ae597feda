//! Instruction counts, part one: the small program that does nothing but hit.

use anyhow::{Context as _, bail};
use foldhash::fast::FixedState;

use crate::contender::{HitSlice, MixedSlice, Setup, Value};
use crate::key::{Key, keys};
use ci_cache_core::Eviction;

use crate::ours::{self, Ours};
use crate::peers::{Plain, Quick, plain, quick};
use ci_measure::random::{Random, Zipf};

/// Who hits, and with which keys.
pub(crate) const CASES: [(&str, &str); 8] = [
    (ours::NAME, "u128"),
    (ours::NAME, "string"),
    (ours::WITH_TTL, "u128"),
    (ours::WITH_TTL, "string"),
    (quick::NAME, "u128"),
    (quick::NAME, "string"),
    (plain::NAME, "u128"),
    (plain::NAME, "string"),
];

const ENTRIES: u32 = 1_000;

/// Hits as often as the command line says.
///
/// # Errors
/// Arguments that are not `CONTENDER KEY HITS`, or a contender that refuses its settings.
pub fn hitting() -> anyhow::Result<usize> {
    let mut arguments = std::env::args().skip(1);
    let mut next = || arguments.next().context("CONTENDER KEY HITS");
    let (contender, key, hits) = (next()?, next()?, next()?.parse()?);
    match key.as_str() {
        "u128" => hit::<u128>(&contender, hits),
        "string" => hit::<String>(&contender, hits),
        _ => bail!("there are no {key} keys"),
    }
}

fn hit<K: Key>(contender: &str, hits: usize) -> anyhow::Result<usize> {
    let mut random = Random::new(1);
    let keys: Vec<K> = keys(ENTRIES as usize, &mut random);
    // As many draws whatever the hits, so that two runs differ by hits alone.
    let order = Zipf::new(ENTRIES, 0.99, &mut random).sequence(10_000, &mut random);
    let slice = build(contender, &keys)?;
    let rounds = hits.div_ceil(order.len());
    Ok((0..rounds).map(|_| slice.hits(&keys, &order)).sum())
}

fn build<K: Key>(contender: &str, keys: &[K]) -> anyhow::Result<Box<dyn HitSlice<K>>> {
    let setup = Setup::roomy(keys.len());
    // Where keys collide is chance; a fixed seed makes the count repeat.
    let hasher = FixedState::with_seed(1);
    let ours = |setup| -> anyhow::Result<Box<dyn HitSlice<K>>> {
        let cache = Ours::<K, Value, _>::hashed_by(setup, Eviction::Adaptive, hasher.clone())?;
        cache.fill(keys);
        Ok(Box::new(cache))
    };
    match contender {
        ours::NAME => ours(setup),
        ours::WITH_TTL => ours(setup.with_ttl()),
        quick::NAME => {
            let cache = Quick::<K, Value, _>::hashed_by(setup, hasher)?;
            cache.fill(keys);
            Ok(Box::new(cache))
        }
        plain::NAME => Ok(Box::new(Plain::hashed_by(keys, hasher))),
        _ => bail!("nobody is called {contender}"),
    }
}
