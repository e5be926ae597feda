//! The doctor finds every fault that is planted, and what it says mends it.

mod postgres;
mod shared;
mod sqlite;

use ci_tests::program::Desk;
use serde_json::Value;

fn desk(database: &str) -> Desk {
    let mut desk = Desk::new(env!("CARGO_BIN_EXE_ci-cache-tested"));
    desk.set("CI_CACHE_DATABASE", database);
    desk.set("CI_CACHE_LISTEN", "127.0.0.1:0");
    desk
}

/// One check of what the doctor says.
fn check(said: &Value, name: &str) -> Value {
    let checks = said["checks"].as_array().expect("checks");
    let mut found = checks.iter().filter(|one| one["check"] == name);
    let one = found
        .next()
        .unwrap_or_else(|| panic!("no check `{name}`: {said}"));
    assert!(found.next().is_none(), "two checks `{name}`: {said}");
    one.clone()
}

/// The check says so, and everything else is in order.
fn finds_alone(desk: &Desk, arguments: &str, name: &str, verdict: &str, told: &str) -> Value {
    let (said, code) = desk.doctor(arguments);
    let one = check(&said, name);
    assert_eq!(one["verdict"], verdict, "{said}");
    let what = one["what"].as_str().expect("a text");
    assert!(what.contains(told), "{what}");
    for other in said["checks"].as_array().expect("checks") {
        assert!(other["check"] == name || other["verdict"] == "ok", "{said}");
    }
    assert_eq!(code, if verdict == "failure" { 6 } else { 0 }, "{said}");
    one
}

/// Runs the command that the check gives.
fn mends(desk: &Desk, one: &Value) {
    let command = one["command"]
        .as_str()
        .unwrap_or_else(|| panic!("no command: {one}"));
    let done = desk.run(command);
    assert_eq!(done.code, 0, "{command}: {}", done.err);
}

fn is_well(desk: &Desk, arguments: &str) {
    let (said, code) = desk.doctor(arguments);
    assert_eq!(
        (code, &said["failures"], &said["warnings"]),
        (0, &0.into(), &0.into()),
        "{said}"
    );
}
