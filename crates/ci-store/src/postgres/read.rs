//! Snapshots.

use async_trait::async_trait;
use ci_model::{
    Aggregate, CiDetail, CiSummary, Expand, Get, Graph, Groups, List, ListPage, Path, PathAnswer, Search, TenantId,
};

use super::PostgresStore;
use crate::{Result, Snapshot};

pub(super) struct PostgresSnapshot {
    statements: u32,
}

pub(super) async fn begin(_store: &PostgresStore) -> Result<PostgresSnapshot> {
    unimplemented!()
}

#[async_trait]
impl Snapshot for PostgresSnapshot {
    async fn search(&mut self, _tenant: &TenantId, _search: &Search) -> Result<Vec<CiSummary>> {
        unimplemented!()
    }

    async fn get_many(&mut self, _tenant: &TenantId, _gets: &[Get]) -> Result<Vec<Option<CiDetail>>> {
        unimplemented!()
    }

    async fn list(&mut self, _tenant: &TenantId, _list: &List) -> Result<ListPage> {
        unimplemented!()
    }

    async fn aggregate(&mut self, _tenant: &TenantId, _aggregate: &Aggregate) -> Result<Groups> {
        unimplemented!()
    }

    async fn expand(&mut self, _tenant: &TenantId, _expand: &Expand) -> Result<Option<Graph>> {
        unimplemented!()
    }

    async fn path(&mut self, _tenant: &TenantId, _path: &Path) -> Result<Option<PathAnswer>> {
        unimplemented!()
    }

    fn statements(&self) -> u32 {
        self.statements
    }
}
