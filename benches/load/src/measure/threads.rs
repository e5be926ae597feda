//! How many warm hits a second one runner answers with one thread, and with more.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use ci_benches::tenant;
use ci_measure::rounds::turns;
use ci_model::Get;
use ci_runner::{Runner, Tenant};
use futures_util::FutureExt as _;

use super::{Bench, Name, Series};
use crate::pacing::per_second;
use crate::place::{Data, Servers};
use crate::run_file::Figure;
use crate::subjects::Subjects;

/// The section's name.
pub(super) const NAME: &str = "threads";
/// Hits between two looks at whether it is over.
const BATCH: u64 = 256;

/// Measures one thread, and twice as many up to twice the processors.
pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let data = Data::Estate(bench.scale.pick(10_000, 5_000, 300));
    let place = Servers::none().fill(data).await?.remove(0);
    let subjects = Subjects::draw(&place.plain, &*place.store, bench.seed, 1_000, 1).await?;
    let runner = Runner::builder(Arc::clone(&place.store)).build()?;
    let acme = runner.tenant(tenant());
    let gets: Vec<Get> = subjects.codes.iter().map(|code| Get::new(code.clone())).collect();
    for get in &gets {
        acme.get(get).await?;
    }
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let counts: Vec<usize> = std::iter::successors(Some(1), |count| Some(count * 2))
        .take_while(|count| *count <= processors * 2)
        .collect();
    let (rounds, length) = bench.scale.pick((7, 400), (3, 200), (1, 20));
    let length = Duration::from_millis(length);
    let mut rates = vec![Series::default(); counts.len()];
    for round in 0..rounds {
        for turn in turns(counts.len(), round) {
            let (acme, gets, threads) = (acme.clone(), gets.clone(), counts[turn]);
            let rate = tokio::task::spawn_blocking(move || hits(&acme, &gets, threads, length)).await?;
            rates[turn].0.push(rate);
        }
    }
    runner.close().await;
    let figures = counts.iter().zip(&rates).map(|(threads, rate)| {
        let name = Name {
            section: NAME,
            workload: "warm gets",
            database: "",
            arm: "runner",
            at: &threads.to_string(),
        };
        name.median("hits", "a second", rate)
    });
    Ok(figures.collect())
}

/// Hits a second of so many threads together.
fn hits(acme: &Tenant, gets: &[Get], threads: usize, length: Duration) -> f64 {
    let (over, done) = (AtomicBool::new(false), AtomicU64::new(0));
    let began = Instant::now();
    thread::scope(|scope| {
        for thread in 0..threads {
            let (over, done) = (&over, &done);
            // A view of its own, as each request of a service has; each begins at another place.
            let acme = acme.clone();
            let mut asked = gets.iter().cycle().skip(thread * 31);
            scope.spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    for get in asked.by_ref().take(usize::try_from(BATCH).unwrap_or(1)) {
                        assert!(acme.get(get).now_or_never().is_some_and(|answer| answer.is_ok()));
                    }
                    done.fetch_add(BATCH, Ordering::Relaxed);
                    if began.elapsed() >= length {
                        over.store(true, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    per_second(done.load(Ordering::Relaxed), began.elapsed())
}
