//! What the settings of the service say about AI assistants holds.

use ci_tests::program::{Desk, Served};
use serde_json::{Value, json};

const PROGRAM: &str = env!("CARGO_BIN_EXE_ci-cache-tested");

/// Asks for a tool with this `host`.
fn ask(service: &Served, host: &str) -> (String, String) {
    let message = json!({
        "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": {"name": "search", "arguments": {"limit": 50}},
    });
    let headers = format!("host: {host}\r\naccept: application/json, text/event-stream\r\n");
    let answer = service.ask("POST", "/v1/acme/mcp", &headers, &message.to_string());
    let (head, body) = answer.split_once("\r\n\r\n").expect("a body");
    let status = head.split(' ').nth(1).expect("a status");
    (status.to_owned(), body.to_owned())
}

#[test]
fn assistants_ask_by_the_names_that_are_set_and_are_answered_within_the_bytes() {
    let service = Served::start(PROGRAM, "");
    assert_eq!(ask(&service, "cmdb.example").0, "403");
    assert_eq!(ask(&service, "localhost").0, "200");
    assert_eq!(service.stop(), 0);

    let service = Served::start(
        PROGRAM,
        "--mcp-hosts cmdb.example,other.example --mcp-answer-bytes 8KiB",
    );
    for code in 0..50 {
        let ci = json!({"ci_name": "n".repeat(200), "ci_type": "t"}).to_string();
        let path = format!("/v1/acme/cis/a-{code:02}");
        assert_eq!(service.status("PUT", &path, "", &ci), 201);
    }
    assert_eq!(ask(&service, "localhost").0, "403");
    for host in ["cmdb.example", "other.example"] {
        let (status, body) = ask(&service, host);
        assert_eq!(status, "200", "{body}");
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        let text = answer["result"]["content"][0]["text"].as_str().expect("a text");
        assert!(text.len() <= 8_192 && text.len() > 4_096, "{}", text.len());
    }
    assert_eq!(service.stop(), 0);
}

#[test]
fn what_is_no_name_and_no_bound_is_refused_before_the_service_starts() {
    let desk = Desk::new(PROGRAM);
    for (arguments, told) in [
        ("--mcp-hosts http://cmdb.example", "`mcp_hosts`"),
        (
            "--mcp-answer-bytes 8191",
            "`mcp_answer_bytes` is not from 8KiB to 1024KiB",
        ),
        ("--mcp-answer-bytes 1048577", "`mcp_answer_bytes` is not from"),
    ] {
        let done = desk.run(&format!(
            "ci-cache config check --database sqlite:a.db {arguments}"
        ));
        assert_eq!(done.code, 2, "{}", done.err);
        assert!(done.err.contains(told), "{}", done.err);
    }
    for bytes in ["8KiB", "1MiB"] {
        let done = desk.run(&format!(
            "ci-cache config check --database sqlite:a.db --mcp-answer-bytes {bytes}"
        ));
        assert_eq!(done.code, 0, "{}", done.err);
    }
}
