//! A campaign: rounds of readers, writers and faults, each checked when it is over.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use ci_runner::Runner;
use ci_runner::replica::{ReplicaOptions, ReplicaRules};
use ci_store::StoreOptions;
use ci_tests::history::{Meddler, Planted, Raw, Server, Timeline, audit};
use ci_tests::store_contract::world::seeded;

use super::check::{Round, Wrong};
use super::fault::{Fault, cause};
use super::pool::Pool;
use super::report::Report;
use super::scene::Scene;
use super::{program, reader, sql, standby, writer};

/// A round that takes longer does not recover.
const ROUND: Duration = Duration::from_secs(240);
/// Changes that the runner remembers.
const LOGGED: usize = 500;
/// Faults of one round, at most.
const FAULTS: usize = 6;
/// How often somebody looks what anybody can see.
const LOOK: Duration = Duration::from_millis(4);

/// What to do.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    /// Checked reads, at least.
    pub(crate) reads: u64,
    /// Of which in each round.
    pub(crate) round: u64,
    pub(crate) readers: u64,
    /// Writers through the runner, and as many other programs.
    pub(crate) writers: u64,
    pub(crate) max_entries: usize,
    pub(crate) faults: Vec<Fault>,
    pub(crate) planted: Option<Planted>,
    /// What has to be seen: for three times as long, if it was not.
    pub(crate) wanted: &'static [&'static str],
    /// Loads come from a standby, by these rules.
    pub(crate) standby: Option<(Arc<Server>, ReplicaRules)>,
}

impl Plan {
    pub(crate) fn new(seed: u64, reads: u64) -> Self {
        Self {
            seed,
            reads,
            round: 10_000,
            readers: 12,
            writers: 3,
            max_entries: 100,
            faults: Vec::new(),
            planted: None,
            wanted: &[],
            standby: None,
        }
    }
}

/// Runs a campaign on the database at an address, which is empty.
///
/// # Errors
/// The first promise that was not kept.
pub(crate) async fn run(plan: &Plan, address: &str, server: Option<Arc<Server>>) -> Result<Report, Wrong> {
    let began = Instant::now();
    let mut random = seeded(plan.seed);
    // Defects of versions take a second snapshot for each load.
    let connections = if plan.planted.is_some() { 48 } else { 6 };
    let options = StoreOptions::default().connections(connections);
    let store = ci_store::open(address, &options).await.unwrap();
    let mut raw = Raw::connect(address).await.unwrap();
    audit::install(&mut raw, address).await.unwrap();
    let sqlite = raw.is_sqlite();
    let beginning = sql::beginning(&mut random, sqlite);
    for sql in [beginning, sql::bulk(sqlite)] {
        raw.begin().await.unwrap();
        raw.run(&sql).await.unwrap();
        raw.run("COMMIT").await.unwrap();
    }
    let replica = plan.standby.as_ref().map(|(standby, rules)| {
        let replica = store.replica(&standby.url("postgres"), &options);
        (replica.unwrap(), *rules)
    });
    let (store, meddling) = Meddler::around(store, plan.planted);
    let mut runner = Runner::builder(store)
        .max_entries(plan.max_entries)
        // So few that a batch of some hundreds does not fit.
        .log_changes(LOGGED)
        .poll_every(Duration::from_millis(2))
        .poll_timeout(Duration::from_millis(100))
        .retention(Duration::from_secs(1_000_000));
    if let Some((replica, rules)) = replica {
        let options = ReplicaOptions::new().wait(Duration::from_millis(10));
        runner = runner.replica(replica, options).replica_rules(rules);
    }
    let runner = runner.build().unwrap();
    let pool = Pool::new(&mut random);
    let scene = Arc::new(Scene::new(address.to_owned(), runner, meddling, pool));
    let mut campaign = Campaign {
        plan,
        scene,
        server,
        line: Timeline::default(),
        report: Report {
            backend: if sqlite { "sqlite" } else { "postgres" },
            seed: plan.seed,
            ..Report::default()
        },
        faults: plan.faults.iter().copied().collect(),
        kept: 0,
    };
    drop(raw);
    let mut number = 0;
    while campaign.report.checked < plan.reads || campaign.goes_on() {
        number += 1;
        campaign.round(number).await?;
    }
    let Campaign {
        scene,
        mut report,
        line,
        ..
    } = campaign;
    report.runner(&scene);
    report.errors = scene.errors.load(SeqCst);
    report.seconds = began.elapsed().as_secs_f64();
    report.recorded = line.len();
    scene.runner.validate().unwrap();
    scene.runner.close().await;
    Ok(report)
}

struct Campaign<'a> {
    plan: &'a Plan,
    scene: Arc<Scene>,
    server: Option<Arc<Server>>,
    line: Timeline,
    report: Report,
    /// Those to come.
    faults: VecDeque<Fault>,
    /// Rows of the record that are of rounds before the last.
    kept: usize,
}

impl Campaign<'_> {
    /// Tells whether there is something yet to be seen that may be.
    fn goes_on(&self) -> bool {
        let mut so_far = Report {
            sometimes: self.report.sometimes.clone(),
            ..Report::default()
        };
        so_far.runner(&self.scene);
        self.report.checked < 3 * self.plan.reads && !so_far.missing(self.plan.wanted).is_empty()
    }

    async fn round(&mut self, number: u64) -> Result<(), Wrong> {
        let (scene, plan) = (&self.scene, self.plan);
        let seed = plan.seed.wrapping_mul(1_000_003) ^ (number << 16);
        scene
            .enough
            .store(scene.answered.load(SeqCst) + plan.round, SeqCst);
        let readers: Vec<_> = (0..plan.readers)
            .map(|at| tokio::spawn(reader::read(Arc::clone(scene), seed ^ (at << 8))))
            .collect();
        let writers: Vec<_> = (0..plan.writers)
            .flat_map(|at| {
                [
                    tokio::spawn(writer::write(Arc::clone(scene), seed ^ (at << 8) ^ 1)),
                    tokio::spawn(program::write(Arc::clone(scene), seed ^ (at << 8) ^ 2)),
                ]
            })
            .collect();
        let looking = tokio::spawn(look(Arc::clone(scene)));
        let standby = plan.standby.as_ref().map(|(standby, _)| Arc::clone(standby));
        let hindering = tokio::spawn(standby::hinder(Arc::clone(scene), standby));
        let few: Vec<Fault> = self.faults.iter().copied().take(FAULTS).collect();
        let saboteur = cause(scene, self.server.as_deref(), few, seed ^ 3);
        let ended = async {
            let (mut reads, mut torn) = (Vec::new(), None);
            for reader in readers {
                match reader.await {
                    Ok(read) => reads.extend(read),
                    // What a reader sees to be wrong by itself, such as a graph beside CIs of another state.
                    Err(panic) => torn = Some(panic.to_string()),
                }
            }
            for writer in writers {
                writer.await.unwrap();
            }
            hindering.await.unwrap();
            looking.await.unwrap();
            (reads, torn)
        };
        let ended = async { tokio::join!(ended, saboteur) };
        let ended = tokio::time::timeout(ROUND, ended).await;
        let ((reads, torn), caused) = ended.unwrap_or_else(|_| {
            panic!(
                "seed {}, round {number}: not over; feed: {:?}",
                plan.seed,
                scene.runner.feed()
            )
        });
        if let Some(torn) = torn {
            return Err(Wrong(format!("seed {}, round {number}: {torn}", self.plan.seed)));
        }
        // What was caused comes again after all others.
        self.faults.rotate_left(caused.len());
        self.report.faults(caused);
        let ledger = std::mem::take(&mut *scene.ledger.lock().unwrap());
        self.record().await;
        let checking = Instant::now();
        let round = Round {
            pool: &self.scene.pool,
            line: &self.line,
            ledger: &ledger,
            reads: &reads,
            has_standby: plan.standby.is_some(),
            shows_standby: plan.standby.is_some(),
        };
        self.report.worked_out += round
            .check()
            .map_err(|wrong| Wrong(format!("seed {}, round {number}: {wrong}", self.plan.seed)))?;
        self.report.count(&self.scene.pool, &reads);
        self.report.checking += checking.elapsed().as_secs_f64();
        self.report.writes += ledger.writes.len();
        self.report.commits += ledger.commits;
        self.report.rollbacks += ledger.rollbacks;
        self.report.refusals += ledger.refusals;
        // Answers of the next round may be as old as this round, not older.
        let rows = self.line.rows().len();
        self.line.forget(self.kept);
        self.kept = rows - self.kept;
        Ok(())
    }

    /// Reads what was recorded since the last round. All writers are done.
    async fn record(&mut self) {
        let mut raw = self
            .scene
            .connect()
            .await
            .expect("the database is there between rounds");
        let rows = raw.audited(self.line.last()).await.unwrap();
        self.line.extend(rows);
        let count = raw
            .texts("SELECT CAST(count(*) AS TEXT) FROM history_audit")
            .await
            .unwrap();
        assert_eq!(count[0], self.line.len().to_string(), "the record is complete");
    }
}

/// Notes what anybody can see, every few milliseconds.
async fn look(scene: Arc<Scene>) {
    let mut connection: Option<Raw> = None;
    while !scene.is_over() {
        match &mut connection {
            Some(raw) => match raw.place().await {
                Ok(place) => scene.note_floor(place),
                Err(_) => connection = None,
            },
            None => connection = scene.connect().await,
        }
        scene.pause(LOOK).await;
    }
}
