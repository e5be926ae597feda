//! One span per operation: tenant, operation, whether the cache answered, rows and duration.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use ci_model::TenantId;
use pin_project_lite::pin_project;
use tracing::field::Empty;
use tracing::instrument::Instrumented;
use tracing::{Instrument, Span};

use crate::Result;
use crate::answer::Answer;

/// What an operation tells of itself when it ends well.
pub(crate) struct Told {
    /// Whether the cache answered; nothing for writes.
    pub(crate) hit: Option<bool>,
    /// CIs, groups or written rows.
    pub(crate) rows: usize,
}

impl Told {
    /// Of an answered question.
    pub(crate) fn answer<T>(answer: &Answer<T>, rows: usize) -> Self {
        let hit = Some(answer.source.is_hit());
        Self { hit, rows }
    }

    /// Of a write.
    pub(crate) fn written<T>(outcomes: &impl AsRef<[T]>) -> Self {
        let rows = outcomes.as_ref().len();
        Self { hit: None, rows }
    }
}

pin_project! {
    /// An operation inside its span, which records how it ended.
    ///
    /// A future of its own, not an `async fn`: that would keep room for the operation twice, where it comes and where it is polled.
    pub(crate) struct Observed<F, G> {
        #[pin]
        work: Instrumented<F>,
        // Read only when somebody listens: reading the clock twice would cost more than the hit that it measures.
        began: Option<Instant>,
        told: Option<G>,
    }
}

/// Runs an operation inside its span and records how it ended.
pub(crate) fn observed<T, F, G>(
    operation: &'static str,
    tenant: &TenantId,
    work: F,
    told: G,
) -> Observed<F, G>
where
    F: Future<Output = Result<T>>,
    G: FnOnce(&T) -> Told,
{
    let span = tracing::info_span!(
        "ci_cache",
        operation,
        tenant = tenant.as_str(),
        cache_hit = Empty,
        rows = Empty,
        duration_us = Empty,
        error = Empty,
    );
    Observed {
        began: (!span.is_disabled()).then(Instant::now),
        work: work.instrument(span),
        told: Some(told),
    }
}

impl<T, F, G> Future for Observed<F, G>
where
    F: Future<Output = Result<T>>,
    G: FnOnce(&T) -> Told,
{
    type Output = Result<T>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<T>> {
        let mut this = self.project();
        let outcome = ready!(this.work.as_mut().poll(context));
        if let (Some(began), Some(told)) = (*this.began, this.told.take()) {
            let span = this.work.span();
            match &outcome {
                Ok(value) => record(span, &told(value)),
                Err(error) => {
                    span.record("error", error.to_string());
                }
            }
            let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
            span.record("duration_us", micros);
        }
        Poll::Ready(outcome)
    }
}

fn record(span: &Span, told: &Told) {
    if let Some(hit) = told.hit {
        span.record("cache_hit", hit);
    }
    span.record("rows", told.rows);
}
