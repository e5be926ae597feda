//! Every kind of change, made by another program, is told with the row before and after it.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod feeding;

use ci_model::{Event, Origin};
use ci_store::{POLL_CHANGES, StoreOptions};
use ci_tests::fixture::{Fixture, on_both};
use feeding::{acme, after, id, insert, poll, poll_at, relate, started, tag, told};

/// The tags of a row that left: in PostgreSQL another transaction may have changed them, so they are not told.
fn left<'a>(fixture: &Fixture, tags: &'a str) -> &'a str {
    if fixture.is_sqlite() { tags } else { "?" }
}

#[tokio::test]
async fn rows_documents_and_relations_are_told_as_they_were_and_are() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let mut feed = started(&*store).await;
        let mut tell = async |sql: &str| after(fixture, &mut feed, sql).await;
        assert_eq!(tell(&insert("acme", 1)).await, ["acme: none > c-1 name -{} []"]);
        assert_eq!(
            tell(&tag(1, r#"{"a": 1}"#)).await,
            [r#"acme: c-1 name -{} > c-1 name -{"a":1} []"#]
        );
        let of = |column: &str| format!("UPDATE ci SET {column} WHERE ci_code = 'c-1'");
        assert_eq!(
            tell(&of("status = 'up'")).await,
            [r#"acme: c-1 name -{"a":1} > c-1 name up{"a":1} []"#]
        );
        assert_eq!(tell(&of("status = 'up'")).await, [""; 0], "nothing differs");
        let tags = r#"UPDATE ci_ext SET tags = '{"a": 2}'"#;
        assert_eq!(
            tell(tags).await,
            [r#"acme: c-1 name up{"a":1} > c-1 name up{"a":2} []"#]
        );
        assert_eq!(tell(tags).await, [""; 0]);
        tell(&insert("acme", 2)).await;
        assert_eq!(tell(&relate(1, 2)).await, ["acme: none > 1 R 2"]);
        assert_eq!(
            tell("UPDATE ci_relation SET rel_type = 'S'").await,
            ["acme: 1 R 2 > 1 S 2"]
        );
        let soft = of("deleted_at = '2026-01-01 00:00:00.000000Z'");
        let gone = tell(&soft).await;
        assert_eq!(
            gone[0], r#"acme: c-1 name up{"a":2} > c-1 name up!{"a":2} [2]"#,
            "{gone:?}"
        );
        assert_eq!(
            tell(&of("deleted_at = NULL")).await,
            [r#"acme: c-1 name up!{"a":2} > c-1 name up{"a":2} [2]"#]
        );
        assert_eq!(
            tell(&of("ci_code = 'x-1'")).await,
            [r#"acme: c-1 name up{"a":2} > x-1 name up{"a":2} [2]"#]
        );
        assert_eq!(tell("DELETE FROM ci_relation").await, ["acme: 1 S 2 > none"]);
        assert_eq!(
            tell("DELETE FROM ci_ext").await,
            [r#"acme: x-1 name up{"a":2} > x-1 name up{} []"#]
        );
        assert_eq!(
            tell("DELETE FROM ci WHERE ci_code = 'x-1'").await,
            [format!("acme: x-1 name up{} > none []", left(fixture, "{}"))]
        );
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_move_is_a_going_and_a_coming() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let mut feed = started(&*store).await;
        after(fixture, &mut feed, &(insert("acme", 1) + &tag(1, r#"{"a": 1}"#))).await;
        assert_eq!(
            after(fixture, &mut feed, "UPDATE ci SET tenant_id = 'other'").await,
            [
                format!("acme: c-1 name -{} > none []", left(fixture, r#"{"a":1}"#)),
                r#"other: none > c-1 name -{"a":1} []"#.to_owned()
            ]
        );
        after(fixture, &mut feed, "DELETE FROM ci_ext").await;
        let moved = format!("UPDATE ci SET ci_id = '{}'", id(2));
        let told = after(fixture, &mut feed, &moved).await;
        assert_eq!(
            told,
            [
                format!("other: c-1 name -{} > none []", left(fixture, "{}")),
                "other: none > c-1 name -{} []".to_owned()
            ]
        );
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_cascade_tells_the_documents_that_were_there() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let mut feed = started(&*store).await;
        let world = [
            insert("acme", 1),
            tag(1, r#"{"a": 1}"#),
            insert("acme", 2),
            tag(2, r#"{"b": 1}"#),
            relate(1, 2),
        ];
        after(fixture, &mut feed, &world.concat()).await;
        let mut told = after(fixture, &mut feed, "DELETE FROM ci").await;
        told.sort();
        assert_eq!(
            told,
            [
                "acme: 1 R 2 > none".to_owned(),
                format!("acme: c-1 name -{} > none []", left(fixture, r#"{"a":1}"#)),
                format!("acme: c-2 name -{} > none []", left(fixture, r#"{"b":1}"#))
            ]
        );
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn many_neighbours_are_unknown_ones() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let mut feed = started(&*store).await;
        let mut world = insert("acme", 1);
        (2..=258).for_each(|n| world += &(insert("acme", n) + &relate(1, n)));
        fixture.execute(&world).await;
        poll(&mut feed).await;
        let around = async |sql: &str, feed: &mut Box<dyn ci_store::Feed>| {
            fixture.execute(sql).await;
            let mut changes = poll(feed).await;
            let Event::Ci(ci) = changes.remove(0).event else {
                panic!("a CI")
            };
            ci.neighbours.map(|ids| ids.len())
        };
        assert_eq!(
            around("UPDATE ci SET ci_code = 'x' WHERE ci_code = 'c-1'", &mut feed).await,
            None
        );
        fixture
            .execute(&format!("DELETE FROM ci_relation WHERE to_id = '{}'", id(258)))
            .await;
        poll(&mut feed).await;
        assert_eq!(
            around("UPDATE ci SET ci_code = 'y' WHERE ci_code = 'x'", &mut feed).await,
            Some(256)
        );
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_store_write_is_told_and_one_that_changes_nothing_is_not() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let mut feed = started(&*store).await;
        let write = async |name: &str| {
            let draft = ci_model::CiDraft::new("c", name, "SW").check(&acme()).unwrap();
            store
                .upsert_cis(vec![draft], ci_store::WriteOptions::default())
                .await
                .unwrap();
        };
        write("one").await;
        let first = told(&mut feed).await;
        assert_eq!(first[0], "acme: none > c one -{} []");
        write("one").await;
        assert_eq!(told(&mut feed).await, [""; 0]);
        write("two").await;
        assert_eq!(told(&mut feed).await, ["acme: c one -{} > c two -{} []"]);
        let relate = || {
            ci_model::RelationDraft::new("c", "R", "d")
                .check(&acme())
                .unwrap()
        };
        let other = ci_model::CiDraft::new("d", "d", "SW").check(&acme()).unwrap();
        store
            .upsert_cis(vec![other], ci_store::WriteOptions::default())
            .await
            .unwrap();
        store
            .upsert_relations(vec![relate()], ci_store::WriteOptions::default())
            .await
            .unwrap();
        poll(&mut feed).await;
        store
            .upsert_relations(vec![relate()], ci_store::WriteOptions::default())
            .await
            .unwrap();
        assert_eq!(told(&mut feed).await, [""; 0]);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn rolled_back_work_is_never_told_and_savepoints_are_told_by_what_is_left() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let mut feed = started(&*store).await;
        let tell = async |feed: &mut Box<dyn ci_store::Feed>, sql: &str| after(fixture, feed, sql).await;
        assert_eq!(
            tell(&mut feed, &format!("BEGIN; {} ROLLBACK;", insert("acme", 1))).await,
            [""; 0]
        );
        let partly = format!(
            "BEGIN; {} SAVEPOINT a; {} ROLLBACK TO a; {} RELEASE a; COMMIT;",
            insert("acme", 1),
            insert("acme", 2),
            insert("acme", 3)
        );
        assert_eq!(
            tell(&mut feed, &partly).await,
            ["acme: none > c-1 name -{} []", "acme: none > c-3 name -{} []"]
        );
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn truncation_is_everything() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    let mut feed = started(&*store).await;
    after(&fixture, &mut feed, &(insert("acme", 1) + &tag(1, "{}"))).await;
    for table in ["ci_ext", "ci_relation", "ci CASCADE"] {
        let told = after(&fixture, &mut feed, &format!("TRUNCATE {table}")).await;
        assert!(told.contains(&"everything".to_owned()), "{told:?}");
    }
    store.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn what_replace_displaces_is_told() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let mut feed = started(&*store).await;
    after(
        &fixture,
        &mut feed,
        &(insert("acme", 1) + &tag(1, r#"{"a": 1}"#) + &insert("acme", 2)),
    )
    .await;
    let replace = |n: u64, code: &str| {
        format!(
            "INSERT OR REPLACE INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type) \
             VALUES ('{}', 'acme', '{code}', 'new', 'SW')",
            id(n)
        )
    };
    // The id of one and the code of the other: both rows go.
    let told = after(&fixture, &mut feed, &replace(1, "c-2")).await;
    let goes = |code: &str| {
        told.iter()
            .any(|told| told.starts_with(&format!("acme: {code} name")))
    };
    assert!(
        goes("c-1") && goes("c-2") && told.iter().any(|told| told.contains("> c-2 new")),
        "{told:?}"
    );
    let supplant = "UPDATE OR REPLACE ci SET ci_code = 'c-2' WHERE ci_code = 'c-3'";
    after(&fixture, &mut feed, &insert("acme", 3)).await;
    let told = after(&fixture, &mut feed, supplant).await;
    assert!(
        told.iter().any(|told| told.starts_with("acme: c-2 new")),
        "{told:?}"
    );
    let documents = format!(
        "INSERT OR REPLACE INTO ci_ext (ci_id, tags) VALUES ('{}', '{{\"b\": 2}}')",
        id(3)
    );
    after(&fixture, &mut feed, &documents).await;
    let told = after(&fixture, &mut feed, &documents.replace('2', "4")).await;
    assert!(told.iter().any(|told| told.contains(r#"{"b":2}"#)), "{told:?}");
    assert!(told.iter().any(|told| told.contains(r#"{"b":4}"#)), "{told:?}");
    // Dangling rows, as a program without foreign keys leaves them, are nobody's.
    let dangling = format!("PRAGMA foreign_keys = off; DELETE FROM ci; {}", tag(9, "{}"));
    let told = after(&fixture, &mut feed, &dangling).await;
    assert!(told.iter().all(|told| told.contains("c-2 name")), "{told:?}");
    store.close().await;
}

#[tokio::test]
async fn a_relation_to_what_is_no_id_hides_no_neighbour() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let mut feed = started(&*store).await;
    after(
        &fixture,
        &mut feed,
        &(insert("acme", 1) + &insert("acme", 2) + &relate(1, 2)),
    )
    .await;
    for no_id in ["x'61'", "x'ff'"] {
        let dangling = relate(1, 2).replace(&format!("'{}')", id(2)), &format!("{no_id})"));
        let told = after(
            &fixture,
            &mut feed,
            &format!("PRAGMA foreign_keys = off; {dangling}"),
        )
        .await;
        assert_eq!(told, ["acme: anything"], "{dangling}");
        for moment in ["'2026-01-01 00:00:00.000000Z'", "NULL"] {
            let told = after(
                &fixture,
                &mut feed,
                &format!("UPDATE ci SET deleted_at = {moment} WHERE ci_code = 'c-1'"),
            )
            .await;
            assert!(told[0].ends_with("[2]") || told[0].ends_with("[?]"), "{told:?}");
        }
    }
    store.close().await;
}

#[tokio::test]
async fn what_replace_displaces_by_the_number_of_a_row_is_told() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let mut feed = started(&*store).await;
    after(&fixture, &mut feed, &(insert("acme", 1) + &insert("acme", 2))).await;
    let replace = insert("acme", 3).replace("INSERT INTO ci (", "INSERT OR REPLACE INTO ci (rowid, ");
    let told = after(&fixture, &mut feed, &replace.replace("VALUES (", "VALUES (1, ")).await;
    assert_eq!(
        told,
        ["acme: c-1 name -{} > none []", "acme: none > c-3 name -{} []"]
    );
    let supplant = "UPDATE OR REPLACE ci SET rowid = 1 WHERE ci_code = 'c-2'";
    let told = after(&fixture, &mut feed, supplant).await;
    assert_eq!(told, ["acme: c-3 name -{} > none []"]);
    store.close().await;
}

#[tokio::test]
async fn moments_that_are_brought_into_form_are_told_in_form() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let mut feed = started(&*store).await;
    fixture
        .execute(
            &insert("acme", 1)
                .replace("ci_type)", "ci_type, created_at)")
                .replace("'SW')", "'SW', '2026-01-31 08:00:00')"),
        )
        .await;
    let last = poll(&mut feed).await.pop().unwrap();
    let Event::Ci(ci) = last.event else { panic!("a CI") };
    assert_eq!(
        ci.new.unwrap().created_at.unwrap().to_string(),
        "2026-01-31T08:00:00.000000Z"
    );
    store.close().await;
}

#[tokio::test]
async fn what_cannot_be_told_is_anything_of_its_tenant() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let mut feed = started(&*store).await;
        // Documents that are too large for a change are unknown, and so is a row that is.
        let large = format!(
            r#"{{"a": "{}"}}"#,
            (0..3_000_u32)
                .map(|n| (n * 7_919).to_string())
                .collect::<Vec<_>>()
                .concat()
        );
        after(fixture, &mut feed, &insert("acme", 1)).await;
        assert_eq!(
            after(fixture, &mut feed, &tag(1, &large)).await,
            ["acme: c-1 name -{} > c-1 name -? []"]
        );
        // Nobody can ask for a tenant of this name.
        assert_eq!(after(fixture, &mut feed, &insert(" ", 2)).await, [""; 0]);
        if !fixture.is_sqlite() {
            let name = "(SELECT string_agg(md5(n::text), '') FROM generate_series(1, 3000) AS n)";
            let told = after(
                fixture,
                &mut feed,
                &format!("UPDATE ci SET ci_name = {name} WHERE ci_code = 'c-1'"),
            )
            .await;
            assert_eq!(told, ["acme: anything"]);
            fixture.execute("UPDATE ci SET ci_name = 'n'").await;
            poll(&mut feed).await;
            let infinite = "UPDATE ci SET created_at = '-infinity', updated_at = 'infinity'";
            fixture.execute(infinite).await;
            let told = told_moments(&poll(&mut feed).await);
            assert_eq!(told, [(None, None)]);
        }
        store.close().await;
    })
    .await;
}

type Moment = Option<ci_model::Timestamp>;

fn told_moments(changes: &[ci_model::Change]) -> Vec<(Moment, Moment)> {
    let new = changes.iter().filter_map(|change| match &change.event {
        Event::Ci(ci) => ci.new.as_ref(),
        _ => None,
    });
    new.map(|image| (image.created_at, image.updated_at)).collect()
}

#[tokio::test]
async fn many_changes_are_told_by_tenant() {
    on_both(async |fixture| {
        let store = fixture.open_with(&StoreOptions::default()).await;
        let mut feed = started(&*store).await;
        let rows = POLL_CHANGES + 1;
        let sql = if fixture.is_sqlite() {
            format!(
                "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {rows}) \
                 INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type) \
                 SELECT printf('00000000-0000-4000-8000-%012x', n), 'acme', 'b-' || n, 'bulk', 'SW' FROM n;"
            )
        } else {
            format!(
                "INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type) \
                 SELECT ('00000000-0000-4000-8000-' || lpad(to_hex(n), 12, '0'))::uuid, 'acme', 'b-' || n, 'bulk', 'SW' \
                 FROM generate_series(1, {rows}) AS n;"
            )
        };
        fixture.execute(&(sql + &insert("other", 90_001))).await;
        let (changes, position) = poll_at(&mut feed).await;
        let mut tenants: Vec<String> = changes.iter().map(|change| feeding::text(&change.event)).collect();
        tenants.sort();
        assert_eq!(tenants, ["acme: anything", "other: anything"]);
        if fixture.is_sqlite() {
            assert!(changes.iter().any(|change| change.origin == Origin::Sequence(rows as u64 + 1)), "{position}");
        }
        assert_eq!(told(&mut feed).await, [""; 0]);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_snapshot_knows_its_version_and_a_path_what_it_came_by() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let world = [
            insert("acme", 1),
            insert("acme", 2),
            insert("acme", 3),
            insert("acme", 4),
            relate(1, 2),
            relate(2, 3),
        ];
        fixture.execute(&world.concat()).await;
        let mut feed = store.feed().unwrap();
        let start = feed.start().await.unwrap();
        let mut snapshot = store.snapshot().await.unwrap();
        fixture.execute(&insert("acme", 5)).await;
        let (epoch, version) = snapshot.version().await.unwrap().unwrap();
        assert_eq!(snapshot.statements(), 0);
        let (changes, position) = poll_at(&mut feed).await;
        assert!(!start.position.covers(changes[0].origin) && position > start.position);
        assert!(!version.covers(changes[0].origin) && version.includes(&start.position));
        assert_eq!(epoch, start.epoch);
        let path = |to: u64| ci_model::Path::builder(id(1), id(to)).build().unwrap();
        for (to, expected) in [
            (3, &[1, 2, 3][..]),
            (2, &[1, 2]),
            (1, &[1]),
            (4, &[1, 2, 3, 4]),
            (9, &[1]),
        ] {
            let mut visited = snapshot.path(&acme(), &path(to)).await.unwrap().visited.unwrap();
            visited.sort();
            let all: Vec<_> = expected.iter().map(|n| id(*n)).collect();
            assert!(visited.iter().all(|ci| all.contains(ci)), "to {to}: {visited:?}");
            assert!(visited.contains(&id(1)), "to {to}");
        }
        drop(snapshot);
        let mut snapshot = store.snapshot().await.unwrap();
        let (epoch, version) = snapshot.version().await.unwrap().unwrap();
        assert!(version.includes(&position) && version.covers(changes[0].origin) && epoch == start.epoch);
        drop(snapshot);
        store.close().await;
    })
    .await;
}
