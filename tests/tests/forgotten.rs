//! What an administrator has forgotten: nothing that was loaded before stays, neither what is kept nor what is under way.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use ci_model::{CiCode, CiDraft, CiRef, Expand, Get, Key, Search, TenantId, View};
use ci_runner::{Runner, Source, Tenant};
use ci_tests::fixture::on_both;
use ci_tests::observed::Observed;

type Forget = fn(&Runner, &Tenant) -> usize;

fn search() -> Search {
    Search::builder().keyword("erp").build().unwrap()
}

/// Ways that walk the entries, of which there is none yet.
const WAYS: [Forget; 2] = [
    |_, tenant| tenant.invalidate_ci(&CiRef::from(CiCode::new("erp-1").unwrap())),
    |runner, tenant| runner.invalidate_key(&Key::new(tenant.id(), &search().into()).short()),
];

/// ```text
/// a reader              an administrator
/// misses, loads
///                       has a CI forgotten: the answer, which shows it, is not there yet
/// the answer came from before: it is not kept
/// ```
#[tokio::test]
async fn what_is_under_way_when_something_is_forgotten_is_answered_and_not_kept() {
    on_both(async |fixture| {
        let (store, control) = Observed::around(fixture.open().await);
        let runner = ci_tests::fixture::patient(store).build().unwrap();
        let [acme, other] = ["acme", "other"].map(|name| runner.tenant(TenantId::new(name).unwrap()));
        for tenant in [&acme, &other] {
            let draft = CiDraft::new("erp-1", "ERP", "SW");
            tenant.upsert_cis(vec![draft]).await.unwrap();
        }
        for forget in WAYS {
            let before = control.reads();
            let gate = control.close_gate();
            let asked = [&acme, &other].map(|tenant| {
                let tenant = tenant.clone();
                tokio::spawn(async move { tenant.search_strict(&search()).await })
            });
            while control.reads() < before + 2 {
                tokio::task::yield_now().await;
            }
            assert_eq!(forget(&runner, &acme), 0, "nothing is there yet");
            drop(gate);
            for asked in asked {
                assert_eq!(asked.await.unwrap().unwrap().source, Source::Miss);
            }
            let again = async |tenant: &Tenant| tenant.search_strict(&search()).await.unwrap().source;
            assert_eq!(again(&acme).await, Source::Miss, "it was not kept");
            assert_eq!(
                again(&other).await,
                Source::Hit,
                "it is not of the tenant, or of another key"
            );
            assert_eq!(forget(&runner, &acme), 1);
            other.invalidate();
        }
        runner.close().await;
    })
    .await;
}

/// ```text
/// a traversal              an administrator
/// reads its CIs
///                          has one of them forgotten: nobody loads it by itself
/// keeps each of its CIs, but not these
/// ```
#[tokio::test]
async fn what_a_traversal_brings_along_is_forgotten_too() {
    on_both(async |fixture| {
        let (store, control) = Observed::around(fixture.open().await);
        let runner = ci_tests::fixture::patient(store).build().unwrap();
        let acme = runner.tenant(TenantId::new("acme").unwrap());
        let draft = CiDraft::new("erp-1", "ERP", "SW");
        acme.upsert_cis(vec![draft]).await.unwrap();
        let reference = || CiRef::from(CiCode::new("erp-1").unwrap());
        let id = acme
            .get(&Get::new(reference()))
            .await
            .unwrap()
            .value
            .unwrap()
            .summary
            .ci_id;
        let expand = Expand::builder(reference(), View::Neighbors).build().unwrap();
        for forgets in [true, false] {
            acme.invalidate();
            let before = control.reads();
            let gate = control.close_gate();
            let asked = tokio::spawn({
                let (acme, expand) = (acme.clone(), expand.clone());
                async move { acme.traverse(&expand).await }
            });
            while control.reads() == before {
                tokio::task::yield_now().await;
            }
            if forgets {
                assert_eq!(acme.invalidate_ci(&reference()), 0, "nothing is there yet");
            }
            drop(gate);
            asked.await.unwrap().unwrap();
            let source = acme.get(&Get::new(id)).await.unwrap().source;
            let expected = if forgets { Source::Miss } else { Source::Hit };
            assert_eq!(source, expected, "forgotten: {forgets}");
        }
        runner.close().await;
    })
    .await;
}
