//! Questions whose answers are one statement: no transaction, and the version in the same rows.
//!
//! A statement locks its tables before it takes its snapshot, as the transaction of a snapshot does, where the isolation is the usual one.

use ci_model::{Question, TenantId};
use sqlx::postgres::PgRow;
use sqlx::{AssertSqlSafe, PgPool};

use super::PostgresStore;
use super::connect::is_ended;
use super::feed_sql::STATE_OF_QUESTION;
use super::read::{self, bind};
use crate::once::Once;
use crate::sql::{Dialect, Statement};
use crate::store::ask_all_of;
use crate::{Answers, Result};

/// See [`crate::Store::ask_all`].
pub(super) async fn ask_all(
    store: &PostgresStore,
    tenant: &TenantId,
    questions: &[Question],
) -> Result<Answers> {
    let known = &store.access.known;
    let before = known.before();
    if before.is_told()
        && let Some(mut once) = Once::new(tenant, questions)
    {
        let state = (STATE_OF_QUESTION.to_owned(), "(SELECT) AS one");
        let statement = once.statement(Dialect::Postgres, |_| state);
        if let Some(rows) = rows(&store.pool, statement).await? {
            let version = |row: &PgRow, at| known.version_in(&before, row, at);
            let answers = once.answers(rows, Dialect::Postgres, version)?;
            if answers.version.is_some() {
                return Ok(answers);
            }
        }
        // Of a server that is not known, or not any more: what it is takes a statement of its own, and the two a transaction.
    }
    ask_all_of(&mut read::begin(store).await?, tenant, questions).await
}

/// Runs a statement; nothing when the server has ended the connection that the pool gave, as it does with every idle one when it restarts. Then the
/// question is asked once more, in a transaction: not on each connection in turn, because it may be what ended this one.
pub(super) async fn rows(pool: &PgPool, statement: Statement) -> Result<Option<Vec<PgRow>>> {
    let arguments = bind(statement.arguments)?;
    let query = sqlx::query_with(AssertSqlSafe(statement.text), arguments);
    match query.fetch_all(pool).await {
        Err(error) if is_ended(&error) => Ok(None),
        result => Ok(Some(result?)),
    }
}
