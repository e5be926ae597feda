//! How precise is invalidation, what hit rate does that leave, and how soon is a committed change seen?
//!
//! No criterion here: counts and percentiles of one seeded run, printed as tables. The estate is the real graph where it lies beside the
//! repository, else a generated one.
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot run should stop")]
#![allow(clippy::print_stdout, reason = "its tables are its result")]

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ci_benches::{Loaded, Plain, both_real, tenant};
use ci_model::{
    CiCode, CiDetail, CiDraft, CiRef, CiSummary, Expand, Get, Graph, Key, List, Question, RelationDraft,
    Search, View,
};
use ci_runner::{Runner, Tenant};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use sqlx::AssertSqlSafe;
use tokio::runtime::Runtime;

/// Distinct questions, asked by a zipf distribution of exponent 0.99.
const QUESTIONS: usize = 3_000;
/// Questions between two writes: 2,000 a second at 10 writes a second.
const READS_PER_WRITE: usize = 200;
/// Writes of a run: a minute at 10 a second.
const WRITES: usize = 600;
/// Writers of the latency measurement, and how often each writes.
const WRITERS: usize = 8;
const WRITES_EACH: usize = 60;

#[derive(Debug, Clone, PartialEq)]
enum Value {
    Rows(Arc<[CiSummary]>),
    Ci(Option<Arc<CiDetail>>),
    Graph(Option<Arc<Graph>>),
}

async fn ask(tenant: &Tenant, question: &Question) -> Value {
    match question {
        Question::Search(search) => Value::Rows(tenant.search_strict(search).await.unwrap().value.items),
        Question::Get(get) => Value::Ci(tenant.get(get).await.unwrap().value),
        Question::Expand(expand) => Value::Graph(tenant.expand(expand).await.unwrap().value),
        _ => unreachable!("no other kind is asked"),
    }
}

/// Searches, gets and expansions about CIs of the estate.
fn questions(codes: &[CiSummary], random: &mut ChaCha8Rng) -> Vec<Question> {
    let mut made = Vec::with_capacity(QUESTIONS);
    while made.len() < QUESTIONS {
        let ci = &codes[random.random_range(0..codes.len())];
        let word = |text: &str| {
            text.split([':', '-', ' ', '_', '.'])
                .max_by_key(|part| part.len())
                .unwrap_or("x")
                .to_owned()
        };
        let question: Question = match random.random_range(0..20) {
            0..12 => {
                let mut search = Search::builder().keyword(word(&ci.ci_name)).limit(10);
                if random.random_range(0..3) == 0 {
                    search =
                        search.filter(ci_model::Filter::parse(&format!("ci_type={}", ci.ci_type)).unwrap());
                }
                search.build().unwrap().into()
            }
            12..17 => Get::new(ci.ci_code.clone()).into(),
            _ => {
                let view = if random.random_range(0..2) == 0 {
                    View::Impact
                } else {
                    View::Neighbors
                };
                Expand::builder(CiRef::from(ci.ci_code.clone()), view)
                    .depth(1)
                    .build()
                    .unwrap()
                    .into()
            }
        };
        made.push(question);
    }
    made
}

/// Changes something, as people and scanners do: mostly states and owners, sometimes names, CIs and relations.
async fn write(tenant: &Tenant, cis: &[CiSummary], random: &mut ChaCha8Rng, number: usize) {
    let ci = &cis[random.random_range(0..cis.len())];
    let other = &cis[random.random_range(0..cis.len())];
    match random.random_range(0..20) {
        0..15 => {
            let get = Get::new(ci.ci_code.clone());
            let Some(now) = tenant.get(&get).await.unwrap().value else {
                return;
            };
            let mut draft = CiDraft {
                ci_subtype: now.summary.ci_subtype.clone(),
                ci_category: now.summary.ci_category.clone(),
                status: now.summary.status.clone(),
                location: now.summary.location.clone(),
                owner: now.summary.owner.clone(),
                criticality: now.criticality.map(i64::from),
                tags: Some(now.tags.clone()),
                attributes: Some(now.attributes.clone()),
                ..CiDraft::new(
                    ci.ci_code.as_str(),
                    now.summary.ci_name.as_str(),
                    now.summary.ci_type.as_str(),
                )
            };
            match random.random_range(0..4) {
                0 => draft.status = Some(format!("state {number}")),
                1 => draft.owner = Some(format!("owner {number}")),
                2 => draft.attributes = serde_json::json!({"scan": number}).as_object().cloned(),
                _ => draft.ci_name = format!("{} {number}", now.summary.ci_name),
            }
            tenant.upsert_cis(vec![draft]).await.unwrap();
        }
        15 => {
            let draft = CiDraft::new(format!("new-{number}"), format!("New {number}"), "SW");
            tenant.upsert_cis(vec![draft]).await.unwrap();
        }
        16 => {
            tenant
                .delete_cis(vec![other.ci_code.clone().into()])
                .await
                .unwrap();
        }
        _ if ci.ci_code != other.ci_code => {
            let draft = RelationDraft::new(ci.ci_code.as_str(), "USES", other.ci_code.as_str());
            // One of the two may have been deleted by an earlier write.
            let _ = tenant.upsert_relations(vec![draft]).await;
        }
        _ => {}
    }
}

/// Some CIs to ask about and to change.
async fn sample(tenant: &Tenant) -> Vec<CiSummary> {
    let mut cis = Vec::new();
    for offset in (0..20_000).step_by(500) {
        let list = List::builder().limit(500).offset(offset).build().unwrap();
        cis.extend(tenant.list(&list).await.unwrap().value.items.iter().cloned());
    }
    cis
}

/// Zipf's distribution over ranks: rank r is drawn in proportion to 1 / (r + 1)^exponent.
struct Zipf(Vec<f64>);

impl Zipf {
    fn new(ranks: usize, exponent: f64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=u32::try_from(ranks).unwrap()).map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        });
        Self(weights.collect())
    }

    /// `uniform` is from 0 to 1.
    fn draw(&self, uniform: f64) -> usize {
        let wanted = uniform * self.0[self.0.len() - 1];
        self.0.partition_point(|sum| *sum < wanted).min(self.0.len() - 1)
    }
}

struct Score {
    hits: u64,
    reads: u64,
    dropped: usize,
    needed: usize,
}

/// Reads and writes; `bulk` as of the runner: 0 is the coarse arm.
async fn precision(loaded: &Loaded, bulk: usize, seed: u64) -> Score {
    let runner = Runner::builder(Arc::clone(&loaded.store))
        .bulk(bulk)
        .drops(100_000)
        .build()
        .unwrap();
    let view = runner.tenant(tenant());
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let cis = sample(&view).await;
    let questions = questions(&cis, &mut random);
    let by_key: HashMap<Key, usize> = questions
        .iter()
        .enumerate()
        .map(|(at, question)| (Key::new(view.id(), question), at))
        .collect();
    let zipf = Zipf::new(QUESTIONS, 0.99);
    let mut last: HashMap<usize, Value> = HashMap::new();
    for (at, question) in questions.iter().enumerate() {
        last.insert(at, ask(&view, question).await);
    }
    let (before, mut told) = (runner.stats(), runner.drops().len());
    let mut score = Score {
        hits: 0,
        reads: 0,
        dropped: 0,
        needed: 0,
    };
    for number in 0..WRITES {
        write(&view, &cis, &mut random, number).await;
        let drops = runner.drops();
        for dropped in &drops[told.min(drops.len())..] {
            let Some(at) = dropped.key.as_ref().and_then(|key| by_key.get(key)) else {
                continue;
            };
            let now = ask(&view.at(ci_runner::Level::Bypass), &questions[*at]).await;
            score.dropped += 1;
            score.needed += usize::from(last.insert(*at, now.clone()) != Some(now));
        }
        told = drops.len();
        for _ in 0..READS_PER_WRITE {
            let at = zipf.draw(random.random());
            last.insert(at, ask(&view, &questions[at]).await);
        }
    }
    let after = runner.stats();
    score.hits = after.cache.hits - before.cache.hits;
    score.reads = after.cache.total_requests - before.cache.total_requests;
    // Dropped, not closed: closing it would close the store, which the next run needs.
    score
}

async fn execute(plain: &Plain, sql: String) {
    match plain {
        Plain::Sqlite(pool) => drop(sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap()),
        Plain::Postgres(pool) => drop(sqlx::raw_sql(AssertSqlSafe(sql)).execute(pool).await.unwrap()),
    }
}

/// From another program's commit to the first answer that includes it, while others write and a foreign transaction is open.
async fn latency(loaded: &Loaded) -> Vec<Duration> {
    let runner = Runner::builder(Arc::clone(&loaded.store)).build().unwrap();
    let view = runner.tenant(tenant());
    let drafts = (0..WRITERS).map(|at| CiDraft::new(format!("latency-{at}"), "Latency", "SW"));
    view.upsert_cis(drafts.collect()).await.unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let foreign = foreign(loaded, Arc::clone(&over));
    let mut writers = Vec::new();
    for at in 0..WRITERS {
        let (view, plain) = (view.clone(), loaded.plain.clone());
        writers.push(tokio::spawn(async move {
            let get = Get::new(CiCode::new(format!("latency-{at}")).unwrap());
            let mut taken = Vec::new();
            let mut glance = tokio::time::interval(Duration::from_micros(200));
            let mut pace = tokio::time::interval(Duration::from_millis(25));
            for number in 0..WRITES_EACH {
                let status = format!("v{number}");
                let sql = format!("UPDATE ci SET status = '{status}' WHERE ci_code = 'latency-{at}'");
                execute(&plain, sql).await;
                let committed = Instant::now();
                while view
                    .get(&get)
                    .await
                    .unwrap()
                    .value
                    .unwrap()
                    .summary
                    .status
                    .as_deref()
                    != Some(&status)
                {
                    glance.tick().await;
                }
                taken.push(committed.elapsed());
                pace.tick().await;
            }
            taken
        }));
    }
    let mut taken = Vec::new();
    for writer in writers {
        taken.extend(writer.await.unwrap());
    }
    over.store(true, Ordering::Relaxed);
    foreign.await.unwrap();
    taken.sort_unstable();
    taken
}

/// A transaction that stays open for 5 s at a time and has written something of its own (PostgreSQL; SQLite has one writer).
fn foreign(loaded: &Loaded, over: Arc<AtomicBool>) -> tokio::task::JoinHandle<()> {
    let plain = loaded.plain.clone();
    tokio::spawn(async move {
        let Plain::Postgres(pool) = plain else {
            return;
        };
        sqlx::raw_sql("CREATE TABLE IF NOT EXISTS foreign_work (n int)")
            .execute(&pool)
            .await
            .unwrap();
        let mut glance = tokio::time::interval(Duration::from_millis(50));
        while !over.load(Ordering::Relaxed) {
            let mut transaction = pool.begin().await.unwrap();
            sqlx::raw_sql("INSERT INTO foreign_work VALUES (1)")
                .execute(&mut *transaction)
                .await
                .unwrap();
            let since = Instant::now();
            while since.elapsed() < Duration::from_secs(5) && !over.load(Ordering::Relaxed) {
                glance.tick().await;
            }
            transaction.commit().await.unwrap();
        }
    })
}

fn percent(part: u64, whole: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
    let share = part as f64 / (whole as f64).max(1.0);
    share * 100.0
}

fn main() {
    // `cargo test` and `cargo bench` pass arguments of their own; there is nothing to choose here.
    let runtime = Runtime::new().unwrap();
    let databases = runtime.block_on(both_real()).unwrap();
    println!(
        "{QUESTIONS} zipf-distributed searches, gets and expansions, {READS_PER_WRITE} reads a write, {WRITES} writes"
    );
    println!(
        "| database | invalidation | dropped | needed | precision | hit rate |\n|---|---|---|---|---|---|"
    );
    for loaded in &databases {
        for (how, bulk) in [("by what a change matters to", 1_000), ("the whole tenant", 0)] {
            let score = runtime.block_on(precision(loaded, bulk, 11));
            let exact = if bulk == 0 {
                "| all | - | -".to_owned()
            } else {
                let precision = percent(score.needed as u64, score.dropped as u64);
                format!("| {} | {} | {precision:.1} %", score.dropped, score.needed)
            };
            println!(
                "| {} | {how} {exact} | {:.1} % |",
                loaded.name,
                percent(score.hits, score.reads)
            );
        }
    }
    println!(
        "\nfrom another program's commit to the first answer that includes it, {WRITERS} writers, a foreign transaction open"
    );
    println!("| database | p50 | p99 | max |\n|---|---|---|---|");
    for loaded in &databases {
        let taken = runtime.block_on(latency(loaded));
        let at = |share: usize| taken[(taken.len() * share / 100).min(taken.len() - 1)];
        println!(
            "| {} | {:.1?} | {:.1?} | {:.1?} |",
            loaded.name,
            at(50),
            at(99),
            at(100)
        );
    }
}
