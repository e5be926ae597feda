//! Browsers that were let in: what their sessions are for, what no other site can do with them, what is written down of them.

use std::cell::RefCell;

use axum::http::Method;
use ci_server::access::Role;
use ci_tests::fixture::Fixture;
use serde_json::json;

use crate::access::Guarded;
use crate::pages::{OWN, PAGES, request, session, status};
use crate::service::Service;

/// A session is for pages: where it would count for the API, a form of another site could be sent there.
#[tokio::test]
async fn a_session_is_for_pages_and_ends() {
    let fixture = Fixture::sqlite();
    let mut guarded = Guarded::new(&fixture).await;
    let token = guarded.token(&fixture, Role::Admin, &[]).await;
    let service = &guarded.service;
    let cookie = session(service, &token).await;
    let page = async |uri: &str| {
        service
            .page(request("GET", uri, &[("cookie", &cookie)], ""))
            .await
            .status
    };
    assert_eq!(page("/explore").await, 200);
    assert_eq!(page("/v1/acme/list").await, 401);
    assert_eq!(page("/v1/cache/stats").await, 401);
    // Another secret, and the same twice.
    let other = format!("{}0", &cookie[..cookie.len() - 1]);
    let twice = format!("{cookie}; {cookie}");
    for wrong in [other, twice] {
        let reply = service
            .page(request("GET", "/explore", &[("cookie", &wrong)], ""))
            .await;
        assert!(reply.status == 401 || wrong == cookie, "{wrong}");
    }
    // A part of a page for which there is no session any more: the browser goes to sign in, and comes back to the page.
    for (method, path, next) in [
        ("GET", "/explore/acme?q=a", "%2Fexplore%2Facme%3Fq%3Da"),
        ("POST", "/control/warm", "%2F"),
    ] {
        let part = service
            .page(request(method, path, &[OWN, ("hx-request", "true")], ""))
            .await;
        let to = format!("/sign-in?next={next}");
        assert_eq!(
            (part.status, part.header("hx-redirect")),
            (401, Some(to.as_str()))
        );
    }
    let out = service
        .page(request("POST", "/sign-out", &[("cookie", &cookie), OWN], ""))
        .await;
    assert_eq!((out.status, out.header("location")), (303, Some("/sign-in")));
    assert_eq!(page("/explore").await, 401);
    for wrong in ["", "nonsense", &token[..token.len() - 1]] {
        let reply = service
            .page(request("POST", "/sign-in", &[OWN], &format!("token={wrong}")))
            .await;
        assert_eq!((reply.status, reply.header("set-cookie")), (401, None), "{wrong}");
        assert!(
            wrong.is_empty() || !reply.text().contains(wrong),
            "it is shown again"
        );
    }
}

#[tokio::test]
async fn no_page_of_another_site_changes_anything() {
    let fixture = Fixture::sqlite();
    let mut guarded = Guarded::new(&fixture).await;
    let token = guarded.token(&fixture, Role::Admin, &[]).await;
    let cookie = session(&guarded.service, &token).await;
    let open = Service::empty(&fixture).await;
    for service in [&guarded.service, &open] {
        for (method, route, _) in PAGES.iter().filter(|(method, ..)| *method == "POST") {
            for foreign in [
                &[][..],
                &[("sec-fetch-site", "cross-site")],
                &[("sec-fetch-site", "same-site")],
                &[("sec-fetch-site", "none")],
                &[("origin", "http://evil.example"), ("host", "localhost:8642")],
                &[("origin", "null"), ("host", "localhost:8642")],
            ] {
                let headers = [foreign, &[("cookie", cookie.as_str())]].concat();
                let (status, _) = status(
                    service,
                    request(method, route, &headers, &format!("token={token}")),
                )
                .await;
                assert_eq!(status, 403, "{route} {foreign:?}");
            }
        }
        let own = [
            ("origin", "http://localhost"),
            ("host", "localhost"),
            ("cookie", cookie.as_str()),
        ];
        assert_eq!(
            status(service, request("POST", "/control/clear", &own, ""))
                .await
                .0,
            200
        );
    }
}

thread_local! {
    /// What this thread logged since it began to listen.
    static LOG: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// The log of the thread that writes. One subscriber serves the whole program: with one for a thread, whether a line is written at all
/// is decided by whichever thread comes by it first.
struct Log;

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.with_borrow_mut(|log| log.iter_mut().for_each(|log| log.extend_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Listens from now on.
    fn begin() {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(|| Self)
            .finish();
        tracing::subscriber::set_global_default(subscriber).expect("nobody else listens");
        LOG.set(Some(Vec::new()));
    }

    /// What was written.
    fn text() -> String {
        String::from_utf8(LOG.take().unwrap_or_default()).expect("text")
    }
}

#[tokio::test]
async fn what_is_done_is_written_down_and_no_secret_is() {
    let fixture = Fixture::sqlite();
    let mut guarded = Guarded::new(&fixture).await;
    let token = guarded.token(&fixture, Role::Admin, &[]).await;
    let service = &guarded.service;
    Log::begin();
    let wrong = format!("{}{}", &token[..token.len() - 8], "deadbeef");
    service
        .page(request("POST", "/sign-in", &[OWN], &format!("token={wrong}")))
        .await;
    let cookie = session(service, &token).await;
    let signed = [OWN, ("cookie", cookie.as_str())];
    service.page(request("POST", "/control/clear", &signed, "")).await;
    service
        .page(request(
            "POST",
            "/control/invalidate",
            &signed,
            "tenant=acme&ci=subject-7",
        ))
        .await;
    let foreign = [("sec-fetch-site", "cross-site"), ("cookie", cookie.as_str())];
    service.page(request("POST", "/control/warm", &foreign, "")).await;
    let bearer = Some(token.as_str());
    let body = json!({"tenant": "acme", "ci": "subject-8"}).to_string();
    let reply = service
        .send_as(Method::POST, "/v1/cache/invalidate", bearer, body.into())
        .await;
    assert_eq!(reply.status, 200);
    service.page(request("POST", "/sign-out", &signed, "")).await;
    let text = Log::text();
    let lines: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("ci_cache::audit"))
        .collect();
    for (line, parts) in lines.iter().zip([
        &["refused or failed", "/sign-in", "status=401"][..],
        &["done", "caller=\"admin All\"", "/sign-in", "status=303"],
        &["done", "caller=\"admin All\"", "/control/clear", "status=200"],
        &[
            "done",
            "caller=\"admin All\"",
            "/control/invalidate",
            "tenant=\"acme\" ci=\"subject-7\"",
        ],
        &["refused or failed", "/control/warm", "status=403"],
        &[
            "done",
            "caller=\"admin All\"",
            "/v1/cache/invalidate",
            "tenant=\"acme\" ci=\"subject-8\"",
        ],
        &["done", "/sign-out", "status=303"],
    ]) {
        assert!(
            parts.iter().all(|part| line.contains(part)),
            "{line} lacks one of {parts:?}"
        );
    }
    assert_eq!(lines.len(), 7, "{lines:#?}");
    let secret = cookie.split_once('=').expect("a pair").1;
    for hidden in [token.as_str(), &token[13..], &wrong, &wrong[13..], secret] {
        assert!(!text.contains(hidden), "a secret is in the log");
    }
}
