//! What does a miss cost more than the same question straight on the store?
//!
//! All ways are asked in turn, so that what the machine does meanwhile is in all: the store's own way to answer with the version (one statement
//! where it can), a snapshot without a version, and the runner with nothing cached.
#![allow(missing_docs, reason = "criterion's macros make undocumented items")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]
#![allow(clippy::print_stdout, reason = "the differences are what is asked for")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use ci_benches::{Loaded, both, tenant};
use ci_model::{Aggregate, CiCode, Expand, Get, List, Question, Search, View};
use ci_runner::{Runner, Tenant};
use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;

const CIS: u64 = 20_000;
/// Questions of each kind and way.
const ROUNDS: usize = 400;

/// How a question is asked straight.
#[derive(Clone, Copy, PartialEq)]
enum Straight {
    WithVersion,
    WithoutVersion,
}

async fn straight(loaded: &Loaded, question: &Question, how: Straight) -> Duration {
    let (began, asked) = (Instant::now(), std::slice::from_ref(question));
    let found = if how == Straight::WithVersion {
        loaded.store.ask_all(&tenant(), asked).await.unwrap().found
    } else {
        let mut snapshot = loaded.store.snapshot().await.unwrap();
        snapshot.ask_all(&tenant(), asked).await.unwrap()
    };
    let took = began.elapsed();
    assert_eq!(found.len(), 1);
    took
}

async fn missed(runner: &Runner, acme: &Tenant, question: &Question) -> Duration {
    runner.clear();
    let began = Instant::now();
    match question {
        Question::Get(get) => drop(acme.get(get).await.unwrap()),
        Question::Search(search) => drop(acme.search_strict(search).await.unwrap()),
        Question::List(list) => drop(acme.list(list).await.unwrap()),
        Question::Aggregate(aggregate) => drop(acme.aggregate(aggregate).await.unwrap()),
        Question::Expand(expand) => drop(acme.expand(expand).await.unwrap()),
        Question::Path(path) => drop(acme.path(path).await.unwrap()),
    }
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e6
}

fn questions() -> Vec<(&'static str, Question)> {
    let estate = ci_bench::Estate::new(7, CIS);
    let code = estate.cis().nth(777).unwrap().ci_code;
    let code = CiCode::new(code).unwrap();
    let search = Search::builder()
        .keywords([code.as_str()])
        .limit(10)
        .build()
        .unwrap();
    vec![
        ("get", Get::new(code.clone()).into()),
        ("search", search.into()),
        ("list", List::builder().limit(20).build().unwrap().into()),
        (
            "aggregate",
            Aggregate::builder().group_by("status").build().unwrap().into(),
        ),
        (
            "expand",
            Expand::builder(code, View::Impact).build().unwrap().into(),
        ),
    ]
}

fn benchmark(criterion: &mut Criterion) {
    let runtime = Runtime::new().unwrap();
    for loaded in runtime.block_on(both(CIS)).unwrap() {
        let loaded = Arc::new(loaded);
        let runner = runtime.block_on(async { Runner::builder(loaded.store.clone()).build().unwrap() });
        let acme = runner.tenant(tenant());
        for (kind, question) in questions() {
            let (loaded, runner, acme) = (Arc::clone(&loaded), runner.clone(), acme.clone());
            let measured = async move {
                let (mut with, mut without, mut miss) = (Vec::new(), Vec::new(), Vec::new());
                for _ in 0..ROUNDS {
                    with.push(straight(&loaded, &question, Straight::WithVersion).await);
                    miss.push(missed(&runner, &acme, &question).await);
                    without.push(straight(&loaded, &question, Straight::WithoutVersion).await);
                }
                let (with, without, miss) = (median(with), median(without), median(miss));
                println!(
                    "{}, {kind}: straight {with:.0} us (without a version {without:.0} us), by the runner {miss:.0} us: {:+.0} us, {:+.1} %",
                    loaded.name,
                    miss - with,
                    (miss / with - 1.0) * 100.0
                );
            };
            // As a service's handler does: in a task, not on the thread that started the runtime, which is woken in another way.
            runtime.block_on(async { tokio::spawn(measured).await.unwrap() });
        }
        let mut group = criterion.benchmark_group("a miss");
        group
            .sample_size(20)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(2));
        let (_, get) = questions().swap_remove(0);
        group.bench_function(format!("{}, get, straight", loaded.name), |bencher| {
            bencher.iter(|| runtime.block_on(straight(&loaded, &get, Straight::WithVersion)));
        });
        group.bench_function(format!("{}, get, by the runner", loaded.name), |bencher| {
            bencher.iter(|| runtime.block_on(missed(&runner, &acme, &get)));
        });
        group.finish();
        runtime.block_on(runner.close());
    }
}

criterion_group!(benches, benchmark);
criterion_main!(benches);
