//! Every answer is the truth at its version, and its version is as new as was promised, whatever goes wrong meanwhile.
//!
//! Readers ask at all levels, writers write through the runner and beside it, and one fault follows the other. The test's own
//! triggers record what really happened; at the end of each round every answer is compared with what the naive reference
//! says about the rows at the answer's version, and every version with the test's own record of the order of things.
//! Prints its seed; `CI_CACHE_HISTORY_SEED` repeats one (as far as threads let it), `CI_CACHE_TEST_LONG` runs long.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]
#![allow(clippy::print_stdout, reason = "the counts are what the test is for")]

mod campaign;
mod check;
mod fault;
mod mutants;
mod pool;
mod program;
mod reader;
mod record;
mod report;
mod scene;
mod sql;
mod standby;
mod writer;

use std::sync::Arc;

use ci_model::List;
use ci_tests::fixture::Fixture;
use ci_tests::history::{Raw, Server};
use ci_tests::store_contract::world::seeded;

use campaign::Plan;
use fault::Fault;
use report::Report;

/// Checked reads of each database in an ordinary run, and in a long one.
const READS: [u64; 2] = [200_000, 5_000_000];
/// What the process that the test starts writes, and where.
const OTHER_ADDRESS: &str = "CI_CACHE_HISTORY_OTHER_ADDRESS";
const OTHER_SQL: &str = "CI_CACHE_HISTORY_OTHER_SQL";

/// What a campaign must have seen, or it proves nothing.
const SOMETIMES: &[&str] = &[
    "hit",
    "coalesced",
    "load failed",
    "evicted",
    "dropped one by one",
    "included already",
    "group floor",
    "everything dropped",
    "refused: overtaken",
    "refused: floor",
    "refused: epoch",
    "past the cache",
    "looked up again",
    "poll failed",
    "feed Live",
    "feed CatchingUp",
    "feed Stopped",
    "reason: id",
    "reason: code",
    "reason: entered_window",
    "reason: left_result",
    "reason: columns_of_row",
    "reason: membership",
    "reason: group_value",
    "reason: member",
    "reason: expansion",
    "reason: neighbour",
    "reason: group",
    "new epoch: gap",
    "new epoch: schema",
    "changes are not recorded: triggers",
];

fn seed() -> u64 {
    let given = std::env::var("CI_CACHE_HISTORY_SEED").ok();
    given.map_or(4, |text| text.parse().expect("a number"))
}

fn plan(sqlite: bool) -> Plan {
    let long = std::env::var_os("CI_CACHE_TEST_LONG").is_some();
    let given = std::env::var("CI_CACHE_HISTORY_READS").ok();
    let reads = given.map_or(READS[usize::from(long)], |text| text.parse().expect("a number"));
    Plan {
        faults: Fault::all(sqlite),
        wanted: SOMETIMES,
        ..Plan::new(seed(), reads)
    }
}

fn judge(report: &Report) {
    println!("{report}");
    let missing = report.missing(SOMETIMES);
    assert!(missing.is_empty(), "never seen: {missing:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_true_on_sqlite() {
    let fixture = Fixture::sqlite();
    println!("seed {}", seed());
    match campaign::run(&plan(true), fixture.address(), None).await {
        Ok(report) => judge(&report),
        Err(wrong) => panic!("{wrong}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_true_on_postgres() {
    let server = Arc::new(Server::start().await);
    println!("seed {}", seed());
    match campaign::run(&plan(false), &server.url("postgres"), Some(server)).await {
        Ok(report) => judge(&report),
        Err(wrong) => panic!("{wrong}"),
    }
}

/// TRUNCATE spares no older snapshot of PostgreSQL: so it has to wait for those that there are.
#[tokio::test]
async fn a_snapshot_sees_nothing_of_a_later_truncation() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    let mut raw = Raw::connect(fixture.address()).await.unwrap();
    raw.run(&sql::insert(&mut seeded(1), 1, false)).await.unwrap();
    let list = List::builder().build().unwrap();
    let mut totals = Vec::new();
    let mut snapshot = store.snapshot().await.unwrap();
    let truncation = "SET lock_timeout = '20ms'; TRUNCATE ci CASCADE";
    assert!(raw.run(truncation).await.is_err(), "it waits");
    for name in pool::TENANTS {
        let page = snapshot.list(&pool::tenant(name), &list).await.unwrap();
        totals.push(page.total.unwrap());
    }
    assert_eq!(totals.iter().sum::<u64>(), 1);
    drop(snapshot);
    raw.run("SET lock_timeout = '20s'; TRUNCATE ci CASCADE")
        .await
        .unwrap();
    store.close().await;
    fixture.finish().await;
}

/// What the second process runs; by itself it has nothing to do.
#[tokio::test]
async fn another_process_writes() {
    let (Ok(address), Ok(sql)) = (std::env::var(OTHER_ADDRESS), std::env::var(OTHER_SQL)) else {
        return;
    };
    let mut raw = Raw::connect(&address).await.unwrap();
    for statement in sql.lines() {
        // What the database refuses is not written, and that is all.
        let _done = raw.run(statement).await;
    }
}
