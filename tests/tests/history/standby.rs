//! Loads from a standby that is late now and then: every answer is the truth as before; one that trusts the standby is caught.

use std::sync::Arc;
use std::time::Duration;

use ci_runner::replica::ReplicaRules;
use ci_tests::history::{Raw, Server};

use super::campaign::{self, Plan};
use super::fault::Fault;
use super::scene::Scene;
use super::seed;

/// Checked reads with a standby.
const READS: u64 = 40_000;
/// What a campaign with one must have seen.
const SOMETIMES: &[&str] = &[
    "hit",
    "coalesced",
    "refused: overtaken",
    "replica: used",
    "replica: behind",
];
/// What the standby does in turns, for so many answers each: it stands still, and goes on.
const TURNS: [(&str, u64); 2] = [
    ("SELECT pg_wal_replay_pause()::text", 100),
    ("SELECT pg_wal_replay_resume()::text", 3_000),
];
/// Or so long.
const LONGEST: Duration = Duration::from_secs(4);

/// Lets a standby stand still and go on, in turns, until the round is over.
pub(crate) async fn hinder(scene: Arc<Scene>, standby: Option<Arc<Server>>) {
    let Some(standby) = standby else { return };
    let address = standby.url("postgres");
    while !scene.is_over() {
        for (turn, answers) in TURNS {
            let mut raw = Raw::connect(&address).await.unwrap();
            raw.texts(turn).await.unwrap();
            scene.hold(answers, LONGEST).await;
        }
    }
}

async fn run(plan: Plan, rules: ReplicaRules) -> Result<(), String> {
    let server = Arc::new(Server::start().await);
    let standby = Arc::new(server.standby().await);
    let plan = Plan {
        standby: Some((standby, rules)),
        ..plan
    };
    match campaign::run(&plan, &server.url("postgres"), Some(Arc::clone(&server))).await {
        Ok(report) => {
            println!("{report}");
            let missing = report.missing(SOMETIMES);
            assert!(missing.is_empty(), "never seen: {missing:?}");
            Ok(())
        }
        Err(wrong) => Err(wrong.0),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_true_with_loads_from_a_standby() {
    let plan = Plan {
        faults: Fault::all(false),
        wanted: SOMETIMES,
        ..Plan::new(seed(), READS)
    };
    if let Err(wrong) = run(plan, ReplicaRules::Kept).await {
        panic!("{wrong}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_runner_that_trusts_a_standby_is_caught() {
    let plan = Plan {
        round: 2_000,
        ..Plan::new(seed(), READS)
    };
    let caught = run(plan, ReplicaRules::TrustsWhatIsBehind).await;
    let wrong = caught.expect_err("an answer from before what was promised");
    println!("{}", wrong.lines().next().unwrap_or_default());
}
