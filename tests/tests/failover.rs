//! A standby that takes the database's place takes writes at once, and they are heard of.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::time::{Duration, Instant};

use ci_store::{Store, StoreOptions};
use ci_tests::fixture::Fixture;
use ci_tests::history::{Ending, Raw, Server};

const LONG: Duration = Duration::from_secs(60);
const INSERT: &str = "INSERT INTO ci (ci_id, tenant_id, ci_code, ci_name, ci_type) \
                      VALUES (gen_random_uuid(), 'acme', 'erp-1', 'ERP', 'SW')";
const CHANGES: &str = "SELECT entity FROM ci_change";
const PERSISTENCE: &str = "SELECT relpersistence::text FROM pg_class \
                           WHERE oid = pg_get_serial_sequence('ci_change', 'seq')::regclass";

async fn open(address: &str) -> std::sync::Arc<dyn Store> {
    ci_store::open(address, &StoreOptions::default()).await.unwrap()
}

/// Waits until a standby has all that the primary has now.
async fn catch_up(primary: &Server, standby: &Server) {
    let mut raw = Raw::connect(&primary.url("postgres")).await.unwrap();
    let now = raw.texts("SELECT pg_current_wal_lsn()::text").await.unwrap();
    let there = format!("SELECT (pg_last_wal_replay_lsn() >= '{}')::text", now[0]);
    let (mut raw, began) = (
        Raw::connect(&standby.url("postgres")).await.unwrap(),
        Instant::now(),
    );
    while raw.texts(&there).await.unwrap() != ["true"] {
        assert!(began.elapsed() < LONG, "the standby does not follow");
        tokio::task::yield_now().await;
    }
}

/// The tables are made while the standby follows, and it is promoted before it has written everything down.
#[tokio::test(flavor = "multi_thread")]
async fn a_standby_that_is_promoted_takes_writes() {
    let primary = Server::start().await;
    let standby = primary.standby().await;
    let mut raw = Raw::connect(&primary.url("postgres")).await.unwrap();
    raw.run("CREATE DATABASE ci").await.unwrap();
    open(&primary.url("ci")).await.close().await;
    catch_up(&primary, &standby).await;
    primary.stop(Ending::Crash).await;
    standby.promote().await;
    // Before any program of ours has come to put things in order.
    let mut raw = Raw::connect(&standby.url("ci")).await.unwrap();
    raw.run(INSERT).await.unwrap();
    assert_eq!(raw.texts(CHANGES).await.unwrap(), ["c"]);
}

/// Tables of before had a sequence that does not outlive that; opening them mends it, whatever state it is in.
#[tokio::test]
async fn tables_of_before_are_mended() {
    let fixture = Fixture::postgres().await;
    let store = fixture.open().await;
    let mut raw = Raw::connect(fixture.address()).await.unwrap();
    assert_eq!(raw.texts(PERSISTENCE).await.unwrap(), ["p"]);
    raw.run(
        "ALTER TABLE ci_change ALTER COLUMN seq DROP IDENTITY; \
         ALTER TABLE ci_change ALTER COLUMN seq ADD GENERATED ALWAYS AS IDENTITY",
    )
    .await
    .unwrap();
    assert_eq!(raw.texts(PERSISTENCE).await.unwrap(), ["u"]);
    raw.run(INSERT).await.unwrap();

    // Who may not mend it goes on with it.
    let (scheme, place) = fixture.address().split_once("://").unwrap();
    let (_, place) = place.split_once('@').unwrap();
    let role = format!("{}_reader", place.rsplit('/').next().unwrap());
    let grants = format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}; \
         GRANT INSERT, UPDATE ON ci_alive, ci_meta TO {role}; GRANT DELETE ON ci_change TO {role}"
    );
    raw.run(&grants).await.unwrap();
    open(&format!("{scheme}://{role}@{place}")).await.close().await;
    assert_eq!(raw.texts(PERSISTENCE).await.unwrap(), ["u"]);
    raw.run(&format!("DROP OWNED BY {role}; DROP ROLE {role}"))
        .await
        .unwrap();

    fixture.open().await.close().await;
    assert_eq!(raw.texts(PERSISTENCE).await.unwrap(), ["p"]);
    raw.run("UPDATE ci SET ci_name = 'ERP 2'; UPDATE ci SET ci_name = 'ERP 3'")
        .await
        .unwrap();
    assert_eq!(raw.texts(CHANGES).await.unwrap(), ["c", "c", "c"]);
    store.close().await;
    fixture.finish().await;
}
