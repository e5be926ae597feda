//! A PostgreSQL server of a test's own, to be restarted and killed: the programs and the account of the shared one.

use std::fs::File;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use tempfile::TempDir;
use tokio::sync::oneshot;

use super::meddler::pause;
use crate::port::Port;

/// A start or stop that takes longer has failed.
const LIMIT: Duration = Duration::from_secs(60);
/// More transactions than are ever in progress at a time.
const LEFT_OUT: usize = 300;
/// Commits that were acknowledged survive a killed server: what is written reaches the system's memory.
const SETTINGS: &[&str] = &[
    "listen_addresses=127.0.0.1",
    "unix_socket_directories=",
    "max_connections=100",
    "shared_buffers=64MB",
    "fsync=off",
    "synchronous_commit=on",
    "autovacuum_naptime=5s",
];

/// How a server ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Connections are cut, and everything is put in order.
    Fast,
    /// As if it had crashed.
    Crash,
}

/// A running server. It ends with this value, or with the process.
#[derive(Debug)]
pub struct Server {
    /// Its own also while it is down.
    port: Port,
    programs: Arc<Programs>,
    orders: Option<mpsc::Sender<Order>>,
    keeper: Option<std::thread::JoinHandle<()>>,
}

/// How it ends if it runs, the port that it is started at again, and whom to tell that this is done.
type Order = (Option<Ending>, Option<u16>, oneshot::Sender<()>);

/// What it takes to start it.
#[derive(Debug)]
struct Programs {
    bin: PathBuf,
    setpriv: Option<PathBuf>,
    /// The account; none when it is ours.
    account: Option<(u32, u32)>,
    folder: TempDir,
}

impl Server {
    /// Makes a server and waits until it answers.
    ///
    /// # Panics
    /// When there is no shared server to learn from, or it cannot be made.
    pub async fn start() -> Self {
        let shared =
            std::env::var(crate::fixture::SERVER).expect("run `cargo xtask test`, or `cargo xtask postgres`");
        let mut connection = PgConnection::connect(&shared)
            .await
            .expect("the test server answers");
        let mut ask = async |sql: &str| -> String {
            let query = sqlx::query_scalar(AssertSqlSafe(sql.to_owned()));
            query
                .fetch_one(&mut connection)
                .await
                .expect("the test server answers")
        };
        let bin = PathBuf::from(ask("SELECT setting FROM pg_config WHERE name = 'BINDIR'").await);
        let data = ask("SELECT setting FROM pg_settings WHERE name = 'data_directory'").await;
        let locale = ask("SELECT datcollate::text FROM pg_database WHERE datname = 'template0'").await;
        let theirs = std::fs::metadata(data).expect("the test server's data");
        let ours = folder(None).path().metadata().expect("our folder").uid();
        let account = (theirs.uid() != ours).then(|| (theirs.uid(), theirs.gid()));
        let programs = Programs {
            bin,
            setpriv: setpriv(),
            account,
            folder: folder(account),
        };
        programs.init(&locale);
        Self::run(programs).await
    }

    /// Makes a hot standby that streams from this server, and waits until it answers.
    ///
    /// # Panics
    /// When it cannot be made.
    pub async fn standby(&self) -> Self {
        let own = &self.programs;
        let programs = Programs {
            bin: own.bin.clone(),
            setpriv: own.setpriv.clone(),
            account: own.account,
            folder: folder(own.account),
        };
        let url = self.url("postgres");
        let copy = tokio::task::spawn_blocking(move || {
            programs.copy(&url);
            programs
        });
        Self::run(copy.await.expect("the copy is made")).await
    }

    async fn run(programs: Programs) -> Self {
        let programs = Arc::new(programs);
        let (orders, ordered) = mpsc::channel();
        let port = Port::take();
        // The server is told to end when the thread ends that started it: so that one has to stay.
        let keeper = std::thread::spawn({
            let programs = Arc::clone(&programs);
            move || keep(&programs, &ordered)
        });
        let server = Self {
            port,
            programs,
            orders: Some(orders),
            keeper: Some(keeper),
        };
        server.order(None, server.port.number()).await;
        server
    }

    /// Makes a primary of a standby; it takes writes when this returns.
    ///
    /// # Panics
    /// When it does not.
    pub async fn promote(&self) {
        let mut connection = PgConnection::connect(&self.url("postgres"))
            .await
            .expect("the standby answers");
        let query = sqlx::query_scalar("SELECT pg_promote(true, 60)");
        let promoted: bool = query.fetch_one(&mut connection).await.expect("it is a standby");
        assert!(promoted, "the standby was not promoted in time");
        // So that a crash right after it does not begin before it.
        let checkpoint = sqlx::query("CHECKPOINT").execute(&mut connection);
        checkpoint.await.expect("the server writes down what it has");
    }

    /// Ends it; [`restart`](Self::restart) starts it again.
    ///
    /// # Panics
    /// When its keeper is gone.
    pub async fn stop(&self, ending: Ending) {
        let (done, is_done) = oneshot::channel();
        let orders = self.orders.as_ref().expect("it is kept");
        orders
            .send((Some(ending), None, done))
            .expect("the server's keeper is there");
        is_done.await.expect("the server ends");
    }

    /// Runs one of the server's programs, such as `pg_dump`, with arguments.
    ///
    /// # Panics
    /// When it fails.
    pub fn tool(&self, program: &str, arguments: &[&str]) {
        let mut command = self.programs.command(self.programs.bin.join(program));
        succeed(command.args(arguments));
    }

    /// The address of one of its databases.
    pub fn url(&self, database: &str) -> String {
        url(self.port.number(), database)
    }

    /// Where it listens, for a proxy: host and port.
    pub fn place(&self) -> String {
        format!("127.0.0.1:{}", self.port.number())
    }

    /// Ends it and starts it again; it answers when this returns.
    ///
    /// A crash forgets which transaction numbers were given to transactions that were not over, and gives them again. The test's
    /// record tells transactions apart by their numbers alone, so some are left out before anybody else can connect.
    ///
    /// # Panics
    /// When it does not.
    pub async fn restart(&self, ending: Ending) {
        let mut ending = ending;
        if ending == Ending::Crash {
            let hidden = Port::take();
            self.order(Some(ending), hidden.number()).await;
            let mut connection = PgConnection::connect(&url(hidden.number(), "postgres"))
                .await
                .expect("the server answers");
            for _ in 0..LEFT_OUT {
                let query = sqlx::query("SELECT pg_current_xact_id()");
                query.execute(&mut connection).await.expect("the server answers");
            }
            ending = Ending::Fast;
        }
        self.order(Some(ending), self.port.number()).await;
    }

    async fn order(&self, ending: Option<Ending>, port: u16) {
        let (done, is_done) = oneshot::channel();
        let orders = self.orders.as_ref().expect("it runs");
        orders
            .send((ending, Some(port), done))
            .expect("the server's keeper is there");
        is_done.await.expect("the server starts");
        let (start, url) = (Instant::now(), url(port, "postgres"));
        while !matches!(
            tokio::time::timeout(LIMIT, PgConnection::connect(&url)).await,
            Ok(Ok(_))
        ) {
            assert!(start.elapsed() < LIMIT, "the server does not answer");
            pause(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.orders.take());
        if let Some(keeper) = self.keeper.take() {
            let _ended = keeper.join();
        }
    }
}

fn url(port: u16, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{port}/{database}")
}

fn setpriv() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut files = std::env::split_paths(&path).map(|folder| folder.join("setpriv"));
    files.find(|file| file.is_file())
}

fn folder(account: Option<(u32, u32)>) -> TempDir {
    let folder = tempfile::Builder::new()
        .prefix("ci-cache-history-")
        .tempdir()
        .expect("a temporary folder");
    if let Some((uid, gid)) = account {
        chown(folder.path(), Some(uid), Some(gid)).expect("a folder for the server's account");
    }
    folder
}

/// Runs a program to its end.
fn succeed(command: &mut Command) {
    let output = command.output().expect("the program runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Starts and ends the server as it is told, until nobody tells any more.
fn keep(programs: &Programs, ordered: &mpsc::Receiver<Order>) {
    let mut running: Option<Child> = None;
    while let Ok((ending, port, done)) = ordered.recv() {
        if let (Some(child), Some(ending)) = (&mut running, ending) {
            programs.stop(child, ending);
        }
        running = port.map(|port| programs.launch(port));
        // Nobody waits any more: the test is over.
        let _told = done.send(());
    }
    if let Some(mut child) = running {
        programs.stop(&mut child, Ending::Crash);
    }
}

impl Programs {
    fn command(&self, program: PathBuf) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path());
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        if let Some((uid, gid)) = self.account {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn init(&self, locale: &str) {
        let mut command = self.command(self.bin.join("initdb"));
        command.arg("--pgdata").arg(self.folder.path().join("data"));
        command.args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--no-sync",
            "--no-instructions",
        ]);
        command.arg(format!("--locale={locale}"));
        succeed(&mut command);
    }

    /// Copies a running server, to stream from it.
    fn copy(&self, url: &str) {
        let mut command = self.command(self.bin.join("pg_basebackup"));
        command.arg("--pgdata").arg(self.folder.path().join("data"));
        command.args([
            "--write-recovery-conf",
            "--checkpoint=fast",
            "--wal-method=stream",
            "--no-sync",
        ]);
        succeed(command.arg("--dbname").arg(url));
    }

    fn launch(&self, port: u16) -> Child {
        let postgres = self.bin.join("postgres");
        let mut command = match &self.setpriv {
            // Should we be killed, the kernel tells the server to stop.
            Some(setpriv) => {
                let mut command = self.command(setpriv.clone());
                command.args(["--pdeathsig", "INT", "--"]).arg(postgres);
                command
            }
            None => self.command(postgres),
        };
        command.arg("-D").arg(self.folder.path().join("data"));
        command.arg("-p").arg(port.to_string());
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder.path().join("log"));
        let log = log.expect("a log");
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log);
        command.process_group(0).spawn().expect("the server starts")
    }

    fn stop(&self, child: &mut Child, ending: Ending) {
        let mode = match ending {
            Ending::Fast => "fast",
            Ending::Crash => "immediate",
        };
        let mut command = self.command(self.bin.join("pg_ctl"));
        command.arg("stop").arg("-D").arg(self.folder.path().join("data"));
        let stopped = command.args(["-w", "-m", mode]).output();
        if !stopped.is_ok_and(|output| output.status.success()) {
            let _killed = child.kill();
        }
        let _ended = child.wait();
    }
}
