//! The 23 tests of the cache this project grew out of, under their names and groups, over `CiCache`.
//!
//! Time is under test control: nothing sleeps. Where the ancestor was wrong the promise is the corrected one: the
//! tenant is part of every key, and an overwritten key evicts nobody.

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::ManualClock;
use ci_cache_core::ci::{CiCache, CiCacheConfig};
use ci_model::{Filter, Key, Question, Search, TenantId};

type Cache = CiCache<Arc<[String]>>;

/// A cache, the clock it goes by, and the tenant who asks.
struct World {
    cache: Cache,
    clock: Arc<ManualClock>,
    tenant: TenantId,
}

impl World {
    fn new() -> Self {
        Self::with(CiCacheConfig::new())
    }

    fn with(config: CiCacheConfig) -> Self {
        let clock = Arc::new(ManualClock::new());
        let cache = Cache::new(config, clock.clone()).expect("the settings are valid");
        Self {
            cache,
            clock,
            tenant: TenantId::new("acme").expect("the name is valid"),
        }
    }

    /// Stores so many results for a question.
    fn set(&self, question: &Question, results: usize) {
        self.cache.set(&self.tenant, question, rows(results));
    }

    /// The number of results, if the question is cached.
    fn get(&self, question: &Question) -> Option<usize> {
        self.cache
            .get(&self.tenant, question)
            .map(|found| found.value.answer().len())
    }

    fn contains(&self, question: &Question) -> bool {
        self.cache.contains(&self.tenant, question)
    }

    fn key(&self, question: &Question) -> Key {
        Cache::key(&self.tenant, question)
    }

    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }
}

fn rows(count: usize) -> Arc<[String]> {
    (0..count).map(|number| format!("srv-erp-{number:02}")).collect()
}

fn search(keywords: &[&str]) -> Question {
    filtered(keywords, &[])
}

fn filtered(keywords: &[&str], filters: &[&str]) -> Question {
    let filters = filters
        .iter()
        .map(|filter| Filter::parse(filter).expect("the filter is valid"));
    let search = Search::builder()
        .keywords(keywords.iter().copied())
        .filters(filters);
    search.build().expect("the search is valid").into()
}

/// Runs the task a hundred times at once.
fn hundred_tasks(task: impl Fn(usize) + Sync) {
    std::thread::scope(|threads| {
        for number in 0..100 {
            let task = &task;
            threads.spawn(move || task(number));
        }
    });
}

mod basic {
    use super::*;

    #[test]
    fn miss_on_empty_cache() {
        let world = World::new();
        assert_eq!(world.get(&search(&["server"])), None);
        let stats = world.cache.stats();
        assert_eq!((stats.hits, stats.misses, stats.size), (0, 1, 0));
    }

    #[test]
    fn set_and_get() {
        let world = World::new();
        let question = search(&["server"]);
        world.cache.set(&world.tenant, &question, rows(2));
        let first = world.cache.get(&world.tenant, &question).unwrap();
        assert_eq!(first.value.answer()[..], ["srv-erp-00", "srv-erp-01"]);
        let second = world.cache.get(&world.tenant, &question).unwrap();
        assert!(
            Arc::ptr_eq(&first.value, &second.value),
            "callers share one result that none of them can change"
        );
    }

    #[test]
    fn hit_tracking() {
        let world = World::new();
        world.set(&search(&["server"]), 1);
        for _ in 0..3 {
            assert_eq!(world.get(&search(&["server"])), Some(1));
        }
        let stats = world.cache.stats();
        assert_eq!((stats.hits, stats.misses), (3, 0));
        assert_eq!(world.cache.entries_summary(1)[0].hits, 3);
    }

    #[test]
    fn miss_tracking() {
        let world = World::new();
        world.set(&search(&["server"]), 1);
        for keyword in ["a", "b", "c"] {
            assert_eq!(world.get(&search(&[keyword])), None);
        }
        let stats = world.cache.stats();
        assert_eq!((stats.hits, stats.misses, stats.total_requests), (0, 3, 3));
    }
}

mod key_generation {
    use super::*;

    #[test]
    fn keywords_only() {
        let world = World::new();
        let key = world.key(&search(&["erp", "server"]));
        assert_eq!(
            key,
            world.key(&search(&["server", "erp"])),
            "the order does not matter"
        );
        assert_eq!(key.short().len(), 8);
        assert_ne!(key, world.key(&search(&["erp"])));
        let other = TenantId::new("other").unwrap();
        assert_ne!(
            key,
            Cache::key(&other, &search(&["erp", "server"])),
            "the tenant does"
        );
    }

    #[test]
    fn filters() {
        let world = World::new();
        let key = world.key(&filtered(&["erp"], &["status=active", "owner=ops"]));
        assert_eq!(
            key,
            world.key(&filtered(&["erp"], &["owner=ops", "status=active"]))
        );
        for other in [
            &["status=active"][..],
            &["status=active", "owner!=ops"],
            &["status=active", "tags.owner=ops"],
            &[],
        ] {
            assert_ne!(key, world.key(&filtered(&["erp"], other)), "{other:?}");
        }
    }

    #[test]
    fn limit_and_sort() {
        let world = World::new();
        let builder = || Search::builder().keyword("erp");
        let plain = world.key(&builder().build().unwrap().into());
        let default = builder()
            .limit(10)
            .sort("ci_code:asc".parse().unwrap())
            .build()
            .unwrap();
        let limit = builder().limit(20).build().unwrap();
        let column = builder().sort("ci_name".parse().unwrap()).build().unwrap();
        let order = builder().sort("ci_code:desc".parse().unwrap()).build().unwrap();
        assert_eq!(plain, world.key(&default.into()));
        let keys = [
            plain,
            world.key(&limit.into()),
            world.key(&column.into()),
            world.key(&order.into()),
        ];
        assert!((1..4).all(|at| !keys[..at].contains(&keys[at])));
    }

    #[test]
    fn normalizes_keywords() {
        let world = World::new();
        let key = world.key(&search(&["erp", "server"]));
        assert_eq!(key, world.key(&search(&["  SERVER ", "Erp", "erp", " "])));
        world.set(&search(&["ERP"]), 4);
        assert_eq!(world.get(&search(&[" erp "])), Some(4));
    }
}

mod expiration {
    use super::*;

    #[test]
    fn keyword_ttl_override() {
        let world = World::with(CiCacheConfig::new().keyword_ttl(Duration::from_secs(20)));
        world.set(&search(&["server"]), 1);
        world.pass(19);
        assert_eq!(world.get(&search(&["server"])), Some(1));
        world.pass(1);
        assert!(!world.contains(&search(&["server"])));
        assert_eq!(world.get(&search(&["server"])), None);
        let stats = world.cache.stats();
        assert_eq!(
            (stats.hits, stats.misses, stats.size, stats.evictions),
            (1, 1, 0, 0),
            "removed, not evicted"
        );
    }

    #[test]
    fn filter_ttl_override() {
        let config = CiCacheConfig::new()
            .keyword_ttl(Duration::from_secs(20))
            .filter_ttl(Duration::from_secs(10));
        let world = World::with(config);
        let question = filtered(&["server"], &["status=active"]);
        world.set(&question, 1);
        world.set(&search(&["server"]), 2);
        world.pass(9);
        assert_eq!(world.get(&question), Some(1));
        world.pass(1);
        assert_eq!(
            (world.get(&question), world.get(&search(&["server"]))),
            (None, Some(2))
        );
    }
}

mod lru {
    use super::*;

    #[test]
    fn eviction_on_max_size() {
        let world = World::with(CiCacheConfig::new().max_size(3));
        for keyword in ["a", "b", "c", "d"] {
            world.set(&search(&[keyword]), 1);
        }
        let there = ["a", "b", "c", "d"].map(|keyword| world.contains(&search(&[keyword])));
        assert_eq!(there, [false, true, true, true]);
        world.set(&search(&["d"]), 2);
        let stats = world.cache.stats();
        assert_eq!(
            (stats.size, stats.max_size, stats.evictions),
            (3, 3, 1),
            "overwriting evicts nobody"
        );
    }

    #[test]
    fn eviction_respects_access_pattern() {
        let world = World::with(CiCacheConfig::new().max_size(3));
        for keyword in ["a", "b", "c"] {
            world.set(&search(&[keyword]), 1);
        }
        assert_eq!(world.get(&search(&["a"])), Some(1));
        assert!(world.contains(&search(&["b"])), "which is no use of it");
        world.set(&search(&["d"]), 1);
        let there = ["a", "b", "c", "d"].map(|keyword| world.contains(&search(&[keyword])));
        assert_eq!(there, [true, false, true, true]);
    }
}

mod invalidation {
    use super::*;

    #[test]
    fn single_entry() {
        let world = World::new();
        world.set(&search(&["server"]), 1);
        world.set(&search(&["network"]), 1);
        assert!(world.cache.invalidate(&world.key(&search(&["server"]))));
        assert!(!world.contains(&search(&["server"])));
        assert!(world.contains(&search(&["network"])));
    }

    #[test]
    fn nonexistent_entry() {
        let world = World::new();
        world.set(&search(&["server"]), 1);
        assert!(!world.cache.invalidate(&world.key(&search(&["network"]))));
        world.pass(600);
        assert!(
            !world.cache.invalidate(&world.key(&search(&["server"]))),
            "expired is not there"
        );
    }

    #[test]
    fn pattern() {
        let world = World::new();
        let questions = [
            search(&["erp", "server"]),
            filtered(&["erp"], &["status=active"]),
            search(&["network"]),
            search(&["er"]),
        ];
        for question in &questions {
            world.set(question, 1);
        }
        assert_eq!(world.cache.invalidate_keywords(&world.tenant, &["storage"]), 0);
        assert_eq!(
            world
                .cache
                .invalidate_keywords(&world.tenant, &["storage", " ERP"]),
            2
        );
        assert_eq!(
            questions.each_ref().map(|question| world.contains(question)),
            [false, false, true, true]
        );
    }

    #[test]
    fn clear_all() {
        let world = World::new();
        for keyword in ["a", "b", "c"] {
            world.set(&search(&[keyword]), 1);
        }
        world.cache.clear();
        assert_eq!((world.cache.stats().size, world.get(&search(&["a"]))), (0, None));
        world.set(&search(&["a"]), 2);
        assert_eq!(world.get(&search(&["a"])), Some(2));
    }
}

mod statistics {
    use super::*;

    #[test]
    fn hit_rate_calculation() {
        let world = World::new();
        assert!(world.cache.stats().hit_rate.abs() < f64::EPSILON);
        world.set(&search(&["server"]), 1);
        world.get(&search(&["server"]));
        world.get(&search(&["server"]));
        world.get(&search(&["network"]));
        let stats = world.cache.stats();
        assert!((stats.hit_rate - 66.67).abs() < 1e-9, "{}", stats.hit_rate);
        assert_eq!((stats.total_requests, stats.size, stats.max_size), (3, 1, 500));
        let ttls = [stats.default_ttl, stats.keyword_ttl, stats.filter_ttl].map(|ttl| ttl.as_secs());
        assert_eq!(ttls, [300, 600, 300]);
    }

    #[test]
    fn entries_summary() {
        let world = World::new();
        world.set(
            &filtered(&["d", "c", "b", "a"], &["status=active", "owner=ops"]),
            7,
        );
        world.pass(10);
        world.set(&search(&["server"]), 0);
        world.pass(5);
        world.get(&filtered(&["a", "b", "c", "d"], &["owner=ops", "status=active"]));
        let summary = world.cache.entries_summary(10);
        assert_eq!(summary.len(), 2);
        let [used, stored] = &summary[..] else {
            panic!("two entries")
        };
        assert_eq!(used.key.len(), 8);
        assert_eq!((used.results, used.hits, used.filters), (7, 1, 2));
        assert_eq!((used.age.as_secs(), used.expires_in.as_secs()), (15, 285));
        assert_eq!(
            (used.tenant.as_str(), &used.keywords[..]),
            ("acme", &["a", "b", "c"].map(String::from)[..])
        );
        assert_eq!(
            (
                stored.results,
                stored.hits,
                stored.filters,
                stored.expires_in.as_secs()
            ),
            (0, 0, 0, 595)
        );
        assert_eq!(world.cache.entries_summary(1), summary[..1]);
    }
}

mod performance {
    use super::*;

    #[test]
    fn concurrent_reads() {
        let world = World::new();
        world.set(&search(&["server"]), 3);
        hundred_tasks(|_| assert_eq!(world.get(&search(&["server"])), Some(3)));
        let stats = world.cache.stats();
        assert_eq!((stats.hits, stats.misses), (100, 0));
    }

    #[test]
    fn concurrent_writes() {
        let world = World::with(CiCacheConfig::new().max_size(60));
        hundred_tasks(|number| world.set(&search(&[&format!("server-{number}")]), number));
        let stats = world.cache.stats();
        assert_eq!((stats.size, stats.evictions), (60, 40));
        world.cache.validate().unwrap();
    }

    #[test]
    fn mixed_concurrent_operations() {
        let world = World::with(CiCacheConfig::new().max_size(20));
        hundred_tasks(|number| {
            let question = search(&[&format!("server-{}", number % 30)]);
            match number % 4 {
                0 | 1 => world.set(&question, number % 30),
                2 => assert!(world.get(&question).is_none_or(|results| results == number % 30)),
                _ => drop(world.cache.invalidate(&world.key(&question))),
            }
        });
        let stats = world.cache.stats();
        assert!(stats.size <= 20);
        assert_eq!(stats.total_requests, 25);
        world.cache.validate().unwrap();
    }
}

mod integration {
    use super::*;

    /// Asks as a service does: from the cache, else loads and keeps. Counts the loads.
    fn ask(world: &World, question: &Question, loads: &mut usize) -> usize {
        world.get(question).unwrap_or_else(|| {
            *loads += 1;
            world.set(question, 5);
            5
        })
    }

    #[test]
    fn repeated_search_pattern() {
        let world = World::new();
        let mut loads = 0;
        for spelling in ["erp", "ERP", " Erp"].iter().cycle().take(30) {
            assert_eq!(ask(&world, &search(&[spelling, "server"]), &mut loads), 5);
        }
        let stats = world.cache.stats();
        assert_eq!((loads, stats.hits, stats.misses), (1, 29, 1));
        assert!((stats.hit_rate - 96.67).abs() < 1e-9);
        world.pass(600);
        ask(&world, &search(&["erp", "server"]), &mut loads);
        assert_eq!(loads, 2);
    }

    #[test]
    fn related_ci_lookups() {
        let world = World::new();
        let related = [
            search(&["erp"]),
            search(&["erp", "server"]),
            filtered(&["erp"], &["ci_type=HW"]),
            filtered(&["erp"], &["ci_type=SW"]),
        ];
        let mut loads = 0;
        for question in related.iter().cycle().take(12) {
            ask(&world, question, &mut loads);
        }
        assert_eq!((loads, world.cache.stats().hits), (4, 8));
        world.cache.invalidate_questions(&world.tenant);
        for question in &related {
            ask(&world, question, &mut loads);
        }
        assert_eq!(loads, 8);
    }
}
