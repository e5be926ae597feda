//! Connecting to a SQLite file.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use super::{SqliteStore, migrate};
use crate::{Error, Result, StoreOptions};

const MEMORY: &str = ":memory:";
/// Pause between two attempts to open a file that another process holds.
const RETRY: Duration = Duration::from_millis(20);

impl SqliteStore {
    /// Opens the file at `path` (`:memory:` for a private one that goes with the store; a leading `//` is cut), and
    /// makes or adopts its tables.
    ///
    /// # Errors
    /// [`Error::Unavailable`] when the file cannot be opened or is missing and must not be created,
    /// [`Error::Corrupt`] when it is no database, [`Error::Schema`] when its tables cannot be used.
    pub async fn connect(path: &str, options: &StoreOptions) -> Result<Self> {
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() {
            return Err(Error::Address("expected a path after `sqlite:`".into()));
        }
        let memory = path == MEMORY;
        let folder = memory
            .then(tempfile::tempdir)
            .transpose()
            .map_err(|error| no_folder(&error))?
            .map(Arc::new);
        let file = match &folder {
            Some(folder) => folder.path().join("memory.db"),
            None => path.into(),
        };
        let shared = SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(options.create_if_missing || memory)
            .foreign_keys(true)
            .busy_timeout(options.busy_timeout)
            // A temporary database need not survive a crash.
            .synchronous(if memory {
                SqliteSynchronous::Off
            } else {
                SqliteSynchronous::Normal
            })
            // Negative: in KiB instead of pages.
            .pragma("cache_size", format!("-{}", options.cache_bytes >> 10))
            .pragma("mmap_size", options.mmap_bytes.to_string())
            .pragma("temp_store", "memory");
        let (write, read) = open_pools(&shared, options).await?;
        Ok(Self {
            write,
            read,
            access: shared.pragma("query_only", "on"),
            statement_timeout: options.statement_timeout,
            known: Arc::default(),
            folder,
        })
    }

    /// Closes every connection after the statements that run on them, the writer last: it folds the log into the file.
    pub(super) async fn close_pools(&self) {
        self.read.close().await;
        self.write.close().await;
    }
}

/// Opens the file, again and again while another process holds it: SQLite's own waiting does not cover the switch to
/// WAL mode, nor the moment when the last of its users folds the log into the file.
async fn open_pools(
    shared: &SqliteConnectOptions,
    options: &StoreOptions,
) -> Result<(SqlitePool, SqlitePool)> {
    let start = Instant::now();
    loop {
        match try_open_pools(shared, options).await {
            Err(Error::Conflict(_)) if start.elapsed() < options.busy_timeout => {
                tokio::time::sleep(RETRY).await;
            }
            result => return result,
        }
    }
}

async fn try_open_pools(
    shared: &SqliteConnectOptions,
    options: &StoreOptions,
) -> Result<(SqlitePool, SqlitePool)> {
    let write = pool(options, 1)
        .connect_with(shared.clone().journal_mode(SqliteJournalMode::Wal))
        .await?;
    migrate::run(&write).await?;
    let read = pool(options, options.connections)
        .connect_with(shared.clone().pragma("query_only", "on"))
        .await?;
    Ok((write, read))
}

/// A pool whose connections stay: opening one reads the whole schema.
fn pool(options: &StoreOptions, connections: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections.max(1))
        .acquire_timeout(options.acquire_timeout)
        .idle_timeout(None)
        .max_lifetime(None)
        .test_before_acquire(false)
}

fn no_folder(error: &std::io::Error) -> Error {
    Error::Unavailable(format!("no temporary folder could be made ({})", error.kind()).into())
}

/// Whether a pool answers.
pub(super) async fn ping(pool: &SqlitePool) -> Result<()> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(())
}
