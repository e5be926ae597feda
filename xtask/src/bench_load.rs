//! `cargo xtask bench` without names: whole operations under load, with a private PostgreSQL and (if there is one) a private Redis.

use std::ffi::OsString;
use std::path::Path;

use crate::test::expect_success;
use crate::{postgres, process, redis};

/// The package that measures, renders and compares.
const PACKAGE: &str = "ci-load-bench";
/// How it is built: as a release.
const PROFILE: &str = "bench";

/// Measures; the arguments are the program's own.
pub(crate) fn run(root: &Path, arguments: &[OsString]) -> anyhow::Result<u8> {
    build(root)?;
    let mut command = program(root, "run", arguments);
    if asks_for_help(arguments) {
        return Ok(process::exit_code(process::run(&mut command)?));
    }
    let server = postgres::Server::start()?;
    println!(
        "private PostgreSQL {} at {} (it does not flush to disk)",
        server.major(),
        server.url()
    );
    command.env(postgres::ENV, server.url());
    let redis = redis::Server::start();
    match &redis {
        Ok(redis) => {
            command.env(redis::ENV, redis.url());
        }
        Err(error) => {
            // The benchmark empties its server: one that is not ours it must not find.
            command.env_remove(redis::ENV);
            println!("without Redis: {error:#}");
        }
    }
    Ok(process::exit_code(process::run(&mut command)?))
}

/// Renders a run file, or compares two.
pub(crate) fn read(root: &Path, task: &str, arguments: &[OsString]) -> anyhow::Result<u8> {
    build(root)?;
    Ok(process::exit_code(process::run(&mut program(
        root, task, arguments,
    ))?))
}

fn build(root: &Path) -> anyhow::Result<()> {
    // The main program starts the small one that lies beside it.
    let base = [
        "build",
        "--quiet",
        "--package",
        PACKAGE,
        "--profile",
        PROFILE,
        "--bins",
    ];
    expect_success(process::cargo(root).args(base))
}

fn program(root: &Path, task: &str, arguments: &[OsString]) -> std::process::Command {
    let mut command = process::cargo(root);
    command
        .args(["run", "--quiet", "--package", PACKAGE, "--profile", PROFILE])
        .args(["--bin", PACKAGE, "--", task])
        .args(arguments);
    command
}

fn asks_for_help(arguments: &[OsString]) -> bool {
    arguments
        .iter()
        .any(|argument| argument == "--help" || argument == "-h")
}
