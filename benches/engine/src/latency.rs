//! Latency of a hit: one thread, all keys resident, popular ones more often.

use std::time::Instant;

use anyhow::ensure;

use crate::contender::HitSlice;
use crate::field;
use crate::key::{Key, keys};
use crate::options::Run;
use crate::peers::quick;
use crate::report::{Cell, Section};
use ci_measure::number::real;
use ci_measure::random::{Random, Zipf};
use ci_measure::rounds::interleave;

/// The section's name.
pub(crate) const NAME: &str = "latency";

/// The table of the latency proper, which the verdict is about.
pub(crate) const CHAINED: &str = "hit";

/// Entries, and the name of their column.
const SIZES: [(u32, &str); 2] = [(10_000, "10 k"), (1_000_000, "1 M")];

/// Measures every kind of key and size.
pub(crate) fn measure(run: &Run) -> anyhow::Result<Section> {
    let mut cells = Vec::new();
    for (entries, column) in SIZES {
        cells.extend(both::<String>(run, entries, column)?);
        cells.extend(both::<u128>(run, entries, column)?);
    }
    Ok(Section {
        name: NAME,
        note: "get of a resident key by its borrowed form, zipf 0.99, one thread; room for 1.25 times the entries, \
            value an Arc cloned out, expiry on for ours. A hit: the next look-up waits for its value (latency). Overlapping: it does not, and \
            the processor works on several at once"
            .to_owned(),
        unit: "ns a hit; ratio to quick_cache of the same round (middle half)",
        cells,
        text: None,
    })
}

/// Whether the next look-up waits for the value of the last.
#[derive(Clone, Copy, PartialEq)]
enum Pace {
    Chained,
    Overlapping,
}

impl Pace {
    fn label(self) -> &'static str {
        match self {
            Self::Chained => CHAINED,
            Self::Overlapping => "overlapping",
        }
    }

    fn run<K>(self, slice: &dyn HitSlice<K>, keys: &[K], order: &[u32]) -> usize {
        match self {
            Self::Chained => slice.chained_hits(keys, order),
            Self::Overlapping => slice.hits(keys, order),
        }
    }
}

fn both<K: Key>(run: &Run, entries: u32, column: &str) -> anyhow::Result<[Cell; 2]> {
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
    let measure = |pace: Pace| {
        let mut turn = 0;
        let series = interleave(&names, run.rounds(24), |index| {
            turn += 1;
            let order = &orders[turn % orders.len()];
            let slice = &*field[index].slice;
            // Others ran since: the first quarter brings the entries back into the processor's caches.
            pace.run(slice, &keys, &order[..order.len() / 4]);
            let start = Instant::now();
            std::hint::black_box(pace.run(slice, &keys, order));
            start.elapsed().as_secs_f64() * 1e9 / real(order.len())
        });
        let column = format!("{} {column}", K::LABEL);
        Cell::of(pace.label(), &column, quick::NAME, &series)
    };
    Ok([measure(Pace::Chained), measure(Pace::Overlapping)])
}
