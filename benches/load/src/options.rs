//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

/// Whole operations under load: the predecessor's way, the store, two usual caches, and the runner, in turns
#[derive(Debug, Parser)]
#[command(name = "cargo xtask bench", disable_help_subcommand = true)]
pub(crate) struct Options {
    /// What to do.
    #[command(subcommand)]
    pub(crate) task: Task,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Task {
    /// Measure, write a run file and print its tables
    Run(Run),
    /// Render docs/performance.md, its charts and the README's table from a run file
    Render {
        /// The run file
        run: PathBuf,
        /// The workspace to render into
        #[arg(long, default_value = ".", value_name = "DIR")]
        into: PathBuf,
    },
    /// Tell what changed between two run files beyond noise
    Compare {
        /// The earlier one
        before: PathBuf,
        /// The later one
        after: PathBuf,
    },
}

/// A run.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// About 2 minutes instead of 15: an impression
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these sections
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// What everything is drawn from
    #[arg(long, default_value_t = 7)]
    pub(crate) seed: u64,
    /// The folder of the run file
    #[arg(long, default_value = "target/bench-runs", value_name = "DIR")]
    pub(crate) into: PathBuf,
    /// Ask a recorded log of requests again, of the database that --database names, instead of the sections
    #[arg(long, value_name = "LOG", requires = "database")]
    pub(crate) replay: Option<PathBuf>,
    /// The database that a log is asked of: a copy, because opening it brings its tables up to date
    #[arg(long, value_name = "URL", requires = "replay")]
    pub(crate) database: Option<String>,
    /// Leave the documentation as it is; a quick or partial run does so anyway
    #[arg(long)]
    pub(crate) no_render: bool,
    /// What the reader should know, such as other work on the machine
    #[arg(long, default_value = "", value_name = "TEXT")]
    pub(crate) note: String,
}
