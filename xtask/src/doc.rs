//! `cargo xtask doc`: the API documentation, with every warning an error.

use std::path::Path;

use crate::process;
use crate::test::expect_success;

/// Builds the documentation of all members, and opens it in a browser if asked.
pub(crate) fn build(root: &Path, open: bool) -> anyhow::Result<()> {
    let mut command = process::cargo(root);
    command
        .args(["doc", "--workspace", "--exclude", crate::bench_engine::PACKAGE])
        .args(["--no-deps", "--all-features"])
        .env("RUSTDOCFLAGS", "-D warnings");
    if open {
        command.arg("--open");
    }
    expect_success(&mut command)
}
