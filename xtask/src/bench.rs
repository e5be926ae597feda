//! `cargo xtask bench`: the criterion benchmarks of package `ci-benches`, with a private PostgreSQL beside them.

use std::ffi::OsString;
use std::path::Path;

use anyhow::{Context as _, ensure};
use toml::de::DeTable;

use crate::bench_engine;
use crate::postgres::{self, Server};
use crate::process;

/// What to measure.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Options {
    #[command(subcommand)]
    subject: Option<Subject>,
    /// Fewer samples: an impression in seconds instead of a measurement
    #[arg(long)]
    quick: bool,
    /// Benchmarks by their file's name; all of them by default
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
}

/// Runs the benchmarks one after the other.
pub(crate) fn command(root: &Path, options: &Options) -> anyhow::Result<u8> {
    if let Some(Subject::Engine { arguments }) = &options.subject {
        return bench_engine::command(root, arguments);
    }
    let manifest =
        std::fs::read_to_string(root.join("benches/Cargo.toml")).context("cannot read benches/Cargo.toml")?;
    let known = bench_names(&manifest)?;
    ensure!(!known.is_empty(), "benches/Cargo.toml declares no [[bench]]");
    for name in &options.names {
        ensure!(
            known.contains(name),
            "no benchmark is called {name}; there are: {}",
            known.join(", ")
        );
    }
    let chosen = if options.names.is_empty() {
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
