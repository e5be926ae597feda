//! Requests to every route of the service, in process and without a database: none makes a handler panic or fail, and each that is refused is
//! refused by a problem that says what kind it is.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use ci_runner::Runner;
use ci_server::http::{self, AppState, PROBLEM_JSON, ServerOptions};
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use super::Defect;
use super::bodies::body;
use super::nothing::Nothing;
use super::questions::{filter, word};
use super::shapes::fitting;
use crate::bytes::Bytes;

/// The route that is not in the document: it speaks the Model Context Protocol.
const ASSISTANTS: &str = "/v1/{tenant}/mcp";
/// Longer answers than this are too long for a store with nothing in it; the document itself is the longest.
const MOST: usize = 4 << 20;
/// Headers that mean something to the service.
const HEADERS: [&str; 8] = [
    "x-ci-token",
    "if-none-match",
    "if-match",
    "accept",
    "authorization",
    "accept-encoding",
    "content-encoding",
    "origin",
];
const KINDS: [&str; 6] = [
    "application/json",
    "application/json",
    "application/x-ndjson",
    "application/gzip",
    "text/plain",
    "a/b;c=\"",
];

/// What a method of a route is asked with.
struct Operation {
    method: Method,
    path: String,
    /// Those in the query.
    parameters: Vec<Parameter>,
    /// The schema of its body.
    body: Value,
}

/// A parameter of a query.
struct Parameter {
    name: String,
    schema: Value,
    is_required: bool,
}

/// What the service tells of itself.
struct Known {
    document: Value,
    operations: Vec<Operation>,
    /// Every name of a member.
    members: Vec<String>,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let document: Value = serde_json::from_str(http::document()).expect("the document is JSON");
    let (mut operations, mut members) = (vec![assistants()], Vec::new());
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("operations") {
            operations.push(described(method, path, operation));
        }
    }
    collect_members(&document, &mut members);
    members.sort_unstable();
    members.dedup();
    Known {
        document,
        operations,
        members,
    }
});

fn described(method: &str, path: &str, operation: &Value) -> Operation {
    let all = operation["parameters"].as_array().into_iter().flatten();
    let in_query = all.filter(|parameter| parameter["in"] == "query");
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    Operation {
        method: method.to_uppercase().parse().expect("a method"),
        path: path.to_owned(),
        parameters: in_query
            .map(|parameter| Parameter {
                name: parameter["name"].as_str().unwrap_or_default().to_owned(),
                schema: parameter["schema"].clone(),
                is_required: parameter["required"] == true,
            })
            .collect(),
        // The lines of an import are told in words alone.
        body: if path.ends_with("/import") {
            json!({"$ref": "#/components/schemas/CiDraft"})
        } else {
            body.clone()
        },
    }
}

/// The operation that is not in the document.
fn assistants() -> Operation {
    let text = || json!({"type": "string"});
    let texts = || json!({"type": "array", "items": {"type": "string"}});
    let arguments = json!({"type": "object", "properties": {
        "ci": text(), "from": text(), "to": text(), "keywords": text(), "filters": texts(), "fields": texts(), "types": texts(),
        "by": texts(), "limit": {"type": "integer"}, "depth": {"type": "integer"}, "cursor": text(), "total": {"type": "boolean"},
    }});
    let params = json!({"type": "object", "required": ["name", "arguments"], "properties": {
        "name": {"enum": ["search", "get", "related", "impact", "path", "count", "changes", "none"]}, "arguments": arguments,
    }});
    let body = json!({"type": "object", "required": ["jsonrpc", "id", "method", "params"], "properties": {
        "jsonrpc": {"enum": ["2.0"]}, "id": {"type": "integer"}, "params": params,
        "method": {"enum": ["tools/call", "tools/call", "tools/list", "initialize", "ping", "none"]},
    }});
    Operation {
        method: Method::POST,
        path: ASSISTANTS.to_owned(),
        parameters: Vec::new(),
        body,
    }
}

fn collect_members(value: &Value, into: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            if let Some(Value::Object(properties)) = object.get("properties") {
                into.extend(properties.keys().cloned());
            }
            object.values().for_each(|value| collect_members(value, into));
        }
        Value::Array(items) => items.iter().for_each(|value| collect_members(value, into)),
        _ => (),
    }
}

/// Where requests go: made once in each thread, because the routes take long to put together.
struct Place {
    runtime: Runtime,
    router: Router,
    planted: Option<Defect>,
}

impl Place {
    fn new(planted: Option<Defect>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let inside = runtime.enter();
        let runner = Runner::builder(Arc::new(Nothing(planted)))
            .max_entries(200)
            .build()
            .expect("a runner");
        let router = http::router(AppState::new(runner, ServerOptions::default()));
        drop(inside);
        Self {
            runtime,
            router,
            planted,
        }
    }
}

/// Sends one request.
pub(super) fn check(bytes: &mut Bytes<'_>, planted: Option<Defect>) {
    thread_local!(static PLACE: RefCell<Option<Place>> = const { RefCell::new(None) });
    let Some(request) = request(bytes) else { return };
    PLACE.with_borrow_mut(|place| {
        // A test plants one defect after the other.
        if place.as_ref().is_some_and(|place| place.planted != planted) {
            *place = None;
        }
        let place = place.get_or_insert_with(|| Place::new(planted));
        place.runtime.block_on(answered(&place.router, request, planted));
    });
}

fn request(bytes: &mut Bytes<'_>) -> Option<Request<Body>> {
    let Known {
        document,
        operations,
        members,
    } = &*KNOWN;
    let operation = &operations[usize::from(bytes.byte()) % operations.len()];
    let form = bytes.byte();
    let path = path(&operation.path, bytes);
    let query = if form & 3 != 0 {
        query(&operation.parameters, document, bytes)
    } else {
        allowed(bytes.take(48), b"?=&%+")
    };
    let uri: Uri = format!("{path}?{query}").parse().ok()?;
    let mut request = Request::builder()
        .method(&operation.method)
        .uri(uri)
        .header(header::HOST, "localhost");
    if form & 0x1C == 4 {
        request = request.header(
            bytes.pick(HEADERS).parse::<HeaderName>().ok()?,
            HeaderValue::from_bytes(value(bytes).as_bytes()).ok()?,
        );
    }
    let is_mcp = operation.path == ASSISTANTS;
    if is_mcp {
        request = request.header(header::ACCEPT, "application/json, text/event-stream");
    }
    let kind = if form & 0xE0 == 0x20 {
        bytes.pick(KINDS)
    } else {
        KINDS[0]
    };
    request = request.header(header::CONTENT_TYPE, kind);
    request
        .body(body(bytes, &operation.body, document, members).into())
        .ok()
}

/// The path with segments for its parameters, mostly such as there may be.
fn path(route: &str, bytes: &mut Bytes<'_>) -> String {
    let segment = |bytes: &mut Bytes<'_>| match bytes.byte() % 16 {
        0 => escaped(&word(bytes)),
        1 => allowed(bytes.take(8), b"%"),
        _ => "acme".to_owned(),
    };
    let mut path = route.replace("{tenant}", &segment(bytes));
    if path.contains("{id_or_code}") {
        path = path.replace("{id_or_code}", &segment(bytes));
    }
    path
}

/// Parameters that the operation needs, some of the others, and now and then one too many.
fn query(known: &[Parameter], document: &Value, bytes: &mut Bytes<'_>) -> String {
    let mut parts = Vec::new();
    for parameter in known {
        let given = bytes.byte();
        if parameter.is_required || given.is_multiple_of(4) {
            let value = if given < 32 {
                value(bytes)
            } else {
                queried(&fitting(&parameter.schema, document, bytes, 0))
            };
            parts.push((parameter.name.clone(), value));
        }
    }
    if bytes.byte().is_multiple_of(8) {
        let name = bytes.pick(["q", "filter", "level", "limit", "type", "cursor", ""]);
        parts.push((name.to_owned(), value(bytes)));
    }
    let pairs = parts
        .iter()
        .map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
    pairs.collect::<Vec<_>>().join("&")
}

/// A value as it is told in a query, where a list is told item by item.
fn queried(value: &Value) -> String {
    let first = value.as_array().and_then(|items| items.first());
    match first.unwrap_or(value) {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn value(bytes: &mut Bytes<'_>) -> String {
    const WORDS: [&str; 16] = [
        "true",
        "false",
        "strong",
        "bypass",
        "cached",
        "IMPACT",
        "PATH",
        "both",
        "ci_name:desc",
        "ci_type,status",
        "updated",
        "relations",
        "0",
        "4294967296",
        "*",
        "\"a\"",
    ];
    match bytes.byte() % 4 {
        0 => bytes.pick(WORDS).to_owned(),
        1 => filter(bytes),
        2 => bytes.micros().to_string(),
        _ => word(bytes),
    }
}

/// A text as it stands in a path or a query.
fn escaped(text: &str) -> String {
    let escape = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

/// Bytes of which those that cannot stand in an address are left out.
fn allowed(bytes: &[u8], others: &[u8]) -> String {
    let fit = bytes
        .iter()
        .filter(|byte| byte.is_ascii_alphanumeric() || b"-_.~:!".contains(byte) || others.contains(byte));
    fit.map(|byte| char::from(*byte)).collect()
}

async fn answered(router: &Router, request: Request<Body>, planted: Option<Defect>) {
    let what = format!("{} {}", request.method(), request.uri());
    let mut response = router
        .clone()
        .oneshot(request)
        .await
        .unwrap_or_else(|never| match never {});
    if planted == Some(Defect::RefusesInPlainText) && response.status().is_client_error() {
        response
            .headers_mut()
            .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    }
    judge(&what, response).await;
}

/// What holds for every answer. Of the failures only those are allowed by which a service says that it cannot do something now.
async fn judge(what: &str, response: Response<Body>) {
    let status = response.status();
    let kind = response.headers().get(header::CONTENT_TYPE).cloned();
    let kind = kind
        .as_ref()
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or_default();
    if status.is_success() && kind.starts_with("text/event-stream") {
        return; // It never ends.
    }
    let body = to_bytes(response.into_body(), MOST)
        .await
        .expect("a body that ends");
    let shown = String::from_utf8_lossy(&body);
    assert!(
        status.as_u16() != 500 && (!status.is_server_error() || status.as_u16() == 503),
        "{what}: {status} {shown}"
    );
    if status.is_success() && kind.starts_with("application/json") {
        let read: Result<Value, _> = serde_json::from_slice(&body);
        assert!(read.is_ok(), "{what}: {shown} is not JSON");
    }
    if !status.is_client_error() && !status.is_server_error() {
        return;
    }
    if kind.starts_with("application/json") {
        // An error of the protocol.
        let read: Value = serde_json::from_slice(&body).unwrap_or_default();
        assert!(
            what.contains("/mcp?") && read["error"]["code"].is_i64(),
            "{what}: {status} {shown}"
        );
        return;
    }
    assert_eq!(kind, PROBLEM_JSON, "{what}: {status} {shown}");
    let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
    let is_typed = problem["type"]
        .as_str()
        .is_some_and(|kind| kind.starts_with("/problems/"));
    assert!(
        is_typed && problem["status"] == status.as_u16(),
        "{what}: {shown}"
    );
}
