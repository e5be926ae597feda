//! Commands to the cache: what they drop, what they bring back, and what they refuse.

use axum::http::Method;
use ci_server::http::ServerOptions;
use ci_tests::fixture::Fixture;
use serde_json::{Value, json};

use crate::broken;
use crate::service::Service;

async fn command(service: &Service, command: &str, body: Value) -> Value {
    let reply = service
        .json(Method::POST, &format!("/v1/cache/{command}"), body)
        .await;
    assert_eq!(reply.status, 200, "{command}: {}", reply.text());
    reply.json()
}

/// Asks, and says whether memory had the answer.
async fn is_hit(service: &Service, uri: &str) -> bool {
    let reply = service.get(uri).await;
    assert_eq!(reply.status, 200, "{uri}");
    reply.header("x-cache") == Some("hit")
}

const ASKED: [&str; 4] = [
    "/v1/acme/cis/a",
    "/v1/acme/cis?q=a",
    "/v1/acme/cis/b",
    "/v1/acme/aggregate?group_by=ci_type",
];

async fn asked(fixture: &Fixture) -> Service {
    let service = Service::empty(fixture).await;
    for code in ["a", "b"] {
        service.put_ci(code).await;
    }
    for uri in ASKED {
        assert!(!is_hit(&service, uri).await, "{uri}");
    }
    service
}

async fn hits(service: &Service) -> Vec<bool> {
    let mut hits = Vec::new();
    for uri in ASKED {
        hits.push(is_hit(service, uri).await);
    }
    hits
}

#[tokio::test]
async fn what_is_dropped_is_what_was_named() {
    let fixture = Fixture::sqlite();
    let service = asked(&fixture).await;
    let by_code = command(&service, "invalidate", json!({"tenant": "acme", "ci": "a"})).await;
    assert_eq!(by_code, json!({"dropped": 2}));
    assert_eq!(hits(&service).await, [false, false, true, true]);
    let id = service.get("/v1/acme/cis/b").await.json()["ci_id"].clone();
    let by_id = command(&service, "invalidate", json!({"tenant": "acme", "ci": id})).await;
    assert_eq!(by_id, json!({"dropped": 1}));
    assert_eq!(hits(&service).await, [true, true, false, true]);
    let other = command(&service, "invalidate", json!({"tenant": "other"})).await;
    assert_eq!(other, json!({"dropped": 0}));
    let other = command(&service, "invalidate", json!({"tenant": "other", "ci": "a"})).await;
    assert_eq!(other, json!({"dropped": 0}));
    let entries = service.get("/v1/cache/entries").await.json();
    let kind = |entry: &&Value| entry["kind"] == "aggregate";
    let key = entries["items"].as_array().unwrap().iter().find(kind).unwrap()["key"].clone();
    let by_key = command(&service, "invalidate", json!({"key": key})).await;
    assert_eq!(by_key, json!({"dropped": 1}));
    assert_eq!(hits(&service).await, [true, true, true, false]);
    assert_eq!(
        command(&service, "invalidate", json!({"tenant": "acme"})).await,
        json!({"dropped": 4})
    );
    assert_eq!(hits(&service).await, [false; 4]);
    assert_eq!(command(&service, "clear", json!({})).await, json!({"dropped": 4}));
    assert_eq!(service.get("/v1/cache/stats").await.json()["size"], 0);
}

/// An answer that says that there is no such CI is about it, too.
#[tokio::test]
async fn an_absent_ci_can_be_dropped() {
    let fixture = Fixture::sqlite();
    let service = Service::empty(&fixture).await;
    for uri in ["/v1/acme/cis/gone", "/v1/acme/cis/gone/graph"] {
        assert_eq!(service.get(uri).await.status, 404);
    }
    let dropped = command(&service, "invalidate", json!({"tenant": "acme", "ci": "gone"})).await;
    assert_eq!(dropped, json!({"dropped": 2}));
}

#[tokio::test]
async fn what_was_hot_before_it_was_cleared_is_warm_again() {
    let fixture = Fixture::sqlite();
    let service = asked(&fixture).await;
    // The one that is asked most.
    for _ in 0..3 {
        assert!(is_hit(&service, ASKED[3]).await);
    }
    command(&service, "clear", json!({})).await;
    let warmed = command(&service, "warm", json!({"limit": 1})).await;
    assert_eq!(warmed, json!({"loaded": 1, "failed": 0, "left": 0}));
    assert_eq!(hits(&service).await, [false, false, false, true]);
    command(&service, "clear", json!({})).await;
    assert_eq!(command(&service, "warm", json!({})).await["loaded"], 4);
    assert_eq!(hits(&service).await, [true; 4]);
    command(&service, "clear", json!({})).await;
    let given = json!({"tenant": "acme", "codes": ["a"], "searches": ["a"]});
    assert_eq!(command(&service, "warm", given).await["loaded"], 2);
    assert_eq!(hits(&service).await, [true, true, false, false]);
    // What is there is loaded anew.
    let loads = async || {
        service.get("/v1/cache/stats").await.json()["loads"]
            .as_u64()
            .unwrap()
    };
    let before = loads().await;
    assert_eq!(command(&service, "warm", json!({"limit": 3})).await["loaded"], 3);
    assert_eq!(loads().await, before + 3);
}

/// A database in trouble has enough to do.
#[tokio::test]
async fn warming_gives_up_on_a_database_that_fails() {
    let service = Service::broken(broken::down(), ServerOptions::default());
    let codes: Vec<String> = (0..15).map(|number| number.to_string()).collect();
    let warmed = command(&service, "warm", json!({"tenant": "acme", "codes": codes})).await;
    assert_eq!(warmed, json!({"loaded": 0, "failed": 10, "left": 5}));
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_changes_nothing() {
    let fixture = Fixture::sqlite();
    let service = asked(&fixture).await;
    let many: Vec<String> = (0..1_001).map(|number| number.to_string()).collect();
    for (command, body) in [
        ("clear", json!({"tenant": "acme"})),
        ("clear", json!([])),
        ("invalidate", json!({})),
        ("invalidate", json!({"ci": "a"})),
        ("invalidate", json!({"key": "xyz"})),
        ("invalidate", json!({"key": "0123456G"})),
        ("invalidate", json!({"tenant": "acme", "key": "01234567"})),
        ("invalidate", json!({"tenant": ""})),
        ("invalidate", json!({"tenant": "acme", "ci": ""})),
        ("invalidate", json!({"tenant": 1})),
        ("warm", json!({"limit": 0})),
        ("warm", json!({"limit": 1_001})),
        ("warm", json!({"codes": ["a"]})),
        ("warm", json!({"tenant": "acme"})),
        ("warm", json!({"tenant": "acme", "codes": ["a"], "limit": 5})),
        ("warm", json!({"tenant": "acme", "codes": many})),
        ("warm", json!({"tenant": "acme", "codes": [""]})),
        ("warm", json!({"everything": true})),
    ] {
        let reply = service
            .json(Method::POST, &format!("/v1/cache/{command}"), body.clone())
            .await;
        assert_eq!(reply.status, 400, "{command} {body}: {}", reply.text());
    }
    // A form of another site can send this, and nothing but this, without being asked first.
    for kind in [
        None,
        Some("text/plain"),
        Some("application/x-www-form-urlencoded"),
    ] {
        let reply = service
            .send(Method::POST, "/v1/cache/clear", kind, "{}".into())
            .await;
        assert_eq!(reply.status, 415, "{kind:?}");
    }
    assert_eq!(hits(&service).await, [true; 4]);
}
