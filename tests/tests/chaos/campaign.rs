//! A campaign: rounds in which everything fails, heals and has to come back, each checked when it is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use ci_tests::history::{Raw, audit};
use ci_tests::store_contract::world::{below, seeded};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;

use super::audits::Audits;
use super::check::Wrong;
use super::client;
use super::fault::{self, Cluster, Fault, Of};
use super::http::{Client, Request};
use super::node::{Node, Settings};
use super::pool::BULK;
use super::questions::Web;
use super::report::Report;
use super::stage::Stage;
use super::tier::{self, Asked, Servers, Told};
use super::{pause, sql};

/// After a fault was mended every node is ready and answers from memory again within this, without anybody's help.
const LIVE_AGAIN: Duration = Duration::from_secs(120);
/// An answer of a node that is well comes within this, however busy the machine is.
const ANSWER: Duration = Duration::from_secs(20);
/// Between two steps.
const BREATH: Duration = Duration::from_millis(400);

/// What to do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) nodes: usize,
    /// So long at least, and every fault once at least.
    pub(crate) time: Duration,
    pub(crate) readers: u64,
    /// Steps of a round, each with a fault or two.
    pub(crate) steps: usize,
    pub(crate) settings: Settings,
    pub(crate) faults: Vec<Fault>,
}

impl Plan {
    /// Whether what becomes of the shared tier matters. One node alone may have all that it needs in memory.
    fn shares(&self) -> bool {
        self.nodes > 1 && self.faults.iter().any(|fault| fault.of() == Of::Tier)
    }
}

/// Runs a campaign.
///
/// # Errors
/// The first promise that was not kept.
pub(crate) async fn run(plan: &Plan) -> Result<Report, Wrong> {
    let began = Instant::now();
    let folder = tempfile::tempdir().unwrap();
    let mut random = seeded(plan.seed);
    let (cluster, servers) = (Cluster::start().await, Servers::start().await);
    prepare(&cluster.address(), &mut random).await;
    let mut nodes = Vec::new();
    for number in 0..plan.nodes {
        let settings = plan.settings.clone();
        let upstreams = [cluster.upstream(), servers.upstream()];
        let node = Node::new(number, upstreams, settings, folder.path().to_path_buf()).await;
        node.start().await;
        nodes.push(node);
    }
    let stage = Stage::new(Web::new(&mut random), nodes, cluster.address());
    let mut campaign = Campaign {
        plan,
        stage: Arc::new(stage),
        cluster,
        servers,
        random,
        report: Report::new(plan),
        faults: Vec::new(),
        seen: BTreeMap::new(),
        audits: Audits::default(),
        asked: Asked::default(),
        copied: Asked::default(),
    };
    let all = |seen: &BTreeMap<Fault, u64>| plan.faults.iter().all(|fault| seen.contains_key(fault));
    let unshared = |report: &Report| plan.shares() && !report.sources.contains_key("l2");
    while began.elapsed() < plan.time || !all(&campaign.seen) || unshared(&campaign.report) {
        campaign.round().await?;
    }
    let mut report = campaign.report;
    report.faults = campaign.seen;
    report.commits = campaign.stage.commits.load(SeqCst);
    report.errors = campaign.stage.errors.load(SeqCst);
    report.seconds = began.elapsed().as_secs_f64();
    Ok(report)
}

/// Tables, the test's own record, and rows to begin with.
async fn prepare(address: &str, random: &mut ChaCha8Rng) {
    let store = ci_store::open(address, &ci_store::StoreOptions::default()).await;
    store.unwrap().close().await;
    let mut raw = Raw::connect(address).await.unwrap();
    audit::install(&mut raw, address).await.unwrap();
    raw.run(&sql::beginning(random, false)).await.unwrap();
    raw.run(&sql::bulk(false)).await.unwrap();
    let few = format!("DELETE FROM ci WHERE tenant_id = '{BULK}' AND ci_code >= 'bulk-01200'");
    raw.run(&few).await.unwrap();
    raw.run("TRUNCATE ci_change").await.unwrap();
}

pub(super) struct Campaign<'a> {
    plan: &'a Plan,
    pub(super) stage: Arc<Stage>,
    cluster: Cluster,
    servers: Servers,
    random: ChaCha8Rng,
    pub(super) report: Report,
    /// Those to come.
    faults: Vec<Fault>,
    seen: BTreeMap<Fault, u64>,
    /// What the nodes' own auditors have found.
    audits: Audits,
    /// And of what they asked the tier for.
    asked: Asked,
    /// And the standby.
    copied: Asked,
}

impl Campaign<'_> {
    async fn round(&mut self) -> Result<(), Wrong> {
        self.report.rounds += 1;
        let seed = self.plan.seed.wrapping_mul(1_000_003) ^ (self.report.rounds << 16);
        if self.plan.faults.contains(&Fault::FailedOver) {
            self.cluster.complete(&self.stage).await;
        }
        self.cluster.keep_dump();
        self.servers.keep();
        let stage = Arc::clone(&self.stage);
        stage.is_over.store(false, SeqCst);
        client::note_epoch(&stage).await;
        fault::note_place(&stage).await;
        let readers: Vec<_> = (0..self.plan.readers)
            .map(|at| tokio::spawn(client::read(Arc::clone(&stage), seed ^ (at << 8))))
            .collect();
        let others = [
            tokio::spawn(client::write(Arc::clone(&stage), seed ^ 1)),
            tokio::spawn(client::write(Arc::clone(&stage), seed ^ 4)),
            tokio::spawn(client::write(Arc::clone(&stage), seed ^ 5)),
            tokio::spawn(client::program(Arc::clone(&stage), seed ^ 2)),
            tokio::spawn(client::program(Arc::clone(&stage), seed ^ 3)),
            tokio::spawn(client::look(Arc::clone(&stage))),
            tokio::spawn(client::watch_epochs(Arc::clone(&stage))),
        ];
        for _ in 0..self.plan.steps {
            pause(BREATH).await;
            self.step().await?;
        }
        pause(BREATH).await;
        if self.plan.shares() {
            let took = tier::shared_again(&stage.nodes).await?;
            self.report.shared_again = took.max(self.report.shared_again);
        }
        stage.is_over.store(true, SeqCst);
        let mut reads = Vec::new();
        for reader in readers {
            reads.extend(reader.await.map_err(|panic| Wrong(panic.to_string()))?);
        }
        for other in others {
            other.await.map_err(|panic| Wrong(panic.to_string()))?;
        }
        let audited = self.audits.look(&self.stage.nodes).await;
        self.report.audited += audited?;
        let (nodes, report) = (&self.stage.nodes, &mut self.report);
        self.asked.add(nodes, Told::Tier, &mut report.shared).await;
        self.copied.add(nodes, Told::Standby, &mut report.copied).await;
        let checking = Instant::now();
        let checked = self.verify(reads).await;
        self.report.checking += checking.elapsed().as_secs_f64();
        let context = |wrong: Wrong| {
            Wrong(format!(
                "seed {}, round {}: {wrong}",
                self.plan.seed, self.report.rounds
            ))
        };
        checked.map_err(context)
    }

    /// One fault, or two at once; then everything has to come back by itself.
    async fn step(&mut self) -> Result<(), Wrong> {
        let Some(first) = self.draw(|_| true) else {
            return Ok(());
        };
        // It may come together with one of something else.
        let second = if below(&mut self.random, 3) == 0 {
            self.draw(|fault| fault.of() != first.of())
        } else {
            None
        };
        let both = [Some(first), second];
        let said: Vec<String> = both.iter().flatten().map(|fault| format!("{fault:?}")).collect();
        println!("round {}: {}", self.report.rounds, said.join(" and "));
        self.cause(&both).await;
        let took = self.live_again(&both).await?;
        for fault in both.into_iter().flatten() {
            *self.seen.entry(fault).or_default() += 1;
            let worst = self.report.recovery.entry(fault).or_default();
            *worst = took.max(*worst);
        }
        Ok(())
    }

    /// Causes faults at the same time and mends them.
    async fn cause(&mut self, faults: &[Option<Fault>]) {
        let at = below(&mut self.random, self.plan.nodes);
        let [mut one, mut other, mut third] = [(); 3].map(|()| seeded(self.random.random()));
        let (stage, cluster, servers) = (&self.stage, &mut self.cluster, &mut self.servers);
        let of = |of: Of| faults.iter().flatten().copied().find(|fault| fault.of() == of);
        tokio::join!(
            async {
                if let Some(fault) = of(Of::Node) {
                    fault::at_node(fault, stage, at, &mut one).await;
                }
            },
            async {
                if let Some(fault) = of(Of::Database) {
                    fault::of_the_database(fault, stage, cluster, &mut other).await;
                }
            },
            async {
                if let Some(fault) = of(Of::Tier) {
                    tier::of_the_tier(fault, stage, servers, &mut third).await;
                }
            }
        );
    }

    /// Takes one of those to come. All are to come again when there are none.
    fn draw(&mut self, fits: impl Fn(Fault) -> bool) -> Option<Fault> {
        if self.faults.is_empty() {
            self.faults.clone_from(&self.plan.faults);
            for at in (1..self.faults.len()).rev() {
                self.faults.swap(at, below(&mut self.random, at + 1));
            }
        }
        // An era ends once in a round at most: the standby and the dump are made between rounds.
        let is_new = self.stage.eras.lock().unwrap().len() > 1;
        let ends = |fault: Fault| matches!(fault, Fault::FailedOver | Fault::Restored);
        let at = self
            .faults
            .iter()
            .position(|&fault| fits(fault) && !(is_new && ends(fault)))?;
        Some(self.faults.remove(at))
    }

    /// Waits until every node is ready and answers from memory; says how long it took.
    async fn live_again(&self, after: &[Option<Fault>]) -> Result<Duration, Wrong> {
        let began = Instant::now();
        for (number, node) in self.stage.nodes.iter().enumerate() {
            let mut client = Client::default();
            let mut last = String::new();
            while !is_live(node, &mut client, &mut last).await {
                if began.elapsed() > LIVE_AGAIN {
                    return Err(Wrong(format!(
                        "seed {}: node {number} has not come back within {LIVE_AGAIN:?} after {after:?}: {last}",
                        self.plan.seed
                    )));
                }
                pause(Duration::from_millis(5)).await;
            }
        }
        Ok(began.elapsed())
    }
}

async fn is_live(node: &Node, client: &mut Client, last: &mut String) -> bool {
    let Some(address) = node.address() else {
        return false;
    };
    for (path, hit) in [("/readyz", false), ("/v1/quiet/list?limit=1", true)] {
        let asked = client.ask(&address, Request::get(path));
        match tokio::time::timeout(ANSWER, asked).await {
            Ok(Ok(reply)) if reply.status == 200 && (!hit || reply.header("x-cache") == Some("hit")) => {}
            other => {
                *last = format!("{path}: {other:?}");
                return false;
            }
        }
    }
    true
}
