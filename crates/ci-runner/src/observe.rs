//! One span per operation: tenant, operation, whether the cache answered, rows and duration.

use std::time::Instant;

use ci_model::{QuestionKind, TenantId};
use tracing::Span;
use tracing::field::Empty;

use crate::Result;
use crate::answer::Answer;

/// A running operation and its span.
pub(crate) struct Observation {
    span: Span,
    /// Absent when nobody listens: reading the clock twice would cost more than the hit it measures.
    began: Option<Instant>,
}

impl Observation {
    /// Opens the span of a question.
    pub(crate) fn begin(kind: QuestionKind, tenant: &TenantId) -> Self {
        Self::named(kind.as_str(), tenant)
    }

    /// Opens the span of any operation.
    pub(crate) fn named(operation: &'static str, tenant: &TenantId) -> Self {
        let span = tracing::info_span!(
            "ci_cache",
            operation,
            tenant = tenant.as_str(),
            cache_hit = Empty,
            rows = Empty,
            duration_us = Empty,
            error = Empty,
        );
        let began = (!span.is_disabled()).then(Instant::now);
        Self { span, began }
    }

    /// The span, to run the operation in.
    pub(crate) fn span(&self) -> Span {
        self.span.clone()
    }

    /// Records how a question ended.
    pub(crate) fn end<T>(self, answer: &Result<Answer<T>>, rows: impl FnOnce(&T) -> usize) {
        match answer {
            Ok(answer) => self.finish(Some(answer.source.is_hit()), || Ok(rows(&answer.value))),
            Err(error) => self.finish(None, || Err(error.to_string())),
        }
    }

    /// Records how a write or a batch ended.
    pub(crate) fn finish(self, hit: Option<bool>, outcome: impl FnOnce() -> Result<usize, String>) {
        let Some(began) = self.began else { return };
        if let Some(hit) = hit {
            self.span.record("cache_hit", hit);
        }
        match outcome() {
            Ok(rows) => self.span.record("rows", rows),
            Err(error) => self.span.record("error", error),
        };
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.span.record("duration_us", micros);
    }
}
