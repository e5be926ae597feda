//! The small programs beside the main one.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};

/// Finds a program of this package.
pub(crate) fn path(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program lies")?;
    let path = own.with_file_name(name);
    ensure!(
        path.is_file(),
        "{name} is not built; run `cargo xtask bench engine`"
    );
    Ok(path)
}

/// Runs a program to its end and gives what it printed.
pub(crate) fn output(command: &mut Command) -> anyhow::Result<String> {
    let (out, _) = outputs(command)?;
    Ok(out)
}

/// Like [`output`], with standard error beside it.
pub(crate) fn outputs(command: &mut Command) -> anyhow::Result<(String, String)> {
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
