//! The Model Context Protocol over HTTP: who is let in, from where, and what a database that fails looks like.

use axum::body::Body;
use axum::http::Method;
use ci_server::access::{Access, Role};
use ci_server::http::{AppState, PROBLEM_JSON, ServerOptions, router};
use ci_tests::fixture::{Fixture, on_both};
use serde_json::{Value, json};

use crate::access::Guarded;
use crate::broken::{self, Fault};
use crate::service::{Reply, Service, fill};

const URI: &str = "/v1/acme/mcp";
/// What every client sends.
const CLIENT: [(&str, &str); 3] = [
    ("content-type", "application/json"),
    ("accept", "application/json, text/event-stream"),
    ("host", "localhost:8642"),
];

/// Sends a message with the headers of a client, of which some are others.
async fn post(service: &Service, uri: &str, others: &[(&str, &str)], body: &str) -> Reply {
    let mut headers: Vec<(&str, &str)> = CLIENT.to_vec();
    headers.retain(|(name, _)| others.iter().all(|(other, _)| other != name));
    headers.extend(others.iter().filter(|(_, value)| !value.is_empty()));
    service
        .raw(Method::POST, uri, &headers, Body::from(body.to_owned()))
        .await
}

fn message(method: &str, params: &Value) -> String {
    json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).to_string()
}

fn call(tool: &str, arguments: &Value) -> String {
    message("tools/call", &json!({"name": tool, "arguments": arguments}))
}

/// The result of a call that was let in.
async fn result(service: &Service, tool: &str, arguments: &Value) -> Value {
    let reply = post(service, URI, &[], &call(tool, arguments)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("application/json"));
    assert_eq!(reply.header("cache-control"), Some("private, no-cache"));
    let body = reply.json();
    assert_eq!(body["id"], 7, "{body}");
    body["result"].clone()
}

fn is_problem(reply: &Reply, status: u16, kind: &str) {
    assert_eq!(reply.status, status, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some(PROBLEM_JSON));
    assert_eq!(reply.json()["type"], format!("/problems/{kind}"));
}

#[tokio::test]
async fn messages_are_answered_one_by_one_without_a_session() {
    on_both(async |fixture| {
        let service = Service::estate(fixture).await;
        let client = json!({"name": "test", "version": "1"});
        let hello = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
        let reply = post(&service, URI, &[], &message("initialize", &hello)).await;
        assert_eq!((reply.status, reply.header("mcp-session-id")), (200, None));
        assert_eq!(reply.json()["result"]["serverInfo"]["name"], "ci-cache");
        let begun = json!({"jsonrpc": "2.0", "method": "notifications/initialized"}).to_string();
        assert_eq!(post(&service, URI, &[], &begun).await.status, 202);
        let version = [("mcp-protocol-version", "2025-06-18")];
        let reply = post(&service, URI, &version, &message("tools/list", &json!({}))).await;
        assert_eq!(reply.json()["result"]["tools"].as_array().map(Vec::len), Some(7));
        for (cache, age) in [("miss", 1), ("hit", 2)] {
            let told = result(
                &service,
                "search",
                &json!({"filters": ["ci_type=SW"], "limit": 3}),
            )
            .await;
            let told = &told["structuredContent"];
            assert_eq!(told["freshness"]["cache"], cache, "question {age}: {told}");
            assert_eq!(told["items"].as_array().map(Vec::len), Some(3));
        }
        let lost = result(&service, "get", &json!({"ci": "nobody"})).await;
        assert_eq!(lost["isError"], true, "{lost}");
    })
    .await;
}

#[tokio::test]
async fn the_current_protocol_takes_no_greeting() {
    let fixture = Fixture::sqlite();
    let service = Service::estate(&fixture).await;
    let meta = json!({
        "io.modelcontextprotocol/protocolVersion": "2026-07-28",
        "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    });
    let asked = async |method: &str, name: Option<&str>, mut params: Value| {
        params["_meta"] = meta.clone();
        let mut headers = vec![("mcp-protocol-version", "2026-07-28"), ("mcp-method", method)];
        headers.extend(name.map(|name| ("mcp-name", name)));
        let reply = post(&service, URI, &headers, &message(method, &params)).await;
        assert_eq!(reply.status, 200, "{method}: {}", reply.text());
        reply.json()["result"].clone()
    };
    let hello = asked("server/discover", None, json!({})).await;
    assert!(
        hello["supportedVersions"].to_string().contains("2026-07-28"),
        "{hello}"
    );
    let tools = asked("tools/list", None, json!({})).await;
    assert_eq!(tools["tools"].as_array().map(Vec::len), Some(7), "{tools}");
    let counted = asked(
        "tools/call",
        Some("count"),
        json!({"name": "count", "arguments": {}}),
    )
    .await;
    assert!(
        counted["structuredContent"]["items"][0]["count"].as_u64() > Some(0),
        "{counted}"
    );
}

#[tokio::test]
async fn only_who_may_read_the_tenant_is_answered() {
    let fixture = Fixture::sqlite();
    fill(&*fixture.open().await, "other", ci_bench::Estate::new(1, 60)).await;
    let mut guarded = Guarded::new(&fixture).await;
    let mut callers = vec![(None, "nobody", 401)];
    for role in [Role::Read, Role::Write, Role::Admin] {
        for (tenants, status) in [(&["acme"][..], 200), (&["other"], 403), (&[], 200)] {
            let token = guarded.token(&fixture, role, tenants).await;
            callers.push((Some(token), "somebody", status));
        }
    }
    callers.push((Some("no-token".into()), "a guess", 401));
    let everything = call("search", &json!({}));
    for (token, who, status) in callers {
        let bearer = token.map(|token| format!("Bearer {token}"));
        let bearer: Vec<(&str, &str)> = bearer
            .iter()
            .map(|value| ("authorization", value.as_str()))
            .collect();
        for body in [everything.as_str(), "", "{", "[]"] {
            let reply = post(&guarded.service, URI, &bearer, body).await;
            if status != 200 {
                let kind = if status == 401 {
                    "unauthenticated"
                } else {
                    "forbidden"
                };
                is_problem(&reply, status, kind);
            } else if body == everything {
                // The other tenant has CIs; this one has none.
                assert_eq!(
                    reply.json()["result"]["structuredContent"]["items"],
                    json!([]),
                    "{who}"
                );
            }
        }
        // Where a token is needed any name will do: a proxy in front has names of its own.
        let named = [bearer, vec![("host", "cmdb.example.com")]].concat();
        assert_eq!(
            post(&guarded.service, URI, &named, &everything).await.status,
            status
        );
    }
}

#[tokio::test]
async fn pages_of_other_sites_are_not_answered() {
    let fixture = Fixture::sqlite();
    let open = Service::empty(&fixture).await;
    let list = message("tools/list", &json!({}));
    for (header, value, status) in [
        ("host", "localhost", 200),
        ("host", "127.0.0.1:8642", 200),
        ("host", "[::1]:8642", 200),
        ("host", "rebound.example.com", 403),
        ("host", "localhost.example.com:8642", 403),
        ("origin", "https://rebound.example.com", 403),
        ("origin", "http://localhost:8642", 403),
        ("origin", "null", 403),
    ] {
        let reply = post(&open, URI, &[(header, value)], &list).await;
        if status == 403 {
            is_problem(&reply, 403, "forbidden");
        } else {
            assert_eq!(reply.status, status, "{header}: {value}: {}", reply.text());
        }
    }
    let runner = ci_tests::fixture::patient(fixture.open().await)
        .build()
        .expect("a runner");
    let options = ServerOptions::default().mcp_hosts(["cmdb.example.com"]);
    let named = Service::of(router(AppState::guarded(runner, options, Access::open())));
    for (host, status) in [("cmdb.example.com", 200), ("localhost", 403)] {
        assert_eq!(
            post(&named, URI, &[("host", host)], &list).await.status,
            status,
            "{host}"
        );
    }
}

#[tokio::test]
async fn what_is_no_message_is_refused() {
    let fixture = Fixture::sqlite();
    let service = Service::empty(&fixture).await;
    let list = message("tools/list", &json!({}));
    let refused = async |others: &[(&str, &str)], body: &str| post(&service, URI, others, body).await;
    is_problem(
        &refused(&[("content-type", "text/plain")], &list).await,
        415,
        "unsupported-media-type",
    );
    is_problem(
        &refused(&[("accept", "application/json")], &list).await,
        400,
        "invalid-input",
    );
    is_problem(
        &refused(&[("mcp-protocol-version", "1999-01-01")], &list).await,
        400,
        "invalid-input",
    );
    let large = format!("{list}{}", " ".repeat(1 << 20));
    is_problem(&refused(&[], &large).await, 413, "body-too-large");
    for body in ["", "{", "[]", "{\"jsonrpc\": \"2.0\"}", &"[".repeat(10_000)] {
        let status = refused(&[], body).await.status;
        assert!((400..500).contains(&status), "{status} for {body:.40}");
    }
    is_problem(
        &post(&service, "/v1/%20/mcp", &[], &list).await,
        400,
        "invalid-input",
    );
    for method in [Method::GET, Method::DELETE, Method::PUT] {
        let reply = service.raw(method, URI, &CLIENT, Body::empty()).await;
        is_problem(&reply, 405, "method-not-allowed");
        assert_eq!(reply.header("allow"), Some("POST"));
    }
}

#[tokio::test]
async fn a_database_that_fails_is_told_as_a_failure() {
    let tools = [
        ("search", json!({})),
        ("search", json!({"total": true, "fields": ["attributes"]})),
        ("get", json!({"ci": "a"})),
        ("impact", json!({"ci": "a"})),
        ("related", json!({"ci": "a"})),
        ("path", json!({"from": "a", "to": "b"})),
        ("what_changed", json!({})),
        ("count", json!({})),
    ];
    for (fault, says) in [
        (broken::down(), "cannot be reached"),
        (broken::corrupt(), "in the log"),
        (Fault::Panics, "in the log"),
    ] {
        let service = Service::broken(fault, ServerOptions::default());
        for (tool, arguments) in &tools {
            let result = result(&service, tool, arguments).await;
            let said = result.to_string();
            assert_eq!(result["isError"], true, "{tool}: {said}");
            assert!(
                said.contains(says) && said.contains("not an empty answer"),
                "{tool}: {said}"
            );
            assert!(
                !said.contains("hunter2") && result.get("structuredContent").is_none(),
                "{tool}: {said}"
            );
        }
    }
    // A token that was good, and a feed that cannot be read.
    let fixture = Fixture::sqlite();
    let told = result(&Service::estate(&fixture).await, "what_changed", &json!({})).await;
    let since = json!({"since": told["structuredContent"]["next"]});
    let service = Service::broken(broken::down(), ServerOptions::default());
    let failed = result(&service, "what_changed", &since).await;
    assert!(
        failed["isError"] == true && failed.to_string().contains("not an empty answer"),
        "{failed}"
    );
}

#[tokio::test]
async fn answers_are_as_large_as_the_service_allows_and_end_with_it() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    fill(&*store, "acme", ci_bench::Estate::new(1, 300)).await;
    for bytes in [0, 8_192, 30_000] {
        let options = ServerOptions::default().mcp_answer_bytes(bytes);
        let service = Service::over(std::sync::Arc::clone(&store), options);
        let result = result(&service, "search", &json!({"limit": 300})).await;
        let text = result["content"][0]["text"].as_str().expect("a text");
        assert!(text.len() <= bytes.max(8_192), "{} of {bytes}", text.len());
        assert!(
            !result["structuredContent"]["left_out"]
                .as_array()
                .expect("notes")
                .is_empty()
        );
    }
    let options = ServerOptions::default().concurrency(0);
    let full = Service::broken(Fault::Hangs, options);
    is_problem(
        &post(&full, URI, &[], &call("count", &json!({}))).await,
        503,
        "overloaded",
    );
    let options = ServerOptions::default().request_timeout(std::time::Duration::from_millis(1));
    let late = Service::broken(Fault::Hangs, options);
    is_problem(
        &post(&late, URI, &[], &call("count", &json!({}))).await,
        503,
        "timeout",
    );
}
