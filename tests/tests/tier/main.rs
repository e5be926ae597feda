//! Runners that share a tier load once for all, and whatever the tier does, no answer is wrong.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod fleet;
mod forgetting;
mod size;

use std::sync::Arc;
use std::time::Duration;

use ci_model::{
    CiCode, CiDraft, CiRef, Direction, Expand, Filter, Get, List, Path, Question, RelationDraft, Search,
    TenantId, View,
};
use ci_runner::tier::{TierOptions, TierOutcome, TierRules};
use ci_runner::{Answer, Level, Reply, Runner, RunnerBuilder, Source, Tenant};
use ci_tests::fixture::{Fixture, on_both, patient};
use ci_tests::tier::{Down, Faults, MemoryTier};

const LONG: Duration = Duration::from_secs(60);

fn options() -> TierOptions {
    // No test waits for a clock, and none fails because the machine is busy.
    TierOptions::new()
        .timeout(Duration::from_secs(10))
        .wait(Duration::ZERO)
        .refresh_every(Duration::from_secs(3_600))
}

async fn builder(fixture: &Fixture, tier: &Arc<MemoryTier>) -> RunnerBuilder {
    patient(fixture.open().await)
        .tier(tier.clone(), options())
        .tier_anywhere()
}

async fn runner(fixture: &Fixture, tier: &Arc<MemoryTier>) -> Runner {
    let runner = builder(fixture, tier).await.build().unwrap();
    assert!(runner.catch_up(LONG).await);
    runner
}

fn acme(runner: &Runner) -> Tenant {
    runner.tenant(TenantId::new("acme").unwrap())
}

fn search(keyword: &str) -> Search {
    Search::builder().keyword(keyword).build().unwrap()
}

fn reference(code: &str) -> CiRef {
    CiCode::new(code).unwrap().into()
}

fn named(code: &str, name: &str) -> CiDraft {
    CiDraft::new(code, name, "SW")
}

/// Names and source of an answer to a search.
async fn found(tenant: &Tenant, keyword: &str) -> (Vec<String>, Source) {
    let answer = tenant.search_strict(&search(keyword)).await.unwrap();
    let names = answer.value.items.iter().map(|ci| ci.ci_name.clone()).collect();
    (names, answer.source)
}

/// A question of any kind.
async fn ask(tenant: &Tenant, question: &Question) -> (Reply, Source) {
    fn told<T>(answer: Answer<T>, reply: impl FnOnce(T) -> Reply) -> (Reply, Source) {
        (reply(answer.value), answer.source)
    }
    match question {
        Question::Get(get) => told(tenant.get(get).await.unwrap(), Reply::Ci),
        Question::Search(search) => told(tenant.search_strict(search).await.unwrap(), |found| {
            Reply::Rows(found.items)
        }),
        Question::List(list) => told(tenant.list(list).await.unwrap(), Reply::List),
        Question::Aggregate(counts) => told(tenant.aggregate(counts).await.unwrap(), Reply::Groups),
        Question::Expand(expand) => told(tenant.expand(expand).await.unwrap(), Reply::Graph),
        Question::Path(path) => told(tenant.path(path).await.unwrap(), Reply::Path),
    }
}

fn reads(runner: &Runner, outcome: TierOutcome) -> u64 {
    runner.stats().tier.unwrap().reads_of(outcome)
}

async fn close(runners: impl IntoIterator<Item = Runner>) {
    for runner in runners {
        runner.validate().unwrap();
        runner.close().await;
    }
}

#[tokio::test]
async fn what_one_runner_loads_another_need_not() {
    on_both(async |fixture| {
        let tier = MemoryTier::new();
        let (first, second) = (runner(fixture, &tier).await, runner(fixture, &tier).await);
        let drafts = (0..5).map(|at| named(&format!("erp-{at}"), "ERP orders"));
        acme(&first).upsert_cis(drafts.collect()).await.unwrap();
        let relation = RelationDraft::new("erp-0", "USES", "erp-1");
        acme(&first).upsert_relations(vec![relation]).await.unwrap();
        let filter = Filter::parse("ci_type=SW").unwrap();
        let questions: Vec<Question> = vec![
            search("erp").into(),
            search("nothing").into(),
            Get::new(reference("erp-3")).into(),
            Get::new(reference("absent")).into(),
            List::builder().filters([filter]).limit(3).build().unwrap().into(),
            Expand::builder(reference("erp-0"), View::Impact)
                .build()
                .unwrap()
                .into(),
            Path::builder(reference("erp-0"), reference("erp-1"))
                .direction(Direction::Out)
                .build()
                .unwrap()
                .into(),
        ];
        for question in &questions {
            let (loaded, source) = ask(&acme(&first), question).await;
            assert_eq!(source, Source::Miss, "{question:?}");
            first.settle_tier(false).await;
            assert!(second.catch_up(LONG).await);
            let before = second.stats().statements;
            let (shared, source) = ask(&acme(&second), question).await;
            assert_eq!((source, source.place()), (Source::Tier, "l2"), "{question:?}");
            assert_eq!(shared, loaded, "{question:?}");
            assert_eq!(ask(&acme(&second), question).await, (loaded, Source::Hit));
            assert_eq!(second.stats().statements, before, "no database was asked");
        }
        let stats = first.stats().tier.unwrap();
        assert_eq!((stats.kind, stats.written), ("memory", questions.len() as u64));
        assert_eq!(reads(&second, TierOutcome::Hit), questions.len() as u64);
        let savings = second.savings();
        let shared: u64 = savings.by_kind.iter().map(|kind| kind.requests.tier).sum();
        assert_eq!(shared, questions.len() as u64);
        close([first, second]).await;
    })
    .await;
}

/// Several gets, and graphs whose CIs are primed, are asked in one round trip; pages are read from one snapshot.
#[tokio::test]
async fn batches_ask_the_tier_once() {
    on_both(async |fixture| {
        let tier = MemoryTier::new();
        let (first, second) = (runner(fixture, &tier).await, runner(fixture, &tier).await);
        let drafts = (0..6).map(|at| named(&format!("erp-{at}"), "ERP"));
        acme(&first).upsert_cis(drafts.collect()).await.unwrap();
        let get = |at: usize| Get::new(reference(&format!("erp-{at}")));
        let some: Vec<Get> = (0..4).map(get).collect();
        for answer in acme(&first).get_many(&some).await.unwrap() {
            assert_eq!(answer.source, Source::Miss);
        }
        first.settle_tier(false).await;
        assert!(second.catch_up(LONG).await);
        let (before, calls) = (second.stats().statements, tier.asked());
        let all: Vec<Get> = (0..6).map(get).collect();
        let answers = acme(&second).get_many(&all).await.unwrap();
        let sources: Vec<Source> = answers.iter().map(|answer| answer.source).collect();
        assert_eq!(
            sources,
            [[Source::Tier; 4].as_slice(), &[Source::Miss; 2]].concat()
        );
        assert!(answers.iter().all(|answer| answer.value.is_some()));
        assert_eq!(
            second.stats().statements - before,
            1,
            "one statement for the rest"
        );
        second.settle_tier(false).await;
        assert_eq!(tier.asked() - calls, 1, "one round trip");

        let reads = second.stats().tier.unwrap().reads;
        let page = acme(&second).page(vec![search("erp").into()]).await.unwrap();
        assert_eq!(page.source, Source::Miss);
        assert_eq!(second.stats().tier.unwrap().reads, reads, "it was not asked");
        close([first, second]).await;
    })
    .await;
}

/// A change is in the database and the reader knows it: what the tier says of before is refused, however it got there.
async fn after_a_roll_back(fixture: &Fixture, rules: TierRules) -> (Vec<String>, Source) {
    let tier = MemoryTier::new();
    let first = runner(fixture, &tier).await;
    let build = builder(fixture, &tier).await.tier_rules(rules);
    let second = build.build().unwrap();
    acme(&first)
        .upsert_cis(vec![named("erp-1", "ERP old")])
        .await
        .unwrap();
    assert!(second.catch_up(LONG).await);
    found(&acme(&first), "erp").await;
    first.settle_tier(false).await;
    let old = tier.dump();
    assert_eq!(old.len(), 1);
    acme(&first)
        .upsert_cis(vec![named("erp-1", "ERP new")])
        .await
        .unwrap();
    first.settle_tier(false).await;
    assert!(tier.dump().is_empty(), "what a change dropped is deleted");
    assert_eq!(first.stats().tier.unwrap().deleted, 1);
    tier.restore(old);
    assert!(second.catch_up(LONG).await);
    let got = found(&acme(&second), "erp").await;
    if rules == TierRules::Kept {
        assert_eq!(reads(&second, TierOutcome::Overtaken), 1);
    }
    close([first, second]).await;
    got
}

#[tokio::test]
async fn values_from_before_a_change_are_refused() {
    on_both(async |fixture| {
        let got = after_a_roll_back(fixture, TierRules::Kept).await;
        assert_eq!(got, (vec!["ERP new".to_owned()], Source::Miss));
    })
    .await;
}

#[tokio::test]
async fn without_the_proof_they_would_be_served() {
    on_both(async |fixture| {
        let got = after_a_roll_back(fixture, TierRules::TrustsValues).await;
        assert_eq!(got, (vec!["ERP old".to_owned()], Source::Tier));
    })
    .await;
}

/// Every value of one tenant under the names of the other.
async fn after_a_swap(rules: TierRules) -> (Vec<String>, Source) {
    let (fixture, tier) = (Fixture::sqlite(), MemoryTier::new());
    let first = runner(&fixture, &tier).await;
    let second = builder(&fixture, &tier).await.tier_rules(rules).build().unwrap();
    let other = |runner: &Runner| runner.tenant(TenantId::new("other").unwrap());
    acme(&first)
        .upsert_cis(vec![named("erp-1", "ERP of acme")])
        .await
        .unwrap();
    other(&first)
        .upsert_cis(vec![named("erp-1", "ERP of other")])
        .await
        .unwrap();
    assert!(second.catch_up(LONG).await);
    found(&other(&first), "erp").await;
    first.settle_tier(false).await;
    let others = tier.dump().into_values().next().unwrap();
    found(&acme(&first), "erp").await;
    first.settle_tier(false).await;
    tier.damage(|_, bytes| bytes.clone_from(&others));
    let got = found(&acme(&second), "erp").await;
    if rules == TierRules::Kept {
        assert_eq!(reads(&second, TierOutcome::Key), 1);
    }
    close([first, second]).await;
    fixture.finish().await;
    got
}

#[tokio::test]
async fn another_tenants_value_is_never_served() {
    let right = (vec!["ERP of acme".to_owned()], Source::Miss);
    assert_eq!(after_a_swap(TierRules::Kept).await, right);
    let wrong = (vec!["ERP of other".to_owned()], Source::Tier);
    assert_eq!(
        after_a_swap(TierRules::IgnoresKey).await,
        wrong,
        "the test has teeth"
    );
}

/// The values of another database with the same questions.
async fn with_another_history(fixtures: [&Fixture; 2], rules: TierRules) -> (Vec<String>, Source) {
    let [mine, others] = fixtures;
    let tier = MemoryTier::new();
    for (fixture, name) in [(others, "ERP there"), (mine, "ERP here")] {
        let runner = runner(fixture, &MemoryTier::new()).await;
        acme(&runner)
            .upsert_cis(vec![named("erp-1", name)])
            .await
            .unwrap();
        close([runner]).await;
    }
    let there = runner(others, &tier).await;
    found(&acme(&there), "erp").await;
    there.settle_tier(false).await;
    let bookmarked = builder(mine, &tier).await.tier_rules(rules);
    let here = bookmarked.build().unwrap();
    assert!(here.catch_up(LONG).await);
    let got = found(&acme(&here), "erp").await;
    if rules == TierRules::Kept {
        assert_eq!(reads(&here, TierOutcome::Epoch), 1);
    }
    close([there, here]).await;
    got
}

#[tokio::test]
async fn another_history_is_never_believed() {
    on_both(async |fixture| {
        let others = if fixture.is_sqlite() {
            Fixture::sqlite()
        } else {
            Fixture::postgres().await
        };
        let got = with_another_history([fixture, &others], TierRules::Kept).await;
        assert_eq!(got, (vec!["ERP here".to_owned()], Source::Miss));
        others.finish().await;
    })
    .await;
    let (mine, others) = (Fixture::sqlite(), Fixture::sqlite());
    let got = with_another_history([&mine, &others], TierRules::IgnoresEpoch).await;
    assert_eq!(
        got,
        (vec!["ERP there".to_owned()], Source::Tier),
        "the test has teeth"
    );
}

type Damage = fn(&mut Vec<u8>);

#[tokio::test]
async fn damage_of_any_kind_is_a_miss_with_its_reason() {
    let (fixture, tier) = (Fixture::sqlite(), MemoryTier::new());
    let first = runner(&fixture, &tier).await;
    acme(&first)
        .upsert_cis(vec![named("erp-1", "ERP")])
        .await
        .unwrap();
    let damages: [(Damage, TierOutcome); 5] = [
        (|bytes| bytes.clear(), TierOutcome::Corrupt),
        (|bytes| bytes.truncate(bytes.len() - 1), TierOutcome::Corrupt),
        (
            |bytes| *bytes = b"a text of somebody else".to_vec(),
            TierOutcome::Corrupt,
        ),
        (
            |bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 4;
            },
            TierOutcome::Corrupt,
        ),
        (|bytes| bytes[4] = 99, TierOutcome::Format),
    ];
    for (damage, outcome) in damages {
        first.clear();
        tier.flush();
        found(&acme(&first), "erp").await;
        first.settle_tier(false).await;
        tier.damage(|_, bytes| damage(bytes));
        let second = runner(&fixture, &tier).await;
        let got = found(&acme(&second), "erp").await;
        assert_eq!(got, (vec!["ERP".to_owned()], Source::Miss), "{outcome:?}");
        assert_eq!(reads(&second, outcome), 1);
        close([second]).await;
    }
    close([first]).await;
    fixture.finish().await;
}

#[tokio::test]
async fn a_tier_that_is_down_or_slow_is_left_alone() {
    let faults = [
        (
            Faults {
                down: Down::Fails,
                ..Faults::default()
            },
            TierOutcome::Failed,
        ),
        (
            Faults {
                down: Down::Hangs,
                ..Faults::default()
            },
            TierOutcome::TimedOut,
        ),
    ];
    for (faults, outcome) in faults {
        let (fixture, tier) = (Fixture::sqlite(), MemoryTier::new());
        // A feed that is replayed would ask before the fault does.
        let quick = options().timeout(Duration::from_millis(1)).replay(Duration::ZERO);
        let build = patient(fixture.open().await)
            .tier(tier.clone(), quick)
            .tier_anywhere();
        // So that nothing is kept, and nothing written: each question is a read.
        let runner = build.build().unwrap();
        acme(&runner)
            .upsert_cis(vec![named("erp-1", "ERP")])
            .await
            .unwrap();
        tier.set(faults);
        for number in 0..20 {
            runner.clear();
            let (names, source) = found(&acme(&runner), "erp").await;
            assert_eq!(
                (names.as_slice(), source),
                (["ERP".to_owned()].as_slice(), Source::Miss),
                "{number}"
            );
            runner.settle_tier(false).await;
        }
        let stats = runner.stats().tier.unwrap();
        assert!(stats.is_open, "{stats:?}");
        assert!(reads(&runner, outcome) >= 1);
        assert!(reads(&runner, TierOutcome::Skipped) >= 10, "{stats:?}");
        assert!(stats.trouble.is_some());
        assert_eq!(found(&acme(&runner), "erp").await.1, Source::Hit, "hits go on");
        close([runner]).await;
        fixture.finish().await;
    }
}

#[tokio::test]
async fn every_level_keeps_its_promise() {
    on_both(async |fixture| {
        let tier = MemoryTier::new();
        tier.set(Faults {
            loses_deletes: true,
            ..Faults::default()
        });
        let (first, second) = (runner(fixture, &tier).await, runner(fixture, &tier).await);
        for round in 0..20 {
            let name = format!("ERP {round}");
            let written = acme(&first)
                .upsert_cis(vec![named("erp-1", &name)])
                .await
                .unwrap();
            first.settle_tier(false).await;
            let token = written.token.unwrap();
            let level = if round % 2 == 0 {
                Level::AtLeast(token.clone())
            } else {
                Level::Strong
            };
            // The tier has the answer of the round before.
            let answer = acme(&second)
                .at(level)
                .search_strict(&search("erp"))
                .await
                .unwrap();
            assert_eq!(answer.value.items[0].ci_name, name);
            let as_of = answer.as_of.unwrap();
            assert!(as_of.epoch == token.epoch && as_of.version.includes(&token.version));
            second.settle_tier(false).await;
            let calls = tier.asked();
            let passed = acme(&first)
                .at(Level::Bypass)
                .search_strict(&search("erp"))
                .await
                .unwrap();
            assert_eq!((passed.source, tier.asked()), (Source::Bypass, calls));
            // The answer of this round is in the tier, by the second runner.
            let shared = acme(&first).search_strict(&search("erp")).await.unwrap();
            assert_eq!(
                (shared.source, &shared.value.items[0].ci_name),
                (Source::Tier, &name)
            );
            assert!(shared.as_of.unwrap().version.includes(&token.version));
        }
        assert!(reads(&second, TierOutcome::Overtaken) > 0);
        close([first, second]).await;
    })
    .await;
}

type Forget = fn(&Runner);

/// Whoever forgets by hand does not trust what is there.
#[tokio::test]
async fn what_was_forgotten_by_hand_does_not_come_back() {
    on_both(async |fixture| {
        let tier = MemoryTier::new();
        let runner = runner(fixture, &tier).await;
        acme(&runner)
            .upsert_cis(vec![named("erp-1", "ERP")])
            .await
            .unwrap();
        let ways: [Forget; 4] = [
            |runner| runner.clear(),
            |runner| assert_eq!(acme(runner).invalidate(), 1),
            |runner| assert_eq!(acme(runner).invalidate_ci(&reference("erp-1")), 1),
            |runner| assert_eq!(runner.drop_tenant(acme(runner).id()), 1),
        ];
        found(&acme(&runner), "erp").await;
        for (round, forget) in ways.into_iter().enumerate() {
            runner.settle_tier(false).await;
            forget(&runner);
            assert_eq!(found(&acme(&runner), "erp").await.1, Source::Miss);
            assert_eq!(reads(&runner, TierOutcome::Forgotten), round as u64 + 1);
        }
        close([runner]).await;
    })
    .await;
}

/// ```text
/// feed task           a reader                    another program         somebody
/// the mark is 7
///                                                 commits 8, of others
///                     loads at 8, shares it
///                                                                         forgets all
///                     is not to have it from the tier, although 8 is later than the mark
/// ```
#[tokio::test]
async fn what_was_loaded_ahead_of_the_mark_is_forgotten_too() {
    on_both(async |fixture| {
        let tier = MemoryTier::new();
        let builder = patient(fixture.open().await)
            .poll_every(Duration::from_secs(60))
            .poll_idle(Duration::from_secs(60));
        let builder = builder.tier(tier.clone(), options()).tier_anywhere();
        let runner = builder.build().unwrap();
        acme(&runner)
            .upsert_cis(vec![named("erp-1", "ERP")])
            .await
            .unwrap();
        fixture
            .execute("UPDATE ci SET owner = 'somebody' WHERE ci_code = 'erp-1'")
            .await;
        // No poll has told of that: what is loaded now is of a later state than the mark.
        assert_eq!(found(&acme(&runner), "erp").await.1, Source::Miss);
        runner.settle_tier(false).await;
        runner.clear();
        assert_eq!(found(&acme(&runner), "erp").await.1, Source::Miss);
        assert_eq!(reads(&runner, TierOutcome::Forgotten), 1);
        close([runner]).await;
    })
    .await;
}

#[tokio::test]
async fn what_is_too_much_is_dropped_and_counted() {
    let (fixture, tier) = (Fixture::sqlite(), MemoryTier::new());
    let small = patient(fixture.open().await)
        .tier(tier.clone(), options().tenant_bytes(300))
        .tier_anywhere();
    let runner = small.build().unwrap();
    for keyword in ["a", "b", "c", "d"] {
        found(&acme(&runner), keyword).await;
    }
    runner.settle_tier(false).await;
    let stats = runner.stats().tier.unwrap();
    assert_eq!(stats.written + stats.over_budget, 4);
    assert!(stats.over_budget > 0 && stats.written > 0, "{stats:?}");
    close([runner]).await;
    let refused = patient(fixture.open().await)
        .tier(tier.clone(), options())
        .build();
    assert!(
        refused.unwrap_err().to_string().contains("tier"),
        "a SQLite file may be replaced"
    );
    let refused = builder(&fixture, &tier)
        .await
        .tier(tier.clone(), options().queue(0))
        .build();
    assert!(refused.unwrap_err().to_string().contains("tier_queue"));
    fixture.finish().await;
}
