//! What an operation costs over 10,000, 100,000 and a million CIs.

use std::sync::Arc;
use std::time::Instant;

use ci_benches::tenant;
use ci_model::Question;
use ci_runner::Runner;

use super::series::{Times, USUAL, histogram, record};
use super::{Bench, Name, database};
use crate::arms::{Arm as _, Predecessor};
use crate::operation::{Operation, search};
use crate::place::Data;
use crate::run_file::Figure;
use crate::subjects::{Subjects, keywords};

/// The section's name.
pub(super) const NAME: &str = "sizes";

/// Measures one size after the other; databases of one size at a time.
pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let sizes: &[u64] = bench
        .scale
        .pick(&[10_000, 100_000, 1_000_000], &[10_000, 40_000], &[300]);
    let mut figures = Vec::new();
    for size in sizes {
        for place in bench.servers.fill(Data::Cis(*size)).await? {
            figures.extend(one(bench, &place, *size).await?);
        }
    }
    Ok(figures)
}

async fn one(bench: &Bench, place: &ci_benches::Loaded, size: u64) -> anyhow::Result<Vec<Figure>> {
    let subjects = Subjects::draw(&place.plain, &*place.store, bench.seed, 100, 0).await?;
    let mut questions = Vec::new();
    for code in &subjects.codes {
        questions.push(search(&keywords(code), None)?);
    }
    let scans = bench.scale.pick(12, 6, 2);
    let rounds = bench.scale.pick(400, 100, 10);
    let predecessor = Predecessor::pooled(place);
    let runner = Runner::builder(Arc::clone(&place.store)).build()?;
    let acme = runner.tenant(tenant());
    let [mut scanned, mut cold, mut warm] = [(); 3].map(|()| histogram());
    for (number, question) in questions.iter().cycle().take(rounds).enumerate() {
        let Question::Search(asked) = question else {
            continue;
        };
        if number < scans {
            let operation = Operation::One(question.clone());
            let began = Instant::now();
            predecessor.run(&tenant(), &operation).await?;
            record(&mut scanned, began.elapsed());
        }
        runner.clear();
        let began = Instant::now();
        acme.search_strict(asked).await?;
        record(&mut cold, began.elapsed());
    }
    // All of them are in memory now, and asked in turns.
    for question in &questions {
        if let Question::Search(asked) = question {
            acme.search_strict(asked).await?;
        }
    }
    for question in questions.iter().cycle().take(rounds * 20) {
        if let Question::Search(asked) = question {
            let began = Instant::now();
            acme.search_strict(asked).await?;
            record(&mut warm, began.elapsed());
        }
    }
    runner.close().await;
    let at = format!("{size} CIs");
    let mut figures = Vec::new();
    for (arm, round) in [
        ("predecessor", scanned),
        ("runner, cold", cold),
        ("runner, warm", warm),
    ] {
        let name = Name {
            section: NAME,
            workload: "search by two keywords",
            database: database(place),
            arm,
            at: &at,
        };
        let mut times = Times::default();
        times.add(round);
        figures.extend(name.times(USUAL, "", &times));
    }
    Ok(figures)
}
