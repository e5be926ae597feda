//! What an entry of the CI cache holds, and its line in the entries summary.

use std::sync::Arc;
use std::time::Duration;

use ci_model::{Key, Question, QuestionKind};

use crate::clock::Tick;
use crate::entry::Meta;

/// How many keywords of an entry its summary shows.
const SHOWN_KEYWORDS: usize = 3;

/// An answer that can say how many results it has.
pub trait Rows {
    /// Counts the results: rows, groups, nodes; zero for an empty or not-found answer.
    fn rows(&self) -> usize;

    /// Says about how many bytes of memory it takes, with all that it owns; asked once, and only where the cache is bounded by
    /// [`max_bytes`](super::CiCacheConfig::max_bytes). 512 a result when not implemented.
    fn bytes(&self) -> usize {
        self.rows().saturating_mul(512)
    }
}

impl<T> Rows for Vec<T> {
    fn rows(&self) -> usize {
        self.len()
    }
}

impl<T> Rows for [T] {
    fn rows(&self) -> usize {
        self.len()
    }
}

impl<T, const N: usize> Rows for [T; N] {
    fn rows(&self) -> usize {
        N
    }
}

impl<T> Rows for Option<T> {
    fn rows(&self) -> usize {
        usize::from(self.is_some())
    }
}

impl<T: Rows + ?Sized> Rows for Arc<T> {
    fn rows(&self) -> usize {
        self.as_ref().rows()
    }

    fn bytes(&self) -> usize {
        self.as_ref().bytes()
    }
}

/// A cached answer and what its question was about. Shared behind an `Arc` and never changed.
#[derive(Debug)]
pub struct CiEntry<V> {
    answer: V,
    rows: usize,
    kind: QuestionKind,
    filters: usize,
    /// The question's keywords: what pattern invalidation goes by.
    keywords: Box<[String]>,
    /// About what it takes in memory; 0 where nobody asks.
    bytes: u32,
}

impl<V> CiEntry<V> {
    /// The answer.
    pub fn answer(&self) -> &V {
        &self.answer
    }

    /// The number of results.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// The kind of the question.
    pub fn kind(&self) -> QuestionKind {
        self.kind
    }

    /// The question's folded keywords, ascending.
    pub fn keywords(&self) -> &[String] {
        &self.keywords
    }

    /// The number of the question's filters.
    pub fn filters(&self) -> usize {
        self.filters
    }

    /// The first keywords, for the summary.
    pub(super) fn shown_keywords(&self) -> Vec<String> {
        self.keywords.iter().take(SHOWN_KEYWORDS).cloned().collect()
    }
}

/// What an entry takes beside its answer, its key and its rows: its place in the table and in the index of dependencies, and the question.
const ENTRY_BYTES: usize = 512;
/// What a row takes in the entry's dependency.
const ROW_BYTES: usize = 64;

impl<V> CiEntry<V> {
    /// What it weighs under this key, in bytes; at least so much.
    pub(super) fn weight(&self, key: &Key, least: u32) -> u32 {
        // The key is held twice: by the entry, and by what drops it.
        let key = u32::try_from(key.as_bytes().len()).unwrap_or(u32::MAX);
        self.bytes.saturating_add(key.saturating_mul(2)).max(least)
    }
}

impl<V: Rows> CiEntry<V> {
    /// Makes an entry of a question's answer; one that is weighed knows its bytes.
    pub(super) fn new(question: &Question, answer: V, is_weighed: bool) -> Self {
        let bytes = if is_weighed {
            let rows = answer.rows().saturating_mul(ROW_BYTES);
            let all = answer.bytes().saturating_add(rows).saturating_add(ENTRY_BYTES);
            u32::try_from(all).unwrap_or(u32::MAX)
        } else {
            0
        };
        Self {
            bytes,
            rows: answer.rows(),
            answer,
            kind: question.kind(),
            filters: question.filter_count(),
            keywords: question.keywords().into(),
        }
    }
}

/// One line about an entry, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EntrySummary {
    /// The key in 8 characters; not unique.
    pub key: String,
    /// The tenant.
    pub tenant: String,
    /// The kind of question.
    pub kind: QuestionKind,
    /// The number of results.
    pub results: usize,
    /// The time since it was stored.
    pub age: Duration,
    /// The time until it expires.
    pub expires_in: Duration,
    /// The look-ups it answered.
    pub hits: u64,
    /// The number of the question's filters.
    pub filters: usize,
    /// The first 3 of the question's keywords.
    pub keywords: Vec<String>,
}

impl EntrySummary {
    /// Summarises an entry at a moment.
    pub(super) fn new<V>(key: &Key, entry: &CiEntry<V>, meta: Meta, now: Tick) -> Self {
        Self {
            key: key.short(),
            tenant: key.tenant().to_owned(),
            kind: entry.kind(),
            results: entry.rows(),
            age: now.saturating_since(meta.created.unwrap_or_default()),
            expires_in: meta.expires.map_or(Duration::MAX, |at| at.saturating_since(now)),
            hits: meta.hits.unwrap_or(0),
            filters: entry.filters(),
            keywords: entry.shown_keywords(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_their_rows() {
        assert_eq!(
            vec![1, 2].rows() + Some(1).rows() + None::<u8>.rows() + [1, 2, 3].rows(),
            6
        );
        let shared: Arc<[u8]> = Arc::new([1, 2]);
        assert_eq!(shared.rows(), 2);
    }
}
