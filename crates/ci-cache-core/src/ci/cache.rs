//! The cache of answers.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use ci_model::fold::fold;
use ci_model::{Key, Question, TenantId};

use super::config::CiCacheConfig;
use super::entry::{CiEntry, EntrySummary};
use super::stats::CiStats;
use super::tenants::Tenants;
use crate::{Cache, Clock, Error, Found, InsertOptions, Leader, Lookup};

/// Keywords that a summary shows.
const SHOWN_KEYWORDS: usize = 3;

/// What a look-up of a question found.
pub type CiLookup<V, E> = Lookup<Key, Arc<CiEntry<V>>, E>;

/// Answers to tenants' questions, kept by kind for a time, dropped by key, by keyword or by tenant.
///
/// `V` is the answer, cheap to clone if callers clone it (they get an [`Arc`] of the entry); `E` is the error that
/// those who wait for a failed load share. All methods are synchronous and take the lock of one shard, except those
/// that say otherwise.
#[derive(Debug)]
pub struct CiCache<V, E = Infallible> {
    cache: Cache<Key, Arc<CiEntry<V>>, E>,
    config: CiCacheConfig,
    tenants: Tenants,
}

impl<V, E> CiCache<V, E> {
    /// Makes an empty cache over a clock, by which everything expires.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for a size, a number of shards or a time to live that cannot be.
    pub fn new(config: CiCacheConfig, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        config.check()?;
        let mut builder = Cache::<Key, Arc<CiEntry<V>>, E>::builder(config.max_size, clock);
        if let Some(shards) = config.shards {
            builder = builder.shards(shards);
        }
        Ok(Self {
            cache: builder.build()?,
            config,
            tenants: Tenants::new(),
        })
    }

    /// The key of a tenant's question: one and the same for every way to put it.
    pub fn generate_key(tenant: &TenantId, question: &Question) -> Key {
        Key::new(tenant, question)
    }

    /// Gets an answer; counts a hit or a miss. An expired or invalidated entry is removed and is a miss.
    pub fn get(&self, key: &Key) -> Option<Arc<CiEntry<V>>> {
        self.cache.get(key)
    }

    /// Stores an answer with the time to live of its question's kind, empty answers too; at capacity the least
    /// recently used entry goes, unless the key is there already.
    ///
    /// For an answer that was read from a database, [`lookup`](Self::lookup) is the safe way: what is set here counts
    /// as true at this moment.
    pub fn set(&self, tenant: &TenantId, question: &Question, answer: V, rows: usize) {
        let options = self.options(tenant, question);
        let entry = Arc::new(CiEntry::new(question, answer, rows));
        self.cache.insert_with(Key::new(tenant, question), entry, options);
    }

    /// Gets an answer, or joins the load of it that is under way, or makes the caller its loader, in one step.
    ///
    /// `key` must be the key of that question of that tenant. Whoever leads ends the load by
    /// [`publish`](Self::publish), or by the methods of [`Leader`].
    pub fn lookup(&self, tenant: &TenantId, key: &Key, question: &Question) -> CiLookup<V, E> {
        self.cache
            .lookup_with(key, || (key.clone(), self.options(tenant, question)))
    }

    /// Ends a load with its answer: everyone who waits gets it, and it is kept unless it was overtaken. Says whether
    /// it was kept.
    pub fn publish(
        &self,
        leader: Leader<Key, Arc<CiEntry<V>>, E>,
        question: &Question,
        answer: V,
        rows: usize,
    ) -> bool {
        leader.publish(Arc::new(CiEntry::new(question, answer, rows)))
    }

    /// Tells whether a live entry is there, without counting.
    pub fn contains(&self, key: &Key) -> bool {
        self.cache.contains(key)
    }

    /// Removes one key, and detaches a load of it that is under way; says whether a live entry was there.
    pub fn invalidate(&self, key: &Key) -> bool {
        self.cache.remove(key).is_some()
    }

    /// Removes the tenant's entries whose keywords have one of these among them, in any case; returns how many.
    /// Loads of the tenant that are under way are answered but not kept, since their keywords are not known here.
    ///
    /// Walks everything, a shard at a time under its lock.
    pub fn invalidate_pattern<S: AsRef<str>>(&self, tenant: &TenantId, keywords: &[S]) -> usize {
        let wanted: BTreeSet<String> = keywords
            .iter()
            .map(|keyword| fold(keyword.as_ref().trim()))
            .collect();
        self.cache.remove_where(|key, entry| {
            key.tenant() == tenant.as_str()
                && entry.is_none_or(|entry| entry.keywords().iter().any(|keyword| wanted.contains(keyword)))
        })
    }

    /// Drops a tenant's searches, lists, aggregates, expansions and paths, and detaches loads of them; single CIs
    /// stay. Constant time; now and then another tenant's go as well, which costs hits only.
    pub fn invalidate_questions(&self, tenant: &TenantId) {
        self.tenants.invalidate_questions(tenant);
    }

    /// Drops everything of a tenant, and detaches its loads. Constant time, as above.
    pub fn invalidate_tenant(&self, tenant: &TenantId) {
        self.tenants.invalidate_all(tenant);
    }

    /// Drops everything and detaches every load.
    pub fn clear(&self) {
        self.cache.clear();
    }

    /// The counters and settings. Takes each shard's lock in turn.
    pub fn stats(&self) -> CiStats {
        let engine = self.cache.stats();
        CiStats {
            hits: engine.hits,
            misses: engine.misses,
            hit_rate: engine.hit_rate_percent(),
            total_requests: engine.requests(),
            size: self.cache.len(),
            max_size: self.cache.capacity(),
            evictions: engine.evictions,
            default_ttl: self.config.default_ttl,
            keyword_ttl: self.config.keyword_ttl,
            filter_ttl: self.config.filter_ttl,
            get_ttl: self.config.get_ttl,
            engine,
        }
    }

    /// Up to `limit` live entries, most recently used first (exactly so with one shard). Takes each shard's lock in
    /// turn; nothing is counted.
    pub fn entries_summary(&self, limit: usize) -> Vec<EntrySummary> {
        let now = self.cache.now();
        let summary = |snapshot: crate::EntrySnapshot<Key, Arc<CiEntry<V>>>| {
            let (entry, meta) = (&snapshot.value, snapshot.meta);
            EntrySummary {
                key: snapshot.key.short(),
                tenant: snapshot.key.tenant().to_owned(),
                kind: entry.kind(),
                results: entry.rows(),
                age: now.saturating_since(meta.created),
                expires_in: meta
                    .expires
                    .map_or(Duration::MAX, |expires| expires.saturating_since(now)),
                hits: meta.hits,
                filters: entry.filters(),
                keywords: entry.keywords().iter().take(SHOWN_KEYWORDS).cloned().collect(),
            }
        };
        self.cache.entries(limit).into_iter().map(summary).collect()
    }

    /// How long ago a found answer was stored.
    pub fn age(&self, found: &Found<Arc<CiEntry<V>>>) -> Duration {
        self.cache.now().saturating_since(found.meta.created)
    }

    fn options(&self, tenant: &TenantId, question: &Question) -> InsertOptions {
        InsertOptions::new()
            .ttl(self.config.ttl_of(question))
            .scope(self.tenants.scope(tenant, question.kind()))
    }
}
