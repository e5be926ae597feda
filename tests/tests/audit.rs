//! The auditor: a wrong answer in the cache is found and dropped; what a change explains is none.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::sync::Arc;
use std::time::Duration;

use ci_model::{Aggregate, CiDraft, TenantId};
use ci_runner::{AuditReport, Audited, Auditor, Error, Level, Runner, Source, Tenant};
use ci_store::Store;
use ci_tests::fixture::{Fixture, on_both, patient};
use ci_tests::history::{FeedMode, Meddler, Planted};
use ci_tests::observed::Observed;

const RENAMED: &str = "UPDATE ci SET ci_name = 'new' WHERE ci_code = 'srv-01'";

/// A runner with one CI, whose lag does not matter.
async fn runner(store: Arc<dyn Store>) -> (Runner, Tenant) {
    let builder = patient(store).level(Level::Cached {
        max_lag: Duration::from_secs(86_400),
    });
    let runner = builder.build().unwrap();
    let tenant = runner.tenant(TenantId::new("acme").unwrap());
    let drafts = ["srv-01", "srv-02"].map(|code| CiDraft::new(code, "old", "HW"));
    tenant.upsert_cis(drafts.to_vec()).await.unwrap();
    (runner, tenant)
}

async fn name(tenant: &Tenant) -> (String, Source) {
    let answer = tenant.get_by_code("srv-01").await.unwrap();
    (answer.value.unwrap().summary.ci_name.clone(), answer.source)
}

/// Asks until the cache has the answer: what a write overtakes is not kept.
async fn cached(tenant: &Tenant) {
    while name(tenant).await.1 != Source::Hit {}
}

fn counts(report: &AuditReport) -> [u64; 6] {
    [
        report.same,
        report.changed,
        report.violations,
        report.unsettled,
        report.drops,
        report.drops_changed,
    ]
}

/// Audits until an audit ends like this, and nothing is found that is worse.
async fn until(auditor: &mut Auditor, wanted: &Audited) {
    loop {
        let audited = auditor.audit().await.unwrap();
        assert!(!matches!(audited, Audited::Violation(_)), "{audited:?}");
        if audited == *wanted {
            return;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn an_answer_that_no_change_drops_is_a_violation_and_is_served_no_more() {
    on_both(async |fixture| {
        let (store, _) = Meddler::around(fixture.open().await, Some(Planted::LosesAll));
        let (runner, tenant) = runner(store).await;
        cached(&tenant).await;
        let mut auditor = runner.auditor();
        assert_eq!(auditor.audit().await.unwrap(), Audited::Same);
        fixture.execute(RENAMED).await;
        assert!(runner.catch_up(Duration::from_secs(60)).await);
        assert_eq!(name(&tenant).await, ("old".into(), Source::Hit), "it is wrong");
        let Audited::Violation(violation) = auditor.audit().await.unwrap() else {
            panic!("the wrong answer was not found");
        };
        assert_eq!(violation.why, "no change that touches it was applied");
        assert_eq!(
            (violation.tenant.as_str(), violation.kind.as_str()),
            ("acme", "get")
        );
        assert!(violation.as_of.is_some() && violation.loaded.is_some());
        assert_eq!(name(&tenant).await, ("new".into(), Source::Miss));
        let report = runner.audits();
        assert_eq!(counts(&report), [1, 0, 1, 0, 0, 0]);
        assert_eq!((report.checked(), report.latest), (2, vec![violation]));
    })
    .await;
}

/// ```text
/// auditor                           another program
/// reads the entry, begins to load
///                                   renames the CI
/// loads the new name
/// ```
#[tokio::test]
async fn a_change_between_the_two_looks_is_no_violation() {
    on_both(async |fixture| {
        let (store, control) = Observed::around(fixture.open().await);
        let (runner, tenant) = runner(store).await;
        cached(&tenant).await;
        let (reached, release) = control.hold_nth_snapshot(1);
        let mut auditor = runner.auditor();
        let auditing = tokio::spawn(async move { auditor.audit().await.unwrap() });
        reached.await.unwrap();
        fixture.execute(RENAMED).await;
        release.send(()).unwrap();
        assert_eq!(auditing.await.unwrap(), Audited::Changed);
        assert_eq!(counts(&runner.audits()), [0, 1, 0, 0, 0, 0]);
        assert_eq!(name(&tenant).await.0, "new");
    })
    .await;
}

#[tokio::test]
async fn a_feed_that_is_behind_settles_nothing_and_a_load_that_fails_is_an_error() {
    let fixture = Fixture::sqlite();
    let (store, meddling) = Meddler::around(fixture.open().await, None);
    let (runner, tenant) = runner(store).await;
    cached(&tenant).await;
    let mut auditor = runner.auditor();
    meddling.feed(FeedMode::Fails);
    while runner.feed().failures == 0 {
        tokio::task::yield_now().await;
    }
    fixture.execute(RENAMED).await;
    assert_eq!(
        auditor.audit().await.unwrap(),
        Audited::Unsettled("the feed is behind")
    );
    meddling.nothing();
    assert!(runner.catch_up(Duration::from_secs(60)).await);
    cached(&tenant).await;
    meddling.failing_loads(true);
    // Of three calls of the store one fails.
    while !matches!(auditor.audit().await, Err(Error::Store(_))) {}
    assert_eq!((runner.audits().violations, runner.audits().unsettled), (0, 2));
}

/// How precise invalidation is: of the dropped answers that were sampled, how many had changed.
#[tokio::test]
async fn drops_are_told_apart_by_whether_they_were_needed() {
    on_both(async |fixture| {
        let (runner, tenant) = runner(fixture.open().await).await;
        let mut auditor = runner.auditor();
        assert_eq!(runner.audits().precision(), None);
        cached(&tenant).await;
        until(&mut auditor, &Audited::Same).await;
        fixture.execute(RENAMED).await;
        assert!(runner.catch_up(Duration::from_secs(60)).await);
        until(&mut auditor, &Audited::Drop { changed: true }).await;
        // There and back again between two polls, or in one transaction: dropped in vain.
        cached(&tenant).await;
        until(&mut auditor, &Audited::Same).await;
        let back = format!(
            "BEGIN; {RENAMED}; UPDATE ci SET ci_name = 'else' WHERE ci_code = 'srv-01'; {RENAMED}; COMMIT"
        );
        fixture.execute(&back).await;
        assert!(runner.catch_up(Duration::from_secs(60)).await);
        until(&mut auditor, &Audited::Drop { changed: false }).await;
        let report = runner.audits();
        assert_eq!((report.drops, report.drops_changed, report.violations), (2, 1, 0));
        assert_eq!(report.precision(), Some(0.5));
    })
    .await;
}

#[tokio::test]
async fn many_at_once_end_when_there_is_nothing_or_the_database_is_gone() {
    let fixture = Fixture::sqlite();
    let (store, control) = Observed::around(fixture.open().await);
    let (runner, tenant) = runner(store).await;
    assert_eq!(runner.auditor().audit_many(5).await, AuditReport::default());
    cached(&tenant).await;
    tenant.get_by_code("srv-02").await.unwrap();
    let all = Aggregate::builder().build().unwrap();
    tenant.aggregate(&all).await.unwrap();
    let requests = runner.savings().by_kind;
    assert_eq!(counts(&runner.auditor().audit_many(7).await), [7, 0, 0, 0, 0, 0]);
    let after = runner.savings().by_kind.into_iter().map(|kind| kind.requests);
    assert!(
        after.eq(requests.into_iter().map(|kind| kind.requests)),
        "nobody asked"
    );
    drop(control);
    runner.store().close().await;
    assert_eq!(
        counts(&runner.auditor().audit_many(50).await),
        [0, 0, 0, 10, 0, 0]
    );
    // Without a feed nothing can be proven.
    let (store, _control) = Observed::without_feed(fixture.open().await);
    let blind = patient(store).build().unwrap();
    let tenant = blind.tenant(TenantId::new("acme").unwrap());
    tenant.get_by_code("srv-01").await.unwrap();
    assert_eq!(blind.auditor().audit().await.unwrap(), Audited::Nothing);
}
