//! A fleet of `ci-cache serve` processes over a PostgreSQL that crashes, fails over and is restored, and a Redis that forgets, goes back in
//! time and splits, behind proxies that hurt: every answer is the truth at its version, and everything comes back by itself.
//!
//! The checker is the history checker's. `cargo xtask chaos` runs it longer; `CI_CACHE_TEST_LONG` for three minutes.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
#![allow(clippy::print_stdout, reason = "the counts are what the test is for")]

mod audits;
mod campaign;
#[allow(dead_code, reason = "the history checker uses the rest")]
#[path = "../history/check.rs"]
mod check;
mod client;
mod fault;
mod http;
mod node;
#[allow(dead_code, reason = "the history checker uses the rest")]
#[path = "../history/pool.rs"]
mod pool;
#[allow(dead_code, reason = "the tests of standbys use the rest")]
mod proxy;
mod questions;
#[allow(dead_code, reason = "the history checker uses the rest")]
#[path = "../history/record.rs"]
mod record;
mod report;
#[path = "../history/sql.rs"]
mod sql;
mod stage;
mod tier;
mod verify;

use std::time::Duration;

use campaign::Plan;
use ci_tests::planted_service::Defect;
use fault::Fault;
use node::Settings;
use tokio::sync::Mutex;

/// One fleet after the other: this machine may be small.
static ONE: Mutex<()> = Mutex::const_new(());

/// Steps of a round that is checked soon, because it is there to be found wrong.
const FEW: usize = 2;

/// Lets time pass.
async fn pause(time: Duration) {
    if !time.is_zero() {
        let _over = tokio::time::timeout(time, std::future::pending::<()>()).await;
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is no number: {text}")),
    )
}

fn plan() -> Plan {
    let is_long = std::env::var_os("CI_CACHE_TEST_LONG").is_some();
    let minutes = number("CI_CACHE_CHAOS_MINUTES").unwrap_or(if is_long { 3 } else { 0 });
    let set = std::env::var("CI_CACHE_CHAOS_SET").unwrap_or_default();
    Plan {
        seed: number("CI_CACHE_CHAOS_SEED").unwrap_or(1),
        nodes: usize::try_from(number("CI_CACHE_CHAOS_NODES").unwrap_or(3)).unwrap(),
        time: Duration::from_secs(60 * minutes),
        readers: number("CI_CACHE_CHAOS_READERS").unwrap_or(12),
        steps: 6,
        settings: Settings {
            set: set.lines().map(str::to_owned).collect(),
            defect: None,
        },
        faults: faults(),
    }
}

/// All of them, or those that are named: to look for one that was seen seldom.
fn faults() -> Vec<Fault> {
    let Ok(named) = std::env::var("CI_CACHE_CHAOS_FAULTS") else {
        return Fault::ALL.to_vec();
    };
    let is_named = |fault: &Fault| named.split(',').any(|name| name == format!("{fault:?}"));
    let faults: Vec<Fault> = Fault::ALL.into_iter().filter(is_named).collect();
    assert!(!faults.is_empty(), "CI_CACHE_CHAOS_FAULTS names no fault");
    faults
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_answers_truly_while_everything_fails() {
    let _one = ONE.lock().await;
    let plan = plan();
    println!("seed {}", plan.seed);
    let ended = campaign::run(&plan).await;
    if let Some(path) = std::env::var_os("CI_CACHE_CHAOS_LOG") {
        let said = ended
            .as_ref()
            .map_or_else(ToString::to_string, ToString::to_string);
        std::fs::write(path, format!("{said}\n")).unwrap();
    }
    let report = match ended {
        Ok(report) => report,
        Err(wrong) => panic!("{wrong}"),
    };
    println!("{report}");
    for level in ["cached", "at least", "strong", "bypass"] {
        assert!(report.levels.contains_key(level), "nobody asked at {level}");
    }
    assert!(
        report.sources.get("l1").copied().unwrap_or(0) > report.checked / 10,
        "memory answered"
    );
    assert!(report.sources.contains_key("l2"), "the shared tier answered");
    assert!(
        report.copied.contains_key("used") || !plan.faults.contains(&Fault::FailedOver),
        "the standby answered, if there is one"
    );
    assert!(report.audited > 0, "the nodes audited themselves");
    // That no answer was wrong, and that no node's auditor found a violation, is said by the campaign's coming to its end: the first of either ends it.
    // This is the counting alone: an answer that nobody looked at would be missing.
    assert_eq!(
        report.checked + report.unplaced,
        report.received,
        "every answer was checked, or left out for a reason"
    );
    assert!(
        report.unplaced < report.checked / 50,
        "most answers can be checked"
    );
}

/// A campaign with nodes that have a defect: the checker has to find a wrong answer.
async fn is_caught(plan: Plan) {
    match campaign::run(&plan).await {
        Ok(report) => panic!("it was not caught:\n{report}"),
        // Of an answer, and not of nodes that did not come back.
        Err(wrong) if wrong.0.contains("\nasked: ") => {
            let line = wrong.0.lines().next().unwrap_or_default();
            println!("{}", line.chars().take(200).collect::<String>());
        }
        Err(other) => panic!("it ended before a wrong answer was found: {other}"),
    }
}

/// The same campaign, with nodes whose feed loses every change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_hear_of_no_change_are_caught() {
    let _one = ONE.lock().await;
    let plan = plan();
    is_caught(Plan {
        nodes: 2,
        steps: FEW,
        time: Duration::from_secs(60),
        settings: Settings {
            defect: Some(Defect::LosesAll),
            ..plan.settings
        },
        faults: vec![Fault::ConnectionsCut],
        ..plan
    })
    .await;
}

/// The same campaign, with nodes that take what the shared tier has for true.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_trust_the_tier_are_caught() {
    let _one = ONE.lock().await;
    let plan = plan();
    is_caught(Plan {
        time: Duration::from_secs(300),
        steps: FEW,
        settings: Settings {
            defect: Some(Defect::TrustsTier),
            ..plan.settings
        },
        ..plan
    })
    .await;
}
