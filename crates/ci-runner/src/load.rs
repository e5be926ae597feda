//! The way of one question: key, look-up, and on a miss one load that everybody who asks meanwhile shares.

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::{Lookup, Outcome};
use ci_model::{Key, Question, TenantId};
use ci_store::Snapshot;
use tracing::Instrument;

use crate::answer::{Answer, Cached, Source};
use crate::runner::Inner;
use crate::{Error, Result, Tenant};

impl Tenant {
    /// Answers a question from the cache, from a load that is under way, or by loading.
    pub(crate) async fn answer(&self, question: Question) -> Result<Answer<Cached>> {
        let key = Key::new(self.id(), &question);
        loop {
            match self.inner().cache.lookup(self.id(), &key, &question) {
                Lookup::Hit(found) | Lookup::Stale(found, None) => {
                    let age = self.inner().cache.age(&found);
                    return Ok(Answer {
                        value: found.value.answer().clone(),
                        source: Source::Hit,
                        age,
                    });
                }
                Lookup::Lead(leader) | Lookup::Stale(_, Some(leader)) => {
                    let value = load_in_task(self.inner(), self.id(), question, leader).await?;
                    return Ok(loaded(value, Source::Miss));
                }
                Lookup::Wait(waiter) => match waiter.await {
                    Outcome::Loaded(entry) => return Ok(loaded(entry.answer().clone(), Source::Coalesced)),
                    Outcome::Failed(error) => return Err(error),
                    // The loader's task was lost; whoever looks up next leads.
                    _ => {}
                },
            }
        }
    }
}

pub(crate) fn loaded(value: Cached, source: Source) -> Answer<Cached> {
    Answer {
        value,
        source,
        age: Duration::ZERO,
    }
}

/// Loads in a task of its own, so that a caller who goes away takes neither the load from those who wait for it nor a
/// database connection in the middle of a statement.
async fn load_in_task(
    inner: &Arc<Inner>,
    tenant: &TenantId,
    question: Question,
    leader: crate::runner::Lead,
) -> Result<Cached> {
    let (inner, tenant) = (Arc::clone(inner), tenant.clone());
    let task = async move {
        match load(&inner, &tenant, &question).await {
            Ok(value) => {
                inner.cache.publish(leader, &question, value.clone());
                Ok(value)
            }
            Err(error) => {
                leader.fail(error.clone());
                Err(error)
            }
        }
    };
    // A panic drops the leader, which wakes the waiters; one of them loads again.
    tokio::spawn(task.in_current_span())
        .await
        .unwrap_or(Err(Error::TaskLost))
}

/// Asks the store: one snapshot.
async fn load(inner: &Inner, tenant: &TenantId, question: &Question) -> Result<Cached> {
    let mut snapshot = inner.store.snapshot().await?;
    let value = ask(&mut *snapshot, tenant, question).await;
    inner.count_statements(&*snapshot);
    value
}

async fn ask(snapshot: &mut dyn Snapshot, tenant: &TenantId, question: &Question) -> Result<Cached> {
    Ok(match question {
        Question::Get(get) => {
            let found = snapshot.get_many(tenant, std::slice::from_ref(get)).await?;
            Cached::Ci(found.into_iter().next().flatten().map(Arc::new))
        }
        Question::Search(search) => Cached::Rows(snapshot.search(tenant, search).await?.into()),
        Question::List(list) => Cached::List(snapshot.list(tenant, list).await?.into()),
        Question::Aggregate(aggregate) => Cached::Groups(snapshot.aggregate(tenant, aggregate).await?.into()),
        Question::Expand(expand) => Cached::Graph(snapshot.expand(tenant, expand).await?.map(Arc::new)),
        Question::Path(path) => {
            let found = snapshot.path(tenant, path).await?.answer;
            Cached::Path(found.map(Arc::new))
        }
    })
}
