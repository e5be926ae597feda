//! What is answered while the database does not record changes: the truth, but no version of it.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::time::Duration;

use ci_model::{CiDraft, Search, TenantId};
use ci_runner::{FeedState, Level, SearchMode, Source};
use ci_tests::fixture::Fixture;
use ci_tests::history::audit::{Raw, dropped, feed_triggers};
use ci_tests::observed::Observed;

/// A question of two steps: the identifier, else its parts.
fn question() -> Search {
    Search::builder().keywords(["where is app-27"]).build().unwrap()
}

/// States of SQLite have no version then, so two loads cannot be told to be of one state, even if nothing tells them apart.
///
/// ```text
/// the question                              another program
/// asks for "app-27": nothing
///                                           inserts app-27
/// asks for "app" or "27": finds app-27, as if no CI had that code
/// ```
#[tokio::test]
async fn steps_of_a_search_are_not_mixed_from_states_without_a_version() {
    let fixture = Fixture::sqlite();
    let (store, control) = Observed::around(fixture.open().await);
    let runner = ci_tests::fixture::patient(store).build().unwrap();
    let tenant = runner.tenant(TenantId::new("acme").unwrap());
    let other = CiDraft::new("app-0", "Other", "SW");
    tenant.upsert_cis(vec![other]).await.unwrap();
    let recorded = tenant.search(&question()).await.unwrap();
    assert_eq!(recorded.value.mode, SearchMode::Broad);
    assert!(recorded.as_of.is_some());

    let mut raw = Raw::connect(fixture.address()).await.unwrap();
    let triggers = feed_triggers(&mut raw).await.unwrap();
    raw.run(&dropped(&triggers)).await.unwrap();
    while runner.feed().state != FeedState::Stopped {
        tokio::task::yield_now().await;
    }
    let blind = tenant.search(&question()).await.unwrap();
    assert_eq!((blind.source, blind.as_of), (Source::Miss, None));
    assert!(blind.lag.is_some(), "how old it is, is known all the same");

    // Strict, recovered, broad.
    let (reached, release) = control.hold_nth_snapshot(3);
    let asking = {
        let tenant = tenant.at(Level::Strong);
        tokio::spawn(async move { tenant.search(&question()).await.unwrap() })
    };
    reached.await.unwrap();
    let insertion = "INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type, created_at, updated_at) \
         SELECT '00000000-0000-4000-8000-000000000027', tenant_id, 'app-27', 'New', ci_type, created_at, updated_at \
         FROM ci WHERE ci_code = 'app-0'";
    raw.run(insertion).await.unwrap();
    release.send(()).unwrap();
    let answer = asking.await.unwrap();
    let codes: Vec<&str> = answer.value.items.iter().map(|ci| ci.ci_code.as_str()).collect();
    assert_eq!(
        (answer.value.mode, codes),
        (SearchMode::Recovered, vec!["app-27"])
    );
}

/// A load that began before a write of this runner is of no use to whoever asks after the write, however much lag is allowed.
#[tokio::test]
async fn a_reader_does_not_join_a_load_from_before_this_runners_write() {
    let fixture = Fixture::sqlite();
    let (store, control) = Observed::around(fixture.open().await);
    let runner = ci_tests::fixture::patient(store).build().unwrap();
    let patient = Level::Cached {
        max_lag: Duration::from_secs(3_600),
    };
    let tenant = runner.tenant(TenantId::new("acme").unwrap()).at(patient);
    let named = |name: &str| CiDraft::new("srv-01", name, "HW");
    tenant.upsert_cis(vec![named("old")]).await.unwrap();
    let mut raw = Raw::connect(fixture.address()).await.unwrap();
    let triggers = feed_triggers(&mut raw).await.unwrap();
    raw.run(&dropped(&triggers)).await.unwrap();
    while runner.feed().state != FeedState::Stopped {
        tokio::task::yield_now().await;
    }
    let ask = || {
        let tenant = tenant.clone();
        tokio::spawn(async move {
            let found = tenant.get_by_code("srv-01").await.unwrap().value;
            found.unwrap().summary.ci_name.clone()
        })
    };
    let before = control.reads();
    let gate = control.close_gate();
    let early = ask();
    while control.reads() == before {
        tokio::task::yield_now().await;
    }
    tenant.upsert_cis(vec![named("new")]).await.unwrap();
    let past = runner.stats().through;
    let late = ask();
    while runner.stats().through == past {
        tokio::task::yield_now().await;
    }
    drop(gate);
    assert_eq!(
        (early.await.unwrap(), late.await.unwrap()),
        ("old".into(), "new".into())
    );
}
