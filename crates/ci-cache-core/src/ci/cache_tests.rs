//! The CI cache: tenants, kinds, invalidation of entries and loads, counts.

use super::*;
use crate::ci::TenantPolicy;
use crate::{ManualClock, Outcome};
use ci_model::{CiCode, CiRef, Filter, Get, List, Search};

type Answers = CiCache<Vec<u32>, &'static str>;

fn cache() -> Answers {
    Answers::new(CiCacheConfig::new(), Arc::new(ManualClock::new())).unwrap()
}

fn tenant(name: &str) -> TenantId {
    TenantId::new(name).unwrap()
}

fn search(keywords: &[&str]) -> Question {
    Search::builder()
        .keywords(keywords.iter().copied())
        .build()
        .unwrap()
        .into()
}

fn get(code: &str) -> Question {
    Get::new(CiRef::Code(CiCode::new(code).unwrap())).into()
}

fn lookup(cache: &Answers, tenant: &TenantId, question: &Question) -> CiLookup<Vec<u32>, &'static str> {
    cache.lookup(tenant, &Answers::key(tenant, question), question)
}

fn lead(cache: &Answers, tenant: &TenantId, question: &Question) -> CiLeader<Vec<u32>, &'static str> {
    match lookup(cache, tenant, question) {
        Lookup::Lead(leader) => leader,
        other => panic!("should lead, got {other:?}"),
    }
}

#[test]
fn tenants_share_nothing() {
    let cache = cache();
    let [a, b] = [tenant("a"), tenant("b")];
    cache.set(&a, &search(&["erp"]), vec![1]);
    assert!(cache.get(&b, &search(&["erp"])).is_none());
    cache.set(&b, &search(&["erp"]), vec![2]);
    assert_eq!(cache.invalidate_keywords(&a, &[" ERP "]), 1);
    assert_eq!(cache.get(&b, &search(&["erp"])).unwrap().value.answer(), &[2]);
    cache.invalidate_tenant(&a);
    assert!(cache.contains(&b, &search(&["erp"])));
}

#[test]
fn empty_answers_are_answers() {
    let cache = cache();
    let a = tenant("a");
    assert!(cache.publish(lead(&cache, &a, &get("gone")), &get("gone"), Vec::new()));
    let found = cache.get(&a, &get("gone")).unwrap();
    assert_eq!(
        (found.value.rows(), found.value.kind(), found.meta.hits.unwrap()),
        (0, QuestionKind::Get, 1)
    );
}

#[test]
fn questions_and_gets_are_invalidated_apart() {
    let cache = cache();
    let a = tenant("a");
    let list: Question = List::builder().build().unwrap().into();
    for question in [search(&["erp"]), list.clone(), get("x"), get("y")] {
        cache.set(&a, &question, vec![1]);
    }
    cache.invalidate_questions(&a);
    let there = |question: &Question| cache.contains(&a, question);
    assert_eq!(
        [
            there(&search(&["erp"])),
            there(&list),
            there(&get("x")),
            there(&get("y"))
        ],
        [false, false, true, true]
    );
    assert!(cache.invalidate(&Answers::key(&a, &get("x"))));
    assert!(!cache.invalidate(&Answers::key(&a, &get("x"))));
    assert!(there(&get("y")));
    cache.invalidate_tenant(&a);
    assert!(!there(&get("y")));
    cache.validate().unwrap();
}

/// A name, and something that overtakes a load.
type Overtaker = (&'static str, fn(&Answers, &TenantId, &Question));

#[test]
fn a_load_overtaken_by_any_invalidation_is_answered_and_not_kept() {
    let overtakers: [Overtaker; 5] = [
        ("key", |cache, tenant, question| {
            cache.invalidate(&Answers::key(tenant, question));
        }),
        ("keywords", |cache, tenant, _| {
            cache.invalidate_keywords(tenant, &["anything"]);
        }),
        ("questions", |cache, tenant, _| cache.invalidate_questions(tenant)),
        ("tenant", |cache, tenant, _| cache.invalidate_tenant(tenant)),
        ("clear", |cache, _, _| cache.clear()),
    ];
    for (name, overtake) in overtakers {
        for question in [search(&["erp"]), get("x")] {
            if name == "questions" && question.kind() == QuestionKind::Get {
                continue;
            }
            let (cache, tenant) = (cache(), tenant("a"));
            let leader = lead(&cache, &tenant, &question);
            let Lookup::Wait(waiter) = lookup(&cache, &tenant, &question) else {
                panic!("should wait: {name}")
            };
            overtake(&cache, &tenant, &question);
            let newer = lead(&cache, &tenant, &question);
            assert!(!cache.publish(leader, &question, vec![1]), "{name}");
            let Outcome::Loaded(entry) = waiter.wait_blocking() else {
                panic!("should be answered: {name}")
            };
            assert_eq!(entry.answer(), &[1]);
            assert!(cache.publish(newer, &question, vec![2]), "{name}");
            assert_eq!(
                cache.get(&tenant, &question).unwrap().value.answer(),
                &[2],
                "{name}"
            );
        }
    }
}

#[test]
fn another_tenants_invalidation_disturbs_no_load() {
    let cache = cache();
    let [a, b] = [tenant("a"), tenant("b")];
    let leader = lead(&cache, &a, &search(&["erp"]));
    cache.invalidate_tenant(&b);
    cache.invalidate_questions(&b);
    cache.invalidate_keywords(&b, &["erp"]);
    assert!(cache.publish(leader, &search(&["erp"]), vec![1]));
}

#[test]
fn an_answer_may_be_given_without_being_kept() {
    let cache = cache();
    let a = tenant("a");
    let leader = lead(&cache, &a, &search(&["erp"]));
    cache.answer(leader, &search(&["erp"]), vec![1]);
    assert!(cache.is_empty());
    lead(&cache, &a, &search(&["erp"])).fail("down");
    assert_eq!((cache.len(), cache.stats().engine.load_failures), (0, 1));
}

#[test]
fn look_ups_are_counted_by_kind() {
    let cache = cache();
    let a = tenant("a");
    cache.publish(lead(&cache, &a, &search(&["erp"])), &search(&["erp"]), vec![1]);
    assert!(matches!(lookup(&cache, &a, &search(&["erp"])), Lookup::Hit(_)));
    assert!(cache.get(&a, &get("x")).is_none());
    let stats = cache.stats();
    let of = |kind: QuestionKind| {
        let stats = stats.by_kind[kind.index()];
        (stats.hits, stats.misses)
    };
    assert_eq!(
        (of(QuestionKind::Search), of(QuestionKind::Get)),
        ((1, 1), (0, 1))
    );
    assert_eq!((stats.hits, stats.misses, stats.total_requests), (1, 2, 3));
}

#[test]
fn ages_and_expiries_follow_the_clock() {
    let clock = Arc::new(ManualClock::new());
    let cache: CiCache<Vec<u32>> = CiCache::new(CiCacheConfig::new(), clock.clone()).unwrap();
    let a = tenant("a");
    let filtered = Search::builder()
        .keyword("erp")
        .filter(Filter::parse("status=active").unwrap());
    let filtered: Question = filtered.build().unwrap().into();
    cache.set(&a, &filtered, vec![1]);
    clock.advance(Duration::from_secs(299));
    let found = cache.get(&a, &filtered).unwrap();
    assert_eq!(cache.age(&found), Duration::from_secs(299));
    assert_eq!(cache.entries_summary(1)[0].expires_in, Duration::from_secs(1));
    clock.advance(Duration::from_secs(1));
    assert!(!cache.contains(&a, &filtered) && cache.entries_summary(9).is_empty());
}

#[test]
fn wrong_settings_are_refused() {
    let build = |config| {
        Answers::new(config, Arc::new(ManualClock::new()))
            .map(|_| ())
            .unwrap_err()
            .to_string()
    };
    assert!(build(CiCacheConfig::new().max_size(0)).contains("capacity = 0"));
    assert!(build(CiCacheConfig::new().shards(501)).contains("shards = 501"));
    assert!(build(CiCacheConfig::new().keyword_ttl(Duration::ZERO)).contains("keyword_ttl"));
    let large = CiCacheConfig::new().max_size(3_000_000);
    assert_eq!(
        Answers::new(large, Arc::new(ManualClock::new()))
            .unwrap()
            .stats()
            .max_size,
        3_000_000
    );
}

#[test]
fn bytes_and_entries_bound_it_together() {
    let a = tenant("a");
    let filled = |config: CiCacheConfig, rows: usize| {
        let cache = Answers::new(config, Arc::new(ManualClock::new())).unwrap();
        for number in 0..2_000 {
            cache.set(&a, &get(&format!("ci-{number}")), vec![0; rows]);
        }
        cache
    };
    let config = CiCacheConfig::new().max_size(1_000).max_bytes(1 << 20);
    // Light ones are bounded by their number: each weighs its part of the bytes at least.
    let light = filled(config.clone(), 0).stats();
    assert_eq!(light.size, 1_000, "{light:?}");
    // Heavy ones by their bytes: 100 rows that do not say otherwise are 51,200, and what an entry has beside them.
    let heavy = filled(config.clone(), 100);
    assert!((15..=20).contains(&heavy.stats().size), "{:?}", heavy.stats());
    // One that is heavier than all there is is answered, and not kept.
    let beyond = filled(config, 3_000);
    assert_eq!(beyond.stats().size, 0);
    let few = CiCacheConfig::new().max_bytes(1_000);
    let error = Answers::new(few, Arc::new(ManualClock::new())).unwrap_err();
    assert!(error.to_string().contains("max_bytes = 1000"), "{error}");
}

#[test]
fn few_entries_fit_into_many_bytes() {
    let a = tenant("a");
    let many = CiCacheConfig::new().max_size(1 << 40).max_bytes(1 << 20);
    assert_eq!(
        many.capacity(),
        1 << 20,
        "many entries do not make the bytes more"
    );
    for (entries, bytes) in [
        (1, 64 << 30),
        (1, 512 << 20),
        (7, 512 << 20),
        (77, 512 << 20),
        (1_500, 512 << 20),
    ] {
        let config = CiCacheConfig::new().max_size(entries).max_bytes(bytes);
        let cache = Answers::new(config, Arc::new(ManualClock::new())).unwrap();
        for number in 0..entries * 2 {
            cache.set(&a, &get(&format!("ci-{number}")), vec![0; 2]);
        }
        assert_eq!(cache.stats().size, entries, "{bytes} bytes");
    }
}

#[test]
fn a_tenants_own_bound_counts_the_light_ones() {
    let a = tenant("a");
    let config = CiCacheConfig::new()
        .max_size(1_000)
        .max_bytes(4 << 20)
        .tenant(a.clone(), TenantPolicy::new().max_entries(10));
    let cache = Answers::new(config, Arc::new(ManualClock::new())).unwrap();
    for number in 0..100 {
        cache.set(&a, &get(&format!("ci-{number}")), Vec::new());
    }
    assert_eq!(cache.stats().size, 10);
}
