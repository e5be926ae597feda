//! A feed goes on from another feed's bookmark: what was committed meanwhile is told once, or it is said that nobody knows.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use ci_model::Event;
use ci_store::{EpochReason, Feed, Polled};
use ci_tests::fixture::{Fixture, on_both};

/// A statement that makes one CI, as another program would.
fn insert(number: u32) -> String {
    format!(
        "INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type, created_at, updated_at) VALUES \
         ('00000000-0000-4000-8000-{number:012}', 'acme', 'srv-{number}', 'Server', 'HW', \
         '2026-01-01T00:00:00.000000Z', '2026-01-01T00:00:00.000000Z')"
    )
}

async fn feed(fixture: &Fixture) -> Box<dyn Feed> {
    fixture.open().await.feed().unwrap()
}

/// A bookmark after one change.
async fn bookmark(fixture: &Fixture) -> String {
    let mut feed = feed(fixture).await;
    assert!(feed.bookmark().is_none(), "it has not started");
    feed.start().await.unwrap();
    fixture.execute(&insert(1)).await;
    let Polled::Changes { position, .. } = feed.poll().await.unwrap() else {
        panic!("nothing else happened");
    };
    let (start, text) = feed.bookmark().unwrap();
    assert_eq!(start.position, position);
    text
}

async fn reason(fixture: &Fixture, bookmark: &str) -> Option<EpochReason> {
    let mut feed = feed(fixture).await;
    feed.resume(bookmark).unwrap();
    match feed.poll().await.unwrap() {
        Polled::NewEpoch { why, .. } => Some(why),
        Polled::Changes { .. } => None,
        Polled::Blind { why } => panic!("blind: {why}"),
    }
}

#[tokio::test]
async fn what_was_committed_meanwhile_is_told_once() {
    on_both(async |fixture| {
        let bookmark = bookmark(fixture).await;
        for number in 2..5 {
            fixture.execute(&insert(number)).await;
        }
        let mut feed = feed(fixture).await;
        let start = feed.resume(&bookmark).unwrap();
        let Polled::Changes { since, changes, .. } = feed.poll().await.unwrap() else {
            panic!("all of it is recorded");
        };
        assert_eq!((since.epoch, since.version), (start.epoch, start.position));
        let told = changes
            .iter()
            .filter(|change| matches!(change.event, Event::Ci(_)));
        assert_eq!(told.count(), 3);
        let Polled::Changes { changes, .. } = feed.poll().await.unwrap() else {
            panic!("nothing happened");
        };
        assert!(changes.is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_position_that_is_forgotten_is_a_gap() {
    on_both(async |fixture| {
        // From before the first change, where there is nothing that could be gone; and from after one.
        let mut before = feed(fixture).await;
        before.start().await.unwrap();
        let (_, first) = before.bookmark().unwrap();
        let second = bookmark(fixture).await;
        assert_eq!(reason(fixture, &first).await, None);
        for number in 2..5 {
            fixture.execute(&insert(number)).await;
        }
        let store = fixture.open().await;
        fixture.forget(&*store).await;
        assert_eq!(reason(fixture, &first).await, Some(EpochReason::Gap));
        assert_eq!(reason(fixture, &second).await, Some(EpochReason::Gap));
    })
    .await;
}

#[tokio::test]
async fn another_history_is_told() {
    let one = Fixture::sqlite();
    let another = Fixture::sqlite();
    let bookmark_of_one = bookmark(&one).await;
    bookmark(&another).await;
    assert!(reason(&another, &bookmark_of_one).await.is_some());
    on_both(async |fixture| {
        let bookmark = bookmark(fixture).await;
        let mut feed = feed(fixture).await;
        for text in ["", "{}", "bookmark", &bookmark[..bookmark.len() / 2]] {
            assert!(feed.resume(text).is_none(), "{text}");
        }
        assert!(feed.resume(&bookmark).is_some());
    })
    .await;
}

/// A backup is put back while nobody looks: it has the position's number, for another change.
#[tokio::test]
async fn a_backup_that_was_put_back_is_told() {
    let fixture = Fixture::sqlite();
    let file = fixture.address().trim_start_matches("sqlite:").to_owned();
    drop(feed(&fixture).await);
    fixture.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
    let backup = std::fs::read(&file).unwrap();
    let bookmark = bookmark(&fixture).await;
    fixture.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
    for beside in ["-wal", "-shm"] {
        // Not there after the last connection was closed.
        drop(std::fs::remove_file(format!("{file}{beside}")));
    }
    std::fs::write(&file, backup).unwrap();
    for number in 7..10 {
        fixture.execute(&insert(number)).await;
    }
    assert_eq!(reason(&fixture, &bookmark).await, Some(EpochReason::Rewound));
}
