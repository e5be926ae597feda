//! How long does a search by two selective keywords take over 100,000 CIs: scanned sequentially as the predecessor did,
//! through the store's index, and from the cache?
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]

use std::hint::black_box;
use std::time::Duration;

use ci_benches::{Loaded, Plain, both, tenant};
use ci_model::{CiSummary, Search};
use ci_runner::Runner;
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;

const CIS: u64 = 100_000;

/// The predecessor's statement, less its columns: any case, five columns, AND over two keywords.
const SCAN_POSTGRES: &str = "SELECT ci_code FROM ci WHERE tenant_id = $1 AND deleted_at IS NULL \
    AND (ci_code ILIKE $2 OR ci_name ILIKE $2 OR ci_type ILIKE $2 OR ci_subtype ILIKE $2 OR ci_category ILIKE $2) \
    AND (ci_code ILIKE $3 OR ci_name ILIKE $3 OR ci_type ILIKE $3 OR ci_subtype ILIKE $3 OR ci_category ILIKE $3) \
    ORDER BY ci_code LIMIT 10";
const SCAN_SQLITE: &str = "SELECT ci_code FROM ci NOT INDEXED WHERE tenant_id = $1 AND deleted_at IS NULL \
    AND (ci_code LIKE $2 OR ci_name LIKE $2 OR ci_type LIKE $2 OR ci_subtype LIKE $2 OR ci_category LIKE $2) \
    AND (ci_code LIKE $3 OR ci_name LIKE $3 OR ci_type LIKE $3 OR ci_subtype LIKE $3 OR ci_category LIKE $3) \
    ORDER BY ci_code LIMIT 10";

/// Two keywords that few CIs have together, taken from a CI near the end of the estate.
fn keywords() -> [String; 2] {
    let estate = ci_bench::Estate::new(7, CIS);
    let code = estate
        .cis()
        .filter(|ci| ci.ci_subtype.as_deref() == Some("app"))
        .last()
        .unwrap()
        .ci_code;
    let mut parts: Vec<&str> = code.split('-').collect();
    let tail = parts.split_off(parts.len() / 2);
    [parts.join("-"), tail.join("-")]
}

fn question(keywords: &[String; 2]) -> Search {
    Search::builder()
        .keywords(keywords.iter().cloned())
        .limit(10)
        .build()
        .unwrap()
}

async fn scan(plain: &Plain, keywords: &[String; 2]) -> usize {
    let tenant = tenant();
    let [first, second] = keywords.each_ref().map(|word| format!("%{word}%"));
    match plain {
        Plain::Sqlite(pool) => {
            let query = sqlx::query(SCAN_SQLITE)
                .bind(tenant.as_str())
                .bind(first)
                .bind(second);
            query.fetch_all(pool).await.unwrap().len()
        }
        Plain::Postgres(pool) => {
            let query = sqlx::query(SCAN_POSTGRES)
                .bind(tenant.as_str())
                .bind(first)
                .bind(second);
            query.fetch_all(pool).await.unwrap().len()
        }
    }
}

async fn search(loaded: &Loaded, question: &Search) -> Vec<CiSummary> {
    loaded
        .store
        .snapshot()
        .await
        .unwrap()
        .search(&tenant(), question)
        .await
        .unwrap()
}

fn benchmark(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    let keywords = keywords();
    let question = question(&keywords);
    let databases = runtime.block_on(both(CIS)).unwrap();
    let mut group = criterion.benchmark_group("search, two selective keywords, 100,000 CIs");
    group
        .sample_size(50)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));
    for loaded in &databases {
        let found = runtime.block_on(search(loaded, &question)).len();
        assert!(
            (1..=10).contains(&found),
            "the keywords are selective and find something: {found}"
        );
        assert_eq!(
            runtime.block_on(scan(&loaded.plain, &keywords)),
            found,
            "both ways find the same"
        );
        group.bench_function(format!("{}, sequential scan", loaded.name), |bencher| {
            bencher.iter(|| runtime.block_on(scan(&loaded.plain, &keywords)));
        });
        group.bench_function(format!("{}, store without cache", loaded.name), |bencher| {
            bencher.iter(|| runtime.block_on(search(loaded, &question)));
        });
    }
    let acme = Runner::builder(databases[0].store.clone())
        .build()
        .unwrap()
        .tenant(tenant());
    runtime.block_on(acme.search(&question)).unwrap();
    group.bench_function("runner, cached", |bencher| {
        bencher.iter_custom(|times| {
            runtime.block_on(async {
                let began = std::time::Instant::now();
                for _ in 0..times {
                    black_box(acme.search(black_box(&question)).await.unwrap());
                }
                began.elapsed()
            })
        });
    });
    group.finish();
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
