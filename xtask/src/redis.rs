//! A private Redis (or Valkey): a throwaway server on a socket in a temporary folder, without a port and without files.
//!
//! Only one arm of a benchmark wants it, so where it is not to be had that arm is left out and nothing fails. It ends with the value
//! that started it.

use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::interrupt;
use crate::packages::{self, Package};
use crate::process::{self, Interrupted};

/// Where the benchmark finds the server.
pub(crate) const ENV: &str = "CI_CACHE_TEST_REDIS";

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
const START_LIMIT: Duration = Duration::from_secs(10);
/// After this long an end is made immediate: nothing in it is worth waiting for.
const STOP_LIMIT: Duration = Duration::from_secs(2);

/// A running server; dropping it stops it.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    /// Removed after our own drop: the server is gone before its folder is.
    folder: TempDir,
}

impl Server {
    /// Starts a server and waits until it accepts connections.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let program = packages::find_or_install(&PACKAGE, find)?;
        let folder = tempfile::Builder::new()
            .prefix("ci-cache-redis-")
            .tempdir()
            .context("cannot create a temporary folder")?;
        let socket = folder.path().join("socket");
        let mut command = Command::new(program);
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
        let mut server = Self { process, folder };
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
