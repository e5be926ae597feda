//! Writes of CIs, each in one transaction on the one connection that writes.

use std::collections::HashMap;

use ci_model::{CiCode, CiId, CiOutcome, CiRecord, CiRef, Rejection, TenantId, Timestamp};
use sqlx::{Sqlite, SqliteConnection, SqlitePool, Transaction};

use super::rows::{documents_json, json, rows_json};
use crate::sqlite::SqliteStore;
use crate::sqlite::read::Connected;
use crate::write::cis::{self, Change, Planned};
use crate::write::existing::{Existing, Known};
use crate::write::{Failure, checked, detached, expected, moment};
use crate::{Result, WriteOptions};

/// Rows of one statement: their JSON is then some hundred KB, and at most a fraction of the 1 GB that SQLite allows.
const STATEMENT_ROWS: usize = 1_000;
/// Takes the database's write lock at once: a read that becomes a write later can fail half-way.
pub(in super::super) const BEGIN: &str = "BEGIN IMMEDIATE";

const BY_ID: &str = "\
    SELECT c.ci_id, c.tenant_id, c.ci_code, c.ci_name, c.ci_type, c.ci_subtype, c.ci_category, c.status, \
        c.criticality, c.location, c.owner, c.created_at, c.deleted_at, e.tags, e.attributes \
    FROM json_each(?1) AS k CROSS JOIN ci AS c ON c.ci_id = k.value LEFT JOIN ci_ext AS e ON e.ci_id = c.ci_id";
const BY_CODE: &str = "\
    SELECT c.ci_id, c.tenant_id, c.ci_code, c.ci_name, c.ci_type, c.ci_subtype, c.ci_category, c.status, \
        c.criticality, c.location, c.owner, c.created_at, c.deleted_at, e.tags, e.attributes \
    FROM json_each(?1) AS k CROSS JOIN ci AS c ON c.tenant_id = k.value ->> 0 AND c.ci_code = k.value ->> 1 \
    LEFT JOIN ci_ext AS e ON e.ci_id = c.ci_id";
/// Whether some unique index is on the code alone.
const CODES_ONCE: &str = "\
    SELECT count(*) FROM pragma_index_list('ci') AS i WHERE i.\"unique\" = 1 \
    AND (SELECT group_concat(c.name) FROM pragma_index_info(i.name) AS c) = 'ci_code'";
const OWNERS: &str = "\
    SELECT c.ci_code, c.tenant_id FROM json_each(?1) AS k CROSS JOIN ci AS c ON c.ci_code = k.value ->> 1";
const RENAME: &str = "UPDATE ci SET ci_code = ?2 WHERE ci_id = ?1";
const INSERT: &str = "\
    INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type, ci_subtype, ci_category, status, criticality, \
        location, owner, created_at, updated_at, deleted_at) \
    SELECT value ->> 0, value ->> 1, value ->> 2, value ->> 3, value ->> 4, value ->> 5, value ->> 6, value ->> 7, \
        value ->> 8, value ->> 9, value ->> 10, coalesce(value ->> 11, value ->> 12), value ->> 13, value ->> 14 \
    FROM json_each(?1)";
const UPDATE: &str = "\
    UPDATE ci SET ci_code = n.value ->> 2, ci_name = n.value ->> 3, ci_type = n.value ->> 4, \
        ci_subtype = n.value ->> 5, ci_category = n.value ->> 6, status = n.value ->> 7, \
        criticality = n.value ->> 8, location = n.value ->> 9, owner = n.value ->> 10, \
        created_at = coalesce(n.value ->> 11, ci.created_at), updated_at = n.value ->> 13, \
        deleted_at = n.value ->> 14 \
    FROM json_each(?1) AS n WHERE ci.ci_id = n.value ->> 0";
const UPDATE_EXT: &str = "\
    UPDATE ci_ext SET tags = n.value ->> 1, attributes = n.value ->> 2, updated_at = n.value ->> 3 \
    FROM json_each(?1) AS n WHERE ci_ext.ci_id = n.value ->> 0";
/// Rows of another program may lack theirs.
const INSERT_EXT: &str = "\
    INSERT INTO ci_ext (ci_id, tags, attributes, updated_at) \
    SELECT n.value ->> 0, n.value ->> 1, n.value ->> 2, n.value ->> 3 FROM json_each(?1) AS n \
    WHERE NOT EXISTS (SELECT 1 FROM ci_ext AS e WHERE e.ci_id = n.value ->> 0)";
const DELETE: &str = "\
    UPDATE ci SET deleted_at = ?2, updated_at = ?2 WHERE ci_id IN (SELECT value FROM json_each(?1))";

/// See [`crate::Store::upsert_cis`].
pub(in super::super) async fn upsert_cis(
    store: &SqliteStore,
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
    store: &SqliteStore,
    tenant: &TenantId,
    targets: Vec<CiRef>,
    options: WriteOptions,
) -> Result<Vec<CiOutcome>> {
    let (pool, tenant) = (store.write_pool().clone(), tenant.clone());
    detached(async move {
        let mut transaction = pool.begin_with(BEGIN).await?;
        if let Some(precondition) = &options.only_if {
            let targets = targets.iter().map(|target| (&tenant, target.clone()));
            expected::require(&mut Connected(&mut transaction), targets, precondition).await?;
        }
        let mut known = Known::default();
        let ids = targets.iter().filter_map(|target| match target {
            CiRef::Id(id) => Some(*id),
            CiRef::Code(_) => None,
        });
        find_ids(&mut transaction, ids.collect(), &mut known).await?;
        let codes = targets.iter().filter_map(|target| match target {
            CiRef::Code(code) => Some((tenant.as_str(), code.as_str())),
            CiRef::Id(_) => None,
        });
        find_codes(&mut transaction, codes.collect(), &mut known).await?;
        let deletion = cis::plan_deletion(&tenant, &targets, &known);
        if !deletion.ids.is_empty() {
            sqlx::query(DELETE)
                .bind(json(&deletion.ids)?)
                .bind(moment(&options).to_string())
                .execute(&mut *transaction)
                .await?;
        }
        end(transaction, &options).await?;
        Ok(deletion.outcomes)
    })
    .await
}

async fn try_upsert(
    pool: &SqlitePool,
    records: &[CiRecord],
    at: Timestamp,
    options: &WriteOptions,
    careful: bool,
) -> Result<Vec<Result<CiOutcome, Rejection>>, Failure> {
    let mut transaction = pool.begin_with(BEGIN).await?;
    if let Some(precondition) = &options.only_if {
        let targets = records
            .iter()
            .map(|record| (&record.tenant, expected::target(record)));
        expected::require(&mut Connected(&mut transaction), targets, precondition).await?;
    }
    let mut known = find(&mut transaction, records, careful).await?;
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
    transaction: Transaction<'static, Sqlite>,
    options: &WriteOptions,
) -> sqlx::Result<()> {
    if options.dry_run {
        transaction.rollback().await
    } else {
        transaction.commit().await
    }
}

/// Reads the rows that the records may touch.
async fn find(
    connection: &mut SqliteConnection,
    records: &[CiRecord],
    careful: bool,
) -> Result<Known, Failure> {
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
    if careful
        && sqlx::query_scalar::<_, i64>(CODES_ONCE)
            .fetch_one(&mut *connection)
            .await?
            > 0
    {
        let owners: Vec<(String, String)> = sqlx::query_as(OWNERS)
            .bind(json(&codes)?)
            .fetch_all(&mut *connection)
            .await?;
        known.owners = Some(HashMap::from_iter(owners));
    }
    find_codes(connection, codes, &mut known).await?;
    Ok(known)
}

async fn find_ids(connection: &mut SqliteConnection, ids: Vec<CiId>, known: &mut Known) -> Result<()> {
    if !ids.is_empty() {
        let rows: Vec<Existing> = sqlx::query_as(BY_ID)
            .bind(json(&ids)?)
            .fetch_all(connection)
            .await?;
        known.add(rows);
        known.asked.extend(ids);
    }
    Ok(())
}

async fn find_codes(
    connection: &mut SqliteConnection,
    codes: Vec<(&str, &str)>,
    known: &mut Known,
) -> Result<()> {
    if !codes.is_empty() {
        let rows: Vec<Existing> = sqlx::query_as(BY_CODE)
            .bind(json(&codes)?)
            .fetch_all(connection)
            .await?;
        known.add(rows);
    }
    Ok(())
}

async fn rename(connection: &mut SqliteConnection, renames: &[(CiId, CiCode)]) -> Result<(), Failure> {
    for (id, code) in renames {
        sqlx::query(RENAME)
            .bind(id.to_string())
            .bind(code.as_str())
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn insert(
    connection: &mut SqliteConnection,
    changes: &[Change<'_>],
    at: Timestamp,
) -> Result<(), Failure> {
    for changes in changes.chunks(STATEMENT_ROWS) {
        sqlx::query(INSERT)
            .bind(rows_json(changes, at)?)
            .execute(&mut *connection)
            .await?;
        sqlx::query(INSERT_EXT)
            .bind(documents_json(changes, at)?)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn update(
    connection: &mut SqliteConnection,
    changes: &[Change<'_>],
    at: Timestamp,
) -> Result<(), Failure> {
    for changes in changes.chunks(STATEMENT_ROWS) {
        let documents = documents_json(changes, at)?;
        sqlx::query(UPDATE)
            .bind(rows_json(changes, at)?)
            .execute(&mut *connection)
            .await?;
        sqlx::query(UPDATE_EXT)
            .bind(&documents)
            .execute(&mut *connection)
            .await?;
        sqlx::query(INSERT_EXT)
            .bind(documents)
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}
