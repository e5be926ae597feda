//! Settings of a CI cache, and which time to live a question gets.

use std::time::Duration;

use ci_model::{Question, QuestionKind};

use crate::error::Error;
use crate::policy::Eviction;

/// The longest time to live that is accepted: a year. Longer is taken for a mistake in the unit.
const LONGEST_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Collects the settings of a [`CiCache`](super::CiCache); checked by [`CiCache::new`](super::CiCache::new).
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct CiCacheConfig {
    pub(super) max_size: usize,
    pub(super) shards: Option<usize>,
    pub(super) eviction: Eviction,
    pub(super) default_ttl: Duration,
    pub(super) keyword_ttl: Duration,
    pub(super) filter_ttl: Duration,
    pub(super) get_ttl: Duration,
}

impl Default for CiCacheConfig {
    fn default() -> Self {
        Self {
            max_size: 500,
            shards: None,
            eviction: Eviction::Lru,
            default_ttl: Duration::from_secs(300),
            keyword_ttl: Duration::from_secs(600),
            filter_ttl: Duration::from_secs(300),
            get_ttl: Duration::from_secs(300),
        }
    }
}

impl CiCacheConfig {
    /// Starts with the defaults: 500 entries, 600 s for keywords, 300 s for everything else.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the most entries, 1 to 2^31; default 500. Memory is taken as entries come.
    pub fn max_size(mut self, entries: usize) -> Self {
        self.max_size = entries;
        self
    }

    /// Sets the number of shards; default as of [`CacheBuilder::shards`](crate::CacheBuilder::shards), which is one,
    /// hence an exact recency order, below 2,048 entries.
    pub fn shards(mut self, shards: usize) -> Self {
        self.shards = Some(shards);
        self
    }

    /// Chooses which answer leaves a full cache. Default: [`Eviction::Lru`], as the predecessor did.
    pub fn eviction(mut self, eviction: Eviction) -> Self {
        self.eviction = eviction;
        self
    }

    /// Sets the time to live of questions that are neither about keywords nor filters nor one CI: graphs, paths, and
    /// lists and counts of everything. Positive, at most 365 days; default 300 s.
    pub fn default_ttl(mut self, ttl: Duration) -> Self {
        self.default_ttl = ttl;
        self
    }

    /// Sets the time to live of questions with keywords and no filters. Positive, at most 365 days; default 600 s:
    /// codes and names change seldom.
    pub fn keyword_ttl(mut self, ttl: Duration) -> Self {
        self.keyword_ttl = ttl;
        self
    }

    /// Sets the time to live of questions with filters. Positive, at most 365 days; default 300 s: states change more
    /// often than names.
    pub fn filter_ttl(mut self, ttl: Duration) -> Self {
        self.filter_ttl = ttl;
        self
    }

    /// Sets the time to live of gets by id or code. Positive, at most 365 days; default 300 s.
    pub fn get_ttl(mut self, ttl: Duration) -> Self {
        self.get_ttl = ttl;
        self
    }

    /// Chooses the time to live of a question's answer.
    pub fn ttl_of(&self, question: &Question) -> Duration {
        if question.kind() == QuestionKind::Get {
            self.get_ttl
        } else if question.filter_count() > 0 {
            self.filter_ttl
        } else if question.keywords().is_empty() {
            self.default_ttl
        } else {
            self.keyword_ttl
        }
    }

    /// Checks the times to live; size and shards are the engine's to check.
    pub(super) fn validate(&self) -> Result<(), Error> {
        let ttls = [
            ("default_ttl", self.default_ttl),
            ("keyword_ttl", self.keyword_ttl),
            ("filter_ttl", self.filter_ttl),
            ("get_ttl", self.get_ttl),
        ];
        match ttls
            .into_iter()
            .find(|(_, ttl)| ttl.is_zero() || *ttl > LONGEST_TTL)
        {
            Some((field, ttl)) => Err(Error::invalid(
                field,
                ttl.as_millis(),
                "must be longer than zero and at most 365 days, in ms",
            )),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ci_model::{Aggregate, CiCode, CiRef, Expand, Filter, Get, List, Path, Search, View};

    #[test]
    fn each_kind_of_question_has_its_ttl() {
        let config = CiCacheConfig::new()
            .default_ttl(Duration::from_secs(1))
            .keyword_ttl(Duration::from_secs(2))
            .filter_ttl(Duration::from_secs(3))
            .get_ttl(Duration::from_secs(4));
        let filter = || Filter::parse("status=active").unwrap();
        let ci = |code| CiRef::Code(CiCode::new(code).unwrap());
        let cases: [(Question, u64); 9] = [
            (Search::builder().build().unwrap().into(), 1),
            (List::builder().build().unwrap().into(), 1),
            (Aggregate::builder().group_by("owner").build().unwrap().into(), 1),
            (Expand::builder(ci("a"), View::Impact).build().unwrap().into(), 1),
            (Path::builder(ci("a"), ci("b")).build().unwrap().into(), 1),
            (Search::builder().keyword("erp").build().unwrap().into(), 2),
            (
                Search::builder()
                    .keyword("erp")
                    .filter(filter())
                    .build()
                    .unwrap()
                    .into(),
                3,
            ),
            (List::builder().filters([filter()]).build().unwrap().into(), 3),
            (Get::new(ci("a")).into(), 4),
        ];
        for (question, seconds) in cases {
            assert_eq!(
                config.ttl_of(&question),
                Duration::from_secs(seconds),
                "{question:?}"
            );
        }
    }

    #[test]
    fn ttls_are_validated() {
        assert_eq!(CiCacheConfig::new().validate(), Ok(()));
        let zero = CiCacheConfig::new()
            .filter_ttl(Duration::ZERO)
            .validate()
            .unwrap_err();
        assert!(
            zero.to_string()
                .starts_with("accept filter_ttl = 0: must be longer")
        );
        let endless = CiCacheConfig::new()
            .get_ttl(Duration::MAX)
            .validate()
            .unwrap_err();
        assert!(endless.to_string().contains("get_ttl"));
        assert!(CiCacheConfig::new().keyword_ttl(LONGEST_TTL).validate().is_ok());
    }
}
