//! One run: the measurements that were asked for, the verdict, and the artefact.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use clap::Parser as _;
use jiff::Timestamp;
use serde::Serialize;

use crate::options::Run;
use crate::report::Section;
use crate::verdict::{self, Line};
use crate::{hit_ratio, instructions, latency, memory, ours, paths, tenants, throughput};

type Measure = fn(&Run) -> anyhow::Result<Section>;

/// The measurements in the order they are printed.
const MEASURES: &[(&str, Measure)] = &[
    (latency::NAME, latency::measure),
    (throughput::NAME, throughput::measure),
    (paths::TTL, paths::ttl),
    (paths::LOAD, paths::load),
    (memory::NAME, memory::measure),
    (hit_ratio::NAME, hit_ratio::measure),
    (tenants::NAME, tenants::measure),
    (instructions::NAME, instructions::measure),
];

/// The packages that are compared, as they are called in `Cargo.lock`.
const PEERS: &[&str] = &[
    "TinyUFO",
    "dashmap",
    "foldhash",
    "foyer-memory",
    "hashbrown",
    "mini-moka",
    "moka",
    "quick_cache",
    "stretto",
];

/// What a run leaves behind. Nothing in it names a machine.
#[derive(Debug, Serialize)]
struct Artefact {
    date: String,
    seed: u64,
    quick: bool,
    processors: usize,
    versions: Vec<String>,
    verdict: Vec<Line>,
    sections: Vec<Section>,
}

/// Runs what the command line asks for, prints it, and writes the artefact.
///
/// # Errors
/// A contender that refuses its settings, or files that cannot be read or written.
pub fn main() -> anyhow::Result<ExitCode> {
    let run = Run::parse();
    let names: Vec<&str> = MEASURES.iter().map(|(name, _)| *name).collect();
    run.check(&names)?;
    let versions = versions(include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../Cargo.lock"
    )));
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    println!(
        "seed {}, {processors} processors; {}",
        run.seed,
        versions.join(", ")
    );
    let ticker = ours::Ticker::start();
    let mut sections = Vec::new();
    for (name, measure) in MEASURES.iter().filter(|(name, _)| run.wants(name)) {
        let start = Instant::now();
        let section = measure(&run)?;
        println!("{}", section.render());
        eprintln!("({name}: {:.0} s)", start.elapsed().as_secs_f64());
        sections.push(section);
    }
    drop(ticker);
    let verdict = verdict::lines(&sections);
    if !verdict.is_empty() {
        println!("{}", verdict::render(&verdict));
    }
    let regressed = verdict::regressed(&verdict);
    let date = Timestamp::now().strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
    let path = write(&Artefact {
        date,
        seed: run.seed,
        quick: run.quick,
        processors,
        versions,
        verdict,
        sections,
    })?;
    println!("\nwritten to {}", path.display());
    // Times depend on the machine's day; instructions do not, so a regression there is a failure.
    Ok(ExitCode::from(u8::from(regressed)))
}

fn write(artefact: &Artefact) -> anyhow::Result<PathBuf> {
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    let folder = target.join("bench-engine");
    fs::create_dir_all(&folder).context("cannot make the folder of runs")?;
    let path = folder.join(format!("{}.json", artefact.date));
    fs::write(&path, serde_json::to_vec_pretty(artefact)?).context("cannot write the artefact")?;
    Ok(path)
}

/// The versions of the peers in the text of `Cargo.lock`.
fn versions(lock: &str) -> Vec<String> {
    let value = |line: &str, field: &str| {
        let value = line
            .strip_prefix(field)?
            .strip_prefix(" = \"")?
            .strip_suffix('"')?;
        Some(value.to_owned())
    };
    let lines: Vec<&str> = lock.lines().collect();
    let pairs = lines
        .windows(2)
        .filter_map(|pair| Some((value(pair[0], "name")?, value(pair[1], "version")?)));
    pairs
        .filter(|(name, _)| PEERS.contains(&name.as_str()))
        .map(|(name, version)| format!("{name} {version}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_come_from_the_lock_file() {
        let lock = "[[package]]\nname = \"moka\"\nversion = \"0.12.16\"\n\n[[package]]\nname = \"serde\"\nversion = \"1.0.0\"\n";
        assert_eq!(versions(lock), ["moka 0.12.16"]);
    }
}
