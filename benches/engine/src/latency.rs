//! Latency of a hit: one thread, all keys resident, popular ones more often.

use std::time::Instant;

use anyhow::ensure;

use crate::field;
use crate::key::{Key, keys};
use crate::number::real;
use crate::options::Run;
use crate::peers::quick;
use crate::random::{Random, Zipf};
use crate::report::{Cell, Section};
use crate::rounds::interleave;

/// The section's name.
pub(crate) const NAME: &str = "latency";

/// Entries, and the name of their column.
const SIZES: [(u32, &str); 2] = [(10_000, "10 k"), (1_000_000, "1 M")];

/// Measures every kind of key and size.
pub(crate) fn measure(run: &Run) -> anyhow::Result<Section> {
    let mut cells = Vec::new();
    for (entries, column) in SIZES {
        cells.push(cell::<String>(run, entries, column)?);
        cells.push(cell::<u128>(run, entries, column)?);
    }
    Ok(Section {
        name: NAME,
        note: "get of a resident key by its borrowed form, zipf 0.99, one thread; room for 1.25 times the entries, \
            value an Arc cloned out, expiry on for ours"
            .to_owned(),
        unit: "ns a hit; ratio to quick_cache of the same round (middle half)",
        cells,
        text: None,
    })
}

fn cell<K: Key>(run: &Run, entries: u32, column: &str) -> anyhow::Result<Cell> {
    let mut random = Random::new(run.seed);
    let keys: Vec<K> = keys(entries as usize, &mut random);
    let slice = if entries > 100_000 { 200_000 } else { 50_000 };
    let zipf = Zipf::new(entries, 0.99, &mut random);
    // The slices differ from round to round, else branch predictors learn them.
    let orders: Vec<Vec<u32>> = (0..8).map(|_| zipf.sequence(slice, &mut random)).collect();
    let field = field::hits(&keys)?;
    for contender in &field {
        let hits = contender.slice.hits(&keys, &orders[0]);
        ensure!(
            real(hits) > 0.999 * real(slice),
            "{} lost entries that fit: {hits} hits in {slice}",
            contender.name
        );
    }
    let names: Vec<&str> = field.iter().map(|contender| contender.name).collect();
    let mut turn = 0;
    let series = interleave(&names, run.rounds(24), |index| {
        turn += 1;
        let order = &orders[turn % orders.len()];
        let slice = &field[index].slice;
        // Others ran since: the first quarter brings the entries back into the processor's caches.
        slice.hits(&keys, &order[..order.len() / 4]);
        let start = Instant::now();
        slice.hits(&keys, order);
        start.elapsed().as_secs_f64() * 1e9 / real(order.len())
    });
    Ok(Cell::of(
        "hit",
        &format!("{} {column}", K::LABEL),
        quick::NAME,
        &series,
    ))
}
