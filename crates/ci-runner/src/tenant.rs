//! One tenant's view of a runner: there is no question without a tenant.

use std::fmt;
use std::sync::Arc;

use ci_cache_core::ci::TenantStats;
use ci_model::{Question, QuestionKind, TenantId, Token};

use crate::record::Form;
use crate::runner::Inner;
use crate::tally::{Ended, Tally};
use crate::{Answer, Level, Result};

/// Asks and writes for one tenant, at one level of truth. A cheap handle: clone it freely.
#[derive(Clone)]
pub struct Tenant {
    inner: Arc<Inner>,
    id: TenantId,
    level: Level,
    /// How its requests ended.
    tally: Arc<Tally>,
}

impl Tenant {
    pub(crate) fn new(inner: Arc<Inner>, id: TenantId) -> Self {
        let (level, tally) = (inner.level.clone(), inner.tallies.of(&id));
        Self {
            inner,
            id,
            level,
            tally,
        }
    }

    /// Whose view this is.
    pub fn id(&self) -> &TenantId {
        &self.id
    }

    /// How true its answers are: the runner's default level, unless another was asked for.
    pub fn level(&self) -> &Level {
        &self.level
    }

    /// The same view at another level.
    pub fn at(&self, level: Level) -> Self {
        Self {
            level,
            ..self.clone()
        }
    }

    /// The same view, seeing nothing older than a token.
    pub fn at_least(&self, token: Token) -> Self {
        self.at(Level::AtLeast(token))
    }

    /// The same view, including every write that was acknowledged before each call.
    pub fn strong(&self) -> Self {
        self.at(Level::Strong)
    }

    /// What this tenant has in memory and did; nothing if it did nothing. Takes each shard's lock in turn.
    pub fn stats(&self) -> Option<TenantStats> {
        self.inner.cache.tenant_stats(&self.id)
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Tells whether a kind of question goes past the cache: by the level, or because the kind is not cached.
    pub(crate) fn bypasses(&self, kind: QuestionKind) -> bool {
        self.level == Level::Bypass || self.inner.uncached.contains(&kind)
    }

    /// Writes down what is asked, where that is wanted.
    pub(crate) fn recorded(&self, form: Form, questions: &[Question]) {
        if let Some(recorder) = &self.inner.recorder {
            recorder.record(form, &self.id, questions);
        }
    }

    /// Counts how requests of a kind ended.
    pub(crate) fn count(&self, kind: QuestionKind, ended: Ended, requests: usize) {
        self.tally.add(kind, ended, requests as u64);
    }

    /// Counts how one request ended.
    pub(crate) fn count_one<T>(&self, kind: QuestionKind, answer: &Result<Answer<T>>) {
        let ended = answer
            .as_ref()
            .map_or(Ended::Error, |answer| answer.source.into());
        self.count(kind, ended, 1);
    }

    /// Forgets every cached answer of this tenant, and says how many; loads under way are answered but not kept. Walks all entries.
    pub fn invalidate(&self) -> usize {
        self.inner.forget_elsewhere();
        self.inner.cache.invalidate_tenant(&self.id)
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenant")
            .field("id", &self.id)
            .field("level", &self.level)
            .finish_non_exhaustive()
    }
}
