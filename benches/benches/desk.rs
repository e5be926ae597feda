//! What do an operations desk's operations cost, cold and warm, and by one statement per step as the predecessor did them? And the
//! impact of the CI with the most dependants, cold?
//!
//! On the real graph. "One statement per step" asks the plain database, without any of our code but the driver: a count, a list or a CI
//! each, and a graph CI by CI (its relations, then each new CI's row), in the order in which ours has them and with its limits.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]
#![allow(clippy::print_stdout, reason = "the statements are what the figures are for")]

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use ci_benches::{Loaded, Plain, both_real, tenant};
use ci_model::{CiId, CiRef, Expand, View};
use ci_runner::{Runner, Tenant};
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, criterion_group, criterion_main, measurement::WallTime,
};
use sqlx::{AssertSqlSafe, Row as _};
use tokio::runtime::Runtime;

/// CIs whose pages are asked for, one after the other.
const PAGES: usize = 64;
/// A CI of a page has so many relations at least, and at most: as many as a page of the predecessor took 25 statements for. A generated
/// estate may have none of those; then it is any.
const DEGREES: [i64; 2] = [8, 14];

/// The plain database, asked step by step.
struct Steps<'a> {
    plain: &'a Plain,
    asked: u64,
}

impl Steps<'_> {
    /// Runs one statement and returns its first two columns as texts.
    async fn ask(&mut self, sql: &str, bound: &[&str]) -> Vec<(String, String)> {
        self.asked += 1;
        let text = |value: Option<String>| value.unwrap_or_default();
        match self.plain {
            Plain::Sqlite(pool) => {
                let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
                for value in bound {
                    query = query.bind((*value).to_owned());
                }
                let rows = query.fetch_all(pool).await.unwrap();
                let cell = |row: &sqlx::sqlite::SqliteRow, at| text(row.try_get_unchecked(at).unwrap());
                rows.iter().map(|row| (cell(row, 0), cell(row, 1))).collect()
            }
            Plain::Postgres(pool) => {
                let mut query = sqlx::query(AssertSqlSafe(sql.to_owned()));
                for value in bound {
                    query = query.bind((*value).to_owned());
                }
                let rows = query.fetch_all(pool).await.unwrap();
                let cell = |row: &sqlx::postgres::PgRow, at| text(row.try_get_unchecked(at).unwrap());
                rows.iter().map(|row| (cell(row, 0), cell(row, 1))).collect()
            }
        }
    }

    async fn dashboard(&mut self) {
        for field in ["ci_type", "status", "location", "owner"] {
            let sql = format!(
                "SELECT {field}, CAST(count(*) AS TEXT) FROM ci WHERE tenant_id = $1 AND deleted_at IS NULL GROUP BY 1 \
                 ORDER BY count(*) DESC LIMIT 50"
            );
            self.ask(&sql, &["bench"]).await;
        }
        for sql in [
            "SELECT ci_code, ci_name FROM ci WHERE tenant_id = $1 AND deleted_at IS NULL AND criticality = 5 ORDER BY ci_code LIMIT 10",
            "SELECT ci_code, ci_name FROM ci WHERE tenant_id = $1 AND deleted_at IS NULL AND criticality = 4 ORDER BY ci_code LIMIT 10",
            "SELECT ci_code, ci_name FROM ci WHERE tenant_id = $1 AND deleted_at IS NULL ORDER BY updated_at DESC LIMIT 10",
        ] {
            self.ask(sql, &["bench"]).await;
        }
    }

    async fn ci(&mut self, id: &str) {
        let sql = "SELECT c.ci_code, CAST(e.tags AS TEXT) FROM ci AS c LEFT JOIN ci_ext AS e ON e.ci_id = c.ci_id \
                   WHERE c.tenant_id = $1 AND CAST(c.ci_id AS TEXT) = $2";
        // By its key, as anybody would: the cast is for the driver's sake on SQLite alone.
        let sql = match self.plain {
            Plain::Postgres(_) => sql.replace("CAST(c.ci_id AS TEXT) = $2", "c.ci_id = $2::uuid"),
            Plain::Sqlite(_) => sql.replace("CAST(c.ci_id AS TEXT) = $2", "c.ci_id = $2"),
        };
        self.ask(&sql, &["bench", id]).await;
    }

    /// A graph CI by CI; returns how many it has.
    async fn graph(&mut self, root: &str, expand: &Expand) -> usize {
        let types: Vec<String> = expand
            .rel_types()
            .iter()
            .map(|kind| format!("'{}'", kind.as_str()))
            .collect();
        let types = if types.is_empty() {
            String::new()
        } else {
            format!(" AND rel_type IN ({})", types.join(", "))
        };
        let id = match self.plain {
            Plain::Postgres(_) => "$2::uuid",
            Plain::Sqlite(_) => "$2",
        };
        let mut level: HashMap<String, u8> = HashMap::from([(root.to_owned(), 0)]);
        let mut queue = VecDeque::from([root.to_owned()]);
        while let Some(next) = queue.pop_front() {
            let depth = level[&next];
            if depth == expand.depth() || level.len() >= expand.max_nodes() as usize {
                break;
            }
            let mut others = Vec::new();
            for (near, other) in [("from_id", "to_id"), ("to_id", "from_id")] {
                let wanted = match expand.direction() {
                    ci_model::Direction::Out => near == "from_id",
                    ci_model::Direction::In => near == "to_id",
                    ci_model::Direction::Both => true,
                };
                if wanted {
                    let sql = format!(
                        "SELECT CAST({other} AS TEXT), rel_type FROM ci_relation WHERE tenant_id = $1 AND {near} = {id}{types}"
                    );
                    others.extend(self.ask(&sql, &["bench", &next]).await);
                }
            }
            for (other, _) in others {
                if level.len() < expand.max_nodes() as usize && !level.contains_key(&other) {
                    self.ci(&other).await;
                    level.insert(other.clone(), depth + 1);
                    queue.push_back(other);
                }
            }
        }
        level.len()
    }

    async fn ci_page(&mut self, id: &str) {
        self.ci(id).await;
        for view in [View::Neighbors, View::Composition, View::Impact] {
            let root: CiId = id.parse().unwrap();
            let expand = Expand::builder(root, view).build().unwrap();
            self.graph(id, &expand).await;
        }
        let latest = "SELECT ci_code, ci_name FROM ci WHERE tenant_id = $1 AND deleted_at IS NULL ORDER BY updated_at DESC LIMIT 10";
        self.ask(latest, &["bench"]).await;
    }
}

/// CIs with about so many relations as a page usually has.
async fn subjects(plain: &Plain) -> Vec<CiId> {
    for [least, most] in [DEGREES, [1, i64::MAX]] {
        let sql = format!(
            "SELECT CAST(from_id AS TEXT), CAST(count(*) AS TEXT) FROM ci_relation WHERE tenant_id = $1 GROUP BY from_id \
             HAVING count(*) BETWEEN {least} AND {most} ORDER BY from_id LIMIT {PAGES}"
        );
        let found = Steps { plain, asked: 0 }.ask(&sql, &["bench"]).await;
        if found.len() > 2 {
            return found.into_iter().map(|(id, _)| id.parse().unwrap()).collect();
        }
    }
    panic!("no CI has relations")
}

/// The CI with the most dependants.
async fn hub(plain: &Plain) -> CiId {
    let sql = "SELECT CAST(to_id AS TEXT), CAST(count(*) AS TEXT) FROM ci_relation WHERE tenant_id = $1 GROUP BY to_id \
               ORDER BY count(*) DESC LIMIT 1";
    let found = Steps { plain, asked: 0 }.ask(sql, &["bench"]).await;
    println!("the hub has {} dependants", found[0].1);
    found[0].0.parse().unwrap()
}

/// Measures an operation with nothing cached.
fn cold<F: Future<Output = ()>>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: String,
    runtime: &Runtime,
    runner: &Runner,
    mut operation: impl FnMut() -> F,
) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|times| {
            runtime.block_on(async {
                let mut total = Duration::ZERO;
                for _ in 0..times {
                    runner.clear();
                    let began = Instant::now();
                    operation().await;
                    total += began.elapsed();
                }
                total
            })
        });
    });
}

fn operations(criterion: &mut Criterion, runtime: &Runtime, loaded: &Loaded) {
    let name = loaded.name;
    // The runner's tasks run on this runtime.
    let runner = runtime.block_on(async { Runner::builder(loaded.store.clone()).build().unwrap() });
    let acme = runner.tenant(tenant());
    let cis = runtime.block_on(subjects(&loaded.plain));
    let next = std::cell::Cell::new(0);
    let subject = || {
        next.set((next.get() + 1) % cis.len());
        cis[next.get()]
    };
    let dependency = |ci: CiId| Expand::builder(ci, View::Dependency).build().unwrap();
    told(runtime, loaded, &runner, &acme, &cis);

    let mut group = criterion.benchmark_group("operations of a desk");
    group
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));
    let plain = &loaded.plain;
    group.bench_function(format!("{name}, dashboard, one statement per step"), |bencher| {
        bencher.iter(|| runtime.block_on(Steps { plain, asked: 0 }.dashboard()));
    });
    cold(
        &mut group,
        format!("{name}, dashboard, cold"),
        runtime,
        &runner,
        || async {
            acme.dashboard().await.unwrap();
        },
    );
    group.bench_function(format!("{name}, dashboard, warm"), |bencher| {
        bencher.iter(|| runtime.block_on(acme.dashboard()).unwrap());
    });
    group.bench_function(format!("{name}, CI page, one statement per step"), |bencher| {
        bencher.iter_batched(
            || subject().to_string(),
            |id| runtime.block_on(async { Steps { plain, asked: 0 }.ci_page(&id).await }),
            BatchSize::PerIteration,
        );
    });
    cold(
        &mut group,
        format!("{name}, CI page, cold"),
        runtime,
        &runner,
        || async {
            acme.ci_page(subject()).await.unwrap();
        },
    );
    group.bench_function(format!("{name}, CI page, warm"), |bencher| {
        bencher.iter(|| runtime.block_on(acme.ci_page(cis[0])).unwrap());
    });
    group.bench_function(format!("{name}, traversal, one statement per step"), |bencher| {
        bencher.iter_batched(
            &subject,
            |ci| {
                runtime.block_on(async {
                    Steps { plain, asked: 0 }
                        .graph(&ci.to_string(), &dependency(ci))
                        .await
                })
            },
            BatchSize::PerIteration,
        );
    });
    cold(
        &mut group,
        format!("{name}, traversal, cold"),
        runtime,
        &runner,
        || async {
            acme.traverse(&dependency(subject())).await.unwrap();
        },
    );
    group.bench_function(format!("{name}, traversal, warm"), |bencher| {
        bencher.iter(|| runtime.block_on(acme.traverse(&dependency(cis[0]))).unwrap());
    });
    let root = runtime.block_on(hub(&loaded.plain));
    let impact = Expand::builder(root, View::Impact).depth(2).build().unwrap();
    cold(
        &mut group,
        format!("{name}, impact of the greatest hub, depth 2, cold"),
        runtime,
        &runner,
        || async {
            acme.expand(&impact).await.unwrap();
        },
    );
    group.finish();
    runtime.block_on(runner.close());
}

/// Prints how many statements each way takes.
fn told(runtime: &Runtime, loaded: &Loaded, runner: &Runner, acme: &Tenant, cis: &[CiId]) {
    runtime.block_on(async {
        let mut steps = Steps { plain: &loaded.plain, asked: 0 };
        steps.dashboard().await;
        let dashboard = std::mem::take(&mut steps.asked);
        for ci in cis {
            steps.ci_page(&ci.to_string()).await;
        }
        let page = std::mem::take(&mut steps.asked) / cis.len() as u64;
        let mut nodes = 0;
        for ci in cis {
            let expand = Expand::builder(*ci, View::Dependency).build().unwrap();
            nodes += steps.graph(&ci.to_string(), &expand).await;
        }
        let traversal = steps.asked / cis.len() as u64;
        println!(
            "{}: one statement per step takes {dashboard} for a dashboard, {page} for a CI page and {traversal} for a traversal of {} CIs on average",
            loaded.name,
            nodes / cis.len()
        );
        for (name, ci) in [("dashboard", None), ("CI page", Some(0)), ("traversal", Some(1))] {
            for state in ["cold", "warm"] {
                let before = runner.stats().statements;
                match ci {
                    None => drop(acme.dashboard().await.unwrap()),
                    Some(0) => drop(acme.ci_page(CiRef::from(cis[1])).await.unwrap()),
                    Some(_) => {
                        let expand = Expand::builder(cis[2], View::Dependency).build().unwrap();
                        drop(acme.traverse(&expand).await.unwrap());
                    }
                }
                println!("{}: {name} {state}: {} statements", loaded.name, runner.stats().statements - before);
            }
        }
    });
}

fn benchmark(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    for loaded in runtime.block_on(both_real()).unwrap() {
        operations(criterion, &runtime, &loaded);
    }
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
