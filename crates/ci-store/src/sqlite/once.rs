//! Questions whose answers are one statement: no transaction, and the version in the same rows.

use std::sync::Arc;

use ci_model::{Question, TenantId};
use sqlx::SqliteConnection;
use sqlx::sqlite::SqliteRow;

use super::feed_sql::{STATE_FROM, state_of_question};
use super::known::Known;
use super::read::{Connected, Deadline};
use super::{SqliteStore, read};
use crate::once::Once;
use crate::source::Source as _;
use crate::sql::Dialect;
use crate::store::ask_all_of;
use crate::{Answers, Result};

/// See [`crate::Store::ask_all`].
pub(super) async fn ask_all(
    store: &SqliteStore,
    tenant: &TenantId,
    questions: &[Question],
) -> Result<Answers> {
    let Some(once) = Once::new(tenant, questions) else {
        return ask_all_of(&mut read::begin(store).await?, tenant, questions).await;
    };
    let mut connection = store.read.acquire().await?;
    // Ends with the call: whoever goes away stops the statement.
    let deadline = Running(Arc::new(Deadline::new()));
    deadline.0.watch(&mut connection).await?;
    deadline.0.set(store.statement_timeout);
    ask(once, &store.known, &mut connection).await
}

struct Running(Arc<Deadline>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

async fn ask(mut once: Once<'_>, known: &Known, connection: &mut SqliteConnection) -> Result<Answers> {
    let told = known.get();
    let statement = once.statement(Dialect::Sqlite, |binder| {
        let cookie = binder.integer(told.as_ref().map_or(NO_COOKIE, |told| told.cookie));
        (state_of_question(&cookie), STATE_FROM)
    });
    let rows: Vec<SqliteRow> = Connected(connection).rows(statement).await?;
    once.answers(rows, Dialect::Sqlite, |row, at| {
        known.version_in(told.as_deref(), row, at)
    })
}

/// No schema version: SQLite's are 32 bits.
const NO_COOKIE: i64 = i64::MIN;
