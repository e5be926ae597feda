//! Several questions of one request at one version.

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::Lookup;
use ci_cache_core::coherence::Mark;
use ci_model::{Key, Question, QuestionKind, TenantId, Token, Version};
use ci_store::Snapshot;
use tracing::Instrument;

use crate::answer::Source;
use crate::load::ask;
use crate::observe::{Told, observed};
use crate::runner::{Entry, Inner};
use crate::tally::Ended;
use crate::watch::{Asked, Watch};
use crate::write::bounded;
use crate::{Error, Level, Reply, Result, Tenant};

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
    /// If every one is in memory they are answered at the present mark; otherwise all of them are asked of one snapshot, and
    /// nothing is kept: two states cannot be mixed, and those who ask single questions fill the cache.
    ///
    /// Cost: a look-up per question, or one transaction with a statement or some per question. Cancel safe.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than 1,000 questions, [`Error::Store`] when the database fails.
    pub async fn page(&self, questions: Vec<Question>) -> Result<Page> {
        let told = |page: &Page| Told {
            hit: Some(page.source.is_hit()),
            rows: page.answers.len(),
        };
        observed("page", self.id(), self.page_of(questions), told).await
    }

    pub(crate) async fn page_of(&self, questions: Vec<Question>) -> Result<Page> {
        bounded("questions of a page", questions.len())?;
        let kinds: Vec<QuestionKind> = questions.iter().map(Question::kind).collect();
        let page = self.uncounted_page(questions).await;
        let ended = page.as_ref().map_or(Ended::Error, |page| page.source.into());
        kinds.into_iter().for_each(|kind| self.count(kind, ended, 1));
        page
    }

    async fn uncounted_page(&self, questions: Vec<Question>) -> Result<Page> {
        let inner = self.inner();
        inner.follow.ask(inner.cache.now());
        if !self.bypass_any(&questions)
            && let Some(mark) = inner.footing(self.level()).await
            && let Some(entries) = inner.all_at(&mark, self.id(), &questions)
        {
            return Ok(Page {
                answers: entries
                    .iter()
                    .map(|entry| entry.value().answer().clone())
                    .collect(),
                source: Source::Hit,
                as_of: Inner::token(mark.epoch(), mark.version()),
                lag: inner.follow.has_feed().then(|| inner.lag(&mark)),
            });
        }
        self.page_past(questions).await
    }

    /// All questions of one snapshot, past the cache.
    pub(crate) async fn page_past(&self, questions: Vec<Question>) -> Result<Page> {
        let bypass = self.bypass_any(&questions);
        load_page(self.inner(), self.id(), questions, bypass).await
    }

    /// Tells whether a page goes past the cache: one question that does takes all with it, because they are answered at one state.
    fn bypass_any(&self, questions: &[Question]) -> bool {
        *self.level() == Level::Bypass || questions.iter().any(|question| self.bypasses(question.kind()))
    }
}

impl Inner {
    /// Finds all questions' entries, true at this very mark; nothing unless all are there.
    ///
    /// An entry is true from its own version up to the mark of the moment at which it was found. So all are true at `mark` if
    /// none was loaded beyond it, whatever the feed applies meanwhile: what is dropped between two look-ups is not found.
    fn all_at(&self, mark: &Mark<Version>, tenant: &TenantId, questions: &[Question]) -> Option<Vec<Entry>> {
        let entry = |question: &Question| {
            let Lookup::Hit(found) = self.cache.lookup(tenant, &Key::new(tenant, question), question) else {
                // A lead that is dropped here wakes whoever waits for it.
                return None;
            };
            let entry = found.value;
            (entry.epoch() == mark.epoch() && mark.version().includes(entry.version())).then_some(entry)
        };
        questions.iter().map(entry).collect()
    }
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
        let mut watch = Watch::begin(&inner, &tenant, Asked::Page(&questions));
        let asked = async {
            let own = inner.own.now();
            let mut snapshot = inner.store.snapshot().await?;
            let loaded = inner.loaded(&mut *snapshot, own).await?;
            let answers = answers(&mut *snapshot, &tenant, &questions).await;
            watch.ran(&*snapshot);
            Ok((answers?, loaded))
        }
        .await;
        watch.end(asked.as_ref().err());
        let (answers, loaded) = asked?;
        Ok(Page {
            answers,
            source: if bypass { Source::Bypass } else { Source::Miss },
            as_of: Inner::token(loaded.epoch, &loaded.version),
            lag: Some(inner.cache.now().saturating_since(begun)),
        })
    };
    tokio::spawn(task.in_current_span())
        .await
        .unwrap_or(Err(Error::TaskLost))
}

/// Asks all of one snapshot; gets in one statement if there is nothing else.
async fn answers(
    snapshot: &mut dyn Snapshot,
    tenant: &TenantId,
    questions: &[Question],
) -> Result<Vec<Reply>> {
    let get = |question: &Question| match question {
        Question::Get(get) => Some(get.clone()),
        _ => None,
    };
    if let Some(gets) = questions.iter().map(get).collect::<Option<Vec<_>>>() {
        let found = snapshot.get_many(tenant, &gets).await?;
        return Ok(found.into_iter().map(|ci| Reply::Ci(ci.map(Arc::new))).collect());
    }
    let mut answers = Vec::with_capacity(questions.len());
    for question in questions {
        answers.push(ask(snapshot, tenant, question).await?.value);
    }
    Ok(answers)
}
