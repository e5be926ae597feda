//! The configuration: which source wins, what is refused, and that no secret is shown.

#[allow(dead_code, reason = "the tests of the command line use the rest")]
mod program;

use std::process::Command;

use program::{Done, Place, Service};
use serde_json::Value;

/// A password that must not be seen anywhere.
const CANARY: &str = "canary-4711";

/// Runs `ci-cache` with nothing in the environment but this.
fn run(place: &Place, arguments: &[&str], environment: &[(&str, &str)]) -> Done {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ci-cache"));
    command
        .current_dir(place.path("."))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied());
    command.output().expect("it runs").into()
}

/// A setting's value and origin.
fn setting<'a>(checked: &'a Value, name: &str) -> (&'a str, &'a str) {
    let all = checked["settings"].as_array().expect("settings");
    let one = all
        .iter()
        .find(|one| one["setting"] == name)
        .expect("the setting");
    (
        one["value"].as_str().expect("a text"),
        one["from"].as_str().expect("a text"),
    )
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let place = Place::new();
    place.file(
        "c.toml",
        "database = 'sqlite:a.db'\nmax_entries = 1\nconcurrency = 1\nget_ttl = '1m'\nuncached = ['get', 'path']\nprime = true\n",
    );
    let environment = [
        ("CI_CACHE_CONFIG", "c.toml"),
        ("CI_CACHE_MAX_ENTRIES", "2"),
        ("CI_CACHE_CONCURRENCY", "2"),
        ("CI_CACHE_GET_TTL", ""),
    ];
    let arguments = ["config", "check", "--json", "--max-entries", "3", "--doorbell"];
    let done = run(&place, &arguments, &environment);
    assert_eq!(done.code, 0, "{}", done.err);
    let checked = done.json();
    for (name, value, from) in [
        ("max_entries", "3", "flag"),
        ("doorbell", "true", "flag"),
        ("concurrency", "2", "environment"),
        ("database", "sqlite:a.db", "file"),
        ("get_ttl", "1m", "file"),
        ("uncached", "get,path", "file"),
        ("prime", "true", "file"),
        ("listen", "127.0.0.1:8642", "default"),
    ] {
        assert_eq!(setting(&checked, name), (value, from), "{name}");
    }
    // The flag names another file than the variable.
    place.file("d.toml", "database = 'sqlite:d.db'");
    let done = run(
        &place,
        &["config", "check", "--json", "--config", "d.toml"],
        &environment,
    );
    assert_eq!(setting(&done.json(), "database"), ("sqlite:d.db", "file"));
    assert!(
        !place.path("a.db").exists() && !place.path("d.db").exists(),
        "it made a database"
    );
}

#[test]
fn everything_that_does_not_fit_is_told_at_once() {
    let place = Place::new();
    place.file("typo.toml", "databse = 'sqlite:a.db'\nmax_entires = 4\n");
    let done = run(&place, &["config", "check", "--config", "typo.toml"], &[]);
    assert_eq!(done.code, 2);
    for told in [
        "did you mean `database`?",
        "did you mean `max_entries`?",
        "hint: ",
    ] {
        assert!(done.err.contains(told), "{told}: {}", done.err);
    }
    let database = ("CI_CACHE_DATABASE", "sqlite:a.db");
    let arguments = ["config", "check", "--concurrency", "0", "--log", "a=b"];
    let done = run(&place, &arguments, &[database, ("CI_CACHE_GET_TTL", "soon")]);
    assert_eq!(done.code, 2);
    for told in [
        "`concurrency` (from --concurrency)",
        "`get_ttl` (from CI_CACHE_GET_TTL)",
        "`log` (from --log)",
    ] {
        assert!(done.err.contains(told), "{told}: {}", done.err);
    }
    for (arguments, told) in [
        (
            &["--tokens", "t.json", "--without-authentication"][..],
            "exclude each other",
        ),
        (&["--poll-every", "2h"], "`poll_every`"),
        (&["--warm-reloads", "1001"], "`warm_reloads`"),
        (&["--audit-rate", "6001"], "`audit_rate`"),
        (&["--max-entries", "0"], "`max_entries`"),
        (&["--connections", "0"], "`connections`"),
        (&["--tls-cert", "c.pem"], "`tls_cert` and `tls_key`"),
        (
            &["--jwt-keys", "k.json"],
            "`jwt_keys`, `jwt_issuer` and `jwt_audience`",
        ),
        (
            &["--jwks-url", "https://idp.example/keys"],
            "`jwks_url` may be in place of `jwt_keys`",
        ),
        (
            &["--jwks-url", "https://idp.example/keys", "--jwt-keys", "k.json"],
            "`jwt_keys` and `jwks_url` exclude each other",
        ),
        (&["--jwks-url", "http://idp.example/keys"], "without https://"),
        (
            &["--jwks-url", "https://me:canary@idp.example/keys"],
            "`jwks_url` is no address to fetch keys from: it holds a user's name",
        ),
        (&["--jwks-refresh", "9s"], "`jwks_refresh`"),
        (&["--jwt-leeway", "10m"], "`jwt_leeway`"),
        (&["--jwt-algorithms", "HS256"], "`jwt_algorithms`"),
        (&["--tenant-burst", "5"], "`tenant_burst` needs"),
        (&["--database", "mysql://me@db/x"], "`database` is not an address"),
        (
            &["--replica-url", "postgres://standby/x"],
            "`replica_url` needs a PostgreSQL `database`",
        ),
        (
            &["--replica-url", "sqlite:b.db"],
            "`replica_url` is not an address",
        ),
        (
            &[
                "--database",
                "postgres://db/x",
                "--replica-url",
                "postgres://db/x",
            ],
            "`replica_url` is the address of `database`",
        ),
        (
            &[
                "--database",
                "postgres://db/x",
                "--replica-url",
                "postgres://b/x",
                "--replica-wait",
                "2m",
            ],
            "`replica_wait`",
        ),
    ] {
        // What the check refuses the service refuses.
        for command in [&["config", "check"][..], &["serve", "--listen", "127.0.0.1:0"]] {
            let done = run(&place, &[command, arguments].concat(), &[database]);
            assert_eq!(done.code, 2, "{arguments:?}");
            assert!(done.err.contains(told), "{arguments:?}: {}", done.err);
        }
    }
    let done = run(&place, &["config", "check"], &[]);
    assert_eq!(done.code, 2);
    assert!(done.err.contains("CI_CACHE_DATABASE"), "{}", done.err);
    let done = run(&place, &["config", "check"], &[database, ("CI_CACHE_LISTN", "x")]);
    assert!(
        done.out
            .contains("CI_CACHE_LISTN is no setting; did you mean `listen`?"),
        "{}",
        done.out
    );
}

#[test]
fn a_password_is_never_shown() {
    let place = Place::new();
    let address = format!("postgres://me:{CANARY}@127.0.0.1:1/cmdb?password={CANARY}");
    place.file("c.toml", &format!("database = '{address}'\n"));
    place.file("broken.toml", &format!("database = '{address}\n"));
    place.file("typo.toml", &format!("databas = '{address}'\n"));
    place.file(
        "twice.toml",
        &format!("database = '{address}'\nget_ttl = '{CANARY}'\nlog = '{CANARY}=x'\n"),
    );
    for arguments in [
        &["config", "check", "--config", "c.toml"][..],
        &["config", "check", "--json", "--config", "c.toml"],
        &["config", "check", "--config", "broken.toml"],
        &["config", "check", "--config", "typo.toml"],
        &["config", "check", "--config", "twice.toml"],
        &["serve", "--config", "c.toml", "--listen", "127.0.0.1:0", "-vv"],
        &["serve", "--config", "typo.toml"],
    ] {
        let done = run(&place, arguments, &[]);
        assert!(
            !format!("{}{}", done.out, done.err).contains(CANARY),
            "{arguments:?}"
        );
        assert!(!done.out.is_empty() || !done.err.is_empty(), "{arguments:?}");
    }
    let shown = run(&place, &["config", "check", "--config", "c.toml"], &[]).out;
    assert!(shown.contains("postgres://me:***@127.0.0.1:1/cmdb"), "{shown}");
}

#[test]
fn the_example_is_a_configuration_that_changes_nothing() {
    let place = Place::new();
    let example = run(&place, &["config", "example"], &[]).out;
    place.file("example.toml", &example);
    let database = [("CI_CACHE_DATABASE", "sqlite:a.db")];
    let plain = run(&place, &["config", "check"], &database).out;
    let done = run(
        &place,
        &["config", "check", "--config", "example.toml"],
        &database,
    );
    assert_eq!((done.code, done.out), (0, plain), "{}", done.err);
    // Nor does it when every line counts, but for where the values come from.
    let is_setting = |line: &&str| line.starts_with("# ") && line.contains(" = ") && !line.ends_with('.');
    let lines: Vec<&str> = example
        .lines()
        .filter(is_setting)
        .map(|line| &line[2..])
        .collect();
    let all = lines
        .join("\n")
        .replace("database = \"\"", "database = \"sqlite:a.db\"");
    place.file("all.toml", &all);
    let done = run(
        &place,
        &["config", "check", "--json", "--config", "all.toml"],
        &[],
    );
    assert_eq!(done.code, 0, "{}", done.err);
    let settings = done.json()["settings"].as_array().expect("settings").clone();
    assert_eq!(settings.len(), lines.len());
    assert!(settings.iter().all(|one| one["from"] == "file"), "{settings:?}");
}

#[test]
fn the_service_does_what_the_file_says() {
    let place = Place::filled();
    let config = "listen = '127.0.0.1:0'\nmax_entries = 77\nuncached = ['get']\nlog_format = 'json'\n";
    place.file("c.toml", config);
    let service = Service::start(place.spawn(&["serve", "--config", "c.toml"]));
    let stats = service.get("/v1/cache/stats");
    assert!(stats.contains("77"), "{stats}");
    let code = "app-erp-order-01-1";
    for _ in 0..2 {
        let answer = service.get(&format!("/v1/acme/cis/{code}"));
        assert!(answer.contains("x-ci-source: bypass"), "{answer}");
    }
    assert!(service.stop().success());
}

#[test]
fn a_certificate_for_the_tier_needs_its_key() {
    let place = Place::new();
    for half in ["--tier-cert", "--tier-key"] {
        let done = run(
            &place,
            &["config", "check", half, "x.pem"],
            &[("CI_CACHE_DATABASE", "postgres://db/x")],
        );
        assert_eq!(done.code, 2, "{half}");
        assert!(
            done.err.contains("`tier_cert` and `tier_key` need each other"),
            "{}",
            done.err
        );
    }
}

/// What is wrong with how the tier is reached is told by its setting, and nothing of an address, a certificate or a key is.
#[test]
#[cfg(feature = "redis")]
fn what_does_not_lead_to_a_tier_is_told_without_secrets() {
    let place = Place::new();
    let signed = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    place.file("ca.pem", &signed.cert.pem());
    place.file("key.pem", &signed.signing_key.serialize_pem());
    let other = rcgen::generate_simple_self_signed(vec!["localhost".into()]).expect("a certificate");
    place.file("other.pem", &other.signing_key.serialize_pem());
    place.file("canary.pem", CANARY);
    let cluster = format!("rediss+cluster://me:{CANARY}@a,b");
    let sentinel = format!("redis+sentinel://me:{CANARY}@a,b/cmdb?sentinel_password={CANARY}");
    for (address, arguments, told) in [
        (
            format!("{sentinel}&x={CANARY}"),
            &[][..],
            "`tier_url`: the address",
        ),
        (format!("{cluster}/{CANARY}"), &[], "redis+cluster://"),
        (
            sentinel.clone(),
            &["--tier-ca", "ca.pem"],
            "`tier_url`: certificates of the shared tier",
        ),
        (
            cluster.clone(),
            &["--tier-ca", "none.pem"],
            "`tier_ca`: the file none.pem cannot be read",
        ),
        (
            cluster.clone(),
            &["--tier-ca", "canary.pem"],
            "`tier_ca`: the authorities",
        ),
        (
            cluster.clone(),
            &["--tier-cert", "ca.pem", "--tier-key", "other.pem"],
            "`tier_cert`: the client's certificate and key",
        ),
        (
            cluster.clone(),
            &["--tier-cert", "ca.pem", "--tier-key", "none.pem"],
            "`tier_key`: the file none.pem cannot be read",
        ),
    ] {
        let environment = [
            ("CI_CACHE_DATABASE", "postgres://db/x"),
            ("CI_CACHE_TIER_URL", &address),
        ];
        let done = run(
            &place,
            &[&["config", "check"][..], arguments].concat(),
            &environment,
        );
        assert_eq!(done.code, 2, "{arguments:?}: {}", done.out);
        assert!(done.err.contains(told), "{told}: {}", done.err);
        assert!(!done.err.contains("canary-4711"), "{}", done.err);
    }
    for address in [&cluster, &sentinel] {
        let mut arguments = vec!["config", "check"];
        if address == &cluster {
            arguments.extend([
                "--tier-ca",
                "ca.pem",
                "--tier-cert",
                "ca.pem",
                "--tier-key",
                "key.pem",
            ]);
        }
        let environment = [
            ("CI_CACHE_DATABASE", "postgres://db/x"),
            ("CI_CACHE_TIER_URL", address),
        ];
        let done = run(&place, &arguments, &environment);
        assert_eq!(done.code, 0, "{}", done.err);
        assert!(!done.out.contains(CANARY), "{}", done.out);
    }
}
