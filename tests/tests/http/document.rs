//! The OpenAPI document is the service: the same routes, the same parameters, the same statuses.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use ci_cache_core::ManualClock;
use ci_server::access::Role;
use ci_server::http::{AppState, Exporter, ServerOptions, TenantLimits, router};
use ci_tests::fixture::Fixture;
use serde_json::{Value, json};

use crate::access::Guarded;
use crate::broken::{self, Broken, Fault};
use crate::changes::crowded;
use crate::problems::{all_statuses, stalled};
use crate::service::{DOCUMENT, Seen, Service, template};

fn operations() -> Vec<(String, String, Value)> {
    let mut all = Vec::new();
    for (route, methods) in DOCUMENT["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("operations") {
            all.push((method.to_uppercase(), route.clone(), operation.clone()));
        }
    }
    all
}

fn example(route: &str) -> String {
    route.replace("{tenant}", "acme").replace("{id_or_code}", "a")
}

#[tokio::test]
async fn every_documented_operation_is_served_and_every_other_method_refused() {
    let fixture = Fixture::sqlite();
    let service = Service::empty(&fixture).await;
    assert!(operations().len() >= 17, "the document lost operations");
    for (_, route, _) in operations() {
        let uri = example(&route);
        assert_eq!(template(&uri).as_deref(), Some(route.as_str()));
        for method in [
            Method::GET,
            Method::PUT,
            Method::POST,
            Method::DELETE,
            Method::PATCH,
        ] {
            let documented = operations()
                .iter()
                .any(|(known, at, _)| *at == route && *known == method.as_str());
            let status = service
                .send(method.clone(), &uri, None, Body::empty())
                .await
                .status;
            assert_eq!(status != 405, documented, "{method} {uri}: {status}");
        }
    }
}

#[tokio::test]
async fn the_documented_parameters_are_those_that_are_taken() {
    let fixture = Fixture::sqlite();
    let service = Service::empty(&fixture).await;
    for (method, route, operation) in operations() {
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let named = |place: &str| -> BTreeSet<String> {
            let here = parameters.iter().filter(|parameter| parameter["in"] == place);
            here.map(|parameter| parameter["name"].as_str().unwrap().to_owned())
                .collect()
        };
        let segments: BTreeSet<String> = route
            .split('/')
            .filter_map(|part| Some(part.strip_prefix('{')?.strip_suffix('}')?.to_owned()))
            .collect();
        assert_eq!(named("path"), segments, "{method} {route}");
        let uri = format!("{}?no_such_parameter=1", example(&route));
        let reply = service
            .send(method.parse().unwrap(), &uri, None, Body::empty())
            .await;
        assert_eq!(reply.status, 400, "{method} {uri}");
        let detail = reply.detail();
        let taken = detail.rsplit_once("allowed are: ").unwrap().1;
        let taken: BTreeSet<String> = taken
            .split(", ")
            .filter(|name| *name != "none")
            .map(str::to_owned)
            .collect();
        assert_eq!(named("query"), taken, "{method} {route}");
    }
}

#[tokio::test]
async fn every_documented_status_occurs() {
    let fixture = Fixture::sqlite();
    let mut seen: BTreeSet<Seen> = BTreeSet::new();

    let service = Service::empty(&fixture).await;
    let ci = json!({"ci_name": "n", "ci_type": "t"});
    for code in ["a", "b", "a"] {
        service
            .json(Method::PUT, &format!("/v1/acme/cis/{code}"), ci.clone())
            .await;
    }
    let relation = json!({"from": "a", "to": "b", "rel_type": "USES"});
    for _ in 0..2 {
        service
            .json(Method::PUT, "/v1/acme/relations", relation.clone())
            .await;
    }
    conflicts(&service).await;
    all_reads(&service).await;
    // Everything that succeeds; then again, when what was deleted is absent.
    all_statuses(&service).await;
    service.delete("/v1/acme/cis/a").await;
    all_reads(&service).await;
    service.delete("/v1/acme/cis/a").await;
    service.json(Method::DELETE, "/v1/acme/relations", relation).await;
    for (method, route, _) in operations() {
        let uri = format!("{}?no_such_parameter=1", example(&route));
        service
            .send(method.parse().unwrap(), &uri, None, Body::empty())
            .await;
        service
            .send(
                method.parse().unwrap(),
                &example(&route),
                Some("text/csv"),
                Body::empty(),
            )
            .await;
    }
    seen.extend(service.seen());

    for (fault, concurrency) in [(broken::down(), 9), (broken::corrupt(), 9), (Fault::Hangs, 0)] {
        let service = Service::broken(fault, ServerOptions::default().concurrency(concurrency));
        all_statuses(&service).await;
        for uri in [
            "/readyz",
            "/v1/cache/stats",
            "/v1/cache/entries",
            "/v1/cache/drops",
            "/v1/cache/savings",
            "/v1/cache/tenants",
            "/v1/cache/audit",
            "/openapi.json",
        ] {
            if uri != "/readyz" || concurrency > 0 {
                service.get(uri).await;
            }
        }
        command_all(&service).await;
        seen.extend(service.seen());
    }

    let service = Service::broken(
        broken::down(),
        ServerOptions::default()
            .body_timeout(Duration::from_millis(1))
            .body_bytes(10)
            .import_bytes(10),
    );
    for (method, route, _) in operations() {
        let method: Method = method.parse().unwrap();
        let uri = example(&route);
        service
            .send(method.clone(), &uri, Some("application/json"), stalled())
            .await;
        service
            .send(method, &uri, Some("application/json"), vec![b' '; 11].into())
            .await;
    }
    seen.extend(service.seen());

    seen.extend(too_many().await);

    let options = ServerOptions::default().metrics(Exporter::new());
    let service = Service::broken(broken::down(), options);
    service.get("/metrics").await;
    seen.extend(service.seen());

    let service = Service::broken(Fault::Panics, ServerOptions::default());
    service.get("/readyz").await;
    seen.extend(service.seen());

    seen.extend(refused(&fixture).await);

    let documented: BTreeSet<Seen> = operations()
        .into_iter()
        .flat_map(|(method, route, operation)| {
            let statuses: Vec<String> = operation["responses"]
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect();
            statuses
                .into_iter()
                .map(move |status| (method.clone(), route.clone(), status.parse().unwrap()))
        })
        .collect();
    let never: Vec<&Seen> = documented.difference(&seen).collect();
    assert!(never.is_empty(), "documented, but never seen: {never:#?}");
}

/// Every operation, asked more often than a tenant may.
async fn too_many() -> BTreeSet<Seen> {
    let one = std::num::NonZeroU32::MIN;
    let options = ServerOptions::default().tenant_limits(TenantLimits::none().rate(one, one));
    // By a clock that stands still: by one that goes on, the second request might come after its second.
    let runner = ci_tests::fixture::patient(Arc::new(Broken(broken::down())))
        .clock(Arc::new(ManualClock::new()))
        .build()
        .expect("a runner");
    let service = Service::of(router(AppState::new(runner, options)));
    for (method, route, _) in operations() {
        for _ in 0..2 {
            let method = method.parse().expect("a method");
            service.send(method, &example(&route), None, Body::empty()).await;
        }
    }
    service.seen()
}

/// Every operation, asked without a token, and with one of another tenant.
///
/// And where as many follow changes as may.
async fn refused(fixture: &Fixture) -> BTreeSet<Seen> {
    let service = Service::empty(fixture).await;
    crowded(&service).await;
    let mut guarded = Guarded::new(fixture).await;
    let token = guarded.token(fixture, Role::Read, &["other"]).await;
    for (method, route, _) in operations() {
        for token in [None, Some(&*token)] {
            let method = method.parse().expect("a method");
            guarded
                .service
                .send_as(method, &example(&route), token, Body::empty())
                .await;
        }
    }
    let mut seen = guarded.service.seen();
    seen.extend(service.seen());
    seen
}

async fn command_all(service: &Service) {
    for (command, body) in [
        ("clear", json!({})),
        ("invalidate", json!({"tenant": "acme"})),
        ("warm", json!({})),
        ("audit", json!({})),
    ] {
        let uri = format!("/v1/cache/{command}");
        service.json(Method::POST, &uri, body).await;
    }
}

/// What contradicts what is there: CIs `a` and `b`.
async fn conflicts(service: &Service) {
    let ci = json!({"ci_name": "n", "ci_type": "t"});
    for (method, body) in [(Method::PUT, ci.to_string()), (Method::DELETE, String::new())] {
        let headers = [("if-match", "\"x\""), ("content-type", "application/json")];
        service
            .send_with(method, "/v1/acme/cis/a", &headers, body.into())
            .await;
    }
    let other = json!({"ci_name": "n", "ci_type": "t", "ci_id": "0189d7a4-1111-4222-8333-444455556666"});
    service.json(Method::PUT, "/v1/acme/cis/a", other).await;
    let end = json!({"from": "a", "to": "nobody", "rel_type": "USES"});
    service.json(Method::PUT, "/v1/acme/relations", end).await;
}

async fn all_reads(service: &Service) {
    command_all(service).await;
    for uri in crate::problems::READS {
        let reply = service.get(uri).await;
        if let Some(etag) = reply.header("etag") {
            service.get_with(uri, "if-none-match", &[etag]).await;
        }
    }
    for uri in [
        "/v1/cache/stats",
        "/v1/cache/entries",
        "/v1/cache/drops",
        "/v1/cache/savings",
        "/v1/cache/tenants",
        "/v1/cache/audit",
        "/healthz",
        "/readyz",
        "/metrics",
        "/v1/acme/changes",
    ] {
        service.get(uri).await;
    }
    assert_eq!(service.get("/openapi.json").await.json(), *DOCUMENT);
}

#[test]
fn every_reference_leads_to_a_schema() {
    fn walk(value: &Value, found: &mut Vec<String>) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(target)) = object.get("$ref") {
                    found.push(target.clone());
                }
                object.values().for_each(|value| walk(value, found));
            }
            Value::Array(items) => items.iter().for_each(|value| walk(value, found)),
            _ => {}
        }
    }
    let mut references = Vec::new();
    walk(&DOCUMENT, &mut references);
    assert!(references.len() > 20);
    for reference in references {
        let pointer = reference
            .strip_prefix('#')
            .expect("a reference within the document");
        assert!(DOCUMENT.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
}
