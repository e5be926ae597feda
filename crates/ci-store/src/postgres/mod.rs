//! The store in a PostgreSQL database, version 15 or later.

mod connect;
mod examine;
mod feed;
mod feed_schema;
mod feed_sql;
mod known;
mod migrate;
mod once;
mod read;
mod replica;
mod retain;
mod write;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ci_model::{CiOutcome, CiRecord, CiRef, Question, Rejection, RelationOutcome, RelationRecord, TenantId};
use sqlx::PgPool;

use self::feed::{Access, PostgresFeed};
use self::replica::PostgresReplica;
use crate::{
    Answers, Connections, Feed, Replica, Result, Snapshot, Store, StoreOptions, WriteOptions, connections,
};

pub(crate) use self::examine::{examine, examine_replica};

/// A CMDB in a PostgreSQL database.
#[derive(Debug)]
pub struct PostgresStore {
    /// Connections for reading and writing; a snapshot holds one.
    pool: PgPool,
    /// What feeds connect by.
    access: Access,
}

impl PostgresStore {
    /// The pool to write with; the same that is read with.
    pub(crate) fn write_pool(&self) -> &PgPool {
        &self.pool
    }
}

#[async_trait]
impl Store for PostgresStore {
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(read::begin(self).await?))
    }

    async fn ask_all(&self, tenant: &TenantId, questions: &[Question]) -> Result<Answers> {
        once::ask_all(self, tenant, questions).await
    }

    async fn upsert_cis(
        &self,
        records: Vec<CiRecord>,
        options: WriteOptions,
    ) -> Result<Vec<Result<CiOutcome, Rejection>>> {
        write::upsert_cis(self, records, options).await
    }

    async fn delete_cis(
        &self,
        tenant: &TenantId,
        targets: Vec<CiRef>,
        options: WriteOptions,
    ) -> Result<Vec<CiOutcome>> {
        write::delete_cis(self, tenant, targets, options).await
    }

    async fn upsert_relations(
        &self,
        records: Vec<RelationRecord>,
        options: WriteOptions,
    ) -> Result<Vec<Result<RelationOutcome, Rejection>>> {
        write::upsert_relations(self, records, options).await
    }

    async fn delete_relations(
        &self,
        records: Vec<RelationRecord>,
        options: WriteOptions,
    ) -> Result<Vec<RelationOutcome>> {
        write::delete_relations(self, records, options).await
    }

    async fn analyze(&self) -> Result<()> {
        write::analyze(self).await
    }

    fn feed(&self) -> Option<Box<dyn Feed>> {
        Some(Box::new(PostgresFeed::new(self)))
    }

    async fn ring(&self) {
        if self.access.doorbell {
            connect::ring(&self.pool).await;
        }
    }

    async fn advance(&self) -> Result<()> {
        sqlx::query("SELECT pg_current_xact_id()")
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    async fn retain(&self, older_than: Duration) -> Result<u64> {
        retain::retain(self, older_than).await
    }

    fn replica(&self, address: &str, options: &StoreOptions) -> Result<Arc<dyn Replica>> {
        Ok(Arc::new(PostgresReplica::new(self, address, options)?))
    }

    async fn ping(&self) -> Result<()> {
        connect::ping(&self.pool).await
    }

    fn connections(&self) -> Option<Connections> {
        Some(connections::of(&self.pool))
    }

    fn backend(&self) -> &'static str {
        "postgres"
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}
