//! Several questions of one request at one version.

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::coherence::Mark;
use ci_cache_core::{Lookup, Outcome, Tick};
use ci_model::{Key, Question, TenantId, Token, Version};
use tracing::Instrument;

use crate::answer::{Source, Traced};
use crate::observe::{Told, observed};
use crate::reading::{Place, Read};
use crate::runner::{Entry, Inner, Lead, Wait};
use crate::tally::Ended;
use crate::watch::Asked;
use crate::write::bounded;
use crate::{Error, Level, Reply, Result, Tenant, reading, record};

/// The answers to several questions, all true at one state of the database.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// One for each question, in their order.
    pub answers: Vec<Reply>,
    /// From memory, or from one snapshot of the database.
    pub source: Source,
    /// The state at which all of them are true; none where the store records no changes, or does not now.
    pub as_of: Option<Token>,
    /// How far that state may be behind the database, at most.
    pub lag: Option<Duration>,
}

impl Tenant {
    /// Answers up to 1,000 questions so that all answers are true at one state of the database.
    ///
    /// Over a store without a feed, what is in memory was loaded at different times; the answers are of one state as far as this runner's
    /// own writes go, and of one snapshot unless all are in memory.
    ///
    /// If every one is in memory they are answered at the present mark. What is missing is asked of one snapshot, together
    /// ([`Snapshot::ask_all`](ci_store::Snapshot::ask_all): one statement for up to 16), and kept; what was there is answered beside it
    /// if it still is when the feed has come as far as that snapshot. If it is not, all are asked of one snapshot.
    ///
    /// Cost: a look-up per question; one transaction for what is missing, and a poll of the feed where something changed in between.
    /// Cancel safe: a load goes on, and is kept.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than 1,000 questions, [`Error::Store`] when the database fails.
    pub async fn page(&self, questions: Vec<Question>) -> Result<Page> {
        let told = |page: &Page| Told {
            hit: Some(page.source.is_hit()),
            rows: page.answers.len(),
        };
        observed("page", self.id(), self.page_of(&questions), told).await
    }

    pub(crate) async fn page_of(&self, questions: &[Question]) -> Result<Page> {
        bounded("questions of a page", questions.len())?;
        self.recorded(record::Form::Page, questions);
        let page = self.uncounted_page(questions).await;
        let ended = page.as_ref().map_or(Ended::Error, |page| page.source.into());
        questions
            .iter()
            .for_each(|question| self.count(question.kind(), ended, 1));
        page
    }

    /// The same for questions that their caller counts.
    pub(crate) async fn uncounted_page(&self, questions: &[Question]) -> Result<Page> {
        let inner = self.inner();
        inner.follow.ask(inner.cache.now());
        if self.bypass_any(questions) {
            return Box::pin(self.page_past(questions)).await;
        }
        let Some(mark) = inner.footing(self.level()).await else {
            return Box::pin(self.page_past(questions)).await;
        };
        let begun = inner.cache.now();
        let looked = inner.look_up_all(&mark, self.id(), questions);
        if looked.is_whole {
            let lag = inner.follow.has_feed().then(|| inner.lag(&mark));
            return Ok(page_at(&mark, &looked.hits, Source::Hit, lag));
        }
        Box::pin(self.completed(questions, looked, &mark, begun)).await
    }

    /// The rest of [`uncounted_page`](Self::uncounted_page), when something is missing.
    async fn completed(
        &self,
        questions: &[Question],
        looked: Looked,
        mark: &Mark<Version>,
        begun: Tick,
    ) -> Result<Page> {
        let inner = self.inner();
        let alone = looked.leads.len() == questions.len();
        if !alone && !inner.follow.has_feed() {
            // Nothing tells whether what is there and what would be loaded are of one state.
            drop(looked);
            return self.page_past(questions).await;
        }
        let source = match (looked.leads.is_empty(), looked.waits.is_empty()) {
            (false, _) => Source::Miss,
            (true, false) => Source::Coalesced,
            // All is there, some of it newer than the mark.
            (true, true) => Source::Hit,
        };
        let places: Vec<usize> = looked.leads.iter().map(|(at, _)| *at).collect();
        let loaded = load_leads(inner, self.id(), questions, looked.leads).await?;
        let mut fresh: Vec<Option<Entry>> = vec![None; questions.len()];
        for (at, entry) in looked.hits {
            fresh[at] = Some(entry);
        }
        let mut floor = None;
        let own = loaded.map(|read| {
            for (at, entry) in places.into_iter().zip(read.found) {
                fresh[at] = Some(entry);
            }
            floor = read.floor;
            read.loaded
        });
        // The primary's state is that of the call, or later.
        let is_now = alone && floor.is_none();
        for (at, waiter) in looked.waits {
            if let Outcome::Loaded(entry) = waiter.await {
                fresh[at] = Some(entry);
            }
        }
        let fresh: Vec<Entry> = match fresh.iter().cloned().collect::<Option<Vec<Entry>>>() {
            Some(all)
                if is_one_state(&all) && (is_now || all.iter().all(|entry| entry.is_as_new_as(mark))) =>
            {
                let (epoch, version) = (all[0].epoch(), all[0].version());
                return Ok(Page {
                    answers: all.iter().map(|entry| entry.value().answer().clone()).collect(),
                    source,
                    as_of: Inner::token(epoch, version),
                    lag: inner.follow.has_feed().then(|| {
                        let since = if is_now { begun } else { mark.polled_at() };
                        inner.cache.now().saturating_since(since)
                    }),
                });
            }
            _ => fresh.into_iter().flatten().collect(),
        };
        let tokens: Vec<Token> = fresh
            .iter()
            .filter_map(|entry| Inner::token(entry.epoch(), entry.version()))
            .collect();
        let own = own.and_then(|loaded| Inner::token(loaded.epoch, &loaded.version));
        // What was there before, what was loaded and what others loaded are true together at a mark that includes all of it. A load
        // that began with this call includes all that any level asks for.
        let level = own.map_or_else(|| self.level().clone(), Level::AtLeast);
        if let Some(mark) = inner.footing_beyond(&level, &tokens).await {
            let looked = inner.look_up_all(&mark, self.id(), questions);
            if looked.is_whole {
                let lag = Some(inner.lag(&mark));
                return Ok(page_at(&mark, &looked.hits, source, lag));
            }
        }
        self.page_past(questions).await
    }

    /// All questions of one snapshot, past the cache.
    pub(crate) async fn page_past(&self, questions: &[Question]) -> Result<Page> {
        let bypass = self.bypass_any(questions);
        load_page(self.inner(), self.id(), questions.to_vec(), bypass).await
    }

    /// Tells whether a page goes past the cache: one question that does takes all with it, because they are answered at one state.
    fn bypass_any(&self, questions: &[Question]) -> bool {
        *self.level() == Level::Bypass || questions.iter().any(|question| self.bypasses(question.kind()))
    }
}

/// What a page's look-ups found.
struct Looked {
    /// Entries, with the places of their questions, in their order.
    hits: Vec<(usize, Entry)>,
    /// Whether every question has one, and all are true at the mark.
    is_whole: bool,
    /// Places of the questions to be loaded, with the duty to do so.
    leads: Vec<(usize, Lead)>,
    /// What others load, or this page for another of its questions.
    waits: Vec<(usize, Wait)>,
}

impl Inner {
    /// The mark that hits may be served by at a level, if it includes these states, after waiting for a poll where that may help.
    async fn footing_beyond(&self, level: &Level, tokens: &[Token]) -> Option<Mark<Version>> {
        for token in tokens {
            self.footing(&Level::AtLeast(token.clone())).await?;
        }
        let mark = self.footing(level).await?;
        let includes =
            |token: &Token| token.epoch.0 == mark.epoch() && mark.version().includes(&token.version);
        tokens.iter().all(includes).then_some(mark)
    }

    /// Looks all questions up for entries that are true at this very mark.
    ///
    /// An entry is true from its own version up to the mark of the moment at which it was found. So all are true at `mark` if
    /// none was loaded beyond it, whatever the feed applies meanwhile: what is dropped between two look-ups is not found.
    fn look_up_all(&self, mark: &Mark<Version>, tenant: &TenantId, questions: &[Question]) -> Looked {
        let (mut hits, mut leads, mut waits) = (Vec::new(), Vec::new(), Vec::new());
        let mut at_mark = 0;
        for (at, question) in questions.iter().enumerate() {
            match self.cache.lookup(tenant, &Key::new(tenant, question), question) {
                Lookup::Hit(found) => {
                    let entry = found.value;
                    let is_at_mark =
                        entry.epoch() == mark.epoch() && mark.version().includes(entry.version());
                    at_mark += usize::from(is_at_mark);
                    hits.push((at, entry));
                }
                Lookup::Lead(leader) | Lookup::Stale(_, Some(leader)) => leads.push((at, leader)),
                Lookup::Wait(waiter) => waits.push((at, waiter)),
                Lookup::Stale(_, None) => {}
            }
        }
        Looked {
            is_whole: at_mark == questions.len(),
            hits,
            leads,
            waits,
        }
    }
}

/// Tells whether entries were loaded at one state; there is at least one.
fn is_one_state(entries: &[Entry]) -> bool {
    let state = |entry: &Entry| (entry.epoch(), entry.version().clone());
    let first = entries.first().map(state);
    first.is_some_and(|first| entries.iter().all(|entry| state(entry) == first))
}

fn page_at(mark: &Mark<Version>, hits: &[(usize, Entry)], source: Source, lag: Option<Duration>) -> Page {
    let answer = |(_, entry): &(usize, Entry)| entry.value().answer().clone();
    Page {
        answers: hits.iter().map(answer).collect(),
        source,
        as_of: Inner::token(mark.epoch(), mark.version()),
        lag,
    }
}

/// Loads what a page has to, of one snapshot, and keeps what can be kept; nothing if there is nothing to load. In a task of its own,
/// so that a caller who goes away takes it from nobody who waits.
async fn load_leads(
    inner: &Arc<Inner>,
    tenant: &TenantId,
    questions: &[Question],
    leads: Vec<(usize, Lead)>,
) -> Result<Option<Read<Vec<Entry>>>> {
    if leads.is_empty() {
        return Ok(None);
    }
    let (inner, tenant) = (Arc::clone(inner), tenant.clone());
    let asked = leads.iter().filter_map(|(at, _)| questions.get(*at).cloned());
    let asked: Vec<Question> = asked.collect();
    let task = async move {
        let read = ask_all(&inner, &tenant, &asked, Place::Any).await;
        let Read { found, loaded, floor } = match read {
            Ok(read) => read,
            Err(error) => {
                leads
                    .into_iter()
                    .for_each(|(_, leader)| drop(leader.fail(error.clone())));
                return Err(error);
            }
        };
        let mut entries = Vec::with_capacity(leads.len());
        for (((_, leader), question), found) in leads.into_iter().zip(asked).zip(found) {
            entries.push(inner.publish(leader, &tenant, question, found, loaded.clone())?);
        }
        Ok(Some(Read {
            found: entries,
            loaded,
            floor,
        }))
    };
    tokio::spawn(task.in_current_span())
        .await
        .unwrap_or_else(|lost| Err(Error::lost(&lost)))
}

/// Asks all of one state.
async fn ask_all(
    inner: &Inner,
    tenant: &TenantId,
    questions: &[Question],
    place: Place,
) -> Result<Read<Vec<Traced>>> {
    let read = reading::ask_all(inner, tenant, Asked::Page(questions), questions, place).await?;
    Ok(Read {
        found: read.found.into_iter().map(Traced::from).collect(),
        loaded: read.loaded,
        floor: read.floor,
    })
}

async fn load_page(
    inner: &Arc<Inner>,
    tenant: &TenantId,
    questions: Vec<Question>,
    bypass: bool,
) -> Result<Page> {
    let (inner, tenant) = (Arc::clone(inner), tenant.clone());
    let task = async move {
        let begun = inner.cache.now();
        let Read { found, loaded, .. } = ask_all(&inner, &tenant, &questions, Place::Primary).await?;
        Ok(Page {
            answers: found.into_iter().map(|answer| answer.value).collect(),
            source: if bypass { Source::Bypass } else { Source::Miss },
            as_of: Inner::token(loaded.epoch, &loaded.version),
            lag: Some(inner.cache.now().saturating_since(begun)),
        })
    };
    tokio::spawn(task.in_current_span())
        .await
        .unwrap_or_else(|lost| Err(Error::lost(&lost)))
}
