//! What expiry costs a hit, and what the load path of a hit costs.

use std::time::Instant;

use anyhow::ensure;

use crate::field;
use crate::key::{Key, keys};
use crate::options::Run;
use crate::peers::quick;
use crate::report::{Cell, Section};
use ci_measure::number::real;
use ci_measure::random::{Random, Zipf};
use ci_measure::rounds::interleave;

/// The name of the section about expiry.
pub(crate) const TTL: &str = "ttl";
/// The name of the section about the load path.
pub(crate) const LOAD: &str = "load";

const ENTRIES: u32 = 10_000;
const SLICE: usize = 50_000;

/// Keys and an order to ask for them in.
fn draw<K: Key>(run: &Run) -> (Vec<K>, Vec<u32>) {
    let mut random = Random::new(run.seed);
    let keys = keys(ENTRIES as usize, &mut random);
    let order = Zipf::new(ENTRIES, 0.99, &mut random).sequence(SLICE, &mut random);
    (keys, order)
}

/// Nanoseconds an operation of a slice, after a quarter of it as a warm-up.
fn timed(order: &[u32], slice: impl Fn(&[u32]) -> usize) -> f64 {
    slice(&order[..order.len() / 4]);
    let start = Instant::now();
    slice(order);
    start.elapsed().as_secs_f64() * 1e9 / real(order.len())
}

/// Measures hits of the same caches without and with expiry.
pub(crate) fn ttl(run: &Run) -> anyhow::Result<Section> {
    let mut cells = ttl_cells::<String>(run)?;
    cells.extend(ttl_cells::<u128>(run)?);
    Ok(Section {
        name: TTL,
        note: "a hit without and with expiry, 10 k entries, zipf 0.99, one thread; quick_cache has none, so its users' \
            own: the moment in the value and Instant::now at each look-up"
            .to_owned(),
        unit: "ns a hit; ratio to the same cache without expiry (middle half)",
        cells,
        text: None,
    })
}

fn ttl_cells<K: Key>(run: &Run) -> anyhow::Result<Vec<Cell>> {
    let (keys, order) = draw::<K>(run);
    let mut cells = Vec::new();
    for (name, pair) in field::expiring(&keys)? {
        let series = interleave(&["without", "with"], run.rounds(24), |index| {
            timed(&order, |order| pair[index].hits(&keys, order))
        });
        cells.push(Cell::of(&format!("{} keys", K::LABEL), name, "without", &series));
    }
    Ok(cells)
}

/// Measures the look-ups that would load, all of which hit.
pub(crate) fn load(run: &Run) -> anyhow::Result<Section> {
    Ok(Section {
        name: LOAD,
        note: "get_or_load and its like of a resident key, 10 k entries, zipf 0.99, one thread, expiry on for ours; \
            foyer's needs a runtime, dashmap is a look-up before its entry"
            .to_owned(),
        unit: "ns a hit; ratio to quick_cache of the same round (middle half)",
        cells: vec![load_cell::<String>(run)?, load_cell::<u128>(run)?],
        text: None,
    })
}

fn load_cell<K: Key>(run: &Run) -> anyhow::Result<Cell> {
    let (keys, order) = draw::<K>(run);
    let field = field::loading(&keys)?;
    for contender in &field {
        let loads = contender.slice.loads(&keys, &order);
        ensure!(
            loads * 1_000 < SLICE,
            "{} lost entries that fit: {loads} loads",
            contender.name
        );
    }
    let names: Vec<&str> = field.iter().map(|contender| contender.name).collect();
    let series = interleave(&names, run.rounds(24), |index| {
        timed(&order, |order| field[index].slice.loads(&keys, order))
    });
    Ok(Cell::of("load path", K::LABEL, quick::NAME, &series))
}
