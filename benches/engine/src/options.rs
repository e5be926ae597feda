//! The command line.

use std::path::PathBuf;

use crate::number::share;

/// The engine against its peers, interleaved: medians, spread, ratios to quick_cache, and a verdict
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "cargo xtask bench engine")]
pub(crate) struct Run {
    /// A third of the rounds: an impression instead of a measurement
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these measurements
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    pub(crate) only: Vec<String>,
    /// Folders of traces (`*.u32.zst`), may be repeated
    #[arg(long, value_name = "DIR")]
    pub(crate) traces: Vec<PathBuf>,
    /// What keys and orders are drawn from
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
}

impl Run {
    /// The rounds of this run, of so many in a full one; odd, so that the median is one of them.
    pub(crate) fn rounds(&self, full: usize) -> usize {
        let rounds = if self.quick { share(full, 0.3).max(3) } else { full };
        rounds | 1
    }

    /// Whether a measurement was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}
