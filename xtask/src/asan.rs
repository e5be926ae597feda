//! `cargo xtask check asan`: the engine's tests under AddressSanitizer.
//!
//! Its flag is not stable: the compiler is told to accept it (`RUSTC_BOOTSTRAP`) for this build alone, in a folder of its own. The standard library
//! stays as it is shipped; what it reads and writes of ours through `malloc` and `memcpy` is watched all the same.

use std::path::Path;

use anyhow::{bail, ensure};

use crate::check::{TRIPLE, target_dir};
use crate::counts::Counts;
use crate::process;

/// Runs the engine's tests under AddressSanitizer, after it has noticed a planted read of freed memory (which is one of them).
pub(crate) fn test(root: &Path, counts: &mut Counts) -> anyhow::Result<()> {
    let mut command = process::cargo(root);
    command
        .args([
            "test",
            "--package",
            "ci-cache-core",
            "--all-features",
            "--lib",
            "--tests",
        ])
        .args(["--target", TRIPLE, "--no-fail-fast"])
        .env("CARGO_TARGET_DIR", target_dir(root).join("asan"))
        .env("RUSTFLAGS", "-Zsanitizer=address --cfg asan")
        .env("RUSTC_BOOTSTRAP", "1");
    let mut noticed = false;
    let status = process::run_reading(&mut command, |line| {
        println!("{line}");
        noticed |= line.contains("a_planted_read_of_freed_memory_is_noticed ... ok");
        counts.read(line);
    })?;
    if let Some(objection) = counts.objection() {
        bail!("asan: {objection}");
    }
    ensure!(status.success(), "asan: cargo test ended with {status}");
    ensure!(noticed, "asan: the planted defect was not run");
    Ok(())
}
