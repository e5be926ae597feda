//! What is exported is all of one state, and an import of it makes the same.

use std::time::Duration;

use axum::body::Body;
use axum::http::Method;
use ci_bench::Estate;
use ci_server::access::{Access, NewToken, Role, Tenants, TokenFile};
use ci_server::http::ServerOptions;
use ci_tests::fixture::{Fixture, on_both};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tower::ServiceExt as _;

use crate::service::{Service, fill};

async fn exported(service: &Service, query: &str) -> String {
    let reply = service.get(&format!("/v1/acme/export?{query}")).await;
    assert_eq!(reply.status, 200, "{query}");
    assert!(reply.header("x-ci-token").is_some(), "{query}");
    String::from_utf8(reply.body).expect("UTF-8")
}

async fn import(service: &Service, query: &str, lines: &str) -> Value {
    let uri = format!("/v1/acme/import?{query}");
    let reply = service
        .send(Method::POST, &uri, None, Body::from(lines.to_owned()))
        .await;
    assert_eq!(reply.status, 200, "{query}");
    reply.json()
}

#[tokio::test]
async fn an_import_of_an_export_makes_the_same() {
    on_both(async |fixture| {
        let store = fixture.open().await;
        // More than a page of both, and another tenant beside it.
        fill(&*store, "acme", Estate::new(1, 1_300)).await;
        fill(&*store, "other", Estate::new(2, 50)).await;
        let service = Service::over(store, ServerOptions::default());
        service.delete("/v1/acme/cis/app-iam-login-01-1").await;
        let cis = exported(&service, "").await;
        let relations = exported(&service, "kind=relations").await;
        let total = service.get("/v1/acme/list?limit=1").await.json()["total"].clone();
        assert_eq!(json!(cis.lines().count()), total);
        assert!(relations.lines().count() > 1_000, "{}", relations.lines().count());
        assert!(!cis.contains("\"app-iam-login-01-1\"") && !relations.contains("\"app-iam-login-01-1\""));

        let twin = Fixture::sqlite();
        let copy = Service::empty(&twin).await;
        let report = import(&copy, "kind=cis", &cis).await;
        assert_eq!(
            (&report["created"], &report["rejected_count"]),
            (&total, &json!(0))
        );
        let report = import(&copy, "kind=relations", &relations).await;
        assert_eq!(report["created"], json!(relations.lines().count()));
        assert_eq!(exported(&copy, "").await, cis);
        let sorted = |lines: &str| {
            let mut lines: Vec<String> = lines.lines().map(str::to_owned).collect();
            lines.sort_unstable();
            lines
        };
        assert_eq!(
            sorted(&exported(&copy, "kind=relations").await),
            sorted(&relations)
        );
    })
    .await;
}

#[tokio::test]
async fn a_part_is_exported_by_filters_and_nonsense_is_refused() {
    let fixture = Fixture::sqlite();
    let service = Service::estate(&fixture).await;
    let all = exported(&service, "").await.lines().count();
    let some = exported(&service, "filter=ci_type=SW").await;
    assert!(some.lines().count() > 0 && some.lines().count() < all);
    assert!(some.lines().all(|line| line.contains("\"ci_type\":\"SW\"")));
    assert_eq!(exported(&service, "filter=ci_type=nothing").await, "");
    for query in [
        "kind=x",
        "kind=relations&filter=ci_type=SW",
        "filter=nonsense",
        "limit=1",
    ] {
        let reply = service.get(&format!("/v1/acme/export?{query}")).await;
        assert_eq!(reply.status, 400, "{query}");
    }
}

/// Exports are few, and one that nobody reads gives its place back.
#[tokio::test]
async fn an_export_that_is_not_read_is_cut_off_and_says_so() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    fill(&*store, "acme", Estate::new(1, 5_000)).await;
    // Longer than it takes to ask for what there is no place for. Where a machine stalls for as long, places come back meanwhile, and it is
    // asked for more.
    let options = ServerOptions::default().body_timeout(Duration::from_secs(2));
    let service = Service::over(store, options);
    let ask = async || {
        let request = axum::http::Request::get("/v1/acme/export").body(Body::empty());
        service
            .router()
            .oneshot(request.expect("a request"))
            .await
            .expect("no error")
    };
    let mut unread = Vec::new();
    loop {
        let response = ask().await;
        if response.status() != 200 {
            assert_eq!(response.status(), 503);
            break;
        }
        unread.push(response);
        assert!(unread.len() < 1_000, "exports have no bound");
    }
    // Until one of them is given up, there is no place for another.
    while ask().await.status() != 200 {
        tokio::task::yield_now().await;
    }
    let mut cut = 0;
    for response in unread {
        let mut body = response.into_body().into_data_stream();
        let (mut lines, mut ended) = (0, Ok(()));
        while let Some(chunk) = body.next().await {
            match chunk {
                Ok(chunk) => lines += chunk.split(|byte| *byte == b'\n').count() - 1,
                Err(error) => ended = Err(error),
            }
        }
        cut += usize::from(ended.is_err());
        assert!(
            ended.is_err() || lines == 5_000,
            "a part of {lines} lines was taken for the whole"
        );
    }
    assert!(cut > 0);
}

/// An export lasts long: whoever may not read any more gets no more of it.
#[tokio::test]
async fn an_export_ends_with_the_token_that_it_was_asked_with() {
    let fixture = Fixture::sqlite();
    fill(&*fixture.open().await, "acme", Estate::new(1, 5_000)).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("tokens.json");
    let new = NewToken {
        name: "reader".into(),
        role: Role::Read,
        tenants: Tenants::All,
        expires: None,
    };
    let token = TokenFile::change(&path, |file| file.create(new)).expect("a token");
    let authorization = format!("Bearer {token}");
    let access = Access::by_file(&path).expect("a file of tokens");
    let service = Service::guarded(&fixture, access.clone()).await;
    let request = axum::http::Request::get("/v1/acme/export").header("authorization", &authorization);
    let request = request.body(Body::empty()).expect("a request");
    let response = service.router().oneshot(request).await.expect("no error");
    assert_eq!(response.status(), 200);
    TokenFile::change(&path, |file| file.revoke("reader")).expect("no token");
    let gone = async {
        while access.grant(&authorization).is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        () = access.watch() => {}
        () = gone => {}
    }
    let mut chunks = response.into_body().into_data_stream();
    let mut last = None;
    while let Some(chunk) = chunks.next().await {
        last = Some(chunk);
    }
    assert!(last.expect("a page").is_err(), "it was sent to its end");
}
