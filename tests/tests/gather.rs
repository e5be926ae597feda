//! Gets that miss together are loaded together.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::sync::Arc;

use ci_model::{CiDraft, TenantId};
use ci_runner::{Error, Runner, Source};
use ci_tests::fixture::{Fixture, on_both};
use ci_tests::observed::Observed;

const GETS: usize = 1_000;

fn code(number: usize) -> String {
    format!("srv-{number:04}")
}

async fn filled(fixture: &Fixture) -> Runner {
    let runner = ci_tests::fixture::patient(fixture.open().await).build().unwrap();
    let drafts = (0..GETS).map(|number| CiDraft::new(code(number), format!("Server {number}"), "HW"));
    let tenant = runner.tenant(tenant());
    tenant.upsert_cis(drafts.collect()).await.unwrap();
    runner
}

fn tenant() -> TenantId {
    TenantId::new("acme").unwrap()
}

/// Asks for some codes at once, each in a task of its own; counts the answers that are right, and the statements.
async fn asked_at_once(runner: &Runner, codes: Vec<String>) -> (usize, u64) {
    let before = runner.stats().statements;
    let asking: Vec<_> = codes
        .into_iter()
        .map(|code| {
            let tenant = runner.tenant(tenant());
            tokio::spawn(async move {
                let answer = tenant.get_by_code(&code).await.unwrap();
                answer.value.is_some_and(|ci| ci.summary.ci_code.as_str() == code)
            })
        })
        .collect();
    let mut right = 0;
    for asked in asking {
        right += usize::from(asked.await.unwrap());
    }
    (right, runner.stats().statements - before)
}

#[tokio::test]
async fn a_thousand_gets_at_once_take_a_handful_of_statements() {
    a_thousand_at_once(8, 1).await;
}

/// Whoever asks shares two cores with those who answer, and is interrupted now and then: then what was asked until then is loaded. So there is no
/// number that always holds, but there is one that shows whether gets are gathered: without, it is a thousand each time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_gets_of_several_threads_are_gathered() {
    a_thousand_at_once(100, 20).await;
}

async fn a_thousand_at_once(most: u64, tries: u32) {
    on_both(async |fixture| {
        let runner = filled(fixture).await;
        let mut least = u64::MAX;
        for _ in 0..tries {
            runner.clear();
            let (right, statements) = asked_at_once(&runner, (0..GETS).map(code).collect()).await;
            assert_eq!(right, GETS);
            least = least.min(statements);
            if least <= most {
                break;
            }
        }
        assert!(least <= most, "{least} statements for {GETS} gets");
        let (right, statements) = asked_at_once(&runner, (0..GETS).map(code).collect()).await;
        assert_eq!((right, statements), (GETS, 0), "all of them are kept");
        runner.clear();
        let (right, statements) = asked_at_once(&runner, vec![code(7); GETS]).await;
        assert_eq!((right, statements), (GETS, 1), "one statement for one CI");
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_get_that_comes_alone_waits_for_nobody() {
    on_both(async |fixture| {
        let runner = filled(fixture).await;
        let (right, statements) = asked_at_once(&runner, vec![code(1)]).await;
        assert_eq!((right, statements), (1, 1));
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_database_that_fails_fails_all_of_them_and_the_next_try_loads() {
    let fixture = Fixture::sqlite();
    let (store, control) = Observed::around(fixture.open().await);
    let runner = ci_tests::fixture::patient(store).build().unwrap();
    let tenant = runner.tenant(tenant());
    tenant
        .upsert_cis(vec![CiDraft::new("a", "A", "HW"), CiDraft::new("b", "B", "HW")])
        .await
        .unwrap();
    control.fail_nth(1);
    let (one, other) = tokio::join!(tenant.get_by_code("a"), tenant.get_by_code("b"));
    for failed in [one.unwrap_err(), other.unwrap_err()] {
        assert!(matches!(failed, Error::Store(_)), "{failed}");
    }
    control.panic_nth(1);
    let (one, other) = tokio::join!(tenant.get_by_code("a"), tenant.get_by_code("b"));
    for failed in [one.unwrap_err(), other.unwrap_err()] {
        assert!(matches!(failed, Error::TaskLost), "{failed}");
    }
    let (one, other) = tokio::join!(tenant.get_by_code("a"), tenant.get_by_code("b"));
    for found in [one.unwrap(), other.unwrap()] {
        assert_eq!((found.source, found.value.is_some()), (Source::Miss, true));
    }
    runner.close().await;
}

/// A runtime that ends with gets under way must not leave those that another runtime asks waiting for ever.
#[test]
fn a_runtime_that_ends_lets_go_of_what_waits() {
    let fixture = Fixture::sqlite();
    let first = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let second = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let runner = Arc::new(first.block_on(filled(&fixture)));
    let asking: Vec<_> = (0..100)
        .map(|number| {
            let tenant = runner.tenant(tenant());
            first.spawn(async move { tenant.get_by_code(&code(number)).await.is_ok() })
        })
        .collect();
    first.shutdown_background();
    drop(asking);
    // It ends: with an answer, or with an error because the store's connections went with their runtime.
    for number in 0..100 {
        let tenant = runner.tenant(tenant());
        let _ended = second.block_on(async { tenant.get_by_code(&code(number)).await });
    }
}
