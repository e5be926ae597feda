//! What the service answers: shapes, origin, writes seen by the next read, tenants apart.

use axum::body::Body;
use axum::http::{HeaderMap, Method};
use ci_server::http::{X_CI_LAG, X_CI_TOKEN};
use ci_tests::fixture::{Fixture, on_both};
use serde_json::{Value, json};

use crate::service::{Reply, Service};

const APP: &str = "app-iam-login-01-1";

#[tokio::test]
async fn every_question_is_a_miss_and_then_a_hit_with_the_same_answer() {
    on_both(async |fixture| {
        let service = Service::estate(fixture).await;
        for uri in [
            "/v1/acme/cis?q=iam+login&filter=ci_type=SW&sort=ci_name:desc&limit=5",
            "/v1/acme/cis?q=nothing+has+this",
            "/v1/acme/cis",
            "/v1/acme/cis?q=iam&rank=true&total=true&facet=ci_type,tags.env&facet_limit=3&fields=ci_code,tags.env&limit=4",
            "/v1/acme/list?order=updated&total=false&limit=9",
            "/v1/acme/list?limit=7&offset=3&filter=status=active",
            &format!("/v1/acme/cis/{APP}"),
            "/v1/acme/cis/app-is-not-there",
            &format!("/v1/acme/cis/{APP}/graph?view=DEPENDENCY&depth=2"),
            "/v1/acme/paths?from=sys-iam-login-01&to=srv-iam-login-01-1",
            "/v1/acme/aggregate?group_by=ci_type,ci_subtype&group_by=tags.env&distinct=owner",
            // Last: they answer parts of others.
            "/v1/acme/dashboard",
            &format!("/v1/acme/cis/{APP}/page"),
            &format!("/v1/acme/cis/{APP}/traversal?view=IMPACT&depth=2"),
        ] {
            let first = service.get(uri).await;
            assert_eq!(first.header("x-cache"), Some("miss"), "{uri}");
            assert_eq!(first.header("age"), Some("0"), "{uri}");
            let second = service.get(uri).await;
            assert_eq!(second.header("x-cache"), Some("hit"), "{uri}");
            second
                .header("age")
                .expect("an age")
                .parse::<u64>()
                .expect("whole seconds");
            assert_eq!((first.status, first.body), (second.status, second.body), "{uri}");
        }
    })
    .await;
}

#[tokio::test]
async fn lists_are_items_of_flat_cis() {
    let fixture = Fixture::sqlite();
    let service = Service::estate(&fixture).await;
    let found = service.get("/v1/acme/cis?q=iam+login&limit=3").await.json();
    assert_eq!(found["mode"], "strict");
    assert_eq!(found["items"].as_array().unwrap().len(), 3);
    assert_eq!(found["items"][0]["ci_code"], APP);
    assert_eq!(found["items"][0]["ci_subtype"], "app");
    let page = service.get("/v1/acme/list?limit=2").await.json();
    assert_eq!(page["total"], 120);
    assert_eq!(page["items"].as_array().unwrap().len(), 2);
    let groups = service.get("/v1/acme/aggregate?group_by=ci_type").await.json();
    assert!(groups["items"][0]["ci_type"].is_string() && groups["items"][0]["count"].is_u64());
    assert_eq!(groups["truncated"], false);
    let ci = service.get(&format!("/v1/acme/cis/{APP}")).await.json();
    assert_eq!(ci["tags"]["env"], "prod");
    assert_eq!(ci["tenant_id"], "acme");
    let by_id = service
        .get(&format!("/v1/acme/cis/{}", ci["ci_id"].as_str().unwrap()))
        .await
        .json();
    assert_eq!(by_id, ci);
    let graph = service.get(&format!("/v1/acme/cis/{APP}/graph")).await.json();
    assert_eq!(graph["root"], ci["ci_id"]);
    assert_eq!(graph["items"][0]["level"], 0);
    assert_eq!(graph["items"][0]["ci_code"], APP);
    assert!(graph["relations"][0]["rel_type"].is_string());
    assert_eq!(graph["nodes_truncated"], false);
    let path = service
        .get(&format!("/v1/acme/paths?from=sys-iam-login-01&to={APP}"))
        .await
        .json();
    assert_eq!(path["hops"], 1);
    assert_eq!(path["items"].as_array().unwrap().len(), 2);
    let none = service
        .get(&format!(
            "/v1/acme/paths?from={APP}&to=sys-iam-login-01&direction=out"
        ))
        .await
        .json();
    assert_eq!(none, json!({"items": [], "relations": [], "hops": null}));
    // One root and one path have the members that they always had.
    assert!(
        graph.get("missing").is_none() && path.get("others").is_none() && path.get("truncated").is_none()
    );
}

#[tokio::test]
async fn graphs_of_several_roots_are_filtered_and_paths_are_several() {
    let fixture = Fixture::sqlite();
    let service = Service::estate(&fixture).await;
    let several = format!("/v1/acme/cis/{APP}/graph?view=NEIGHBORS&root=sys-iam-login-01&root=nowhere");
    let graph = service.get(&several).await.json();
    let levels = |graph: &Value, level: u64| -> Vec<String> {
        let items = graph["items"].as_array().unwrap().iter();
        let of_level = items.filter(|item| item["level"] == level);
        of_level
            .map(|item| item["ci_type"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(graph["items"][0]["ci_code"], APP);
    assert_eq!(graph["items"][1]["ci_code"], "sys-iam-login-01");
    assert_eq!(
        (levels(&graph, 0).len(), &graph["missing"]),
        (2, &json!(["nowhere"]))
    );
    let all = levels(&graph, 1);
    let refused = all.first().unwrap();
    let filtered = service
        .get(&format!("{several}&filter=ci_type!={refused}"))
        .await
        .json();
    assert!(levels(&filtered, 1).iter().all(|kind| kind != refused));
    assert_eq!(levels(&filtered, 0), levels(&graph, 0), "roots are not asked");
    let paths = format!("/v1/acme/paths?from=sys-iam-login-01&to={APP}&most=5");
    let paths = service.get(&paths).await.json();
    assert_eq!((&paths["hops"], &paths["truncated"]), (&json!(1), &json!(false)));
    assert!(
        paths.get("others").is_none(),
        "two that are related have one path of one step"
    );
}

#[tokio::test]
async fn a_search_says_how_it_found_and_strict_finds_all_or_nothing() {
    let fixture = Fixture::sqlite();
    let service = Service::estate(&fixture).await;
    let broad = service.get("/v1/acme/cis?q=login+zzzz").await;
    assert_eq!(broad.json()["mode"], "broad");
    assert!(!broad.codes().is_empty());
    let strict = service.get("/v1/acme/cis?q=login+zzzz&strict=true").await;
    assert_eq!((strict.status, strict.codes().len()), (200, 0));
    let recovered = service
        .get(&format!("/v1/acme/cis?q=%22what+needs+{APP}%3F%22"))
        .await;
    assert_eq!(recovered.json()["mode"], "recovered");
    assert_eq!(recovered.codes()[0], APP);
    let phrase = service
        .get("/v1/acme/cis?q=%22Identity+Login+01+app+1%22&strict")
        .await;
    assert_eq!(phrase.codes(), [APP]);
}

#[tokio::test]
async fn an_exact_match_comes_first_unless_an_order_is_asked_for() {
    let fixture = Fixture::sqlite();
    let service = Service::empty(&fixture).await;
    let lines = ["a-ssl: wraps OpenSSL", "m-ssl: OpenSSL", "z-ssl: uses openssl"];
    for (code, name) in lines.iter().filter_map(|line| line.split_once(": ")) {
        let reply = service
            .json(Method::PUT, &format!("/v1/acme/cis/{code}"), ci(name))
            .await;
        assert_eq!(effect(&reply, 201), "created");
    }
    for (query, first) in [
        ("q=openSSL", "m-ssl"),
        ("q=openssl+nowhere", "m-ssl"),
        ("q=openssl&strict=true", "a-ssl"),
        ("q=openssl&sort=ci_code", "a-ssl"),
        ("q=openssl&sort=ci_code:desc", "z-ssl"),
    ] {
        let found = service.get(&format!("/v1/acme/cis?{query}")).await;
        assert_eq!(found.codes()[0], first, "{query}");
    }
}

fn ci(name: &str) -> Value {
    json!({"ci_name": name, "ci_type": "SW", "criticality": 3, "tags": {"env": "prod"}})
}

fn effect(reply: &Reply, status: u16) -> String {
    assert_eq!(reply.status, status, "{}", String::from_utf8_lossy(&reply.body));
    reply.json()["effect"].as_str().expect("an effect").to_owned()
}

#[tokio::test]
async fn a_write_is_seen_by_the_next_read() {
    on_both(async |fixture| {
        let service = Service::empty(fixture).await;
        let (uri, search) = ("/v1/acme/cis/db-1", "/v1/acme/cis?q=orders&strict=true");
        let count = "/v1/acme/aggregate?group_by=ci_type";
        assert_eq!(service.get(uri).await.status, 404);
        assert_eq!(service.get(search).await.codes(), [""; 0]);
        assert_eq!(service.get(count).await.json()["items"], json!([]));

        assert_eq!(
            effect(&service.json(Method::PUT, uri, ci("orders")).await, 201),
            "created"
        );
        assert_eq!(service.get(uri).await.json()["ci_name"], "orders");
        assert_eq!(service.get(search).await.codes(), ["db-1"]);
        assert_eq!(
            service.get(count).await.json()["items"],
            json!([{"ci_type": "SW", "count": 1}])
        );

        assert_eq!(
            effect(&service.json(Method::PUT, uri, ci("orders")).await, 200),
            "unchanged"
        );
        assert_eq!(
            effect(&service.json(Method::PUT, uri, ci("invoices")).await, 200),
            "updated"
        );
        assert_eq!(service.get(uri).await.json()["ci_name"], "invoices");
        assert_eq!(service.get(search).await.codes(), [""; 0]);

        assert_eq!(effect(&service.delete(uri).await, 200), "deleted");
        assert_eq!(service.get(uri).await.status, 404);
        assert!(service.get(&format!("{uri}?include_deleted=true")).await.json()["deleted_at"].is_string());
        assert_eq!(service.get(count).await.json()["items"], json!([]));
        assert_eq!(service.delete("/v1/acme/cis/never-there").await.status, 404);
        assert_eq!(
            effect(&service.json(Method::PUT, uri, ci("orders")).await, 200),
            "updated"
        );
        assert_eq!(service.get(uri).await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn relations_come_and_go() {
    on_both(async |fixture| {
        let service = Service::empty(fixture).await;
        for code in ["app-1", "db-1"] {
            service
                .json(Method::PUT, &format!("/v1/acme/cis/{code}"), ci(code))
                .await;
        }
        let (uri, graph) = ("/v1/acme/relations", "/v1/acme/cis/db-1/graph?view=IMPACT");
        let body = json!({"from": "app-1", "to": "db-1", "rel_type": "USES"});
        assert_eq!(service.get(graph).await.codes(), ["db-1"]);
        assert_eq!(
            effect(&service.json(Method::PUT, uri, body.clone()).await, 201),
            "created"
        );
        assert_eq!(service.get(graph).await.codes(), ["db-1", "app-1"]);
        assert_eq!(
            effect(&service.json(Method::PUT, uri, body.clone()).await, 200),
            "unchanged"
        );
        assert_eq!(
            effect(&service.json(Method::DELETE, uri, body.clone()).await, 200),
            "deleted"
        );
        assert_eq!(service.get(graph).await.codes(), ["db-1"]);
        assert_eq!(service.json(Method::DELETE, uri, body.clone()).await.status, 404);
        service.json(Method::PUT, uri, body).await;
        let query = format!("{uri}?from=app-1&to=db-1&rel_type=USES");
        assert_eq!(effect(&service.delete(&query).await, 200), "deleted");
        assert_eq!(service.delete(&query).await.status, 404);
    })
    .await;
}

#[tokio::test]
async fn another_tenants_ci_is_as_absent_as_one_that_never_was() {
    on_both(async |fixture| {
        let service = Service::empty(fixture).await;
        let created = service
            .json(Method::PUT, "/v1/acme/cis/db-1", ci("orders"))
            .await
            .json();
        let id = created["ci_id"].as_str().unwrap();
        for uri in [
            "cis/{}",
            "cis/{}/graph",
            "cis/{}/graph?view=IMPACT",
            "paths?from={}&to=x",
        ] {
            let never = service
                .get(&format!("/v1/other/{}", uri.replace("{}", "never-there")))
                .await;
            assert_eq!(never.status, 404);
            for name in ["db-1", id] {
                let theirs = service
                    .get(&format!("/v1/other/{}", uri.replace("{}", name)))
                    .await;
                assert_eq!(
                    (theirs.status, &theirs.body),
                    (never.status, &never.body),
                    "{uri} {name}"
                );
                // What is left out depends on the moment alone.
                let fixed = |headers: &HeaderMap| {
                    let moment = [X_CI_LAG, X_CI_TOKEN];
                    let mut headers = headers.clone();
                    moment.iter().for_each(|name| drop(headers.remove(name)));
                    headers
                };
                assert_eq!(fixed(&theirs.headers), fixed(&never.headers), "{uri} {name}");
            }
        }
        assert_eq!(service.get("/v1/other/cis?q=orders").await.codes(), [""; 0]);
        assert_eq!(service.get("/v1/other/list").await.json()["total"], 0);
        let batch = json!({"codes": ["db-1"], "ids": [id]});
        let batch = service
            .json(Method::POST, "/v1/other/batch-get", batch)
            .await
            .json();
        assert_eq!(batch, json!({"items": [], "missing": ["db-1", id]}));
        let deleted = service.delete(&format!("/v1/other/cis/{id}")).await;
        assert_eq!(deleted.status, 404);
        assert_eq!(service.get("/v1/acme/cis/db-1").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn codes_of_any_characters_have_a_path() {
    let fixture = Fixture::sqlite();
    let service = Service::empty(&fixture).await;
    for (path, code) in [
        ("deb:libstdc++6", "deb:libstdc++6"),
        ("a%2Fb%20c%3Fd%23e", "a/b c?d#e"),
        ("%EC%84%9C%EB%B2%84-1", "서버-1"),
        ("100%25_%5C", "100%_\\"),
        ("graph", "graph"),
        ("..%2F..%2Fetc", "../../etc"),
    ] {
        let uri = format!("/v1/acme/cis/{path}");
        let created = service.json(Method::PUT, &uri, ci("x")).await;
        assert_eq!((created.status, &created.json()["ci_code"]), (201, &json!(code)));
        assert_eq!(service.get(&uri).await.json()["ci_code"], code);
        assert_eq!(service.get(&format!("{uri}/graph")).await.codes(), [code]);
    }
}

#[tokio::test]
async fn a_batch_names_what_is_missing() {
    let fixture = Fixture::sqlite();
    let service = Service::estate(&fixture).await;
    let body = json!({"codes": [APP, "no-such-ci", "db-iam-login-01-1"]});
    let reply = service
        .json(Method::POST, "/v1/acme/batch-get", body.clone())
        .await;
    assert_eq!(reply.header("x-cache"), Some("miss"));
    assert_eq!(reply.codes(), [APP, "db-iam-login-01-1"]);
    assert_eq!(reply.json()["missing"], json!(["no-such-ci"]));
    let again = service.json(Method::POST, "/v1/acme/batch-get", body).await;
    assert_eq!((again.header("x-cache"), &again.body), (Some("hit"), &reply.body));
}

#[tokio::test]
async fn an_import_reports_each_line_and_is_seen_by_the_next_read() {
    on_both(async |fixture| {
        let service = Service::empty(fixture).await;
        let uri = "/v1/acme/import";
        assert_eq!(service.get("/v1/acme/cis?q=one&strict").await.codes(), [""; 0]);
        let cis = "{\"ci_code\":\"a\",\"ci_name\":\"one\",\"ci_type\":\"SW\"}\n\nnonsense\n\
                   {\"ci_code\":\"b\",\"ci_name\":\"two\",\"ci_type\":\"SW\",\"criticality\":9}\n\
                   {\"ci_code\":\"c\",\"ci_name\":\"three\",\"ci_type\":\"HW\"}";
        let report = import(&service, uri, cis.into()).await;
        assert_eq!(report["lines"], 4);
        assert_eq!(
            (&report["created"], &report["rejected_count"]),
            (&json!(2), &json!(2))
        );
        let lines: Vec<_> = report["rejected"]
            .as_array()
            .unwrap()
            .iter()
            .map(|r| r["line"].clone())
            .collect();
        assert_eq!(lines, [3, 4]);
        assert_eq!(service.get("/v1/acme/cis?q=one&strict").await.codes(), ["a"]);
        let again = import(&service, uri, cis.into()).await;
        assert_eq!((&again["created"], &again["unchanged"]), (&json!(0), &json!(2)));
        let relations = "{\"from\":\"a\",\"to\":\"c\",\"rel_type\":\"RUNS_ON\"}\n\
                         {\"from\":\"a\",\"to\":\"gone\",\"rel_type\":\"RUNS_ON\"}\n";
        let report = import(&service, &format!("{uri}?kind=relations"), relations.into()).await;
        assert_eq!(
            (&report["created"], &report["rejected_count"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(service.get("/v1/acme/cis/a/graph").await.codes(), ["a", "c"]);
    })
    .await;
}

async fn import(service: &Service, uri: &str, body: Body) -> Value {
    let reply = service
        .send(Method::POST, uri, Some("application/x-ndjson"), body)
        .await;
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    reply.json()
}

#[tokio::test]
async fn the_cache_tells_what_it_did() {
    let fixture = Fixture::sqlite();
    let service = Service::estate(&fixture).await;
    for _ in 0..3 {
        service.get("/v1/acme/cis?q=Login+IAM&filter=ci_type=SW").await;
    }
    let stats = service.get("/v1/cache/stats").await.json();
    assert_eq!(
        (&stats["hits"], &stats["misses"], &stats["loads"]),
        (&json!(2), &json!(1), &json!(1))
    );
    assert_eq!((&stats["size"], &stats["statements"]), (&json!(1), &json!(1)));
    let entries = service.get("/v1/cache/entries?limit=1").await.json();
    let entry = &entries["items"][0];
    assert_eq!(
        (&entry["kind"], &entry["hits"], &entry["filters"]),
        (&json!("search"), &json!(2), &json!(1))
    );
    assert_eq!(entry["keywords"], json!(["iam", "login"]));
    assert_eq!(entry["key"].as_str().unwrap().len(), 8);
    assert_eq!(service.get("/healthz").await.json(), json!({"status": "ok"}));
    assert_eq!(service.get("/readyz").await.json(), json!({"status": "ok"}));
}

#[tokio::test]
async fn pages_after_cursors_are_the_whole_search_with_its_total_and_facets() {
    on_both(async |fixture| {
        let service = Service::estate(fixture).await;
        let question = "/v1/acme/cis?q=iam&sort=ci_name:desc&total=true&facet=ci_type";
        let whole = service.get(&format!("{question}&limit=500")).await.json();
        let all = whole["items"].as_array().unwrap();
        assert!(all.len() > 5 && whole["next"].is_null(), "{whole}");
        assert_eq!(whole["total"], all.len());
        let counted = whole["facets"][0]["items"].as_array().unwrap();
        let counts = counted.iter().map(|group| group["count"].as_u64().unwrap());
        assert_eq!(
            (counts.sum::<u64>(), &whole["facets"][0]["field"]),
            (all.len() as u64, &json!("ci_type"))
        );
        let (mut pages, mut next) = (Vec::new(), Value::Null);
        loop {
            let cursor = next
                .as_str()
                .map_or(String::new(), |next| format!("&cursor={next}"));
            let page = service.get(&format!("{question}&limit=2{cursor}")).await.json();
            assert_eq!(
                (&page["total"], &page["facets"]),
                (&whole["total"], &whole["facets"])
            );
            pages.extend(page["items"].as_array().unwrap().clone());
            next = page["next"].clone();
            if next.is_null() {
                break;
            }
        }
        assert_eq!(&pages, all);
        // The short way gives the same cursor.
        let plain = service
            .get("/v1/acme/cis?q=iam&sort=ci_name:desc&limit=2")
            .await
            .json();
        assert!(plain["next"].is_string() && plain["total"].is_null() && plain["facets"].is_null());
        let fields = service
            .get(&format!("{question}&limit=3&fields=ci_code,tags.env"))
            .await
            .json();
        for (row, ci) in fields["items"].as_array().unwrap().iter().zip(all) {
            assert_eq!(row["ci_code"], ci["ci_code"]);
            assert_eq!(row.as_object().unwrap().len(), 2);
        }
        let other = plain["next"].as_str().unwrap();
        for wrong in [
            format!("/v1/acme/cis?q=other&limit=2&cursor={other}"),
            "/v1/acme/cis?cursor=nonsense".to_owned(),
            "/v1/acme/cis?facet=no_such_field".to_owned(),
            "/v1/acme/cis?facet_limit=0&facet=owner".to_owned(),
            "/v1/acme/cis?fields=no_such_field".to_owned(),
            "/v1/acme/list?order=newest".to_owned(),
            "/v1/acme/list?total=maybe".to_owned(),
        ] {
            assert_eq!(service.get(&wrong).await.status, 400, "{wrong}");
        }
        let listed = service
            .get("/v1/acme/list?order=updated&total=false&limit=2")
            .await
            .json();
        assert!(listed["total"].is_null() && listed["items"].as_array().unwrap().len() == 2);
    })
    .await;
}

#[tokio::test]
async fn whole_operations_are_their_parts() {
    on_both(async |fixture| {
        let service = Service::estate(fixture).await;
        let json = async |uri: &str| service.get(uri).await.json();
        let dashboard = json("/v1/acme/dashboard").await;
        for (name, field) in [
            ("by_type", "ci_type"),
            ("by_status", "status"),
            ("by_location", "location"),
            ("by_owner", "owner"),
        ] {
            let counts = json(&format!("/v1/acme/aggregate?group_by={field}")).await;
            assert_eq!(dashboard[name], counts, "{name}");
        }
        let recent = json("/v1/acme/list?order=updated&limit=10").await;
        assert_eq!(dashboard["total"], recent["total"]);
        assert_eq!(dashboard["recent"], recent["items"]);

        let page = json(&format!("/v1/acme/cis/{APP}/page")).await;
        assert_eq!(page["ci"], json(&format!("/v1/acme/cis/{APP}")).await);
        for (name, view) in [
            ("neighbours", "NEIGHBORS"),
            ("composition", "COMPOSITION"),
            ("impact", "IMPACT"),
        ] {
            let graph = json(&format!("/v1/acme/cis/{APP}/graph?view={view}")).await;
            assert_eq!(page[name], graph, "{name}");
        }
        assert_eq!(page["recent"], recent["items"]);

        let asked = "view=NEIGHBORS&depth=2&max_nodes=12";
        let traversal = json(&format!("/v1/acme/cis/{APP}/traversal?{asked}")).await;
        let graph = json(&format!("/v1/acme/cis/{APP}/graph?{asked}")).await;
        assert_eq!(traversal["graph"], graph);
        let (cis, nodes) = (&traversal["items"], graph["items"].as_array().unwrap());
        assert_eq!(cis.as_array().unwrap().len(), nodes.len());
        for (at, node) in nodes.iter().enumerate() {
            let code = node["ci_code"].as_str().unwrap();
            assert_eq!(cis[at], json(&format!("/v1/acme/cis/{code}")).await);
        }
        for uri in ["/v1/acme/cis/nobody/page", "/v1/acme/cis/nobody/traversal"] {
            assert_eq!(service.get(uri).await.status, 404, "{uri}");
        }
        // All that was asked for twice is from memory by now.
        let savings = json("/v1/cache/savings").await;
        assert!(savings["saved_statements"].as_u64().unwrap() > 0, "{savings}");
        let hits = savings["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|kind| kind["hits"].as_u64().unwrap());
        assert!(hits.sum::<u64>() > 0);
        let tenants = json("/v1/cache/tenants").await;
        assert_eq!(
            (
                &tenants["items"][0]["tenant"],
                tenants["items"].as_array().unwrap().len()
            ),
            (&json!("acme"), 1)
        );
    })
    .await;
}
