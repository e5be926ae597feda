//! Shared tiers for tests: one in memory that does to its values whatever a test asks for, and servers.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ci_runner::tier::{Bell, Life, Tier, TierError, TierKey, TierValue};
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::history::meddler::pause;
use crate::port::Port;

/// All values at one moment.
pub type Values = HashMap<TierKey, Vec<u8>>;

/// What goes wrong from now on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Deletes are acknowledged and lost.
    pub loses_deletes: bool,
    /// Writes are acknowledged and lost.
    pub loses_puts: bool,
    /// Rings are acknowledged and lost.
    pub loses_rings: bool,
    /// Whether calls are answered at all.
    pub down: Down,
}

/// How a tier is down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Down {
    /// It is not.
    #[default]
    No,
    /// Every call fails.
    Fails,
    /// No call ends.
    Hangs,
}

/// A tier in memory. Times to live never end.
#[derive(Debug, Default)]
pub struct MemoryTier {
    values: Mutex<Values>,
    leases: Mutex<Vec<TierKey>>,
    faults: Mutex<Faults>,
    asked: AtomicU64,
    /// How often a lease was refused.
    refused: tokio::sync::watch::Sender<u64>,
    /// How often one was given.
    given: AtomicU64,
    /// How often somebody rang.
    rung: tokio::sync::watch::Sender<u64>,
}

impl MemoryTier {
    /// An empty one without faults.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Sets what goes wrong from now on.
    pub fn set(&self, faults: Faults) {
        *self.faults.lock() = faults;
    }

    /// All values that tenants have.
    pub fn dump(&self) -> Values {
        let values = self.values.lock();
        let of_tenants = values.iter().filter(|(key, _)| key.tenant.is_some());
        of_tenants
            .map(|(key, bytes)| (key.clone(), bytes.clone()))
            .collect()
    }

    /// Puts values back, over what is there.
    pub fn restore(&self, values: Values) {
        self.values.lock().extend(values);
    }

    /// Forgets everything, leases too.
    pub fn flush(&self) {
        self.values.lock().clear();
        self.leases.lock().clear();
    }

    /// Does something to each value of a tenant.
    pub fn damage(&self, mut damage: impl FnMut(&TierKey, &mut Vec<u8>)) {
        let mut values = self.values.lock();
        let of_tenants = values.iter_mut().filter(|(key, _)| key.tenant.is_some());
        of_tenants.for_each(|(key, bytes)| damage(key, bytes));
    }

    /// Whether a node has left a bookmark of its feed.
    pub fn has_bookmark(&self) -> bool {
        self.bookmarks() > 0
    }

    /// How many bookmarks nodes have left.
    pub fn bookmarks(&self) -> usize {
        let values = self.values.lock();
        values.keys().filter(|key| key.name.starts_with("feed-")).count()
    }

    /// Makes bookmarks older by so many of their steps.
    ///
    /// # Panics
    /// When one has a name without a number.
    pub fn age_bookmarks(&self, steps: u64) {
        let mut values = self.values.lock();
        let is_bookmark = |key: &TierKey, _: &mut _| key.name.starts_with("feed-");
        let bookmarks: Vec<_> = values.extract_if(is_bookmark).collect();
        for (key, value) in bookmarks {
            let aged = key.name.rsplit_once('-').and_then(|(name, number)| {
                let number = number.parse::<u64>().ok()?;
                Some(format!("{name}-{}", number - steps))
            });
            let name = aged.expect("a bookmark has a number");
            values.insert(TierKey::new(key.tenant, name), value);
        }
    }

    /// How often it was asked for values of tenants.
    pub fn asked(&self) -> u64 {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits until so many were told that somebody has the lease.
    ///
    /// # Panics
    /// When the tier is gone meanwhile.
    pub async fn refused(&self, count: u64) {
        let mut refused = self.refused.subscribe();
        refused
            .wait_for(|refused| *refused >= count)
            .await
            .expect("the tier is there");
    }

    /// How many leases were given until now, and how many somebody has.
    pub fn leases(&self) -> (u64, usize) {
        (self.given.load(Ordering::SeqCst), self.leases.lock().len())
    }

    async fn called(&self) -> Result<Faults, TierError> {
        let faults = *self.faults.lock();
        match faults.down {
            Down::No => Ok(faults),
            Down::Fails => Err(TierError::new("it fails")),
            Down::Hangs => std::future::pending().await,
        }
    }
}

#[async_trait]
impl Tier for MemoryTier {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn get(&self, keys: &[TierKey]) -> Result<Vec<Option<Vec<u8>>>, TierError> {
        if keys.iter().any(|key| key.tenant.is_some()) {
            self.asked.fetch_add(1, Ordering::SeqCst);
        }
        self.called().await?;
        let (values, leases) = (self.values.lock(), self.leases.lock());
        let lease = |key| leases.contains(key).then(|| b"taken".to_vec());
        let found = keys
            .iter()
            .map(|key| values.get(key).cloned().or_else(|| lease(key)));
        Ok(found.collect())
    }

    async fn put(&self, values: &[TierValue]) -> Result<(), TierError> {
        if self.called().await?.loses_puts {
            return Ok(());
        }
        let mut all = self.values.lock();
        for value in values {
            if value.life != Life::AsBefore || all.contains_key(&value.key) {
                all.insert(value.key.clone(), value.bytes.clone());
            }
        }
        Ok(())
    }

    async fn delete(&self, keys: &[TierKey]) -> Result<(), TierError> {
        if !self.called().await?.loses_deletes {
            let mut all = self.values.lock();
            keys.iter().for_each(|key| drop(all.remove(key)));
            self.leases.lock().retain(|lease| !keys.contains(lease));
        }
        Ok(())
    }

    async fn lease(&self, key: &TierKey, _length: Duration) -> Result<bool, TierError> {
        self.called().await?;
        let mut leases = self.leases.lock();
        let free = !leases.contains(key);
        if free {
            self.given.fetch_add(1, Ordering::SeqCst);
            leases.push(key.clone());
        } else {
            self.refused.send_modify(|count| *count += 1);
        }
        Ok(free)
    }

    async fn ring(&self) -> Result<(), TierError> {
        if !self.called().await?.loses_rings {
            self.rung.send_modify(|count| *count += 1);
        }
        Ok(())
    }

    async fn listen(&self) -> Result<Option<Box<dyn Bell>>, TierError> {
        self.called().await?;
        Ok(Some(Box::new(MemoryBell(self.rung.subscribe()))))
    }
}

/// Hears the rings of a tier in memory.
#[derive(Debug)]
struct MemoryBell(tokio::sync::watch::Receiver<u64>);

#[async_trait]
impl Bell for MemoryBell {
    async fn rung(&mut self) -> Result<(), TierError> {
        let gone = |_| TierError::new("the tier is gone");
        self.0.changed().await.map_err(gone)
    }
}

/// The server that `CI_CACHE_TEST_REDIS` names, as `cargo xtask test` and `cargo xtask redis` set it.
///
/// # Panics
/// When it is not set: nothing is ever skipped.
pub fn redis() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| {
        std::env::var("CI_CACHE_TEST_REDIS").expect(
            "CI_CACHE_TEST_REDIS is not set; run `cargo xtask test`, or `cargo xtask redis -- COMMAND` for one command",
        )
    })
}

/// How long a server may take to start, to answer an order.
const LIMIT: Duration = Duration::from_secs(60);

/// Looks until something is so.
///
/// # Panics
/// When it is not so for a long time, with what it is.
pub async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let looks = async {
        while !is_so().await {
            pause(Duration::from_millis(5)).await;
        }
    };
    let done = tokio::time::timeout(2 * LIMIT, looks).await;
    assert!(done.is_ok(), "never: {what}");
}
/// The file that a server reads its values from when it starts.
const VALUES: &str = "dump.rdb";

/// A server of a test's own, to be stopped and broken. It ends with the value.
#[derive(Debug)]
pub struct PrivateRedis {
    process: Child,
    /// Its own, and the one for the nodes of its cluster.
    ports: [Port; 2],
    folder: TempDir,
    /// What its program is told beside the usual.
    arguments: Vec<String>,
}

impl PrivateRedis {
    /// Starts one and waits until it accepts connections.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start() -> Self {
        Self::start_with(&[]).await
    }

    /// Starts one that is told more, its port as `{port}` and another one that is free as `{bus}`. The first argument may be `--sentinel`: then
    /// it watches others.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_with(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.into()).collect();
        let (process, ports) = run_redis(&folder, &arguments).await;
        Self {
            process,
            ports,
            folder,
            arguments,
        }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("redis+unix://{}/socket", self.folder.path().display())
    }

    /// Where else it listens, for a proxy: host and port. It may be another port after a restart.
    pub fn place(&self) -> String {
        format!("127.0.0.1:{}", self.port())
    }

    /// Where else it listens: the port.
    pub fn port(&self) -> u16 {
        self.ports[0].number()
    }

    /// Kills it: what it had is gone.
    pub fn kill(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }

    /// Starts it again at the same address, without values.
    pub async fn restart(&mut self) {
        self.kill();
        drop(std::fs::remove_file(self.folder.path().join("socket")));
        (self.process, self.ports) = run_redis(&self.folder, &self.arguments).await;
    }

    /// Keeps the values that it has now, under a name.
    ///
    /// # Panics
    /// When it does not write them down.
    pub fn keep(&self, name: &str) {
        self.order("SAVE");
        let folder = self.folder.path();
        std::fs::rename(folder.join(VALUES), folder.join(name)).expect("the server's values");
    }

    /// Starts it again with the values that were kept: what was written and deleted since has not happened.
    ///
    /// # Panics
    /// When none were kept under that name.
    pub async fn roll_back(&mut self, name: &str) {
        self.kill();
        let (kept, values) = (self.folder.path().join(name), self.folder.path().join(VALUES));
        std::fs::copy(kept, &values).expect("values that were kept");
        self.restart().await;
        // It has read them. One that is killed later begins without.
        std::fs::remove_file(values).expect("the server's values");
    }

    /// Has it do something that it answers by `OK`, such as `FLUSHALL`.
    ///
    /// # Panics
    /// When it does not.
    pub fn order(&self, command: &str) {
        let mut stream = UnixStream::connect(self.folder.path().join("socket")).expect("the server listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a timeout");
        write!(stream, "{command}\r\n").expect("the server listens");
        let mut answer = String::new();
        let read = BufReader::new(stream).read_line(&mut answer);
        assert_eq!(read.map(|_| answer.trim_end()).ok(), Some("+OK"), "{command}");
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for PrivateRedis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Starts a server in a folder, at a port that is free: at another one if somebody else takes it first.
async fn run_redis(folder: &TempDir, arguments: &[String]) -> (Child, [Port; 2]) {
    let program = std::env::var("CI_CACHE_TEST_REDIS_PROGRAM").expect(
        "CI_CACHE_TEST_REDIS_PROGRAM is not set; run `cargo xtask test`, or `cargo xtask redis -- COMMAND` for one command",
    );
    let (socket, began) = (folder.path().join("socket"), Instant::now());
    // One that watches others writes down what it learns.
    let notes = folder.path().join("notes.conf");
    let watches = arguments.first().is_some_and(|first| first == "--sentinel");
    let values: &[&str] = if watches {
        std::fs::write(&notes, "").expect("a file");
        &[]
    } else {
        &["--save", "", "--appendonly", "no", "--dbfilename", VALUES]
    };
    loop {
        let ports = [Port::take(), Port::take()];
        let [port, bus] = [&ports[0], &ports[1]].map(|port| port.number().to_string());
        let filled = arguments.iter();
        let filled = filled.map(|argument| argument.replace("{port}", &port).replace("{bus}", &bus));
        let mut process = Command::new(&program)
            .args(watches.then_some(&notes))
            .args(["--bind", "127.0.0.1", "--port", &port])
            .args(values)
            .arg("--unixsocket")
            .arg(&socket)
            .args(filled)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        while matches!(process.try_wait(), Ok(None)) {
            if tokio::net::UnixStream::connect(&socket).await.is_ok() {
                return (process, ports);
            }
            assert!(began.elapsed() < LIMIT, "the server does not start");
            pause(Duration::from_millis(1)).await;
        }
        assert!(began.elapsed() < LIMIT, "the server does not start");
    }
}
