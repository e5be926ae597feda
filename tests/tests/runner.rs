//! The runner's promises: cached means equal, one load for many, errors are errors, writes are seen.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use ci_cache_core::ManualClock;
use ci_model::{
    Aggregate, CiCode, CiDraft, CiRef, Expand, Filter, Get, List, Path, RelationDraft, Search, TenantId, View,
};
use ci_runner::{Error, Runner, SearchMode, Source, Tenant};
use ci_tests::fixture::{Fixture, on_both};
use ci_tests::observed::{Control, Observed};

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

fn code(code: &str) -> CiRef {
    CiCode::new(code).unwrap().into()
}

fn words(keywords: &[&str]) -> Search {
    Search::builder()
        .keywords(keywords.iter().copied())
        .build()
        .unwrap()
}

/// A small estate: `app-erp-01` depends on `db-erp-01`, which runs on `srv-01`.
async fn fill(tenant: &Tenant) {
    let ci = |code: &str, name: &str, kind: &str, subtype: &str| CiDraft {
        ci_subtype: Some(subtype.into()),
        ..CiDraft::new(code, name, kind)
    };
    let cis = vec![
        ci("app-erp-01", "ERP orders", "SW", "app"),
        ci("db-erp-01", "ERP database", "SW", "db"),
        ci("srv-01", "Rack 7", "HW", "server"),
        ci("z-list", "app-erp-01 follow-up", "SW", "app"),
    ];
    tenant.upsert_cis(cis).await.unwrap();
    let relations = vec![
        RelationDraft::new("app-erp-01", "DEPENDS_ON", "db-erp-01"),
        RelationDraft::new("db-erp-01", "RUNS_ON", "srv-01"),
    ];
    tenant.upsert_relations(relations).await.unwrap();
}

async fn observed(fixture: &Fixture) -> (Runner, Tenant, Arc<Control>) {
    let (store, control) = Observed::around(fixture.open().await);
    let runner = ci_tests::fixture::patient(store).build().unwrap();
    let tenant = runner.tenant(acme());
    fill(&tenant).await;
    (runner, tenant, control)
}

/// Asks every kind of question once; returns the sources.
async fn ask_all(tenant: &Tenant) -> Result<Vec<Source>, Error> {
    let gets = [Get::new(code("srv-01")), Get::new(code("nobody"))];
    let aggregate = Aggregate::builder().group_by("ci_type").build()?;
    let mut sources = vec![
        tenant.search(&words(&["erp"])).await?.source,
        tenant.search_strict(&words(&["nothing here"])).await?.source,
        tenant.get_by_code("db-erp-01").await?.source,
        tenant.list(&List::builder().build()?).await?.source,
        tenant.aggregate(&aggregate).await?.source,
        tenant
            .expand(&Expand::builder(code("srv-01"), View::Impact).build()?)
            .await?
            .source,
        tenant
            .path(&Path::builder(code("app-erp-01"), code("srv-01")).build()?)
            .await?
            .source,
        tenant.ask("who uses db-erp-01?", 10).await?.source,
    ];
    sources.extend(tenant.get_many(&gets).await?.iter().map(|answer| answer.source));
    Ok(sources)
}

#[tokio::test]
async fn each_operation_hits_on_its_second_call_and_needs_no_database() {
    on_both(async |fixture| {
        let (runner, tenant, control) = observed(fixture).await;
        assert!(
            ask_all(&tenant)
                .await
                .unwrap()
                .iter()
                .all(|source| *source == Source::Miss)
        );
        let loads = control.reads();
        runner.store().close().await;
        assert!(
            ask_all(&tenant)
                .await
                .unwrap()
                .iter()
                .all(|source| *source == Source::Hit)
        );
        assert_eq!(control.reads(), loads);
        assert!(
            tenant.get_by_code("unasked").await.is_err(),
            "the database is really gone"
        );
    })
    .await;
}

#[tokio::test]
async fn a_hundred_identical_misses_cause_exactly_one_query() {
    on_both(async |fixture| {
        let (runner, tenant, control) = observed(fixture).await;
        let (before, statements) = (control.reads(), runner.stats().statements);
        let gate = control.close_gate();
        let askers: Vec<_> = (0..100)
            .map(|_| {
                let tenant = tenant.clone();
                tokio::spawn(async move { tenant.search(&words(&["erp"])).await.unwrap() })
            })
            .collect();
        while runner.stats().cache.total_requests < 100 {
            tokio::task::yield_now().await;
        }
        drop(gate);
        let mut sources = Vec::new();
        for asker in askers {
            let answer = asker.await.unwrap();
            assert_eq!(answer.value.items.len(), 3);
            sources.push(answer.source);
        }
        assert_eq!(control.reads() - before, 1);
        assert_eq!(runner.stats().statements - statements, 1);
        assert_eq!(
            sources.iter().filter(|source| **source == Source::Miss).count(),
            1
        );
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_failing_database_is_an_error_for_everyone_and_is_not_cached() {
    let fixture = Fixture::sqlite();
    let (runner, tenant, control) = observed(&fixture).await;
    let gate = control.close_gate();
    let askers: Vec<_> = (0..10)
        .map(|_| {
            let tenant = tenant.clone();
            tokio::spawn(async move { tenant.search(&words(&["erp"])).await })
        })
        .collect();
    while runner.stats().cache.total_requests < 10 || control.reads() == 0 {
        tokio::task::yield_now().await;
    }
    control.fail_nth(1);
    drop(gate);
    for asker in askers {
        let error = asker.await.unwrap().unwrap_err();
        assert!(
            matches!(error, Error::Store(_)) && error.is_transient(),
            "{error}"
        );
    }
    assert!(control.has_failed());
    assert_eq!(
        tenant.search(&words(&["erp"])).await.unwrap().value.items.len(),
        3
    );
}

#[tokio::test]
async fn whichever_store_call_fails_the_answer_is_an_error_and_the_next_try_is_right() {
    let fixture = Fixture::sqlite();
    let (runner, tenant, control) = observed(&fixture).await;
    let mut failures = 0;
    for nth in 1.. {
        runner.clear();
        control.fail_nth(nth);
        let outcome = ask_all(&tenant).await;
        if !control.has_failed() {
            assert!(outcome.is_ok());
            break;
        }
        assert!(
            matches!(outcome, Err(Error::Store(_))),
            "call {nth} failed, but the answer was {outcome:?}"
        );
        failures += 1;
        assert_eq!(
            tenant.search(&words(&["erp"])).await.unwrap().value.items.len(),
            3
        );
    }
    assert!(
        failures >= 16,
        "a snapshot and a read for each of eight questions: {failures}"
    );
}

#[tokio::test]
async fn a_caller_who_goes_away_takes_nothing_from_those_who_wait() {
    let fixture = Fixture::sqlite();
    let (runner, tenant, control) = observed(&fixture).await;
    let before = control.reads();
    let gate = control.close_gate();
    let first = tokio::spawn({
        let tenant = tenant.clone();
        async move { tenant.search(&words(&["erp"])).await }
    });
    while control.reads() == before {
        tokio::task::yield_now().await;
    }
    let second = tokio::spawn({
        let tenant = tenant.clone();
        async move { tenant.search(&words(&["erp"])).await }
    });
    while runner.stats().cache.total_requests < 2 {
        tokio::task::yield_now().await;
    }
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    drop(gate);
    let answer = second.await.unwrap().unwrap();
    assert_eq!((answer.source, answer.value.items.len()), (Source::Coalesced, 3));
    assert_eq!(control.reads() - before, 1);
}

#[tokio::test]
async fn a_load_overtaken_by_a_write_is_answered_but_not_kept() {
    let fixture = Fixture::sqlite();
    let (runner, tenant, control) = observed(&fixture).await;
    let before = control.reads();
    let gate = control.close_gate();
    let early = tokio::spawn({
        let tenant = tenant.clone();
        async move { tenant.get_by_code("new-01").await }
    });
    while control.reads() == before {
        tokio::task::yield_now().await;
    }
    tenant
        .upsert_cis(vec![CiDraft::new("new-01", "New", "SW")])
        .await
        .unwrap();
    let late = tokio::spawn({
        let tenant = tenant.clone();
        async move { tenant.get_by_code("new-01").await }
    });
    while control.reads() < before + 2 {
        tokio::task::yield_now().await;
    }
    drop(gate);
    early.await.unwrap().unwrap();
    let late = late.await.unwrap().unwrap();
    assert_eq!(
        late.source,
        Source::Miss,
        "a look-up after the write joins no older flight"
    );
    assert!(late.value.is_some());
    let coherence = runner.stats().coherence;
    assert_eq!(
        coherence.refused_overtaken + coherence.refused_detached,
        1,
        "the older load was not kept"
    );
    assert!(tenant.get_by_code("new-01").await.unwrap().value.is_some());
}

#[tokio::test]
async fn what_was_cached_before_a_write_is_not_served_after_it() {
    on_both(async |fixture| {
        let (runner, tenant, _) = observed(fixture).await;
        let impact = || Expand::builder(code("srv-01"), View::Impact).build().unwrap();
        let found = async |keyword: &str| {
            tenant
                .search_strict(&words(&[keyword]))
                .await
                .unwrap()
                .value
                .items
                .len()
        };

        assert!(tenant.get_by_code("web-01").await.unwrap().value.is_none());
        assert_eq!(found("web-01").await, 0);
        let web = CiDraft::new("web-01", "Shop", "SW");
        tenant.upsert_cis(vec![web.clone()]).await.unwrap();
        let created = tenant
            .get_by_code("web-01")
            .await
            .unwrap()
            .value
            .expect("a negative answer does not stay");
        assert_eq!(found("web-01").await, 1);

        let renamed = CiDraft {
            ci_id: Some(created.summary.ci_id),
            ci_code: "web-02".into(),
            ..web
        };
        tenant.upsert_cis(vec![renamed]).await.unwrap();
        assert!(
            tenant.get_by_code("web-01").await.unwrap().value.is_none(),
            "the old code is dropped too"
        );
        assert!(tenant.get_by_code("web-02").await.unwrap().value.is_some());

        assert_eq!(
            tenant.expand(&impact()).await.unwrap().value.unwrap().items.len(),
            3
        );
        let relation = RelationDraft::new("web-02", "DEPENDS_ON", "db-erp-01");
        tenant.upsert_relations(vec![relation.clone()]).await.unwrap();
        assert_eq!(
            tenant.expand(&impact()).await.unwrap().value.unwrap().items.len(),
            4
        );
        tenant.delete_relations(vec![relation]).await.unwrap();
        assert_eq!(
            tenant.expand(&impact()).await.unwrap().value.unwrap().items.len(),
            3
        );

        tenant.delete_cis(vec![code("web-02")]).await.unwrap();
        assert!(tenant.get_by_code("web-02").await.unwrap().value.is_none());
        assert_eq!(found("web-02").await, 0);
        let deleted = Get::new(code("web-02")).include_deleted(true);
        assert!(
            tenant
                .get(&deleted)
                .await
                .unwrap()
                .value
                .unwrap()
                .deleted_at
                .is_some()
        );
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_write_without_effect_keeps_the_cache_and_so_does_one_that_a_poll_shows_to_have_failed() {
    let fixture = Fixture::sqlite();
    let (runner, tenant, control) = observed(&fixture).await;
    ask_all(&tenant).await.unwrap();
    fill(&tenant).await;
    let rejected = tenant
        .upsert_relations(vec![RelationDraft::new("srv-01", "USES", "nobody")])
        .await;
    assert!(matches!(
        rejected,
        Err(Error::Store(ci_store::Error::Rejected { index: 0, .. }))
    ));
    assert!(
        ask_all(&tenant)
            .await
            .unwrap()
            .iter()
            .all(|source| *source == Source::Hit)
    );
    control.fail_nth(1);
    assert!(
        tenant
            .upsert_cis(vec![CiDraft::new("x", "X", "SW")])
            .await
            .is_err()
    );
    assert!(
        ask_all(&tenant)
            .await
            .unwrap()
            .iter()
            .all(|source| *source == Source::Hit)
    );
    assert_eq!(control.writes.load(SeqCst), 6);
    drop(runner);
}

#[tokio::test]
async fn bulk_writes_through_the_runners_store_are_seen() {
    let fixture = Fixture::sqlite();
    let (runner, tenant, _) = observed(&fixture).await;
    let everything = Aggregate::builder().build().unwrap();
    assert_eq!(
        tenant.aggregate(&everything).await.unwrap().value.items[0].count,
        4
    );
    assert!(tenant.get_by_code("bulk-0500").await.unwrap().value.is_none());
    let drafts = (0..1_000).map(|n| CiDraft::new(format!("bulk-{n:04}"), "Bulk", "SW"));
    let records = drafts.map(|draft| draft.check(&acme()).unwrap()).collect();
    runner
        .store()
        .upsert_cis(records, ci_store::WriteOptions::default())
        .await
        .unwrap();
    assert_eq!(
        tenant.aggregate(&everything).await.unwrap().value.items[0].count,
        1_004
    );
    assert!(tenant.get_by_code("bulk-0500").await.unwrap().value.is_some());
}

#[tokio::test]
async fn a_strict_search_falls_back_and_says_so() {
    on_both(async |fixture| {
        let (runner, tenant, _) = observed(fixture).await;
        let codes = |answer: &ci_runner::Answer<ci_runner::SearchResult>| -> Vec<String> {
            answer
                .value
                .items
                .iter()
                .map(|ci| ci.ci_code.as_str().to_owned())
                .collect()
        };
        let strict = tenant.search(&words(&["erp", "database"])).await.unwrap();
        assert_eq!(
            (strict.value.mode, codes(&strict)),
            (SearchMode::Strict, vec!["db-erp-01".into()])
        );

        let broad = tenant.search(&words(&["erp-nowhere"])).await.unwrap();
        assert_eq!(broad.value.mode, SearchMode::Broad);
        assert_eq!(codes(&broad), ["app-erp-01", "db-erp-01", "z-list"]);
        assert!(
            tenant
                .search_strict(&words(&["erp-nowhere"]))
                .await
                .unwrap()
                .value
                .items
                .is_empty()
        );

        let sentence = tenant.search(&words(&["what depends on SRV-01?"])).await.unwrap();
        assert_eq!(
            (sentence.value.mode, codes(&sentence)),
            (SearchMode::Recovered, vec!["srv-01".into()])
        );

        let none = tenant.search(&words(&["zzzz"])).await.unwrap();
        assert_eq!((none.value.mode, none.value.items.len()), (SearchMode::Strict, 0));

        let again = tenant.search(&words(&["erp-nowhere"])).await.unwrap();
        assert_eq!(again.source, Source::Hit, "both steps are cached");
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn an_exact_code_or_name_comes_first() {
    on_both(async |fixture| {
        let (runner, tenant, _) = observed(fixture).await;
        let first = async |text: &str| {
            let answer = tenant.ask(text, 10).await.unwrap();
            answer.value.items[0].ci_code.as_str().to_owned()
        };
        // Named like the code of another CI, and sorted before it.
        let decoy = CiDraft::new("a-decoy", "about Z-List and more", "SW");
        tenant
            .upsert_cis(vec![decoy, CiDraft::new("b-named", "APP-ERP-09", "SW")])
            .await
            .unwrap();
        assert_eq!(first("is z-list 느려?").await, "z-list");
        assert_eq!(first("app-erp-09의 상태").await, "b-named");
        let plain = tenant.search_strict(&words(&["z-list"])).await.unwrap();
        assert_eq!(
            plain.value.items[0].ci_code.as_str(),
            "a-decoy",
            "a plain search is sorted by code"
        );
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn get_many_asks_once_for_all_misses() {
    on_both(async |fixture| {
        let (runner, tenant, control) = observed(fixture).await;
        tenant.get_by_code("srv-01").await.unwrap();
        let before = (control.reads(), runner.stats().statements);
        let names = ["db-erp-01", "srv-01", "nobody", "db-erp-01", "app-erp-01"];
        let gets: Vec<Get> = names.iter().map(|name| Get::new(code(name))).collect();
        let answers = tenant.get_many(&gets).await.unwrap();
        let found: Vec<_> = answers
            .iter()
            .map(|a| a.value.as_ref().map(|ci| ci.summary.ci_code.as_str().to_owned()))
            .collect();
        let name = |text: &str| Some(text.to_owned());
        assert_eq!(
            found,
            [
                name("db-erp-01"),
                name("srv-01"),
                None,
                name("db-erp-01"),
                name("app-erp-01")
            ]
        );
        let sources: Vec<Source> = answers.iter().map(|answer| answer.source).collect();
        assert_eq!(
            sources,
            [
                Source::Miss,
                Source::Hit,
                Source::Miss,
                Source::Coalesced,
                Source::Miss
            ]
        );
        assert_eq!(
            (control.reads(), runner.stats().statements),
            (before.0 + 1, before.1 + 1)
        );
        assert!(
            tenant
                .get_many(&gets)
                .await
                .unwrap()
                .iter()
                .all(|answer| answer.source == Source::Hit)
        );

        let many: Vec<Get> = (0..=1_000).map(|n| Get::new(code(&format!("c{n}")))).collect();
        assert_eq!(tenant.get_many(&many[1..]).await.unwrap().len(), 1_000);
        assert!(matches!(tenant.get_many(&many).await, Err(Error::Invalid(_))));
        assert!(tenant.get_many(&[]).await.unwrap().is_empty());
        runner.close().await;
    })
    .await;
}

#[tokio::test]
async fn answers_expire_by_their_kind() {
    let fixture = Fixture::sqlite();
    let clock = Arc::new(ManualClock::new());
    let runner = ci_tests::fixture::patient(fixture.open().await)
        .clock(clock.clone())
        .build()
        .unwrap();
    let tenant = runner.tenant(acme());
    fill(&tenant).await;
    let filtered = Search::builder()
        .filter(Filter::parse("ci_type=SW").unwrap())
        .build()
        .unwrap();
    let ask = async || {
        [
            tenant.search_strict(&words(&["erp"])).await.unwrap(),
            tenant.search_strict(&filtered).await.unwrap(),
        ]
        .map(|answer| (answer.source, answer.age.as_secs()))
    };
    assert_eq!(ask().await, [(Source::Miss, 0); 2]);
    clock.advance(Duration::from_secs(299));
    assert_eq!(ask().await, [(Source::Hit, 299); 2]);
    clock.advance(Duration::from_secs(1));
    assert_eq!(ask().await, [(Source::Hit, 300), (Source::Miss, 0)]);
    clock.advance(Duration::from_secs(300));
    assert_eq!(ask().await[0].0, Source::Miss);
    let refused = ci_tests::fixture::patient(fixture.open().await)
        .max_entries(0)
        .build()
        .unwrap_err();
    assert!(matches!(refused, Error::Config { .. }), "{refused}");
}

#[tokio::test]
async fn a_question_takes_little_room_while_it_is_asked() {
    // What waits for the database is boxed: each of these is moved several times before it is polled, hit or not.
    on_both(async |fixture| {
        let (runner, tenant, _) = observed(fixture).await;
        let get = Get::new(code("srv-01"));
        let search = words(&["erp"]);
        let list = List::builder().build().unwrap();
        let sizes = [
            ("get", size_of_val(&tenant.get(&get))),
            ("search", size_of_val(&tenant.search(&search))),
            ("list", size_of_val(&tenant.list(&list))),
            ("dashboard", size_of_val(&tenant.dashboard())),
            ("page of a CI", size_of_val(&tenant.ci_page(code("srv-01")))),
        ];
        for (what, bytes) in sizes {
            assert!(bytes <= 1_024, "{what}: {bytes} bytes");
        }
        runner.close().await;
    })
    .await;
}
