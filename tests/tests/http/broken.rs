//! A store that is broken in one way, for whatever is asked of it.

use async_trait::async_trait;
use ci_model::{CiOutcome, CiRecord, CiRef, Rejection, RelationOutcome, RelationRecord, TenantId};
use ci_store::{Error, Result, Snapshot, Store, WriteOptions};

/// How it is broken.
#[derive(Debug, Clone)]
pub(crate) enum Fault {
    /// Every call ends in this error.
    Fails(Error),
    /// No call ever ends.
    Hangs,
    /// Every call panics.
    Panics,
}

/// A database that cannot be reached; its message must stay in the log.
pub(crate) fn down() -> Fault {
    Fault::Fails(Error::Unavailable(
        "postgres://someone:hunter2@db.example.internal".into(),
    ))
}

/// A database that holds what nobody can read.
pub(crate) fn corrupt() -> Fault {
    Fault::Fails(Error::Corrupt("hunter2".into()))
}

#[derive(Debug)]
pub(crate) struct Broken(pub(crate) Fault);

impl Broken {
    async fn call<T>(&self) -> Result<T> {
        match &self.0 {
            Fault::Fails(error) => Err(error.clone()),
            Fault::Hangs => std::future::pending().await,
            Fault::Panics => panic!("a fault that the test put here"),
        }
    }
}

#[async_trait]
impl Store for Broken {
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        self.call().await
    }

    async fn upsert_cis(
        &self,
        _: Vec<CiRecord>,
        _: WriteOptions,
    ) -> Result<Vec<Result<CiOutcome, Rejection>>> {
        self.call().await
    }

    async fn delete_cis(&self, _: &TenantId, _: Vec<CiRef>, _: WriteOptions) -> Result<Vec<CiOutcome>> {
        self.call().await
    }

    async fn upsert_relations(
        &self,
        _: Vec<RelationRecord>,
        _: WriteOptions,
    ) -> Result<Vec<Result<RelationOutcome, Rejection>>> {
        self.call().await
    }

    async fn delete_relations(
        &self,
        _: Vec<RelationRecord>,
        _: WriteOptions,
    ) -> Result<Vec<RelationOutcome>> {
        self.call().await
    }

    async fn ping(&self) -> Result<()> {
        self.call().await
    }

    fn backend(&self) -> &'static str {
        "broken"
    }

    async fn close(&self) {}
}
