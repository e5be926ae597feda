//! `cargo xtask bench engine`: the engine against its peers, in a package that ordinary builds leave alone.

use std::ffi::OsString;
use std::path::Path;

use crate::process;
use crate::test::expect_success;

/// The package of the peers; `cargo xtask test` leaves it out.
pub(crate) const PACKAGE: &str = "ci-engine-bench";

/// Builds the package optimised as one unit and runs it; it knows its own arguments.
pub(crate) fn command(root: &Path, arguments: &[OsString]) -> anyhow::Result<u8> {
    let base = ["--quiet", "--package", PACKAGE, "--profile", "bench-engine"];
    // The main program starts the small ones that lie beside it.
    expect_success(process::cargo(root).arg("build").args(base).arg("--bins"))?;
    let mut command = process::cargo(root);
    command
        .arg("run")
        .args(base)
        .args(["--bin", PACKAGE, "--"])
        .args(arguments);
    Ok(process::exit_code(process::run(&mut command)?))
}
