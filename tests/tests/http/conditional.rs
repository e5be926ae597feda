//! An answer is sent as it was encoded before only while it says the same, and not at all to a client that has it.

use axum::body::Body;
use axum::http::Method;
use ci_server::http::ServerOptions;
use ci_tests::fixture::{Fixture, on_both};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;

use crate::service::{Service, fill};

/// Questions of every kind whose answers writes to `a`, `b` and `c` change.
const QUESTIONS: [&str; 12] = [
    "/v1/acme/cis?q=n&fields=ci_code,tags.env,criticality",
    "/v1/acme/cis?q=n&sort=ci_code:desc",
    "/v1/acme/cis?q=n&fields=ci_name&total=true&facet=ci_type",
    "/v1/acme/cis?q=nobody+n",
    "/v1/acme/list?limit=5",
    "/v1/acme/cis/a",
    "/v1/acme/cis/a?include_deleted=true",
    "/v1/acme/cis/a/graph?view=NEIGHBORS",
    "/v1/acme/cis/a/traversal?view=IMPACT",
    "/v1/acme/cis/b/page",
    "/v1/acme/aggregate?group_by=ci_type",
    "/v1/acme/dashboard",
];

#[tokio::test]
async fn who_has_the_answer_is_told_so_until_it_changes() {
    on_both(async |fixture| {
        let service = Service::empty(fixture).await;
        for code in ["a", "b"] {
            service.put_ci(code).await;
        }
        let relation = json!({"from": "a", "to": "b", "rel_type": "USES"});
        service.json(Method::PUT, "/v1/acme/relations", relation).await;
        for uri in QUESTIONS {
            let first = service.get(uri).await;
            let etag = first.header("etag").expect("a validator");
            assert_eq!(first.header("cache-control"), Some("private, no-cache"), "{uri}");
            for given in [etag, &format!("W/{etag}"), &format!("\"x\" , {etag}"), "*"] {
                let again = service.get_with(uri, "if-none-match", &[given]).await;
                assert_eq!(again.status, 304, "{uri} {given}");
                assert_eq!(again.header("etag"), Some(etag), "{uri}");
                assert_eq!(again.header("x-cache"), Some("hit"), "{uri}");
                assert!(again.header("x-ci-lag").is_some(), "{uri}");
            }
            assert_eq!(
                service
                    .get_with(uri, "if-none-match", &["\"x\"", etag])
                    .await
                    .status,
                304
            );
            for given in ["\"x\"", "", "x", &etag.replace('"', "")] {
                let again = service.get_with(uri, "if-none-match", &[given]).await;
                assert_eq!((again.status, &again.body), (200, &first.body), "{uri} {given}");
            }
        }
        // What the client has is not what there is any more.
        for uri in QUESTIONS {
            let etag = service
                .get(uri)
                .await
                .header("etag")
                .expect("a validator")
                .to_owned();
            let tags = json!({"env": uri});
            let ci =
                json!({"ci_name": format!("n {uri}"), "ci_type": format!("t{}", uri.len()), "tags": tags});
            for code in ["a", "b"] {
                service
                    .json(Method::PUT, &format!("/v1/acme/cis/{code}"), ci.clone())
                    .await;
            }
            let now = service.get_with(uri, "if-none-match", &[&etag]).await;
            assert_eq!(now.status, 200, "{uri}");
            assert_ne!(now.header("etag"), Some(&*etag), "{uri}");
        }
    })
    .await;
}

/// Two services over one database, one of which keeps no bodies, asked the same between random writes.
#[tokio::test]
async fn what_is_sent_again_is_what_would_be_encoded_now() {
    on_both(async |fixture| {
        let (kept, none) = (
            Service::over(fixture.open().await, ServerOptions::default()),
            Service::over(fixture.open().await, ServerOptions::default().encoded_bytes(0)),
        );
        let mut random = ChaCha8Rng::seed_from_u64(6);
        for round in 0..40 {
            let code = ["a", "b", "c"][random.random_range(0..3)];
            let uri = format!("/v1/acme/cis/{code}");
            match random.random_range(0..4) {
                0 => drop(kept.delete(&uri).await),
                1 => {
                    let relation = json!({"from": "a", "to": code, "rel_type": "USES"});
                    kept.json(Method::PUT, "/v1/acme/relations", relation).await;
                }
                _ => {
                    let ci = json!({
                        "ci_name": format!("n{}", random.random_range(0..2)),
                        "ci_type": "t",
                        // Often it is these alone that change.
                        "tags": {"env": format!("e{}", random.random_range(0..3))},
                    });
                    kept.json(Method::PUT, &uri, ci).await;
                }
            }
            for question in QUESTIONS {
                let ask = if question.contains('?') { '&' } else { '?' };
                let strong = format!("{question}{ask}level=strong");
                let expected = none.get(&strong).await;
                // By the second the bodies of the first are there.
                for uri in [question, question, &strong] {
                    let reply = kept.get(uri).await;
                    assert_eq!(reply.status, expected.status, "round {round}, {uri}");
                    if reply.status == 200 {
                        assert_eq!(reply.body, expected.body, "round {round}, {uri}");
                        assert_eq!(
                            reply.header("etag"),
                            expected.header("etag"),
                            "round {round}, {uri}"
                        );
                    }
                }
            }
        }
    })
    .await;
}

#[tokio::test]
async fn two_tenants_and_two_spellings_share_no_body() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    fill(&*store, "acme", ci_bench::Estate::new(1, 20)).await;
    fill(&*store, "other", ci_bench::Estate::new(2, 30)).await;
    let service = Service::over(store, ServerOptions::default());
    for _ in 0..2 {
        let (one, two) = (
            service.get("/v1/acme/list?limit=40").await,
            service.get("/v1/other/list?limit=40").await,
        );
        assert_eq!(one.json()["items"].as_array().unwrap().len(), 20);
        assert_eq!(two.json()["items"].as_array().unwrap().len(), 30);
        let fewer = service.get("/v1/acme/list?limit=4").await;
        assert_eq!(fewer.json()["items"].as_array().unwrap().len(), 4);
    }
}

#[tokio::test]
async fn a_head_is_the_answer_without_its_body() {
    let fixture = Fixture::sqlite();
    let service = Service::empty(&fixture).await;
    service.put_ci("a").await;
    let whole = service.get("/v1/acme/cis/a").await;
    let bare = service
        .raw(Method::HEAD, "/v1/acme/cis/a", &[], Body::empty())
        .await;
    assert_eq!((bare.status, bare.body.len()), (200, 0));
    assert_eq!(bare.header("etag"), whole.header("etag"));
    assert_eq!(
        bare.header("content-length"),
        Some(&*whole.body.len().to_string())
    );
    let etag = whole.header("etag").unwrap();
    let held = service
        .raw(
            Method::HEAD,
            "/v1/acme/cis/a",
            &[("if-none-match", etag)],
            Body::empty(),
        )
        .await;
    assert_eq!(held.status, 304);
}

/// The body of a CI, as it is written.
fn ci(name: &str) -> Body {
    json!({"ci_name": name, "ci_type": "t"}).to_string().into()
}

async fn put(service: &Service, headers: &[(&str, &str)], name: &str) -> u16 {
    let headers = [&[("content-type", "application/json")], headers].concat();
    let reply = service
        .send_with(Method::PUT, "/v1/acme/cis/a", &headers, ci(name))
        .await;
    if reply.status == 412 {
        assert_eq!(reply.json()["type"], "/problems/precondition-failed");
    }
    reply.status
}

async fn name(service: &Service) -> String {
    let reply = service.get("/v1/acme/cis/a?level=strong").await;
    reply.json()["ci_name"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn a_write_is_done_only_if_the_ci_is_as_its_writer_expects() {
    on_both(async |fixture| {
        let service = Service::empty(fixture).await;
        // Nobody has written it yet.
        assert_eq!(put(&service, &[("if-match", "*")], "none").await, 412);
        assert_eq!(put(&service, &[("if-none-match", "*")], "one").await, 201);
        assert_eq!(put(&service, &[("if-none-match", "*")], "again").await, 412);
        assert_eq!(put(&service, &[("if-match", "*")], "two").await, 200);
        let etag = service
            .get("/v1/acme/cis/a")
            .await
            .header("etag")
            .unwrap()
            .to_owned();
        // Its validator is the same however the CI is named and whatever is asked beside.
        let id = service.get("/v1/acme/cis/a").await.json()["ci_id"]
            .as_str()
            .unwrap()
            .to_owned();
        for uri in [
            format!("/v1/acme/cis/{id}"),
            "/v1/acme/cis/a?include_deleted=true".into(),
        ] {
            assert_eq!(service.get(&uri).await.header("etag"), Some(&*etag));
        }
        assert_eq!(
            put(&service, &[("if-match", &format!("W/{etag}"))], "weak").await,
            412
        );
        assert_eq!(
            put(&service, &[("if-match", &format!("\"x\", {etag}"))], "three").await,
            200
        );
        // Of two writers that read the same, the second does not overwrite what it has not seen.
        assert_eq!(put(&service, &[("if-match", &etag)], "lost").await, 412);
        assert_eq!(name(&service).await, "three");
        for (headers, status) in [
            (vec![("if-match", etag.as_str())], 412),
            (vec![("if-match", "nonsense")], 400),
            (vec![("if-match", "*")], 200),
            (vec![("if-match", "*")], 412),
        ] {
            let reply = service
                .send_with(Method::DELETE, "/v1/acme/cis/a", &headers, Body::empty())
                .await;
            assert_eq!(reply.status, status, "{headers:?}");
        }
        // What is deleted is absent.
        assert_eq!(put(&service, &[("if-match", "*")], "gone").await, 412);
        assert_eq!(put(&service, &[("if-none-match", "*")], "back").await, 200);
    })
    .await;
}

#[tokio::test]
async fn a_condition_that_would_come_to_nothing_is_refused() {
    let fixture = Fixture::sqlite();
    let service = Service::empty(&fixture).await;
    let relation = json!({"from": "a", "to": "b", "rel_type": "USES"}).to_string();
    let named = json!({"ci_name": "n", "ci_type": "t", "ci_id": "0189d7a4-1111-4222-8333-444455556666"});
    for (method, uri, body) in [
        (Method::PUT, "/v1/acme/relations", relation.clone()),
        (Method::DELETE, "/v1/acme/relations", relation),
        (Method::POST, "/v1/acme/import", String::new()),
        // The id may be another CI's than the path's, whose state the condition is about.
        (Method::PUT, "/v1/acme/cis/a", named.to_string()),
    ] {
        let headers = [("if-match", "*"), ("content-type", "application/json")];
        let reply = service
            .send_with(method.clone(), uri, &headers, body.into())
            .await;
        assert_eq!(reply.status, 400, "{method} {uri}");
    }
}

/// Many writers add to one counter, each by reading, adding and writing back if it is unchanged: no addition is lost.
#[tokio::test(flavor = "multi_thread")]
async fn no_write_is_lost_between_many_writers() {
    const WRITERS: u64 = 4;
    const EACH: u64 = 6;
    on_both(async |fixture| {
        let service = Service::empty(fixture).await;
        put(&service, &[], "0").await;
        let one = async || {
            let mut added = 0;
            while added < EACH {
                let reply = service.get("/v1/acme/cis/a?level=strong").await;
                let etag = reply.header("etag").unwrap().to_owned();
                let next = reply.json()["ci_name"].as_str().unwrap().parse::<u64>().unwrap() + 1;
                match put(&service, &[("if-match", &etag)], &next.to_string()).await {
                    200 => added += 1,
                    status => assert_eq!(status, 412),
                }
            }
        };
        futures_util::future::join_all((0..WRITERS).map(|_| one())).await;
        assert_eq!(name(&service).await, (WRITERS * EACH).to_string());
    })
    .await;
}

#[tokio::test]
async fn a_dry_run_tells_what_would_be_done_and_does_nothing() {
    on_both(async |fixture| {
        let service = Service::empty(fixture).await;
        service.put_ci("a").await;
        service.put_ci("b").await;
        let relation = json!({"from": "a", "to": "b", "rel_type": "USES"});
        let before: Vec<Vec<u8>> = answers(&service).await;
        let new = json!({"ci_name": "new", "ci_type": "t"});
        let lines = "{\"ci_code\": \"c\", \"ci_name\": \"n\", \"ci_type\": \"t\"}\nnonsense\n";
        for (method, uri, body, status, effect) in [
            (
                Method::PUT,
                "/v1/acme/cis/c?dry_run=true",
                new.to_string(),
                201,
                "created",
            ),
            (
                Method::PUT,
                "/v1/acme/cis/a?dry_run=true",
                new.to_string(),
                200,
                "updated",
            ),
            (
                Method::DELETE,
                "/v1/acme/cis/a?dry_run=true",
                String::new(),
                200,
                "deleted",
            ),
            (
                Method::PUT,
                "/v1/acme/relations?dry_run=true",
                relation.to_string(),
                201,
                "created",
            ),
            (
                Method::DELETE,
                "/v1/acme/relations?dry_run=true",
                relation.to_string(),
                404,
                "",
            ),
            (
                Method::DELETE,
                "/v1/acme/cis/nobody?dry_run=true",
                String::new(),
                404,
                "",
            ),
        ] {
            let reply = service
                .send(method.clone(), uri, Some("application/json"), body.into())
                .await;
            assert_eq!(reply.status, status, "{method} {uri}");
            assert_eq!(
                reply.json()["effect"].as_str().unwrap_or_default(),
                effect,
                "{method} {uri}"
            );
        }
        let report = service
            .send(Method::POST, "/v1/acme/import?dry_run=true", None, lines.into())
            .await
            .json();
        assert_eq!(
            (&report["created"], &report["rejected_count"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(answers(&service).await, before);
    })
    .await;
}

/// Everything there is, as the database has it now.
async fn answers(service: &Service) -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for uri in [
        "/v1/acme/list?include_deleted=true&level=strong",
        "/v1/acme/cis/a?level=strong",
        "/v1/acme/cis/a/graph?level=strong",
        "/v1/acme/cis/b/graph?level=strong",
    ] {
        all.push(service.get(uri).await.body);
    }
    all
}
