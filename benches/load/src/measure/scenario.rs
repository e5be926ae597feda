//! The predecessor's three scenarios, cold and warm: one operation after the other, all arms in turns.

use std::time::Instant;

use ci_benches::{Loaded, tenant};
use ci_measure::number::real64;
use ci_measure::rounds::turns;

use super::series::{USUAL, histogram, record};
use super::{Bench, Name, Scale, Series, Times, database};
use crate::arms::{Arm, Field, field};
use crate::operation::Operation;
use crate::place::Data;
use crate::run_file::Figure;
use crate::subjects::Subjects;
use crate::workload::Scenario;

/// The section's name.
pub(super) const NAME: &str = "scenarios";
/// Nothing is cached.
pub(super) const COLD: &str = "cold";
/// The same operation was asked before.
pub(super) const WARM: &str = "warm";

/// How often an operation is asked again once it is cached.
const WARM_ASKS: u32 = 10;

/// What one arm did in one state.
#[derive(Default)]
struct Asked {
    times: Times,
    statements: Series,
    versions: Series,
}

/// Measures all scenarios on all databases.
pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let data = bench
        .scale
        .pick(Data::real_or_generated(), Data::Estate(10_000), Data::Estate(300));
    let mut figures = Vec::new();
    for place in bench.servers.fill(data).await? {
        let wanted = bench.scale.pick(200, 60, 10);
        let subjects = Subjects::draw(&place.plain, &*place.store, bench.seed, wanted, wanted / 4).await?;
        for scenario in Scenario::ALL {
            let operations = scenario.operations(&subjects)?;
            figures.extend(one(bench, &place, scenario, &operations).await?);
        }
    }
    Ok(figures)
}

async fn one(
    bench: &Bench,
    place: &Loaded,
    scenario: Scenario,
    operations: &[Operation],
) -> anyhow::Result<Vec<Figure>> {
    let arms = field(place, &bench.servers, Field::Everybody).await?;
    let (rounds, each) = repeats(bench.scale);
    let mut asked: Vec<[Asked; 2]> = arms.iter().map(|_| Default::default()).collect();
    // The first round warms databases and connections, and is not kept.
    for round in 0..=rounds {
        for turn in turns(arms.len(), round) {
            let [cold, warm] = slice(&*arms[turn], operations, round, each).await?;
            if round > 0 {
                asked[turn][0].add(cold);
                asked[turn][1].add(warm);
            }
        }
    }
    let mut figures = Vec::new();
    for (arm, states) in arms.iter().zip(&asked) {
        for (at, asked) in [COLD, WARM].into_iter().zip(states) {
            let name = Name {
                section: NAME,
                workload: scenario.name(),
                database: database(place),
                arm: arm.name(),
                at,
            };
            figures.extend(name.times(USUAL, "", &asked.times));
            figures.push(name.median("statements", "an operation", &asked.statements));
            figures.push(name.median("versions read", "an operation", &asked.versions));
        }
        arm.close().await;
    }
    Ok(figures)
}

/// Rounds, and operations of a round.
fn repeats(scale: Scale) -> (usize, usize) {
    scale.pick((5, 6), (3, 3), (3, 2))
}

/// One arm's part of a round: what it took, how many statements, how many readings of versions, cold and warm.
type Part = (hdrhistogram::Histogram<u64>, f64, f64);

async fn slice(
    arm: &dyn Arm,
    operations: &[Operation],
    round: usize,
    each: usize,
) -> anyhow::Result<[Part; 2]> {
    let tenant = tenant();
    let mut times = [histogram(), histogram()];
    let mut statements = [0, 0];
    let mut versions = [0, 0];
    for number in 0..each {
        // The same operations for every arm, others in each round.
        let operation = &operations[(round * each + number) % operations.len()];
        arm.forget().await?;
        for asked in 0..=if arm.caches() { WARM_ASKS } else { 1 } {
            let state = usize::from(asked > 0);
            let before = arm.counts();
            let began = Instant::now();
            let outcome = arm.run(&tenant, operation).await?;
            record(&mut times[state], began.elapsed());
            drop(outcome);
            let counts = arm.counts().since(before);
            statements[state] += counts.statements;
            versions[state] += counts.versions;
        }
    }
    let [cold, warm] = times;
    let part = |times: hdrhistogram::Histogram<u64>, state: usize| {
        let each = real64(times.len().max(1));
        (
            times,
            real64(statements[state]) / each,
            real64(versions[state]) / each,
        )
    };
    Ok([part(cold, 0), part(warm, 1)])
}

impl Asked {
    fn add(&mut self, (times, statements, versions): Part) {
        self.times.add(times);
        self.statements.0.push(statements);
        self.versions.0.push(versions);
    }
}
