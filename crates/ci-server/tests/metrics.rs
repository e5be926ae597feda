//! `/metrics` of the program, read by Prometheus's own tool.

#[allow(dead_code, reason = "the tests of the command line use the rest")]
mod program;

use std::io::Write as _;
use std::process::{Command, Stdio};

use program::{Place, Service};

/// Where `cargo xtask test` says promtool is.
const PROMTOOL: &str = "CI_CACHE_TEST_PROMTOOL";

/// What `promtool check metrics` says of a page; nothing when it has no objection.
fn objections(page: &str) -> String {
    let program = std::env::var_os(PROMTOOL).unwrap_or_else(|| "promtool".into());
    let child = Command::new(&program)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = child.unwrap_or_else(|error| {
        panic!(
            "{} does not run ({error}); run `cargo xtask test`, which finds or installs it, or set {PROMTOOL}",
            program.display()
        )
    });
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(page.as_bytes()).expect("written");
    drop(stdin);
    let done = child.wait_with_output().expect("it ends");
    let said = [done.stdout, done.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert_eq!(done.status.success(), said.is_empty(), "{said}");
    said
}

#[test]
fn promtool_has_no_objection_to_what_the_program_tells() {
    let place = Place::filled();
    let service = Service::start(place.spawn(&["serve", "--listen", "127.0.0.1:0"]));
    for path in [
        "/v1/acme/cis?q=erp",
        "/v1/acme/cis?q=erp",
        "/v1/acme/dashboard",
        "/v1/%22quoted%5C%C3%A9/list",
        "/nowhere",
    ] {
        service.get(path);
    }
    let answer = service.get("/metrics");
    let (head, page) = answer.split_once("\r\n\r\n").expect("a body");
    assert!(
        head.starts_with("HTTP/1.1 200 OK")
            && head.contains("content-type: text/plain; version=0.0.4; charset=utf-8"),
        "{head}"
    );
    // That of loads comes from the recorder of the process.
    for series in [
        "ci_cache_load_seconds_count{runner=\"main\",operation=\"search\",result=\"ok\"} 1",
        "ci_cache_http_requests_total{runner=\"main\",route=\"/v1/{tenant}/cis\",method=\"GET\",status=\"2xx\"} 2",
        "ci_cache_requests_total{runner=\"main\",tenant=\"\\\"quoted\\\\é\",operation=\"list\",outcome=\"miss\"} 1",
    ] {
        assert!(page.contains(&format!("{series}\n")), "{series} in {page}");
    }
    assert_eq!(objections(page), "");
    assert!(service.stop().success());
}

#[test]
fn promtool_objects_to_a_planted_defect() {
    assert!(objections("# TYPE a_total counter\na_total{b=\"c} 1\n").contains("error"));
    assert!(objections("# TYPE a counter\na 1\n").contains("no help"));
}
