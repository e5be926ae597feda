//! `CiCache`: questions in, shared answers out.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ci_model::fold::fold;
use ci_model::{Key, Question, QuestionKind, TenantId};

use super::config::CiCacheConfig;
use super::entry::{CiEntry, EntrySummary, Rows};
use super::stats::{CiStats, Seen, Tally};
use super::tenancy::{Tenancy, TenantStats};
use super::tenants::Tenants;
use crate::builder::CacheBuilder;
use crate::cache::Cache;
use crate::clock::Clock;
use crate::entry::{EntrySnapshot, Found, InsertOptions};
use crate::error::Error;
use crate::leader::{Leader, Lookup};

/// An entry found by a look-up.
pub type CiFound<V> = Found<Arc<CiEntry<V>>>;
/// What a look-up of a question gives: a hit, the duty to load, or a load to wait for.
pub type CiLookup<V, E> = Lookup<Key, Arc<CiEntry<V>>, E>;
/// The duty to load a question's answer; end it with [`CiCache::publish`] or [`CiCache::answer`] or its `fail`.
pub type CiLeader<V, E> = Leader<Key, Arc<CiEntry<V>>, E>;

/// A cache of answers to questions about configuration items.
///
/// `V` is the answer, shared between callers and never changed; `E` the error that a failed load hands to those who
/// waited for it. One cache serves all tenants of a process; the tenant is the first part of every key.
///
/// Gets by id or code are invalidated by key or with the whole tenant; all other questions of a tenant can be
/// invalidated together in constant time. All operations are synchronous and take one shard's lock for a moment,
/// unless they say otherwise.
pub struct CiCache<V, E = Infallible> {
    engine: Cache<Key, Arc<CiEntry<V>>, E>,
    config: CiCacheConfig,
    tenants: Tenants,
    tally: Tally,
    tenancy: Tenancy,
}

impl<V: Rows, E> CiCache<V, E> {
    /// Builds a cache with the given settings over the given clock.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] naming the setting, its value and what is allowed.
    pub fn new(config: CiCacheConfig, clock: Arc<dyn Clock>) -> Result<Self, Error> {
        config.validate()?;
        let builder = CacheBuilder::new(config.capacity(), clock)
            .eviction(config.eviction)
            .details(true);
        let builder = match config.shard_count() {
            Some(shards) => builder.shards(shards),
            None => builder,
        };
        let builder = match config.least_weight() {
            Some(least) => {
                builder.weigher(move |key: &Key, entry: &Arc<CiEntry<V>>| entry.weight(key, least))
            }
            None => builder,
        };
        let (tenancy, builder) = Tenancy::build(&config, builder);
        Ok(Self {
            engine: builder.build()?,
            config,
            tenants: Tenants::new(),
            tally: Tally::default(),
            tenancy,
        })
    }

    fn entry(&self, question: &Question, answer: V) -> CiEntry<V> {
        CiEntry::new(question, answer, self.config.max_bytes.is_some())
    }

    /// Makes the key of a tenant's question: the same for every way of putting the question, and for no other
    /// question and no other tenant.
    pub fn key(tenant: &TenantId, question: &Question) -> Key {
        Key::new(tenant, question)
    }

    /// Gives the entry of a question, if it is cached and not expired. Counts a hit or a miss.
    pub fn get(&self, tenant: &TenantId, question: &Question) -> Option<CiFound<V>> {
        let found = self.engine.get_found(&Key::new(tenant, question));
        self.count(tenant, question.kind(), found.is_some());
        found
    }

    /// Stores an answer that was not loaded from the database, such as a computed or imported one.
    ///
    /// The entry belongs to the present state of the tenant. For an answer that was loaded use
    /// [`lookup`](Self::lookup) and [`publish`](Self::publish), which notice an invalidation during the load.
    pub fn set(&self, tenant: &TenantId, question: &Question, answer: V) {
        let entry = Arc::new(self.entry(question, answer));
        self.engine
            .insert_with(Key::new(tenant, question), entry, self.options(tenant, question));
    }

    /// Looks a question up and, on a miss, joins the load that is under way or makes the caller its leader.
    ///
    /// `key` must be the key of this tenant and question; it is asked for because callers need it more than once.
    /// A load that begins here has the time to live of the question's kind and the scope of the tenant.
    pub fn lookup(&self, tenant: &TenantId, key: &Key, question: &Question) -> CiLookup<V, E> {
        debug_assert_eq!(*key, Key::new(tenant, question), "the key is another question's");
        let lookup = self
            .engine
            .lookup_with(key, || (key.clone(), self.options(tenant, question)));
        self.count(
            tenant,
            question.kind(),
            matches!(lookup, Lookup::Hit(_) | Lookup::Stale(..)),
        );
        lookup
    }

    /// Ends a load with an answer: those who wait get it, and the cache keeps it unless it was overtaken by an
    /// invalidation since the look-up. Says whether it was kept. `question` is the one that was looked up.
    pub fn publish(&self, leader: CiLeader<V, E>, question: &Question, answer: V) -> bool {
        leader.publish(Arc::new(self.entry(question, answer)))
    }

    /// Ends a load with an answer for those who wait, which the cache does not keep.
    pub fn answer(&self, leader: CiLeader<V, E>, question: &Question, answer: V) {
        leader.answer(Arc::new(self.entry(question, answer)));
    }

    /// Removes one entry and detaches the load that is under way for it; says whether a live entry was there.
    pub fn invalidate(&self, key: &Key) -> bool {
        self.engine.remove(key).is_some()
    }

    /// Removes every entry of a tenant whose keywords contain one of the given (trimmed, in any case), and detaches
    /// all loads under way for the tenant; says how many entries went. Walks all entries, a shard at a time.
    pub fn invalidate_keywords<S: AsRef<str>>(&self, tenant: &TenantId, keywords: &[S]) -> usize {
        let mut wanted: Vec<String> = keywords
            .iter()
            .map(|keyword| fold(keyword.as_ref().trim()))
            .collect();
        wanted.sort_unstable();
        let touches = |keyword: &String| wanted.binary_search(keyword).is_ok();
        self.engine.remove_where(|key, entry| {
            // A load has no entry yet; a key does not tell its keywords, so any load of the tenant may match.
            key.tenant() == tenant.as_str() && entry.is_none_or(|entry| entry.keywords().iter().any(touches))
        })
    }

    /// Invalidates all questions of a tenant but gets, cached and under way, in constant time.
    pub fn invalidate_questions(&self, tenant: &TenantId) {
        self.tenants.invalidate_questions(tenant);
    }

    /// Invalidates everything of a tenant, cached and under way, in constant time.
    pub fn invalidate_tenant(&self, tenant: &TenantId) {
        self.tenants.invalidate(tenant);
    }

    /// Removes everything of every tenant and detaches every load, at one instant and in constant time; the answers are dropped
    /// as their shards are next written to.
    pub fn clear(&self) {
        self.engine.clear();
    }

    /// Tells whether a question is cached and not expired; counts nothing and makes nothing recently used.
    pub fn contains(&self, tenant: &TenantId, question: &Question) -> bool {
        self.engine.contains(&Key::new(tenant, question))
    }

    /// Counts the resident entries; expired ones count until they are met.
    pub fn len(&self) -> usize {
        self.engine.len()
    }

    /// Tells whether nothing is resident.
    pub fn is_empty(&self) -> bool {
        self.engine.is_empty()
    }

    /// The settings.
    pub fn config(&self) -> &CiCacheConfig {
        &self.config
    }

    /// Tells how long ago an entry was stored.
    pub fn age(&self, found: &CiFound<V>) -> Duration {
        self.engine
            .now()
            .saturating_since(found.meta.created.unwrap_or_default())
    }

    /// Gives the statistics. Locks each shard for a moment.
    pub fn stats(&self) -> CiStats {
        CiStats::new(&self.config, self.engine.stats(), self.engine.len(), &self.tally)
    }

    /// Tells what a tenant has here and did; nothing if it did nothing, or where entries are not grouped by tenant: shares are off
    /// ([`TenantShares`](super::TenantShares)) and no tenant has a limit. Locks each shard for a moment.
    pub fn tenant_stats(&self, tenant: &TenantId) -> Option<TenantStats> {
        self.tenancy.stats(&self.engine, tenant)
    }

    /// Tells what each tenant with cached answers has here and did, by name; nothing where entries are not grouped by tenant. Locks each
    /// shard for a moment.
    pub fn tenants(&self) -> Vec<(TenantId, TenantStats)> {
        self.tenancy.all(&self.engine)
    }

    /// Forgets a tenant: removes its answers, detaches its loads, and drops its statistics; says how many live answers went. Walks the
    /// tenant's entries, or all where entries are not grouped by tenant.
    pub fn drop_tenant(&self, tenant: &TenantId) -> usize {
        self.tenancy.drop(&self.engine, tenant)
    }

    /// Summarises up to `limit` live entries, most recently used first (exact with one shard, approximate with
    /// several). Counts no look-up. Copies up to `limit` entries of each shard under its lock.
    pub fn entries_summary(&self, limit: usize) -> Vec<EntrySummary> {
        let now = self.engine.now();
        let summary = |entry: EntrySnapshot<Key, Arc<CiEntry<V>>>| {
            EntrySummary::new(&entry.key, &entry.value, entry.meta, now)
        };
        self.engine.entries(limit).into_iter().map(summary).collect()
    }

    /// Checks every internal structure; for tests.
    ///
    /// # Errors
    /// Says what disagrees.
    #[doc(hidden)]
    pub fn validate(&self) -> Result<(), String> {
        self.engine.validate()
    }

    /// Time to live and stamp of what begins now; runs under a shard's lock.
    fn options(&self, tenant: &TenantId, question: &Question) -> InsertOptions {
        let stamp = self.tenants.stamp(tenant, question.kind());
        InsertOptions::new()
            .ttl(self.config.ttl_for(tenant, question))
            .stamped(stamp)
    }

    fn count(&self, tenant: &TenantId, kind: QuestionKind, hit: bool) {
        if !hit {
            self.tenancy.missed(tenant);
        }
        self.tally.count(kind, if hit { Seen::Hit } else { Seen::Miss });
    }
}

impl<V, E> fmt::Debug for CiCache<V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CiCache")
            .field("engine", &self.engine)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
