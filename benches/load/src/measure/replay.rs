//! A recorded log of requests, asked again of everybody who caches.
//!
//! The report records a desk's day by the runner's own recorder, reads the file and asks it again; `--replay LOG --database URL` asks the log of
//! a real service of a copy of its database. Requests come one after the other, in the order in which they were
//! recorded, each as fast as it goes: what is compared are hits and statements, not pauses.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, ensure};
use ci_benches::{Loaded, tenant};
use ci_measure::number::real64;
use ci_model::{Question, TenantId};
use ci_runner::record::{Form, Request, read_log};
use ci_runner::{Recorder, Runner};

use super::series::{Times, USUAL, histogram, record};
use super::{Bench, Name, database};
use crate::arms::{Arm, Cached, Field, field};
use crate::operation::Operation;
use crate::place::Data;
use crate::run_file::Figure;
use crate::subjects::Subjects;
use crate::workload::Mix;

/// The section's name.
pub(super) const NAME: &str = "replay";

/// Records a day and asks it again.
pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let data = Data::Estate(bench.scale.pick(10_000, 5_000, 300));
    let requests = bench.scale.pick(4_000, 1_500, 100);
    let mut figures = Vec::new();
    for place in bench.servers.fill(data).await? {
        let codes = bench.scale.pick(300, 200, 70);
        let subjects = Subjects::draw(&place.plain, &*place.store, bench.seed, codes, 40).await?;
        let mix = Mix::desk(&subjects, bench.seed, requests)?;
        let log = recorded(&place, &mix).await?;
        let arms = field(&place, &bench.servers, Field::Caches).await?;
        figures.extend(asked_again("a recorded day", database(&place), &arms, &log).await?);
    }
    Ok(figures)
}

/// Asks a log of a database that is there.
///
/// # Errors
/// When the log cannot be read, or the database fails.
pub async fn replay(log: &Path, address: &str, bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let log = operations(log)?;
    let store = ci_store::open(
        address,
        &ci_store::StoreOptions::default().create_if_missing(false),
    )
    .await?;
    let database = store.backend();
    let arms = crate::arms::caches(&store, &bench.servers).await?;
    asked_again("a recorded log", database, &arms, &log).await
}

/// Whose request it is, and what is asked.
type Asked = (TenantId, Operation);

/// Asks a day through a runner that records it, and reads the log.
async fn recorded(place: &Loaded, mix: &Mix) -> anyhow::Result<Vec<Asked>> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("requests.jsonl");
    let recorder = Recorder::create(&path)?;
    let runner = Runner::builder(Arc::clone(&place.store))
        .record(recorder.clone())
        .build()?;
    let arm = Cached::around(runner);
    let count = mix.sequence.len();
    for number in 0..count {
        arm.run(&tenant(), mix.at(number)).await?;
    }
    let ended = tokio::task::spawn_blocking(move || recorder.finish()).await?;
    let log = operations(&path)?;
    ensure!(
        log.len() as u64 + ended.dropped == count as u64,
        "{} requests were recorded and {} dropped, of {count}",
        log.len(),
        ended.dropped
    );
    Ok(log)
}

fn operations(path: &Path) -> anyhow::Result<Vec<Asked>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let (requests, _, _) = read_log(BufReader::new(file))?;
    ensure!(
        !requests.is_empty(),
        "there are no requests in {}",
        path.display()
    );
    Ok(requests.into_iter().map(operation).collect())
}

fn operation(request: Request) -> Asked {
    let Request {
        tenant,
        form,
        mut questions,
        ..
    } = request;
    let operation = match (form, questions.pop()) {
        (Form::Traverse, Some(Question::Expand(expand))) if questions.is_empty() => {
            Operation::Traverse(expand)
        }
        (Form::One, Some(question)) if questions.is_empty() => Operation::One(question),
        (_, last) => {
            questions.extend(last);
            Operation::Page(questions)
        }
    };
    (tenant, operation)
}

async fn asked_again(
    workload: &str,
    database: &str,
    arms: &[Arc<dyn Arm>],
    log: &[Asked],
) -> anyhow::Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for arm in arms {
        arm.forget().await?;
        let (mut round, mut hits, before) = (histogram(), 0, arm.counts());
        for (tenant, operation) in log {
            let began = Instant::now();
            let outcome = arm.run(tenant, operation).await?;
            record(&mut round, began.elapsed());
            hits += u64::from(outcome.hit);
        }
        let statements = arm.counts().since(before).statements;
        arm.close().await;
        let name = Name {
            section: NAME,
            workload,
            database,
            arm: arm.name(),
            at: "",
        };
        let asked = real64(log.len() as u64);
        let mut times = Times::default();
        times.add(round);
        figures.push(name.figure("hit rate", "%", real64(hits) / asked * 100.0));
        figures.push(name.figure("statements", "an operation", real64(statements) / asked));
        figures.extend(name.times(USUAL, "", &times));
    }
    Ok(figures)
}
