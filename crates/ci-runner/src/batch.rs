//! Batch get: what is cached from the cache, everything else in one statement.

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::coherence::Mark;
use ci_cache_core::{Lookup, Outcome};
use ci_model::{CiDetail, Get, Key, Question, QuestionKind, Version};
use tracing::Instrument;

use crate::answer::{Answer, Cached};
use crate::gather;
use crate::load::Got;
use crate::observe::{Told, observed};
use crate::record::Form;
use crate::runner::{Lead, Wait};
use crate::tally::Ended;
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
    /// loading are waited for after the own load, so two batches that overlap never wait for each other in a circle. Cancel safe: the
    /// load goes on, and is kept.
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
        if self.inner().recorder.is_some() {
            let questions: Vec<Question> = gets.iter().cloned().map(Question::Get).collect();
            self.recorded(Form::Batch, &questions);
        }
        let answers = self.uncounted_batch(gets).await;
        match &answers {
            Ok(answers) => {
                let sources = answers.iter().map(|answer| answer.source.into());
                sources.for_each(|ended| self.count(QuestionKind::Get, ended, 1));
            }
            Err(_) => self.count(QuestionKind::Get, Ended::Error, gets.len()),
        }
        answers
    }

    async fn uncounted_batch(&self, gets: &[Get]) -> Result<Vec<CiAnswer>> {
        let inner = self.inner();
        inner.follow.ask(inner.cache.now());
        if gets.is_empty() {
            return Ok(Vec::new());
        }
        if self.bypasses(QuestionKind::Get) {
            return self.batch_past(gets).await;
        }
        let Some(mark) = inner.footing(self.level()).await else {
            inner.through.add();
            return self.batch_past(gets).await;
        };
        let mut missing: Vec<(Get, Lead)> = Vec::new();
        let mut places = Vec::with_capacity(gets.len());
        for get in gets {
            places.push(self.place(&mark, get, &mut missing));
        }
        let begun = inner.cache.now();
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
                    let got = loads.get(at).ok_or(Error::TaskLost)?;
                    if got.serves(&mark) {
                        inner.got(&mark, got, begun)
                    } else {
                        // Another history began meanwhile.
                        self.uncounted(&Question::Get(get.clone())).await?
                    }
                }
                Place::Waits(waiter) => self.wait(&mark, waiter, get).await?,
            };
            let ci = |cached| match cached {
                Cached::Ci(ci) => Some(ci),
                _ => None,
            };
            answers.push(answer.filter_map(ci).ok_or(Error::WrongKind)?);
        }
        Ok(answers)
    }

    fn place(&self, mark: &Mark<Version>, get: &Get, missing: &mut Vec<(Get, Lead)>) -> Place {
        let question = Question::Get(get.clone());
        let key = Key::new(self.id(), &question);
        let inner = self.inner();
        match inner.cache.lookup(self.id(), &key, &question) {
            Lookup::Hit(found) => {
                let age = inner.cache.age(&found);
                Place::Answered(inner.hit(mark, &found.value, age))
            }
            Lookup::Stale(found, None) => {
                let age = inner.cache.age(&found);
                Place::Answered(inner.hit(mark, &found.value, age).stale())
            }
            Lookup::Wait(waiter) => Place::Waits(waiter),
            Lookup::Lead(leader) | Lookup::Stale(_, Some(leader)) => {
                missing.push((get.clone(), leader));
                Place::Leads(missing.len() - 1)
            }
        }
    }

    async fn wait(&self, mark: &Mark<Version>, waiter: Wait, get: &Get) -> Result<Answer<Cached>> {
        match waiter.await {
            Outcome::Loaded(entry) if entry.is_as_new_as(mark) => {
                Ok(self.inner().hit(mark, &entry, Duration::ZERO).coalesced())
            }
            Outcome::Failed(error) => Err(error),
            Outcome::Fallback { value, .. } => {
                Ok(self.inner().hit(mark, &value, Duration::ZERO).coalesced().stale())
            }
            _ => self.uncounted(&Question::Get(get.clone())).await,
        }
    }

    /// All of them past the cache, in one statement.
    async fn batch_past(&self, gets: &[Get]) -> Result<Vec<CiAnswer>> {
        let questions: Vec<Question> = gets.iter().cloned().map(Question::Get).collect();
        let page = self.page_past(&questions).await?;
        let answers = page.answers.into_iter().map(|reply| {
            let Cached::Ci(ci) = reply else {
                return Err(Error::WrongKind);
            };
            Ok(Answer {
                value: ci,
                source: page.source,
                age: Duration::ZERO,
                as_of: page.as_of.clone(),
                lag: page.lag,
                stale: false,
            })
        });
        answers.collect()
    }

    /// One statement for all, in a task of its own; see `load.rs` for why.
    async fn load_missing(&self, missing: Vec<(Get, Lead)>) -> Result<Vec<Got>> {
        let (inner, tenant) = (Arc::clone(self.inner()), self.id().clone());
        let task = async move { Ok(gather::load_all(&inner, &tenant, missing, |_, _| {}).await) };
        let loaded = tokio::spawn(task.in_current_span()).await;
        loaded
            .unwrap_or_else(|lost| Err(Error::lost(&lost)))?
            .into_iter()
            .collect()
    }
}
