//! Instruction counts, part two: callgrind over the small program, compared with the committed counts.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use toml::de::DeTable;

use crate::hitting::CASES;
use crate::options::Run;
use crate::report::{Cell, Section};
use ci_measure::number::real;
use ci_measure::rounds::Series;
use ci_measure::sibling;

/// The section's name.
pub(crate) const NAME: &str = "instructions";
/// What is measured, as a contender's name.
pub(crate) const MEASURED: &str = "measured";
/// What is committed, likewise.
pub(crate) const COMMITTED: &str = "committed";

/// Hits of the shorter of the two runs; the longer has twice as many.
const HITS: usize = 50_000;

const HEADER: &str = "# Instructions of a hit by `cargo xtask bench engine --only instructions` (callgrind; 1,000 entries, zipf 0.99,\n\
    # an Arc cloned out and dropped). `--bless` rewrites this file; more than 3 % above it is a regression.\n\n";

/// Counts every case and compares it.
pub(crate) fn measure(run: &Run) -> anyhow::Result<Section> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("instructions.toml");
    let committed = match fs::read_to_string(&file) {
        Ok(text) => parse(&text)?,
        Err(_) => BTreeMap::new(),
    };
    let mut cells = Vec::new();
    let mut measured = BTreeMap::new();
    for (contender, key) in CASES {
        let count = count(contender, key)?;
        let name = format!("{contender}, {key}");
        let mut series = vec![one(MEASURED, count)];
        series.extend(committed.get(&name).map(|&count| one(COMMITTED, count)));
        cells.push(Cell::of(contender, key, COMMITTED, &series));
        measured.insert(name, count);
    }
    if run.bless {
        fs::write(&file, render(&measured)).context("cannot write instructions.toml")?;
    }
    Ok(Section {
        name: NAME,
        note: "instructions of a hit by callgrind, 1,000 entries, zipf 0.99, an Arc cloned out and dropped"
            .to_owned(),
        unit: "instructions a hit; ratio to the committed count",
        cells,
        text: None,
    })
}

fn one(name: &str, count: f64) -> Series {
    Series {
        contender: name.to_owned(),
        values: vec![count],
    }
}

/// The difference of two runs, so that building and filling count for nothing.
fn count(contender: &str, key: &str) -> anyhow::Result<f64> {
    let total = |hits: usize| -> anyhow::Result<f64> {
        let mut command = Command::new("valgrind");
        command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
        command.arg(sibling::path("engine-hits")?);
        command.args([contender, key, &hits.to_string()]);
        let (_, error) =
            sibling::outputs(&mut command).context("valgrind counts the instructions; is it installed?")?;
        collected(&error).context("callgrind printed no count")
    };
    Ok((total(2 * HITS)? - total(HITS)?) / real(HITS))
}

/// The number in callgrind's line `Collected : N`.
fn collected(text: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.contains("Collected"))?;
    line.rsplit(':').next()?.trim().parse().ok()
}

fn parse(text: &str) -> anyhow::Result<BTreeMap<String, f64>> {
    let table = DeTable::parse(text).context("instructions.toml is not TOML")?;
    let counts = table.get_ref().iter().filter_map(|(name, value)| {
        let count = value.get_ref().as_float()?.as_str().parse().ok()?;
        Some((name.get_ref().to_string(), count))
    });
    Ok(counts.collect())
}

fn render(counts: &BTreeMap<String, f64>) -> String {
    let lines = counts
        .iter()
        .map(|(name, count)| format!("\"{name}\" = {count:.1}\n"));
    HEADER.to_owned() + &lines.collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes() {
        let counts: BTreeMap<String, f64> =
            [("a, u128".to_owned(), 120.5), ("b, string".to_owned(), 99.0)].into();
        assert_eq!(parse(&render(&counts)).expect("TOML"), counts);
        assert!(parse("[").is_err());
    }

    #[test]
    fn finds_the_count() {
        let text = "==1== Callgrind\n==1== Events    : Ir\n==1== Collected : 12345678\n==1==\n";
        assert_eq!(collected(text), Some(12_345_678.0));
        assert_eq!(collected("nothing"), None);
    }
}
