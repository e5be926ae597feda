//! The runner reports what the cache saves by kind of question, and kinds that it does not pay for can be left out.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::ManualClock;
use ci_model::{CiCode, CiDraft, CiRef, Get, List, Path, Question, QuestionKind, Search, TenantId};
use ci_runner::{KindSavings, Level, Requests, Runner, Source, Tenant};
use ci_tests::fixture::{Fixture, on_both};
use ci_tests::observed::Observed;

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn code(code: &str) -> CiRef {
    CiCode::new(code).unwrap().into()
}

fn search(keyword: &str) -> Search {
    Search::builder().keyword(keyword).build().unwrap()
}

async fn fill(tenant: &Tenant) {
    let cis = ["erp-1", "erp-2", "erp-3"].map(|code| CiDraft::new(code, "ERP", "SW"));
    tenant.upsert_cis(cis.into()).await.unwrap();
}

fn of(runner: &Runner, kind: QuestionKind) -> KindSavings {
    *runner.savings().of(kind).unwrap()
}

/// Hits, coalesced, misses, bypasses, errors.
fn counts(requests: Requests) -> [u64; 5] {
    [
        requests.hits,
        requests.coalesced,
        requests.misses,
        requests.bypasses,
        requests.errors,
    ]
}

#[tokio::test]
async fn each_request_is_counted_once_by_how_it_ended() {
    on_both(async |fixture| {
        let (store, control) = Observed::around(fixture.open().await);
        let runner = ci_tests::fixture::patient(store).build().unwrap();
        let tenant = runner.tenant(acme());
        fill(&tenant).await;
        for _ in 0..3 {
            tenant.search_strict(&search("erp")).await.unwrap();
        }
        tenant
            .at(Level::Bypass)
            .search_strict(&search("erp"))
            .await
            .unwrap();
        runner
            .tenant(TenantId::new("other").unwrap())
            .search_strict(&search("erp"))
            .await
            .unwrap();
        let seen = of(&runner, QuestionKind::Search);
        assert_eq!(counts(seen.requests), [2, 0, 2, 1, 0]);
        assert_eq!((seen.loaded, seen.statements), (3, 3));
        assert_eq!((seen.saved_statements(), seen.mean_statements()), (2, Some(1.0)));
        assert_eq!(seen.saved_time(), seen.load_time * 2 / 3);

        // A get_many counts each of its gets; what it loads together is one statement for all of them.
        let gets: Vec<Get> = ["erp-1", "erp-2", "nobody"]
            .map(|text| Get::new(code(text)))
            .into();
        for _ in 0..2 {
            tenant.get_many(&gets).await.unwrap();
        }
        let seen = of(&runner, QuestionKind::Get);
        assert_eq!(counts(seen.requests), [3, 0, 3, 0, 0]);
        assert_eq!((seen.loaded, seen.statements, seen.saved_statements()), (3, 1, 1));

        // An error is one for whoever gets it, and no load that anything is measured by.
        control.fail_nth(1);
        assert!(tenant.list(&List::builder().build().unwrap()).await.is_err());
        control.fail_nth(1);
        assert!(
            tenant
                .get_many(&[Get::new(code("x")), Get::new(code("y"))])
                .await
                .is_err()
        );
        assert_eq!(counts(of(&runner, QuestionKind::List).requests), [0, 0, 0, 0, 1]);
        assert_eq!(of(&runner, QuestionKind::List).loaded, 0);
        assert_eq!(counts(of(&runner, QuestionKind::Get).requests), [3, 0, 3, 0, 2]);

        // A page counts each of its questions.
        let questions = vec![Question::Search(search("erp")), Question::Get(gets[0].clone())];
        assert_eq!(tenant.page(questions).await.unwrap().source, Source::Hit);
        assert_eq!(
            counts(of(&runner, QuestionKind::Search).requests),
            [3, 0, 2, 1, 0]
        );
        assert_eq!(counts(of(&runner, QuestionKind::Get).requests), [4, 0, 3, 0, 2]);
        assert_eq!(runner.savings().saved_statements(), 3 + 1);
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn callers_of_one_load_are_coalesced_and_its_time_is_measured() {
    let fixture = Fixture::sqlite();
    let (store, control) = Observed::around(fixture.open().await);
    let clock = Arc::new(ManualClock::new());
    let runner = ci_tests::fixture::patient(store)
        .clock(clock.clone())
        .build()
        .unwrap();
    let tenant = runner.tenant(acme());
    fill(&tenant).await;
    let gate = control.close_gate();
    let askers: Vec<_> = (0..5)
        .map(|_| {
            let tenant = tenant.clone();
            tokio::spawn(async move { tenant.search_strict(&search("erp")).await.unwrap() })
        })
        .collect();
    while control.reads() == 0 || runner.stats().cache.total_requests < 5 {
        tokio::task::yield_now().await;
    }
    clock.advance(Duration::from_millis(40));
    drop(gate);
    for asker in askers {
        asker.await.unwrap();
    }
    // The clock stands still, so hits are served at the mark of before.
    tenant.search_strict(&search("erp")).await.unwrap();
    let seen = of(&runner, QuestionKind::Search);
    assert_eq!(counts(seen.requests), [1, 4, 1, 0, 0]);
    assert_eq!(seen.mean_load_time(), Some(Duration::from_millis(40)));
    assert_eq!(runner.savings().saved_time(), Duration::from_millis(40));
    runner.close().await;
}

#[tokio::test]
async fn a_kind_that_is_left_out_is_asked_of_the_database_and_counted_so() {
    on_both(async |fixture| {
        let (store, control) = Observed::around(fixture.open().await);
        let runner = ci_tests::fixture::patient(store)
            .uncached([QuestionKind::Path, QuestionKind::Get])
            .build()
            .unwrap();
        let tenant = runner.tenant(acme());
        fill(&tenant).await;
        let path = Path::builder(code("erp-1"), code("erp-2")).build().unwrap();
        let get = Get::new(code("erp-1"));
        for _ in 0..2 {
            assert_eq!(tenant.path(&path).await.unwrap().source, Source::Bypass);
            assert_eq!(tenant.get(&get).await.unwrap().source, Source::Bypass);
            let many = tenant.get_many(std::slice::from_ref(&get)).await.unwrap();
            assert_eq!(many[0].source, Source::Bypass);
        }
        assert_eq!(control.reads(), 6, "each of them asked the database");
        assert_eq!(runner.stats().cache.total_requests, 0);
        assert_eq!(runner.stats().cache.size, 0);
        let seen = of(&runner, QuestionKind::Get);
        assert!(!seen.cached && of(&runner, QuestionKind::Search).cached);
        assert_eq!((counts(seen.requests), seen.loaded), ([0, 0, 0, 4, 0], 4));

        // Other kinds are cached as ever; a page with a question of such a kind is asked of the database as a whole.
        for expected in [Source::Miss, Source::Hit] {
            assert_eq!(
                tenant.search_strict(&search("erp")).await.unwrap().source,
                expected
            );
        }
        let cached = vec![Question::Search(search("erp"))];
        assert_eq!(tenant.page(cached.clone()).await.unwrap().source, Source::Hit);
        let mixed = [cached, vec![Question::Get(get)]].concat();
        assert_eq!(tenant.page(mixed).await.unwrap().source, Source::Bypass);

        // What is not cached is never old: every level's promise holds.
        let renamed = CiDraft::new("erp-1", "Renamed", "SW");
        tenant.upsert_cis(vec![renamed]).await.unwrap();
        let answer = tenant.get_by_code("erp-1").await.unwrap();
        assert_eq!(answer.value.unwrap().summary.ci_name, "Renamed");
        runner.close().await;
    })
    .await;
}
