//! The store in a SQLite file: one connection that writes, several that read beside it (WAL mode).

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
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;
use tempfile::TempDir;

use self::feed::SqliteFeed;
use self::known::Known;
use crate::{
    Answers, Connections, Feed, Replica, Result, Snapshot, Store, StoreOptions, WriteOptions, connections,
};

pub(crate) use self::examine::examine;

/// A CMDB in a SQLite database.
#[derive(Debug)]
pub struct SqliteStore {
    /// One connection, so that writers queue here, fairly, and not at the file's lock.
    write: SqlitePool,
    /// Connections that only read; a snapshot holds one.
    read: SqlitePool,
    /// What feeds open the file by; they only read.
    access: SqliteConnectOptions,
    statement_timeout: Duration,
    known: Arc<Known>,
    /// Of a database in memory: removed with the store.
    folder: Option<Arc<TempDir>>,
}

impl SqliteStore {
    /// The pool whose one connection writes.
    pub(crate) fn write_pool(&self) -> &SqlitePool {
        &self.write
    }
}

#[async_trait]
impl Store for SqliteStore {
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

    fn feed(&self) -> Option<Box<dyn Feed>> {
        Some(Box::new(SqliteFeed::new(self)))
    }

    async fn retain(&self, older_than: Duration) -> Result<u64> {
        retain::retain(self, older_than).await
    }

    fn replica(&self, _address: &str, _options: &StoreOptions) -> Result<Arc<dyn Replica>> {
        replica::none()
    }

    async fn ping(&self) -> Result<()> {
        connect::ping(&self.read).await
    }

    fn connections(&self) -> Option<Connections> {
        Some(connections::of(&self.read))
    }

    fn backend(&self) -> &'static str {
        "sqlite"
    }

    async fn close(&self) {
        self.close_pools().await;
    }
}
