//! Project commands: `cargo xtask test`, `tidy`, `demo`, `doc`, `bench`, `postgres`.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line tool talks to its user"
)]

mod interrupt;
mod postgres;
mod process;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use process::Interrupted;

/// Project commands of ci-cache.
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
    /// Start a private PostgreSQL: until Ctrl-C, or for as long as the command after `--` runs
    ///
    /// Example: cargo xtask postgres -- cargo test -p ci-store
    Postgres {
        /// A command to run with CI_CACHE_TEST_POSTGRES set
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
        Task::Postgres { command } => postgres::command(&root, &command),
    }
}
