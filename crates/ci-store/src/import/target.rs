//! What can be imported: CIs and relations, each with its columns.

use async_trait::async_trait;
use ci_model::{CiDraft, CiRecord, Effect, Rejection, RelationDraft, RelationRecord, TenantId};
use serde::de::DeserializeOwned;

use super::columns::{Column, Kind};
use crate::{Result, Store, WriteOptions};

/// A kind of row that a file can hold.
#[async_trait]
pub(super) trait Target: Sized + Send + 'static {
    /// The form of a line.
    type Draft: DeserializeOwned;
    /// The columns of a line.
    const COLUMNS: &'static [Column];
    /// The columns that hold documents, and so may be spread over several columns of a CSV file.
    const DOCUMENTS: &'static [&'static str];

    /// Checks a line's content.
    fn check(draft: Self::Draft, tenant: &TenantId) -> Result<Self, ci_model::Error>;

    /// Writes a batch in one transaction; the outcomes are in the order of the rows.
    async fn write(
        store: &dyn Store,
        rows: Vec<Self>,
        options: WriteOptions,
    ) -> Result<Vec<Result<Effect, Rejection>>>;
}

#[async_trait]
impl Target for CiRecord {
    type Draft = CiDraft;

    const COLUMNS: &'static [Column] = &[
        Column::required("ci_code", Kind::Text),
        Column::required("ci_name", Kind::Text),
        Column::required("ci_type", Kind::Text),
        Column::optional("ci_subtype", Kind::Text),
        Column::optional("ci_category", Kind::Text),
        Column::optional("status", Kind::Text),
        Column::optional("criticality", Kind::Integer),
        Column::optional("location", Kind::Text),
        Column::optional("owner", Kind::Text),
        Column::optional("tags", Kind::Document),
        Column::optional("attributes", Kind::Document),
        Column::optional("ci_id", Kind::Id),
        Column::optional("tenant_id", Kind::Text),
        Column::optional("created_at", Kind::Timestamp),
        Column::optional("updated_at", Kind::Timestamp),
        Column::optional("deleted_at", Kind::Timestamp),
    ];
    const DOCUMENTS: &'static [&'static str] = &["tags", "attributes"];

    fn check(draft: CiDraft, tenant: &TenantId) -> Result<Self, ci_model::Error> {
        draft.check(tenant)
    }

    async fn write(
        store: &dyn Store,
        rows: Vec<Self>,
        options: WriteOptions,
    ) -> Result<Vec<Result<Effect, Rejection>>> {
        let outcomes = store.upsert_cis(rows, options).await?;
        Ok(outcomes
            .into_iter()
            .map(|outcome| outcome.map(|written| written.effect))
            .collect())
    }
}

#[async_trait]
impl Target for RelationRecord {
    type Draft = RelationDraft;

    const COLUMNS: &'static [Column] = &[
        Column::required("from", Kind::Text),
        Column::required("to", Kind::Text),
        Column::required("rel_type", Kind::Text),
        Column::optional("from_id", Kind::Id),
        Column::optional("to_id", Kind::Id),
    ];
    const DOCUMENTS: &'static [&'static str] = &[];

    fn check(draft: RelationDraft, tenant: &TenantId) -> Result<Self, ci_model::Error> {
        draft.check(tenant)
    }

    async fn write(
        store: &dyn Store,
        rows: Vec<Self>,
        options: WriteOptions,
    ) -> Result<Vec<Result<Effect, Rejection>>> {
        let outcomes = store.upsert_relations(rows, options).await?;
        Ok(outcomes
            .into_iter()
            .map(|outcome| outcome.map(|written| written.effect))
            .collect())
    }
}
