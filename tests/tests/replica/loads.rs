//! What a runner answers from a standby: what it would have answered from the primary, or nothing.

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::ManualClock;
use ci_model::{CiCode, CiDraft, CiRef, Expand, Get, List, Question, Search, Token, View};
use ci_runner::replica::{ReplicaOptions, ReplicaOutcome, ReplicaRules};
use ci_runner::{Level, Reply, Runner, Source};
use ci_store::WriteOptions;
use ci_tests::fixture::patient;
use ci_tests::history::Ending;

use super::feeding::{acme, id, insert};
use super::stage::{Stage, answers, open, raw, replica, until};

/// Longer than a test may take: what is waited for comes.
pub(crate) const LONG: Duration = Duration::from_secs(60);
/// Longer than the replica is ever left alone.
pub(crate) const PAUSE: Duration = Duration::from_secs(31);

async fn waiting(stage: &Stage) -> Runner {
    let options = ReplicaOptions::new().wait(LONG).timeout(LONG * 2);
    let replica = stage.replica();
    answers(&stage.store, &replica).await;
    let runner = patient(Arc::clone(&stage.store)).replica(replica, options);
    runner.build().unwrap()
}

/// A runner that waits for nothing, whose clock the test moves.
fn impatient(stage: &Stage, rules: ReplicaRules) -> (Runner, Arc<ManualClock>) {
    let clock = Arc::new(ManualClock::new());
    let options = ReplicaOptions::new().wait(Duration::ZERO).timeout(LONG);
    let runner = patient(Arc::clone(&stage.store))
        .clock(clock.clone())
        .replica(stage.replica(), options)
        .replica_rules(rules);
    (runner.build().unwrap(), clock)
}

pub(crate) fn count(runner: &Runner, outcome: ReplicaOutcome) -> u64 {
    runner.stats().replica.unwrap().loads_of(outcome)
}

/// Asks, as often as it takes, something that is not in memory, until the standby has answered.
pub(crate) async fn used(runner: &Runner, clock: &ManualClock) {
    let before = count(runner, ReplicaOutcome::Used);
    until(async || {
        clock.advance(PAUSE);
        runner.catch_up(LONG).await;
        runner.tenant(acme()).get(&Get::new(id(999))).await.unwrap();
        runner.tenant(acme()).invalidate_ci(&CiRef::Id(id(999)));
        count(runner, ReplicaOutcome::Used) > before
    })
    .await;
    // A poll that begins later, so that what was forgotten here is known to be.
    clock.advance(PAUSE);
    assert!(runner.catch_up(LONG).await);
}

pub(crate) async fn name(runner: &Runner, level: Level) -> Option<String> {
    let get = Get::new(CiCode::new("c-1").unwrap());
    let answer = runner.tenant(acme()).at(level).get(&get).await.unwrap();
    answer.value.map(|ci| ci.summary.ci_name.clone())
}

pub(crate) async fn rename(runner: &Runner, name: &str) -> Token {
    let record = CiDraft::new("c-1", name, "SW").check(&acme()).unwrap();
    let store = runner.store();
    store
        .upsert_cis(vec![record], WriteOptions::default())
        .await
        .unwrap();
    runner.feed().position.unwrap()
}

#[tokio::test]
async fn every_form_of_question_is_answered_by_the_standby() {
    let stage = Stage::new().await;
    let runner = waiting(&stage).await;
    runner.catch_up(LONG).await;
    for n in 1..=6 {
        stage.execute(&insert("acme", n)).await;
    }
    stage.execute(&super::feeding::relate(1, 2)).await;
    assert!(runner.catch_up(LONG).await);
    let loads = runner.stats().replica.unwrap().loads;
    let tenant = runner.tenant(acme());
    let expand = Expand::builder(id(1), View::Impact).build().unwrap();
    let search = Search::builder().keyword("name").build().unwrap();
    let list = List::builder().build().unwrap();

    assert_eq!(tenant.get(&Get::new(id(1))).await.unwrap().source, Source::Miss);
    let rows = tenant.search(&search).await.unwrap();
    assert_eq!((rows.value.items.len(), rows.source), (6, Source::Miss));
    assert_eq!(tenant.list(&list).await.unwrap().value.items.len(), 6);
    let gets: Vec<Get> = (2..=4).map(|n| Get::new(id(n))).collect();
    let batch = tenant.get_many(&gets).await.unwrap();
    assert!(
        batch
            .iter()
            .all(|answer| answer.value.is_some() && answer.source == Source::Miss)
    );
    let traversal = tenant.traverse(&expand).await.unwrap();
    assert!(traversal.graph.is_some() && traversal.source == Source::Miss);
    let page = tenant
        .page(vec![
            Question::Get(Get::new(id(5))),
            Question::Get(Get::new(id(6))),
        ])
        .await
        .unwrap();
    assert_eq!(page.source, Source::Miss);
    assert!(
        page.answers
            .iter()
            .all(|answer| matches!(answer, Reply::Ci(Some(_))))
    );
    for ((outcome, before), (_, after)) in loads.into_iter().zip(runner.stats().replica.unwrap().loads) {
        let expected = if outcome == ReplicaOutcome::Used { 6 } else { 0 };
        assert_eq!(
            after - before,
            expected,
            "{outcome:?}: {:?}",
            runner.stats().replica
        );
    }

    // What it answered is kept, and dropped by what changes it.
    assert_eq!(tenant.get(&Get::new(id(1))).await.unwrap().source, Source::Hit);
    rename(&runner, "renamed").await;
    assert_eq!(name(&runner, Level::Strong).await.as_deref(), Some("renamed"));
    // What must not be older than the call is the primary's affair.
    let loads = count(&runner, ReplicaOutcome::Used);
    name(&runner, Level::Bypass).await;
    assert_eq!(count(&runner, ReplicaOutcome::Used), loads);
    runner.close().await;
}

/// Whether an answer is from before what was written, while the standby stands still.
async fn is_stale(rules: ReplicaRules) -> bool {
    let stage = Stage::new().await;
    let (runner, clock) = impatient(&stage, rules);
    rename(&runner, "before").await;
    used(&runner, &clock).await;
    stage.replayed().await;
    stage.pause().await;
    let token = rename(&runner, "after").await;
    let mut is_old = false;
    for level in [
        Level::Cached { max_lag: LONG },
        Level::AtLeast(token),
        Level::Strong,
    ] {
        let behind = count(&runner, ReplicaOutcome::Behind);
        // Until the standby was asked, and said so: a connection to it may come too late.
        until(async || {
            runner.clear();
            clock.advance(PAUSE);
            assert!(runner.catch_up(LONG).await);
            is_old |= name(&runner, level.clone()).await.as_deref() != Some("after");
            rules != ReplicaRules::Kept || count(&runner, ReplicaOutcome::Behind) > behind
        })
        .await;
    }
    if rules == ReplicaRules::Kept {
        stage.resume().await;
        used(&runner, &clock).await;
    }
    runner.close().await;
    is_old
}

#[tokio::test]
async fn nothing_is_answered_from_before_what_was_promised() {
    assert!(!is_stale(ReplicaRules::Kept).await);
}

#[tokio::test]
async fn a_runner_that_trusts_what_is_behind_is_noticed() {
    assert!(is_stale(ReplicaRules::TrustsWhatIsBehind).await);
}

/// Whether a token of an answer is of a state that the primary does not show: a commit waits for a standby that never answers, and ours shows it.
async fn runs_ahead(rules: ReplicaRules) -> bool {
    let stage = Stage::new().await;
    for setting in [
        "ALTER DATABASE postgres SET synchronous_commit = local",
        "ALTER SYSTEM SET synchronous_standby_names = 'nobody'",
        "SELECT pg_reload_conf()",
    ] {
        stage.execute(setting).await;
    }
    let mut looking = raw(&stage.primary).await;
    let names = "SELECT current_setting('synchronous_standby_names')";
    until(async || looking.texts(names).await.unwrap() == ["nobody"]).await;
    // With connections that have the setting.
    let store = open(&stage.primary).await;
    let copy = replica(&store, &stage.standby.url(super::stage::DATABASE));
    answers(&store, &copy).await;
    let clock = Arc::new(ManualClock::new());
    let runner = patient(store)
        .clock(clock.clone())
        .replica(copy, ReplicaOptions::new().wait(Duration::ZERO).timeout(LONG))
        .replica_rules(rules)
        .build()
        .unwrap();
    runner.catch_up(LONG).await;
    used(&runner, &clock).await;

    let mut writer = raw(&stage.primary).await;
    writer.run("SET synchronous_commit = on").await.unwrap();
    let waits = tokio::spawn(async move { writer.run(&insert("acme", 1)).await });
    let mut standby = raw(&stage.standby).await;
    let shown = "SELECT count(*)::text FROM ci WHERE ci_code = 'c-1'";
    until(async || standby.texts(shown).await.unwrap() == ["1"]).await;
    assert_eq!(looking.texts(shown).await.unwrap(), ["0"]);

    let tenant = runner.tenant(acme());
    let looked_at = || [ReplicaOutcome::Ahead, ReplicaOutcome::Used].map(|of| count(&runner, of));
    let before = looked_at();
    let first = loop {
        runner.clear();
        clock.advance(PAUSE);
        assert!(runner.catch_up(LONG).await);
        let first = tenant.get(&Get::new(id(1))).await.unwrap();
        // Until the standby has answered: a connection to it may come too late.
        if looked_at() != before {
            break first;
        }
        assert!(first.value.is_none());
    };
    let token = Level::AtLeast(first.as_of.unwrap());
    let list = List::builder().build().unwrap();
    // Past the cache, as any other node would: of the primary.
    let other = patient(Arc::clone(&stage.store)).build().unwrap();
    other.catch_up(LONG).await;
    let second = other.tenant(acme()).at(token).list(&list).await.unwrap();
    let went_back = first.value.is_some() && second.value.items.is_empty();
    if rules == ReplicaRules::Kept {
        assert_eq!(
            looked_at(),
            [before[0] + 1, before[1]],
            "{:?}",
            runner.stats().replica
        );
    }
    stage
        .execute("ALTER SYSTEM RESET synchronous_standby_names")
        .await;
    stage.execute("SELECT pg_reload_conf()").await;
    waits.await.unwrap().unwrap();
    if rules == ReplicaRules::Kept {
        used(&runner, &clock).await;
    }
    other.close().await;
    runner.close().await;
    went_back
}

#[tokio::test]
async fn nothing_is_answered_that_the_primary_has_not_shown() {
    assert!(!runs_ahead(ReplicaRules::Kept).await);
}

#[tokio::test]
async fn a_runner_that_trusts_what_is_ahead_is_noticed() {
    assert!(runs_ahead(ReplicaRules::TrustsWhatIsAhead).await);
}

#[tokio::test]
async fn a_standby_that_is_down_or_promoted_costs_time_and_no_answer() {
    let stage = Stage::new().await;
    let (runner, clock) = impatient(&stage, ReplicaRules::Kept);
    rename(&runner, "before").await;
    used(&runner, &clock).await;
    let [failed, skipped] =
        [ReplicaOutcome::Failed, ReplicaOutcome::Skipped].map(|outcome| count(&runner, outcome));
    stage.standby.stop(Ending::Crash).await;
    let mut asked = 0;
    until(async || {
        // One that is not in memory, and not there.
        asked += 1;
        let none = runner.tenant(acme()).get(&Get::new(id(1_000 + asked))).await;
        assert!(none.unwrap().value.is_none());
        count(&runner, ReplicaOutcome::Skipped) > skipped
    })
    .await;
    assert_eq!(
        count(&runner, ReplicaOutcome::Failed) - failed,
        3,
        "it is left alone after three"
    );
    assert!(runner.stats().replica.unwrap().is_open);
    assert!(runner.stats().replica.unwrap().trouble.is_some());
    stage.standby.restart(Ending::Fast).await;
    used(&runner, &clock).await;
    assert!(!runner.stats().replica.unwrap().is_open);

    stage.replayed().await;
    stage.standby.promote().await;
    raw(&stage.standby)
        .await
        .run("UPDATE ci SET ci_name = 'elsewhere'")
        .await
        .unwrap();
    rename(&runner, "after").await;
    for level in [Level::Cached { max_lag: LONG }, Level::Strong] {
        let promoted = count(&runner, ReplicaOutcome::Promoted);
        until(async || {
            runner.clear();
            clock.advance(PAUSE);
            assert!(runner.catch_up(LONG).await);
            assert_eq!(name(&runner, level.clone()).await.as_deref(), Some("after"));
            count(&runner, ReplicaOutcome::Promoted) > promoted
        })
        .await;
    }
    runner.close().await;
}

#[tokio::test]
async fn what_was_forgotten_by_hand_does_not_come_back_from_a_standby() {
    let stage = Stage::new().await;
    let (runner, clock) = impatient(&stage, ReplicaRules::Kept);
    rename(&runner, "before").await;
    used(&runner, &clock).await;
    let unmarked = count(&runner, ReplicaOutcome::NoMark);
    runner.clear();
    // No poll has begun since, by the clock.
    name(&runner, Level::Cached { max_lag: LONG }).await;
    assert_eq!(count(&runner, ReplicaOutcome::NoMark), unmarked + 1);
    clock.advance(PAUSE);
    used(&runner, &clock).await;
    runner.close().await;
}
