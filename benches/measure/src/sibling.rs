//! The small programs of a benchmark beside its main one: each process has an allocator, or a profiler, of its own.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

/// Finds a program of the same package.
///
/// # Errors
/// When it is not built.
pub fn path(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    let path = own.with_file_name(name);
    ensure!(path.is_file(), "{name} is not built; run `cargo xtask bench`");
    Ok(path)
}

/// Runs a program to its end and gives what it printed.
///
/// # Errors
/// When it cannot be started or fails.
pub fn output(command: &mut Command) -> anyhow::Result<String> {
    let (out, _) = outputs(command)?;
    Ok(out)
}

/// Like [`output`], with standard error beside it.
///
/// # Errors
/// As above.
pub fn outputs(command: &mut Command) -> anyhow::Result<(String, String)> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {name}"))?;
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    if !output.status.success() {
        bail!("{name} failed ({}): {}", output.status, error.trim());
    }
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), error))
}
