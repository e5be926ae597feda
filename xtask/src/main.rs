//! Project commands: `cargo xtask test`, `check`, `tidy`, `demo`, `doc`, `bench`, `scale`, `chaos`, `postgres`, `redis`, `schemathesis`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its user"
)]

mod asan;
mod bench;
mod bench_engine;
mod bench_load;
mod chaos;
mod check;
mod chromium;
mod counts;
mod curl;
mod demo;
mod doc;
mod fuzz;
mod instructions;
mod interrupt;
mod packages;
mod postgres;
mod process;
mod promtool;
mod redis;
mod scale;
mod schemathesis;
mod test;
mod tidy;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use process::Interrupted;

/// Project commands of ci-cache
#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    disable_help_subcommand = true
)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Check and test everything: tidy, format, clippy, docs, engine alone, then all tests on both databases
    Test(test::Options),
    /// Run the engine's models of threads under loom or shuttle (`test` does it too), fuzz it, or test it under AddressSanitizer
    Check(check::Options),
    /// Check the rules of the house that the compiler does not know
    Tidy,
    /// Serve a generated estate from an embedded database and print commands to try
    #[command(disable_help_flag = true)]
    Demo {
        /// Passed on to `ci-cache demo` (--size N, --seed S, --port P; --help lists them)
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Build the API documentation with warnings denied
    Doc {
        /// Open it in a browser
        #[arg(long)]
        open: bool,
    },
    /// Measure whole operations under load; with names the criterion benchmarks; `bench engine`, `bench render`, `bench compare`
    Bench(bench::Options),
    /// Ask a running service all that its OpenAPI document tells, and what it does not, and hold the answers against it
    Schemathesis(schemathesis::Options),
    /// Work out what a fleet of 1 to 1,000 nodes costs, and render the tables of docs/scale.md
    Scale,
    /// Let everything fail around a fleet of services, and check every answer: databases, networks, nodes
    Chaos(chaos::Options),
    /// Start a private PostgreSQL: until Ctrl-C, or for as long as the command after `--` runs
    ///
    /// Example: cargo xtask postgres -- cargo test -p ci-store
    Postgres {
        /// A command to run with CI_CACHE_TEST_POSTGRES set
        #[arg(last = true)]
        command: Vec<OsString>,
    },
    /// Start a private Redis (or Valkey): until Ctrl-C, or for as long as the command after `--` runs
    ///
    /// Example: cargo xtask redis -- cargo xtask postgres -- cargo test -p ci-tests --test tier_redis
    Redis {
        /// A command to run with CI_CACHE_TEST_REDIS and CI_CACHE_TEST_REDIS_PROGRAM set
        #[arg(last = true)]
        command: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match interrupt::watch().and_then(|()| run(Arguments::parse().task)) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(
                error
                    .downcast_ref()
                    .map_or(1, |Interrupted(stop)| stop.exit_code()),
            )
        }
    }
}

fn run(task: Task) -> anyhow::Result<u8> {
    let root = process::workspace_root()?;
    match task {
        Task::Test(options) => test::command(&root, &options),
        Task::Check(options) => check::command(&root, &options),
        Task::Tidy => tidy::run(&root).map(|()| 0),
        Task::Demo { arguments } => demo::command(&root, &arguments),
        Task::Doc { open } => doc::build(&root, open).map(|()| 0),
        Task::Bench(options) => bench::command(&root, &options),
        Task::Scale => scale::command(&root),
        Task::Schemathesis(options) => schemathesis::command(&root, &options),
        Task::Chaos(options) => chaos::command(&root, &options),
        Task::Postgres { command } => postgres::command(&root, &command),
        Task::Redis { command } => redis::command(&root, &command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn passes_arguments_on_untouched() {
        let parse = |line: &[&str]| Arguments::try_parse_from(line).expect("it parses").task;
        let Task::Demo { arguments } = parse(&["xtask", "demo", "--size", "9", "--help"]) else {
            panic!("demo")
        };
        assert_eq!(arguments, ["--size", "9", "--help"]);
        let Task::Postgres { command } = parse(&["xtask", "postgres", "--", "psql", "-c", "x"]) else {
            panic!("postgres")
        };
        assert_eq!(command, ["psql", "-c", "x"]);
        assert!(matches!(
            parse(&["xtask", "bench", "engine", "--only", "latency", "--help"]),
            Task::Bench(_)
        ));
        for line in [
            &["xtask", "bench", "--quick"][..],
            &["xtask", "bench", "load", "--only", "scenarios"],
            &["xtask", "bench", "compare", "a.json", "b.json"],
            &["xtask", "bench", "search", "--quick"],
        ] {
            assert!(matches!(parse(line), Task::Bench(_)));
        }
    }
}
