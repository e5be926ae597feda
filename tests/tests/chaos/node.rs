//! A node of the fleet: `ci-cache serve` as a process, behind proxies of its own.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ci_tests::planted_service::{self, Defect};

use super::pause;
use super::proxy::Proxy;

/// What all nodes are started with.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// Further settings of the service, `key=value`.
    pub(crate) set: Vec<String>,
    /// What is wrong with the nodes, which the checker has to find.
    pub(crate) defect: Option<Defect>,
}

/// Where nobody listens: there is no standby yet.
const NOWHERE: &str = "127.0.0.1:9";

/// One node. It may be down.
#[derive(Debug)]
pub(crate) struct Node {
    number: usize,
    /// Between it and the database.
    pub(crate) proxy: Proxy,
    /// Between it and the shared tier.
    pub(crate) tier: Proxy,
    /// Between it and the standby that it loads from.
    pub(crate) replica: Proxy,
    settings: Settings,
    folder: PathBuf,
    process: Mutex<Option<Child>>,
    address: Mutex<Option<Arc<str>>>,
}

impl Node {
    /// A node that is not started yet, for a database and a shared tier that listen there.
    pub(crate) async fn new(
        number: usize,
        [database, tier]: [String; 2],
        settings: Settings,
        folder: PathBuf,
    ) -> Self {
        Self {
            number,
            proxy: Proxy::start(database).await,
            tier: Proxy::start(tier).await,
            replica: Proxy::start(NOWHERE.into()).await,
            settings,
            folder,
            process: Mutex::new(None),
            address: Mutex::new(None),
        }
    }

    /// Whether it has a standby to load from: all but the first, whose loads are of the moment of their call or later.
    pub(crate) fn loads_from_a_standby(&self) -> bool {
        self.number > 0
    }

    /// Where it listens, if it runs.
    pub(crate) fn address(&self) -> Option<Arc<str>> {
        self.address.lock().unwrap().clone()
    }

    /// What all its lives have logged.
    pub(crate) fn log(&self) -> PathBuf {
        self.folder.join(format!("node-{}.log", self.number))
    }

    /// Starts it, again and again while its database is away.
    pub(crate) async fn start(&self) {
        loop {
            let mut child = self.command().spawn().unwrap();
            let out = child.stdout.take().unwrap();
            *self.process.lock().unwrap() = Some(child);
            let line = tokio::task::spawn_blocking(move || {
                let mut line = String::new();
                let _read = BufReader::new(out).read_line(&mut line);
                line
            });
            let line = line.await.unwrap();
            if let Some(address) = line.trim().strip_prefix("listening on http://") {
                *self.address.lock().unwrap() = Some(address.into());
                return;
            }
            self.reap();
            pause(Duration::from_millis(50)).await;
        }
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ci-cache-tested"));
        let ours = std::env::vars_os().map(|(name, _)| name);
        for name in ours.filter(|name| name.to_string_lossy().starts_with("CI_CACHE_")) {
            command.env_remove(name);
        }
        let log = File::options().create(true).append(true).open(self.log());
        command
            .args(["serve", "--listen", "127.0.0.1:0", "--drain-timeout", "1s"])
            // Three nodes in a debug build that poll every 3 ms would leave two cores nothing else to do.
            .args(["--poll-every", "15ms"])
            .args(["--acquire-timeout", "1s", "--statement-timeout", "3s"])
            .args(["--request-timeout", "3s", "--max-entries", "80", "--log", "warn"])
            .args(["--audit-rate", "120"])
            // A busy machine is no fault of the tier.
            .args([
                "--tier-doorbell",
                "--tier-timeout",
                "250ms",
                "--tier-refresh-every",
                "2s",
                "--tier-url",
            ])
            .arg(format!("redis://127.0.0.1:{}", self.tier.port()))
            .arg("--database")
            .arg(format!("postgres://postgres@127.0.0.1:{}/ci", self.proxy.port()))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log.unwrap());
        if self.loads_from_a_standby() {
            let port = self.replica.port();
            command
                .arg("--replica-url")
                .arg(format!("postgres://postgres@127.0.0.1:{port}/ci"))
                // A busy machine is no fault of the standby.
                .args(["--replica-timeout", "1s"]);
        }
        // The first has none, so that it replays the changes from a bookmark in the tier when it starts.
        if self.number > 0 {
            let file = self.folder.join(format!("node-{}.warm", self.number));
            command.args(["--warm-every", "1s", "--warm-file"]).arg(file);
        }
        for (key, value) in self.settings.set.iter().filter_map(|set| set.split_once('=')) {
            command.arg(format!("--{}", key.replace('_', "-"))).arg(value);
        }
        if let Some(defect) = self.settings.defect {
            command.env(planted_service::VARIABLE, defect.name());
        }
        command
    }

    /// Kills it.
    pub(crate) fn kill(&self) {
        *self.address.lock().unwrap() = None;
        self.reap();
    }

    fn reap(&self) {
        if let Some(mut child) = self.process.lock().unwrap().take() {
            let _killed = child.kill();
            let _ended = child.wait();
        }
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(&self) {
        self.signal("-TERM");
        *self.address.lock().unwrap() = None;
        let child = self.process.lock().unwrap().take();
        if let Some(mut child) = child {
            let _ended = tokio::task::spawn_blocking(move || child.wait()).await;
        }
    }

    /// Sends it a signal: `-STOP`, `-CONT`, `-TERM`.
    pub(crate) fn signal(&self, with: &str) {
        let id = self.process.lock().unwrap().as_ref().map(Child::id);
        if let Some(id) = id {
            signal(id, with);
        }
    }
}

/// Sends a process of ours a signal.
pub(crate) fn signal(id: u32, with: &str) {
    let _sent = Command::new("kill").args([with, &id.to_string()]).status();
}

impl Drop for Node {
    fn drop(&mut self) {
        self.reap();
    }
}
