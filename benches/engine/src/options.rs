//! The command line.

use std::path::PathBuf;

use anyhow::ensure;

use ci_measure::number::share;

/// Where the project's traces lie, beside the repository.
const TRACES: &str = "../shared/data/traces";

/// The engine against its peers, interleaved: medians, spread, ratios to quick_cache, and a verdict
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "cargo xtask bench engine")]
pub(crate) struct Run {
    /// Fewer rounds and shorter traces: an impression instead of a measurement
    #[arg(long)]
    pub(crate) quick: bool,
    /// Only these measurements, by the beginnings of their names
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// A folder of traces (`*.u32.zst`, little-endian 32-bit object numbers); may be repeated
    #[arg(long, value_name = "DIR")]
    traces: Vec<PathBuf>,
    /// What keys and orders are drawn from
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// Write the instruction counts of this run into the committed file
    #[arg(long)]
    pub(crate) bless: bool,
}

impl Run {
    /// The rounds of this run, of so many in a full one; odd, so that the median is one of them.
    pub(crate) fn rounds(&self, full: usize) -> usize {
        let rounds = if self.quick {
            share(full, 0.25).max(3)
        } else {
            full
        };
        rounds | 1
    }

    /// Whether a measurement was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| name.starts_with(only.as_str()))
    }

    /// Checks that each word after `--only` begins a name.
    pub(crate) fn check(&self, names: &[&str]) -> anyhow::Result<()> {
        for only in &self.only {
            ensure!(
                names.iter().any(|name| name.starts_with(only.as_str())),
                "no measurement is called {only}; there are: {}",
                names.join(", ")
            );
        }
        Ok(())
    }

    /// The folders of traces.
    pub(crate) fn traces(&self) -> Vec<PathBuf> {
        if self.traces.is_empty() {
            return vec![PathBuf::from(TRACES)];
        }
        self.traces.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[test]
    fn names_may_be_shortened_but_not_invented() {
        let run = Run::parse_from(["x", "--only", "hit,mem"]);
        assert!(run.wants("hit-ratio") && run.wants("memory") && !run.wants("load"));
        assert!(run.check(&["hit-ratio", "memory"]).is_ok());
        assert!(run.check(&["memory"]).is_err());
        assert!(Run::parse_from(["x"]).wants("anything"));
    }

    #[test]
    fn rounds_are_odd() {
        assert_eq!(Run::parse_from(["x"]).rounds(24), 25);
        assert_eq!(Run::parse_from(["x", "--quick"]).rounds(24), 7);
        assert_eq!(Run::parse_from(["x", "--quick"]).rounds(1), 3);
    }
}
