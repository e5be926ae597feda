//! The pages for people: who sees which, what no page of another site can do, and what they hold without a script.

use std::collections::BTreeSet;

use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use ci_server::access::Role;
use ci_server::http::{self, AppState, ServerOptions};
use ci_tests::fixture::Fixture;
use futures_util::StreamExt as _;
use serde_json::json;
use tower::ServiceExt as _;

use crate::access::Guarded;
use crate::service::{Reply, Service};

/// What a page takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    Nothing,
    Token,
    Role(Role),
}

/// Who may see and do what: the one table that says so. A page that is not in it fails the test.
pub(crate) const PAGES: &[(&str, &str, Need)] = {
    use Need::{Nothing, Token};
    const ADMIN: Need = Need::Role(Role::Admin);
    const READ: Need = Need::Role(Role::Read);
    &[
        ("GET", "/", ADMIN),
        ("GET", "/live", ADMIN),
        ("POST", "/control/clear", ADMIN),
        ("POST", "/control/invalidate", ADMIN),
        ("POST", "/control/warm", ADMIN),
        ("GET", "/explore", Token),
        ("GET", "/explore/{tenant}", READ),
        ("GET", "/explore/{tenant}/{id_or_code}", READ),
        ("GET", "/explore/{tenant}/{id_or_code}/graph", READ),
        ("GET", "/sign-in", Nothing),
        ("POST", "/sign-in", Nothing),
        ("POST", "/sign-out", Nothing),
        ("GET", "/assets/{name}", Nothing),
    ]
};

fn uri(route: &str) -> String {
    route
        .replace("{tenant}", "acme")
        .replace("{id_or_code}", "a")
        .replace("{name}", "live.js")
}

pub(crate) fn request(method: &str, uri: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let request = Request::builder().method(method).uri(uri);
    let request = headers
        .iter()
        .fold(request, |request, (name, value)| request.header(*name, *value));
    request.body(Body::from(body.to_owned())).expect("a request")
}

const BROWSER: (&str, &str) = ("accept", "text/html,*/*;q=0.8");
pub(crate) const OWN: (&str, &str) = ("sec-fetch-site", "same-origin");

/// Signs in, and gives the cookie.
pub(crate) async fn session(service: &Service, token: &str) -> String {
    let reply = service
        .page(request(
            "POST",
            "/sign-in",
            &[OWN],
            &format!("token={token}&next=%2Fexplore"),
        ))
        .await;
    assert_eq!((reply.status, reply.header("location")), (303, Some("/explore")));
    let cookie = reply.header("set-cookie").expect("a cookie");
    for part in ["HttpOnly", "SameSite=Strict", "Path=/;"] {
        assert!(cookie.contains(part), "{cookie}");
    }
    assert!(!cookie.contains(token), "the token is in the cookie");
    cookie.split(';').next().expect("a pair").to_owned()
}

/// The status, without an answer that goes on for as long as one listens.
pub(crate) async fn status(service: &Service, request: Request<Body>) -> (u16, Option<String>) {
    let response = service.router().oneshot(request).await.expect("no error");
    let to = response
        .headers()
        .get("location")
        .map(|to| to.to_str().expect("text").to_owned());
    (response.status().as_u16(), to)
}

#[tokio::test]
async fn every_page_answers_everybody_as_the_table_says() {
    let served: BTreeSet<(&str, &str)> = http::pages().into_iter().collect();
    let table: BTreeSet<(&str, &str)> = PAGES.iter().map(|(method, route, _)| (*method, *route)).collect();
    assert_eq!(served, table);

    let fixture = Fixture::sqlite();
    let mut guarded = Guarded::new(&fixture).await;
    let mut callers = vec![("nobody", None, None, false)];
    for role in [Role::Read, Role::Write, Role::Admin] {
        for (name, tenants) in [
            ("of acme", &["acme"][..]),
            ("of another", &["other"]),
            ("of all", &[]),
        ] {
            let token = guarded.token(&fixture, role, tenants).await;
            callers.push((name, Some(role), Some(token), tenants.is_empty()));
        }
    }
    let service = &guarded.service;
    for (name, role, token, is_for_all) in &callers {
        let bearer = token
            .as_ref()
            .map(|token| ("authorization", format!("Bearer {token}")));
        let cookie = match token {
            Some(token) => Some(("cookie", session(service, token).await)),
            None => Some(("cookie", "ci_cache_session=0123".to_owned())),
        };
        for (by, shown) in [("token", bearer), ("session", cookie)] {
            for (method, route, need) in PAGES {
                if *route == "/sign-out" {
                    continue;
                }
                let mut headers = vec![BROWSER, OWN];
                headers.extend(shown.as_ref().map(|(name, value)| (*name, value.as_str())));
                let (status, to) = status(service, request(method, &uri(route), &headers, "")).await;
                let theirs = *is_for_all || route.contains("{tenant}") && *name == "of acme";
                let refusal = match (need, role) {
                    (Need::Nothing, _) | (Need::Token, Some(_)) => None,
                    (_, None) if *method == "GET" => Some(303),
                    (_, None) => Some(401),
                    (Need::Role(least), Some(role)) => (role < least || !theirs).then_some(403),
                };
                let told = match status {
                    303 => to.filter(|to| to.starts_with("/sign-in?next=")).map(|_| 303),
                    // A form without a token is not let in, whoever sends it.
                    401 if *route == "/sign-in" => None,
                    401 | 403 => Some(status),
                    _ => None,
                };
                assert_eq!(
                    told, refusal,
                    "{method} {route} by {name}, {role:?}, {by}: {status}"
                );
            }
        }
    }
}

fn is_safe(reply: &Reply, what: &str) {
    let policy = reply.header("content-security-policy").expect("a policy");
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self'; style-src 'self';"),
        "{policy}"
    );
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(reply.header("x-content-type-options"), Some("nosniff"), "{what}");
    if reply.header("content-type") != Some("text/html; charset=utf-8") {
        return;
    }
    assert_eq!(reply.header("cache-control"), Some("no-store"), "{what}");
    let text = reply.text();
    let scripts = text.matches("<script").count();
    assert_eq!(
        scripts,
        text.matches("<script defer src=\"").count(),
        "a script within {what}"
    );
    for inline in [
        "<style",
        " style=",
        " onclick=",
        " onload=",
        "javascript:",
        "http://",
        "https://",
    ] {
        let known = text.replace("http://www.w3.org/2000/svg", "");
        assert!(!known.contains(inline), "{inline} in {what}");
    }
}

#[tokio::test]
async fn pages_are_whole_without_a_script_and_hold_none() {
    let fixture = Fixture::sqlite();
    let service = Service::estate(&fixture).await;
    let (first, other) = {
        let codes = service
            .get("/v1/acme/cis?limit=2&filter=ci_type%3DSW")
            .await
            .codes();
        (codes[0].clone(), codes[1].clone())
    };
    for (path, status, holds) in [
        ("/".to_owned(), 200, "Hit rate"),
        ("/explore".into(), 200, "Tenant"),
        (format!("/explore/acme?q={first}"), 200, "<mark>"),
        ("/explore/acme?q=nothing+has+this".into(), 200, "0</strong>"),
        (format!("/explore/acme/{first}"), 200, "Affected when it fails"),
        (
            format!("/explore/acme/{other}/graph?view=impact"),
            200,
            "<svg class=\"graph\"",
        ),
        (
            format!("/explore/acme/{other}/graph?view=&depth=x"),
            400,
            "The request does not fit",
        ),
        (
            format!("/explore/acme/{other}/graph?depth=99"),
            400,
            "The request does not fit",
        ),
        ("/explore/acme?limit=3".into(), 400, "limit"),
        (
            "/explore/acme?cursor=nonsense".into(),
            400,
            "The request does not fit",
        ),
        ("/explore/acme/absent".into(), 404, "There is no such CI"),
        ("/explore/acme/absent/graph".into(), 404, "There is no such CI"),
        ("/sign-in?next=//evil.example".into(), 200, "value=\"/explore\""),
        ("/assets/live.js".into(), 200, "EventSource"),
        ("/assets/absent.js".into(), 404, "There is no such path"),
    ] {
        let reply = service.page(request("GET", &path, &[BROWSER], "")).await;
        assert_eq!(reply.status, status, "{path}: {}", reply.text());
        assert!(reply.text().contains(holds), "{path} holds no {holds}");
        is_safe(&reply, &path);
    }
    // A part of a page for htmx, the whole for a form.
    let part = service
        .page(request("GET", "/explore/acme?q=a", &[("hx-request", "true")], ""))
        .await;
    assert!(!part.text().contains("<html") && part.text().contains("id=\"total\""));
    let clear = service.page(request("POST", "/control/clear", &[OWN], "")).await;
    assert!(clear.text().contains("<html") && clear.text().contains("forgotten"));
    for (path, body, status) in [
        ("/control/invalidate", "tenant=acme&ci=", 200),
        ("/control/invalidate", "key=zzz", 400),
        ("/control/invalidate", "", 400),
        ("/control/warm", "limit=5", 200),
        ("/control/warm", "limit=0", 400),
        ("/control/warm", "colour=red", 400),
    ] {
        let reply = service
            .page(request("POST", path, &[OWN, ("hx-request", "true")], body))
            .await;
        assert_eq!(reply.status, status, "{path} {body}");
        assert!(!reply.text().contains("<html"), "{path} {body}");
        is_safe(&reply, path);
    }
}

#[tokio::test]
async fn another_tenants_ci_is_as_one_that_never_was() {
    let fixture = Fixture::sqlite();
    let service = Service::empty(&fixture).await;
    let ci = json!({"ci_name": "hidden", "ci_type": "t"});
    assert_eq!(
        service.json(Method::PUT, "/v1/other/cis/secret", ci).await.status,
        201
    );
    let id = service.get("/v1/other/cis/secret").await.json()["ci_id"]
        .as_str()
        .unwrap()
        .to_owned();
    for end in ["", "/graph"] {
        let absent = service
            .page(request(
                "GET",
                &format!("/explore/acme/absent{end}"),
                &[BROWSER],
                "",
            ))
            .await;
        for name in ["secret", &id] {
            let theirs = service
                .page(request(
                    "GET",
                    &format!("/explore/acme/{name}{end}"),
                    &[BROWSER],
                    "",
                ))
                .await;
            assert_eq!((theirs.status, &theirs.body), (404, &absent.body));
        }
        let own = service
            .page(request(
                "GET",
                &format!("/explore/other/secret{end}"),
                &[BROWSER],
                "",
            ))
            .await;
        assert!(own.status == 200 && own.text().contains("hidden"));
    }
}

/// The database's failure is said, on a page.
#[tokio::test]
async fn a_database_that_fails_is_no_empty_page() {
    let service = Service::broken(crate::broken::down(), ServerOptions::default());
    for path in ["/explore/acme", "/explore/acme/a", "/explore/acme/a/graph"] {
        let reply = service.page(request("GET", path, &[BROWSER], "")).await;
        assert_eq!(
            (reply.status, reply.header("retry-after")),
            (503, Some("5")),
            "{path}"
        );
        assert!(reply.text().contains("The database cannot be reached"), "{path}");
        is_safe(&reply, path);
    }
    assert_eq!(
        service.page(request("GET", "/", &[BROWSER], "")).await.status,
        200
    );
}

#[tokio::test]
async fn a_graph_says_what_it_leaves_out() {
    let fixture = Fixture::sqlite();
    let service = Service::empty(&fixture).await;
    service.put_ci("hub").await;
    for number in 0..160 {
        let code = format!("leaf-{number:03}");
        service.put_ci(&code).await;
        let relation = json!({"from": "hub", "to": code, "rel_type": "USES"});
        assert_eq!(
            service
                .json(Method::PUT, "/v1/acme/relations", relation)
                .await
                .status,
            201
        );
    }
    let graph = async || {
        service
            .page(request("GET", "/explore/acme/hub/graph", &[], ""))
            .await
            .text()
    };
    let text = graph().await;
    assert!(
        text.contains("150 of 161 CIs, 149 of 160 relations are drawn"),
        "{text}"
    );
    assert_eq!(text.matches("<a class=\"node").count(), 150);
    let picture = |text: &str| text[text.find("<svg").unwrap()..text.find("</main>").unwrap()].to_owned();
    assert_eq!(
        picture(&text),
        picture(&graph().await),
        "the same graph is the same picture"
    );
    let page = service
        .page(request("GET", "/explore/acme/hub", &[], ""))
        .await
        .text();
    assert!(page.contains("The first 50 of 160 relations"), "{page}");
}

#[tokio::test]
async fn those_who_watch_are_bounded_and_end_with_the_service() {
    let fixture = Fixture::sqlite();
    let runner = ci_tests::fixture::patient(fixture.open().await)
        .build()
        .expect("a runner");
    let state = AppState::new(runner, ServerOptions::default());
    let router = http::router(state.clone());
    let watch = async || {
        let asked = request("GET", "/live", &[("accept", "text/event-stream")], "");
        router.clone().oneshot(asked).await.expect("no error")
    };
    let mut watched = Vec::new();
    for _ in 0..32 {
        let response = watch().await;
        assert_eq!(response.status(), 200);
        watched.push(response.into_body().into_data_stream());
    }
    assert_eq!(watch().await.status(), 503);
    // An event comes, with all panels at first.
    let event = watched[0].next().await.expect("an event").expect("no error");
    let event = String::from_utf8(event.to_vec()).expect("text");
    let event: serde_json::Value =
        serde_json::from_str(event.trim().strip_prefix("data:").expect("data")).expect("JSON");
    assert_eq!(event["panels"].as_array().map(Vec::len), Some(10));
    assert_eq!(event["point"].as_array().map(Vec::len), Some(3));
    // One that goes makes room for another.
    watched.pop();
    let mut last = watch().await.into_body().into_data_stream();
    state.stop();
    for stream in watched.iter_mut().chain([&mut last]) {
        while let Some(event) = stream.next().await {
            event.expect("no error");
        }
    }
}

#[tokio::test]
async fn mounted_under_a_prefix_pages_know_where_they_are() {
    let fixture = Fixture::sqlite();
    let mut guarded = Guarded::new(&fixture).await;
    let token = guarded.token(&fixture, Role::Admin, &[]).await;
    let service = &guarded.service;
    let router = Router::new().nest("/cmdb", service.router());
    let ask = async |request: Request<Body>| router.clone().oneshot(request).await.expect("no error");
    let to =
        |response: &axum::response::Response| response.headers()["location"].to_str().unwrap().to_owned();
    let sent = ask(request("GET", "/cmdb/explore/acme?q=a", &[BROWSER], "")).await;
    assert_eq!(to(&sent), "/cmdb/sign-in?next=%2Fexplore%2Facme%3Fq%3Da");
    let form = format!("token={token}&next=%2Fexplore%2Facme");
    let signed = ask(request("POST", "/cmdb/sign-in", &[OWN], &form)).await;
    assert_eq!(to(&signed), "/cmdb/explore/acme");
    let cookie = signed.headers()["set-cookie"].to_str().unwrap();
    assert!(cookie.contains("Path=/cmdb/;"), "{cookie}");
    let cookie = cookie.split(';').next().unwrap().to_owned();
    for path in ["/cmdb", "/cmdb/explore/acme"] {
        let page = ask(request("GET", path, &[BROWSER, ("cookie", &cookie)], "")).await;
        assert_eq!(page.status(), 200, "{path}");
        let body = axum::body::to_bytes(page.into_body(), usize::MAX).await.unwrap();
        let text = String::from_utf8(body.to_vec()).unwrap();
        for start in [
            " href=\"/",
            " src=\"/",
            " action=\"/",
            " hx-get=\"/",
            " hx-post=\"/",
            " data-live=\"/",
        ] {
            let own = format!("{start}cmdb/");
            assert_eq!(
                text.matches(start).count(),
                text.matches(&own).count(),
                "{start} in {path}"
            );
        }
    }
    // Without a session, and of a route that is none of the pages.
    assert_eq!(ask(request("GET", "/cmdb/live", &[], "")).await.status(), 401);
    assert_eq!(
        ask(request("GET", "/cmdb/v1/acme/list", &[("cookie", &cookie)], ""))
            .await
            .status(),
        401
    );
}
