//! What one tenant's random scan costs another: hit ratios of a tenant alone, and beside one that scans.

use crate::contender::{Reads as _, Writes as _};
use crate::options::Run;
use crate::ours::{self, Ours};
use crate::report::{Cell, Section};
use ci_measure::number::real;
use ci_measure::random::{Random, Zipf};
use ci_measure::rounds::Series;

/// The section's name.
pub(crate) const NAME: &str = "tenants";

/// Objects of the tenant that is disturbed, asked for by zipf 0.99.
const OBJECTS: u32 = 100_000;
/// Its requests; the first half only fills the cache.
const REQUESTS: usize = 1_000_000;
/// Room for so many entries.
const CAPACITIES: [usize; 3] = [2_000, 10_000, 40_000];
/// Requests of the one that scans, for each of the other's, and what they are called.
const RATES: [(usize, &str); 4] = [(0, "alone"), (1, "scan 1x"), (4, "scan 4x"), (10, "scan 10x")];
/// Objects of the one that scans, all equally likely.
const SCANNED: u32 = 20_000_000;
/// What tells its keys from the other's.
const SCANNER: u64 = 1 << 63;

/// Replays both tenants' requests and gives the first one's hits in a hundred requests.
fn hits(cache: &Ours<u64, u32>, requests: &[u32], rate: usize, random: &mut Random) -> f64 {
    let ask = |key: u64| {
        let hit = cache.get(&key).is_some();
        if !hit {
            cache.insert(key, 0);
        }
        hit
    };
    let mut hits = 0;
    let counted = requests.len() / 2;
    for (number, &object) in requests.iter().enumerate() {
        let hit = ask(u64::from(object));
        hits += usize::from(hit && number >= counted);
        (0..rate).for_each(|_| {
            ask(SCANNER | u64::from(random.below(SCANNED)));
        });
    }
    100.0 * real(hits) / real((requests.len() - counted).max(1))
}

/// Measures every policy, with and without shares.
pub(crate) fn measure(run: &Run) -> anyhow::Result<Section> {
    let length = if run.quick { REQUESTS / 10 } else { REQUESTS };
    let mut random = Random::new(run.seed);
    let requests = Zipf::new(OBJECTS, 0.99, &mut random).sequence(length, &mut random);
    let mut cells = Vec::new();
    for capacity in CAPACITIES {
        for (rate, column) in RATES {
            let mut series = Vec::new();
            for &(name, eviction) in ours::POLICIES {
                for (shares, with) in [(false, ""), (true, ", shares")] {
                    let cache = Ours::of_tenants(capacity, eviction, shares)?;
                    series.push(Series {
                        contender: format!("{name}{with}"),
                        values: vec![hits(&cache, &requests, rate, &mut random.clone())],
                    });
                }
            }
            cells.push(Cell::of(&format!("{capacity} entries"), column, "", &series));
        }
    }
    Ok(Section {
        name: NAME,
        note: format!(
            "a tenant asks for {OBJECTS} objects by zipf 0.99, {length} times, the second half counted; another asks for \
             {SCANNED} at random"
        ),
        unit: "hits of the first tenant in a hundred requests",
        cells,
        text: None,
    })
}
