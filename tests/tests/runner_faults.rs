//! The runner beside panics, held writes, callers who go away, and runtimes that end.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::sync::Arc;
use std::time::Duration;

use ci_model::{Aggregate, CiDraft, Get, RelationDraft, Search, TenantId};
use ci_runner::{Answer, Error, FeedState, Level, Runner, SearchMode, SearchResult, Source, Tenant};
use ci_tests::fixture::{Fixture, on_both};
use ci_tests::observed::{Control, Observed};
use tokio::sync::oneshot;

async fn observed(fixture: &Fixture) -> (Runner, Tenant, Arc<Control>) {
    let (store, control) = Observed::around(fixture.open().await);
    let runner = ci_tests::fixture::patient(store)
        // Hits stay hits while a test holds the polls.
        .level(Level::Cached {
            max_lag: Duration::from_secs(3_600),
        })
        .build()
        .unwrap();
    let tenant = runner.tenant(TenantId::new("acme").unwrap());
    tenant.upsert_cis(vec![named("old")]).await.unwrap();
    (runner, tenant, control)
}

/// The one CI that the writes are about, in its two states.
fn named(name: &str) -> CiDraft {
    CiDraft {
        owner: Some(name.into()),
        ..CiDraft::new("srv-01", name, "HW")
    }
}

async fn name(tenant: &Tenant) -> String {
    let answer = tenant.get_by_code("srv-01").await.unwrap();
    answer.value.unwrap().summary.ci_name.clone()
}

/// A poll of the feed that has read, and waits: nothing that is committed from now on is told before the guard is used.
async fn held_poll(control: &Control) -> oneshot::Sender<()> {
    let (release, held) = (control.hold_poll(false), control.polls_held());
    while control.polls_held() == held {
        tokio::task::yield_now().await;
    }
    release
}

fn words(keywords: &[&str]) -> Search {
    Search::builder()
        .keywords(keywords.iter().copied())
        .build()
        .unwrap()
}

fn codes(answer: &Answer<SearchResult>) -> Vec<&str> {
    answer.value.items.iter().map(|ci| ci.ci_code.as_str()).collect()
}

#[tokio::test]
async fn a_store_that_panics_in_a_read_is_an_error_and_the_next_try_loads() {
    let fixture = Fixture::sqlite();
    let (runner, tenant, control) = observed(&fixture).await;
    for nth in [1, 2] {
        control.panic_nth(nth);
        let error = tenant.get_by_code("srv-01").await.unwrap_err();
        assert!(
            matches!(error, Error::TaskLost) && error.is_transient(),
            "{error}"
        );
        assert_eq!(name(&tenant).await, "old");
        runner.clear();
        control.panic_nth(nth);
        let gets = [Get::new(ci_model::CiCode::new("srv-01").unwrap())];
        assert!(matches!(tenant.get_many(&gets).await, Err(Error::TaskLost)));
        assert!(tenant.get_many(&gets).await.unwrap()[0].value.is_some());
        runner.clear();
    }
    assert_eq!(runner.stats().cache.engine.abandoned, 4);
}

#[tokio::test]
async fn those_who_wait_for_a_load_that_panics_load_again() {
    let fixture = Fixture::sqlite();
    let (runner, tenant, control) = observed(&fixture).await;
    let gate = control.close_gate();
    let before = runner.stats().cache.total_requests;
    let askers: Vec<_> = (0..10)
        .map(|_| {
            let tenant = tenant.clone();
            tokio::spawn(async move { tenant.search(&words(&["srv"])).await })
        })
        .collect();
    while runner.stats().cache.total_requests < before + 10 || control.reads() == 0 {
        tokio::task::yield_now().await;
    }
    control.panic_nth(1);
    drop(gate);
    let (mut lost, mut found) = (0, 0);
    for asker in askers {
        match asker.await.unwrap() {
            Ok(answer) => found += answer.value.items.len(),
            Err(error) => lost += usize::from(matches!(error, Error::TaskLost)),
        }
    }
    assert_eq!((lost, found), (1, 9), "only the one whose load it was is told");
    assert_eq!(control.reads(), 2, "and one of the others loads for all");
}

#[tokio::test]
async fn after_a_write_that_panics_a_poll_tells_what_is_true() {
    let fixture = Fixture::sqlite();
    let (runner, tenant, control) = observed(&fixture).await;
    assert_eq!(name(&tenant).await, "old");
    control.panic_nth(1);
    let before = runner.feed().polls;
    let error = tenant.upsert_cis(vec![named("new")]).await.unwrap_err();
    assert!(error.is_transient(), "{error}");
    assert_eq!(name(&tenant).await, "old", "it was not written");
    assert!(
        runner.feed().polls > before,
        "nobody is answered before a poll says so"
    );
}

#[tokio::test]
async fn a_writer_who_goes_away_after_the_commit_takes_no_invalidation_with_it() {
    let fixture = Fixture::sqlite();
    let (runner, tenant, control) = observed(&fixture).await;
    assert_eq!(name(&tenant).await, "old");
    let poll = held_poll(&control).await;
    let release = control.hold_next_upsert();
    let writer = tokio::spawn({
        let tenant = tenant.clone();
        async move { tenant.upsert_cis(vec![named("new")]).await }
    });
    while control.holding() == 0 {
        tokio::task::yield_now().await;
    }
    writer.abort();
    assert!(writer.await.unwrap_err().is_cancelled());
    assert_eq!(name(&tenant).await, "old", "committed, and not invalidated yet");
    release.send(()).unwrap();
    poll.send(()).unwrap();
    // The write's task ends by itself; its invalidation is what makes the next look-up a miss.
    let before = runner.stats().cache.misses;
    while runner.stats().cache.misses == before {
        tokio::task::yield_now().await;
        name(&tenant).await;
    }
    assert_eq!(name(&tenant).await, "new");
}

#[test]
fn a_runtime_that_ends_during_a_write_leaves_no_old_answer() {
    let fixture = Fixture::sqlite();
    let runtime = || {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap()
    };
    let (first, second) = (runtime(), runtime());
    let (runner, tenant, control) = first.block_on(observed(&fixture));
    assert_eq!(first.block_on(name(&tenant)), "old");
    let _poll = first.block_on(held_poll(&control));
    let _release = control.hold_next_upsert();
    first.block_on(async {
        let tenant = tenant.clone();
        tokio::spawn(async move { tenant.upsert_cis(vec![named("new")]).await });
        while control.holding() == 0 {
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(second.block_on(name(&tenant)), "old", "a hit, on any runtime");
    drop(first);
    assert_eq!(runner.feed().state, FeedState::Stopped);
    assert_eq!(second.block_on(name(&tenant)), "new");
}

#[tokio::test]
async fn a_write_that_found_its_row_as_given_returns_to_a_cache_that_agrees() {
    let fixture = Fixture::sqlite();
    let (_runner, tenant, control) = observed(&fixture).await;
    let everything = Aggregate::builder().group_by("owner").build().unwrap();
    assert_eq!(name(&tenant).await, "old");
    tenant.aggregate(&everything).await.unwrap();
    let release = control.hold_next_upsert();
    let first = tokio::spawn({
        let tenant = tenant.clone();
        async move { tenant.upsert_cis(vec![named("new")]).await }
    });
    while control.holding() == 0 {
        tokio::task::yield_now().await;
    }
    let again = tenant.upsert_cis(vec![named("new")]).await.unwrap();
    assert!(!again[0].effect.is_change());
    assert_eq!(name(&tenant).await, "new", "what the write has just confirmed");
    let groups = tenant.aggregate(&everything).await.unwrap().value;
    assert_eq!(serde_json::to_value(&groups.items[0]).unwrap()["owner"], "new");
    release.send(()).unwrap();
    first.await.unwrap().unwrap();
    assert_eq!(name(&tenant).await, "new");
}

#[tokio::test]
async fn a_search_says_miss_when_any_of_its_steps_asked_the_database() {
    let fixture = Fixture::sqlite();
    let (runner, tenant, _) = observed(&fixture).await;
    // Strict finds nothing, the identifier is not there, the parts find the server.
    let sentence = words(&["about srv-99"]);
    let answer = tenant.search(&sentence).await.unwrap();
    assert_eq!(
        (answer.value.mode, codes(&answer)),
        (SearchMode::Broad, vec!["srv-01"])
    );
    assert_eq!(tenant.search(&sentence).await.unwrap().source, Source::Hit);

    runner.clear();
    tenant.search_strict(&sentence).await.unwrap();
    let broad = sentence.broadened().unwrap();
    tenant.search_strict(&broad).await.unwrap();
    let before = runner.stats().statements;
    let answer = tenant.search(&sentence).await.unwrap();
    assert_eq!(runner.stats().statements, before + 1);
    assert_eq!((answer.source, codes(&answer)), (Source::Miss, vec!["srv-01"]));
}

/// ```text
/// caller                         another program
/// loads the first step
///                                commits
/// loads the second step: at another state, so both are looked up again, and found in memory
/// ```
#[tokio::test]
async fn a_search_says_miss_when_its_steps_were_loaded_at_two_states() {
    let fixture = Fixture::sqlite();
    let (runner, tenant, control) = observed(&fixture).await;
    let (gate, reads) = (control.close_gate(), control.reads());
    let question = words(&["old", "nothing"]);
    let asked = tokio::spawn(async move { tenant.search(&question).await.unwrap() });
    while control.reads() == reads {
        tokio::task::yield_now().await;
    }
    fixture
        .execute(
            "INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type) \
             VALUES ('00000000-0000-4000-8000-000000000001', 'other', 'c', 'n', 'SW')",
        )
        .await;
    assert!(runner.catch_up(Duration::from_secs(60)).await);
    drop(gate);
    let answer = asked.await.unwrap();
    assert_eq!(
        (codes(&answer), answer.value.mode),
        (vec!["srv-01"], SearchMode::Broad)
    );
    assert_eq!(control.reads(), reads + 2);
    assert_eq!(answer.source, Source::Miss);
}

#[tokio::test]
async fn an_identifier_among_other_words_is_recovered() {
    let fixture = Fixture::sqlite();
    let (_runner, tenant, _) = observed(&fixture).await;
    let others = [
        ("a-decoy", "SRV-01"),
        ("on-call", "what depends"),
        ("b-decoy", "srv-01 spare"),
    ];
    let others = others.map(|(code, name)| CiDraft::new(code, name, "SW"));
    tenant.upsert_cis(others.into()).await.unwrap();
    let answer = tenant
        .search(&words(&["what", "depends", "on", "SRV-01"]))
        .await
        .unwrap();
    assert_eq!(answer.value.mode, SearchMode::Recovered);
    assert_eq!(
        codes(&answer),
        ["a-decoy", "srv-01", "b-decoy"],
        "exact code or name first"
    );
    let filters_only = Search::builder()
        .filter(ci_model::Filter::parse("status=nowhere").unwrap())
        .build()
        .unwrap();
    let nothing = tenant.search(&filters_only).await.unwrap();
    assert_eq!(
        (nothing.value.mode, nothing.value.items.len()),
        (SearchMode::Strict, 0)
    );
}

#[tokio::test]
async fn a_text_about_nothing_is_refused_and_a_long_one_is_cut() {
    let fixture = Fixture::sqlite();
    let (_runner, tenant, _) = observed(&fixture).await;
    for text in ["", " \n", " ?! "] {
        assert!(
            matches!(tenant.ask(text, 10).await, Err(Error::Invalid(_))),
            "{text:?}"
        );
    }
    for (text, limit) in [("a\u{7}b", 10), ("srv", 0), ("srv", 501), (&*"x".repeat(201), 10)] {
        let error = tenant.ask(text, limit).await.unwrap_err();
        assert!(
            matches!(error, Error::Invalid(_)) && !error.is_transient(),
            "{error}"
        );
    }
    let identifiers: Vec<String> = (0..40).map(|n| format!("srv-{n:02}")).collect();
    let many = tenant.ask(&identifiers.join(", "), 10).await.unwrap();
    assert_eq!(
        (many.value.mode, codes(&many)),
        (SearchMode::Broad, vec!["srv-01"])
    );
    assert!(
        tenant
            .ask(&"word ".repeat(1_000), 10)
            .await
            .unwrap()
            .value
            .items
            .is_empty()
    );
}

#[tokio::test]
async fn after_close_hits_go_on_and_everything_else_is_an_error() {
    let fixture = Fixture::sqlite();
    let (runner, tenant, _) = observed(&fixture).await;
    assert_eq!(name(&tenant).await, "old");
    runner.close().await;
    runner.close().await;
    assert_eq!(name(&tenant).await, "old");
    assert!(matches!(tenant.get_by_code("other").await, Err(Error::Store(_))));
    assert!(matches!(
        tenant.upsert_cis(vec![named("new")]).await,
        Err(Error::Store(_))
    ));
    let relation = RelationDraft::new("srv-01", "USES", "srv-02");
    assert!(matches!(
        tenant.delete_relations(vec![relation]).await,
        Err(Error::Store(_))
    ));
    assert!(runner.ping().await.is_err());
}

/// Polls that are held, each for twice as long as the one before until it is given up: for minutes.
const HELD: u64 = 10;

/// ```text
/// feed task                      writer
/// a poll reads
///                                commits, waits for a later poll in vain, returns
/// the poll ends: a gap
/// ```
#[tokio::test]
async fn a_gap_that_was_read_before_a_write_does_not_vouch_for_it() {
    let fixture = Fixture::sqlite();
    let (store, control) = Observed::around(fixture.open().await);
    let runner = ci_tests::fixture::patient(store)
        .poll_timeout(Duration::from_secs(2))
        .build()
        .unwrap();
    let tenant = runner.tenant(TenantId::new("acme").unwrap());
    tenant.upsert_cis(vec![named("old")]).await.unwrap();
    for gap in [true, false] {
        // Polls that fail give the next ones more time than a writer has.
        (0..5).for_each(|_| control.fail_poll());
        let (release, held) = (control.hold_poll(gap), control.polls_held());
        // A poll that is held for too long is given up, and the one after it would show the write: on a machine that stalls before this test
        // has looked, that one is held as well.
        let next: Vec<_> = (0..HELD).map(|_| control.hold_poll(false)).collect();
        while control.polls_held() == held {
            tokio::task::yield_now().await;
        }
        tenant.upsert_cis(vec![named("new")]).await.unwrap();
        assert_eq!(runner.feed().position, None, "no poll has shown the write");
        release.send(()).unwrap();
        while control.polls_held() == held + 1 {
            tokio::task::yield_now().await;
        }
        assert_eq!(runner.feed().position, None, "nor has this one, gap: {gap}");
        drop(next);
        while control.polls_held() <= held + HELD {
            tokio::task::yield_now().await;
        }
        while runner.feed().position.is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(name(&tenant).await, "new");
        tenant.upsert_cis(vec![named("old")]).await.unwrap();
    }
}

#[tokio::test]
async fn a_poll_that_is_refused_is_passed_over_and_everything_is_forgotten() {
    let fixture = Fixture::sqlite();
    let (runner, tenant, control) = observed(&fixture).await;
    assert_eq!(name(&tenant).await, "old");
    control.refuse_poll();
    fixture.execute("UPDATE ci SET ci_name = 'new'").await;
    while runner.feed().epochs == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(name(&tenant).await, "new");
    assert_eq!(runner.feed().failures, 0);
    assert!(
        runner
            .feed()
            .trouble
            .is_some_and(|trouble| trouble.contains("injected"))
    );
}

/// ```text
/// feed                           feed task
/// goes on, answers with a change
///                                the time is over: drops the future, with the answer in it
/// tells the next changes
///                                the one before is in no later answer
/// ```
#[tokio::test]
async fn an_answer_of_the_feed_that_is_lost_is_a_gap() {
    on_both(async |fixture| {
        let (store, control) = Observed::around(fixture.open().await);
        let level = Level::Cached {
            max_lag: Duration::from_secs(3_600),
        };
        let runner = ci_tests::fixture::patient(store).level(level).build().unwrap();
        let tenant = runner.tenant(TenantId::new("acme").unwrap());
        tenant.upsert_cis(vec![named("old")]).await.unwrap();
        assert_eq!(name(&tenant).await, "old");
        let first = held_poll(&control).await;
        fixture.execute("UPDATE ci SET ci_name = 'new'").await;
        control.lose_poll();
        first.send(()).unwrap();
        while control.polls_lost() == 0 {
            tokio::task::yield_now().await;
        }
        let polls = runner.feed().polls;
        while runner.feed().polls < polls + 2 {
            tokio::task::yield_now().await;
        }
        assert_eq!(name(&tenant).await, "new");
        assert_eq!(runner.feed().epochs, 1);
        assert!(runner.feed().failures >= 1);
    })
    .await;
}
