//! The checker can fail: each defect that is planted is found within a bounded number of reads.

use std::sync::Arc;

use ci_tests::fixture::Fixture;
use ci_tests::history::{Planted, Server};

use super::campaign::{self, Plan};
use super::fault::Fault;

/// Within so many reads each defect is found.
const BOUND: u64 = 200_000;

fn plan(planted: Planted, faults: &[Fault]) -> Plan {
    Plan {
        round: 2_000,
        faults: faults.to_vec(),
        planted: Some(planted),
        ..Plan::new(super::seed(), BOUND)
    }
}

async fn is_caught(planted: Planted, faults: &[Fault], address: &str, server: Option<Arc<Server>>) {
    match campaign::run(&plan(planted, faults), address, server).await {
        Ok(report) => panic!("{planted:?} was not caught:\n{report}"),
        Err(wrong) => {
            let first = wrong.0.lines().next().unwrap_or_default();
            println!("{planted:?}: {first}");
        }
    }
}

async fn on_sqlite(planted: Planted, faults: &[Fault]) {
    let fixture = Fixture::sqlite();
    is_caught(planted, faults, fixture.address(), None).await;
}

async fn on_postgres(planted: Planted, faults: &[Fault]) {
    let fixture = Fixture::postgres().await;
    is_caught(planted, faults, fixture.address(), None).await;
    fixture.finish().await;
}

macro_rules! mutants {
    ($($name:ident: $on:ident, $planted:ident, [$($fault:ident),*];)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            $on(Planted::$planted, &[$(Fault::$fault),*]).await;
        }
    )*};
}

mutants! {
    a_feed_that_loses_changes_is_caught: on_sqlite, LosesChanges, [];
    a_feed_that_loses_changes_is_caught_on_postgres: on_postgres, LosesChanges, [];
    a_feed_that_loses_all_changes_is_caught: on_sqlite, LosesAll, [];
    a_feed_that_asks_above_the_last_number_is_caught: on_postgres, AboveLast, [];
    a_feed_that_runs_ahead_of_its_changes_is_caught: on_sqlite, RunsAhead, [];
    a_feed_that_ignores_missing_triggers_is_caught: on_sqlite, IgnoresTriggers, [TriggersGone, TriggersGoneInOne];
    a_feed_that_ignores_missing_triggers_is_caught_on_postgres:
        on_postgres, IgnoresTriggers, [TriggersGone, TriggersGoneInOne];
    a_feed_that_ignores_gaps_is_caught: on_sqlite, IgnoresGaps, [ChangesForgotten];
    a_feed_that_answers_without_asking_is_caught: on_sqlite, Sleeps, [];
    versions_newer_than_their_rows_are_caught: on_sqlite, NewerVersions, [];
    versions_newer_than_their_rows_are_caught_on_postgres: on_postgres, NewerVersions, [];
    versions_older_than_their_rows_are_caught: on_sqlite, OlderVersions, [];
    errors_that_answer_nothing_are_caught: on_sqlite, EmptyErrors, [];
}
