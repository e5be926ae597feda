//! Answers past their time to live: served while they are loaded again, or when that fails, said to be so, and never when a change
//! has dropped them.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::ManualClock;
use ci_model::{Aggregate, CiDraft, Get, TenantId};
use ci_runner::{Error, Level, Runner, RunnerBuilder, Source, Tenant};
use ci_tests::fixture::Fixture;
use ci_tests::observed::{Control, Observed};

const TTL: Duration = Duration::from_secs(300);
const WINDOW: Duration = Duration::from_secs(60);

async fn runner(
    fixture: &Fixture,
    set: impl FnOnce(RunnerBuilder) -> RunnerBuilder,
) -> (Runner, Tenant, Arc<Control>, Arc<ManualClock>) {
    let (store, control) = Observed::around(fixture.open().await);
    let clock = Arc::new(ManualClock::new());
    let builder = ci_tests::fixture::patient(store)
        .clock(Arc::clone(&clock) as _)
        // Time passes by leaps here.
        .level(Level::Cached {
            max_lag: Duration::from_secs(86_400),
        });
    let runner = set(builder).build().unwrap();
    let tenant = runner.tenant(TenantId::new("acme").unwrap());
    let draft = CiDraft::new("srv-01", "old", "HW");
    tenant.upsert_cis(vec![draft]).await.unwrap();
    (runner, tenant, control, clock)
}

fn all() -> Aggregate {
    Aggregate::builder().build().unwrap()
}

#[tokio::test]
async fn who_comes_after_the_time_to_live_does_not_wait_and_the_next_has_it_fresh() {
    let fixture = Fixture::sqlite();
    let (runner, tenant, control, clock) = runner(&fixture, |set| set.stale_while_revalidate(WINDOW)).await;
    tenant.get_by_code("srv-01").await.unwrap();
    tenant.aggregate(&all()).await.unwrap();
    clock.advance(TTL + WINDOW / 2);
    let gate = control.close_gate();
    let answer = tenant.get_by_code("srv-01").await.unwrap();
    assert_eq!((answer.source, answer.stale), (Source::Hit, true));
    let groups = tenant.aggregate(&all()).await.unwrap();
    assert_eq!((groups.source, groups.stale), (Source::Hit, true));
    let again = tenant.get_by_code("srv-01").await.unwrap();
    assert!(again.stale, "one loads, all others are served meanwhile");
    drop(gate);
    loop {
        let answer = tenant.get_by_code("srv-01").await.unwrap();
        let groups = tenant.aggregate(&all()).await.unwrap();
        assert_eq!((answer.source, groups.source), (Source::Hit, Source::Hit));
        if !answer.stale && !groups.stale {
            break;
        }
        tokio::task::yield_now().await;
    }
    // Past the window it is gone.
    clock.advance(TTL + WINDOW * 2);
    let answer = tenant.get_by_code("srv-01").await.unwrap();
    assert_eq!((answer.source, answer.stale), (Source::Miss, false));
    runner.close().await;
}

#[tokio::test]
async fn a_failing_database_leaves_what_is_past_its_time_and_says_so_until_the_window_closes() {
    let fixture = Fixture::sqlite();
    let (runner, tenant, control, clock) = runner(&fixture, |set| set.stale_if_error(WINDOW)).await;
    let get = Get::new(ci_model::CiCode::new("srv-01").unwrap());
    tenant.get(&get).await.unwrap();
    tenant.aggregate(&all()).await.unwrap();
    clock.advance(TTL + WINDOW / 2);
    for _ in 0..2 {
        control.fail_nth(1);
        let answer = tenant.get(&get).await.unwrap();
        assert_eq!((answer.source, answer.stale), (Source::Hit, true));
        assert_eq!(answer.value.unwrap().summary.ci_name, "old");
        control.fail_nth(1);
        assert!(tenant.aggregate(&all()).await.unwrap().stale);
        control.fail_nth(1);
        assert!(tenant.get_many(std::slice::from_ref(&get)).await.unwrap()[0].stale);
    }
    clock.advance(WINDOW);
    control.fail_nth(1);
    assert!(matches!(tenant.get(&get).await, Err(Error::Store(_))));
    let answer = tenant.get(&get).await.unwrap();
    assert_eq!((answer.source, answer.stale), (Source::Miss, false));
    runner.close().await;
}

#[tokio::test]
async fn what_a_change_has_dropped_is_never_served_and_without_windows_nothing_is_stale() {
    let fixture = Fixture::sqlite();
    let both = |set: RunnerBuilder| set.stale_while_revalidate(WINDOW).stale_if_error(WINDOW);
    let (runner, tenant, control, clock) = runner(&fixture, both).await;
    tenant.get_by_code("srv-01").await.unwrap();
    clock.advance(TTL + WINDOW / 2);
    fixture.execute("UPDATE ci SET ci_name = 'new'").await;
    assert!(runner.catch_up(Duration::from_secs(60)).await);
    control.fail_nth(1);
    assert!(tenant.get_by_code("srv-01").await.is_err());
    let answer = tenant.get_by_code("srv-01").await.unwrap();
    assert_eq!((answer.source, answer.stale), (Source::Miss, false));
    assert_eq!(answer.value.unwrap().summary.ci_name, "new");
    runner.close().await;
    let (runner, tenant, control, clock) = self::runner(&fixture, |set| set).await;
    tenant.get_by_code("srv-01").await.unwrap();
    clock.advance(TTL + WINDOW / 2);
    control.fail_nth(1);
    assert!(tenant.get_by_code("srv-01").await.is_err());
    runner.close().await;
}
