//! Faults of the shared tier, and passwords of every address.

use ci_tests::fixture::Fixture;
use ci_tests::tier::PrivateRedis;

use super::{check, desk, finds_alone, is_well, mends};

const CHECK: &str = "shared tier";

#[tokio::test]
async fn what_a_tier_does_not_do_is_found() {
    let fixture = Fixture::postgres().await;
    let mut server = PrivateRedis::start().await;
    let mut desk = desk(fixture.address());
    let (said, _) = desk.doctor("");
    mends(&desk, &check(&said, "schema"));
    desk.set("CI_CACHE_TIER_URL", &server.url());
    desk.set("CI_CACHE_TIER_PREFIX", "cmdb");
    for (order, told) in [
        ("CONFIG SET maxmemory 0", "no memory limit"),
        ("CONFIG SET maxmemory 67108864", "`noeviction`"),
    ] {
        server.order(order);
        finds_alone(&desk, "", CHECK, "warning", told);
    }
    server.order("CONFIG SET maxmemory-policy allkeys-lfu");
    finds_alone(
        &desk,
        "",
        CHECK,
        "ok",
        "holds 64 MiB at most, and then lets go by `allkeys-lfu`",
    );
    is_well(&desk, "");

    let rights = "+ping +mget +set +del";
    for (account, allowed, doorbell, verdict, told) in [
        (
            "bare",
            "~cmdb:* +ping",
            false,
            "warning",
            "SET, MGET, DEL is refused",
        ),
        (
            "reader",
            "~cmdb:* +ping +mget",
            false,
            "warning",
            "SET, DEL is refused",
        ),
        (
            "elsewhere",
            "~other:* +ping +mget +set +del",
            false,
            "warning",
            "SET, MGET, DEL is refused",
        ),
        (
            "mute",
            "~cmdb:* +ping +mget +set +del",
            true,
            "warning",
            "PUBLISH is refused",
        ),
        // It may not ask how much there is room for.
        (
            "good",
            "~cmdb:* +ping +mget +set +del",
            false,
            "ok",
            "everything that is asked of it",
        ),
    ] {
        server.order(&format!("ACL SETUSER {account} on >canary-4711 {allowed}"));
        desk.set(
            "CI_CACHE_TIER_URL",
            &format!("redis://{account}:canary-4711@{}", server.place()),
        );
        desk.set("CI_CACHE_TIER_DOORBELL", if doorbell { "true" } else { "false" });
        let found = finds_alone(&desk, "", CHECK, verdict, told);
        assert!(!found.to_string().contains("canary-4711"), "{found}");
        let advice = found["advice"].as_str().unwrap_or_default();
        assert!(
            verdict == "ok" || advice.contains(&format!("~cmdb:* {rights}")),
            "{found}"
        );
        assert_eq!(
            advice.contains("&cmdb:f:bell +publish +subscribe"),
            doorbell,
            "{found}"
        );
    }
    let mut values = redis::Client::open(server.url())
        .unwrap()
        .get_connection()
        .unwrap();
    let left: u64 = redis::cmd("DBSIZE").query(&mut values).unwrap();
    assert_eq!(left, 0, "the doctor leaves nothing");
    drop(values);

    server.kill();
    finds_alone(&desk, "", CHECK, "warning", "");
    fixture.finish().await;
}

#[cfg(unix)]
#[test]
fn a_password_that_others_can_read_is_found_in_every_address() {
    let desk = desk("sqlite::memory:");
    for (key, address) in [
        ("tier_url", "redis://me:canary-4711@127.0.0.1:1/0"),
        ("replica_url", "postgres://me:canary-4711@127.0.0.1:1/x"),
    ] {
        desk.file(
            "c.toml",
            &format!("database = 'postgres://me@127.0.0.1:1/x'\n{key} = '{address}'\n"),
        );
        assert_eq!(desk.run("chmod 644 c.toml").code, 0);
        let ask = |arguments: &str| {
            let said = desk.run(&format!(
                "env -u CI_CACHE_DATABASE ci-cache doctor --json {arguments} || true"
            ));
            assert!(!said.out.contains("canary-4711"), "{}", said.out);
            let said: serde_json::Value = serde_json::from_str(&said.out).expect("JSON");
            check(&said, "secrets")
        };
        let found = ask("--config c.toml");
        assert_eq!(found["verdict"], "warning");
        assert!(
            found["what"].as_str().is_some_and(|what| what.contains(key)),
            "{found}"
        );
        mends(&desk, &found);
        assert_eq!(ask("--config c.toml")["verdict"], "ok");
        let flag = key.replace('_', "-");
        let found = ask(&format!(
            "--database postgres://me@127.0.0.1:1/x --{flag} '{address}'"
        ));
        assert_eq!(found["verdict"], "warning");
        assert!(
            found["what"]
                .as_str()
                .is_some_and(|what| what.contains(key) && what.contains("flag")),
            "{found}"
        );
    }
}
