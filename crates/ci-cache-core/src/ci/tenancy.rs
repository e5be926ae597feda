//! Tenants beside each other in one cache: what each may count on, what it may hold, how long its answers live, and what it did.

use std::collections::BTreeMap;
use std::hash::BuildHasher as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use ci_model::{Key, TenantId};
use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::config::{CiCacheConfig, TtlClass};
use crate::builder::CacheBuilder;
use crate::cache::Cache;
use crate::share::{GroupStats, Share};

/// The most tenants whose misses are counted one by one, so that made-up names cannot fill the memory.
const MOST_COUNTED: usize = 16_384;

/// How the capacity is divided between tenants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TenantShares {
    /// Not at all: the policy decides alone which answer leaves.
    #[default]
    Off,
    /// In parts, one for each tenant unless its [`TenantPolicy`] says otherwise; what a tenant does not use others may borrow. A scan takes a quarter of
    /// its tenant's share from others at most; an answer that was used and is within its tenant's share leaves for no other tenant. The rule is
    /// that of [`CacheBuilder::groups`].
    Fair,
}

/// What holds for one tenant in place of the settings for all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct TenantPolicy {
    pub(super) parts: Option<u32>,
    pub(super) max_entries: Option<usize>,
    pub(super) ttls: BTreeMap<TtlClass, Duration>,
}

impl TenantPolicy {
    /// Starts with the settings for all.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how many parts of the capacity the tenant may count on, of all the parts of tenants with cached answers; with 0 it has what
    /// others leave it. Counts under [`TenantShares::Fair`]. Default: 1.
    pub fn share(mut self, parts: u32) -> Self {
        self.parts = Some(parts);
        self
    }

    /// Sets the most answers that are cached for the tenant, even where there is room; at least 1. Default: no limit but the cache's. With
    /// several shards it is exceeded by less than one for each. Where answers are weighed
    /// ([`CiCacheConfig::max_bytes`]) it is as much as so many light ones weigh.
    pub fn max_entries(mut self, entries: usize) -> Self {
        self.max_entries = Some(entries);
        self
    }

    /// Sets the tenant's [`CiCacheConfig::default_ttl`].
    pub fn default_ttl(self, ttl: Duration) -> Self {
        self.ttl(TtlClass::Default, ttl)
    }

    /// Sets the tenant's [`CiCacheConfig::keyword_ttl`].
    pub fn keyword_ttl(self, ttl: Duration) -> Self {
        self.ttl(TtlClass::Keyword, ttl)
    }

    /// Sets the tenant's [`CiCacheConfig::filter_ttl`].
    pub fn filter_ttl(self, ttl: Duration) -> Self {
        self.ttl(TtlClass::Filter, ttl)
    }

    /// Sets the tenant's [`CiCacheConfig::get_ttl`].
    pub fn get_ttl(self, ttl: Duration) -> Self {
        self.ttl(TtlClass::Get, ttl)
    }

    fn ttl(mut self, class: TtlClass, ttl: Duration) -> Self {
        self.ttls.insert(class, ttl);
        self
    }
}

/// What a tenant has in the cache, and what it did since its first answer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TenantStats {
    /// Resident answers; expired ones count until they are met.
    pub entries: usize,
    /// Their weight: their number, as long as answers are not weighed.
    pub weight: u64,
    /// What the tenant may count on now, in the units of the capacity; 0 where shares are off.
    pub share: u64,
    /// Look-ups answered from the cache.
    pub hits: u64,
    /// Look-ups that found nothing. Counted for the first 16,384 tenants.
    pub misses: u64,
    /// Answers dropped to make room.
    pub evictions: u64,
}

impl TenantStats {
    fn new(group: GroupStats, misses: u64) -> Self {
        Self {
            entries: group.entries,
            weight: group.weight,
            share: group.share,
            hits: group.hits,
            misses,
            evictions: group.evictions,
        }
    }
}

/// The tenants of one cache as groups of its engine.
#[derive(Debug)]
pub(super) struct Tenancy {
    /// Names groups; none where entries are not grouped.
    hasher: Option<RandomState>,
    misses: RwLock<HashMap<TenantId, AtomicU64>>,
}

impl Tenancy {
    /// Groups the entries of the cache that is being built, if its settings ask for it.
    pub(super) fn build<V>(
        config: &CiCacheConfig,
        builder: CacheBuilder<Key, V>,
    ) -> (Self, CacheBuilder<Key, V>) {
        let fair = config.shares == TenantShares::Fair;
        let is_grouped = fair || config.tenants.values().any(|policy| policy.max_entries.is_some());
        let hasher = is_grouped.then(RandomState::default);
        let tenancy = Self {
            hasher: hasher.clone(),
            misses: RwLock::default(),
        };
        let Some(hasher) = hasher else {
            return (tenancy, builder);
        };
        // Of entries that are weighed, so many of the lightest.
        let unit = u64::from(config.least_weight().unwrap_or(1));
        let share = |policy: &TenantPolicy| {
            let share = Share::new().parts(if fair { policy.parts.unwrap_or(1) } else { 0 });
            policy.max_entries.map_or(share, |entries| {
                share.limit((entries as u64).saturating_mul(unit))
            })
        };
        let shares = config.tenants.iter();
        let shares: HashMap<u64, Share> = shares
            .map(|(tenant, policy)| (hasher.hash_one(tenant.as_str()), share(policy)))
            .collect();
        let other = share(&TenantPolicy::new());
        let builder = builder.groups(
            move |key| hasher.hash_one(key.tenant()),
            move |group| shares.get(&group).copied().unwrap_or(other),
        );
        (tenancy, builder)
    }

    fn group(&self, tenant: &TenantId) -> Option<u64> {
        self.hasher
            .as_ref()
            .map(|hasher| hasher.hash_one(tenant.as_str()))
    }

    /// Counts a look-up that found nothing.
    pub(super) fn missed(&self, tenant: &TenantId) {
        if self.hasher.is_none() {
            return;
        }
        let misses = self.misses.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = misses.get(tenant) {
            count.fetch_add(1, Ordering::Relaxed);
            return;
        }
        // Looked at without keeping others out, or every miss of a tenant that is not counted would.
        if misses.len() >= MOST_COUNTED {
            return;
        }
        drop(misses);
        let mut misses = self.misses.write().unwrap_or_else(PoisonError::into_inner);
        if misses.len() < MOST_COUNTED || misses.contains_key(tenant) {
            misses
                .entry(tenant.clone())
                .or_default()
                .fetch_add(1, Ordering::Relaxed);
        }
    }

    fn misses(&self, tenant: &TenantId) -> Option<u64> {
        let misses = self.misses.read().unwrap_or_else(PoisonError::into_inner);
        misses.get(tenant).map(|count| count.load(Ordering::Relaxed))
    }

    /// Tells of one tenant.
    pub(super) fn stats<V, E>(&self, cache: &Cache<Key, V, E>, tenant: &TenantId) -> Option<TenantStats> {
        let group = cache.group(self.group(tenant)?);
        let misses = self.misses(tenant);
        (group.is_some() || misses.is_some())
            .then(|| TenantStats::new(group.unwrap_or_default(), misses.unwrap_or(0)))
    }

    /// Tells of all tenants that have entries, by name.
    pub(super) fn all<V, E>(&self, cache: &Cache<Key, V, E>) -> Vec<(TenantId, TenantStats)> {
        let groups = cache.groups(|key| TenantId::new(key.tenant()).ok());
        let told = groups.into_iter().filter_map(|(_, tenant, group)| {
            let tenant = tenant.flatten()?;
            let misses = self.misses(&tenant).unwrap_or(0);
            Some((tenant, TenantStats::new(group, misses)))
        });
        let mut told: Vec<_> = told.collect();
        told.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        told
    }

    /// Removes everything of a tenant, flights included, and forgets what it did.
    pub(super) fn drop<V, E>(&self, cache: &Cache<Key, V, E>, tenant: &TenantId) -> usize {
        let mut misses = self.misses.write().unwrap_or_else(PoisonError::into_inner);
        misses.remove(tenant);
        drop(misses);
        match self.group(tenant) {
            Some(group) => cache.remove_group(group),
            None => cache.remove_where(|key, _| key.tenant() == tenant.as_str()),
        }
    }
}

#[cfg(test)]
#[path = "tenancy_tests.rs"]
mod tests;
