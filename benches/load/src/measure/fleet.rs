//! A fleet over a shared tier: a node that joins it, and what a tier in trouble costs.
//!
//! On PostgreSQL alone: a tier needs the history that only a server tells. Nodes are runners of this process, each with a tier connection of its
//! own through a [`Relay`] that can be made slow or cut.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use ci_benches::{Loaded, tenant};
use ci_measure::number::real64;
use ci_measure::random::Random;
use ci_measure::rounds::turns;
use ci_model::{CiCode, CiDraft, Question};
use ci_runner::tier::TierOptions;
use ci_runner::{Runner, Source};
use ci_store::Store;
use ci_tier_redis::{RedisOptions, RedisTier};
use tokio::sync::mpsc;

use super::series::{USUAL, histogram, record};
use super::{Bench, Name, Times, database};
use crate::arms::CAPACITY;
use crate::counted::Counted;
use crate::operation::Operation;
use crate::pacing::Arrivals;
use crate::place::Data;
use crate::relay::{Mode, Relay};
use crate::run_file::Figure;
use crate::subjects::Subjects;
use crate::workload::Mix;

/// The section's name.
pub(super) const NAME: &str = "fleet";
/// Nodes that are there, before another joins.
const NODES: usize = 3;
/// Questions a second of each node.
const RATE: f64 = 100.0;
/// Writes a second of the fleet.
const WRITES: f64 = 5.0;
/// CIs that are written, of those that are asked about.
const HOT: usize = 60;
/// The windows in which hit rates are told.
const WINDOW: Duration = Duration::from_millis(500);
/// The share of the fleet's hit rate that a new node is to come to.
const SHARE: f64 = 0.9;
/// What a slow tier takes for each answer; far more than a caller waits for it.
const SLOW: Duration = Duration::from_millis(200);

/// Measures both.
pub(super) async fn measure(bench: &Bench) -> anyhow::Result<Vec<Figure>> {
    let (Some(redis), Some(_)) = (&bench.servers.redis, &bench.servers.postgres) else {
        return Ok(Vec::new());
    };
    let data = Data::Estate(bench.scale.pick(20_000, 10_000, 900));
    let places = bench.servers.fill(data).await?;
    let place = places.iter().find(|place| place.name == "postgres");
    let place = place.context("PostgreSQL was filled")?;
    let fleet = Fleet { bench, place, redis };
    let mut figures = fleet.join().await?;
    figures.extend(fleet.trouble().await?);
    Ok(figures)
}

struct Fleet<'a> {
    bench: &'a Bench,
    place: &'a Loaded,
    redis: &'a str,
}

/// A node: its runner, and what reaches the database from it.
struct Node {
    runner: Runner,
    store: Arc<Counted>,
}

/// How one question ended.
struct Asked {
    node: usize,
    at: Duration,
    source: Source,
    /// What the fleet had asked the database until then.
    statements: u64,
}

impl Fleet<'_> {
    fn name<'n>(&'n self, workload: &'n str, arm: &'n str, at: &'n str) -> Name<'n> {
        Name {
            section: NAME,
            workload,
            database: database(self.place),
            arm,
            at,
        }
    }

    /// A node, with a connection of its own to the tier under a prefix.
    async fn node(&self, tier: Option<(&str, &str)>) -> anyhow::Result<Node> {
        let store = Counted::around(Arc::clone(&self.place.store));
        let mut builder = Runner::builder(Arc::clone(&store) as Arc<dyn Store>).max_entries(CAPACITY);
        if let Some((url, prefix)) = tier {
            let tier = RedisTier::new(url, RedisOptions::new().prefix(prefix))?;
            builder = builder.tier(Arc::new(tier), TierOptions::new());
        }
        let runner = builder.build()?;
        runner.catch_up(Duration::from_secs(10)).await;
        Ok(Node { runner, store })
    }

    /// Three nodes answer, and a fourth joins: with a tier that it shares, and without one.
    async fn join(&self) -> anyhow::Result<Vec<Figure>> {
        let codes = self.bench.scale.pick(600, 300, 70);
        let subjects =
            Subjects::draw(&self.place.plain, &*self.place.store, self.bench.seed, codes, 0).await?;
        let mix = Arc::new(Mix::search(&subjects, self.bench.seed, 100_000)?);
        let mut figures = Vec::new();
        for arm in ["with a tier", "without a tier"] {
            let prefix = format!("bench-join-{}", std::process::id());
            let tier = (arm == "with a tier").then_some((self.redis, prefix.as_str()));
            let mut nodes = Vec::new();
            for _ in 0..NODES {
                nodes.push(self.node(tier).await?);
            }
            // They are in the middle of a day: each has been asked everything.
            for node in &nodes {
                for operation in &mix.distinct {
                    ask(node, operation).await?;
                }
                node.runner.settle_tier(false).await;
            }
            let hot = &subjects.codes[..HOT.min(subjects.codes.len())];
            let steady = self.load(&nodes, &mix, (0, hot)).await?;
            let begun = Instant::now();
            nodes.push(self.node(tier).await?);
            let start = begun.elapsed();
            let joining = self.load(&nodes, &mix, (50_000, hot)).await?;
            let told = Joined::of(&steady, &joining);
            let name = self.name("a node joins", arm, "");
            figures.extend([
                name.figure("until it answers", "ms", start.as_secs_f64() * 1e3),
                name.figure("hit rate of the fleet", "%", told.fleet * 100.0),
                name.figure("hit rate of the node at first", "%", told.first * 100.0),
                name.figure("until 90 % of the fleet's", "s", told.until.as_secs_f64()),
                name.figure("most statements a second before", "a second", told.before),
                name.figure("most statements a second after", "a second", told.most),
            ]);
            for node in nodes {
                node.runner.close().await;
            }
        }
        Ok(figures)
    }

    /// Asks the nodes in turn, from a place of the mix on, at random moments, while CIs are written that are asked for.
    async fn load(
        &self,
        nodes: &[Node],
        mix: &Arc<Mix>,
        (first, hot): (usize, &[CiCode]),
    ) -> anyhow::Result<Vec<Asked>> {
        let length = self.bench.scale.pick(6_000, 2_000, 600);
        let mut random = Random::new(self.bench.seed ^ first as u64);
        let length = Duration::from_millis(length);
        let asks = Arrivals::draw(RATE * real64(nodes.len() as u64), length, &mut random);
        let writes = Arrivals::draw(WRITES, length, &mut random);
        let (began, runtime) = (
            Instant::now() + Duration::from_millis(5),
            tokio::runtime::Handle::current(),
        );
        let writing = tokio::spawn(touch(self.place.url.clone(), hot.to_vec(), writes, began));
        let all: Arc<Vec<Node>> = Arc::new(nodes.iter().map(Node::handle).collect());
        let (told, mut hears) = mpsc::unbounded_channel();
        let mix = Arc::clone(mix);
        let pacer = tokio::task::spawn_blocking(move || {
            asks.pace(began, |number, _| {
                let (all, mix, told) = (Arc::clone(&all), Arc::clone(&mix), told.clone());
                runtime.spawn(async move {
                    let node = number % all.len();
                    let source = ask(&all[node], mix.at(first + number)).await;
                    let statements = all.iter().map(|node| node.store.counts().statements).sum();
                    let at = began.elapsed();
                    // The receiver waits for all.
                    let _heard = told.send(source.map(|source| Asked {
                        node,
                        at,
                        source,
                        statements,
                    }));
                });
            });
        });
        let mut answers = Vec::new();
        while let Some(answer) = hears.recv().await {
            answers.push(answer?);
        }
        pacer.await?;
        writing.await??;
        answers.sort_by_key(|asked| asked.at);
        Ok(answers)
    }

    /// Hits and misses of one node, while the tier is well, away, cut off and slow; and without one.
    async fn trouble(&self) -> anyhow::Result<Vec<Figure>> {
        let conditions = [
            ("no tier", None),
            ("well", Some(Mode::Open)),
            ("down", Some(Mode::Down)),
            ("slow", Some(Mode::Slow(SLOW))),
        ];
        let (rounds, each) = self.bench.scale.pick((4, 400), (2, 150), (1, 10));
        let codes = conditions.len() * rounds * each;
        let subjects =
            Subjects::draw(&self.place.plain, &*self.place.store, self.bench.seed, codes, 0).await?;
        let questions = crate::workload::gets(&subjects);
        let mut fresh = questions.chunks(each);
        let mut hits: Vec<Times> = conditions.iter().map(|_| Times::default()).collect();
        let mut missed: Vec<Times> = conditions.iter().map(|_| Times::default()).collect();
        for round in 0..rounds {
            for turn in turns(conditions.len(), round) {
                let relay = Relay::to(self.redis).await?;
                let prefix = format!("bench-trouble-{}-{round}-{turn}", std::process::id());
                let (_, mode) = conditions[turn];
                let url = relay.url();
                let node = self.node(mode.map(|_| (url.as_str(), prefix.as_str()))).await?;
                // The connection is made, and then comes the trouble.
                let few = fresh.next().context("enough CIs")?;
                ask(&node, few.last().context("enough CIs")?).await?;
                node.runner.settle_tier(false).await;
                relay.set(mode.unwrap_or(Mode::Open));
                let [mut hit, mut miss] = [histogram(), histogram()];
                for operation in &few[..few.len() - 1] {
                    let began = Instant::now();
                    ask(&node, operation).await?;
                    record(&mut miss, began.elapsed());
                    let began = Instant::now();
                    ask(&node, operation).await?;
                    record(&mut hit, began.elapsed());
                }
                hits[turn].add(hit);
                missed[turn].add(miss);
                node.runner.close().await;
            }
        }
        let mut figures = Vec::new();
        for (turn, (at, _)) in conditions.iter().enumerate() {
            let name = self.name("the tier in trouble", "runner", at);
            figures.extend(name.times(USUAL, ", hits", &hits[turn]));
            figures.extend(name.times(USUAL, ", misses", &missed[turn]));
        }
        Ok(figures)
    }
}

impl Node {
    fn handle(&self) -> Self {
        Self {
            runner: self.runner.clone(),
            store: Arc::clone(&self.store),
        }
    }
}

/// Asks a node one question.
async fn ask(node: &Node, operation: &Operation) -> anyhow::Result<Source> {
    let view = node.runner.tenant(tenant());
    Ok(match operation {
        Operation::One(Question::Search(search)) => view.search_strict(search).await?.source,
        Operation::One(Question::Get(get)) => view.get(get).await?.source,
        _ => anyhow::bail!("only searches and gets are asked of a fleet"),
    })
}

/// Another program renames a CI at each moment.
async fn touch(url: String, hot: Vec<CiCode>, moments: Arrivals, began: Instant) -> anyhow::Result<()> {
    let store = ci_store::open(&url, &ci_store::StoreOptions::default().connections(1)).await?;
    let (told, mut hears) = mpsc::unbounded_channel();
    let pacer = tokio::task::spawn_blocking(move || {
        moments.pace(began, |number, _| {
            let _heard = told.send(number);
        });
    });
    while let Some(number) = hears.recv().await {
        let code = hot[number % hot.len()].as_str();
        let draft = CiDraft::new(code, format!("{code} touched {number}"), "SW");
        store
            .upsert_cis(vec![draft.check(&tenant())?], ci_store::WriteOptions::default())
            .await?;
    }
    pacer.await?;
    store.close().await;
    Ok(())
}

/// What a joining node came to.
#[derive(Debug, PartialEq)]
struct Joined {
    /// The share of the fleet's answers that needed no database, before.
    fleet: f64,
    /// That of the new node, in its first window.
    first: f64,
    /// The end of the first window from which on the node has the wanted share of the fleet's hit rate; the end of the load when it never has.
    until: Duration,
    /// The most statements of the fleet in any second before, and after.
    before: f64,
    most: f64,
}

impl Joined {
    fn of(steady: &[Asked], joining: &[Asked]) -> Self {
        let served = |asked: &[&Asked]| {
            let hits = asked.iter().filter(|asked| asked.source != Source::Miss).count();
            real64(hits as u64) / real64(asked.len().max(1) as u64)
        };
        let fleet = served(&steady.iter().collect::<Vec<_>>());
        let node: Vec<&Asked> = joining.iter().filter(|asked| asked.node == NODES).collect();
        let end = joining.last().map_or(Duration::ZERO, |asked| asked.at);
        let windows = windows(&node, end);
        let rates: Vec<f64> = windows.iter().map(|window| served(window)).collect();
        let late = rates.iter().rposition(|rate| *rate < fleet * SHARE);
        let until = WINDOW * u32::try_from(late.map_or(0, |at| at + 1)).unwrap_or(u32::MAX);
        Self {
            fleet,
            first: rates.first().copied().unwrap_or(0.0),
            until,
            before: most_a_second(steady),
            most: most_a_second(joining),
        }
    }
}

/// What was asked in each window until a moment; windows without a question are left out.
fn windows<'a>(asked: &[&'a Asked], end: Duration) -> Vec<Vec<&'a Asked>> {
    let count = end.as_millis().div_ceil(WINDOW.as_millis());
    let of = |window: u128| {
        let is_in = |asked: &&&Asked| asked.at.as_millis() / WINDOW.as_millis() == window;
        asked.iter().filter(is_in).copied().collect::<Vec<_>>()
    };
    (0..count).map(of).filter(|window| !window.is_empty()).collect()
}

/// The most statements between two answers that are at most a second apart.
fn most_a_second(asked: &[Asked]) -> f64 {
    let second = Duration::from_secs(1);
    let mut first = 0;
    let mut most = 0;
    for last in asked {
        while last.at.saturating_sub(asked[first].at) > second {
            first += 1;
        }
        most = most.max(last.statements.saturating_sub(asked[first].statements));
    }
    real64(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(node: usize, at: u64, source: Source, statements: u64) -> Asked {
        Asked {
            node,
            at: Duration::from_millis(at),
            source,
            statements,
        }
    }

    #[test]
    fn a_node_has_come_up_when_no_later_window_is_worse() {
        let steady = [asked(0, 10, Source::Hit, 5), asked(1, 1_000, Source::Hit, 7)];
        let joining = [
            asked(NODES, 100, Source::Miss, 10),
            asked(NODES, 600, Source::Tier, 30),
            asked(NODES, 1_200, Source::Miss, 31),
            asked(0, 1_300, Source::Miss, 32),
            asked(NODES, 1_700, Source::Hit, 32),
        ];
        let joined = Joined::of(&steady, &joining);
        assert_eq!((joined.fleet, joined.first), (1.0, 0.0));
        assert_eq!(joined.until, Duration::from_millis(1_500));
        assert_eq!((joined.before, joined.most), (2.0, 20.0));
    }
}
