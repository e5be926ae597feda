//! A fleet of `ci-cache serve` processes over a PostgreSQL that crashes, fails over and is restored, and a Redis that forgets, goes back in
//! time and splits, behind proxies that hurt: every answer is the truth at its version, and everything comes back by itself.
//!
//! The checker is the history checker's. `cargo xtask chaos` runs it longer; `CI_CACHE_TEST_LONG` for three minutes.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
#![allow(clippy::print_stdout, reason = "the counts are what the test is for")]

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

use std::time::Duration;

use campaign::Plan;
use fault::Fault;
use node::Settings;
use tokio::sync::Mutex;

/// One fleet after the other: this machine may be small.
static ONE: Mutex<()> = Mutex::const_new(());

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
        settings: Settings {
            set: set.lines().map(str::to_owned).collect(),
            planted: false,
        },
        faults: Fault::ALL.to_vec(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_answers_truly_while_everything_fails() {
    let _one = ONE.lock().await;
    let plan = plan();
    println!("seed {}", plan.seed);
    let report = match campaign::run(&plan).await {
        Ok(report) => report,
        Err(wrong) => panic!("{wrong}"),
    };
    println!("{report}");
    if let Some(path) = std::env::var_os("CI_CACHE_CHAOS_LOG") {
        std::fs::write(path, format!("{report}\n")).unwrap();
    }
    for level in ["cached", "at least", "strong", "bypass"] {
        assert!(report.levels.contains_key(level), "nobody asked at {level}");
    }
    assert!(
        report.sources.get("l1").copied().unwrap_or(0) > report.checked / 10,
        "memory answered"
    );
    assert!(report.sources.contains_key("l2"), "the shared tier answered");
    assert!(
        report.unplaced < report.checked / 50,
        "most answers can be checked"
    );
}

/// The same campaign, with nodes whose feed loses every change: the checker has to find a wrong answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_hear_of_no_change_are_caught() {
    let _one = ONE.lock().await;
    let plan = plan();
    let planted = Plan {
        nodes: 2,
        time: Duration::from_secs(60),
        settings: Settings {
            planted: true,
            ..plan.settings
        },
        faults: vec![Fault::ConnectionsCut],
        ..plan
    };
    match campaign::run(&planted).await {
        Ok(report) => panic!("it was not caught:\n{report}"),
        Err(wrong) => println!("{}", wrong.0.lines().next().unwrap_or_default()),
    }
}
