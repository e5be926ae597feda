//! Connecting to a PostgreSQL server.

use std::str::FromStr as _;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{Connection as _, PgPool, Postgres, Transaction};

use super::feed::Access;
use super::known::Known;
use super::{PostgresStore, feed_sql, migrate};
use crate::{Error, Result, StoreOptions};

/// Set on every connection, after connecting and not at its start: connection poolers refuse unknown start options.
///
/// A statement is planned for its values each time: the generic plan of `LIKE $1` cannot use the trigram index.
/// Compiling plans costs more than our statements run. A statement by itself takes its snapshot after it has locked its tables only where the
/// isolation is the usual one: an older snapshot would find a table empty that was truncated meanwhile.
const SETTINGS: &str = "SELECT set_config('plan_cache_mode', 'force_custom_plan', false), \
                        set_config('jit', 'off', false), set_config('timezone', 'UTC', false), \
                        set_config('default_transaction_isolation', 'read committed', false), \
                        set_config('statement_timeout', $1, false)";

impl PostgresStore {
    /// Connects to a server by its URL, and makes or adopts the tables in the database that the URL names.
    ///
    /// # Errors
    /// [`Error::Address`] for a URL that is not understood, an unknown user or database, [`Error::Unavailable`] or
    /// [`Error::Timeout`] when the server does not answer, [`Error::Schema`] when its tables cannot be used.
    pub async fn connect(url: &str, options: &StoreOptions) -> Result<Self> {
        let server = server(url)?;
        // The pool would try again until its time is up; a server that is not there is told at once.
        let mut first = within(options.acquire_timeout, PgConnection::connect_with(&server)).await?;
        migrate::run(&mut first).await?;
        first.close().await?;
        let feeds = server.clone();
        let known: Arc<Known> = Arc::default();
        let connected = Arc::clone(&known);
        let pool = pool(server, options, move || connected.connected());
        let access = Access {
            server: feeds,
            acquire_timeout: options.acquire_timeout,
            statement_timeout: options.statement_timeout,
            doorbell: options.doorbell,
            known,
        };
        Ok(Self { pool, access })
    }
}

/// A server's address, and who we are.
pub(super) fn server(url: &str) -> Result<PgConnectOptions> {
    Ok(PgConnectOptions::from_str(url)?.application_name("ci-cache"))
}

/// A pool of connections to a server, none of which is made yet; `connected` is told of each that is.
pub(super) fn pool(
    server: PgConnectOptions,
    options: &StoreOptions,
    connected: impl Fn() + Send + Sync + 'static,
) -> PgPool {
    let statement_timeout = options.statement_timeout.as_millis().to_string();
    PgPoolOptions::new()
        .max_connections(options.connections.max(1))
        .acquire_timeout(options.acquire_timeout)
        .after_connect(move |connection, _| {
            let timeout = statement_timeout.clone();
            connected();
            Box::pin(async move {
                sqlx::query(SETTINGS).bind(timeout).execute(connection).await?;
                Ok(())
            })
        })
        // A connection is tested when it returns; testing it again would add a round trip to every question.
        .test_before_acquire(false)
        .connect_lazy_with(server)
}

/// Ends with [`Error::Timeout`] when the server takes longer to let us in.
pub(super) async fn within<T>(limit: Duration, future: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, future).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Error::Timeout("the server did not let us in".into())),
    }
}

/// Begins a transaction, on another connection when the server has ended the one that the pool gave.
///
/// A server that restarts ends every idle connection, and the pool learns of each only by its use: without this, as many
/// calls would fail as there are connections. Nothing was asked yet, so nothing is asked twice.
pub(super) async fn begin(
    pool: &PgPool,
    statement: &'static str,
) -> sqlx::Result<Transaction<'static, Postgres>> {
    let mut ended = pool.size();
    loop {
        match pool.begin_with(statement).await {
            Err(error) if ended > 0 && is_ended(&error) => ended -= 1,
            result => return result,
        }
    }
}

/// Whether a connection that was good once is no more.
pub(super) fn is_ended(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::Protocol(_) | sqlx::Error::BeginFailed => true,
        sqlx::Error::Database(inner) => inner.code().is_some_and(|code| code.starts_with("57P")),
        _ => false,
    }
}

/// Whether a pool answers.
pub(super) async fn ping(pool: &PgPool) -> Result<()> {
    let mut ended = pool.size();
    loop {
        match sqlx::query("SELECT 1").execute(pool).await {
            Err(error) if ended > 0 && is_ended(&error) => ended -= 1,
            result => return Ok(result.map(drop)?),
        }
    }
}

/// Wakes whoever listens, if it can be done: a bell that does not ring costs a few milliseconds.
pub(super) async fn ring(pool: &PgPool) {
    if let Err(error) = sqlx::query(feed_sql::RING).execute(pool).await {
        tracing::debug!(error = %Error::from(error), "the doorbell did not ring");
    }
}
