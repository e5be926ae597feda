//! One span per operation: tenant, operation, whether the cache answered, rows and duration.

use std::time::Instant;

use ci_model::TenantId;
use tracing::field::Empty;
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

/// Runs an operation inside its span and records how it ended.
///
/// The clock is read only when somebody listens: reading it twice would cost more than the hit that it measures.
pub(crate) async fn observed<T>(
    operation: &'static str,
    tenant: &TenantId,
    work: impl Future<Output = Result<T>>,
    told: impl FnOnce(&T) -> Told,
) -> Result<T> {
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
    let outcome = work.instrument(span.clone()).await;
    if let Some(began) = began {
        match &outcome {
            Ok(value) => record(&span, &told(value)),
            Err(error) => {
                span.record("error", error.to_string());
            }
        }
        let micros = u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX);
        span.record("duration_us", micros);
    }
    outcome
}

fn record(span: &Span, told: &Told) {
    if let Some(hit) = told.hit {
        span.record("cache_hit", hit);
    }
    span.record("rows", told.rows);
}
