//! A database that the predecessor made is adopted with every row; one that cannot be used is told precisely.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::sync::Arc;

use ci_model::{CiCode, Filter, Get, Search, SearchBuilder, TenantId};
use ci_store::{Error, StoreOptions};
use ci_tests::fixture::{Fixture, on_both};
use ci_tests::store_contract::world::{seeded, tenant};
use ci_tests::store_contract::{World, questions, reference};

/// The predecessor's tables, as a Python program made them.
fn ancestor(sqlite: bool) -> String {
    let (id, moment, document) = if sqlite {
        ("VARCHAR(36)", "TIMESTAMP", "TEXT")
    } else {
        ("uuid", "timestamptz", "jsonb")
    };
    format!(
        "CREATE TABLE ci (ci_id {id} PRIMARY KEY, tenant_id VARCHAR(64), ci_type VARCHAR(32), ci_subtype VARCHAR(32), \
         ci_code VARCHAR(255) UNIQUE, ci_name VARCHAR(500), ci_category VARCHAR(64), status VARCHAR(32), \
         criticality INTEGER, location VARCHAR(200), owner VARCHAR(200), created_at {moment} DEFAULT CURRENT_TIMESTAMP, \
         updated_at {moment}, deleted_at {moment}); \
         CREATE TABLE ci_ext (ci_id {id} PRIMARY KEY REFERENCES ci (ci_id), attributes {document}, tags {document}, \
         updated_at {moment} DEFAULT CURRENT_TIMESTAMP);"
    )
}

#[tokio::test]
async fn an_ancestors_database_keeps_its_rows_and_answers_like_our_own() {
    let mut world = World::random(21, 150, 0);
    world.cis.dedup_by(|a, b| a.summary.ci_code == b.summary.ci_code);
    on_both(async |fixture| {
        fixture.execute(&ancestor(fixture.is_sqlite())).await;
        fixture.execute(&world.sql(fixture.is_sqlite())).await;
        let store = fixture.open().await;
        let mut snapshot = store.snapshot().await.unwrap();
        let mut random = seeded(22);
        for _ in 0..300 {
            let question = questions::search(&mut random, &world);
            let answer = snapshot.search(&tenant(), &question).await.unwrap();
            assert_eq!(
                answer,
                reference::search(&world, &question),
                "{question:?} on {}",
                store.backend()
            );
        }
        let ours: Vec<_> = world
            .cis
            .iter()
            .filter(|ci| ci.tenant_id == tenant())
            .cloned()
            .collect();
        let gets: Vec<Get> = ours
            .iter()
            .map(|ci| Get::new(ci.summary.ci_id).include_deleted(true))
            .collect();
        let got = snapshot.get_many(&tenant(), &gets).await.unwrap();
        assert_eq!(got.into_iter().flatten().collect::<Vec<_>>(), ours);
        drop(snapshot);
        store.close().await;
    })
    .await;
}

#[tokio::test]
async fn columns_that_know_no_case_are_compared_and_sorted_by_their_bytes() {
    let fixture = Fixture::sqlite();
    let text = |name: &str| format!("{name} TEXT COLLATE NOCASE");
    let columns = ["tenant_id", "ci_type", "ci_code", "ci_name", "owner"]
        .map(text)
        .join(", ");
    fixture
        .execute(&format!("CREATE TABLE ci (ci_id TEXT PRIMARY KEY, {columns})"))
        .await;
    let row = |n: u8, tenant: &str, name: &str| {
        format!(
            "INSERT INTO ci (ci_id, tenant_id, ci_type, ci_code, ci_name, owner) VALUES \
             ('00000000-0000-4000-8000-00000000000{n}', '{tenant}', 'SW', '{name}', '{name}', '{name}');"
        )
    };
    let store = fixture.open().await;
    fixture
        .execute(&(row(1, "acme", "b") + &row(2, "acme", "A") + &row(3, "acme", "C") + &row(4, "ACME", "d")))
        .await;
    let mut snapshot = store.snapshot().await.unwrap();
    let acme = TenantId::new("acme").unwrap();
    let mut codes = async |search: SearchBuilder| {
        let found = snapshot.search(&acme, &search.build().unwrap()).await.unwrap();
        found
            .iter()
            .map(|ci| ci.ci_code.as_str().to_owned())
            .collect::<Vec<_>>()
            .concat()
    };
    assert_eq!(
        codes(Search::builder()).await,
        "ACb",
        "sorted, and no other tenant's"
    );
    let owner = |text: &str| Search::builder().filter(Filter::parse(text).unwrap());
    assert_eq!(codes(owner("owner=a")).await, "");
    assert_eq!(codes(owner("owner in B,b")).await, "b");
    let gets = ["a", "A"].map(|code| Get::new(CiCode::new(code).unwrap()));
    let found = snapshot.get_many(&acme, &gets).await.unwrap();
    assert_eq!(
        found.iter().map(Option::is_some).collect::<Vec<_>>(),
        [false, true]
    );
    drop(snapshot);
    store.close().await;
}

#[tokio::test]
async fn rows_without_moments_get_some_and_later_rows_are_found() {
    on_both(async |fixture| {
        fixture.execute(&ancestor(fixture.is_sqlite())).await;
        let insert = |n: u8, moment: &str| {
            format!(
                "INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type, created_at, updated_at) VALUES \
                 ('00000000-0000-4000-8000-00000000000{n}', 'acme', 'c-{n}', 'Ärger {n}', 'SW', {moment}, {moment});"
            )
        };
        fixture.execute(&insert(1, "NULL")).await;
        fixture.execute(&insert(2, "'2026-02-03 04:05:06.789'")).await;
        let store = fixture.open().await;
        store.close().await;
        let store = fixture.open().await;
        fixture.execute(&insert(3, "CURRENT_TIMESTAMP")).await;
        let mut snapshot = store.snapshot().await.unwrap();
        let search = Search::builder().keyword("äRG").build().unwrap();
        assert_eq!(snapshot.search(&tenant(), &search).await.unwrap().len(), 3);
        let gets = ["c-1", "c-2", "c-3"].map(|code| Get::new(CiCode::new(code).unwrap()));
        let got = snapshot.get_many(&tenant(), &gets).await.unwrap();
        assert_eq!(got.iter().flatten().count(), 3);
        assert_eq!(got[1].as_ref().unwrap().created_at.to_string(), "2026-02-03T04:05:06.789000Z");
        drop(snapshot);
        store.close().await;
    })
    .await;
}

/// What a database cannot be adopted for: a change to the ancestor's tables, and words of the error.
const REFUSED: &[(&str, &str)] = &[
    ("ALTER TABLE ci DROP COLUMN ci_name", "no column ci_name"),
    (
        "INSERT INTO ci (ci_id, ci_code, ci_name, ci_type) VALUES (@ID@, 'a', 'a', 'a')",
        "in 1 rows of table ci tenant_id",
    ),
    (
        "INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type) VALUES (@ID@, 't', NULL, 'a', 'a')",
        "in 1 rows of table ci ci_code",
    ),
    (
        "INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type, criticality) VALUES (@ID@, 't', 'c', 'a', 'a', 9)",
        "criticality",
    ),
];

#[tokio::test]
async fn what_cannot_be_adopted_is_told_and_left_alone() {
    for (change, words) in REFUSED {
        on_both(async |fixture| {
            fixture.execute(&ancestor(fixture.is_sqlite())).await;
            fixture
                .execute(&change.replace("@ID@", "'00000000-0000-4000-8000-000000000001'"))
                .await;
            refused(fixture, words).await;
            let tables = if fixture.is_sqlite() {
                "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
            } else {
                "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
            };
            assert_eq!(fixture.texts(tables).await, ["ci", "ci_ext"]);
        })
        .await;
    }
}

#[tokio::test]
async fn duplicates_wrong_types_and_foreign_ids_are_told() {
    on_both(async |fixture| {
        fixture
            .execute(&ancestor(fixture.is_sqlite()).replace(" UNIQUE", ""))
            .await;
        for n in 1..=2 {
            fixture
                .execute(&format!(
                    "INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type) VALUES \
                     ('00000000-0000-4000-8000-00000000000{n}', 'acme', 'same', 'x', 'SW')"
                ))
                .await;
        }
        refused(fixture, "(tenant_id, ci_code) occur more than once").await;
    })
    .await;
    let fixture = Fixture::sqlite();
    fixture.execute(&ancestor(true)).await;
    fixture
        .execute("INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type) VALUES ('17', 'acme', 'c', 'x', 'SW')")
        .await;
    refused(&fixture, "not a UUID in lower-case hyphenated form").await;
    let fixture = Fixture::sqlite();
    fixture
        .execute(&ancestor(true).replace("ci_code VARCHAR(255)", "ci_code INTEGER"))
        .await;
    refused(&fixture, "column ci.ci_code has another type than TEXT").await;
    let fixture = Fixture::postgres().await;
    fixture
        .execute(&ancestor(false).replace("timestamptz", "timestamp"))
        .await;
    refused(
        &fixture,
        "column ci.created_at has another type than timestamp with time zone",
    )
    .await;
    fixture.finish().await;
}

#[tokio::test]
async fn a_newer_database_is_left_alone() {
    on_both(async |fixture| {
        fixture.open().await.close().await;
        fixture
            .execute("UPDATE ci_meta SET value = '999' WHERE key = 'schema_version'")
            .await;
        refused(fixture, "newer than this program").await;
    })
    .await;
}

async fn refused(fixture: &Fixture, words: &str) {
    let error = ci_store::open(fixture.address(), &StoreOptions::default())
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Schema(_)), "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn several_programs_may_start_at_once() {
    on_both(async |fixture| {
        let address: Arc<str> = fixture.address().into();
        let starts: Vec<_> = (0..6)
            .map(|_| {
                let address = Arc::clone(&address);
                tokio::spawn(async move { ci_store::open(&address, &StoreOptions::default()).await })
            })
            .collect();
        for start in starts {
            start.await.unwrap().unwrap().close().await;
        }
        let uuids = fixture
            .texts("SELECT value FROM ci_meta WHERE key = 'uuid'")
            .await;
        assert_eq!(uuids.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn tables_and_extension_are_found_in_the_schemas_they_are_in() {
    let fixture = Fixture::postgres().await;
    let ancestor = ancestor(false);
    fixture
        .execute(&format!(
            "CREATE SCHEMA first; CREATE SCHEMA extensions; CREATE EXTENSION pg_trgm SCHEMA extensions; {ancestor} \
             INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type) VALUES \
             ('00000000-0000-4000-8000-000000000001', 'acme', 'c-1', 'orders', 'SW'); \
             DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET search_path = first, public', current_database()); \
             END $$;"
        ))
        .await;
    for _ in 0..2 {
        let store = fixture.open().await;
        let mut snapshot = store.snapshot().await.unwrap();
        let question = Search::builder().keyword("orders").build().unwrap();
        assert_eq!(snapshot.search(&tenant(), &question).await.unwrap().len(), 1);
        drop(snapshot);
        store.close().await;
    }
    let made = "SELECT relname::text FROM pg_class WHERE relnamespace = 'first'::regnamespace";
    assert_eq!(fixture.texts(made).await, Vec::<String>::new());
    fixture.finish().await;
}

#[tokio::test]
async fn moments_that_cannot_be_read_are_told() {
    let fixture = Fixture::postgres().await;
    fixture.execute(&ancestor(false)).await;
    for (column, moment) in [
        ("created_at", "infinity"),
        ("updated_at", "0044-03-15 BC"),
        ("deleted_at", "20000-01-01"),
    ] {
        fixture
            .execute(&format!(
                "DELETE FROM ci; INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type, {column}) VALUES \
                 ('00000000-0000-4000-8000-000000000001', 'acme', 'c-1', 'orders', 'SW', '{moment}')"
            ))
            .await;
        refused(&fixture, column).await;
    }
    fixture.finish().await;
}

#[tokio::test]
async fn connections_that_the_server_ended_are_replaced_unseen() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    for _ in 0..2 {
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(store.snapshot().await.unwrap());
        }
        drop(held);
        fixture
            .execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity \
                 WHERE datname = current_database() AND pid <> pg_backend_pid()",
            )
            .await;
        let mut snapshot = store.snapshot().await.unwrap();
        let code = CiCode::new("c-1").unwrap();
        let got = snapshot.get_many(&tenant(), &[Get::new(code)]).await.unwrap();
        assert_eq!(got, [None]);
    }
    store.close().await;
    fixture.finish().await;
}
