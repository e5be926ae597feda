//! What a feed cannot know it says: epochs end, gaps are gaps, and blindness is no silence.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

mod feeding;

use std::time::Duration;

use ci_store::{BlindReason, EpochReason, Polled, StoreOptions};
use ci_tests::fixture::{Fixture, on_both};
use feeding::{after, ended, insert, poll, poll_at, started, tag, told};

/// Switches one of our triggers off, on, and away.
fn triggers(fixture: &Fixture) -> [&'static str; 2] {
    if fixture.is_sqlite() {
        [
            "DROP TRIGGER ci_change_insert",
            "DROP TRIGGER ci_change_ext_delete",
        ]
    } else {
        [
            "ALTER TABLE ci DISABLE TRIGGER \"CI_change_rows\"",
            "DROP TRIGGER \"CI_change_rows\" ON ci_ext",
        ]
    }
}

#[tokio::test]
async fn without_its_triggers_a_feed_is_blind_until_the_store_makes_them_again() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        for change in triggers(fixture) {
            let mut feed = started(&*store).await;
            let first = feed.start().await.unwrap();
            fixture.execute(change).await;
            for _ in 0..2 {
                let blind = Polled::Blind {
                    why: BlindReason::Triggers,
                };
                assert_eq!(feed.poll().await.unwrap(), blind);
            }
            assert!(store.feed().unwrap().start().await.is_err());
            fixture.open().await.close().await;
            let Polled::NewEpoch { why, epoch, position } = feed.poll().await.unwrap() else {
                panic!("the triggers are back")
            };
            assert_eq!(why, EpochReason::Schema);
            assert_ne!(epoch, first.epoch);
            let again = store.feed().unwrap().start().await.unwrap();
            assert_eq!(again.epoch, epoch);
            assert!(again.position.includes(&position));
            assert_eq!(told(&mut feed).await, [""; 0]);
            fixture.execute("DELETE FROM ci").await;
            assert_eq!(
                after(fixture, &mut feed, &insert("acme", 1)).await,
                ["acme: none > c-1 name -{} []"]
            );
            fixture.execute("DELETE FROM ci").await;
        }
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn triggers_off_and_on_in_one_transaction_end_the_epoch() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let mut feed = started(&*store).await;
        let (off, on) = if fixture.is_sqlite() {
            let of = "SELECT sql FROM sqlite_schema WHERE name = 'ci_change_insert'";
            (
                "DROP TRIGGER ci_change_insert".to_owned(),
                fixture.texts(of).await.remove(0),
            )
        } else {
            (
                "ALTER TABLE ci DISABLE TRIGGER ALL".to_owned(),
                "ALTER TABLE ci ENABLE TRIGGER ALL; ALTER TABLE ci ENABLE ALWAYS TRIGGER \"CI_change_rows\", ENABLE ALWAYS TRIGGER \"CI_change_truncate\""
                    .to_owned(),
            )
        };
        fixture
            .execute(&format!("BEGIN; {off}; {} {on}; COMMIT;", insert("acme", 1)))
            .await;
        assert_eq!(ended(&mut feed).await, EpochReason::Schema);
        assert_eq!(
            after(fixture, &mut feed, &tag(1, "{}")).await.len(),
            1
        );
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn tables_of_ours_that_are_gone_make_it_blind() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let mut feed = started(&*store).await;
        fixture.execute("ALTER TABLE ci_meta RENAME TO elsewhere").await;
        let blind = Polled::Blind {
            why: BlindReason::Tables,
        };
        assert_eq!(feed.poll().await.unwrap(), blind);
        fixture.execute("ALTER TABLE elsewhere RENAME TO ci_meta").await;
        assert_eq!(ended(&mut feed).await, EpochReason::Schema);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_table_that_inherits_from_ours_makes_it_blind() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    let mut feed = started(&*store).await;
    fixture.execute("CREATE TABLE more () INHERITS (ci)").await;
    let blind = Polled::Blind {
        why: BlindReason::Triggers,
    };
    assert_eq!(feed.poll().await.unwrap(), blind);
    assert!(store.feed().unwrap().start().await.is_err());
    fixture.execute("DROP TABLE more").await;
    assert_eq!(ended(&mut feed).await, EpochReason::Schema);
    store.close().await;
    fixture.finish().await;
}

/// A feed that was not blind, because it did not look meanwhile, must not go on as if nothing had been: what another program loaded meanwhile
/// is no answer of that epoch.
#[tokio::test]
async fn blindness_that_left_no_trace_ends_the_epoch_of_every_feed() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    let (mut blind, mut other) = (started(&*store).await, started(&*store).await);
    let first = other.bookmark().unwrap().1;
    fixture
        .execute("CREATE TABLE more () INHERITS (ci); ALTER TABLE more NO INHERIT ci")
        .await;
    assert_eq!(
        ended(&mut other).await,
        EpochReason::Schema,
        "nobody looked, and it is seen"
    );
    assert_eq!(ended(&mut blind).await, EpochReason::Restarted);
    // Then the catalogue is as it was in the beginning. The epoch's name is not.
    fixture.execute("ANALYZE ci").await;
    for feed in [&mut other, &mut blind] {
        let why = ended(feed).await;
        assert!(
            matches!(why, EpochReason::Schema | EpochReason::Restarted),
            "{why:?}"
        );
    }
    poll(&mut other).await;
    let mut late = store.feed().unwrap();
    late.resume(&first).unwrap();
    assert_eq!(ended(&mut late).await, EpochReason::Restarted);
    for _ in 0..2 {
        let bookmark = other.bookmark().unwrap().1;
        fixture.execute("ALTER TABLE more INHERIT ci").await;
        let why = BlindReason::Triggers;
        assert_eq!(blind.poll().await.unwrap(), Polled::Blind { why });
        fixture.execute("ALTER TABLE more NO INHERIT ci").await;
        assert_eq!(ended(&mut blind).await, EpochReason::Schema);
        assert_eq!(ended(&mut other).await, EpochReason::Restarted);
        let mut late = store.feed().unwrap();
        late.resume(&bookmark).unwrap();
        assert_eq!(ended(&mut late).await, EpochReason::Restarted);
        // Once is enough: what follows are changes.
        poll(&mut blind).await;
    }
    store.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn a_unique_index_that_the_triggers_do_not_know_makes_it_blind() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let mut feed = started(&*store).await;
    fixture.execute(&insert("acme", 1)).await;
    poll(&mut feed).await;
    fixture
        .execute("CREATE UNIQUE INDEX by_name ON ci (tenant_id, ci_name)")
        .await;
    let blind = Polled::Blind {
        why: BlindReason::Triggers,
    };
    assert_eq!(feed.poll().await.unwrap(), blind);
    fixture.open().await.close().await;
    assert_eq!(ended(&mut feed).await, EpochReason::Schema);
    // Both have the name, and nothing else, in common.
    let replace = insert("acme", 2).replace("INSERT", "INSERT OR REPLACE");
    let told = after(&fixture, &mut feed, &replace).await;
    assert!(
        told.iter()
            .any(|told| told.starts_with("acme: c-1 name") && told.contains("> none")),
        "{told:?}"
    );
    store.close().await;
}

#[tokio::test]
async fn changed_columns_end_the_epoch_because_no_trigger_sees_it() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    let mut feed = started(&*store).await;
    fixture
        .execute("ALTER TABLE ci ALTER COLUMN owner TYPE varchar(3) USING 'all'")
        .await;
    assert_eq!(ended(&mut feed).await, EpochReason::Schema);
    // Changes that nobody has read yet are gone.
    fixture.execute("TRUNCATE ci_change").await;
    assert_eq!(ended(&mut feed).await, EpochReason::Schema);
    store.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn what_is_forgotten_before_it_was_polled_is_a_gap_of_the_same_epoch() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        let mut feed = started(&*store).await;
        let mut late = store.feed().unwrap();
        let first = late.start().await.unwrap();
        for n in 1..6 {
            fixture.execute(&insert("acme", n)).await;
        }
        assert_eq!(poll(&mut feed).await.len(), 5);
        assert_eq!(
            store.retain(Duration::from_secs(3_600)).await.unwrap(),
            0,
            "they are young"
        );
        assert_eq!(told(&mut feed).await, [""; 0]);
        let mut gone = 0;
        // Transactions of other databases on the test's server hold them back for a while.
        while gone < 4 {
            gone += store.retain(Duration::ZERO).await.unwrap();
            fixture
                .execute("UPDATE ci SET owner = coalesce(owner, '') || 'x' WHERE ci_code = 'c-5'")
                .await;
            // Of a transaction that was in progress at the last poll, in another database too, nobody knows what is forgotten.
            feed.poll().await.unwrap();
        }
        let Polled::NewEpoch { why, epoch, position } = late.poll().await.unwrap() else {
            panic!("its changes are gone")
        };
        assert_eq!((why, epoch), (EpochReason::Gap, first.epoch));
        assert!(position.includes(&first.position));
        assert_eq!(
            after(fixture, &mut late, &insert("acme", 9)).await,
            ["acme: none > c-9 name -{} []"]
        );
        assert_eq!(told(&mut feed).await, ["acme: none > c-9 name -{} []"]);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn a_crash_ends_the_epoch_by_its_mark() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    let (mut feed, mut other) = (started(&*store).await, started(&*store).await);
    // What recovery does to unlogged tables.
    fixture.execute("TRUNCATE ci_alive").await;
    assert_eq!(ended(&mut feed).await, EpochReason::Restarted);
    assert_eq!(ended(&mut other).await, EpochReason::Restarted);
    let epochs = [
        feed.start().await.unwrap().epoch,
        other.start().await.unwrap().epoch,
    ];
    assert_eq!(epochs[0], epochs[1]);
    assert_eq!(told(&mut feed).await, [""; 0]);
    store.close().await;
    fixture.finish().await;
}

#[tokio::test]
async fn a_restored_backup_begins_another_history() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let (mut feed, mut other) = (store.feed().unwrap(), started(&*store).await);
    fixture.execute(&insert("acme", 1)).await;
    let first = feed.start().await.unwrap();
    poll(&mut other).await;
    // As the file is after a backup from before the last row was restored, and somebody wrote on.
    let restore = "DELETE FROM ci_change WHERE seq = (SELECT max(seq) FROM ci_change); DELETE FROM ci; \
                   UPDATE sqlite_sequence SET seq = (SELECT max(seq) FROM ci_change) WHERE name = 'ci_change'; ";
    fixture
        .execute(&(restore.to_owned() + &insert("acme", 2) + &insert("acme", 3)))
        .await;
    assert_eq!(ended(&mut feed).await, EpochReason::Rewound);
    assert_eq!(ended(&mut other).await, EpochReason::Rewound);
    let epochs = [
        feed.start().await.unwrap().epoch,
        other.start().await.unwrap().epoch,
    ];
    assert_ne!(epochs[0], first.epoch);
    poll(&mut feed).await;
    // Shorter than before, and with nothing new.
    fixture.execute(restore).await;
    assert!(matches!(
        feed.poll().await.unwrap(),
        Polled::NewEpoch {
            why: EpochReason::Rewound,
            ..
        }
    ));
    store.close().await;
}

#[tokio::test]
async fn a_backup_copied_over_the_file_begins_another_history() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    let mut feed = started(&*store).await;
    let file = fixture.address().strip_prefix("sqlite:").unwrap().to_owned();
    let backup = format!("{file}.backup");
    fixture.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
    std::fs::copy(&file, &backup).unwrap();
    assert_eq!(after(&fixture, &mut feed, &insert("acme", 1)).await.len(), 1);
    store.close().await;
    fixture.execute("PRAGMA wal_checkpoint(TRUNCATE)").await;
    let copied = std::fs::read(&backup).unwrap();
    std::fs::write(&file, copied).unwrap();
    let store = fixture.open().await;
    fixture.execute(&insert("acme", 2)).await;
    assert_eq!(ended(&mut feed).await, EpochReason::Rewound);
    assert_eq!(after(&fixture, &mut feed, &insert("acme", 3)).await.len(), 1);
    store.close().await;
}

#[tokio::test]
async fn a_copied_file_is_read_like_the_original() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    fixture.execute(&insert("acme", 1)).await;
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    fixture
        .execute(&format!("VACUUM INTO '{}'", copy.display()))
        .await;
    let address = format!("sqlite:{}", copy.display());
    let restored = ci_store::open(&address, &StoreOptions::default()).await.unwrap();
    let mut feed = started(&*restored).await;
    assert_eq!(told(&mut feed).await, [""; 0]);
    restored.close().await;
    store.close().await;
}

/// What the first version had not.
fn back_to_version_1(fixture: &Fixture, names: &[String]) -> String {
    let mut sql = String::new();
    if fixture.is_sqlite() {
        for name in names {
            sql += "DROP TRIGGER ";
            sql += name;
            sql += ";";
        }
        sql += "DROP TABLE ci_change;";
    } else {
        sql += "DROP FUNCTION ci_change_ci CASCADE; DROP FUNCTION ci_change_ext CASCADE; \
                DROP FUNCTION ci_change_relation CASCADE; DROP FUNCTION ci_change_all CASCADE; \
                DROP TABLE ci_change, ci_alive;";
    }
    sql + "UPDATE ci_meta SET value = '1' WHERE key = 'schema_version'"
}

#[tokio::test]
async fn a_database_of_the_first_version_gets_a_feed() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        fixture
            .execute(&(insert("acme", 1) + &tag(1, r#"{"a": 1}"#)))
            .await;
        store.close().await;
        let names = if fixture.is_sqlite() {
            fixture
                .texts("SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name GLOB 'ci_change*'")
                .await
        } else {
            Vec::new()
        };
        fixture.execute(&back_to_version_1(fixture, &names)).await;
        for version in ["1", "1"] {
            let store = fixture.open().await;
            let mut feed = started(&*store).await;
            let status = "UPDATE ci SET status = coalesce(status, '') || 'x'";
            let told = after(fixture, &mut feed, status).await;
            assert!(told[0].contains(r#"x{"a":1} [] "#.trim_end()), "{told:?}");
            store.close().await;
            // Again, on what is there already.
            let set = format!("UPDATE ci_meta SET value = '{version}' WHERE key = 'schema_version'");
            fixture.execute(&set).await;
        }
    })
    .await;
}

#[tokio::test]
async fn adopted_tables_tell_their_changes_and_refuse_nobody() {
    on_both(async |fixture| {
        let (id, document) = if fixture.is_sqlite() { ("VARCHAR(36)", "TEXT") } else { ("uuid", "jsonb") };
        fixture
            .execute(&format!(
                "CREATE TABLE ci (ci_id {id} PRIMARY KEY, tenant_id VARCHAR(64), ci_type VARCHAR(32), \
                 ci_code VARCHAR(255) UNIQUE, ci_name VARCHAR(500), documents TEXT, changed TEXT, \"before\" TEXT); \
                 CREATE TABLE ci_ext (ci_id {id} PRIMARY KEY, tags {document}, attributes {document}, same TEXT);"
            ))
            .await;
        let store = fixture.open().await;
        let mut feed = started(&*store).await;
        let told = after(fixture, &mut feed, &insert("acme", 1)).await;
        assert_eq!(told[0], "acme: none > c-1 name -{} []");
        let nothing = tag(1, "").replace("''", "NULL").replace("'{}'", "NULL");
        assert_eq!(after(fixture, &mut feed, &nothing).await, ["acme: c-1 name -{} > c-1 name -{} []"]);
        if fixture.is_sqlite() {
            // The code is unique for all tenants there, so another tenant's row goes.
            let replace = insert("other", 2).replace("INSERT", "INSERT OR REPLACE").replace("c-2", "c-1");
            let told = after(fixture, &mut feed, &replace).await;
            assert!(told.iter().any(|told| told.starts_with("acme: c-1 name")), "{told:?}");
        }
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn documents_by_an_id_in_another_case_are_told_where_they_are_found() {
    let fixture = Fixture::sqlite();
    fixture
        .execute("CREATE TABLE ci_ext (ci_id TEXT COLLATE NOCASE PRIMARY KEY, tags TEXT, attributes TEXT)")
        .await;
    let store = fixture.open().await;
    let mut feed = started(&*store).await;
    after(&fixture, &mut feed, &insert("acme", 0xab)).await;
    let upper = |sql: String| sql.replace("0000000000ab", "0000000000AB");
    let told = after(&fixture, &mut feed, &upper(tag(0xab, r#"{"a": 1}"#))).await;
    assert_eq!(told, [r#"acme: c-171 name -{} > c-171 name -{"a":1} []"#]);
    let told = after(&fixture, &mut feed, r#"UPDATE ci_ext SET tags = '{"a": 2}'"#).await;
    assert_eq!(told, [r#"acme: c-171 name -{"a":1} > c-171 name -{"a":2} []"#]);
    let replace = tag(0xab, r#"{"a": 3}"#).replace("INSERT", "INSERT OR REPLACE");
    let told = after(&fixture, &mut feed, &replace).await;
    assert!(
        told.iter().any(|told| told.contains(r#"-{"a":2} > "#)),
        "{told:?}"
    );
    assert!(
        told.iter().any(|told| told.contains(r#"> c-171 name -{"a":3}"#)),
        "{told:?}"
    );
    let told = after(&fixture, &mut feed, "DELETE FROM ci_ext").await;
    assert_eq!(told, [r#"acme: c-171 name -{"a":3} > c-171 name -{} []"#]);
    store.close().await;
}

#[tokio::test]
async fn waiting_ends_when_somebody_commits() {
    on_both(async |fixture| {
        let store = fixture.open_with(&StoreOptions::default().doorbell(true)).await;
        let mut feed = started(&*store).await;
        // The first one connects, and may have missed something.
        feed.wait(Duration::from_secs(600)).await;
        fixture.execute(&insert("acme", 1)).await;
        store.ring().await;
        feed.wait(Duration::from_secs(600)).await;
        assert_eq!(told(&mut feed).await.len(), 1);
        let (changes, _) = poll_at(&mut feed).await;
        assert!(changes.is_empty());
        store.close().await;
    })
    .await;
}
