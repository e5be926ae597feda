//! `cargo xtask check`: the engine under tools that an ordinary test run cannot be, each in a build of its own.

use std::path::{Path, PathBuf};

use anyhow::{bail, ensure};

use crate::counts::Counts;
use crate::{asan, fuzz, instructions, process};

/// What sanitizers are built for. Named, so that build scripts and macros, which are not for the target, stay without their flags.
pub(crate) const TRIPLE: &str = "x86_64-unknown-linux-gnu";

/// What to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Which tool
    #[arg(value_enum)]
    tool: Tool,
    /// Explore more schedules (shuttle)
    #[arg(long)]
    long: bool,
    /// How long to fuzz, all targets together
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Write the inputs that reach most into the committed corpus (fuzz), or the counts down (instructions)
    #[arg(long)]
    keep: bool,
}

/// A tool that needs the engine built in its own way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tool {
    /// Every interleaving of small models of the lock and of flights
    Loom,
    /// Random interleavings of larger programs
    Shuttle,
    /// What reads bytes, by coverage: operations and snapshots against a naive reference, values of the tier, parsers
    Fuzz,
    /// The engine's tests under AddressSanitizer
    Asan,
    /// Instructions of the engine's hot paths, beside those that are written down
    Instructions,
}

/// Runs one tool; the exit code says whether it found something.
pub(crate) fn command(root: &Path, options: &Options) -> anyhow::Result<u8> {
    let mut counts = Counts::default();
    if matches!(options.tool, Tool::Fuzz | Tool::Asan) {
        supports_sanitizer()?;
    }
    let result = match options.tool {
        Tool::Loom | Tool::Shuttle => models(root, options.tool, options.long, &mut counts),
        Tool::Fuzz => fuzz::fuzz(root, options.seconds, options.keep, &mut counts),
        Tool::Asan => asan::test(root, &mut counts),
        Tool::Instructions => return instructions::check(root, options.keep).map(|()| 0),
    };
    println!("{counts}");
    result.map(|()| 0)
}

/// Fails where there is no sanitizer.
pub(crate) fn supports_sanitizer() -> anyhow::Result<()> {
    ensure!(
        cfg!(all(target_os = "linux", target_arch = "x86_64")),
        "the sanitizer is set up for Linux on x86-64 only"
    );
    Ok(())
}

/// Runs the engine's models under loom or shuttle, optimised, apart from the ordinary build.
pub(crate) fn models(root: &Path, tool: Tool, long: bool, counts: &mut Counts) -> anyhow::Result<()> {
    let name = match tool {
        Tool::Loom => "loom",
        Tool::Shuttle => "shuttle",
        Tool::Fuzz | Tool::Asan | Tool::Instructions => bail!("no model runs under {tool:?}"),
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
pub(crate) fn target_dir(root: &Path) -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir))
}
