//! Running promtool, which `cargo xtask test` finds or installs.

use std::path::Path;
use std::process::{Command, Output};

/// Where `cargo xtask test` says it is.
const ENV: &str = "CI_CACHE_TEST_PROMTOOL";

/// Runs it in a folder.
pub(crate) fn run(folder: &Path, arguments: &[&str]) -> Output {
    let program = std::env::var_os(ENV).unwrap_or_else(|| "promtool".into());
    let done = Command::new(&program)
        .args(arguments)
        .current_dir(folder)
        .output();
    done.unwrap_or_else(|error| {
        panic!(
            "{} does not run ({error}); run `cargo xtask test`, which finds or installs it, or set {ENV}",
            program.display()
        )
    })
}

/// Runs it beside the committed rules; anything but success fails the test.
pub(crate) fn succeeds(arguments: &[&str]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus");
    let done = run(&folder, arguments);
    assert!(
        done.status.success(),
        "{arguments:?}: {}{}",
        String::from_utf8_lossy(&done.stdout),
        String::from_utf8_lossy(&done.stderr)
    );
}
