//! Writes of relations, each in one transaction that excludes other writers of its tenants.

use std::collections::BTreeSet;

use ci_model::{CiRef, Rejection, RelationOutcome, RelationRecord, Timestamp};
use sqlx::{PgConnection, PgPool, Row as _};
use uuid::Uuid;

use super::cis::{begin, end};
use crate::postgres::PostgresStore;
use crate::write::existing::id;
use crate::write::relations::{self, Edge, Ends};
use crate::write::{Failure, checked, detached, moment};
use crate::{Result, WriteOptions};

const ENDS_BY_ID: &str = "\
    SELECT c.ci_id::text, c.tenant_id::text, c.ci_code::text FROM UNNEST($1::uuid[]) AS k(id) \
    JOIN ci AS c ON c.ci_id = k.id";
const ENDS_BY_CODE: &str = "\
    SELECT c.ci_id::text, c.tenant_id::text, c.ci_code::text FROM UNNEST($1::text[], $2::text[]) AS k(tenant, code) \
    JOIN ci AS c ON c.tenant_id = k.tenant COLLATE \"C\" AND c.ci_code = k.code COLLATE \"C\"";
/// Gives back those that were not there.
const INSERT: &str = "\
    INSERT INTO ci_relation (tenant_id, from_id, rel_type, to_id, created_at) \
    SELECT n.*, $5::timestamptz FROM UNNEST($1::text[], $2::uuid[], $3::text[], $4::uuid[]) AS n \
    ON CONFLICT (tenant_id, from_id, rel_type, to_id) DO NOTHING \
    RETURNING tenant_id::text, from_id::text, rel_type::text, to_id::text";
/// Gives back those that were there.
const DELETE: &str = "\
    DELETE FROM ci_relation AS r USING UNNEST($1::text[], $2::uuid[], $3::text[], $4::uuid[]) \
    AS n(tenant, source, type, target) WHERE r.tenant_id = n.tenant COLLATE \"C\" AND r.from_id = n.source \
    AND r.rel_type = n.type COLLATE \"C\" AND r.to_id = n.target \
    RETURNING r.tenant_id::text, r.from_id::text, r.rel_type::text, r.to_id::text";

/// See [`crate::Store::upsert_relations`].
pub(in super::super) async fn upsert_relations(
    store: &PostgresStore,
    records: Vec<RelationRecord>,
    options: WriteOptions,
) -> Result<Vec<Result<RelationOutcome, Rejection>>> {
    let pool = store.write_pool().clone();
    detached(async move {
        let (at, mut attempts) = (moment(&options), 0);
        loop {
            match try_upsert(&pool, &records, at, &options).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(failure) => failure.again(&mut attempts)?,
            }
        }
    })
    .await
}

/// See [`crate::Store::delete_relations`].
pub(in super::super) async fn delete_relations(
    store: &PostgresStore,
    records: Vec<RelationRecord>,
    options: WriteOptions,
) -> Result<Vec<RelationOutcome>> {
    let pool = store.write_pool().clone();
    detached(async move {
        let mut attempts = 0;
        loop {
            match try_delete(&pool, &records, &options).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(failure) => failure.again(&mut attempts)?,
            }
        }
    })
    .await
}

async fn try_upsert(
    pool: &PgPool,
    records: &[RelationRecord],
    at: Timestamp,
    options: &WriteOptions,
) -> Result<Vec<Result<RelationOutcome, Rejection>>, Failure> {
    let mut transaction = begin(pool, records.iter().map(|record| &record.tenant)).await?;
    let ends = find_ends(&mut transaction, records).await?;
    let plan = relations::plan(records, &ends);
    checked(&plan.rejections(), options.on_rejection)?;
    let made = if plan.edges.is_empty() {
        Vec::new()
    } else {
        let insert = columns(sqlx::query(INSERT), &plan.edges).bind(at.to_string());
        edges(&insert.fetch_all(&mut *transaction).await?)?
    };
    end(transaction, options).await?;
    Ok(plan.outcomes(&made))
}

async fn try_delete(
    pool: &PgPool,
    records: &[RelationRecord],
    options: &WriteOptions,
) -> Result<Vec<RelationOutcome>, Failure> {
    let mut transaction = begin(pool, records.iter().map(|record| &record.tenant)).await?;
    let ends = find_ends(&mut transaction, records).await?;
    let plan = relations::plan(records, &ends);
    let gone = if plan.edges.is_empty() {
        Vec::new()
    } else {
        edges(
            &columns(sqlx::query(DELETE), &plan.edges)
                .fetch_all(&mut *transaction)
                .await?,
        )?
    };
    end(transaction, options).await?;
    Ok(plan.deletion_outcomes(records, &ends, &gone))
}

/// Looks up every end that the records name.
async fn find_ends(connection: &mut PgConnection, records: &[RelationRecord]) -> Result<Ends, Failure> {
    let mut ids = BTreeSet::new();
    let mut codes = BTreeSet::new();
    for record in records {
        for end in [&record.from, &record.to] {
            match end {
                CiRef::Id(id) => drop(ids.insert(id.0)),
                CiRef::Code(code) => drop(codes.insert((record.tenant.as_str(), code.as_str()))),
            }
        }
    }
    let mut rows = Vec::new();
    if !ids.is_empty() {
        let ids: Vec<Uuid> = ids.into_iter().collect();
        rows.extend(
            sqlx::query(ENDS_BY_ID)
                .bind(ids)
                .fetch_all(&mut *connection)
                .await?,
        );
    }
    if !codes.is_empty() {
        let (tenants, codes): (Vec<&str>, Vec<&str>) = codes.into_iter().unzip();
        rows.extend(
            sqlx::query(ENDS_BY_CODE)
                .bind(tenants)
                .bind(codes)
                .fetch_all(&mut *connection)
                .await?,
        );
    }
    let mut ends = Ends::default();
    for row in rows {
        ends.add(id(&row, 0)?, row.try_get(1)?, row.try_get(2)?);
    }
    Ok(ends)
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Postgres, sqlx::postgres::PgArguments>;

/// Binds the four columns of edges.
fn columns<'q>(query: Query<'q>, edges: &[Edge]) -> Query<'q> {
    let texts =
        |of: fn(&Edge) -> &str| -> Vec<String> { edges.iter().map(|edge| of(edge).to_owned()).collect() };
    query
        .bind(texts(|edge| edge.tenant.as_str()))
        .bind(edges.iter().map(|edge| edge.from.0).collect::<Vec<_>>())
        .bind(texts(|edge| edge.rel_type.as_str()))
        .bind(edges.iter().map(|edge| edge.to.0).collect::<Vec<_>>())
}

/// Reads the four columns back, in order.
fn edges(rows: &[sqlx::postgres::PgRow]) -> Result<Vec<Edge>, Failure> {
    let unreadable = |_| crate::Error::Corrupt("column rel_type cannot be read".into());
    let mut edges = Vec::with_capacity(rows.len());
    for row in rows {
        edges.push(Edge {
            tenant: row.try_get::<String, _>(0)?.try_into().map_err(unreadable)?,
            from: id(row, 1)?,
            rel_type: row.try_get::<String, _>(2)?.try_into().map_err(unreadable)?,
            to: id(row, 3)?,
        });
    }
    edges.sort_unstable();
    Ok(edges)
}
