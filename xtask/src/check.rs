//! `cargo xtask check`: the engine under tools that an ordinary test run cannot be, each in a build of its own.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};

use crate::counts::Counts;
use crate::process;

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which tool
    #[arg(value_enum)]
    tool: Tool,
    /// Explore more schedules (shuttle)
    #[arg(long)]
    long: bool,
}

/// A tool that needs the engine built in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tool {
    /// Every interleaving of small models of the lock and of flights
    Loom,
    /// Random interleavings of larger programs
    Shuttle,
}

/// Runs one tool; the exit code says whether it found something.
pub(crate) fn command(root: &Path, options: &Options) -> anyhow::Result<u8> {
    let mut counts = Counts::default();
    let result = models(root, options.tool, options.long, &mut counts);
    println!("{counts}");
    result.map(|()| 0)
}

/// Runs the engine's models under loom or shuttle, optimised, apart from the ordinary build.
pub(crate) fn models(root: &Path, tool: Tool, long: bool, counts: &mut Counts) -> anyhow::Result<()> {
    let name = match tool {
        Tool::Loom => "loom",
        Tool::Shuttle => "shuttle",
    };
    let mut command = process::cargo(root);
    command
        .args([
            "test",
            "--package",
            "ci-cache-core",
            "--lib",
            "--release",
            "models::",
        ])
        .env("RUSTFLAGS", format!("--cfg {name}"))
        .env("CARGO_TARGET_DIR", target_dir(root).join(name));
    if long {
        command.env("CI_CACHE_TEST_LONG", "1");
    }
    // The engine alone is counted: a filter that matches nothing would prove nothing.
    let mut own = Counts::default();
    let status = process::run_reading(&mut command, |line| {
        println!("{line}");
        own.read(line);
        counts.read(line);
    })?;
    if let Some(objection) = own.objection() {
        bail!("{name}: {objection}");
    }
    ensure!(status.success(), "{name}: cargo test ended with {status}");
    Ok(())
}

/// Where cargo builds: what builds with other flags goes into folders of its own below it, so that neither build undoes the other.
fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}
