//! A subscriber hears what happens inside a runner; who is slow loses the oldest and is told so; slow loads are logged without values.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ci_cache_core::ManualClock;
use ci_model::{CiDraft, CiOutcome, Filter, Search, TenantId};
use ci_runner::{Error, Event, Events, FeedState, Runner, RunnerBuilder, Source, Tenant, Why, Written};
use ci_tests::fixture::{Fixture, on_both};
use ci_tests::observed::{Control, Observed};
use serde_json::Value;

const CANARY: &str = "canary4711";

fn search(keyword: &str) -> Search {
    let filter = Filter::parse(&format!("owner != {CANARY}")).unwrap();
    Search::builder().keyword(keyword).filter(filter).build().unwrap()
}

async fn observed(
    fixture: &Fixture,
    set: impl FnOnce(RunnerBuilder) -> RunnerBuilder,
) -> (Runner, Tenant, Arc<Control>) {
    let (store, control) = Observed::around(fixture.open().await);
    let runner = set(ci_tests::fixture::patient(store)).build().unwrap();
    let tenant = runner.tenant(TenantId::new("acme").unwrap());
    (runner, tenant, control)
}

async fn write(tenant: &Tenant, code: &str) -> Written<CiOutcome> {
    let draft = CiDraft {
        owner: Some("ops".into()),
        ..CiDraft::new(code, "ERP", "SW")
    };
    tenant.upsert_cis(vec![draft]).await.unwrap()
}

/// The next event that is not about the feed.
async fn next(events: &mut Events) -> Event {
    loop {
        match events.next().await.unwrap() {
            Event::Feed { .. } => {}
            event => return event,
        }
    }
}

#[tokio::test]
async fn a_subscriber_hears_of_states_drops_and_failures() {
    on_both(async |fixture| {
        let (runner, tenant, control) = observed(fixture, |builder| builder).await;
        let mut events = runner.events();
        write(&tenant, "erp-1").await;
        let state = events.next().await.unwrap();
        assert!(
            matches!(
                state,
                Event::Feed {
                    from: FeedState::Starting,
                    to: FeedState::Live,
                    ..
                }
            ),
            "{state:?}"
        );
        tenant.search_strict(&search("erp")).await.unwrap();
        write(&tenant, "erp-2").await;
        let Event::Dropped(dropped) = next(&mut events).await else {
            panic!("something was dropped")
        };
        assert_eq!(Some(&dropped), runner.drops().last());
        assert!(matches!(dropped.why, Why::Touches(_)), "{dropped:?}");
        assert_eq!(dropped.key.unwrap().tenant(), "acme");
        assert!(dropped.change.contains("erp-2"));

        control.fail_nth(1);
        tenant.get_by_code(CANARY).await.unwrap_err();
        let Event::LoadFailed { load, error } = next(&mut events).await else {
            panic!("a load failed")
        };
        assert!(matches!(error, Error::Store(_)));
        assert_eq!((load.tenant.as_str(), load.operation), ("acme", "get"));
        assert_eq!((load.question.as_str(), load.statements), ("get: by code", 0));
        assert_eq!(load.key.unwrap().len(), 8);
        assert!(
            events
                .try_next()
                .is_none_or(|event| matches!(event, Event::Feed { .. }))
        );

        // The stream ends with the runner.
        runner.close().await;
        drop((runner, tenant));
        let mut last = None;
        while let Some(event) = events.next().await {
            last = Some(event);
        }
        let stopped = matches!(
            &last,
            Some(Event::Feed {
                to: FeedState::Stopped,
                ..
            })
        );
        assert!(stopped, "{last:?}");
    })
    .await;
}

#[tokio::test]
async fn a_slow_subscriber_loses_the_oldest_and_is_told() {
    let fixture = Fixture::sqlite();
    let (runner, tenant, control) = observed(&fixture, |builder| builder).await;
    write(&tenant, "erp-1").await;
    let mut events = runner.events();
    for n in 0..1_100 {
        control.fail_nth(1);
        tenant
            .search_strict(&search(&format!("word{n}")))
            .await
            .unwrap_err();
    }
    let Event::Missed(missed) = events.next().await.unwrap() else {
        panic!("some were lost")
    };
    let mut heard = 0;
    while let Some(event) = events.try_next() {
        heard += u64::from(matches!(event, Event::LoadFailed { .. }));
    }
    assert!(missed >= 76, "{missed}");
    assert!(heard + missed >= 1_100, "{heard} heard, {missed} missed");
    runner.close().await;
}

#[tokio::test]
async fn drops_beyond_what_is_remembered_are_counted() {
    let fixture = Fixture::sqlite();
    let (runner, tenant, _) = observed(&fixture, |builder| builder.drops(2)).await;
    write(&tenant, "erp-1").await;
    let words = ["erp", "erp-1", "er", "rp-", "p-1"];
    for word in words {
        tenant.search_strict(&search(word)).await.unwrap();
    }
    // What went before somebody listened is not told.
    write(&tenant, "erp-12").await;
    let mut events = runner.events();
    for word in words {
        tenant.search_strict(&search(word)).await.unwrap();
    }
    write(&tenant, "erp-13").await;
    let Event::Missed(3) = next(&mut events).await else {
        panic!("three of five are not remembered")
    };
    for _ in 0..2 {
        assert!(matches!(next(&mut events).await, Event::Dropped(_)));
    }
    runner.close().await;
}

#[tokio::test]
async fn without_a_feed_a_write_of_the_runner_drops_and_tells() {
    on_both(async |fixture| {
        let (store, _) = Observed::without_feed(fixture.open().await);
        let runner = ci_tests::fixture::patient(store).build().unwrap();
        let tenant = runner.tenant(TenantId::new("acme").unwrap());
        let mut events = runner.events();
        write(&tenant, "erp-1").await;
        for expected in [Source::Miss, Source::Hit] {
            let answer = tenant.search_strict(&search("erp")).await.unwrap();
            assert_eq!((answer.source, answer.value.items.len()), (expected, 1));
            assert!(answer.as_of.is_none());
        }
        assert!(write(&tenant, "erp-2").await.token.is_none(), "no state is told");
        let answer = tenant.search_strict(&search("erp")).await.unwrap();
        assert_eq!((answer.source, answer.value.items.len()), (Source::Miss, 2));
        // Everything of the tenant went, twice; one event for each write, as nobody looks at single entries then.
        let mut drops = 0;
        while let Some(event) = events.try_next() {
            let is_drop = matches!(&event, Event::Dropped(dropped) if dropped.why == Why::Group);
            assert!(is_drop, "{event:?}");
            drops += 1;
        }
        assert_eq!(drops, 2);
        assert_eq!(runner.feed().state, FeedState::Absent);
        runner.close().await;
    })
    .await;
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_slow_load_is_logged_and_told_in_readable_words_without_values() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_max_level(tracing::Level::WARN)
        .with_writer(move || writer.clone())
        .finish();
    let fixture = Fixture::sqlite();
    let clock = Arc::new(ManualClock::new());
    let slow = Duration::from_millis(50);
    let (runner, tenant, control) =
        observed(&fixture, |builder| builder.clock(clock.clone()).slow_load(slow)).await;
    write(&tenant, "erp-1").await;
    let mut events = runner.events();
    let guard = tracing::subscriber::set_default(subscriber);
    for took in [49, 50] {
        let keyword = format!("{CANARY}-{took}");
        let gate = control.close_gate();
        let reads = control.reads();
        let asker = tokio::spawn({
            let tenant = tenant.clone();
            async move { tenant.search_strict(&search(&keyword)).await.unwrap() }
        });
        while control.reads() == reads {
            tokio::task::yield_now().await;
        }
        clock.advance(Duration::from_millis(took));
        drop(gate);
        asker.await.unwrap();
    }
    drop(guard);
    let Event::SlowLoad(load) = next(&mut events).await else {
        panic!("a load was slow")
    };
    assert_eq!((load.took, load.statements), (slow, 1));
    assert!(
        load.question.starts_with("search: 1 keywords, owner !=; limit "),
        "{}",
        load.question
    );
    let key = load.key.unwrap();
    assert!(runner.entries(10).iter().any(|entry| entry.key == key));

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    assert!(!text.contains(CANARY), "no value is in the log: {text}");
    let warnings: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(warnings.len(), 1, "{text}");
    let (warning, fields) = (&warnings[0], &warnings[0]["fields"]);
    assert_eq!(
        (&warning["level"], &fields["message"]),
        (&"WARN".into(), &"a slow load".into())
    );
    assert_eq!(
        (&fields["key"], &fields["question"]),
        (&key.into(), &load.question.into())
    );
    assert_eq!(
        (&fields["duration_us"], &fields["tenant"]),
        (&50_000.into(), &"acme".into())
    );
    runner.close().await;
}
