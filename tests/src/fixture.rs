//! A database per test, on both kinds of database.
//!
//! PostgreSQL is the server that `CI_CACHE_TEST_POSTGRES` names, as `cargo xtask test` and `cargo xtask postgres` set
//! it. Without it a test fails: nothing is ever skipped.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ci_runner::{Runner, RunnerBuilder};
use ci_store::{Store, StoreOptions};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, SqliteConnection};
use tempfile::TempDir;

pub(crate) const SERVER: &str = "CI_CACHE_TEST_POSTGRES";

/// How long tests wait for what comes long before.
const PATIENCE: Duration = Duration::from_secs(60);

/// One empty database and the address to open it by.
#[derive(Debug)]
pub struct Fixture {
    address: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Sqlite { file: PathBuf, _folder: TempDir },
    Postgres { server: String, name: String },
}

impl Fixture {
    /// A SQLite file in a temporary folder that goes with the fixture.
    ///
    /// # Panics
    /// When no temporary folder can be made.
    pub fn sqlite() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("cmdb.db");
        Self {
            address: format!("sqlite:{}", file.display()),
            place: Place::Sqlite {
                file,
                _folder: folder,
            },
        }
    }

    /// A database of its own on the test server; [`Fixture::finish`] drops it.
    ///
    /// # Panics
    /// When the server is not there.
    pub async fn postgres() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let server = std::env::var(SERVER).unwrap_or_else(|_| {
            panic!("{SERVER} is not set; run `cargo xtask test`, or `cargo xtask postgres -- COMMAND` for one command")
        });
        let name = format!(
            "ci_test_{}_{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        administer(
            &server,
            &format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING 'UTF8'"),
        )
        .await;
        let (start, _) = server
            .rsplit_once('/')
            .expect("a database in the server's address");
        Self {
            address: format!("{start}/{name}"),
            place: Place::Postgres { server, name },
        }
    }

    /// The address that `ci_store::open` takes.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Whether this is SQLite.
    pub fn is_sqlite(&self) -> bool {
        matches!(self.place, Place::Sqlite { .. })
    }

    /// Opens the store with default options, but for its patience: on a machine that stalls, writers that queue for a file wait long.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub async fn open(&self) -> Arc<dyn Store> {
        let options = StoreOptions::default()
            .connections(4)
            .acquire_timeout(PATIENCE)
            .busy_timeout(PATIENCE);
        self.open_with(&options).await
    }

    /// Opens the store.
    ///
    /// # Panics
    /// When it cannot be opened.
    pub async fn open_with(&self, options: &StoreOptions) -> Arc<dyn Store> {
        ci_store::open(&self.address, options)
            .await
            .expect("the store opens")
    }

    /// Runs SQL statements as another program would, beside the store.
    ///
    /// # Panics
    /// When the database refuses them.
    pub async fn execute(&self, sql: &str) {
        self.try_execute(sql).await.expect("the statements run");
    }

    /// The same, for statements that may be refused.
    ///
    /// # Errors
    /// What the database says.
    pub async fn try_execute(&self, sql: &str) -> Result<(), sqlx::Error> {
        match &self.place {
            Place::Sqlite { file, .. } => {
                let mut connection = self.raw_sqlite(file).await?;
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
                connection.close().await
            }
            Place::Postgres { .. } => {
                let mut connection = PgConnection::connect(&self.address).await?;
                sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut connection).await?;
                connection.close().await
            }
        }
    }

    /// The texts of the first column that a query returns.
    ///
    /// # Panics
    /// When the database refuses it.
    pub async fn texts(&self, sql: &str) -> Vec<String> {
        match &self.place {
            Place::Sqlite { file, .. } => {
                let mut connection = self.raw_sqlite(file).await.expect("a connection");
                sqlx::query_scalar(AssertSqlSafe(sql))
                    .fetch_all(&mut connection)
                    .await
                    .expect("the query runs")
            }
            Place::Postgres { .. } => {
                let mut connection = PgConnection::connect(&self.address).await.expect("a connection");
                sqlx::query_scalar(AssertSqlSafe(sql))
                    .fetch_all(&mut connection)
                    .await
                    .expect("the query runs")
            }
        }
    }

    /// Has a store forget all recorded changes but SQLite's newest. Transactions of other databases on the test's server may hold them back for
    /// a while.
    ///
    /// # Panics
    /// When the database refuses it.
    pub async fn forget(&self, store: &dyn Store) {
        let kept = if self.is_sqlite() { "1" } else { "0" };
        while self.texts("SELECT CAST(count(*) AS TEXT) FROM ci_change").await != [kept] {
            store
                .retain(Duration::ZERO)
                .await
                .expect("changes can be forgotten");
        }
    }

    /// Another program's connection: it knows nothing of the store's settings.
    async fn raw_sqlite(&self, file: &std::path::Path) -> Result<SqliteConnection, sqlx::Error> {
        let options = sqlx::sqlite::SqliteConnectOptions::new()
            .filename(file)
            .create_if_missing(true);
        SqliteConnection::connect_with(&options).await
    }

    /// Removes the database. Close every store on it first.
    pub async fn finish(self) {
        if let Place::Postgres { server, name } = &self.place {
            administer(server, &format!("DROP DATABASE {name} WITH (FORCE)")).await;
        }
    }
}

/// A runner's settings, but for a poll's time-out: as long as may be, because on a machine that stalls for a second a reader would give the poll
/// up and load past the cache, where a test counts hits and statements.
pub fn patient(store: Arc<dyn Store>) -> RunnerBuilder {
    Runner::builder(store).poll_timeout(PATIENCE)
}

/// Runs a case on a fresh database of each kind, SQLite first.
pub async fn on_both(case: impl AsyncFn(&Fixture)) {
    let sqlite = Fixture::sqlite();
    case(&sqlite).await;
    sqlite.finish().await;
    let postgres = Fixture::postgres().await;
    case(&postgres).await;
    postgres.finish().await;
}

async fn administer(server: &str, statement: &str) {
    let mut connection = PgConnection::connect(server)
        .await
        .expect("the test server answers");
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(&mut connection)
        .await
        .expect("the server makes and drops databases");
    connection.close().await.expect("the connection closes");
}
