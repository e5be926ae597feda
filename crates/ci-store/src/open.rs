//! Opening a store by its address.

use std::sync::Arc;
use std::time::Duration;

use crate::{Error, Result, Store};

/// How a store uses its database. Every option has a default that fits a small machine.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct StoreOptions {
    /// Most connections for reading at the same time; 8. SQLite has one more, for writing; PostgreSQL writes with
    /// these, so that a write waits when all of them hold snapshots.
    pub connections: u32,
    /// Longest wait for a free connection, or for a new one; 5 s. A missing database fails after it at the latest.
    pub acquire_timeout: Duration,
    /// Longest time that one reading statement may take; 30 s. Writes of many rows take as long as they need.
    pub statement_timeout: Duration,
    /// Longest wait for another process that writes to the same SQLite file; 5 s.
    pub busy_timeout: Duration,
    /// Page cache of each SQLite connection, in bytes; 16 MiB.
    pub cache_bytes: u64,
    /// How much of a SQLite file is read through a memory map, in bytes; 1 GiB. The map is shared by all connections
    /// and costs no memory beyond the system's page cache (a process's resident set counts the mapped pages as its own).
    pub mmap_bytes: u64,
    /// Whether a missing SQLite file is created; yes.
    pub create_if_missing: bool,
    /// Whether [`Store::ring`] rings and feeds listen (PostgreSQL: a second connection per feed); no. Feeds that are
    /// polled every few milliseconds gain nothing by it. SQLite tells readers of every commit anyway.
    pub doorbell: bool,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            connections: 8,
            acquire_timeout: Duration::from_secs(5),
            statement_timeout: Duration::from_secs(30),
            busy_timeout: Duration::from_secs(5),
            cache_bytes: 16 << 20,
            mmap_bytes: 1 << 30,
            create_if_missing: true,
            doorbell: false,
        }
    }
}

impl StoreOptions {
    /// Sets the most connections; at least one is used.
    pub fn connections(mut self, connections: u32) -> Self {
        self.connections = connections.max(1);
        self
    }

    /// Sets the longest wait for a connection.
    pub fn acquire_timeout(mut self, timeout: Duration) -> Self {
        self.acquire_timeout = timeout;
        self
    }

    /// Sets the longest time of a reading statement.
    pub fn statement_timeout(mut self, timeout: Duration) -> Self {
        self.statement_timeout = timeout;
        self
    }

    /// Sets the longest wait for another writing process.
    pub fn busy_timeout(mut self, timeout: Duration) -> Self {
        self.busy_timeout = timeout;
        self
    }

    /// Sets whether writers ring and feeds listen.
    pub fn doorbell(mut self, yes: bool) -> Self {
        self.doorbell = yes;
        self
    }

    /// Sets whether a missing SQLite file is created.
    pub fn create_if_missing(mut self, yes: bool) -> Self {
        self.create_if_missing = yes;
        self
    }
}

/// The forms of address, for errors and help.
const FORMS: &str = "sqlite:PATH, sqlite::memory: or postgres://USER@HOST:PORT/NAME";

/// Opens a CMDB: connects, makes what tables are missing or adopts those that are there, and returns the store.
///
/// `sqlite:PATH` (or `sqlite://PATH`) is a file, `sqlite::memory:` a database that goes with the store (it lives in a
/// private temporary file, so that several connections can read it at once), `postgres://…` a server.
///
/// # Errors
/// [`Error::Address`] for an address that is not understood or whose driver is not compiled in,
/// [`Error::Unavailable`] or [`Error::Timeout`] when there is no database, [`Error::Schema`] when its tables cannot be
/// used.
///
/// # Cancel safety
/// A migration is one transaction: when the future is dropped it is wholly done or not at all.
pub async fn open(address: &str, options: &StoreOptions) -> Result<Arc<dyn Store>> {
    match address.split_once(':') {
        Some(("sqlite", path)) => open_sqlite(path, options).await,
        Some(("postgres" | "postgresql", _)) => open_postgres(address, options).await,
        _ => Err(Error::Address(format!("expected {FORMS}").into())),
    }
}

#[cfg(feature = "sqlite")]
async fn open_sqlite(path: &str, options: &StoreOptions) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(crate::SqliteStore::connect(path, options).await?))
}

#[cfg(not(feature = "sqlite"))]
#[expect(clippy::unused_async, reason = "the twin of the one that connects")]
async fn open_sqlite(_: &str, _: &StoreOptions) -> Result<Arc<dyn Store>> {
    Err(Error::Address(
        "this program was built without SQLite (feature `sqlite`)".into(),
    ))
}

#[cfg(feature = "postgres")]
async fn open_postgres(address: &str, options: &StoreOptions) -> Result<Arc<dyn Store>> {
    Ok(Arc::new(crate::PostgresStore::connect(address, options).await?))
}

#[cfg(not(feature = "postgres"))]
#[expect(clippy::unused_async, reason = "the twin of the one that connects")]
async fn open_postgres(_: &str, _: &StoreOptions) -> Result<Arc<dyn Store>> {
    Err(Error::Address(
        "this program was built without PostgreSQL (feature `postgres`)".into(),
    ))
}
