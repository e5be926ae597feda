//! `cargo xtask demo`: the whole product on a generated estate, in one command.

use std::ffi::OsString;
use std::path::Path;

use crate::process;

/// Builds the `ci-cache` program and runs `ci-cache demo` with the given arguments until it ends.
pub(crate) fn command(root: &Path, arguments: &[OsString]) -> anyhow::Result<u8> {
    println!(
        "building ci-cache with optimisations, so that its figures are honest (the first time takes minutes)"
    );
    let program = ["--release", "--package", "ci-server", "--bin", "ci-cache"];
    let mut build = process::cargo(root);
    crate::test::expect_success(build.arg("build").args(program))?;
    let mut run = process::cargo(root);
    run.args(["run", "--quiet"])
        .args(program)
        .args(["--", "demo"])
        .args(arguments);
    let status = process::run_interactive(&mut run)?;
    Ok(process::exit_code(status))
}
