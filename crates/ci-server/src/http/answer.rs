//! Answers of reads: the body, and where it came from.

use std::time::Duration;

use axum::Json;
use axum::http::header::AGE;
use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use ci_runner::Answer;
use serde::Serialize;

/// `hit` when no database was asked for this answer, `miss` otherwise.
pub const X_CACHE: HeaderName = HeaderName::from_static("x-cache");

/// Where an answer came from, as two headers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    hit: bool,
    age: Duration,
}

impl Origin {
    pub(crate) fn of<T>(answer: &Answer<T>) -> Self {
        Self {
            hit: answer.source.is_hit(),
            age: answer.age,
        }
    }

    /// The origin of an answer that is made of several: a hit only when all are, as old as the oldest.
    pub(crate) fn of_all<T>(answers: &[Answer<T>]) -> Self {
        Self {
            hit: answers.iter().all(|answer| answer.source.is_hit()),
            age: answers.iter().map(|answer| answer.age).max().unwrap_or_default(),
        }
    }

    pub(crate) fn set(self, headers: &mut HeaderMap) {
        let cache = if self.hit { "hit" } else { "miss" };
        headers.insert(X_CACHE, HeaderValue::from_static(cache));
        headers.insert(AGE, HeaderValue::from(self.age.as_secs()));
    }
}

/// A body with its origin.
#[derive(Debug)]
pub(crate) struct Read<B> {
    pub(crate) body: B,
    pub(crate) origin: Origin,
}

impl<B: Serialize> IntoResponse for Read<B> {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        self.origin.set(response.headers_mut());
        response
    }
}
