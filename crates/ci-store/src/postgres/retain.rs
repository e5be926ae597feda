//! Forgetting old changes.

use std::time::Duration;

use super::{PostgresStore, connect};
use crate::Result;
use crate::schema::{FLOOR_KEY, RETAIN_ROWS};
use crate::write::detached;

/// The lock under which changes are forgotten: one process at a time. An arbitrary number.
const LOCK: i64 = 0x0063_695f_6f6c_6421;
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = 0; SET LOCAL enable_seqscan = off";
const TRY_LOCK: &str = "SELECT pg_try_advisory_xact_lock($1)";
/// The highest transaction up to which everything may go: among the first rows, below the first that is too young, and
/// below every transaction that is not over. Always whole transactions.
const FLOOR: &str = "\
    SELECT max(f.xid)::text FROM (SELECT xid, at < clock_timestamp() - $1 * interval '1 second' AS old FROM ci_change \
        ORDER BY xid, seq LIMIT $2) AS f \
    WHERE f.xid < pg_snapshot_xmin(pg_current_snapshot()) AND f.xid < ALL (SELECT y.xid FROM ci_change AS y \
        WHERE y.at >= clock_timestamp() - $1 * interval '1 second' ORDER BY y.xid, y.seq LIMIT 1)";
const FORGET: &str = "DELETE FROM ci_change WHERE xid <= $1::text::xid8";
const RECORD: &str = "\
    INSERT INTO ci_meta (key, value) VALUES ($1, $2) ON CONFLICT (key) DO UPDATE SET value = excluded.value";

/// See [`crate::Store::retain`].
pub(super) async fn retain(store: &PostgresStore, older_than: Duration) -> Result<u64> {
    let pool = store.write_pool().clone();
    detached(async move {
        let mut transaction = connect::begin(&pool, BEGIN).await?;
        if !sqlx::query_scalar(TRY_LOCK)
            .bind(LOCK)
            .fetch_one(&mut *transaction)
            .await?
        {
            return Ok(0);
        }
        let floor: Option<String> = sqlx::query_scalar(FLOOR)
            .bind(older_than.as_secs_f64())
            .bind(RETAIN_ROWS)
            .fetch_one(&mut *transaction)
            .await?;
        let Some(floor) = floor else { return Ok(0) };
        let gone = sqlx::query(FORGET)
            .bind(&floor)
            .execute(&mut *transaction)
            .await?;
        // In the transaction of the deletion: whoever no longer sees the rows sees the floor.
        sqlx::query(RECORD)
            .bind(FLOOR_KEY)
            .bind(&floor)
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(gone.rows_affected())
    })
    .await
}
