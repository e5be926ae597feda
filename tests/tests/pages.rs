//! Pages beside odd rows and at odd moments: answers together are those that are given alone, at one state, and loaded once.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::sync::Arc;
use std::time::Duration;

use ci_model::{CiCode, CiDraft, CiRef, Expand, Get, List, Question, QuestionKind, TenantId, View};
use ci_runner::{Reply, Tenant};
use ci_tests::fixture::Fixture;
use ci_tests::observed::Observed;

fn draft(code: &str, name: &str) -> CiDraft {
    CiDraft::new(code, name, "SW")
}
fn get(code: &str) -> Question {
    Get::new(CiCode::new(code).unwrap()).into()
}
fn name(reply: &Reply) -> String {
    match reply {
        Reply::Ci(Some(ci)) => ci.summary.ci_name.clone(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn feedless_page_is_one_state_while_an_own_write_returns() {
    let fixture = Fixture::sqlite();
    let (store, control) = Observed::without_feed(fixture.open().await);
    let runner = ci_tests::fixture::patient(store).build().unwrap();
    let tenant = runner.tenant(TenantId::new("acme").unwrap());
    tenant
        .upsert_cis(vec![draft("a", "v1"), draft("b", "v1")])
        .await
        .unwrap();
    tenant.page(vec![get("a")]).await.unwrap();
    let release = control.hold_next_upsert();
    let writer = tokio::spawn({
        let tenant = tenant.clone();
        async move {
            tenant
                .upsert_cis(vec![draft("a", "v2"), draft("b", "v2")])
                .await
                .unwrap()
        }
    });
    while control.holding() == 0 {
        tokio::task::yield_now().await;
    }
    let page = tenant.page(vec![get("a"), get("b")]).await.unwrap();
    drop(release);
    writer.await.unwrap();
    let names: Vec<String> = page.answers.iter().map(name).collect();
    assert_eq!(names[0], names[1], "{page:?}");
}

#[tokio::test]
async fn blob_documents_are_read_together_as_alone() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let runner = ci_tests::fixture::patient(Arc::clone(&store)).build().unwrap();
    let tenant = runner.tenant(TenantId::new("acme").unwrap());
    tenant.upsert_cis(vec![draft("a", "v1")]).await.unwrap();
    fixture
        .execute(
            "INSERT OR REPLACE INTO ci_ext (ci_id, tags) SELECT ci_id, CAST('{\"env\":\"prod\"}' AS BLOB) FROM ci",
        )
        .await;
    let _tenant = tenant.strong();
    let runner = ci_tests::fixture::patient(store).build().unwrap();
    let tenant = runner.tenant(TenantId::new("acme").unwrap());
    let list = Question::from(List::builder().build().unwrap());
    tenant.page(vec![get("a"), list]).await.unwrap();
}

fn expand(code: &str) -> Expand {
    Expand::builder(CiRef::from(CiCode::new(code).unwrap()), View::Neighbors)
        .build()
        .unwrap()
}

#[tokio::test]
async fn blob_relation_types_are_read_together_as_alone() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let runner = ci_tests::fixture::patient(Arc::clone(&store)).build().unwrap();
    let tenant = runner.tenant(TenantId::new("acme").unwrap());
    tenant
        .upsert_cis(vec![draft("a", "v1"), draft("b", "v1")])
        .await
        .unwrap();
    fixture
        .execute(
            "INSERT INTO ci_relation (tenant_id, from_id, to_id, rel_type) SELECT a.tenant_id, a.ci_id, b.ci_id, \
             CAST('DEPENDS_ON' AS BLOB) FROM ci AS a, ci AS b WHERE a.ci_code = 'a' AND b.ci_code = 'b'",
        )
        .await;
    let tenant = tenant.strong();
    runner.clear();
    tenant.ci_page(CiCode::new("a").unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_traversal_keeps_no_answer_of_a_kind_that_is_not_cached() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let runner = ci_tests::fixture::patient(store)
        .uncached([QuestionKind::Get])
        .build()
        .unwrap();
    let tenant: Tenant = runner.tenant(TenantId::new("acme").unwrap());
    tenant
        .upsert_cis(vec![draft("a", "v1"), draft("b", "v1")])
        .await
        .unwrap();
    tenant.traverse(&expand("a")).await.unwrap();
    let gets = runner
        .entries(100)
        .into_iter()
        .filter(|entry| entry.kind == QuestionKind::Get)
        .count();
    assert_eq!(gets, 0);
}

#[tokio::test]
async fn a_relation_of_a_hub_with_itself_is_told_as_that_of_any_ci() {
    for neighbours in [3, 2_100] {
        let fixture = Fixture::sqlite();
        let store = fixture.open().await;
        fixture
            .execute(&format!(
                "PRAGMA ignore_check_constraints = ON;
                 WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {neighbours})
                 INSERT INTO ci (ci_id, tenant_id, ci_type, ci_code, ci_name)
                 SELECT printf('00000000-0000-4000-8000-%012x', i), 'acme', 'SW', printf('c%05d', i), 'n' FROM n;
                 INSERT INTO ci_relation (tenant_id, from_id, to_id, rel_type)
                 SELECT 'acme', '00000000-0000-4000-8000-000000000000', ci_id, 'USES' FROM ci;"
            ))
            .await;
        let runner = ci_tests::fixture::patient(store).build().unwrap();
        let tenant = runner.tenant(TenantId::new("acme").unwrap());
        let graph = tenant.expand(&expand("c00000")).await.unwrap().value.unwrap();
        let loops = graph.relations.iter().filter(|r| r.from_id == r.to_id).count();
        assert_eq!(loops, 1);
    }
}

/// Equal pages at once, right after another program wrote: one load is enough.
#[tokio::test]
async fn pages_that_come_together_share_a_load() {
    let fixture = Fixture::sqlite();
    let (store, control) = Observed::around(fixture.open().await);
    let runner = ci_tests::fixture::patient(store).build().unwrap();
    let tenant = runner.tenant(TenantId::new("acme").unwrap());
    tenant
        .upsert_cis(vec![draft("a", "v1"), draft("b", "v1")])
        .await
        .unwrap();
    let mut loads = Vec::new();
    for round in 0..20 {
        fixture
            .execute(&format!("UPDATE ci SET ci_name = 'round {round}'"))
            .await;
        assert!(runner.catch_up(Duration::from_secs(60)).await);
        let before = control.reads();
        fixture
            .execute("UPDATE ci SET owner = owner || 'x', location = ci_name")
            .await;
        let mut asked = Vec::new();
        for _ in 0..8 {
            let tenant = tenant.clone();
            asked.push(tokio::spawn(async move {
                tenant.page(vec![get("a"), get("b")]).await.unwrap().source
            }));
        }
        let mut sources = Vec::new();
        for one in asked {
            sources.push(one.await.unwrap());
        }
        loads.push(control.reads() - before);
    }
    // Not each of them: a page may look up while the change is being applied.
    assert!(loads.iter().sum::<u64>() <= 40, "{loads:?}");
}
