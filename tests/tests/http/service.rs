//! A service without a socket: requests go straight into the router, and every answer is held against the document.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, header};
use ci_bench::Estate;
use ci_model::TenantId;
use ci_server::access::Access;
use ci_server::http::{self, AppState, PROBLEM_JSON, PROMETHEUS_TEXT, ServerOptions, X_CI_TOKEN};
use ci_store::{Store, WriteOptions};
use ci_tests::fixture::Fixture;
use serde_json::{Value, json};
use tower::ServiceExt;

use crate::broken::{Broken, Fault};

pub(crate) static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(http::document()).expect("the document is JSON"));

/// Method, route and status of an answer.
pub(crate) type Seen = (String, String, u16);

pub(crate) struct Service {
    router: Router,
    seen: Mutex<BTreeSet<Seen>>,
}

#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Reply {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).expect("text")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("a text"))
    }

    pub(crate) fn detail(&self) -> String {
        self.json()["detail"].as_str().expect("a detail").to_owned()
    }

    /// The codes of the items.
    pub(crate) fn codes(&self) -> Vec<String> {
        let items = self.json()["items"].as_array().expect("items").clone();
        items
            .iter()
            .map(|ci| ci["ci_code"].as_str().expect("a code").to_owned())
            .collect()
    }
}

impl Service {
    pub(crate) fn over(store: Arc<dyn Store>, options: ServerOptions) -> Self {
        let runner = ci_tests::fixture::patient(store)
            .max_entries(1_000)
            .build()
            .expect("a runner");
        Self {
            router: http::router(AppState::new(runner, options)),
            seen: Mutex::default(),
        }
    }

    /// A service of this router.
    pub(crate) fn of(router: Router) -> Self {
        Self {
            router,
            seen: Mutex::default(),
        }
    }

    /// A service over an empty database.
    pub(crate) async fn empty(fixture: &Fixture) -> Self {
        Self::over(fixture.open().await, unhurried())
    }

    /// A service over a small estate of tenant `acme`.
    pub(crate) async fn estate(fixture: &Fixture) -> Self {
        let store = fixture.open().await;
        fill(&*store, "acme", Estate::new(1, 120)).await;
        Self::over(store, unhurried())
    }

    pub(crate) fn broken(fault: Fault, options: ServerOptions) -> Self {
        Self::over(Arc::new(Broken(fault)), options)
    }

    /// A service over an empty database that lets in whom `access` lets in.
    pub(crate) async fn guarded(fixture: &Fixture, access: Access) -> Self {
        let runner = ci_tests::fixture::patient(fixture.open().await)
            .build()
            .expect("a runner");
        let state = AppState::guarded(runner, ServerOptions::default(), access);
        Self {
            router: http::router(state),
            seen: Mutex::default(),
        }
    }

    /// Asks with a header, as often as it has values.
    pub(crate) async fn get_with(&self, uri: &str, name: &str, values: &[&str]) -> Reply {
        let request = Request::builder().method(Method::GET).uri(uri);
        let request = values
            .iter()
            .fold(request, |request, value| request.header(name, *value));
        self.answer(request.body(Body::empty()).expect("a request")).await
    }

    /// Sends JSON with an API token, or without one.
    pub(crate) async fn send_as(&self, method: Method, uri: &str, token: Option<&str>, body: Body) -> Reply {
        let request = Request::builder()
            .method(&method)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/json");
        let request = match token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request,
        };
        self.answer(request.body(body).expect("a request")).await
    }

    pub(crate) fn seen(&self) -> BTreeSet<Seen> {
        self.seen.lock().expect("not poisoned").clone()
    }

    pub(crate) async fn get(&self, uri: &str) -> Reply {
        self.send(Method::GET, uri, None, Body::empty()).await
    }

    /// Writes a CI of tenant `acme`.
    pub(crate) async fn put_ci(&self, code: &str) {
        let ci = json!({"ci_name": "n", "ci_type": "t"});
        let reply = self.json(Method::PUT, &format!("/v1/acme/cis/{code}"), ci).await;
        assert_eq!(reply.status, 201, "{code}");
    }

    pub(crate) async fn delete(&self, uri: &str) -> Reply {
        self.send(Method::DELETE, uri, None, Body::empty()).await
    }

    /// Sends JSON.
    pub(crate) async fn json(&self, method: Method, uri: &str, body: Value) -> Reply {
        self.send(method, uri, Some("application/json"), body.to_string().into())
            .await
    }

    pub(crate) async fn send(&self, method: Method, uri: &str, kind: Option<&str>, body: Body) -> Reply {
        let mut request = Request::builder().method(&method).uri(uri);
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        self.answer(request.body(body).expect("a request")).await
    }

    /// Sends a request with headers and gives the answer as it is, whether it is documented or not.
    pub(crate) async fn raw(&self, method: Method, uri: &str, headers: &[(&str, &str)], body: Body) -> Reply {
        self.page(with_headers(method, uri, headers, body)).await
    }

    /// Sends a request with headers.
    pub(crate) async fn send_with(
        &self,
        method: Method,
        uri: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Reply {
        self.answer(with_headers(method, uri, headers, body)).await
    }

    /// Asks with tokens that the answer must include.
    pub(crate) async fn get_at_least(&self, uri: &str, tokens: &[&str]) -> Reply {
        self.get_with(uri, X_CI_TOKEN.as_str(), tokens).await
    }

    /// The routes, for what is streamed.
    pub(crate) fn router(&self) -> Router {
        self.router.clone()
    }

    async fn answer(&self, request: Request<Body>) -> Reply {
        let (method, uri) = (request.method().clone(), request.uri().to_string());
        let route = template(request.uri().path());
        let reply = self.page(request).await;
        check(&reply, &method, &uri);
        if let Some(route) = route {
            self.is_documented(&method, &route, &reply);
        }
        reply
    }

    /// Sends a request and gives the answer as it is: that of a page is no JSON, and not in the document.
    pub(crate) async fn page(&self, request: Request<Body>) -> Reply {
        let response = self.router.clone().oneshot(request).await.expect("no error");
        let (parts, body) = response.into_parts();
        Reply {
            status: parts.status.as_u16(),
            headers: parts.headers,
            body: to_bytes(body, usize::MAX).await.expect("a body").to_vec(),
        }
    }

    fn is_documented(&self, method: &Method, route: &str, reply: &Reply) {
        let operation = &DOCUMENT["paths"][route][method.as_str().to_lowercase()];
        if operation.is_null() {
            assert_eq!(reply.status, 405, "{method} {route} is not in the document");
            return;
        }
        let documented = operation["responses"].get(reply.status.to_string());
        assert!(
            documented.is_some(),
            "{method} {route}: {} is not in the document",
            reply.status
        );
        let seen = (method.to_string(), route.to_owned(), reply.status);
        self.seen.lock().expect("not poisoned").insert(seen);
    }
}

/// Default options, but for a bound on the feed's lag: on a machine that stalls for some seconds, who follows changes would be refused.
fn unhurried() -> ServerOptions {
    ServerOptions::default().ready_lag(Duration::from_secs(3_600))
}

fn with_headers(method: Method, uri: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
    let request = Request::builder().method(method).uri(uri);
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(body).expect("a request")
}

/// What holds for every answer.
fn check(reply: &Reply, method: &Method, uri: &str) {
    let kind = reply.header("content-type");
    let what = format!("{method} {uri}: {}", String::from_utf8_lossy(&reply.body));
    if reply.status < 300 && kind == Some(PROMETHEUS_TEXT) {
        assert!(uri.starts_with("/metrics"), "{what}");
        return;
    }
    if reply.status == 304 {
        assert!(reply.body.is_empty() && kind.is_none(), "{what}");
        assert!(reply.header("etag").is_some(), "{what}");
        return;
    }
    if reply.status < 300 && uri.contains("/export") {
        assert_eq!(kind, Some("application/x-ndjson"), "{what}");
        return;
    }
    if reply.status < 300 {
        assert_eq!(kind, Some("application/json"), "{what}");
        let _ = reply.json();
        return;
    }
    assert_eq!(kind, Some(PROBLEM_JSON), "{what}");
    let problem = reply.json();
    assert_eq!(problem["status"], reply.status, "{what}");
    assert!(
        problem["type"]
            .as_str()
            .expect("a type")
            .starts_with("/problems/"),
        "{what}"
    );
    assert!(
        !what.contains("hunter2") && !what.contains("internal.rs"),
        "{what}"
    );
    let temporary = [408, 429, 503].contains(&reply.status);
    assert_eq!(reply.header("retry-after").is_some(), temporary, "{what}");
}

/// The document's path that a request's path has the form of.
pub(crate) fn template(path: &str) -> Option<String> {
    let routes = DOCUMENT["paths"].as_object().expect("paths");
    let fits = |route: &str| {
        let (asked, known): (Vec<&str>, Vec<&str>) = (path.split('/').collect(), route.split('/').collect());
        asked.len() == known.len()
            && asked
                .iter()
                .zip(&known)
                .all(|(asked, known)| asked == known || (known.starts_with('{') && !asked.is_empty()))
    };
    // A literal segment goes before a parameter, as in the router.
    let mut found: Vec<&String> = routes.keys().filter(|route| fits(route)).collect();
    found.sort_by_key(|route| route.matches('{').count());
    found.first().map(|route| (*route).clone())
}

/// Writes an estate for a tenant.
pub(crate) async fn fill(store: &dyn Store, tenant: &str, estate: Estate) {
    let tenant = TenantId::new(tenant).expect("a tenant");
    let cis = estate
        .cis()
        .map(|draft| draft.check(&tenant).expect("a CI"))
        .collect();
    store
        .upsert_cis(cis, WriteOptions::default())
        .await
        .expect("CIs are written");
    let relations = estate
        .relations()
        .map(|draft| draft.check(&tenant).expect("a relation"))
        .collect();
    store
        .upsert_relations(relations, WriteOptions::default())
        .await
        .expect("relations are written");
}
