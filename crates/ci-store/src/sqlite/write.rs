//! Writes, each in one transaction.

use ci_model::{CiOutcome, CiRecord, CiRef, Rejection, RelationOutcome, RelationRecord, TenantId};

use super::SqliteStore;
use crate::{Result, WriteOptions};

/// See [`crate::Store::upsert_cis`].
pub(super) async fn upsert_cis(
    store: &SqliteStore,
    records: Vec<CiRecord>,
    options: WriteOptions,
) -> Result<Vec<Result<CiOutcome, Rejection>>> {
    unimplemented!()
}

/// See [`crate::Store::delete_cis`].
pub(super) async fn delete_cis(
    store: &SqliteStore,
    tenant: &TenantId,
    targets: Vec<CiRef>,
    options: WriteOptions,
) -> Result<Vec<CiOutcome>> {
    unimplemented!()
}

/// See [`crate::Store::upsert_relations`].
pub(super) async fn upsert_relations(
    store: &SqliteStore,
    records: Vec<RelationRecord>,
    options: WriteOptions,
) -> Result<Vec<Result<RelationOutcome, Rejection>>> {
    unimplemented!()
}

/// See [`crate::Store::delete_relations`].
pub(super) async fn delete_relations(
    store: &SqliteStore,
    records: Vec<RelationRecord>,
) -> Result<Vec<RelationOutcome>> {
    unimplemented!()
}
