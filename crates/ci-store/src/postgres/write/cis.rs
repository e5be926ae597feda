//! Writes of CIs, each in one transaction that excludes other writers of its tenants.

use std::collections::HashMap;

use ci_model::{CiCode, CiId, CiOutcome, CiRecord, CiRef, Rejection, TenantId, Timestamp};
use sqlx::{PgConnection, PgPool, Postgres, Transaction};
use uuid::Uuid;

use super::rows;
use crate::postgres::read::Connected;
use crate::postgres::{PostgresStore, connect};
use crate::write::cis::{self, Change, Planned};
use crate::write::existing::{Existing, Known};
use crate::write::{Failure, checked, detached, expected, moment};
use crate::{Result, WriteOptions};

/// From so many new rows on, COPY: it needs more round trips, and less work per row.
const COPY_ROWS: usize = 50;
/// The limit on statements is for questions: a write of many rows takes as long as it takes.
const BEGIN: &str = "BEGIN; SET LOCAL statement_timeout = 0";
/// Until the transaction ends nobody else writes these tenants through this program, so that what is read stays as it
/// is until it is written, without locks on rows. In order, so that two transactions never wait for each other.
const LOCK: &str = "\
    SELECT count(pg_advisory_xact_lock(k.key)) FROM \
    (SELECT DISTINCT hashtextextended(tenant, 7021) AS key FROM UNNEST($1::text[]) AS tenant ORDER BY 1) AS k";

/// The columns of [`Existing`], moments in the form that [`Timestamp`] prints.
macro_rules! rows {
    ($keys:literal) => {
        concat!(
            "SELECT c.ci_id::text, c.tenant_id::text, c.ci_code::text, c.ci_name::text, c.ci_type::text, \
             c.ci_subtype::text, c.ci_category::text, c.status::text, c.criticality::bigint, c.location::text, \
             c.owner::text, to_char(c.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
             to_char(c.deleted_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), e.tags::text, \
             e.attributes::text FROM ",
            $keys,
            " LEFT JOIN ci_ext AS e ON e.ci_id = c.ci_id"
        )
    };
}

const BY_ID: &str = rows!("UNNEST($1::uuid[]) AS k(id) JOIN ci AS c ON c.ci_id = k.id");
const BY_CODE: &str = rows!(
    "UNNEST($1::text[], $2::text[]) AS k(tenant, code) \
     JOIN ci AS c ON c.tenant_id = k.tenant COLLATE \"C\" AND c.ci_code = k.code COLLATE \"C\""
);
/// Whether some unique index is on the code alone, for all rows.
const CODES_ONCE: &str = "\
    SELECT EXISTS (SELECT 1 FROM pg_index AS i JOIN pg_attribute AS a ON a.attrelid = i.indrelid \
    AND a.attnum = i.indkey[0] WHERE i.indrelid = 'ci'::regclass AND i.indisunique AND i.indnkeyatts = 1 \
    AND i.indpred IS NULL AND a.attname = 'ci_code')";
const OWNERS: &str = "SELECT ci_code::text, tenant_id::text FROM ci WHERE ci_code = ANY($1)";
const RENAME: &str = "UPDATE ci SET ci_code = $2 WHERE ci_id = $1";
const INSERT: &str = "\
    INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type, ci_subtype, ci_category, status, criticality, \
        location, owner, created_at, updated_at, deleted_at) \
    SELECT n.* FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], \
        $8::text[], $9::int2[], $10::text[], $11::text[], $12::timestamptz[], $13::timestamptz[], \
        $14::timestamptz[]) AS n";
const UPDATE: &str = "\
    UPDATE ci SET ci_code = n.code, ci_name = n.name, ci_type = n.type, ci_subtype = n.subtype, \
        ci_category = n.category, status = n.status, criticality = n.criticality, location = n.location, \
        owner = n.owner, created_at = coalesce(n.created_at, ci.created_at), updated_at = n.updated_at, \
        deleted_at = n.deleted_at \
    FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], \
        $9::int2[], $10::text[], $11::text[], $12::timestamptz[], $13::timestamptz[], $14::timestamptz[]) \
        AS n(id, tenant, code, name, type, subtype, category, status, criticality, location, owner, created_at, \
        updated_at, deleted_at) \
    WHERE ci.ci_id = n.id";
const UPDATE_EXT: &str = "\
    UPDATE ci_ext SET tags = n.tags::jsonb, attributes = n.attributes::jsonb, updated_at = n.updated_at \
    FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) AS n(id, tags, attributes, updated_at) \
    WHERE ci_ext.ci_id = n.id";
/// Rows of another program may lack theirs.
const INSERT_EXT: &str = "\
    INSERT INTO ci_ext (ci_id, tags, attributes, updated_at) \
    SELECT n.id, n.tags::jsonb, n.attributes::jsonb, n.updated_at \
    FROM UNNEST($1::uuid[], $2::text[], $3::text[], $4::timestamptz[]) AS n(id, tags, attributes, updated_at) \
    WHERE NOT EXISTS (SELECT 1 FROM ci_ext AS e WHERE e.ci_id = n.id)";
const LOCK_ROWS: &str = "SELECT 1 FROM ci WHERE ci_id = ANY($1) ORDER BY ci_id FOR UPDATE";
const LOCK_DOCUMENTS: &str = "SELECT 1 FROM ci_ext WHERE ci_id = ANY($1) ORDER BY ci_id FOR UPDATE";
const DELETE: &str =
    "UPDATE ci SET deleted_at = $2::timestamptz, updated_at = $2::timestamptz WHERE ci_id = ANY($1)";

/// See [`crate::Store::upsert_cis`].
pub(in super::super) async fn upsert_cis(
    store: &PostgresStore,
    records: Vec<CiRecord>,
    options: WriteOptions,
) -> Result<Vec<Result<CiOutcome, Rejection>>> {
    let pool = store.write_pool().clone();
    detached(async move {
        let (at, mut attempts) = (moment(&options), 0);
        loop {
            match try_upsert(&pool, &records, at, &options, attempts > 0).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(failure) => failure.again(&mut attempts)?,
            }
        }
    })
    .await
}

/// See [`crate::Store::delete_cis`].
pub(in super::super) async fn delete_cis(
    store: &PostgresStore,
    tenant: &TenantId,
    targets: Vec<CiRef>,
    options: WriteOptions,
) -> Result<Vec<CiOutcome>> {
    let (pool, tenant) = (store.write_pool().clone(), tenant.clone());
    detached(async move {
        let mut attempts = 0;
        loop {
            match try_delete(&pool, &tenant, &targets, &options).await {
                Ok(outcomes) => return Ok(outcomes),
                Err(failure) => failure.again(&mut attempts)?,
            }
        }
    })
    .await
}

/// See [`crate::Store::analyze`]. Tables of another owner are passed over: the server only warns.
pub(in super::super) async fn analyze(store: &PostgresStore) -> Result<()> {
    let pool = store.write_pool().clone();
    detached(async move {
        let mut transaction = connect::begin(&pool, BEGIN).await?;
        sqlx::query("ANALYZE ci, ci_ext, ci_relation")
            .execute(&mut *transaction)
            .await?;
        transaction.commit().await?;
        Ok(())
    })
    .await
}

/// Begins a transaction that writes these tenants.
pub(super) async fn begin<'t>(
    pool: &PgPool,
    tenants: impl Iterator<Item = &'t TenantId>,
) -> sqlx::Result<Transaction<'static, Postgres>> {
    let mut tenants: Vec<&str> = tenants.map(TenantId::as_str).collect();
    tenants.dedup();
    let mut transaction = connect::begin(pool, BEGIN).await?;
    sqlx::query(LOCK).bind(tenants).execute(&mut *transaction).await?;
    Ok(transaction)
}

async fn try_upsert(
    pool: &PgPool,
    records: &[CiRecord],
    at: Timestamp,
    options: &WriteOptions,
    careful: bool,
) -> Result<Vec<Result<CiOutcome, Rejection>>, Failure> {
    let mut transaction = begin(pool, records.iter().map(|record| &record.tenant)).await?;
    if options.only_if.is_some() {
        let known = find(&mut transaction, records, careful).await?;
        lock(&mut transaction, &known).await?;
    }
    let mut known = find(&mut transaction, records, careful).await?;
    if let Some(precondition) = &options.only_if {
        // After what the plan is made on was read: a row that another program makes after that clashes, and all begins anew.
        let targets = records
            .iter()
            .map(|record| (&record.tenant, expected::target(record)));
        expected::require(&mut Connected(&mut transaction), targets, precondition).await?;
    }
    let plan = loop {
        match cis::plan(records, &known) {
            Planned::Ready(plan) => break plan,
            Planned::Ask(ids) => find_ids(&mut transaction, ids, &mut known).await?,
        }
    };
    checked(&plan.outcomes, options.on_rejection)?;
    rename(&mut transaction, &plan.renames).await?;
    update(&mut transaction, &plan.updates, at).await?;
    insert(&mut transaction, &plan.inserts, at).await?;
    end(transaction, options).await?;
    Ok(plan.outcomes)
}

/// Keeps what a transaction did, or not.
pub(super) async fn end(
    transaction: Transaction<'static, Postgres>,
    options: &WriteOptions,
) -> sqlx::Result<()> {
    if options.dry_run {
        transaction.rollback().await
    } else {
        transaction.commit().await
    }
}

/// Holds the rows until the transaction ends: other programs may write these tenants without asking.
///
/// ```text
/// this write, if unchanged            another program
/// reads the row: it is unchanged
///                                     writes the row, commits
/// writes the row over it
/// ```
async fn lock(connection: &mut PgConnection, known: &Known) -> Result<(), Failure> {
    let ids: Vec<Uuid> = known.rows.keys().map(|id| id.0).collect();
    for statement in [LOCK_ROWS, LOCK_DOCUMENTS] {
        sqlx::query(statement)
            .bind(&ids)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn try_delete(
    pool: &PgPool,
    tenant: &TenantId,
    targets: &[CiRef],
    options: &WriteOptions,
) -> Result<Vec<CiOutcome>, Failure> {
    let mut transaction = begin(pool, std::iter::once(tenant)).await?;
    let mut known = find_targets(&mut transaction, tenant, targets).await?;
    if let Some(precondition) = &options.only_if {
        lock(&mut transaction, &known).await?;
        // Which row has a code may be another by now.
        known = find_targets(&mut transaction, tenant, targets).await?;
        let targets = targets.iter().map(|target| (tenant, target.clone()));
        expected::require(&mut Connected(&mut transaction), targets, precondition).await?;
    }
    let deletion = cis::plan_deletion(tenant, targets, &known);
    if !deletion.ids.is_empty() {
        let ids: Vec<Uuid> = deletion.ids.iter().map(|id| id.0).collect();
        sqlx::query(DELETE)
            .bind(ids)
            .bind(moment(options).to_string())
            .execute(&mut *transaction)
            .await?;
    }
    end(transaction, options).await?;
    Ok(deletion.outcomes)
}

/// Reads the rows that are named.
async fn find_targets(
    connection: &mut PgConnection,
    tenant: &TenantId,
    targets: &[CiRef],
) -> Result<Known, Failure> {
    let mut known = Known::default();
    let ids = targets.iter().filter_map(|target| match target {
        CiRef::Id(id) => Some(*id),
        CiRef::Code(_) => None,
    });
    find_ids(&mut *connection, ids.collect(), &mut known).await?;
    let codes = targets.iter().filter_map(|target| match target {
        CiRef::Code(code) => Some((tenant.as_str(), code.as_str())),
        CiRef::Id(_) => None,
    });
    find_codes(connection, codes.collect(), &mut known).await?;
    Ok(known)
}

/// Reads the rows that the records may touch.
async fn find(connection: &mut PgConnection, records: &[CiRecord], careful: bool) -> Result<Known, Failure> {
    let mut known = Known {
        careful,
        ..Known::default()
    };
    find_ids(
        connection,
        records.iter().filter_map(|record| record.given_id).collect(),
        &mut known,
    )
    .await?;
    let codes: Vec<(&str, &str)> = records
        .iter()
        .map(|record| (record.tenant.as_str(), record.code.as_str()))
        .collect();
    if careful && sqlx::query_scalar(CODES_ONCE).fetch_one(&mut *connection).await? {
        let all: Vec<&str> = codes.iter().map(|(_, code)| *code).collect();
        let owners: Vec<(String, String)> = sqlx::query_as(OWNERS)
            .bind(all)
            .fetch_all(&mut *connection)
            .await?;
        known.owners = Some(HashMap::from_iter(owners));
    }
    find_codes(connection, codes, &mut known).await?;
    Ok(known)
}

async fn find_ids(connection: &mut PgConnection, ids: Vec<CiId>, known: &mut Known) -> Result<(), Failure> {
    if !ids.is_empty() {
        let uuids: Vec<Uuid> = ids.iter().map(|id| id.0).collect();
        let rows: Vec<Existing> = sqlx::query_as(BY_ID).bind(uuids).fetch_all(connection).await?;
        known.add(rows);
        known.asked.extend(ids);
    }
    Ok(())
}

async fn find_codes(
    connection: &mut PgConnection,
    codes: Vec<(&str, &str)>,
    known: &mut Known,
) -> Result<(), Failure> {
    if !codes.is_empty() {
        let (tenants, codes): (Vec<&str>, Vec<&str>) = codes.into_iter().unzip();
        let rows: Vec<Existing> = sqlx::query_as(BY_CODE)
            .bind(tenants)
            .bind(codes)
            .fetch_all(connection)
            .await?;
        known.add(rows);
    }
    Ok(())
}

async fn rename(connection: &mut PgConnection, renames: &[(CiId, CiCode)]) -> Result<(), Failure> {
    for (id, code) in renames {
        sqlx::query(RENAME)
            .bind(id.0)
            .bind(code.as_str())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn insert(connection: &mut PgConnection, changes: &[Change<'_>], at: Timestamp) -> Result<(), Failure> {
    if changes.len() >= COPY_ROWS {
        return rows::copy_all(connection, changes, at).await;
    }
    if !changes.is_empty() {
        rows::write(
            connection,
            INSERT,
            changes,
            |record| Some(record.created_at.unwrap_or(at)),
            at,
        )
        .await?;
        rows::write_documents(connection, INSERT_EXT, changes, at).await?;
    }
    Ok(())
}

async fn update(connection: &mut PgConnection, changes: &[Change<'_>], at: Timestamp) -> Result<(), Failure> {
    if !changes.is_empty() {
        rows::write(connection, UPDATE, changes, |record| record.created_at, at).await?;
        rows::write_documents(connection, UPDATE_EXT, changes, at).await?;
        rows::write_documents(connection, INSERT_EXT, changes, at).await?;
    }
    Ok(())
}
