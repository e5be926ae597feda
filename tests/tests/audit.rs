//! The auditor: a wrong answer in the cache is found and dropped; what a change explains is none.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::sync::Arc;
use std::time::Duration;

use ci_model::{Aggregate, CiDraft, TenantId};
use ci_runner::tier::{TierOptions, TierOutcome, TierRules};
use ci_runner::{AuditReport, Audited, Auditor, Error, Level, Runner, RunnerBuilder, Source, Tenant};
use ci_server::http::{AppState, ServerOptions, serve};
use ci_store::Store;
use ci_tests::fixture::{Fixture, on_both, patient};
use ci_tests::history::{FeedMode, Meddler, Planted};
use ci_tests::observed::Observed;
use ci_tests::tier::MemoryTier;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

const LONG: Duration = Duration::from_secs(60);
const RENAMED: &str = "UPDATE ci SET ci_name = 'new' WHERE ci_code = 'srv-01'";

/// A runner with one CI, whose lag does not matter.
async fn runner(store: Arc<dyn Store>) -> (Runner, Tenant) {
    let runner = builder(store).build().unwrap();
    let tenant = acme(&runner);
    tenant.upsert_cis(drafts("old")).await.unwrap();
    (runner, tenant)
}

fn builder(store: Arc<dyn Store>) -> RunnerBuilder {
    patient(store).level(Level::Cached {
        max_lag: Duration::from_secs(86_400),
    })
}

fn acme(runner: &Runner) -> Tenant {
    runner.tenant(TenantId::new("acme").unwrap())
}

fn drafts(name: &str) -> Vec<CiDraft> {
    ["srv-01", "srv-02"]
        .map(|code| CiDraft::new(code, name, "HW"))
        .to_vec()
}

async fn name(tenant: &Tenant) -> (String, Source) {
    name_of(tenant, "srv-01").await
}

async fn name_of(tenant: &Tenant, code: &str) -> (String, Source) {
    let answer = tenant.get_by_code(code).await.unwrap();
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
        assert!(runner.catch_up(LONG).await);
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
    assert!(runner.catch_up(LONG).await);
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
        assert!(runner.catch_up(LONG).await);
        until(&mut auditor, &Audited::Drop { changed: true }).await;
        // There and back again between two polls, or in one transaction: dropped in vain.
        cached(&tenant).await;
        until(&mut auditor, &Audited::Same).await;
        let back = format!(
            "BEGIN; {RENAMED}; UPDATE ci SET ci_name = 'else' WHERE ci_code = 'srv-01'; {RENAMED}; COMMIT"
        );
        fixture.execute(&back).await;
        assert!(runner.catch_up(LONG).await);
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
    let tenant = acme(&blind);
    tenant.get_by_code("srv-01").await.unwrap();
    assert_eq!(blind.auditor().audit().await.unwrap(), Audited::Nothing);
}

/// Two runners share a tier, which has of `srv-01` what was true before a change, and of `srv-02` the truth. The second takes what is there by
/// these rules, asks for both, and audits itself in the background as a service does, until it has settled both.
struct Audit {
    answers: [(String, Source); 2],
    report: AuditReport,
    /// How often a value of the tier was refused because a change had overtaken it.
    overtaken: u64,
    afterwards: String,
}

async fn audit_beside_a_tier(fixture: &Fixture, rules: TierRules) -> Audit {
    let tier = MemoryTier::new();
    let options = TierOptions::new()
        .timeout(Duration::from_secs(10))
        .wait(Duration::ZERO);
    let shared = async |rules: TierRules| {
        let builder = builder(fixture.open().await).tier(tier.clone(), options.clone());
        builder.tier_anywhere().tier_rules(rules).build().unwrap()
    };
    let (first, second) = (shared(TierRules::Kept).await, shared(rules).await);
    let (loading, tenant) = (acme(&first), acme(&second));
    loading.upsert_cis(drafts("old")).await.unwrap();
    name_of(&loading, "srv-01").await;
    first.settle_tier(false).await;
    let old = tier.dump();
    loading.upsert_cis(drafts("new")).await.unwrap();
    name_of(&loading, "srv-02").await;
    first.settle_tier(false).await;
    assert_eq!((old.len(), tier.dump().len()), (1, 1));
    tier.restore(old);
    assert!(second.catch_up(LONG).await);
    let answers = [name_of(&tenant, "srv-01").await, name_of(&tenant, "srv-02").await];

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let options = ServerOptions::default().audit_rate(6_000);
    let served = tokio::spawn(serve(listener, AppState::new(second.clone(), options), async {
        let _ = stopped.await;
    }));
    // Of the answers that there are each is drawn once before one is drawn again.
    while second.audits().checked() < 2 {
        tokio::task::yield_now().await;
    }
    // What a violation withdraws from the tier is gone from there.
    second.settle_tier(false).await;
    let (afterwards, _) = name(&tenant).await;
    let audit = Audit {
        answers,
        report: second.audits(),
        overtaken: second.stats().tier.unwrap().reads_of(TierOutcome::Overtaken),
        afterwards,
    };
    stop.send(()).unwrap();
    served.await.unwrap().unwrap();
    first.close().await;
    audit
}

#[tokio::test]
async fn answers_of_a_tier_are_audited_and_those_that_are_proven_are_right() {
    on_both(async |fixture| {
        let audit = audit_beside_a_tier(fixture, TierRules::Kept).await;
        let [(old, loaded), (new, shared)] = &audit.answers;
        assert_eq!(
            (old.as_str(), *loaded),
            ("new", Source::Miss),
            "the tier's was refused"
        );
        assert_eq!((new.as_str(), shared.place()), ("new", "l2"));
        assert_eq!((audit.report.violations, audit.overtaken), (0, 1));
        assert!(audit.report.same >= 2, "{:?}", audit.report);
        assert_eq!(audit.afterwards, "new");
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_a_tier_was_trusted_for_is_a_violation() {
    on_both(async |fixture| {
        let audit = audit_beside_a_tier(fixture, TierRules::TrustsValues).await;
        let [wrong, right] = &audit.answers;
        assert_eq!((wrong.0.as_str(), wrong.1.place()), ("old", "l2"));
        assert_eq!((right.0.as_str(), right.1.place()), ("new", "l2"));
        assert_eq!(audit.report.violations, 1, "{:?}", audit.report);
        let [violation] = &audit.report.latest[..] else {
            panic!("one is remembered: {:?}", audit.report)
        };
        assert_eq!(
            (violation.tenant.as_str(), violation.kind.as_str(), violation.why),
            ("acme", "get", "no change that touches it was applied")
        );
        assert_eq!(audit.afterwards, "new", "it is served no more");
    })
    .await;
}
