//! Connecting to a PostgreSQL server.

use std::str::FromStr as _;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgPoolOptions};
use sqlx::{Connection as _, PgPool};

use super::{PostgresStore, migrate};
use crate::{Error, Result, StoreOptions};

/// Set on every connection, after connecting and not at its start: connection poolers refuse unknown start options.
///
/// A statement is planned for its values each time: the generic plan of `LIKE $1` cannot use the trigram index.
/// Compiling plans costs more than our statements run.
const SETTINGS: &str = "SELECT set_config('plan_cache_mode', 'force_custom_plan', false), \
                        set_config('jit', 'off', false), set_config('timezone', 'UTC', false), \
                        set_config('statement_timeout', $1, false)";

impl PostgresStore {
    /// Connects to a server by its URL, and makes or adopts the tables in the database that the URL names.
    ///
    /// # Errors
    /// [`Error::Address`] for a URL that is not understood, an unknown user or database, [`Error::Unavailable`] or
    /// [`Error::Timeout`] when the server does not answer, [`Error::Schema`] when its tables cannot be used.
    pub async fn connect(url: &str, options: &StoreOptions) -> Result<Self> {
        let server = PgConnectOptions::from_str(url)?.application_name("ci-cache");
        // The pool would try again until its time is up; a server that is not there is told at once.
        let mut first = within(options.acquire_timeout, PgConnection::connect_with(&server)).await?;
        migrate::run(&mut first).await?;
        first.close().await?;
        let statement_timeout = options.statement_timeout.as_millis().to_string();
        let pool = PgPoolOptions::new()
            .max_connections(options.connections.max(1))
            .acquire_timeout(options.acquire_timeout)
            .after_connect(move |connection, _| {
                let timeout = statement_timeout.clone();
                Box::pin(async move {
                    sqlx::query(SETTINGS).bind(timeout).execute(connection).await?;
                    Ok(())
                })
            })
            // A connection is tested when it returns; testing it again would add a round trip to every question.
            .test_before_acquire(false)
            .connect_lazy_with(server);
        Ok(Self { pool })
    }
}

/// Ends with [`Error::Timeout`] when the server takes longer to let us in.
async fn within<T>(limit: Duration, future: impl Future<Output = sqlx::Result<T>>) -> Result<T> {
    match tokio::time::timeout(limit, future).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(Error::Timeout("the server did not let us in".into())),
    }
}

/// Whether a pool answers.
pub(super) async fn ping(pool: &PgPool) -> Result<()> {
    sqlx::query("SELECT 1").execute(pool).await?;
    Ok(())
}
