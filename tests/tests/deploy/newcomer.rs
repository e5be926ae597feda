//! Somebody who knows nothing follows `docs/operations.md`, in one shell, and has a service in the end.

use std::fmt::Write as _;

use ci_tests::fixture::Fixture;
use ci_tests::port::Port;
use ci_tests::program::Desk;

use super::{checkout, read};

/// What each step has to say, in their order; a step says nothing where there is nothing.
const SAID: [&[&str]; 12] = [
    &[],
    &["CREATE ROLE", "CREATE DATABASE"],
    &[],
    &[],
    &[
        "postgres://ci_cache:***@",
        "the database is ready",
        "0 warnings, 0 failures",
    ],
    &["{\"status\":\"ok\"}"],
    &["\"created\":2", "srv-1", "x-cache: hit"],
    &["without a token: 401", "another tenant: 403"],
    &["<h1>Cache", "the dashboard without a token: 401"],
    &["SUCCESS"],
    &["feed live", "acme"],
    &[],
];

/// The commands of the section, block by block.
fn steps() -> Vec<String> {
    let page = read("docs/operations.md");
    let (_, section) = page
        .split_once("\n# From nothing to a running service\n")
        .expect("the section");
    let (section, _) = section.split_once("\n# ").expect("its end");
    let blocks = section.split("```sh\n").skip(1);
    blocks
        .map(|block| block.split_once("```").expect("the end of a block").0.to_owned())
        .collect()
}

/// A folder in which the steps mean the test's server, this program and this checkout; the service listens on a port.
fn newcomer(fixture: &Fixture, port: &Port) -> Desk {
    let (_, place) = fixture.address().split_once("://").expect("an address");
    let (user, place) = place.split_once('@').expect("a user");
    let (host, rest) = place.split_once(':').expect("a port");
    let (theirs, _) = rest.split_once('/').expect("a name");
    let mut desk = Desk::new(env!("CARGO_BIN_EXE_ci-cache-tested"));
    if let Some(promtool) = std::env::var_os("CI_CACHE_TEST_PROMTOOL") {
        std::os::unix::fs::symlink(promtool, desk.path("bin/promtool")).expect("a link");
    }
    for (name, value) in [
        ("PGHOST", host),
        ("PGPORT", theirs),
        ("PGUSER", user),
        ("LISTEN", &format!("127.0.0.1:{}", port.number())),
        ("CHECKOUT", &checkout().display().to_string()),
    ] {
        desk.set(name, value);
    }
    desk
}

#[tokio::test]
async fn the_steps_of_the_documentation_lead_to_a_running_service() {
    let fixture = Fixture::postgres().await;
    let away = "DROP DATABASE IF EXISTS cmdb WITH (FORCE)";
    // Left by a run that was ended in the middle.
    fixture.execute(away).await;
    fixture.execute("DROP ROLE IF EXISTS ci_cache").await;
    let port = Port::take();
    let desk = newcomer(&fixture, &port);
    let steps = steps();
    assert_eq!(steps.len(), SAID.len());
    let mut script =
        "SERVICE=\ntrap '[ -z \"$SERVICE\" ] || kill $SERVICE 2>/dev/null || true' EXIT\n".to_owned();
    for (at, step) in steps.iter().enumerate() {
        // Writing into a text cannot fail.
        let _ = writeln!(script, "echo '=== step {at}'\n{step}");
    }
    script.push_str("echo '=== the end'\n");
    let done = desk.run(&script);
    let log = std::fs::read_to_string(desk.path("service.log")).unwrap_or_default();
    assert_eq!(done.code, 0, "{}{}{log}", done.out, done.err);
    let said: Vec<&str> = done.out.split("=== step ").skip(1).collect();
    assert_eq!(said.len(), steps.len());
    for (step, wanted) in said.iter().zip(SAID) {
        for wanted in wanted {
            assert!(step.contains(wanted), "step {step} does not say {wanted}");
        }
    }
    assert!(done.out.trim_end().ends_with("=== the end"));
    // Neither the log nor what was printed tells a secret.
    let told = format!("{}{}{log}", done.out, done.err);
    for file in ["admin.token", "importer.token", "prometheus.token"] {
        let token = std::fs::read_to_string(desk.path(file)).expect("a token");
        assert!(
            token.starts_with("cic_") && !told.contains(token.trim()),
            "{file}"
        );
    }
    assert!(!told.contains("change-me"));
    fixture.execute(away).await;
    fixture.execute("DROP ROLE ci_cache").await;
    fixture.finish().await;
}
