//! A cache with times to live over our store, as most services write it: moka's `try_get_with`, so that simultaneous misses
//! run one load, a capacity, and after a write of its own the CI's entry is dropped. Which searches a write changes nobody knows, so those
//! stay until their time is over.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use async_trait::async_trait;
use ci_model::{CiDetail, CiRecord, Expand, Get, Graph, Key, Question, TenantId};
use ci_runner::Reply;
use ci_store::Store;
use futures_util::future::try_join_all;
use moka::future::Cache;

use super::{Arm, Outcome, Shown, found, reply, write};
use crate::counted::{Counted, Counts};
use crate::operation::Operation;

/// A graph with its CIs.
type Traversed = (Option<Arc<Graph>>, Vec<Arc<CiDetail>>);

/// The cache.
#[derive(Debug)]
pub struct Ttl {
    name: &'static str,
    store: Arc<Counted>,
    answers: Cache<Key, Reply>,
    traversals: Cache<Key, Traversed>,
}

impl Ttl {
    /// Over a store, with one time to live and room for so many answers.
    pub fn new(name: &'static str, store: Arc<dyn Store>, ttl: Duration, capacity: usize) -> Self {
        let capacity = capacity as u64;
        Self {
            name,
            store: Counted::around(store),
            answers: Cache::builder().max_capacity(capacity).time_to_live(ttl).build(),
            traversals: Cache::builder().max_capacity(capacity).time_to_live(ttl).build(),
        }
    }

    async fn one(&self, tenant: &TenantId, question: &Question) -> anyhow::Result<(Reply, bool)> {
        let mut hit = true;
        let load = async {
            hit = false;
            let found = found(&*self.store, tenant, std::slice::from_ref(question)).await?;
            found
                .into_iter()
                .next()
                .map(reply)
                .ok_or_else(|| ci_store::Error::Corrupt("no answer".into()))
        };
        let answer = self
            .answers
            .try_get_with(Key::new(tenant, question), load)
            .await
            .map_err(|error| anyhow!("{error}"))?;
        Ok((answer, hit))
    }

    async fn traversed(&self, tenant: &TenantId, expand: &Expand) -> anyhow::Result<(Traversed, bool)> {
        let mut hit = true;
        let load = async {
            hit = false;
            let found = self.store.snapshot().await?.traverse(tenant, expand).await?;
            let (graph, details) = found.map_or((None, Vec::new()), |(graph, details)| {
                (Some(Arc::new(graph)), details)
            });
            Ok::<Traversed, ci_store::Error>((graph, details.into_iter().map(Arc::new).collect()))
        };
        let key = Key::new(tenant, &Question::Expand(expand.clone()));
        let answer = self.traversals.try_get_with(key, load).await;
        Ok((answer.map_err(|error| anyhow!("{error}"))?, hit))
    }
}

#[async_trait]
impl Arm for Ttl {
    fn name(&self) -> &'static str {
        self.name
    }

    async fn run(&self, tenant: &TenantId, operation: &Operation) -> anyhow::Result<Outcome> {
        match operation {
            Operation::One(question) => {
                let (answer, hit) = self.one(tenant, question).await?;
                let shown = Shown::Replies(vec![answer]);
                Ok(Outcome { hit, shown })
            }
            Operation::Page(questions) => {
                // All at once: whoever waits for one after the other pays for it.
                let asked = questions.iter().map(|question| self.one(tenant, question));
                let (answers, hits): (Vec<Reply>, Vec<bool>) = try_join_all(asked).await?.into_iter().unzip();
                Ok(Outcome {
                    hit: hits.into_iter().all(|hit| hit),
                    shown: Shown::Replies(answers),
                })
            }
            Operation::Traverse(expand) => {
                let ((graph, details), hit) = self.traversed(tenant, expand).await?;
                let shown = Shown::Traversal(graph, details);
                Ok(Outcome { hit, shown })
            }
        }
    }

    async fn forget(&self) -> anyhow::Result<()> {
        self.answers.invalidate_all();
        self.traversals.invalidate_all();
        self.answers.run_pending_tasks().await;
        self.traversals.run_pending_tasks().await;
        Ok(())
    }

    async fn write(&self, record: CiRecord) -> anyhow::Result<()> {
        let gets = [Get::new(record.code.clone()), Get::new(record.insert_id())];
        let tenant = record.tenant.clone();
        write(&*self.store, record).await?;
        for get in gets {
            let key = Key::new(&tenant, &Question::Get(get));
            self.answers.invalidate(&key).await;
        }
        Ok(())
    }

    fn counts(&self) -> Counts {
        self.store.counts()
    }
}
