//! Forgetting old changes.

use std::time::Duration;

use super::SqliteStore;
use super::write::cis::BEGIN;
use crate::Result;
use crate::schema::{FLOOR_KEY, RETAIN_ROWS};
use crate::write::detached;

/// The last change up to which everything may go: among the first rows, before the first that is too young, and never
/// the newest, because a position remembers its mark.
const FLOOR: &str = "\
    SELECT max(f.seq) FROM (SELECT seq FROM ci_change ORDER BY seq LIMIT ?2) AS f \
    WHERE f.seq < coalesce((SELECT y.seq FROM ci_change AS y \
            WHERE y.at > CAST(strftime('%s', 'now') AS INTEGER) - ?1 ORDER BY y.seq LIMIT 1), \
        (SELECT max(seq) FROM ci_change)) AND f.seq < (SELECT max(seq) FROM ci_change)";
const FORGET: &str = "DELETE FROM ci_change WHERE seq <= ?1";
const RECORD: &str = "INSERT OR REPLACE INTO ci_meta (key, value) VALUES (?1, ?2)";

/// See [`crate::Store::retain`].
pub(super) async fn retain(store: &SqliteStore, older_than: Duration) -> Result<u64> {
    let pool = store.write_pool().clone();
    detached(async move {
        let mut transaction = pool.begin_with(BEGIN).await?;
        let floor: Option<i64> = sqlx::query_scalar(FLOOR)
            .bind(i64::try_from(older_than.as_secs()).unwrap_or(i64::MAX))
            .bind(RETAIN_ROWS)
            .fetch_one(&mut *transaction)
            .await?;
        let Some(floor) = floor else { return Ok(0) };
        let gone = sqlx::query(FORGET).bind(floor).execute(&mut *transaction).await?;
        // In the transaction of the deletion: whoever no longer sees the rows sees the floor.
        sqlx::query(RECORD)
            .bind(FLOOR_KEY)
            .bind(floor.to_string())
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(gone.rows_affected())
    })
    .await
}
