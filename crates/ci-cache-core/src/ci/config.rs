//! Settings of a CI cache, and which time to live a question gets.

use std::collections::BTreeMap;
use std::time::Duration;

use ci_model::{Question, QuestionKind, TenantId};

use super::tenancy::{TenantPolicy, TenantShares};
use crate::builder::default_shards;
use crate::error::Error;
use crate::policy::Eviction;

/// The longest time to live that is accepted: a year. Longer is taken for a mistake in the unit.
const LONGEST_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// The most that the least weight may be: the engine keeps nothing of 850 million and more.
const HEAVIEST_LEAST: u32 = 800_000_000;
/// The least memory that a cache can be bounded by.
const LEAST_BYTES: u64 = 1 << 20;

/// The classes of questions that have a time to live of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum TtlClass {
    /// Neither about keywords nor filters nor one CI.
    Default,
    /// With keywords and no filters.
    Keyword,
    /// With filters.
    Filter,
    /// By id or code.
    Get,
}

impl TtlClass {
    const ALL: [(Self, &'static str); 4] = [
        (Self::Default, "default_ttl"),
        (Self::Keyword, "keyword_ttl"),
        (Self::Filter, "filter_ttl"),
        (Self::Get, "get_ttl"),
    ];

    fn of(question: &Question) -> Self {
        if question.kind() == QuestionKind::Get {
            Self::Get
        } else if question.filter_count() > 0 {
            Self::Filter
        } else if question.keywords().is_empty() {
            Self::Default
        } else {
            Self::Keyword
        }
    }
}

/// Collects the settings of a [`CiCache`](super::CiCache); checked by [`CiCache::new`](super::CiCache::new).
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct CiCacheConfig {
    pub(super) max_size: usize,
    pub(super) max_bytes: Option<u64>,
    pub(super) shards: Option<usize>,
    pub(super) eviction: Eviction,
    pub(super) cost_aware: bool,
    pub(super) stale_while_revalidate: Option<Duration>,
    pub(super) stale_if_error: Option<Duration>,
    pub(super) default_ttl: Duration,
    pub(super) keyword_ttl: Duration,
    pub(super) filter_ttl: Duration,
    pub(super) get_ttl: Duration,
    pub(super) shares: TenantShares,
    pub(super) tenants: BTreeMap<TenantId, TenantPolicy>,
}

impl Default for CiCacheConfig {
    fn default() -> Self {
        Self {
            max_size: 500,
            max_bytes: None,
            shards: None,
            eviction: Eviction::Lru,
            cost_aware: false,
            stale_while_revalidate: None,
            stale_if_error: None,
            default_ttl: Duration::from_secs(300),
            keyword_ttl: Duration::from_secs(600),
            filter_ttl: Duration::from_secs(300),
            get_ttl: Duration::from_secs(300),
            shares: TenantShares::Off,
            tenants: BTreeMap::new(),
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

    /// Bounds the memory of all answers together as well, in bytes, from 1 MiB; default none. Answers are weighed by about what they
    /// take ([`Rows::bytes`](super::Rows::bytes)), with their keys and what is known of them; one that is heavier than a shard's share is
    /// answered and not kept. There are still at most [`max_size`](Self::max_size) entries: each weighs at least its part of the bytes.
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = Some(bytes);
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

    /// Lets the time that loading an answer took count when the cache is full: one that took 80 ms is worth more than one of 0.2 ms. See
    /// [`CacheBuilder::cost_aware`](crate::CacheBuilder::cost_aware). Default: no.
    pub fn cost_aware(mut self, cost_aware: bool) -> Self {
        self.cost_aware = cost_aware;
        self
    }

    /// Lets answers be served for so long after their time to live while somebody loads them again. Default: not.
    pub fn stale_while_revalidate(mut self, window: Duration) -> Self {
        self.stale_while_revalidate = Some(window);
        self
    }

    /// Lets answers be served for so long after their time to live if loading them again fails. Default: not.
    pub fn stale_if_error(mut self, window: Duration) -> Self {
        self.stale_if_error = Some(window);
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

    /// Divides the capacity between tenants, or does not. Default: [`TenantShares::Off`], as the predecessor did.
    pub fn tenant_shares(mut self, shares: TenantShares) -> Self {
        self.shares = shares;
        self
    }

    /// Sets what holds for one tenant in place of the settings for all.
    pub fn tenant(mut self, tenant: TenantId, policy: TenantPolicy) -> Self {
        self.tenants.insert(tenant, policy);
        self
    }

    /// Chooses the time to live of a question's answer, for tenants without one of their own.
    pub fn ttl_of(&self, question: &Question) -> Duration {
        self.ttl(TtlClass::of(question))
    }

    /// Chooses the time to live of the answer to a tenant's question.
    pub fn ttl_for(&self, tenant: &TenantId, question: &Question) -> Duration {
        let class = TtlClass::of(question);
        let own = self
            .tenants
            .get(tenant)
            .and_then(|policy| policy.ttls.get(&class));
        own.copied().unwrap_or_else(|| self.ttl(class))
    }

    fn ttl(&self, class: TtlClass) -> Duration {
        match class {
            TtlClass::Default => self.default_ttl,
            TtlClass::Keyword => self.keyword_ttl,
            TtlClass::Filter => self.filter_ttl,
            TtlClass::Get => self.get_ttl,
        }
    }

    /// The capacity of the engine: in entries, or in bytes, rounded up to a whole number of the lightest, of which there may be as many as entries.
    pub(super) fn capacity(&self) -> usize {
        let (Some(bytes), Some(least)) = (self.max_bytes, self.least_weight()) else {
            return self.max_size;
        };
        let bytes = usize::try_from(bytes).unwrap_or(usize::MAX);
        let lightest = bytes.div_ceil(least as usize).min(self.max_size);
        lightest.saturating_mul(least as usize)
    }

    /// The least that an entry weighs where they are weighed, so that there are not too many.
    pub(super) fn least_weight(&self) -> Option<u32> {
        let entries = (self.max_size as u64).max(1);
        let least = |bytes: u64| u32::try_from(bytes.div_ceil(entries)).unwrap_or(u32::MAX);
        self.max_bytes.map(|bytes| least(bytes).min(HEAVIEST_LEAST))
    }

    /// The number of shards that was set. Of entries that are weighed no more than of so many that are not: one that weighs its part of
    /// the bytes has to fit into its shard's.
    pub(super) fn shard_count(&self) -> Option<usize> {
        self.shards.or_else(|| {
            let bytes = self.max_bytes?;
            let (by_bytes, by_entries) = (
                default_shards(bytes, true),
                default_shards(self.max_size as u64, false),
            );
            Some(by_bytes.min(by_entries))
        })
    }

    /// Checks the times to live and the bytes; size and shards are the engine's to check.
    pub(super) fn validate(&self) -> Result<(), Error> {
        if self.tenants.values().any(|policy| policy.max_entries == Some(0)) {
            return Err(Error::invalid(
                "max_entries",
                0_u64,
                "must be at least 1 for a tenant, too",
            ));
        }
        if let Some(bytes) = self.max_bytes.filter(|bytes| *bytes < LEAST_BYTES) {
            return Err(Error::invalid("max_bytes", bytes, "must be at least 1 MiB"));
        }
        let mut ttls = TtlClass::ALL.into_iter().flat_map(|(class, field)| {
            let own = self
                .tenants
                .values()
                .filter_map(move |policy| policy.ttls.get(&class));
            own.copied().chain([self.ttl(class)]).map(move |ttl| (field, ttl))
        });
        match ttls.find(|(_, ttl)| ttl.is_zero() || *ttl > LONGEST_TTL) {
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
