//! Where the time of a hit and of a miss goes, and what the floor is: each step by itself, single thread, in the same run.

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use ci_benches::{Loaded, tenant};
use ci_cache_core::SystemClock;
use ci_cache_core::ci::{CiCache, CiCacheConfig, CiLookup};
use ci_measure::number::real;
use ci_model::{CiCode, CiSummary, Get, Key, Question, Search};
use ci_runner::{Runner, Tenant};
use ci_store::Store;
use futures_util::FutureExt as _;
use hashbrown::HashMap;

use super::{Bench, Name, Series, Times, database};
use crate::counted::Counted;
use crate::measure::series::{USUAL, histogram, record};
use crate::operation::search;
use crate::place::Data;
use crate::run_file::Figure;
use crate::subjects::Subjects;

/// The section's name.
pub(super) const NAME: &str = "steps";
/// Calls between two looks at the clock, so that the clock is not what is measured.
const BATCH: usize = 200;
/// Entries of the predecessor's cache.
const ENTRIES: usize = 500;
/// Its own costs, as they were measured on it, in microseconds.
const ITS_OWN: [(&str, f64); 4] = [
    ("a hit", 4.0),
    ("key", 21.0),
    ("set with eviction", 43.0),
    ("pattern invalidation", 244.0),
];

/// Measures all steps.
pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let data = Data::Estate(bench.scale.pick(20_000, 10_000, 300));
    let mut figures = Vec::new();
    for place in bench.servers.fill(data).await? {
        let subjects = Subjects::draw(&place.plain, &*place.store, bench.seed, 2 * ENTRIES, 4).await?;
        let steps = Steps { bench, place: &place };
        if figures.is_empty() {
            figures.extend(steps.hit(&subjects).await?);
            figures.extend(steps.method_by_method(&subjects).await?);
        }
        figures.extend(steps.miss(&subjects).await?);
    }
    Ok(figures)
}

struct Steps<'a> {
    bench: &'a Bench,
    place: &'a Loaded,
}

impl Steps<'_> {
    /// The median time of a call in each of several rounds, in nanoseconds.
    fn each(&self, mut call: impl FnMut(usize)) -> Series {
        let rounds = self.bench.scale.pick(2_000, 500, 20);
        let times = (0..rounds).map(|round| {
            let began = Instant::now();
            for number in 0..BATCH {
                call(round * BATCH + number);
            }
            nanos(began.elapsed()) / real(BATCH)
        });
        let times: Vec<f64> = times.collect();
        // A median a tenth, so that a run file stays small and still tells how much they differ.
        let tenth = times.len().div_ceil(10);
        Series(
            times
                .chunks(tenth)
                .map(|chunk| ci_measure::statistics::Summary::of(chunk).median)
                .collect(),
        )
    }

    /// A warm search and a warm get through the runner, and their steps.
    async fn hit(&self, subjects: &Subjects) -> anyhow::Result<Vec<Figure>> {
        let runner = Runner::builder(Counted::around(Arc::clone(&self.place.store))).build()?;
        let acme = runner.tenant(tenant());
        let codes = &subjects.codes[..100.min(subjects.codes.len())];
        let searches = searches(codes)?;
        let gets: Vec<Get> = codes.iter().map(|code| Get::new(code.clone())).collect();
        let questions: Vec<Question> = searches.iter().cloned().map(Question::from).collect();
        for (search, get) in searches.iter().zip(&gets) {
            acme.search(search).await?;
            acme.get(get).await?;
        }
        let owner = tenant();
        let keys: Vec<Key> = questions
            .iter()
            .map(|question| Key::new(&owner, question))
            .collect();
        let map: HashMap<Key, Arc<usize>> = keys.iter().cloned().zip((0..).map(Arc::new)).collect();
        let cache = filled(&owner, &questions, questions.len())?;
        let at = |number: usize| number % keys.len();
        let mut figures = Vec::new();
        let mut add = |step: &str, series: &Series| {
            figures.push(named("hit", step).median("time", "ns", series));
        };
        add(
            "floor: raw hash look-up with the key at hand",
            &self.each(|number| {
                black_box(map.get(black_box(&keys[at(number)])).map(Arc::clone));
            }),
        );
        add(
            "reading the clock",
            &self.each(|_| {
                black_box(Instant::now());
            }),
        );
        add(
            "making the key",
            &self.each(|number| {
                black_box(Key::new(&owner, black_box(&questions[at(number)])));
            }),
        );
        add(
            "look-up in the engine, counted",
            &self.each(|number| {
                let at = at(number);
                assert!(matches!(
                    cache.lookup(&owner, &keys[at], &questions[at]),
                    CiLookup::Hit(_)
                ));
            }),
        );
        add(
            "a search through the runner",
            &self.each(|number| is_ready_search(&acme, &searches[at(number)])),
        );
        add(
            "a get through the runner",
            &self.each(|number| {
                let answer = acme.get(&gets[at(number)]).now_or_never();
                assert!(black_box(answer).is_some_and(|answer| answer.is_ok()));
            }),
        );
        runner.close().await;
        Ok(figures)
    }

    /// The predecessor's methods beside ours, at its 500 entries.
    async fn method_by_method(&self, subjects: &Subjects) -> anyhow::Result<Vec<Figure>> {
        let owner = tenant();
        let questions: Vec<Question> = searches(&subjects.codes)?
            .into_iter()
            .map(Question::from)
            .collect();
        let kept = ENTRIES.min(questions.len() / 2);
        let cache = filled(&owner, &questions[..kept], kept)?;
        let rows = rows(self.place, &subjects.codes).await?;
        let mut figures = Vec::new();
        let mut add = |method: &str, series: &Series| {
            let micros = Series(series.0.iter().map(|nanos| nanos / 1_000.0).collect());
            figures.push(named("methods", "ours").at(method).median("time", "us", &micros));
        };
        add(
            "a hit",
            &self.each(|number| {
                assert!(black_box(cache.get(&owner, &questions[number % kept])).is_some());
            }),
        );
        add(
            "key",
            &self.each(|number| {
                black_box(CiCache::<Arc<[CiSummary]>>::key(
                    &owner,
                    &questions[number % kept],
                ));
            }),
        );
        add(
            "set with eviction",
            &self.each(|number| {
                // Always one that is not there: the sets go round, and there is room for some of them only.
                cache.set(&owner, &questions[number % questions.len()], Arc::clone(&rows));
            }),
        );
        let patterns = self.patterns(&owner, &questions, &rows)?;
        add("pattern invalidation", &patterns);
        for (method, micros) in ITS_OWN {
            figures.push(
                named("methods", "predecessor, measured on it")
                    .at(method)
                    .figure("time", "us", micros),
            );
        }
        Ok(figures)
    }

    /// Drops what one keyword is in, of a full cache, and puts it back.
    fn patterns(
        &self,
        owner: &ci_model::TenantId,
        questions: &[Question],
        rows: &Arc<[CiSummary]>,
    ) -> anyhow::Result<Series> {
        let kept = ENTRIES.min(questions.len() / 2);
        let cache = filled(owner, &questions[..kept], kept)?;
        let mut times = Vec::new();
        for number in 0..self.bench.scale.pick(400, 100, 10) {
            let question = &questions[number % kept];
            let began = Instant::now();
            let dropped = cache.invalidate_keywords(owner, question.keywords());
            times.push(nanos(began.elapsed()));
            if dropped == 0 {
                bail!("a keyword that is there drops nothing");
            }
            for question in &questions[..kept] {
                if !cache.contains(owner, question) {
                    cache.set(owner, question, Arc::clone(rows));
                }
            }
        }
        Ok(Series(
            times
                .chunks(times.len().div_ceil(10))
                .map(|chunk| ci_measure::statistics::Summary::of(chunk).median)
                .collect(),
        ))
    }

    /// What a miss takes: the round trip, the store's answer, and the runner's.
    async fn miss(&self, subjects: &Subjects) -> anyhow::Result<Vec<Figure>> {
        // Both ask through the same wrapper, which leaves the database open when the runner is closed.
        let store = Counted::around(Arc::clone(&self.place.store));
        let runner = Runner::builder(Arc::clone(&store) as Arc<dyn Store>).build()?;
        let acme = runner.tenant(tenant());
        let codes: Vec<CiCode> = subjects.codes.iter().take(100).cloned().collect();
        let rounds = self.bench.scale.pick(600, 150, 20);
        // As a handler of a service: in a task, not on the thread that started the runtime, which is woken in another way.
        let measured = tokio::spawn(async move { misses(&*store, &acme, &runner, &codes, rounds).await });
        let mut figures = Vec::new();
        for (workload, step, times) in measured.await?? {
            let name = Name {
                section: NAME,
                workload,
                database: database(self.place),
                arm: step,
                at: "",
            };
            figures.extend(name.times(USUAL, "", &times));
        }
        Ok(figures)
    }
}

/// What a figure is called that concerns no database.
fn named<'a>(workload: &'a str, arm: &'a str) -> Name<'a> {
    Name {
        section: NAME,
        workload,
        database: "",
        arm,
        at: "",
    }
}

impl<'a> Name<'a> {
    fn at(self, at: &'a str) -> Self {
        Self { at, ..self }
    }
}

/// The steps of a miss, in turns: workload, step, times.
async fn misses(
    store: &dyn Store,
    acme: &Tenant,
    runner: &Runner,
    codes: &[CiCode],
    rounds: usize,
) -> anyhow::Result<Vec<(&'static str, &'static str, Times)>> {
    const STEPS: [&str; 6] = [
        "floor: a round trip",
        "a snapshot and its version",
        "store, in a transaction, without a version",
        "store, in a transaction, with a version",
        "store, one statement",
        "runner, nothing cached",
    ];
    let mut all = Vec::new();
    for workload in ["get, missed", "search, missed"] {
        let mut times = [(); 6].map(|()| histogram());
        for number in 0..rounds {
            let code = &codes[number % codes.len()];
            let question: Question = if workload.starts_with("get") {
                Get::new(code.clone()).into()
            } else {
                search(&[code.as_str().to_owned()], None)?
            };
            for turn in ci_measure::rounds::turns(STEPS.len(), number) {
                runner.clear();
                let began = Instant::now();
                match turn {
                    0 => store.ping().await?,
                    1 => drop(store.snapshot().await?.version().await?),
                    2 => drop(ask(store, &question, false).await?),
                    3 => drop(ask(store, &question, true).await?),
                    4 => drop(store.ask_all(&tenant(), std::slice::from_ref(&question)).await?),
                    _ => missed(acme, &question).await?,
                }
                record(&mut times[turn], began.elapsed());
            }
        }
        for (step, measured) in STEPS.into_iter().zip(times) {
            let mut times = Times::default();
            times.add(measured);
            all.push((workload, step, times));
        }
    }
    runner.close().await;
    Ok(all)
}

async fn ask(
    store: &dyn Store,
    question: &Question,
    with_version: bool,
) -> anyhow::Result<Vec<ci_store::Found>> {
    let mut snapshot = store.snapshot().await?;
    if with_version {
        snapshot.version().await?;
    }
    Ok(snapshot
        .ask_all(&tenant(), std::slice::from_ref(question))
        .await?)
}

async fn missed(acme: &Tenant, question: &Question) -> anyhow::Result<()> {
    let is_hit = match question {
        Question::Get(get) => acme.get(get).await?.source.is_hit(),
        Question::Search(search) => acme.search_strict(search).await?.source.is_hit(),
        _ => bail!("only gets and searches are missed here"),
    };
    anyhow::ensure!(!is_hit, "it was to be a miss");
    Ok(())
}

/// A hit is ready at its first poll: no executor is needed, and none is measured.
fn is_ready_search(acme: &Tenant, search: &Search) {
    let answer = acme.search(search).now_or_never();
    assert!(black_box(answer).is_some_and(|answer| answer.is_ok()));
}

fn searches(codes: &[CiCode]) -> anyhow::Result<Vec<Search>> {
    let one = |code: &CiCode| match search(&[code.as_str().to_owned()], None)? {
        Question::Search(search) => Ok(search),
        _ => bail!("a search is a search"),
    };
    codes.iter().map(one).collect()
}

/// A cache with an answer to each question, and room for so many.
fn filled(
    owner: &ci_model::TenantId,
    questions: &[Question],
    room: usize,
) -> anyhow::Result<CiCache<Arc<[CiSummary]>>> {
    let cache = CiCache::new(
        CiCacheConfig::new().max_size(room.max(1)),
        Arc::new(SystemClock::new()),
    )?;
    let rows: Arc<[CiSummary]> = Vec::new().into();
    for question in questions {
        cache.set(owner, question, Arc::clone(&rows));
    }
    Ok(cache)
}

/// Ten rows, to be shared by entries.
async fn rows(place: &Loaded, codes: &[CiCode]) -> anyhow::Result<Arc<[CiSummary]>> {
    let gets: Vec<Get> = codes.iter().take(10).map(|code| Get::new(code.clone())).collect();
    let found = place.store.snapshot().await?.get_many(&tenant(), &gets).await?;
    let rows: Option<Vec<CiSummary>> = found.into_iter().map(|ci| Some(ci?.summary)).collect();
    Ok(rows.context("the rows are there")?.into())
}

#[expect(clippy::cast_precision_loss, reason = "times of calls stay far below 2^53 ns")]
fn nanos(time: Duration) -> f64 {
    time.as_nanos() as f64
}
