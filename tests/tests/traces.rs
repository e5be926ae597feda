//! Traces: a collector hears of each request, in the trace that its sender began, and of nothing secret; without a collector all goes on.
#![allow(clippy::unwrap_used, reason = "a test stops at what it did not expect")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use ci_tests::program::{Desk, Served};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use tokio::net::TcpListener;

/// The example of the specification (W3C Trace Context, 3.2.2.3), sampled.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";
/// In the path, the query, a header and the body: what no collector may hear of.
const CANARY: &str = "canary-4711";

/// What a collector was sent.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<Vec<(String, Bytes)>>>);

impl Heard {
    /// An address at which everything is heard.
    async fn listen(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .route("/v1/traces", post(collect))
            .with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        format!("http://{address}")
    }

    fn spans(&self) -> Vec<(String, Span)> {
        let mut spans = Vec::new();
        for (kind, body) in self.0.lock().unwrap().iter() {
            assert_eq!(kind, "application/x-protobuf");
            let heard = ExportTraceServiceRequest::decode(body.clone()).unwrap();
            for resource in heard.resource_spans {
                let service = text(&resource.resource.unwrap().attributes, "service.name");
                let of = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
                spans.extend(of.map(|span| (service.clone(), span)));
            }
        }
        spans
    }
}

async fn collect(State(heard): State<Heard>, headers: HeaderMap, body: Bytes) {
    let kind = headers["content-type"].to_str().unwrap().to_owned();
    heard.0.lock().unwrap().push((kind, body));
}

/// An attribute's value, as a text.
fn text(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|one| one.key == key);
    let value = found.and_then(|one| one.value.clone()?.value);
    match value {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(yes)) => yes.to_string(),
        other => format!("{other:?}"),
    }
}

fn hex(id: &[u8]) -> String {
    id.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn start(arguments: &str) -> Served {
    Served::start(env!("CARGO_BIN_EXE_ci-cache-tested"), arguments)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_a_span_of_the_trace_that_its_sender_began_and_tells_nothing_secret() {
    let heard = Heard::default();
    let service = start(&format!(
        "--otel-endpoint {} --otel-service cmdb",
        heard.listen().await
    ));
    let parent = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n");
    let secret = format!("{parent}authorization: Bearer {CANARY}\r\ncookie: a={CANARY}\r\n");
    let ci = format!("{{\"ci_name\": \"{CANARY}\", \"ci_type\": \"HW\"}}");
    let path = format!("/v1/acme/cis/{CANARY}");
    assert_eq!(service.status("PUT", &path, &secret, &ci), 201);
    assert_eq!(
        service.status("GET", &format!("/v1/acme/cis?q={CANARY}"), &secret, ""),
        200
    );
    // An unknown path, and a header that is none.
    assert_eq!(service.status("GET", &format!("/{CANARY}"), "", ""), 404);
    assert_eq!(
        service.status("GET", &path, "traceparent: 00-zz-zz-01\r\n", ""),
        200
    );
    // Its sender does not want to have it traced.
    let unsampled = format!("traceparent: 00-{TRACE}-{PARENT}-00\r\n");
    assert_eq!(service.status("GET", "/v1/acme/list", &unsampled, ""), 200);
    // What is left is sent before the process ends.
    assert_eq!(service.stop(), 0);

    let spans = heard.spans();
    for (_, body) in heard.0.lock().unwrap().iter() {
        let body = String::from_utf8_lossy(body);
        assert!(!body.contains("canary"), "{body}");
    }
    assert!(spans.iter().all(|(service, _)| service == "cmdb"));
    let requests: BTreeMap<&str, &Span> = spans
        .iter()
        .filter(|(_, span)| !text(&span.attributes, "http.request.method").contains("None"))
        .map(|(_, span)| (span.name.as_str(), span))
        .collect();
    let names: Vec<&str> = requests.keys().copied().collect();
    assert_eq!(
        names,
        [
            "GET",
            "GET /v1/{tenant}/cis",
            "GET /v1/{tenant}/cis/{id_or_code}",
            "PUT /v1/{tenant}/cis/{id_or_code}"
        ]
    );
    for (name, parent, status) in [
        ("PUT /v1/{tenant}/cis/{id_or_code}", Some(PARENT), "201"),
        ("GET /v1/{tenant}/cis", Some(PARENT), "200"),
        ("GET", None, "404"),
        ("GET /v1/{tenant}/cis/{id_or_code}", None, "200"),
    ] {
        let span = requests[name];
        let trace = hex(&span.trace_id);
        assert_eq!(trace == TRACE, parent.is_some(), "{name}");
        assert_eq!(trace.len(), 32, "{name}");
        assert_eq!(hex(&span.parent_span_id), parent.unwrap_or_default(), "{name}");
        assert_eq!(
            text(&span.attributes, "http.response.status_code"),
            status,
            "{name}"
        );
        // Of a server (2).
        assert_eq!(span.kind, 2, "{name}");
    }
    let new: Vec<String> = ["GET", "GET /v1/{tenant}/cis/{id_or_code}"]
        .iter()
        .map(|name| hex(&requests[name].trace_id))
        .collect();
    assert_ne!(new[0], new[1], "two traces of their own");
    // The question below the request is in its trace, and says how it was answered.
    let search = spans
        .iter()
        .map(|(_, span)| span)
        .find(|span| text(&span.attributes, "operation") == "search")
        .unwrap();
    let request = requests["GET /v1/{tenant}/cis"];
    assert_eq!(hex(&search.trace_id), TRACE);
    assert_eq!(search.parent_span_id, request.span_id);
    assert_eq!(text(&search.attributes, "cache_hit"), "false");
}

#[tokio::test(flavor = "multi_thread")]
async fn none_is_sent_of_a_share_of_none() {
    let heard = Heard::default();
    let service = start(&format!(
        "--otel-endpoint {}/ --otel-sample 0",
        heard.listen().await
    ));
    assert_eq!(service.status("GET", "/v1/acme/list", "", ""), 200);
    let sampled = format!("traceparent: 00-{TRACE}-{PARENT}-01\r\n");
    assert_eq!(service.status("GET", "/v1/acme/aggregate", &sampled, ""), 200);
    assert_eq!(service.stop(), 0);
    let spans = heard.spans();
    assert!(!spans.is_empty(), "its sender wanted to have it traced");
    assert!(spans.iter().all(|(_, span)| hex(&span.trace_id) == TRACE));
}

/// One that takes connections and never answers, and one that is not there: more requests than the queue has room for are answered all the
/// same, and the service stops.
#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_down_costs_no_request() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    // Nobody listens there, and nobody else can.
    let gone = tokio::net::TcpSocket::new_v4().unwrap();
    gone.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    for address in [silent.local_addr().unwrap(), gone.local_addr().unwrap()] {
        let service = start(&format!("--otel-endpoint http://{address} --drain-timeout 1s"));
        for at in 0..3_000 {
            assert_eq!(service.status("GET", "/v1/acme/list", "", ""), 200, "{at}");
        }
        assert_eq!(service.stop(), 0);
    }
}

#[test]
fn what_is_no_collector_is_refused_before_the_service_starts() {
    let desk = Desk::new(env!("CARGO_BIN_EXE_ci-cache-tested"));
    for (arguments, told) in [
        ("--otel-endpoint 127.0.0.1:4318", "neither http:// nor https://"),
        ("--otel-endpoint http://me:canary-4711@collector", "a user's name"),
        ("--otel-sample 2", "`otel_sample`"),
    ] {
        let done = desk.run(&format!(
            "ci-cache config check --database sqlite:a.db {arguments}"
        ));
        assert_eq!(done.code, 2, "{}", done.err);
        assert!(done.err.contains(told), "{}", done.err);
        assert!(!done.err.contains("4711"), "{}", done.err);
    }
    desk.file("c.toml", "database = 'sqlite:a.db'\notel_sample = 0.25\n");
    let done = desk.run("ci-cache config check --config c.toml");
    assert_eq!(done.code, 0, "{}", done.err);
    assert!(done.out.contains("0.25"), "{}", done.out);
}
