//! What do the triggers that record changes cost a writer: one upsert, and a batch of 10,000 new rows, with the triggers and
//! with them dropped? And what does a poll cost that finds nothing?
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]

use std::time::{Duration, Instant};

use ci_benches::{Loaded, Plain, both, tenant};
use ci_model::{CiDraft, CiRecord};
use ci_store::{Store, WriteOptions};
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use sqlx::AssertSqlSafe;
use tokio::runtime::Runtime;

const CIS: u64 = 10_000;
const BATCH: u64 = 10_000;

fn record(code: &str, version: u64) -> CiRecord {
    let draft = CiDraft {
        status: Some(format!("status {version}")),
        tags: serde_json::json!({"env": "prod", "n": version})
            .as_object()
            .cloned(),
        attributes: serde_json::json!({"cpu": 8, "ram": 32, "os": "linux"})
            .as_object()
            .cloned(),
        ..CiDraft::new(code, format!("Server {code}"), "HW")
    };
    draft.check(&tenant()).unwrap()
}

async fn upsert(store: &dyn Store, records: Vec<CiRecord>) {
    store.upsert_cis(records, WriteOptions::default()).await.unwrap();
}

async fn run(plain: &Plain, sql: &str) {
    match plain {
        Plain::Sqlite(pool) => drop(sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap()),
        Plain::Postgres(pool) => drop(sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap()),
    }
}

/// Takes the triggers of the feed away.
async fn drop_triggers(plain: &Plain) {
    match plain {
        Plain::Sqlite(pool) => {
            let names =
                "SELECT 'DROP TRIGGER ' || name || ';' FROM sqlite_schema WHERE name GLOB 'ci_change_*'";
            let drops: Vec<String> = sqlx::query_scalar(names).fetch_all(pool).await.unwrap();
            run(plain, &drops.concat()).await;
        }
        Plain::Postgres(_) => {
            let functions = ["ci", "ext", "relation", "all"]
                .map(|name| format!("DROP FUNCTION ci_change_{name} CASCADE;"));
            run(plain, &functions.concat()).await;
        }
    }
}

fn writes(criterion: &mut Criterion, runtime: &Runtime, loaded: &Loaded, how: &str) {
    let (name, store) = (loaded.name, &*loaded.store);
    let mut version = 0;
    runtime.block_on(upsert(store, vec![record("single", version)]));
    let mut group = criterion.benchmark_group("cost of triggers for a writer");
    group.measurement_time(Duration::from_secs(5)).sample_size(50);
    group.bench_function(format!("{name}, one upsert, {how}"), |bencher| {
        bencher.iter(|| {
            version += 1;
            runtime.block_on(upsert(store, vec![record("single", version)]));
        });
    });
    group.sample_size(10);
    let mut round = 0;
    for (what, fresh) in [("10,000 new rows", true), ("10,000 changed rows", false)] {
        group.bench_function(format!("{name}, {what}, {how}"), |bencher| {
            bencher.iter_batched(
                || {
                    round += 1;
                    let prefix = if fresh {
                        format!("{how}-{round}")
                    } else {
                        "batch".to_owned()
                    };
                    (0..BATCH)
                        .map(|n| record(&format!("{prefix}-{n}"), round))
                        .collect::<Vec<_>>()
                },
                |records| runtime.block_on(upsert(store, records)),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn polls(criterion: &mut Criterion, runtime: &Runtime, loaded: &Loaded) {
    let mut feed = loaded.store.feed().unwrap();
    runtime.block_on(feed.start()).unwrap();
    let mut group = criterion.benchmark_group("a poll");
    group.bench_function(format!("{}, nothing new", loaded.name), |bencher| {
        bencher.iter(|| runtime.block_on(feed.poll()).unwrap());
    });
    group.bench_function(format!("{}, one upsert", loaded.name), |bencher| {
        let mut version = 0;
        bencher.iter_custom(|times| {
            let mut spent = Duration::ZERO;
            for _ in 0..times {
                version += 1;
                runtime.block_on(upsert(&*loaded.store, vec![record("polled", version)]));
                let began = Instant::now();
                runtime.block_on(feed.poll()).unwrap();
                spent += began.elapsed();
            }
            spent
        });
    });
    group.bench_function(format!("{}, version of a snapshot", loaded.name), |bencher| {
        bencher.iter_custom(|times| {
            runtime.block_on(async {
                let mut snapshot = loaded.store.snapshot().await.unwrap();
                let began = Instant::now();
                for _ in 0..times {
                    snapshot.version().await.unwrap();
                }
                began.elapsed()
            })
        });
    });
    group.finish();
}

fn benchmark(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    for loaded in &runtime.block_on(both(CIS)).unwrap() {
        polls(criterion, &runtime, loaded);
        writes(criterion, &runtime, loaded, "with triggers");
        runtime.block_on(drop_triggers(&loaded.plain));
        writes(criterion, &runtime, loaded, "without");
    }
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
