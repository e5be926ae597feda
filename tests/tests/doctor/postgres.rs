//! Faults of a PostgreSQL database, and of what a user may do in it.

use ci_store::StoreOptions;
use ci_tests::fixture::Fixture;
use ci_tests::history::{Ending, Raw, Server};
use serde_json::Value;

use super::{check, desk, finds_alone, is_well, mends};

/// Runs the statements that the check gives, as who may.
async fn mends_by_sql(fixture: &Fixture, one: &Value) {
    let sql = one["sql"]
        .as_str()
        .unwrap_or_else(|| panic!("no statement: {one}"));
    assert!(one["by"].as_str().is_some_and(|by| by.contains("owner")), "{one}");
    fixture.execute(sql).await;
}

#[tokio::test]
async fn faults_of_the_database_are_found_and_mended() {
    let fixture = Fixture::postgres().await;
    let desk = desk(fixture.address());
    let (said, code) = desk.doctor("");
    assert_eq!(
        (code, &check(&said, "schema")["verdict"]),
        (0, &"warning".into()),
        "{said}"
    );
    assert_eq!(check(&said, "extension")["verdict"], "warning", "{said}");
    mends(&desk, &check(&said, "schema"));
    is_well(&desk, "");
    for (fault, name, verdict, told) in [
        (
            "ALTER TABLE ci DISABLE TRIGGER \"CI_change_rows\"",
            "triggers",
            "failure",
            "missing or disabled: CI_change_rows of ci",
        ),
        // Fires for everybody but a replica's replay.
        (
            "ALTER TABLE ci_ext ENABLE TRIGGER \"CI_change_rows\"",
            "triggers",
            "failure",
            "CI_change_rows of ci_ext",
        ),
        (
            "DROP TRIGGER \"CI_change_truncate\" ON ci_relation",
            "triggers",
            "failure",
            "CI_change_truncate of ci_relation",
        ),
        (
            "UPDATE ci_meta SET value = '2' WHERE key = 'schema_version'",
            "schema",
            "warning",
            "version 2 is older than this program's",
        ),
    ] {
        fixture.execute(fault).await;
        let found = finds_alone(&desk, "", name, verdict, told);
        assert_eq!(
            finds_alone(&desk, "", name, verdict, told),
            found,
            "it mended something"
        );
        mends(&desk, &found);
        is_well(&desk, "");
    }
    fixture.execute("CREATE TABLE theirs () INHERITS (ci)").await;
    let found = finds_alone(&desk, "", "inheritance", "failure", "inherit");
    mends_by_sql(&fixture, &found).await;
    is_well(&desk, "");
    fixture
        .execute("INSERT INTO ci_change (entity, at) VALUES ('t', now() - interval '2 hours'), ('t', now())")
        .await;
    finds_alone(&desk, "", "change log", "warning", "twice the retention");
    finds_alone(
        &desk,
        "--retention 2h --connections 1000",
        "connections",
        "warning",
        "takes up to 1003",
    );
    fixture
        .execute("UPDATE ci_meta SET value = '99' WHERE key = 'schema_version'")
        .await;
    let (said, code) = desk.doctor("");
    assert_eq!((code, &check(&said, "schema")["verdict"]), (6, &"failure".into()));
    fixture.finish().await;
}

#[tokio::test]
async fn what_a_user_may_not_do_is_found_and_granted() {
    let fixture = Fixture::postgres().await;
    let (scheme, place) = fixture.address().split_once("://").expect("an address");
    let (_, place) = place.split_once('@').expect("a user");
    let name = place.rsplit('/').next().expect("a name");
    let role = format!("{name}_reader");
    let mut desk = desk(&format!("{scheme}://{role}@{place}"));
    let (said, code) = desk.doctor("");
    assert_eq!(code, 6);
    assert!(
        check(&said, "database")["what"]
            .as_str()
            .is_some_and(|what| what.contains("refuses this user"))
    );
    fixture.execute(&format!("CREATE ROLE {role} LOGIN")).await;
    fixture
        .execute(&format!(
            "REVOKE CREATE ON DATABASE {name} FROM PUBLIC; REVOKE CREATE ON SCHEMA public FROM PUBLIC"
        ))
        .await;

    // Nothing is there yet, and it may make neither the extension nor tables.
    let (said, code) = desk.doctor("");
    assert_eq!(code, 6, "{said}");
    for lacking in ["extension", "permissions"] {
        let found = check(&said, lacking);
        assert_eq!(found["verdict"], "failure", "{said}");
        mends_by_sql(&fixture, &found).await;
    }
    let new = finds_alone(&desk, "", "schema", "warning", "no tables");
    mends(&desk, &new);
    is_well(&desk, "");

    // The tables are somebody else's, and it may only read them.
    let other = Fixture::postgres().await;
    drop(other.open().await);
    let (_, name) = other.address().rsplit_once('/').expect("a name");
    let (start, _) = place.rsplit_once('/').expect("a name");
    desk.set("CI_CACHE_DATABASE", &format!("{scheme}://{role}@{start}/{name}"));
    let (said, code) = desk.doctor("");
    assert_eq!(
        (code, &check(&said, "permissions")["verdict"]),
        (6, &"failure".into()),
        "{said}"
    );
    other
        .execute(&format!(
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}; GRANT INSERT, UPDATE ON ci_alive, ci_meta TO {role}; \
             GRANT DELETE ON ci_change TO {role}"
        ))
        .await;
    let found = finds_alone(&desk, "", "permissions", "warning", "may read and not write");
    mends_by_sql(&other, &found).await;
    is_well(&desk, "");
    other
        .execute(&format!("REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}"))
        .await;
    let (said, code) = desk.doctor("");
    assert_eq!(code, 6, "{said}");
    mends_by_sql(&other, &check(&said, "permissions")).await;
    is_well(&desk, "");
    for database in [&fixture, &other] {
        database.execute(&format!("DROP OWNED BY {role}")).await;
    }
    fixture.execute(&format!("DROP ROLE {role}")).await;
    other.finish().await;
    fixture.finish().await;
}

#[tokio::test]
async fn a_replica_that_cannot_be_read_from_is_found() {
    let primary = Server::start().await;
    let url = |server: &Server| server.url("postgres");
    ci_store::open(&url(&primary), &StoreOptions::default())
        .await
        .unwrap()
        .close()
        .await;
    let standby = primary.standby().await;
    let mut desk = desk(&url(&primary));
    desk.set("CI_CACHE_REPLICA_URL", &url(&standby));
    is_well(&desk, "");
    desk.set(
        "CI_CACHE_REPLICA_URL",
        &format!("{}?application_name=other", url(&primary)),
    );
    finds_alone(&desk, "", "replica", "warning", "not a standby");
    desk.set("CI_CACHE_REPLICA_URL", &url(&primary));
    let (said, code) = desk.doctor("");
    assert_eq!(code, 6, "{said}");
    assert!(
        check(&said, "configuration")["what"]
            .as_str()
            .is_some_and(|what| what.contains("`replica_url`"))
    );

    let mut raw = Raw::connect(&url(&primary)).await.unwrap();
    raw.run("CREATE ROLE reader LOGIN").await.unwrap();
    let there = "SELECT count(*)::text FROM pg_roles WHERE rolname = 'reader'";
    let mut copy = Raw::connect(&url(&standby)).await.unwrap();
    while copy.texts(there).await.unwrap() != ["1"] {
        tokio::task::yield_now().await;
    }
    desk.set(
        "CI_CACHE_REPLICA_URL",
        &url(&standby).replace("postgres@", "reader@"),
    );
    let found = finds_alone(&desk, "", "replica", "warning", "may not see whom it follows");
    raw.run(found["sql"].as_str().unwrap()).await.unwrap();
    let granted = "SELECT pg_has_role('reader', 'pg_read_all_stats', 'member')::text";
    while copy.texts(granted).await.unwrap() != ["true"] {
        tokio::task::yield_now().await;
    }
    is_well(&desk, "");

    let other = Server::start().await;
    let stranger = other.standby().await;
    desk.set("CI_CACHE_REPLICA_URL", &url(&stranger));
    finds_alone(&desk, "", "replica", "warning", "not a copy of this database");
    stranger.stop(Ending::Fast).await;
    finds_alone(&desk, "", "replica", "warning", "reach the database");
}
