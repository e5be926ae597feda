//! What a cached answer carries besides itself, and what can be shown of it.

use std::time::Duration;

use ci_model::{Question, QuestionKind};

/// An answer and what its question was about. Immutable, shared by everyone it was given to.
#[derive(Debug)]
pub struct CiEntry<V> {
    kind: QuestionKind,
    keywords: Box<[String]>,
    filters: usize,
    rows: usize,
    answer: V,
}

impl<V> CiEntry<V> {
    pub(super) fn new(question: &Question, answer: V, rows: usize) -> Self {
        Self {
            kind: question.kind(),
            keywords: question.keywords().into(),
            filters: question.filter_count(),
            rows,
            answer,
        }
    }

    /// The answer.
    pub fn answer(&self) -> &V {
        &self.answer
    }

    /// The kind of its question.
    pub fn kind(&self) -> QuestionKind {
        self.kind
    }

    /// The folded keywords of its question, ascending; empty for kinds without.
    pub fn keywords(&self) -> &[String] {
        &self.keywords
    }

    /// The number of filters of its question.
    pub fn filters(&self) -> usize {
        self.filters
    }

    /// The number of results, as the caller stated it.
    pub fn rows(&self) -> usize {
        self.rows
    }
}

/// One entry as people see it in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntrySummary {
    /// Eight hexadecimal digits of the key; see [`Key::short`](ci_model::Key::short).
    pub key: String,
    /// Whose answer it is.
    pub tenant: String,
    /// The kind of question.
    pub kind: QuestionKind,
    /// Number of results.
    pub results: usize,
    /// How long ago it was stored.
    pub age: Duration,
    /// How long it will still be served.
    pub expires_in: Duration,
    /// Look-ups that it answered.
    pub hits: u64,
    /// Number of filters of the question.
    pub filters: usize,
    /// The first three keywords of the question.
    pub keywords: Vec<String>,
}
