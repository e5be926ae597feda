//! What the tests of the change feed share: statements of another program, and changes as short texts.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail tests")]
#![allow(dead_code, reason = "each test program uses a part of it")]

use ci_model::{Change, CiId, Event, Image, TenantId, Version};
use ci_store::{EpochReason, Feed, Polled, Store};
use ci_tests::fixture::Fixture;

/// The tenant `acme`.
pub(crate) fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

/// The id of the n-th CI.
pub(crate) fn id(n: u64) -> CiId {
    format!("00000000-0000-4000-8000-{n:012x}").parse().unwrap()
}

/// A statement that makes the n-th CI, `c-n`, of a tenant.
pub(crate) fn insert(tenant: &str, n: u64) -> String {
    format!(
        "INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type) VALUES ('{}', '{tenant}', 'c-{n}', 'name', 'SW');",
        id(n)
    )
}

/// A statement that gives the n-th CI tags.
pub(crate) fn tag(n: u64, tags: &str) -> String {
    format!(
        "INSERT INTO ci_ext (ci_id, tags, attributes) VALUES ('{}', '{tags}', '{{}}');",
        id(n)
    )
}

/// A statement that relates two CIs of `acme`.
pub(crate) fn relate(from: u64, to: u64) -> String {
    format!(
        "INSERT INTO ci_relation (tenant_id, from_id, rel_type, to_id) VALUES ('acme', '{}', 'R', '{}');",
        id(from),
        id(to)
    )
}

/// A feed that has started.
pub(crate) async fn started(store: &dyn Store) -> Box<dyn Feed> {
    let mut feed = store.feed().unwrap();
    feed.start().await.unwrap();
    feed
}

/// The changes since the last poll, and the position.
pub(crate) async fn poll_at(feed: &mut Box<dyn Feed>) -> (Vec<Change>, Version) {
    match feed.poll().await.unwrap() {
        Polled::Changes {
            since,
            changes,
            position,
        } => {
            assert!(position.includes(&since.version), "{position} after {since}");
            for change in &changes {
                assert!(position.covers(change.origin), "{position} and {change:?}");
            }
            (changes, position)
        }
        other => panic!("{other:?}"),
    }
}

/// The changes since the last poll.
pub(crate) async fn poll(feed: &mut Box<dyn Feed>) -> Vec<Change> {
    poll_at(feed).await.0
}

/// Why the epoch ended at this poll.
pub(crate) async fn ended(feed: &mut Box<dyn Feed>) -> EpochReason {
    match feed.poll().await.unwrap() {
        Polled::NewEpoch { why, .. } => why,
        other => panic!("{other:?}"),
    }
}

/// The changes since the last poll as texts.
pub(crate) async fn told(feed: &mut Box<dyn Feed>) -> Vec<String> {
    poll(feed)
        .await
        .iter()
        .map(|change| text(&change.event))
        .collect()
}

/// Runs statements as another program, and tells what the feed makes of them.
pub(crate) async fn after(fixture: &Fixture, feed: &mut Box<dyn Feed>, sql: &str) -> Vec<String> {
    fixture.execute(sql).await;
    told(feed).await
}

/// Code, name, status, `!` when deleted softly, tags.
pub(crate) fn image(image: &Image) -> String {
    format!(
        "{} {} {}{}{}",
        image.code,
        image.name,
        image.status.as_deref().unwrap_or("-"),
        if image.deleted { "!" } else { "" },
        image
            .tags
            .as_ref()
            .map_or("?".to_owned(), |tags| serde_json::to_string(tags).unwrap())
    )
}

/// An event in short; a CI's neighbours by their number.
pub(crate) fn text(event: &Event) -> String {
    match event {
        Event::Ci(ci) => {
            let side = |side: &Option<Image>| side.as_ref().map_or("none".to_owned(), image);
            let number = |id: &CiId| (id.0.as_u128() & 0xffff_ffff_ffff).to_string();
            let around = ci.neighbours.as_ref().map_or("?".to_owned(), |ids| {
                ids.iter().map(number).collect::<Vec<_>>().join(" ")
            });
            format!("{}: {} > {} [{around}]", ci.tenant, side(&ci.old), side(&ci.new))
        }
        Event::Relation(relation) => {
            let side = |side: &Option<ci_model::RelationImage>| {
                side.as_ref().map_or("none".to_owned(), |r| {
                    format!(
                        "{} {} {}",
                        r.from.0.as_u128() & 0xff,
                        r.rel_type,
                        r.to.0.as_u128() & 0xff
                    )
                })
            };
            format!(
                "{}: {} > {}",
                relation.tenant,
                side(&relation.old),
                side(&relation.new)
            )
        }
        Event::Tenant(tenant) => format!("{tenant}: anything"),
        Event::Everything => "everything".to_owned(),
    }
}
