//! What the service refuses, and how it fails: each with its status, and never as an empty answer.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use ci_server::http::ServerOptions;
use ci_tests::fixture::Fixture;
use serde_json::json;

use crate::broken::{self, Fault};
use crate::service::Service;

#[tokio::test]
async fn input_that_does_not_fit_is_named() {
    let fixture = Fixture::sqlite();
    let service = Service::estate(&fixture).await;
    let long = |n: usize| "x".repeat(n);
    for (uri, part) in [
        (
            "/v1/acme/cis?colour=red",
            "`colour` is unknown; allowed are: q, filter",
        ),
        (
            "/v1/acme/cis?filter=colour=red",
            "`colour`: unknown; allowed are ci_type",
        ),
        ("/v1/acme/cis?filter=criticality%7E4", "operator `contains`"),
        ("/v1/acme/cis?filter=criticality=high", "criticality"),
        ("/v1/acme/cis?sort=owner", "sort column `owner`"),
        ("/v1/acme/cis?limit=ten", "`limit` must be a whole number"),
        ("/v1/acme/cis?limit=5&limit=6", "`limit` is given more than once"),
        ("/v1/acme/cis?strict=maybe", "`strict` must be true or false"),
        ("/v1/acme/cis?q=a%00b", "U+0000"),
        ("/v1/acme/cis?q=%ff", "value of `q` is not UTF-8"),
        ("/v1/acme/cis?%ff=1", "not UTF-8"),
        ("/v1/acme/cis/%00", "U+0000"),
        ("/v1/acme/cis/%ff", "not UTF-8"),
        ("/v1/%00/cis", "tenant"),
        ("/v1/%20/cis", "tenant: it is empty"),
        ("/v1//cis", "tenant: it is empty"),
        (&format!("/v1/{}/cis", long(129)), "tenant: 129 characters"),
        (&format!("/v1/acme/cis/{}", long(256)), "ci_code: 256 characters"),
        (
            &format!("/v1/acme/cis?q={}", long(201)),
            "keyword: 201 characters",
        ),
        ("/v1/acme/list?offset=-1", "`offset`"),
        ("/v1/acme/list?filter=owner~", "empty"),
        ("/v1/acme/cis/x/graph?view=PATH", "view of an expansion"),
        ("/v1/acme/cis/x/graph?view=sideways", "view `sideways`"),
        ("/v1/acme/cis/x/graph?depth=9", "depth: 9 is outside"),
        ("/v1/acme/cis/x/graph?direction=up", "direction `up`"),
        ("/v1/acme/paths?from=x", "`to` is missing"),
        ("/v1/acme/paths?from=x&to=y&max_hops=7", "max_hops"),
        ("/v1/acme/aggregate?group_by=created_at", "created_at"),
        ("/v1/acme/aggregate?group_by=owner,owner", "each field once"),
        ("/v1/cache/entries?limit=0", "from 1 to 1000"),
    ] {
        let reply = service.get(uri).await;
        assert_eq!(reply.status, 400, "{uri}");
        assert!(reply.detail().contains(part), "{uri}: {}", reply.detail());
    }
}

#[tokio::test]
async fn limits_hold_at_their_edge() {
    let fixture = Fixture::sqlite();
    let service = Service::estate(&fixture).await;
    let status = async |uri: String| service.get(&uri).await.status;
    for (uri, least, most) in [
        ("/v1/acme/cis?limit=", 1, 500),
        ("/v1/acme/list?limit=", 1, 500),
        ("/v1/acme/list?offset=", 0, 10_000_000),
        ("/v1/acme/aggregate?limit=", 1, 200),
        ("/v1/acme/cis/app-iam-login-01-1/graph?max_nodes=", 1, 2_000),
        ("/v1/acme/cis/app-iam-login-01-1/graph?max_edges=", 0, 4_000),
        (
            "/v1/acme/cis/app-iam-login-01-1/graph?view=NEIGHBORS&depth=",
            1,
            2,
        ),
        (
            "/v1/acme/paths?from=app-iam-login-01-1&to=db-iam-login-01-1&max_hops=",
            1,
            6,
        ),
        (
            "/v1/acme/paths?from=app-iam-login-01-1&to=db-iam-login-01-1&most=",
            1,
            25,
        ),
        ("/v1/cache/entries?limit=", 1, 1_000),
    ] {
        for fits in [least, most - 1, most] {
            assert_eq!(status(format!("{uri}{fits}")).await, 200, "{uri}{fits}");
        }
        for over in [most + 1, -1, i64::MAX] {
            assert_eq!(status(format!("{uri}{over}")).await, 400, "{uri}{over}");
        }
    }
    let keywords = |n: usize| format!("/v1/acme/cis?q={}", vec!["a"; n].join("+"));
    assert_eq!(
        (status(keywords(16)).await, status(keywords(17)).await),
        (200, 400)
    );
    let filters = |n: usize| format!("/v1/acme/cis?{}", vec!["filter=owner=x"; n].join("&"));
    assert_eq!((status(filters(32)).await, status(filters(33)).await), (200, 400));
    let batch = async |n: usize| {
        let codes: Vec<String> = (0..n).map(|n| format!("c{n}")).collect();
        service
            .json(Method::POST, "/v1/acme/batch-get", json!({"codes": codes}))
            .await
            .status
    };
    assert_eq!((batch(1_000).await, batch(1_001).await), (200, 400));
}

#[tokio::test]
async fn bodies_that_do_not_fit_are_named_and_never_repeated() {
    let fixture = Fixture::sqlite();
    let service = Service::empty(&fixture).await;
    let put = async |body: String| {
        let reply = service
            .send(
                Method::PUT,
                "/v1/acme/cis/a",
                Some("application/json"),
                body.into(),
            )
            .await;
        assert!(
            !String::from_utf8_lossy(&reply.body).contains("secret"),
            "a value is repeated"
        );
        (reply.status, reply.detail())
    };
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    for (body, part) in [
        (String::new(), "not JSON"),
        ("{".into(), "not JSON"),
        ("[1]".into(), "must be a JSON object"),
        (deep, "not JSON"),
        (json!({"ci_name": "n"}).to_string(), "missing field `ci_type`"),
        (
            json!({"ci_name": "n", "ci_type": "t", "colour": "secret"}).to_string(),
            "`colour` of the body is unknown",
        ),
        (
            json!({"ci_name": "n", "ci_type": "t", "criticality": "secret"}).to_string(),
            "`criticality`",
        ),
        (
            json!({"ci_name": "n", "ci_type": "t", "created_at": "secret"}).to_string(),
            "`created_at`",
        ),
        (
            json!({"ci_name": "n", "ci_type": "t", "criticality": 6}).to_string(),
            "6 is outside 1 to 5",
        ),
        (
            json!({"ci_name": "n", "ci_type": "t", "ci_code": "b"}).to_string(),
            "must equal the path's code",
        ),
        (
            json!({"ci_name": "n", "ci_type": "t", "tenant_id": "other"}).to_string(),
            "tenant_id",
        ),
        (json!({"ci_name": "n\u{0}", "ci_type": "t"}).to_string(), "U+0000"),
    ] {
        let (status, detail) = put(body.chars().take(200_000).collect()).await;
        assert_eq!(status, 400, "{detail}");
        assert!(detail.contains(part), "{part}: {detail}");
    }
    let id = "/v1/acme/cis/0189d7a4-1111-4222-8333-444455556666";
    let by_id = service
        .json(Method::PUT, id, json!({"ci_name": "n", "ci_type": "t"}))
        .await;
    assert_eq!(by_id.status, 400);
    let own = json!({"from": "a", "to": "a", "rel_type": "USES"});
    assert_eq!(
        service.json(Method::PUT, "/v1/acme/relations", own).await.status,
        400
    );
    let half = service.delete("/v1/acme/relations?from=a").await;
    assert!(
        half.status == 400 && half.detail().contains("`rel_type` is missing"),
        "{}",
        half.detail()
    );
    assert_eq!(
        service
            .json(Method::POST, "/v1/acme/batch-get", json!({"code": ["a"]}))
            .await
            .status,
        400
    );
    let kind = service
        .send(Method::POST, "/v1/acme/import?kind=systems", None, Body::empty())
        .await;
    assert!(kind.detail().contains("cis or relations"));
}

#[tokio::test]
async fn paths_and_methods_that_are_not_there() {
    let fixture = Fixture::sqlite();
    let service = Service::empty(&fixture).await;
    for uri in [
        "/nothing",
        "/v1",
        "/v1/acme",
        "/v1/acme/ciss",
        "/v2/acme/cis",
        "/v1/acme/cis/a/graph/b",
    ] {
        let reply = service.get(uri).await;
        assert_eq!(
            (reply.status, reply.json()["type"].as_str().unwrap()),
            (404, "/problems/route-not-found"),
            "{uri}"
        );
    }
    let reply = service.json(Method::POST, "/v1/acme/cis", json!({})).await;
    assert_eq!(reply.status, 405);
    assert!(reply.header("allow").expect("an allow header").contains("GET"));
    let reply = service.json(Method::PATCH, "/v1/acme/cis/a", json!({})).await;
    assert_eq!(reply.status, 405);
    let allow = reply.header("allow").expect("an allow header");
    assert!(
        ["GET", "PUT", "DELETE"]
            .iter()
            .all(|method| allow.contains(method)),
        "{allow}"
    );
}

#[tokio::test]
async fn writes_that_contradict_the_database_are_conflicts() {
    let fixture = Fixture::sqlite();
    let service = Service::empty(&fixture).await;
    let ci = json!({"ci_name": "n", "ci_type": "t"});
    service.json(Method::PUT, "/v1/acme/cis/a", ci).await;
    let other = json!({"ci_name": "n", "ci_type": "t", "ci_id": "0189d7a4-1111-4222-8333-444455556666"});
    let taken = service.json(Method::PUT, "/v1/acme/cis/a", other).await;
    assert_eq!(
        (taken.status, taken.json()["type"].as_str().unwrap()),
        (409, "/problems/conflict")
    );
    let end = json!({"from": "a", "to": "nobody", "rel_type": "USES"});
    let missing = service.json(Method::PUT, "/v1/acme/relations", end).await;
    assert_eq!(missing.status, 409);
    assert!(missing.detail().contains("`to`"), "{}", missing.detail());
}

#[tokio::test]
async fn bodies_are_bounded_in_size_and_kind() {
    let fixture = Fixture::sqlite();
    let options = ServerOptions::default().body_bytes(100).import_bytes(100);
    let service = Service::over(fixture.open().await, options);
    let sized = |bytes: usize| {
        let frame = json!({"ci_name": "", "ci_type": "t"}).to_string().len();
        json!({"ci_name": "n".repeat(bytes - frame), "ci_type": "t"})
    };
    for (bytes, status) in [(99, 201), (100, 200), (101, 413)] {
        let reply = service.json(Method::PUT, "/v1/acme/cis/a", sized(bytes)).await;
        assert_eq!(reply.status, status, "{bytes} bytes");
    }
    let lines = |bytes: usize| Body::from(" ".repeat(bytes));
    for (bytes, status) in [(99, 200), (100, 200), (101, 413)] {
        let reply = service
            .send(Method::POST, "/v1/acme/import", None, lines(bytes))
            .await;
        assert_eq!(reply.status, status, "{bytes} bytes");
    }
    for (kind, status) in [
        (None, 415),
        (Some("text/csv"), 415),
        (Some("application/json; charset=utf-8"), 200),
    ] {
        let body = Body::from(sized(90).to_string());
        let reply = service.send(Method::PUT, "/v1/acme/cis/b", kind, body).await;
        assert!(
            reply.status == status || reply.status == 201,
            "{kind:?}: {}",
            reply.status
        );
    }
    let csv = service
        .send(Method::POST, "/v1/acme/import", Some("text/csv"), lines(1))
        .await;
    assert_eq!(csv.status, 415);
}

/// A body that begins and never goes on.
pub(crate) fn stalled() -> Body {
    Body::from_stream(futures_util::stream::pending::<Result<Vec<u8>, std::io::Error>>())
}

#[tokio::test]
async fn a_body_that_stalls_or_breaks_off_changes_nothing() {
    let fixture = Fixture::sqlite();
    let options = ServerOptions::default().body_timeout(Duration::from_millis(1));
    let service = Service::over(fixture.open().await, options);
    let put = service
        .send(Method::PUT, "/v1/acme/cis/a", Some("application/json"), stalled())
        .await;
    assert_eq!(put.status, 408);
    let import = service
        .send(Method::POST, "/v1/acme/import", None, stalled())
        .await;
    assert_eq!(import.status, 408);
    let line =
        "{\"ci_code\":\"a\",\"ci_name\":\"n\",\"ci_type\":\"t\"}\n{\"ci_code\":\"b\",\"ci_name\":\"n\"";
    let chunks = [Ok(line.to_owned()), Err(std::io::Error::other("cut"))];
    let cut = Body::from_stream(futures_util::stream::iter(chunks));
    let reply = service.send(Method::POST, "/v1/acme/import", None, cut).await;
    assert_eq!(reply.status, 400);
    assert_eq!(
        service.get("/v1/acme/cis/b").await.status,
        404,
        "half a line was written"
    );
}

/// One request of every route that needs the database.
pub(crate) const READS: &[&str] = &[
    "/v1/acme/cis?q=x",
    "/v1/acme/list",
    "/v1/acme/cis/a",
    "/v1/acme/cis/a/graph",
    "/v1/acme/paths?from=a&to=b",
    "/v1/acme/aggregate?group_by=ci_type",
    "/v1/acme/dashboard",
    "/v1/acme/cis/a/page",
    "/v1/acme/cis/a/traversal",
    "/v1/acme/export",
];

/// Sends a request of every route that needs the database; returns the statuses.
pub(crate) async fn all_statuses(service: &Service) -> Vec<(String, u16)> {
    let mut statuses = Vec::new();
    for uri in READS {
        statuses.push(((*uri).to_owned(), service.get(uri).await.status));
    }
    let ci = json!({"ci_name": "n", "ci_type": "t"});
    let relation = json!({"from": "a", "to": "b", "rel_type": "USES"});
    for (method, uri, body) in [
        (Method::POST, "/v1/acme/batch-get", json!({"codes": ["a"]})),
        (Method::PUT, "/v1/acme/cis/a", ci),
        (Method::DELETE, "/v1/acme/cis/a", json!({})),
        (Method::PUT, "/v1/acme/relations", relation.clone()),
        (Method::DELETE, "/v1/acme/relations", relation),
        (
            Method::POST,
            "/v1/acme/import",
            json!({"ci_code": "a", "ci_name": "n", "ci_type": "t"}),
        ),
    ] {
        let status = service.json(method.clone(), uri, body).await.status;
        statuses.push((format!("{method} {uri}"), status));
    }
    statuses
}

#[tokio::test]
async fn a_database_that_fails_is_never_an_empty_answer() {
    for (fault, expected) in [(broken::down(), 503), (broken::corrupt(), 500)] {
        let service = Service::broken(fault.clone(), ServerOptions::default());
        for (request, status) in all_statuses(&service).await {
            assert_eq!(status, expected, "{request} with {fault:?}");
        }
    }
    let panics = Service::broken(Fault::Panics, ServerOptions::default());
    for (request, status) in all_statuses(&panics).await {
        // Of a write whose task was lost nobody knows whether it was done: it may be tried again.
        assert!(status == 500 || status == 503, "{request}: {status}");
    }
    // Here nothing but the service's own guard is between the panic and the connection.
    assert_eq!(panics.get("/readyz").await.status, 500);
    let down = Service::broken(broken::down(), ServerOptions::default());
    assert_eq!(down.get("/readyz").await.status, 503);
    assert_eq!(down.get("/healthz").await.status, 200);
    // An import does not wait for a body that stalls once its first batch has failed.
    let line = "{\"ci_code\":\"a\",\"ci_name\":\"n\",\"ci_type\":\"t\"}\n".repeat(5_001);
    let first = futures_util::stream::iter([Ok::<_, std::io::Error>(line)]);
    let stalling = Body::from_stream(futures_util::StreamExt::chain(
        first,
        futures_util::stream::pending(),
    ));
    let import = down.send(Method::POST, "/v1/acme/import", None, stalling).await;
    assert_eq!(import.status, 503);
    // A failure is not cached: it is asked anew each time.
    let again = down.get("/v1/acme/cis?q=x").await;
    assert_eq!((again.status, again.header("retry-after")), (503, Some("5")));
}

#[tokio::test]
async fn an_answer_that_takes_too_long_is_a_503() {
    let service = Service::broken(
        Fault::Hangs,
        ServerOptions::default()
            .request_timeout(Duration::from_millis(1))
            .import_timeout(Duration::from_millis(1))
            .ready_timeout(Duration::from_millis(1)),
    );
    for (request, status) in all_statuses(&service).await {
        assert_eq!(status, 503, "{request}");
    }
    assert_eq!(service.get("/readyz").await.status, 503);
    assert_eq!(service.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn requests_beyond_the_places_are_refused_at_once() {
    let service = Service::broken(Fault::Hangs, ServerOptions::default().concurrency(0));
    for uri in READS.iter().chain(&[
        "/v1/cache/stats",
        "/v1/cache/entries",
        "/v1/cache/drops",
        "/v1/cache/savings",
        "/v1/cache/tenants",
        "/v1/cache/audit",
        "/openapi.json",
    ]) {
        let reply = service.get(uri).await;
        assert_eq!(
            (reply.status, reply.json()["type"].as_str().unwrap()),
            (503, "/problems/overloaded"),
            "{uri}"
        );
    }
    assert_eq!(service.get("/healthz").await.status, 200);
}
