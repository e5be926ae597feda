//! The image in a change is the image of the row: for any draft, on both databases.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod feeding;

use std::collections::BTreeMap;

use ci_model::{CiDraft, CiId, Event, Filter, Get, Image, Search};
use ci_store::{OnRejection, WriteOptions};
use ci_tests::fixture::on_both;
use feeding::{acme, id, insert, poll, started, tag};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

fn value() -> impl Strategy<Value = serde_json::Value> {
    let scalar = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i32>().prop_map(Into::into),
        (-1_000_000_i32..1_000_000).prop_map(|n| (f64::from(n) / 64.0).into()),
        "[^\\x00]{0,12}".prop_map(Into::into),
    ];
    scalar.prop_recursive(2, 6, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(Into::into),
            proptest::collection::btree_map("[^\\x00]{1,6}", inner, 0..3)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

fn document() -> impl Strategy<Value = Option<ci_model::Document>> {
    proptest::option::of(
        proptest::collection::btree_map("[^\\x00]{1,8}", value(), 0..4)
            .prop_map(|map| map.into_iter().collect()),
    )
}

fn draft() -> impl Strategy<Value = CiDraft> {
    let text = || proptest::option::of("\\PC{0,16}");
    let moment = || proptest::option::of(-62_135_596_800_000_000_i64..253_402_207_200_000_000);
    let texts = (text(), text(), text(), text(), text());
    (
        "[a-dÄß%_\\\\]{1,3}",
        "\\PC{1,24}",
        "[A-Z]{1,4}",
        texts,
        (moment(), moment(), moment()),
        0_i64..6,
        document(),
        document(),
    )
        .prop_map(
            |(code, name, ci_type, texts, moments, criticality, tags, attributes)| {
                let moment = |micros: Option<i64>| {
                    micros.and_then(|micros| ci_model::Timestamp::from_micros(micros).ok())
                };
                CiDraft {
                    ci_subtype: texts.0,
                    ci_category: texts.1,
                    status: texts.2,
                    location: texts.3,
                    owner: texts.4,
                    criticality: (criticality > 0).then_some(criticality),
                    created_at: moment(moments.0),
                    updated_at: moment(moments.1),
                    deleted_at: moment(moments.2),
                    tags,
                    attributes,
                    ..CiDraft::new(code, name, ci_type)
                }
            },
        )
}

#[tokio::test]
async fn the_image_of_a_change_is_the_image_of_the_row() {
    let rounds = if std::env::var_os("CI_CACHE_TEST_LONG").is_some() {
        300
    } else {
        12
    };
    on_both(async |fixture| {
        let store = fixture.open().await;
        let mut feed = started(&*store).await;
        let mut runner = TestRunner::deterministic();
        let mut images: BTreeMap<CiId, Image> = BTreeMap::new();
        for _ in 0..rounds {
            let drafts = proptest::collection::vec(draft(), 1..40)
                .new_tree(&mut runner)
                .unwrap()
                .current();
            let records = drafts
                .into_iter()
                .filter_map(|draft| draft.check(&acme()).ok())
                .collect();
            let options = WriteOptions::default().on_rejection(OnRejection::Skip);
            store.upsert_cis(records, options).await.unwrap();
            for change in poll(&mut feed).await {
                let Event::Ci(ci) = change.event else {
                    panic!("a CI: {change:?}")
                };
                assert_eq!(images.get(&ci.id), ci.old.as_ref(), "one image follows the other");
                match ci.new {
                    Some(image) => images.insert(ci.id, image),
                    None => images.remove(&ci.id),
                };
            }
        }
        let ids: Vec<CiId> = images.keys().copied().collect();
        assert!(ids.len() > 50, "{}", ids.len());
        let mut snapshot = store.snapshot().await.unwrap();
        for ids in ids.chunks(500) {
            let gets: Vec<Get> = ids.iter().map(|id| Get::new(*id).include_deleted(true)).collect();
            let rows = snapshot.get_many(&acme(), &gets).await.unwrap();
            for (id, row) in ids.iter().zip(rows) {
                assert_eq!(images[id], Image::from(&row.unwrap()));
            }
        }
        drop(snapshot);
        store.close().await;
    })
    .await;
}

/// Documents as only another program writes them, and filters by `tags.x`.
const ODD: [&str; 18] = [
    r#"{"x": 0.99999999999999999999}"#,
    r#"{"x": 1.00000000000000000001}"#,
    r#"{"x": 9007199254740993.0}"#,
    r#"{"x": 9007199254740992.5}"#,
    r#"{"x": 1.0}"#,
    r#"{"x": 1E0}"#,
    r#"{"x": -0.0}"#,
    r#"{"x": -0}"#,
    r#"{"x": 18446744073709551616}"#,
    r#"{"x": 1e300}"#,
    r#"{"x": "one", "x": "two"}"#,
    r#"{"x": "one", "x": null}"#,
    r#"{"x": {"y": 1}, "x": "two"}"#,
    r#"{"x": {"y": "one", "y": "two"}}"#,
    r#"{"\u0078": "one"}"#,
    r#"{"x": "\u006fne"}"#,
    r#"{"x": ["one"], "y": {"x": "two"}}"#,
    r#"{"x\"": "one", "x": 18446744073709551615}"#,
];
const FILTERS: [&str; 15] = [
    "tags.x=1",
    "tags.x!=1",
    "tags.x=0",
    "tags.x=0.99999999999999999999",
    "tags.x=1.00000000000000000001",
    "tags.x=9007199254740993",
    "tags.x=9007199254740992",
    "tags.x=18446744073709551616",
    "tags.x=18446744073709551615",
    "tags.x=one",
    "tags.x=two",
    "tags.x.y=one",
    "tags.x.y=two",
    "tags.x exists",
    "tags.x exists false",
];

#[tokio::test]
async fn what_the_database_finds_in_a_document_its_image_may_have() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let mut feed = started(&*store).await;
        for (n, tags) in (1..).zip(ODD) {
            fixture
                .execute(&format!("DELETE FROM ci; {}{}", insert("acme", n), tag(n, tags)))
                .await;
            let changes = poll(&mut feed).await;
            let mut images = changes.iter().filter_map(|change| match &change.event {
                Event::Ci(ci) if ci.id == id(n) => ci.new.as_ref(),
                _ => None,
            });
            let image = images.next_back().unwrap();
            for text in FILTERS {
                let filter = Filter::parse(text).unwrap();
                let may = filter.matches(image) || image.tags.is_none();
                let search = Search::builder().filter(filter).build().unwrap();
                let mut snapshot = store.snapshot().await.unwrap();
                let found = snapshot.search(&acme(), &search).await.unwrap();
                let exact = image.tags.as_ref().and_then(|tags| tags.get("x"));
                let may = may || exact.is_some_and(serde_json::Value::is_f64);
                assert!(found.is_empty() || may, "{text} of {tags}: {image:?}");
            }
        }
        store.close().await;
    })
    .await;
}
