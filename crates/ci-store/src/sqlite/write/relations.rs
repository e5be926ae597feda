//! Writes of relations, each in one transaction on the one connection that writes.

use std::collections::BTreeSet;

use ci_model::{CiRef, Rejection, RelationOutcome, RelationRecord};
use sqlx::SqliteConnection;

use super::cis::{BEGIN, end};
use super::rows::json;
use crate::sqlite::SqliteStore;
use crate::write::existing::id;
use crate::write::relations::{self, Edge, Ends};
use crate::write::{checked, detached, moment};
use crate::{Result, WriteOptions};

const ENDS_BY_ID: &str = "\
    SELECT c.ci_id, c.tenant_id, c.ci_code FROM json_each(?1) AS k CROSS JOIN ci AS c ON c.ci_id = k.value";
const ENDS_BY_CODE: &str = "\
    SELECT c.ci_id, c.tenant_id, c.ci_code FROM json_each(?1) AS k \
    CROSS JOIN ci AS c ON c.tenant_id = k.value ->> 0 AND c.ci_code = k.value ->> 1";
const THERE: &str = "\
    SELECT k.key FROM json_each(?1) AS k CROSS JOIN ci_relation AS r ON r.tenant_id = k.value ->> 0 \
    AND r.from_id = k.value ->> 1 AND r.rel_type = k.value ->> 2 AND r.to_id = k.value ->> 3 ORDER BY k.key";
const INSERT: &str = "\
    INSERT INTO ci_relation (tenant_id, from_id, rel_type, to_id, created_at) \
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, ?2 FROM json_each(?1)";
const DELETE: &str = "\
    DELETE FROM ci_relation WHERE (tenant_id, from_id, rel_type, to_id) IN \
    (SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3 FROM json_each(?1))";

/// See [`crate::Store::upsert_relations`].
pub(in super::super) async fn upsert_relations(
    store: &SqliteStore,
    records: Vec<RelationRecord>,
    options: WriteOptions,
) -> Result<Vec<Result<RelationOutcome, Rejection>>> {
    let pool = store.write_pool().clone();
    detached(async move {
        let mut transaction = pool.begin_with(BEGIN).await?;
        let ends = find_ends(&mut transaction, &records).await?;
        let mut plan = relations::plan(&records, &ends);
        checked(&plan.rejections(), options.on_rejection)?;
        let (_, new) = split(&mut transaction, std::mem::take(&mut plan.edges)).await?;
        if !new.is_empty() {
            sqlx::query(INSERT)
                .bind(edges_json(&new)?)
                .bind(moment(&options).to_string())
                .execute(&mut *transaction)
                .await?;
        }
        end(transaction, &options).await?;
        Ok(plan.outcomes(&new))
    })
    .await
}

/// See [`crate::Store::delete_relations`].
pub(in super::super) async fn delete_relations(
    store: &SqliteStore,
    records: Vec<RelationRecord>,
    options: WriteOptions,
) -> Result<Vec<RelationOutcome>> {
    let pool = store.write_pool().clone();
    detached(async move {
        let mut transaction = pool.begin_with(BEGIN).await?;
        let ends = find_ends(&mut transaction, &records).await?;
        let mut plan = relations::plan(&records, &ends);
        let (there, _) = split(&mut transaction, std::mem::take(&mut plan.edges)).await?;
        if !there.is_empty() {
            sqlx::query(DELETE)
                .bind(edges_json(&there)?)
                .execute(&mut *transaction)
                .await?;
        }
        end(transaction, &options).await?;
        Ok(plan.deletion_outcomes(&records, &ends, &there))
    })
    .await
}

/// Looks up every end that the records name.
async fn find_ends(connection: &mut SqliteConnection, records: &[RelationRecord]) -> Result<Ends> {
    let mut ids = BTreeSet::new();
    let mut codes = BTreeSet::new();
    for record in records {
        for end in [&record.from, &record.to] {
            match end {
                CiRef::Id(id) => drop(ids.insert(id)),
                CiRef::Code(code) => drop(codes.insert((&record.tenant, code))),
            }
        }
    }
    let mut ends = Ends::default();
    for (statement, keys, some) in [
        (ENDS_BY_ID, json(&ids)?, !ids.is_empty()),
        (ENDS_BY_CODE, json(&codes)?, !codes.is_empty()),
    ] {
        if some {
            for row in sqlx::query(statement)
                .bind(keys)
                .fetch_all(&mut *connection)
                .await?
            {
                use sqlx::Row as _;
                ends.add(id(&row, 0)?, row.try_get(1)?, row.try_get(2)?);
            }
        }
    }
    Ok(ends)
}

/// Parts edges into those that are there and those that are not; both stay in order.
async fn split(connection: &mut SqliteConnection, edges: Vec<Edge>) -> Result<(Vec<Edge>, Vec<Edge>)> {
    if edges.is_empty() {
        return Ok((Vec::new(), Vec::new()));
    }
    let found: Vec<i64> = sqlx::query_scalar(THERE)
        .bind(edges_json(&edges)?)
        .fetch_all(connection)
        .await?;
    let mut found = found.into_iter().peekable();
    let parts = edges
        .into_iter()
        .zip(0_i64..)
        .partition::<Vec<_>, _>(|(_, at)| found.next_if_eq(at).is_some());
    let edges = |part: Vec<(Edge, i64)>| part.into_iter().map(|(edge, _)| edge).collect();
    Ok((edges(parts.0), edges(parts.1)))
}

fn edges_json(edges: &[Edge]) -> Result<String> {
    let rows: Vec<_> = edges
        .iter()
        .map(|edge| (&edge.tenant, edge.from, &edge.rel_type, edge.to))
        .collect();
    json(&rows)
}
