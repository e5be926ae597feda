//! Settings of a [`CiCache`](super::CiCache): the predecessor's defaults, each checked.

use std::time::Duration;

use ci_model::{Question, QuestionKind};

use crate::Error;

/// How many answers to keep and for how long, by kind of question.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct CiCacheConfig {
    pub(super) max_size: usize,
    pub(super) shards: Option<usize>,
    pub(super) default_ttl: Duration,
    pub(super) keyword_ttl: Duration,
    pub(super) filter_ttl: Duration,
    pub(super) get_ttl: Duration,
}

impl Default for CiCacheConfig {
    fn default() -> Self {
        Self::new()
    }
}

impl CiCacheConfig {
    /// 500 answers; keyword searches 600 s, filtered questions 300 s, single CIs 300 s, everything else 300 s.
    pub fn new() -> Self {
        Self {
            max_size: 500,
            shards: None,
            default_ttl: Duration::from_secs(300),
            keyword_ttl: Duration::from_secs(600),
            filter_ttl: Duration::from_secs(300),
            get_ttl: Duration::from_secs(300),
        }
    }

    /// Sets the most answers, at least 1.
    pub fn max_size(mut self, answers: usize) -> Self {
        self.max_size = answers;
        self
    }

    /// Sets the number of shards; one makes eviction exactly least recently used over all answers. By default chosen
    /// by size and processors, as in [`CacheBuilder::shards`](crate::CacheBuilder::shards).
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Sets how long answers of the kinds without a time of their own are kept: graphs, paths, and lists and counts
    /// without keywords and filters. Longer than zero.
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = ttl;
        self
    }

    /// Sets how long answers to questions with keywords and without filters are kept. Longer than zero.
    pub fn keyword_ttl(mut self, ttl: Duration) -> Self {
        self.keyword_ttl = ttl;
        self
    }

    /// Sets how long answers to questions with filters are kept. Longer than zero.
    pub fn filter_ttl(mut self, ttl: Duration) -> Self {
        self.filter_ttl = ttl;
        self
    }

    /// Sets how long single CIs are kept. Longer than zero.
    pub fn get_ttl(mut self, ttl: Duration) -> Self {
        self.get_ttl = ttl;
        self
    }

    /// How long the answer to a question is kept.
    pub fn ttl_of(&self, question: &Question) -> Duration {
        match question.kind() {
            QuestionKind::Get => self.get_ttl,
            _ if question.filter_count() > 0 => self.filter_ttl,
            _ if !question.keywords().is_empty() => self.keyword_ttl,
            // A search for everything is a keyword search with no keywords, as it was in the predecessor.
            QuestionKind::Search => self.keyword_ttl,
            _ => self.default_ttl,
        }
    }

    /// Refuses a time to live of zero.
    pub(super) fn check(&self) -> Result<(), Error> {
        let ttls = [
            ("default_ttl", self.default_ttl),
            ("keyword_ttl", self.keyword_ttl),
            ("filter_ttl", self.filter_ttl),
            ("get_ttl", self.get_ttl),
        ];
        match ttls.into_iter().find(|(_, ttl)| ttl.is_zero()) {
            Some((field, _)) => Err(Error::invalid(field, 0_u64, "must be longer than zero")),
            None => Ok(()),
        }
    }
}
