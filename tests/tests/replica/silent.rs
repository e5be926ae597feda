//! A standby that takes connections and says nothing, or not all: it costs the time that it may take, a few times, and no answer.

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::ManualClock;
use ci_model::Get;
use ci_runner::replica::{ReplicaOptions, ReplicaOutcome, ReplicaRules};
use ci_runner::{Level, Runner};
use ci_tests::fixture::patient;

use super::feeding::{acme, id};
use super::loads::{LONG, PAUSE, count, name, rename, used};
use super::proxy::{Mode, Proxy};
use super::stage::{DATABASE, Stage, replica, until};

/// How long the standby may take. It is waited for in full, so it is short; where a machine stalls for longer, the standby is asked again.
const TIMEOUT: Duration = Duration::from_millis(300);
/// After so many failures in a row it is left alone.
const FAILURES: u64 = 3;
/// Within the first message of any answer, and of what is said when somebody connects.
const IN_THE_MIDDLE: usize = 7;

/// A runner whose standby is behind a proxy, and which waits for nothing else.
async fn behind_a_proxy(stage: &Stage, timeout: Duration) -> (Runner, Arc<ManualClock>, Proxy) {
    let proxy = Proxy::start(stage.standby.place()).await;
    let url = format!("postgres://postgres@127.0.0.1:{}/{DATABASE}", proxy.port());
    let clock = Arc::new(ManualClock::new());
    let options = ReplicaOptions::new().wait(Duration::ZERO).timeout(timeout);
    let runner = patient(Arc::clone(&stage.store))
        .clock(clock.clone())
        .replica(replica(&stage.store, &url), options)
        .replica_rules(ReplicaRules::Kept);
    (runner.build().unwrap(), clock, proxy)
}

/// Loads that ended without an answer. A load that needs a connection has half a second for that, too, and on a machine that stalls until then it has failed
/// before it is seen that its time is over.
fn unanswered(runner: &Runner) -> u64 {
    count(runner, ReplicaOutcome::TimedOut) + count(runner, ReplicaOutcome::Failed)
}

async fn costs_time_and_no_answer(mode: Mode) {
    let stage = Stage::new().await;
    let (runner, clock, proxy) = behind_a_proxy(&stage, TIMEOUT).await;
    rename(&runner, "before").await;
    used(&runner, &clock).await;
    let [timed_out, skipped] =
        [ReplicaOutcome::TimedOut, ReplicaOutcome::Skipped].map(|outcome| count(&runner, outcome));
    let before = unanswered(&runner);
    proxy.set(mode);
    let mut asked = 0;
    until(async || {
        // One that is not in memory, and not there.
        asked += 1;
        let none = runner.tenant(acme()).get(&Get::new(id(1_000 + asked))).await;
        assert!(none.unwrap().value.is_none());
        count(&runner, ReplicaOutcome::Skipped) > skipped
    })
    .await;
    let stats = runner.stats().replica.unwrap();
    assert!(stats.loads_of(ReplicaOutcome::TimedOut) > timed_out, "{stats:?}");
    assert_eq!(unanswered(&runner) - before, FAILURES, "{stats:?}");
    assert!(stats.is_open && stats.trouble.is_some(), "{stats:?}");
    assert_eq!(asked, FAILURES + 1, "each load asked it once: {stats:?}");

    // What is written meanwhile is answered, and nobody waits for the standby.
    rename(&runner, "after").await;
    for level in [
        Level::Cached {
            max_lag: Duration::from_secs(60),
        },
        Level::Strong,
    ] {
        runner.clear();
        assert_eq!(name(&runner, level).await.as_deref(), Some("after"));
    }
    let stats = runner.stats().replica.unwrap();
    assert_eq!(unanswered(&runner) - before, FAILURES, "{stats:?}");

    proxy.set(Mode::Pass);
    used(&runner, &clock).await;
    assert!(!runner.stats().replica.unwrap().is_open);
    stage.replayed().await;
    runner.clear();
    used(&runner, &clock).await;
    assert_eq!(name(&runner, Level::Strong).await.as_deref(), Some("after"));

    // The load is given up, and its connection never says that it is free: closing does not wait for that.
    let timed_out = count(&runner, ReplicaOutcome::TimedOut);
    proxy.set(mode);
    until(async || {
        runner.clear();
        clock.advance(PAUSE);
        assert!(runner.catch_up(LONG).await);
        assert_eq!(name(&runner, Level::Strong).await.as_deref(), Some("after"));
        count(&runner, ReplicaOutcome::TimedOut) > timed_out
    })
    .await;
    runner.close().await;
}

/// Closing does not come to the primary's connections only after those of a standby that hangs.
#[tokio::test]
async fn a_standby_that_hangs_keeps_no_connection_to_the_primary_open() {
    let stage = Stage::new().await;
    // Longer than the test may take.
    let (runner, clock, proxy) = behind_a_proxy(&stage, Duration::from_secs(600)).await;
    rename(&runner, "before").await;
    used(&runner, &clock).await;
    proxy.set(Mode::Hole);
    let asking = tokio::spawn({
        let runner = runner.clone();
        async move { runner.tenant(acme()).get(&Get::new(id(1_000))).await }
    });
    until(async || proxy.held() > 0).await;
    let closing = tokio::spawn({
        let runner = runner.clone();
        async move { runner.close().await }
    });
    until(async || runner.ping().await.is_err()).await;
    assert!(!closing.is_finished(), "the standby has the load still");
    proxy.set(Mode::Pass);
    closing.await.unwrap();
    // It may have come to the primary too late.
    let _ended = asking.await.unwrap();
}

#[tokio::test]
async fn a_standby_that_never_answers_costs_time_and_no_answer() {
    costs_time_and_no_answer(Mode::Hole).await;
}

#[tokio::test]
async fn a_standby_that_stops_in_the_middle_of_an_answer_costs_time_and_no_answer() {
    costs_time_and_no_answer(Mode::StopAfter(IN_THE_MIDDLE)).await;
}
