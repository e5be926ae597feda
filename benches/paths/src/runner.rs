//! Warm answers of a whole runner: mark, level, key, look-up, counters, and the answer as its caller gets it.
//!
//! Its store is in memory and tells that nothing ever changes; after the first polls nobody polls while hits are counted, because they never
//! give way.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ci_model::{
    CiOutcome, CiRecord, CiRef, CiSummary, Epoch, Get, Question, Rejection, RelationOutcome, RelationRecord,
    TenantId, Token, Version,
};
use ci_runner::{Level, Runner, Tenant};
use ci_store::{Answers, Error, Feed, Found, Polled, Snapshot, Start, Store, WriteOptions};

use super::{ENTRIES, Result, questions, rows, tenant};

const EPOCH: Epoch = Epoch(1);
const STATE: Version = Version::Sequence(1);

/// Every search finds the same rows, and no CI is there.
#[derive(Debug)]
struct Fixed(Vec<CiSummary>);

/// What nobody asks for here.
fn not_here<T>() -> ci_store::Result<T> {
    Err(Error::Database(
        "only questions of one state are answered here".into(),
    ))
}

#[async_trait]
impl Store for Fixed {
    async fn snapshot(&self) -> ci_store::Result<Box<dyn Snapshot>> {
        not_here()
    }

    async fn ask_all(&self, _tenant: &TenantId, questions: &[Question]) -> ci_store::Result<Answers> {
        let found = |question: &Question| match question {
            Question::Search(_) => Ok(Found::Rows(self.0.clone())),
            Question::Get(_) => Ok(Found::Ci(None)),
            _ => not_here(),
        };
        Ok(Answers {
            found: questions.iter().map(found).collect::<ci_store::Result<_>>()?,
            version: Some((EPOCH, STATE)),
            statements: 1,
            version_statements: 0,
        })
    }

    async fn upsert_cis(
        &self,
        _records: Vec<CiRecord>,
        _options: WriteOptions,
    ) -> ci_store::Result<Vec<std::result::Result<CiOutcome, Rejection>>> {
        not_here()
    }

    async fn delete_cis(
        &self,
        _tenant: &TenantId,
        _targets: Vec<CiRef>,
        _options: WriteOptions,
    ) -> ci_store::Result<Vec<CiOutcome>> {
        not_here()
    }

    async fn upsert_relations(
        &self,
        _records: Vec<RelationRecord>,
        _options: WriteOptions,
    ) -> ci_store::Result<Vec<std::result::Result<RelationOutcome, Rejection>>> {
        not_here()
    }

    async fn delete_relations(
        &self,
        _records: Vec<RelationRecord>,
        _options: WriteOptions,
    ) -> ci_store::Result<Vec<RelationOutcome>> {
        not_here()
    }

    async fn analyze(&self) -> ci_store::Result<()> {
        Ok(())
    }

    fn feed(&self) -> Option<Box<dyn Feed>> {
        Some(Box::new(Still))
    }

    async fn ping(&self) -> ci_store::Result<()> {
        Ok(())
    }

    fn backend(&self) -> &'static str {
        "memory"
    }

    async fn close(&self) {}
}

/// Nothing ever changes.
#[derive(Debug)]
struct Still;

#[async_trait]
impl Feed for Still {
    async fn start(&mut self) -> ci_store::Result<Start> {
        Ok(Start {
            epoch: EPOCH,
            position: STATE,
        })
    }

    async fn poll(&mut self) -> ci_store::Result<Polled> {
        Ok(Polled::Changes {
            since: Token {
                epoch: EPOCH,
                version: STATE,
            },
            changes: Vec::new(),
            position: STATE,
        })
    }

    async fn wait(&mut self, at_most: Duration) {
        let _over = tokio::time::timeout(at_most, std::future::pending::<()>()).await;
    }
}

/// Runs something on a runner that has everything in memory.
fn warm(ask: &impl AsyncFn(&Tenant) -> Result<()>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    runtime.block_on(async {
        let store = Arc::new(Fixed(rows()?.to_vec()));
        // Under callgrind a second is soon over.
        let level = Level::Cached {
            max_lag: Duration::from_secs(86_400),
        };
        let runner = Runner::builder(store)
            .level(level)
            .poll_timeout(Duration::from_secs(60))
            .build()?;
        if !runner.catch_up(Duration::from_secs(60)).await {
            return Err("there was no poll".into());
        }
        ask(&runner.tenant(tenant()?)).await?;
        runner.close().await;
        Ok(())
    })
}

/// A search that the cache has.
pub(super) fn search(times: usize) -> Result<()> {
    let questions = questions(ENTRIES / 2)?;
    let searches: Vec<_> = questions
        .iter()
        .filter_map(|question| match question {
            Question::Search(search) => Some(search),
            _ => None,
        })
        .collect();
    warm(&async |tenant: &Tenant| {
        for search in &searches {
            tenant.search(search).await?;
        }
        for number in 0..times {
            let answer = tenant.search(searches[number % searches.len()]).await?;
            if !black_box(answer).source.is_hit() {
                return Err("it was to be a hit".into());
            }
        }
        Ok(())
    })
}

/// A CI by its code that the cache has, not being there.
pub(super) fn get(times: usize) -> Result<()> {
    let gets: Vec<Get> = (0..ENTRIES / 2)
        .map(|number| Ok(Get::new(ci_model::CiCode::new(format!("erp-{number:05}"))?)))
        .collect::<Result<_>>()?;
    warm(&async |tenant: &Tenant| {
        for get in &gets {
            tenant.get(get).await?;
        }
        for number in 0..times {
            let answer = tenant.get(&gets[number % gets.len()]).await?;
            if !black_box(answer).source.is_hit() {
                return Err("it was to be a hit".into());
            }
        }
        Ok(())
    })
}
