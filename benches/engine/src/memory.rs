//! Memory per entry, part two: a process for each contender, so that none inherits another's garbage.

use std::process::Command;

use anyhow::ensure;

use crate::bytes::{Count, Counts, PAIR};
use crate::options::Run;
use crate::report::{Cell, Section};
use ci_measure::number::{real, share};
use ci_measure::rounds::Series;
use ci_measure::sibling;

/// The section's name.
pub(crate) const NAME: &str = "memory";
/// The table's name.
const TABLE: &str = "8 + 8 byte pairs";
/// After as many insertions as there is room.
pub(crate) const FILLED: &str = "filled";
/// After five times as many more.
pub(crate) const CHURNED: &str = "churned";

/// Counts every contender's bytes.
pub(crate) fn measure(run: &Run) -> anyhow::Result<Section> {
    let capacity: usize = if run.quick { 100_000 } else { 1_000_000 };
    let program = sibling::path("engine-memory")?;
    let names = sibling::output(&mut Command::new(&program))?;
    let (mut filled, mut churned, mut text) = (Vec::new(), Vec::new(), String::new());
    for name in names.lines().filter(|name| !name.is_empty()) {
        let (entries, seed) = (capacity.to_string(), run.seed.to_string());
        let mut command = Command::new(&program);
        let counts: Counts = serde_json::from_str(&sibling::output(command.args([name, &entries, &seed]))?)?;
        ensure!(counts.filled.entries > 0, "{name} keeps nothing");
        filled.push(series(name, counts.filled));
        churned.extend(counts.churned.map(|count| series(name, count)));
        text.push_str(&kept(name, counts, capacity));
    }
    let cells = [(FILLED, filled), (CHURNED, churned)]
        .map(|(column, series)| Cell::of(TABLE, column, crate::peers::quick::NAME, &series));
    Ok(Section {
        name: NAME,
        note: format!(
            "bytes asked of the allocator per resident entry, beyond the pair itself; room for {capacity} entries, that \
             many insertions, then five times as many; requested sizes, without the allocator's own overhead{text}"
        ),
        unit: "bytes an entry over the pair; ratio to quick_cache",
        cells: cells.into(),
        text: None,
    })
}

/// The overhead of an entry.
fn series(name: &str, count: Count) -> Series {
    Series {
        contender: name.to_owned(),
        values: vec![overhead(count)],
    }
}

fn overhead(count: Count) -> f64 {
    real(count.bytes) / real(count.entries.max(1)) - real(PAIR)
}

/// A word on contenders that keep much less than they have room for: their entries look large.
fn kept(name: &str, counts: Counts, capacity: usize) -> String {
    let least = counts.churned.map_or(counts.filled.entries, |count| {
        count.entries.min(counts.filled.entries)
    });
    if least >= share(capacity, 0.98) {
        return String::new();
    }
    format!("; {name} keeps as few as {least} entries")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overhead_is_what_the_pair_does_not_take() {
        let count = Count {
            bytes: 5_600,
            entries: 100,
        };
        assert!((overhead(count) - 40.0).abs() < 1e-9);
    }

    #[test]
    fn a_cache_that_keeps_little_is_named() {
        let count = |entries| Count { bytes: 1, entries };
        let counts = |filled, churned| Counts {
            filled: count(filled),
            churned: Some(count(churned)),
        };
        assert_eq!(kept("x", counts(990, 985), 1_000), "");
        assert!(kept("x", counts(990, 900), 1_000).contains("900"));
    }
}
