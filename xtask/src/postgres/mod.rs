//! A private PostgreSQL: a throwaway server on a free loopback port, its data in a temporary folder.
//!
//! It trusts every local connection and does not flush to disk: fit for tests and for nothing else. It ends with the
//! value that started it, and (where `setpriv` exists) with the process that started it, however that one ends.

mod find;
mod user;

use std::ffi::OsString;
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::process::{self, Interrupted};
use crate::{interrupt, packages};
use find::Programs;
use user::User;

/// Where tests and benches find the server; they create a database each.
pub(crate) const ENV: &str = "CI_CACHE_TEST_POSTGRES";

/// A start that takes longer than this has failed (a slow machine needs a second or two).
const START_LIMIT: Duration = Duration::from_mins(1);
/// After this long a shutdown is made immediate: nothing in the data is worth waiting for.
const STOP_LIMIT: Duration = Duration::from_secs(5);
/// Between choosing a free port and listening on it somebody else may take it.
const PORT_ATTEMPTS: usize = 3;

/// Settings that differ from the server's defaults, and are worth it for a throwaway database.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=200",
    "shared_buffers=256MB",
    "maintenance_work_mem=128MB",
    "max_wal_size=4GB",
    "fsync=off",
    "synchronous_commit=off",
    "full_page_writes=off",
    "log_min_messages=warning",
];

/// A running server; dropping it stops it and removes its data.
#[derive(Debug)]
pub(crate) struct Server {
    process: Child,
    port: u16,
    major: u32,
    /// Removed after our own drop: the server is gone before its folder is.
    folder: TempDir,
}

impl Server {
    /// Starts a server and waits until it accepts connections.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let programs = find::find_or_install()?;
        let user = User::for_server()?;
        for attempt in 1..=PORT_ATTEMPTS {
            match Self::attempt(&programs, user.as_ref())? {
                Started::Ready(server) => return Ok(server),
                Started::PortTaken if attempt < PORT_ATTEMPTS => {}
                Started::PortTaken => break,
            }
        }
        bail!("no free port: {PORT_ATTEMPTS} ports that were free were taken before PostgreSQL could listen")
    }

    /// The address of the server's maintenance database, for its superuser.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    /// Its major version.
    pub(crate) fn major(&self) -> u32 {
        self.major
    }

    fn attempt(programs: &Programs, user: Option<&User>) -> anyhow::Result<Started> {
        let folder = tempfile::Builder::new()
            .prefix("ci-cache-postgres-")
            .tempdir()
            .context("cannot create a temporary folder")?;
        let account = Account {
            user,
            home: folder.path(),
        };
        account.own(folder.path())?;
        let data = folder.path().join("data");
        create_cluster(programs, &account, &data)?;

        let port = free_port()?;
        let log = folder.path().join("log");
        let process = launch(programs, &account, &data, port, &log)?;
        let mut server = Self {
            process,
            port,
            major: programs.major,
            folder,
        };
        match server.wait_until_ready(&data)? {
            Outcome::Ready => Ok(Started::Ready(server)),
            Outcome::Ended => {
                let text = std::fs::read_to_string(&log).unwrap_or_default();
                if text.contains("could not bind") {
                    return Ok(Started::PortTaken);
                }
                bail!("PostgreSQL ended while starting:\n{}", text.trim_end())
            }
        }
    }

    fn wait_until_ready(&mut self, data: &Path) -> anyhow::Result<Outcome> {
        let start = Instant::now();
        while start.elapsed() < START_LIMIT {
            if let Some(stop) = interrupt::requested() {
                return Err(Interrupted(stop).into());
            }
            if self
                .process
                .try_wait()
                .context("cannot watch PostgreSQL")?
                .is_some()
            {
                return Ok(Outcome::Ended);
            }
            if is_ready(data) {
                return Ok(Outcome::Ready);
            }
            process::pause();
        }
        bail!("PostgreSQL was not ready after {} s", START_LIMIT.as_secs())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SIGINT is the "fast" shutdown of the server (connections are cut), SIGQUIT the "immediate" one.
        for signal in [Signal::INT, Signal::QUIT, Signal::KILL] {
            process::signal(&self.process, signal);
            if process::ends_within(&mut self.process, STOP_LIMIT) {
                return;
            }
        }
    }
}

enum Started {
    Ready(Server),
    PortTaken,
}

enum Outcome {
    Ready,
    Ended,
}

/// The account the server runs under: ours, or an unprivileged one because PostgreSQL refuses to run as root.
struct Account<'a> {
    user: Option<&'a User>,
    home: &'a Path,
}

impl Account<'_> {
    fn own(&self, path: &Path) -> anyhow::Result<()> {
        if let Some(user) = self.user {
            std::os::unix::fs::chown(path, Some(user.uid), Some(user.gid))
                .context("cannot hand the temporary folder to the server's account")?;
        }
        Ok(())
    }

    /// A command under this account, in a folder that account can enter.
    fn command(&self, program: impl Into<OsString>) -> Command {
        let mut command = Command::new(program.into());
        command.current_dir(self.home).env("HOME", self.home);
        // A PGPORT or PGDATA of the user's shell is about another server.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        if let Some(user) = self.user {
            // Also drops root's supplementary groups.
            command.uid(user.uid).gid(user.gid);
        }
        command
    }
}

fn create_cluster(programs: &Programs, account: &Account<'_>, data: &Path) -> anyhow::Result<()> {
    let mut command = account.command(programs.bin.join("initdb"));
    command
        .arg("--pgdata")
        .arg(data)
        .arg("--username=postgres")
        .arg("--auth=trust");
    command.args(["--encoding=UTF8", "--no-sync", "--no-instructions"]);
    // Under plain C the server folds only ASCII, and trigrams see no letter beyond it.
    command.arg(format!("--locale={}", utf8_locale()));
    process::output_of(&mut command).context("cannot create a database cluster")?;
    Ok(())
}

fn launch(
    programs: &Programs,
    account: &Account<'_>,
    data: &Path,
    port: u16,
    log: &Path,
) -> anyhow::Result<Child> {
    let postgres = programs.bin.join("postgres");
    let mut command = match packages::on_path("setpriv") {
        // Should we be killed, nobody runs our clean-up: then the kernel tells the server to stop.
        Some(setpriv) => {
            let mut command = account.command(setpriv);
            command.args(["--pdeathsig", "INT", "--"]).arg(postgres);
            command
        }
        None => account.command(postgres),
    };
    command.arg("-D").arg(data).arg("-p").arg(port.to_string());
    for setting in SETTINGS {
        command.args(["-c", setting]);
    }
    let log = File::create(log).context("cannot create the server's log")?;
    let copy = log.try_clone().context("cannot share the server's log")?;
    // A group of its own: Ctrl-C reaches us, and we stop the server after its clients.
    command
        .stdin(Stdio::null())
        .stdout(copy)
        .stderr(log)
        .process_group(0);
    command.spawn().context("cannot start PostgreSQL")
}

/// The server itself says when it accepts connections, in the last line of its lock file (as `pg_ctl --wait` reads it).
fn is_ready(data: &Path) -> bool {
    let lock = std::fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
    lock.lines().nth(7).is_some_and(|status| status.trim() == "ready")
}

fn free_port() -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port on loopback")?;
    Ok(listener.local_addr().context("no free port on loopback")?.port())
}

/// A UTF-8 locale of this machine, the language-neutral one if it exists.
fn utf8_locale() -> String {
    let known = process::output_of(Command::new("locale").arg("-a")).unwrap_or_default();
    choose_locale(&known)
}

fn choose_locale(known: &str) -> String {
    let plain = |name: &str| name.to_lowercase().replace('-', "");
    for wanted in ["c.utf8", "en_us.utf8"] {
        if let Some(name) = known.lines().find(|name| plain(name) == wanted) {
            return name.to_owned();
        }
    }
    // Systems without a list (musl) accept this one.
    "C.UTF-8".to_owned()
}

/// `cargo xtask postgres`: a server for as long as the command runs, or until Ctrl-C.
pub(crate) fn command(root: &Path, exec: &[OsString]) -> anyhow::Result<u8> {
    let server = Server::start()?;
    let Some((program, arguments)) = exec.split_first() else {
        let folder = server.folder.path().display();
        println!(
            "PostgreSQL {} is ready; Ctrl-C stops it and removes {folder}.",
            server.major()
        );
        println!("export {ENV}={}", server.url());
        while interrupt::requested().is_none() {
            process::pause();
        }
        return Ok(0);
    };
    let mut command = Command::new(program);
    command
        .args(arguments)
        .current_dir(working_folder(root))
        .env(ENV, server.url());
    process::forget_ourselves(&mut command);
    let status = process::run_interactive(&mut command)?;
    Ok(status
        .code()
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(1))
}

/// The folder the user stands in; `cargo run` keeps it.
fn working_folder(root: &Path) -> PathBuf {
    std::env::current_dir().unwrap_or_else(|_| root.to_path_buf())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefers_a_neutral_utf8_locale() {
        assert_eq!(choose_locale("C\nC.utf8\nPOSIX\nen_US.utf8\n"), "C.utf8");
        assert_eq!(choose_locale("C\nPOSIX\nen_US.UTF-8\n"), "en_US.UTF-8");
        assert_eq!(choose_locale(""), "C.UTF-8");
    }

    #[test]
    fn is_ready_only_when_the_lock_file_says_so() {
        let dir = tempfile::tempdir().expect("a temporary folder");
        assert!(!is_ready(dir.path()), "no lock file yet");
        let lock = dir.path().join("postmaster.pid");
        std::fs::write(&lock, "1\n/data\n0\n5432\n\n127.0.0.1\n 1 2\nstarting\n").expect("a file");
        assert!(!is_ready(dir.path()));
        std::fs::write(&lock, "1\n/data\n0\n5432\n\n127.0.0.1\n 1 2\nready   \n").expect("a file");
        assert!(is_ready(dir.path()));
    }

    #[test]
    fn a_server_answers_until_it_is_dropped() {
        let server = Server::start().expect("a server");
        let (port, folder) = (server.port, server.folder.path().to_path_buf());
        assert!(server.url().ends_with(&format!(":{port}/postgres")));
        std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("it listens");
        drop(server);
        assert!(
            std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err(),
            "it is gone"
        );
        assert!(!folder.exists(), "and its data too");
    }
}
