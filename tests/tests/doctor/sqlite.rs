//! Faults of a SQLite file, of the machine, and of the configuration.

use ci_tests::fixture::Fixture;

use super::{check, desk, finds_alone, is_well, mends};

#[tokio::test]
async fn faults_of_the_file_are_found_and_mended() {
    let fixture = Fixture::sqlite();
    let desk = desk(fixture.address());
    let new = finds_alone(&desk, "", "schema", "warning", "no file yet");
    mends(&desk, &new);
    is_well(&desk, "");
    for (fault, name, verdict, told) in [
        (
            "DROP TRIGGER ci_change_update",
            "triggers",
            "failure",
            "missing or disabled: ci_change_update",
        ),
        (
            "CREATE UNIQUE INDEX theirs ON ci (tenant_id, ci_name)",
            "triggers",
            "failure",
            "unique index",
        ),
        (
            "UPDATE ci_meta SET value = '3' WHERE key = 'schema_version'",
            "schema",
            "warning",
            "version 3 is older than this program's",
        ),
        ("PRAGMA journal_mode = delete", "journal", "warning", "`delete`"),
    ] {
        fixture.execute(fault).await;
        let found = finds_alone(&desk, "", name, verdict, told);
        // The doctor mends nothing by itself.
        assert_eq!(finds_alone(&desk, "", name, verdict, told), found);
        mends(&desk, &found);
        is_well(&desk, "");
    }
    // These no command mends.
    fixture
        .execute("UPDATE ci_change SET at = at - 3600; INSERT INTO ci_change (entity, at) VALUES ('s', 0)")
        .await;
    finds_alone(&desk, "", "change log", "warning", "twice the retention");
    is_well(&desk, "--retention 1000000h");
    fixture
        .execute(
            "INSERT INTO ci_change (entity) VALUES ('s'), ('s'); DELETE FROM ci_change \
             WHERE seq = (SELECT max(seq) - 1 FROM ci_change)",
        )
        .await;
    finds_alone(&desk, "", "change log", "warning", "were taken out");
    fixture
        .execute("UPDATE ci_meta SET value = '99' WHERE key = 'schema_version'")
        .await;
    let (said, code) = desk.doctor("");
    assert_eq!((code, &check(&said, "schema")["verdict"]), (6, &"failure".into()));
    let serve = desk.run("ci-cache serve");
    assert_eq!(
        serve.code, 3,
        "what the doctor calls a failure is one: {}",
        serve.err
    );
}

#[test]
fn settings_of_what_is_not_there_are_found() {
    let desk = desk("sqlite:cmdb.db");
    desk.run("ci-cache migrate");
    is_well(&desk, "");
    for (setting, told) in [
        (
            "--tier-ttl 1h --tier-wait 0",
            "without `tier_url` nothing comes of `tier_wait`, `tier_ttl`",
        ),
        (
            "--replica-wait 1ms",
            "without `replica_url` nothing comes of `replica_wait`",
        ),
    ] {
        finds_alone(&desk, setting, "unused settings", "warning", told);
    }
}

#[test]
fn places_that_cannot_hold_a_database_are_found() {
    let mut desk = desk("sqlite:data/new/cmdb.db");
    let found = finds_alone(&desk, "", "permissions", "failure", "folder");
    mends(&desk, &found);
    desk.run("ci-cache migrate");
    is_well(&desk, "");
    desk.file(
        "text.db",
        "this is a letter, and no database at all\n".repeat(50).as_str(),
    );
    desk.set("CI_CACHE_DATABASE", "sqlite:text.db");
    finds_alone(&desk, "", "database", "failure", "not a SQLite database");
}

#[cfg(unix)]
#[test]
fn faults_of_the_tokens_are_found_and_mended() {
    let desk = desk("sqlite::memory:");
    is_well(&desk, "");
    finds_alone(&desk, "--listen 0.0.0.0:0", "tokens", "failure", "does not start");
    is_well(&desk, "--listen 0.0.0.0:0 --without-authentication");
    let missing = finds_alone(
        &desk,
        "--tokens 'my tokens.json'",
        "tokens",
        "failure",
        "is not there",
    );
    mends(&desk, &missing);
    is_well(&desk, "--tokens 'my tokens.json'");
    std::fs::rename(desk.path("my tokens.json"), desk.path("t.json")).expect("a file");
    for (fault, verdict, told) in [
        ("chmod 644 t.json", "warning", "others may read"),
        ("echo '{\"tokens\": []}' > t.json", "warning", "no token"),
        ("echo '{' > t.json", "failure", "failed to read the tokens"),
        ("rm t.json", "failure", "is not there"),
    ] {
        assert_eq!(desk.run(fault).code, 0);
        let found = finds_alone(&desk, "--tokens t.json", "tokens", verdict, told);
        mends(&desk, &found);
        is_well(&desk, "--tokens t.json");
    }
}

#[cfg(unix)]
#[test]
fn faults_of_configuration_and_machine_are_found() {
    let desk = desk("");
    let (said, code) = desk.doctor("--concurrency 0");
    let found = check(&said, "configuration");
    assert_eq!((code, &found["verdict"]), (6, &"failure".into()));
    assert!(
        found["what"]
            .as_str()
            .is_some_and(|what| what.contains("`concurrency`") && what.contains("`database`"))
    );

    desk.file("c.toml", "database = 'postgres://me:canary-4711@127.0.0.1:1/x'\n");
    assert_eq!(desk.run("chmod 644 c.toml").code, 0);
    let (said, code) = desk.doctor("--config c.toml");
    assert_eq!(
        (code, &check(&said, "database")["verdict"]),
        (6, &"failure".into())
    );
    let found = check(&said, "secrets");
    assert_eq!(found["verdict"], "warning");
    mends(&desk, &found);
    let (said, _) = desk.doctor("--config c.toml");
    assert_eq!(check(&said, "secrets")["verdict"], "ok");
    for told in [
        said.to_string(),
        desk.run("ci-cache doctor --config c.toml || true").out,
    ] {
        assert!(!told.contains("canary-4711"), "{told}");
    }

    let memory = "--database sqlite::memory:";
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = listener.local_addr().expect("an address");
    finds_alone(
        &desk,
        &format!("{memory} --listen {taken}"),
        "listen",
        "warning",
        "listens on",
    );
    drop(listener);
    finds_alone(
        &desk,
        &format!("{memory} --without-authentication --listen 192.0.2.1:80"),
        "listen",
        "failure",
        "cannot be listened on",
    );
    let warm = format!("{memory} --warm-file nowhere/warm");
    let found = finds_alone(&desk, &warm, "warm file", "warning", "starts cold");
    mends(&desk, &found);
    is_well(&desk, &warm);
    let few = desk.run("ulimit -n 300; ci-cache doctor --database sqlite::memory:");
    assert!(
        few.out.contains("warning open files") && few.out.contains("run: ulimit -n 1024"),
        "{}",
        few.out
    );
}
