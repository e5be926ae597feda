//! Tenants in one cache: shares, limits, times to live, statistics.

use std::sync::Arc;
use std::time::Duration;

use ci_model::{Question, Search, TenantId};

use super::super::{CiCache, CiCacheConfig};
use super::{TenantPolicy, TenantShares};
use crate::{Lookup, ManualClock};

type Answers = CiCache<Vec<u32>, ()>;

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn search(number: u32) -> Question {
    let search = Search::builder().keyword(format!("srv-{number}"));
    search.build().unwrap().into()
}

fn cache(config: CiCacheConfig) -> Answers {
    Answers::new(config.max_size(100), Arc::new(ManualClock::new())).unwrap()
}

fn fill(cache: &Answers, tenant: &TenantId, numbers: std::ops::Range<u32>) {
    numbers.for_each(|number| cache.set(tenant, &search(number), vec![number]));
}

fn kept(cache: &Answers, tenant: &TenantId, numbers: std::ops::Range<u32>) -> usize {
    numbers
        .filter(|&number| cache.contains(tenant, &search(number)))
        .count()
}

#[test]
fn a_scan_takes_a_quarter_of_its_share_at_most() {
    let [a, b] = [tenant("a"), tenant("b")];
    for (shares, expected) in [(TenantShares::Off, 0), (TenantShares::Fair, 88)] {
        let cache = cache(CiCacheConfig::new().tenant_shares(shares));
        fill(&cache, &a, 0..100);
        fill(&cache, &b, 0..1_000);
        assert_eq!(kept(&cache, &a, 0..100), expected, "{shares:?}");
        cache.validate().unwrap();
    }
    let weighted = CiCacheConfig::new()
        .tenant_shares(TenantShares::Fair)
        .tenant(a.clone(), TenantPolicy::new().share(3));
    let cache = cache(weighted);
    fill(&cache, &a, 0..100);
    fill(&cache, &b, 0..1_000);
    assert_eq!(kept(&cache, &a, 0..100), 94);
    assert_eq!(cache.tenant_stats(&a).unwrap().share, 75);
}

#[test]
fn a_limit_holds_where_shares_are_off_and_where_there_is_room() {
    let [a, b] = [tenant("a"), tenant("b")];
    let cache = cache(CiCacheConfig::new().tenant(a.clone(), TenantPolicy::new().max_entries(7)));
    fill(&cache, &a, 0..30);
    fill(&cache, &b, 0..30);
    let told: Vec<_> = cache
        .tenants()
        .into_iter()
        .map(|(tenant, stats)| (tenant, stats.entries))
        .collect();
    assert_eq!(told, [(a.clone(), 7), (b.clone(), 30)]);
    assert_eq!(kept(&cache, &a, 23..30), 7, "the latest stay");
    let stats = cache.tenant_stats(&a).unwrap();
    assert_eq!((stats.evictions, stats.share), (23, 0));
    fill(&cache, &b, 30..200);
    assert_eq!(
        cache.tenant_stats(&a).map_or(0, |stats| stats.entries),
        0,
        "no share, no protection"
    );
}

#[test]
fn hits_and_misses_are_counted_by_tenant_and_dropped_with_it() {
    let [a, b] = [tenant("a"), tenant("b")];
    let cache = cache(CiCacheConfig::new().tenant_shares(TenantShares::Fair));
    fill(&cache, &a, 0..3);
    assert!(cache.get(&a, &search(0)).is_some() && cache.get(&a, &search(9)).is_none());
    let key = Answers::key(&b, &search(1));
    let Lookup::Lead(leader) = cache.lookup(&b, &key, &search(1)) else {
        panic!("nobody else loads");
    };
    let stats = cache.tenant_stats(&a).unwrap();
    assert_eq!(
        (stats.entries, stats.weight, stats.share, stats.hits, stats.misses),
        (3, 3, 100, 1, 1)
    );
    assert_eq!(cache.tenant_stats(&b).unwrap().misses, 1);
    assert_eq!(cache.drop_tenant(&b), 0);
    assert!(
        !cache.publish(leader, &search(1), vec![1]),
        "its load is detached"
    );
    assert_eq!((cache.drop_tenant(&a), cache.len()), (3, 0));
    assert_eq!((cache.tenant_stats(&a), cache.tenants()), (None, Vec::new()));
    let plain = Answers::new(CiCacheConfig::new(), Arc::new(ManualClock::new())).unwrap();
    plain.set(&a, &search(1), vec![1]);
    assert_eq!((plain.tenant_stats(&a), plain.drop_tenant(&a)), (None, 1));
}

#[test]
fn times_to_live_are_the_tenants_own_where_it_has_some() {
    let [a, b] = [tenant("a"), tenant("b")];
    let short = TenantPolicy::new().keyword_ttl(Duration::from_secs(5));
    let config = CiCacheConfig::new().tenant(a.clone(), short);
    assert_eq!(config.ttl_for(&a, &search(1)), Duration::from_secs(5));
    assert_eq!(config.ttl_for(&b, &search(1)), Duration::from_secs(600));
    for policy in [
        TenantPolicy::new().filter_ttl(Duration::ZERO),
        TenantPolicy::new().max_entries(0),
    ] {
        let config = CiCacheConfig::new().tenant(a.clone(), policy);
        assert!(Answers::new(config, Arc::new(ManualClock::new())).is_err());
    }
    let all = TenantPolicy::new()
        .default_ttl(Duration::from_secs(1))
        .get_ttl(Duration::from_secs(2));
    assert!(Answers::new(CiCacheConfig::new().tenant(b, all), Arc::new(ManualClock::new())).is_ok());
}
