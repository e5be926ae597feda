//! `CoherentCiCache`: questions in, shared answers out, each true at a known state of the database.

use std::convert::Infallible;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ci_model::{Key, Question, TenantId, Version};

use super::config::CiCacheConfig;
use super::entry::{CiEntry, EntrySummary, Rows};
use super::matching::{CiDomain, Dependency, Reason};
use super::stats::{CiStats, Seen, Tally};
use super::tenancy::{Tenancy, TenantStats};
use super::tenants::Tenants;
use crate::builder::CacheBuilder;
use crate::clock::{Clock, Tick};
use crate::coherence::{
    Applied, Batch, CoherenceOptions, CoherenceStats, Coherent, CoherentLeader, Dropped, Loaded, Mark,
    Publication, Published, Shared, Why,
};
use crate::entry::{EntrySnapshot, Found, InsertOptions};
use crate::error::Error;
use crate::leader::Lookup;

/// An entry: an answer, and the state of the database at which it was loaded.
pub type CiShared<V> = Shared<CiEntry<V>, CiDomain>;
/// What a look-up gives: a hit, the duty to load, or a load to wait for.
pub type CoherentLookup<V, E> = Lookup<Key, CiShared<V>, E>;
/// The duty to load; end it with [`CoherentCiCache::publish`] or its `fail`.
pub type CoherentCiLeader<V, E> = CoherentLeader<Key, CiEntry<V>, CiDomain, E>;
/// How a publication ended, with the entry that those who waited were given.
pub type CiPublication<V> = Publication<CiEntry<V>, Version, Reason>;

/// What a cache is built of.
type Builder<V> = CacheBuilder<Key, CiShared<V>>;

/// A cache of answers that goes by the changes of the database: [`Coherent`] for CI questions, with a time to live by
/// kind of question as a backstop, and statistics by kind.
///
/// One serves all tenants of a process. Nothing is kept before the first [`reset`](Self::reset).
pub struct CoherentCiCache<V, E = Infallible> {
    engine: Coherent<Key, CiEntry<V>, CiDomain, E>,
    config: CiCacheConfig,
    /// What flights are stamped with when they begin; invalidated by each change of the tenant.
    flights: Tenants,
    tally: Tally,
    tenancy: Tenancy,
}

impl<V, E> CoherentCiCache<V, E>
where
    V: Rows + Send + Sync + 'static,
    E: Send + Sync + 'static,
{
    /// Builds a cache with the given settings over the given clock.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] naming the setting, its value and what is allowed.
    pub fn new(
        config: CiCacheConfig,
        options: &CoherenceOptions,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Error> {
        Self::build(config, clock, |builder| {
            Coherent::new(builder, CiDomain::new(), options)
        })
    }

    /// Builds one that breaks a rule, for the tests of the tests.
    #[cfg(feature = "planted")]
    #[doc(hidden)]
    pub fn planted(
        config: CiCacheConfig,
        options: &CoherenceOptions,
        clock: Arc<dyn Clock>,
        rules: crate::coherence::ProtocolRules,
    ) -> Result<Self, Error> {
        Self::build(config, clock, |builder| {
            Coherent::planted(builder, CiDomain::new(), options, rules)
        })
    }

    fn build(
        config: CiCacheConfig,
        clock: Arc<dyn Clock>,
        engine: impl FnOnce(Builder<V>) -> Result<Coherent<Key, CiEntry<V>, CiDomain, E>, Error>,
    ) -> Result<Self, Error> {
        config.validate()?;
        let builder = CacheBuilder::new(config.capacity(), clock)
            .eviction(config.eviction)
            .cost_aware(config.cost_aware)
            .details(true);
        let builder = match config.stale_while_revalidate {
            Some(window) => builder.stale_while_revalidate(window),
            None => builder,
        };
        let builder = match config.stale_if_error {
            Some(window) => builder.stale_if_error(window),
            None => builder,
        };
        let builder = match config.shard_count() {
            Some(shards) => builder.shards(shards),
            None => builder,
        };
        let builder = match config.least_weight() {
            Some(least) => {
                builder.weigher(move |key: &Key, entry: &CiShared<V>| entry.value().weight(key, least))
            }
            None => builder,
        };
        let (tenancy, builder) = Tenancy::build(&config, builder);
        Ok(Self {
            engine: engine(builder)?,
            config,
            flights: Tenants::new(),
            tally: Tally::default(),
            tenancy,
        })
    }

    /// Reads up to which state the entries found *afterwards* are true; none while nobody knows. See [`Coherent::mark`].
    #[inline]
    pub fn mark(&self) -> Option<Mark<Version>> {
        self.engine.mark()
    }

    /// The history that is followed; none before the first reset. Waits for a batch that is being applied.
    pub fn epoch(&self) -> Option<u64> {
        self.engine.status().epoch
    }

    /// Looks a question up and, on a miss, joins the load that is under way or makes the caller its leader. Read the
    /// [`mark`](Self::mark) before.
    ///
    /// `key` must be this tenant's and question's; it is asked for because callers need it more than once.
    ///
    /// A load that began before a change of the tenant was applied is not joined any more: it may not include the change. Its own
    /// value is kept all the same if nothing touches it and nobody has begun another load meanwhile.
    pub fn lookup(&self, tenant: &TenantId, key: &Key, question: &Question) -> CoherentLookup<V, E> {
        let begin = || {
            let stamp = self.flights.stamp(tenant, question.kind());
            let options = InsertOptions::new().ttl(self.config.ttl_for(tenant, question));
            (key.clone(), options.stamped(stamp))
        };
        let lookup = self.engine.cache().lookup_with(key, begin);
        let hit = matches!(lookup, Lookup::Hit(_) | Lookup::Stale(..));
        if !hit {
            self.tenancy.missed(tenant);
        }
        self.tally
            .count(question.kind(), if hit { Seen::Hit } else { Seen::Miss });
        lookup
    }

    fn entry(&self, question: &Question, answer: V) -> CiEntry<V> {
        CiEntry::new(question, answer, self.config.max_bytes.is_some())
    }

    /// Ends a load; see [`Coherent::publish`].
    pub fn publish(
        &self,
        leader: CoherentCiLeader<V, E>,
        question: &Question,
        answer: V,
        loaded: Loaded<Version>,
        dependency: Dependency,
    ) -> CiPublication<V> {
        self.engine
            .publish(leader, self.entry(question, answer), loaded, dependency)
    }

    /// Tells whether an answer that was true at a state is true now as well; see [`Coherent::check`].
    ///
    /// # Errors
    /// How a publication of it would end.
    pub fn check(&self, loaded: &Loaded<Version>, dependency: Dependency) -> Result<(), Published<Reason>> {
        self.engine.check(loaded, dependency)
    }

    /// Reads a fresh entry without counting and without effect on eviction. Read the [`mark`](Self::mark) before.
    pub fn peek(&self, key: &Key) -> Option<CiShared<V>> {
        self.engine.cache().peek(key)
    }

    /// Applies what a poll of the change feed brought; see [`Coherent::apply`].
    pub fn apply(&self, batch: Batch<CiDomain>) -> Applied {
        // Before the mark is raised: whoever reads the new mark must not join a flight from before. A flight that begins after this
        // loads from a state that includes the batch, which was committed before it was polled.
        let mut last: Option<&TenantId> = None;
        for tenant in batch.changes.iter().filter_map(|change| change.event.tenant()) {
            if last != Some(tenant) {
                self.flights.invalidate(tenant);
                last = Some(tenant);
            }
        }
        self.engine.apply(batch)
    }

    /// Starts to follow a history from a position on; everything cached goes. See [`Coherent::reset`].
    pub fn reset(&self, epoch: u64, position: Version, polled_at: Tick) {
        self.engine.reset(epoch, position, polled_at);
    }

    /// The same, with the mark hidden where there is a doubt. See [`Coherent::reset_but`].
    pub fn reset_but(
        &self,
        epoch: u64,
        position: Version,
        polled_at: Tick,
        doubt: impl FnOnce() -> Option<&'static str>,
    ) {
        self.engine.reset_but(epoch, position, polled_at, doubt);
    }

    /// Hides the mark: nobody knows what has changed. See [`Coherent::suspend`].
    pub fn suspend(&self, why: &'static str) {
        self.engine.suspend(why);
    }

    /// Shows the mark again if nothing was missed. See [`Coherent::resume_if`].
    pub fn resume_if(&self, known: impl FnOnce() -> bool) {
        self.engine.resume_if(known);
    }

    /// Removes one entry and detaches the load that is under way for it; says whether a live entry was there.
    pub fn invalidate(&self, key: &Key) -> bool {
        self.engine.cache().remove(key).is_some()
    }

    /// Removes everything of a tenant and detaches its loads; says how many live entries went. Walks all entries, a shard at a time.
    pub fn invalidate_tenant(&self, tenant: &TenantId) -> usize {
        self.invalidate_where(|key, _| key.tenant() == tenant.as_str())
    }

    /// Removes the entries that match, and detaches the loads under way whose key matches without an entry; says how many live entries went.
    /// Of a load it is not known yet what it brings: say yes if it might match. Walks all entries, a shard at a time under its lock.
    pub fn invalidate_where(&self, matches: impl FnMut(&Key, Option<&CiShared<V>>) -> bool) -> usize {
        self.engine.cache().remove_where(matches)
    }

    /// Removes everything of every tenant and detaches every load, in constant time.
    pub fn clear(&self) {
        self.engine.cache().clear();
    }

    /// Counts the resident entries; expired ones count until they are met.
    pub fn len(&self) -> usize {
        self.engine.cache().len()
    }

    /// Tells whether nothing is resident.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Sums the weights of the resident entries, in the unit of the capacity.
    pub fn weight(&self) -> u64 {
        self.engine.cache().weight()
    }

    /// Counts the loads that a look-up could join now. Locks each shard for a moment.
    pub fn in_flight(&self) -> usize {
        self.engine.cache().in_flight()
    }

    /// The settings.
    pub fn config(&self) -> &CiCacheConfig {
        &self.config
    }

    /// The moment, by the cache's clock.
    pub fn now(&self) -> Tick {
        self.engine.cache().now()
    }

    /// Tells how long ago an entry was stored.
    pub fn age(&self, found: &Found<CiShared<V>>) -> Duration {
        self.now()
            .saturating_since(found.meta.created.unwrap_or_default())
    }

    /// Gives the statistics of look-ups. Locks each shard for a moment.
    pub fn stats(&self) -> CiStats {
        let cache = self.engine.cache();
        CiStats::new(&self.config, cache.stats(), cache.len(), &self.tally)
    }

    /// Gives the statistics of coherence. Takes the coherence lock.
    pub fn coherence(&self) -> CoherenceStats {
        self.engine.stats()
    }

    /// Counts what was dropped for each reason, in no order.
    pub fn reasons(&self) -> Vec<(Why<Reason>, u64)> {
        self.engine.reasons()
    }

    /// Tells of the latest drops, the latest last: which change hit which entry, and why.
    pub fn history(&self) -> Vec<Dropped<Key, Reason>> {
        self.engine.history()
    }

    /// Counts what was dropped so far; see [`Coherent::drops`].
    pub fn drops(&self) -> u64 {
        self.engine.drops()
    }

    /// Tells of the drops after the first `seen`, and how many there have been; see [`Coherent::dropped_since`].
    pub fn dropped_since(&self, seen: u64) -> (Vec<Dropped<Key, Reason>>, u64) {
        self.engine.dropped_since(seen)
    }

    /// Tells what a tenant has here and did; nothing if it did nothing, or where entries are not grouped by tenant: shares are off
    /// ([`TenantShares`](super::TenantShares)) and no tenant has a limit. Locks each shard for a moment.
    pub fn tenant_stats(&self, tenant: &TenantId) -> Option<TenantStats> {
        self.tenancy.stats(self.engine.cache(), tenant)
    }

    /// Tells what each tenant with cached answers has here and did, by name; nothing where entries are not grouped by tenant. Locks each
    /// shard for a moment.
    pub fn tenants(&self) -> Vec<(TenantId, TenantStats)> {
        self.tenancy.all(self.engine.cache())
    }

    /// Forgets a tenant: removes its answers, detaches its loads, and drops its statistics; says how many live answers went. Walks the
    /// tenant's entries, or all where entries are not grouped by tenant.
    pub fn drop_tenant(&self, tenant: &TenantId) -> usize {
        self.tenancy.drop(self.engine.cache(), tenant)
    }

    /// Copies up to `limit` live entries, most recently used first (roughly, with several shards): for carrying them over a restart. Read the
    /// [`mark`](Self::mark) before: what is found afterwards is true there, or at its own state where that has more ([`Mark::as_of`]).
    /// Counts no look-up.
    pub fn entries(&self, limit: usize) -> Vec<(Key, CiShared<V>)> {
        let entries = self.engine.cache().entries(limit);
        entries
            .into_iter()
            .map(|entry| (entry.key, entry.value))
            .collect()
    }

    /// Summarises up to `limit` live entries, most recently used first (roughly, with several shards).
    pub fn entries_summary(&self, limit: usize) -> Vec<EntrySummary> {
        let entries = self.entries_with_keys(limit).into_iter();
        entries.map(|(_, summary)| summary).collect()
    }

    /// The same, with their keys.
    pub fn entries_with_keys(&self, limit: usize) -> Vec<(Key, EntrySummary)> {
        let now = self.now();
        let summary = |entry: EntrySnapshot<Key, CiShared<V>>| {
            let summary = EntrySummary::new(&entry.key, entry.value.value(), entry.meta, now);
            (entry.key, summary)
        };
        let entries = self.engine.cache().entries(limit);
        entries.into_iter().map(summary).collect()
    }

    /// Checks every internal structure while nobody else uses it; for tests.
    ///
    /// # Errors
    /// Says what disagrees.
    #[doc(hidden)]
    pub fn validate(&self) -> Result<(), String> {
        self.engine.validate()
    }
}

impl<V, E> fmt::Debug for CoherentCiCache<V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CoherentCiCache")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
