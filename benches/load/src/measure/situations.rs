//! Situations in which caches disappoint: a restart, a stampede, a scan, a noisy tenant.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ci_bench::Estate;
use ci_benches::{Loaded, tenant};
use ci_measure::number::real64;
use ci_model::{CiCode, TenantId};
use ci_store::WriteOptions;
use futures_util::future::try_join_all;

use super::series::{Times, USUAL, histogram, record};
use super::{Bench, Name, database};
use crate::arms::{Arm, Cached, Field, Ttl, field, names};
use crate::operation::{Operation, dashboard};
use crate::place::Data;
use crate::run_file::Figure;
use crate::subjects::Subjects;
use crate::workload::{Mix, gets};

/// The section's name.
pub(super) const NAME: &str = "situations";
/// Answers that the small caches of the scan and of the tenants have room for.
const ROOM: usize = 500;

/// Measures all situations on all databases.
pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let data = Data::Estate(bench.scale.pick(20_000, 10_000, 900));
    let mut figures = Vec::new();
    for place in bench.servers.fill(data).await? {
        let codes = bench.scale.pick(6_000, 3_000, 700);
        let subjects = Subjects::draw(&place.plain, &*place.store, bench.seed, codes, 40).await?;
        let situation = Situation { bench, place: &place };
        figures.extend(situation.start(&subjects).await?);
        figures.extend(situation.stampede().await?);
        figures.extend(situation.scan(&subjects).await?);
        figures.extend(situation.tenants(&subjects).await?);
    }
    Ok(figures)
}

struct Situation<'a> {
    bench: &'a Bench,
    place: &'a Loaded,
}

impl Situation<'_> {
    fn name<'n>(&'n self, workload: &'n str, arm: &'n str, at: &'n str) -> Name<'n> {
        Name {
            section: NAME,
            workload,
            database: database(self.place),
            arm,
            at,
        }
    }

    /// The first operations of a desk after a restart, without and with the file that the process before has left.
    async fn start(&self, subjects: &Subjects) -> anyhow::Result<Vec<Figure>> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("warm");
        let few = Subjects {
            codes: subjects.codes.iter().take(200).cloned().collect(),
            roots: subjects.roots.clone(),
        };
        let mix = Mix::desk(&few, self.bench.seed, 2_000)?;
        let (day, morning) = self.bench.scale.pick((1_500, 300), (600, 200), (60, 30));
        let mut figures = Vec::new();
        for at in ["the day before", "with its file", "without a file"] {
            if at == "without a file" {
                std::fs::remove_file(&file).context("the runner has written its file")?;
            }
            let arm = Cached::warm(Arc::clone(&self.place.store), &file)?;
            // What is in the file is of use once the feed has proved that it is still true.
            arm.runner().catch_up(Duration::from_secs(10)).await;
            let asked = if at == "the day before" { day } else { morning };
            let (mut times, mut hits, before) = (histogram(), 0_u64, arm.counts());
            for place in 0..asked {
                let began = Instant::now();
                let outcome = arm.run(&tenant(), mix.at(place)).await?;
                record(&mut times, began.elapsed());
                hits += u64::from(outcome.hit);
            }
            let statements = arm.counts().since(before).statements;
            arm.close().await;
            if at != "the day before" {
                let name = self.name("the first operations after a restart", names::RUNNER, at);
                let mut all = Times::default();
                all.add(times);
                figures.extend(name.times(USUAL, "", &all));
                let asked = real64(asked as u64);
                figures.push(name.figure("hit rate", "%", real64(hits) / asked * 100.0));
                figures.push(name.figure("statements", "an operation", real64(statements) / asked));
            }
        }
        Ok(figures)
    }

    /// A thousand callers ask for the same dashboard at once, and nobody has it.
    async fn stampede(&self) -> anyhow::Result<Vec<Figure>> {
        let callers = self.bench.scale.pick(1_000, 300, 20);
        let at = format!("{callers} callers");
        let mut figures = Vec::new();
        for arm in field(self.place, &self.bench.servers, Field::Everybody).await? {
            // Everybody without a cache asks the database for each caller; that is known, and takes minutes.
            if arm.caches() {
                arm.forget().await?;
                let (before, began) = (arm.counts(), Instant::now());
                let operation = Arc::new(dashboard()?);
                let tasks = (0..callers).map(|_| {
                    let (arm, operation) = (Arc::clone(&arm), Arc::clone(&operation));
                    tokio::spawn(async move { arm.run(&tenant(), &operation).await.map(drop) })
                });
                let failed = futures_util::future::join_all(tasks)
                    .await
                    .into_iter()
                    .filter(|ended| !matches!(ended, Ok(Ok(()))))
                    .count();
                let took = began.elapsed();
                let statements = arm.counts().since(before).statements;
                let name = self.name("stampede for a dashboard", arm.name(), &at);
                figures.push(name.figure("until all have it", "ms", took.as_secs_f64() * 1e3));
                figures.push(name.figure("statements", "in all", real64(statements)));
                figures.push(name.figure("failed", "callers", real64(failed as u64)));
            }
            arm.close().await;
        }
        Ok(figures)
    }

    /// Arms with little room.
    fn small(&self) -> anyhow::Result<Vec<Arc<dyn Arm>>> {
        let store = || Arc::clone(&self.place.store);
        let minute = Duration::from_secs(60);
        let mut arms: Vec<Arc<dyn Arm>> = vec![Arc::new(Ttl::new(names::TTL, store(), minute, ROOM))];
        arms.push(Arc::new(Cached::new(store(), ROOM)?));
        Ok(arms)
    }

    /// Popular CIs are asked for all the time; then somebody exports all CIs once, and the popular ones are asked for again.
    async fn scan(&self, subjects: &Subjects) -> anyhow::Result<Vec<Figure>> {
        let (popular, scanned) = subjects.codes.split_at(ROOM / 2);
        let popular = of(popular);
        let mut figures = Vec::new();
        for arm in self.small()? {
            for _ in 0..5 {
                hits(&*arm, &tenant(), &popular).await?;
            }
            let before = hits(&*arm, &tenant(), &popular).await?;
            hits(&*arm, &tenant(), &of(scanned)).await?;
            let after = hits(&*arm, &tenant(), &popular).await?;
            let name = self.name("popular CIs, then a scan of all", arm.name(), "");
            figures.push(name.figure("hit rate before", "%", before));
            figures.push(name.figure("hit rate after", "%", after));
            arm.close().await;
        }
        Ok(figures)
    }

    /// A quiet tenant's popular CIs, while another tenant asks for very many.
    async fn tenants(&self, subjects: &Subjects) -> anyhow::Result<Vec<Figure>> {
        let quiet = TenantId::new("quiet")?;
        let estate = Estate::new(self.bench.seed, 300);
        let records = estate
            .cis()
            .map(|draft| draft.check(&quiet))
            .collect::<Result<Vec<_>, _>>()?;
        let codes: Vec<CiCode> = records
            .iter()
            .take(ROOM / 4)
            .map(|record| record.code.clone())
            .collect();
        self.place
            .store
            .upsert_cis(records, WriteOptions::default())
            .await?;
        let (own, noise) = (of(&codes), of(&subjects.codes));
        let mut figures = Vec::new();
        for arm in self.small()? {
            for _ in 0..5 {
                hits(&*arm, &quiet, &own).await?;
            }
            let alone = hits(&*arm, &quiet, &own).await?;
            let mut beside = Vec::new();
            for noisy in noise.chunks(ROOM) {
                hits(&*arm, &tenant(), noisy).await?;
                beside.push(hits(&*arm, &quiet, &own).await?);
            }
            let name = self.name("a quiet tenant beside a noisy one", arm.name(), "");
            figures.push(name.figure("hit rate before", "%", alone));
            figures.push(name.figure("hit rate after", "%", ci_measure::random::mean(&beside)));
            arm.close().await;
        }
        Ok(figures)
    }
}

fn of(codes: &[CiCode]) -> Vec<Operation> {
    let subjects = Subjects {
        codes: codes.to_vec(),
        roots: Vec::new(),
    };
    gets(&subjects)
}

/// The hit rate of operations, asked a few at a time, in percent.
async fn hits(arm: &dyn Arm, tenant: &TenantId, operations: &[Operation]) -> anyhow::Result<f64> {
    let mut hits = 0_u64;
    for few in operations.chunks(8) {
        let asked = few.iter().map(|operation| arm.run(tenant, operation));
        let outcomes = try_join_all(asked).await?;
        hits += outcomes.iter().filter(|outcome| outcome.hit).count() as u64;
    }
    Ok(real64(hits) / real64(operations.len().max(1) as u64) * 100.0)
}
