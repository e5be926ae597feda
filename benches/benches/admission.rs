//! Does it pay that the time of a load counts when the cache is full?
//!
//! A small cache over a mix of two kinds of questions: counts, which read every CI and come again and again, and single gets of CIs
//! that mostly come once. Both runners are asked the same stream in turn, part by part, on the same database; what counts is how long
//! their loads took altogether.
#![allow(missing_docs, reason = "a benchmark has no interface")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]
#![allow(clippy::print_stdout, reason = "the figures are what is asked for")]

use std::time::Duration;

use ci_benches::{both, tenant};
use ci_model::{Aggregate, CiCode, Filter, Get, Question, QuestionKind};
use ci_runner::{Runner, Tenant};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use tokio::runtime::Runtime;

const CIS: u64 = 20_000;
/// Answers that there is room for.
const ROOM: usize = 200;
/// Parts of the stream, and requests of one.
const PARTS: usize = 20;
const REQUESTS: usize = 1_000;
/// One request in so many is a count.
const COUNTS: u32 = 10;

/// Different counts, by two fields and the CIs of one criticality or one type.
fn counts() -> Vec<Question> {
    let fields = ["status", "location", "owner", "ci_subtype", "ci_category"];
    let filters = [
        "criticality=1",
        "criticality=2",
        "criticality=3",
        "criticality=4",
        "criticality=5",
        "ci_type=SW",
        "ci_type=HW",
    ];
    let mut all = Vec::new();
    for (at, one) in fields.iter().enumerate() {
        for other in &fields[at + 1..] {
            for filter in filters {
                let count = Aggregate::builder()
                    .group_by(*one)
                    .group_by(*other)
                    .filters([Filter::parse(filter).unwrap()]);
                all.push(count.build().unwrap().into());
            }
        }
    }
    all
}

/// A rank of so many, those in front far oftener: the square of an even draw.
fn skewed(random: &mut ChaCha8Rng, of: usize) -> usize {
    let drawn = random.random_range(0.0..1.0_f64);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a rank below the number of ranks"
    )]
    let rank = (drawn * drawn * of as f64) as usize;
    rank.min(of - 1)
}

fn stream(random: &mut ChaCha8Rng, counts: &[Question], codes: &[CiCode]) -> Vec<Question> {
    let request = |random: &mut ChaCha8Rng| {
        if random.random_ratio(1, COUNTS) {
            counts[skewed(random, counts.len())].clone()
        } else {
            Get::new(codes[random.random_range(0..codes.len())].clone()).into()
        }
    };
    (0..REQUESTS).map(|_| request(random)).collect()
}

async fn ask(acme: &Tenant, questions: &[Question]) {
    for question in questions {
        match question {
            Question::Get(get) => drop(acme.get(get).await.unwrap()),
            Question::Aggregate(aggregate) => drop(acme.aggregate(aggregate).await.unwrap()),
            _ => unreachable!("no other is in the stream"),
        }
    }
}

fn main() {
    let runtime = Runtime::new().unwrap();
    let codes: Vec<CiCode> = ci_bench::Estate::new(7, CIS)
        .cis()
        .map(|ci| CiCode::new(ci.ci_code).unwrap())
        .collect();
    let counts = counts();
    for loaded in runtime.block_on(both(CIS)).unwrap() {
        let runner = |cost_aware| {
            let builder = Runner::builder(loaded.store.clone()).max_entries(ROOM);
            builder.cost_aware(cost_aware).build().unwrap()
        };
        let told = runtime.block_on(async {
            let runners = [runner(false), runner(true)];
            let mut random = ChaCha8Rng::seed_from_u64(7);
            for part in 0..PARTS {
                let questions = stream(&mut random, &counts, &codes);
                // The first one in turn, so that what the machine does is in both.
                for at in [part % 2, 1 - part % 2] {
                    ask(&runners[at].tenant(tenant()), &questions).await;
                }
            }
            let told = runners.each_ref().map(|runner| {
                let savings = runner.savings();
                let of = |kind| *savings.of(kind).unwrap();
                (of(QuestionKind::Aggregate), of(QuestionKind::Get))
            });
            runners[0].close().await;
            told
        });
        for (name, (count, get)) in ["recency and use alone", "the time of a load, too"]
            .into_iter()
            .zip(told)
        {
            let rate = |hits: u64, all: u64| 100 * hits / all.max(1);
            let took: Duration = count.load_time + get.load_time;
            println!(
                "{}, {name}: counts {} % hits, gets {} % hits, loads took {:.2} s ({:.2} s for counts)",
                loaded.name,
                rate(count.requests.hits, count.requests.total()),
                rate(get.requests.hits, get.requests.total()),
                took.as_secs_f64(),
                count.load_time.as_secs_f64(),
            );
        }
    }
}
