//! A private Redis (or Valkey): a throwaway server on a socket in a temporary folder, without a port and without files.
//!
//! One arm of a benchmark wants it, and is left out where it is not to be had; the tests of the shared tier need it. It ends with the value
//! that started it.

use std::ffi::OsString;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::interrupt;
use crate::packages::{self, Package};
use crate::process::{self, Interrupted};

/// Where benchmark and tests find the server.
pub(crate) const ENV: &str = "CI_CACHE_TEST_REDIS";
/// Where tests find the program, for servers that they stop and break.
pub(crate) const PROGRAM_ENV: &str = "CI_CACHE_TEST_REDIS_PROGRAM";

const PACKAGE: Package = Package {
    what: "Redis",
    apt: &["redis-server"],
    dnf: &["valkey"],
    apk: &["valkey"],
    pacman: &["valkey"],
    zypper: &["valkey"],
    brew: &["valkey"],
    elsewhere: "https://valkey.io/download/",
};

/// A start that takes longer than this has failed.
const START_LIMIT: Duration = Duration::from_mins(1);
/// After this long an end is made immediate: nothing in it is worth waiting for.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// A running server; dropping it stops it.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    program: PathBuf,
    /// Removed after our own drop: the server is gone before its folder is.
    folder: TempDir,
}

impl Server {
    /// Starts a server and waits until it accepts connections.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let program = program()?;
        let folder = tempfile::Builder::new()
            .prefix("ci-cache-redis-")
            .tempdir()
            .context("cannot create a temporary folder")?;
        let socket = folder.path().join("socket");
        let mut command = Command::new(&program);
        command
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
                "--daemonize",
                "no",
            ])
            .arg("--unixsocket")
            .arg(&socket)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let process = command.spawn().context("cannot start Redis")?;
        let mut server = Self {
            process,
            program,
            folder,
        };
        let start = Instant::now();
        while start.elapsed() < START_LIMIT {
            if UnixStream::connect(&socket).is_ok() {
                return Ok(server);
            }
            if let Some(stop) = interrupt::requested() {
                return Err(Interrupted(stop).into());
            }
            if let Some(status) = server.process.try_wait().context("cannot watch Redis")? {
                bail!("Redis ended while starting ({status})");
            }
            process::pause();
        }
        bail!("Redis was not ready after {} s", START_LIMIT.as_secs())
    }

    /// The address of the server.
    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}/socket", self.folder.path().display())
    }

    /// The variables by which tests find it.
    pub(crate) fn variables(&self) -> [(&'static str, OsString); 2] {
        [
            (ENV, self.url().into()),
            (PROGRAM_ENV, self.program.clone().into()),
        ]
    }
}

/// The program, for tests that start servers of their own.
pub(crate) fn program() -> anyhow::Result<PathBuf> {
    packages::find_or_install(&PACKAGE, find)
}

/// `cargo xtask redis`: a server for as long as the command runs, or until Ctrl-C.
pub(crate) fn command(root: &Path, exec: &[OsString]) -> anyhow::Result<u8> {
    let server = Server::start()?;
    let Some((program, arguments)) = exec.split_first() else {
        println!("Redis is ready; Ctrl-C stops it.");
        for (name, value) in server.variables() {
            println!("export {name}={}", value.display());
        }
        while interrupt::requested().is_none() {
            process::pause();
        }
        return Ok(0);
    };
    let folder = std::env::current_dir().unwrap_or_else(|_| root.to_path_buf());
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(folder)
        .envs(server.variables());
    process::forget_ourselves(&mut command);
    let status = process::run_interactive(&mut command)?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.unwrap_or(1))
}

fn find() -> Option<PathBuf> {
    ["valkey-server", "redis-server"]
        .into_iter()
        .find_map(packages::on_path)
}

impl Drop for Server {
    fn drop(&mut self) {
        for signal in [Signal::TERM, Signal::KILL] {
            process::signal(&self.process, signal);
            if process::ends_within(&mut self.process, STOP_LIMIT) {
                return;
            }
        }
    }
}
