//! Every load is measured: what it was asked, how long it took, how many statements it ran.

use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ci_cache_core::Tick;
use ci_model::{Key, Question, QuestionKind, TenantId};

use crate::events::{Event, Load};
use crate::runner::Inner;
use crate::shape::Shape;
use crate::{Error, metrics};

/// What a load asks the database.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asked<'a> {
    One(&'a Question),
    /// Gets that are loaded together.
    Gets(&'a [Question]),
    /// Questions of one page.
    Page(&'a [Question]),
}

impl Asked<'_> {
    /// What logs and metrics call it.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Self::One(question) => question.kind().as_str(),
            Self::Gets(_) => QuestionKind::Get.as_str(),
            Self::Page(_) => "page",
        }
    }

    /// The kind of its answers, and how many they are; none where kinds mix.
    fn counted(self) -> Option<(QuestionKind, u64)> {
        match self {
            Self::One(question) => Some((question.kind(), 1)),
            Self::Gets(gets) => Some((QuestionKind::Get, gets.len() as u64)),
            Self::Page(questions) => {
                let kind = questions.first()?.kind();
                let alike = questions.iter().all(|question| question.kind() == kind);
                alike.then_some((kind, questions.len() as u64))
            }
        }
    }
}

impl Asked<'_> {
    /// The key of its one question.
    fn key(self, tenant: &TenantId) -> Option<Key> {
        match self {
            Self::One(question) => Some(Key::new(tenant, question)),
            Self::Gets([get]) => Some(Key::new(tenant, get)),
            Self::Gets(_) | Self::Page(_) => None,
        }
    }
}

impl fmt::Display for Asked<'_> {
    /// In readable words, without values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(question) => Shape(question).fmt(f),
            Self::Gets([get]) => Shape(get).fmt(f),
            Self::Gets(gets) => write!(f, "get: {} together", gets.len()),
            Self::Page(questions) => write!(f, "page: {} questions at one state", questions.len()),
        }
    }
}

/// A load under way. Dropped without its end, by a panic or with its runtime, it is counted as over and not measured.
pub(crate) struct Watch<'a> {
    inner: &'a Inner,
    tenant: &'a TenantId,
    asked: Asked<'a>,
    begun: Tick,
    statements: u64,
}

impl<'a> Watch<'a> {
    /// A load begins: before a connection is asked for, because waiting for one is part of what a hit saves.
    pub(crate) fn begin(inner: &'a Inner, tenant: &'a TenantId, asked: Asked<'a>) -> Self {
        inner.loading.fetch_add(1, Ordering::Relaxed);
        Self {
            inner,
            tenant,
            asked,
            begun: inner.cache.now(),
            statements: 0,
        }
    }

    /// The database has been asked, well or in vain.
    pub(crate) fn ran(&mut self, statements: u32) {
        self.statements += u64::from(statements);
        self.inner.count_statements(statements);
    }

    /// The load is over, well or with an error. Errors are not measured: they may come at once or after a time-out.
    pub(crate) fn end(self, error: Option<&Error>) {
        let took = self.inner.cache.now().saturating_since(self.begun);
        if error.is_none() {
            let at = self.inner.cache.now();
            self.inner.times.loaded(took, at, || self.load(took));
        }
        let result = if error.is_none() { "ok" } else { "error" };
        metrics::loaded(&self.inner.name, self.asked.operation(), result, took);
        if error.is_none()
            && let Some((kind, loaded)) = self.asked.counted()
        {
            self.inner.costs.add(kind, loaded, took, self.statements);
        }
        let is_slow = took >= self.inner.slow_load;
        if is_slow || error.is_some() {
            self.tell(took, is_slow, error);
        }
    }

    /// What was loaded, for people.
    fn load(&self, took: Duration) -> Load {
        Load {
            tenant: self.tenant.clone(),
            operation: self.asked.operation(),
            question: self.asked.to_string(),
            key: self.asked.key(self.tenant).map(|key| key.short()),
            took,
            statements: self.statements,
        }
    }

    #[cold]
    fn tell(&self, took: Duration, is_slow: bool, error: Option<&Error>) {
        let bus = &self.inner.follow.bus;
        if !is_slow && !bus.is_heard() {
            return;
        }
        let load = self.load(took);
        if is_slow {
            tracing::warn!(
                tenant = load.tenant.as_str(),
                operation = load.operation,
                question = load.question,
                key = load.key,
                duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
                statements = load.statements,
                failed = error.is_some(),
                "a slow load"
            );
            bus.tell(|| Event::SlowLoad(load.clone()));
        }
        if let Some(error) = error {
            bus.tell(|| Event::LoadFailed {
                load,
                error: error.clone(),
            });
        }
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        self.inner.loading.fetch_sub(1, Ordering::Relaxed);
    }
}
