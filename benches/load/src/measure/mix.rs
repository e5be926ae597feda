//! A desk's day under open-loop load, while CIs are written: latency from the intended moment, hits, statements, stale answers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ci_benches::{Loaded, tenant};
use ci_measure::number::real64;
use ci_measure::random::{Random, Zipf};
use ci_measure::rounds::turns;
use ci_store::{Store, WriteOptions};
use hdrhistogram::Histogram;
use tokio::sync::mpsc;

use super::series::{USUAL, histogram, record};
use super::{Bench, Name, Series, Times, database};
use crate::arms::{Arm, Field, field, names};
use crate::counted::Counts;
use crate::ledger::Ledger;
use crate::machine::processor_secs;
use crate::pacing::{Arrivals, latency};
use crate::place::Data;
use crate::run_file::Figure;
use crate::subjects::Subjects;
use crate::workload::{EXPONENT, Mix};

/// The section's name.
pub(super) const NAME: &str = "mixes";
/// Searches alone, and no writes.
const SEARCHES: &str = "searches";
/// The workload whose writes go through the arm that answers.
const OWN: &str = "desk";
/// The workload whose writes another program makes.
const FOREIGN: &str = "desk, written by another program";
/// Write rates with which those who cache are measured, and among them those with which everybody is.
const RATES: [u32; 4] = [0, 1, 10, 100];
const RATES_OF_ALL: [u32; 2] = [0, 10];
/// Operations a second.
const OPERATIONS: f64 = 200.0;
/// The predecessor's way is asked so many times more rarely: it could not keep up, and what it needs for an operation does not depend on
/// the rate.
const SPARED: f64 = 10.0;
/// CIs that are written, of those that are asked about.
const HOT: usize = 60;

/// Percentiles of the distribution of latencies.
const DISTRIBUTION: &[f64] = &[50.0, 90.0, 99.0, 99.9];

/// Who writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Writer {
    /// The service that answers, through its arm.
    Own,
    /// Another program, straight to the database.
    Foreign,
}

/// One way to load the arms.
#[derive(Debug, Clone, Copy)]
struct Load {
    writer: Writer,
    rate: u32,
    length: Duration,
}

/// Measures all mixes on all databases.
pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let data = bench
        .scale
        .pick(Data::Estate(10_000), Data::Estate(10_000), Data::Estate(300));
    let mut figures = Vec::new();
    for place in bench.servers.fill(data).await? {
        let codes = bench.scale.pick(300, 200, 70);
        let subjects = Subjects::draw(&place.plain, &*place.store, bench.seed, codes, 40).await?;
        let mix = Arc::new(Mix::desk(&subjects, bench.seed, 100_000)?);
        let everybody = arms(&place, bench, Field::Everybody).await?;
        let caches = arms(&place, bench, Field::Caches).await?;
        let plain: Vec<_> = everybody.iter().filter(|arm| !arm.caches()).cloned().collect();
        let rates = bench.scale.pick(&RATES[..], &[0, 10, 100], &[50]);
        for writes in rates {
            let asked = Asked {
                bench,
                place: &place,
                subjects: &subjects,
                mix: &mix,
            };
            let with_all = RATES_OF_ALL.contains(writes);
            let arms: Vec<_> = plain
                .iter()
                .filter(|_| with_all)
                .chain(&caches)
                .cloned()
                .collect();
            figures.extend(asked.by(&arms, Writer::Own, *writes).await?);
            if *writes == 10 {
                figures.extend(asked.by(&caches, Writer::Foreign, *writes).await?);
            }
        }
        let searches = Arc::new(Mix::search(&subjects, bench.seed, 100_000)?);
        let asked = Asked {
            bench,
            place: &place,
            subjects: &subjects,
            mix: &searches,
        };
        let arms: Vec<_> = plain.iter().chain(&caches).cloned().collect();
        let found = asked.by(&arms, Writer::Own, 0).await?;
        figures.extend(found.into_iter().map(|figure| Figure {
            workload: SEARCHES.to_owned(),
            ..figure
        }));
        for arm in everybody.iter().chain(&caches) {
            arm.close().await;
        }
    }
    Ok(figures)
}

/// The arms of a mix: the predecessor with a pool, because a new connection for each statement is told by the scenarios.
async fn arms(place: &Loaded, bench: &Bench, who: Field) -> anyhow::Result<Vec<Arc<dyn Arm>>> {
    let mut arms = field(place, &bench.servers, who).await?;
    arms.retain(|arm| arm.name() != names::RECONNECTING);
    Ok(arms)
}

/// What all arms are asked.
struct Asked<'a> {
    bench: &'a Bench,
    place: &'a Loaded,
    subjects: &'a Subjects,
    mix: &'a Arc<Mix>,
}

/// What one arm did.
#[derive(Default)]
struct Done {
    from_intended: Times,
    from_begun: Times,
    statements: Series,
    versions: Series,
    polls: Series,
    hit_rate: Series,
    stale: Series,
    processor: Series,
    answers: u64,
    stale_answers: u64,
    writes: u64,
}

/// What one arm did in one round.
struct Part {
    from_intended: Histogram<u64>,
    from_begun: Histogram<u64>,
    answers: u64,
    hits: u64,
    stale: u64,
    writes: u64,
    counts: Counts,
    processor_secs: f64,
    length: Duration,
}

impl Asked<'_> {
    async fn by(&self, arms: &[Arc<dyn Arm>], writer: Writer, rate: u32) -> anyhow::Result<Vec<Figure>> {
        let load = Load {
            writer,
            rate,
            length: self.bench.scale.pick(
                Duration::from_millis(2_000),
                Duration::from_millis(700),
                Duration::from_millis(300),
            ),
        };
        let rounds = self.bench.scale.pick(3, 3, 1);
        let mut done: Vec<Done> = arms.iter().map(|_| Done::default()).collect();
        for round in 0..rounds {
            for turn in turns(arms.len(), round) {
                let part = self.slice(&arms[turn], load, round).await?;
                done[turn].add(part);
            }
        }
        let at = format!("{rate} writes/s");
        let mut figures = Vec::new();
        for (arm, done) in arms.iter().zip(&done) {
            let name = Name {
                section: NAME,
                workload: if writer == Writer::Own { OWN } else { FOREIGN },
                database: database(self.place),
                arm: arm.name(),
                at: &at,
            };
            figures.extend(done.figures(name));
        }
        Ok(figures)
    }

    /// One arm's part of a round. It begins in the middle of the day: each operation has been asked once, which is not measured.
    async fn slice(&self, arm: &Arc<dyn Arm>, load: Load, round: usize) -> anyhow::Result<Part> {
        let tenant = tenant();
        arm.forget().await?;
        let first = round * 10_000;
        if arm.caches() {
            for operation in &self.mix.distinct {
                arm.run(&tenant, operation).await?;
            }
        }
        let hot = &self.subjects.codes[..HOT.min(self.subjects.codes.len())];
        let ledger = Arc::new(Ledger::new(&*self.place.store, &tenant, hot, &self.mix.distinct).await?);
        let mut random = Random::new(self.bench.seed ^ round as u64);
        let rate = if arm.name() == names::PREDECESSOR {
            OPERATIONS / SPARED
        } else {
            OPERATIONS
        };
        let asks = Arrivals::draw(rate, load.length, &mut random);
        let writes = Arrivals::draw(f64::from(load.rate), load.length, &mut random);
        let (before, processor) = (arm.counts(), processor_secs());
        // A moment for the threads to start.
        let began = Instant::now() + Duration::from_millis(5);
        let writing = tokio::spawn(write_all(
            Arc::clone(arm),
            (load.writer == Writer::Foreign).then(|| Arc::clone(&self.place.store)),
            Arc::clone(&ledger),
            (writes, began),
            random,
        ));
        let answered = self.ask_all(arm, &ledger, asks, began, first).await?;
        writing.await??;
        let mut part = Part {
            from_intended: histogram(),
            from_begun: histogram(),
            answers: 0,
            hits: 0,
            stale: 0,
            writes: ledger.acknowledged(),
            counts: arm.counts().since(before),
            processor_secs: processor_secs() - processor,
            length: began.elapsed(),
        };
        for answer in answered {
            part.add(&answer?);
        }
        Ok(part)
    }

    /// Begins every operation at its moment and waits for all answers.
    async fn ask_all(
        &self,
        arm: &Arc<dyn Arm>,
        ledger: &Arc<Ledger>,
        arrivals: Arrivals,
        began: Instant,
        first: usize,
    ) -> anyhow::Result<Vec<anyhow::Result<Answered>>> {
        let (told, mut hears) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Handle::current();
        let (arm, mix, ledger) = (Arc::clone(arm), Arc::clone(self.mix), Arc::clone(ledger));
        let pacer = tokio::task::spawn_blocking(move || {
            arrivals.pace(began, |number, intended| {
                let (arm, mix, ledger, told) = (
                    Arc::clone(&arm),
                    Arc::clone(&mix),
                    Arc::clone(&ledger),
                    told.clone(),
                );
                runtime.spawn(async move {
                    let answered = answer(&*arm, &mix, &ledger, first + number, intended).await;
                    // The receiver waits for all.
                    let _heard = told.send(answered);
                });
            });
        });
        let mut answers = Vec::new();
        while let Some(answer) = hears.recv().await {
            answers.push(answer);
        }
        pacer.await?;
        Ok(answers)
    }
}

/// How one operation went.
struct Answered {
    from_intended: Duration,
    from_begun: Duration,
    hit: bool,
    stale: bool,
}

async fn answer(
    arm: &dyn Arm,
    mix: &Mix,
    ledger: &Ledger,
    place: usize,
    intended: Instant,
) -> anyhow::Result<Answered> {
    let operation = mix.at(place);
    let since = ledger.since();
    let begun = Instant::now();
    let outcome = arm.run(&tenant(), operation).await?;
    let ended = Instant::now();
    Ok(Answered {
        from_intended: latency(intended, ended),
        from_begun: ended - begun,
        hit: outcome.hit,
        stale: arm.caches() && ledger.judge(since, operation, &outcome.shown).is_some(),
    })
}

/// Writes hot CIs, one after the other, at their moments; popular ones more often.
async fn write_all(
    arm: Arc<dyn Arm>,
    foreign: Option<Arc<dyn Store>>,
    ledger: Arc<Ledger>,
    (arrivals, began): (Arrivals, Instant),
    mut random: Random,
) -> anyhow::Result<()> {
    let zipf = Zipf::new(u32::try_from(ledger.len())?, EXPONENT, &mut random);
    let (told, mut hears) = mpsc::unbounded_channel();
    let pacer = tokio::task::spawn_blocking(move || {
        arrivals.pace(began, |number, _| {
            let _heard = told.send(number);
        });
    });
    while hears.recv().await.is_some() {
        let (number, record) = ledger.begin(zipf.draw(&mut random) as usize);
        match &foreign {
            Some(store) => {
                store.upsert_cis(vec![record], WriteOptions::default()).await?;
            }
            None => arm.write(record).await?,
        }
        ledger.acknowledge(number);
    }
    Ok(pacer.await?)
}

impl Part {
    fn add(&mut self, answered: &Answered) {
        record(&mut self.from_intended, answered.from_intended);
        record(&mut self.from_begun, answered.from_begun);
        self.answers += 1;
        self.hits += u64::from(answered.hit);
        self.stale += u64::from(answered.stale);
    }
}

impl Done {
    fn add(&mut self, part: Part) {
        let answers = real64(part.answers.max(1));
        let each = |count: u64| real64(count) / answers;
        self.statements.0.push(each(part.counts.statements));
        self.versions.0.push(each(part.counts.versions));
        self.polls
            .0
            .push(crate::pacing::per_second(part.counts.polls, part.length));
        self.hit_rate.0.push(each(part.hits) * 100.0);
        self.stale.0.push(each(part.stale) * 100.0);
        self.processor.0.push(part.processor_secs / answers * 1e6);
        self.from_intended.add(part.from_intended);
        self.from_begun.add(part.from_begun);
        self.answers += part.answers;
        self.stale_answers += part.stale;
        self.writes += part.writes;
    }

    fn figures(&self, name: Name<'_>) -> Vec<Figure> {
        let mut figures = name.times(DISTRIBUTION, "", &self.from_intended);
        figures.extend(name.times(USUAL, " from its beginning", &self.from_begun));
        figures.extend([
            name.median("statements", "an operation", &self.statements),
            name.median("versions read", "an operation", &self.versions),
            name.median("polls", "a second", &self.polls),
            name.median("hit rate", "%", &self.hit_rate),
            name.median("stale", "%", &self.stale),
            name.median("processor time", "us an operation", &self.processor),
            name.figure("answers", "in all rounds", real64(self.answers)),
            name.figure("stale answers", "in all rounds", real64(self.stale_answers)),
            name.figure("writes", "in all rounds", real64(self.writes)),
        ]);
        figures
    }
}
