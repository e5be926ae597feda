//! `cargo xtask bench`: whole operations under load, or (by name) the criterion benchmarks of package `ci-benches`, with a private
//! PostgreSQL beside them.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, ensure};
use toml::de::DeTable;

use crate::postgres::{self, Server};
use crate::process;
use crate::{bench_engine, bench_load};

/// What to measure.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    subject: Option<Subject>,
    /// Fewer samples: an impression in seconds instead of a measurement
    #[arg(long)]
    quick: bool,
    /// Criterion benchmarks by their file's name, or `all`; without names the workloads are measured (`bench load`)
    names: Vec<String>,
}

/// Benchmarks that are no criterion benchmarks.
#[derive(Debug, clap::Subcommand)]
enum Subject {
    /// Compare the cache engine with its peers: latency, throughput, memory, hit ratio
    #[command(disable_help_flag = true)]
    Engine {
        /// Passed on (--quick, --only NAME,..., --traces DIR, --seed N, --bless; --help explains them)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Measure whole operations under load, and render docs/performance.md: what `bench` does without names
    #[command(disable_help_flag = true)]
    Load {
        /// Passed on (--quick, --only NAME,..., --note TEXT, --seed N, --into DIR; --help explains them)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Render docs/performance.md, its charts and the README's table from a run file
    Render {
        /// The run file
        #[arg(required = true, num_args = 1)]
        arguments: Vec<OsString>,
    },
    /// Tell what changed between two run files beyond noise
    Compare {
        /// The earlier and the later run file
        #[arg(required = true, num_args = 2)]
        arguments: Vec<OsString>,
    },
}

/// The name that stands for every criterion benchmark.
const ALL: &str = "all";

/// Runs the benchmarks one after the other.
pub(crate) fn command(root: &Path, options: &Options) -> anyhow::Result<u8> {
    match &options.subject {
        Some(Subject::Engine { arguments }) => return bench_engine::command(root, arguments),
        Some(Subject::Load { arguments }) => return bench_load::run(root, arguments),
        Some(Subject::Render { arguments }) => return bench_load::read(root, "render", arguments),
        Some(Subject::Compare { arguments }) => return bench_load::read(root, "compare", arguments),
        None => {}
    }
    if options.names.is_empty() {
        let quick = options.quick.then(|| OsString::from("--quick"));
        return bench_load::run(root, quick.as_slice());
    }
    let manifest =
        std::fs::read_to_string(root.join("benches/Cargo.toml")).context("cannot read benches/Cargo.toml")?;
    let known = bench_names(&manifest)?;
    ensure!(!known.is_empty(), "benches/Cargo.toml declares no [[bench]]");
    let named = options.names.iter().filter(|name| *name != ALL);
    for name in named {
        ensure!(
            known.contains(name),
            "no benchmark is called {name}; there are: {}",
            known.join(", ")
        );
    }
    let chosen = if options.names.iter().any(|name| name == ALL) {
        &known
    } else {
        &options.names
    };

    let server = Server::start()?;
    println!(
        "private PostgreSQL {} at {} (it does not flush to disk)",
        server.major(),
        server.url()
    );
    let mut command = process::cargo(root);
    command
        .args(["bench", "--package", "ci-benches", "--all-features"])
        .env(postgres::ENV, server.url());
    for name in chosen {
        command.args(["--bench", name]);
    }
    if options.quick {
        command.args(["--", "--quick"]);
    }
    Ok(process::exit_code(process::run(&mut command)?))
}

/// The names of the `[[bench]]` tables, in their order.
fn bench_names(manifest: &str) -> anyhow::Result<Vec<String>> {
    let document = DeTable::parse(manifest).context("benches/Cargo.toml is not TOML")?;
    let tables = document
        .get_ref()
        .iter()
        .find(|(key, _)| key.get_ref() == "bench");
    let tables = tables
        .and_then(|(_, value)| value.get_ref().as_array())
        .into_iter()
        .flatten();
    let names = tables.filter_map(|table| table.get_ref().get("name")?.get_ref().as_str().map(str::to_owned));
    Ok(names.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_declared_benchmarks() {
        let text = "[package]\nname = \"b\"\n[[bench]]\nname = \"hit\"\nharness = false\n[[bench]]\nname = \"search\"\n";
        assert_eq!(bench_names(text).expect("TOML"), ["hit", "search"]);
        assert!(bench_names("[package]\nname = \"b\"\n").expect("TOML").is_empty());
        assert!(bench_names("[package").is_err());
    }
}
