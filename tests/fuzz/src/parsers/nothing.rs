//! A store in which there is nothing, and in which everything can be written.

use async_trait::async_trait;
use ci_model::{
    Aggregate, CiDetail, CiOutcome, CiRecord, CiRef, CiSummary, Effect, Expand, Get, Graph, Group, Groups,
    List, ListPage, Path, Rejection, Relation, RelationOutcome, RelationRecord, Search, TenantId,
};
use ci_store::{PathTrace, Result, Snapshot, Store, WriteOptions};

use super::Defect;

/// The store; it may be told to panic at a search.
#[derive(Debug, Clone)]
pub(super) struct Nothing(pub(super) Option<Defect>);

#[async_trait]
impl Store for Nothing {
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>> {
        Ok(Box::new(self.clone()))
    }

    async fn upsert_cis(
        &self,
        records: Vec<CiRecord>,
        _: WriteOptions,
    ) -> Result<Vec<Result<CiOutcome, Rejection>>> {
        let outcome = |record: CiRecord| {
            Ok(CiOutcome {
                ci_id: Some(record.insert_id()),
                ci_code: Some(record.code),
                previous_code: None,
                effect: Effect::Created,
            })
        };
        Ok(records.into_iter().map(outcome).collect())
    }

    async fn delete_cis(&self, _: &TenantId, targets: Vec<CiRef>, _: WriteOptions) -> Result<Vec<CiOutcome>> {
        let outcome = |target: CiRef| {
            let (ci_id, ci_code) = match target {
                CiRef::Id(id) => (Some(id), None),
                CiRef::Code(code) => (None, Some(code)),
            };
            CiOutcome {
                ci_id,
                ci_code,
                previous_code: None,
                effect: Effect::Missing,
            }
        };
        Ok(targets.into_iter().map(outcome).collect())
    }

    async fn upsert_relations(
        &self,
        records: Vec<RelationRecord>,
        _: WriteOptions,
    ) -> Result<Vec<Result<RelationOutcome, Rejection>>> {
        Ok(records.iter().map(|_| Err(Rejection::FromMissing)).collect())
    }

    async fn delete_relations(
        &self,
        records: Vec<RelationRecord>,
        _: WriteOptions,
    ) -> Result<Vec<RelationOutcome>> {
        let outcome = |record: RelationRecord| RelationOutcome {
            from_id: None,
            to_id: None,
            rel_type: record.rel_type,
            effect: Effect::Missing,
        };
        Ok(records.into_iter().map(outcome).collect())
    }

    async fn ping(&self) -> Result<()> {
        Ok(())
    }

    fn backend(&self) -> &'static str {
        "nothing"
    }

    async fn close(&self) {}
}

#[async_trait]
impl Snapshot for Nothing {
    async fn search(&mut self, _: &TenantId, _: &Search) -> Result<Vec<CiSummary>> {
        assert_ne!(self.0, Some(Defect::HandlersPanic), "planted");
        Ok(Vec::new())
    }

    async fn get_many(&mut self, _: &TenantId, gets: &[Get]) -> Result<Vec<Option<CiDetail>>> {
        Ok(gets.iter().map(|_| None).collect())
    }

    async fn list(&mut self, _: &TenantId, list: &List) -> Result<ListPage> {
        Ok(ListPage {
            items: Vec::new(),
            total: list.has_total().then_some(0),
            last: None,
        })
    }

    async fn aggregate(&mut self, _: &TenantId, aggregate: &Aggregate) -> Result<Groups> {
        // Everything is one group, and of nothing there is none.
        let everything = aggregate.group_by().is_empty().then(|| Group {
            values: Vec::new(),
            count: 0,
            distinct: aggregate.distinct().map(|_| 0),
        });
        Ok(Groups {
            items: everything.into_iter().collect(),
            truncated: false,
        })
    }

    async fn expand(&mut self, _: &TenantId, _: &Expand) -> Result<Option<Graph>> {
        Ok(None)
    }

    async fn relations(&mut self, _: &TenantId, _: Option<&Relation>, _: u32) -> Result<Vec<Relation>> {
        Ok(Vec::new())
    }

    async fn path(&mut self, _: &TenantId, _: &Path) -> Result<PathTrace> {
        Ok(PathTrace {
            answer: None,
            visited: Some(Vec::new()),
        })
    }

    fn statements(&self) -> u32 {
        1
    }
}
