//! Batch get: what is cached from the cache, everything else in one statement.

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::{Lookup, Outcome};
use ci_model::{CiDetail, Get, Key, Question, QuestionKind};
use tracing::Instrument;

use crate::answer::{Answer, Cached, Source};
use crate::load::loaded;
use crate::observe::{Told, observed};
use crate::runner::{Lead, Wait};
use crate::write::bounded;
use crate::{Error, Result, Tenant};

type CiAnswer = Answer<Option<Arc<CiDetail>>>;

/// What became of one question of the batch after its look-up.
enum Place {
    Answered(Answer<Cached>),
    /// Somebody else loads it, or an earlier place of this very batch.
    Waits(Wait),
    /// Position among the questions that this batch loads.
    Leads(usize),
}

impl Tenant {
    /// Gets up to 1,000 CIs by id or code; answers in the order of the questions, nothing where there is no CI.
    ///
    /// Cost: a look-up per question and one statement for all misses together. Questions that somebody else is
    /// loading are waited for after the own load, so two batches that overlap never wait for each other in a circle.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than 1,000 questions, [`Error::Store`] when the database fails.
    pub async fn get_many(&self, gets: &[Get]) -> Result<Vec<CiAnswer>> {
        let told = |answers: &Vec<CiAnswer>| Told {
            hit: Some(answers.iter().all(|answer| answer.source.is_hit())),
            rows: answers.iter().filter(|answer| answer.value.is_some()).count(),
        };
        observed(QuestionKind::Get.as_str(), self.id(), self.batch(gets), told).await
    }

    async fn batch(&self, gets: &[Get]) -> Result<Vec<CiAnswer>> {
        bounded("CIs to get", gets.len())?;
        let mut missing: Vec<(Get, Lead)> = Vec::new();
        let mut places = Vec::with_capacity(gets.len());
        for get in gets {
            places.push(self.place(get, &mut missing));
        }
        let loads = if missing.is_empty() {
            Vec::new()
        } else {
            self.load_missing(missing).await?
        };
        let mut answers = Vec::with_capacity(gets.len());
        for (place, get) in places.into_iter().zip(gets) {
            let answer = match place {
                Place::Answered(answer) => answer,
                Place::Leads(at) => {
                    let value = loads.get(at).cloned().ok_or(Error::TaskLost)?;
                    loaded(value, Source::Miss)
                }
                Place::Waits(waiter) => self.wait(waiter, get).await?,
            };
            let Cached::Ci(ci) = &answer.value else {
                return Err(Error::WrongKind);
            };
            let ci = ci.clone();
            answers.push(answer.map(|_| ci));
        }
        Ok(answers)
    }

    fn place(&self, get: &Get, missing: &mut Vec<(Get, Lead)>) -> Place {
        let question = Question::Get(get.clone());
        let key = Key::new(self.id(), &question);
        match self.inner().cache.lookup(self.id(), &key, &question) {
            Lookup::Hit(found) | Lookup::Stale(found, None) => Place::Answered(Answer {
                value: found.value.answer().clone(),
                source: Source::Hit,
                age: self.inner().cache.age(&found),
            }),
            Lookup::Wait(waiter) => Place::Waits(waiter),
            Lookup::Lead(leader) | Lookup::Stale(_, Some(leader)) => {
                missing.push((get.clone(), leader));
                Place::Leads(missing.len() - 1)
            }
        }
    }

    async fn wait(&self, waiter: Wait, get: &Get) -> Result<Answer<Cached>> {
        match waiter.await {
            Outcome::Loaded(entry) => {
                let value = entry.answer().clone();
                Ok(Answer {
                    value,
                    source: Source::Coalesced,
                    age: Duration::ZERO,
                })
            }
            Outcome::Failed(error) => Err(error),
            _ => self.answer(Question::Get(get.clone())).await,
        }
    }

    /// One statement for all, in a task of its own; see `load.rs` for why.
    async fn load_missing(&self, missing: Vec<(Get, Lead)>) -> Result<Vec<Cached>> {
        let (inner, tenant) = (Arc::clone(self.inner()), self.id().clone());
        let task = async move {
            let (gets, leaders): (Vec<Get>, Vec<Lead>) = missing.into_iter().unzip();
            let found = async {
                let mut snapshot = inner.store.snapshot().await?;
                let found = snapshot.get_many(&tenant, &gets).await;
                inner.count_statements(&*snapshot);
                found
            }
            .await;
            match found {
                Ok(found) => {
                    let values: Vec<Cached> =
                        found.into_iter().map(|ci| Cached::Ci(ci.map(Arc::new))).collect();
                    for ((leader, get), value) in leaders.into_iter().zip(gets).zip(&values) {
                        inner.cache.publish(leader, &Question::Get(get), value.clone());
                    }
                    Ok(values)
                }
                Err(error) => {
                    let error = Error::Store(error);
                    for leader in leaders {
                        leader.fail(error.clone());
                    }
                    Err(error)
                }
            }
        };
        tokio::spawn(task.in_current_span())
            .await
            .unwrap_or(Err(Error::TaskLost))
    }
}
