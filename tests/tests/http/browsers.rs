//! What a browser may do to a service that lets everybody in: nothing on behalf of a page of another site.

use axum::body::Body;
use axum::http::Method;
use ci_server::http::{AppState, ServerOptions, router};
use ci_tests::fixture::Fixture;

use crate::service::Service;

/// A service that lets everybody in, by these options.
async fn open(options: ServerOptions) -> (Service, Fixture) {
    let fixture = Fixture::sqlite();
    let runner = ci_tests::fixture::patient(fixture.open().await)
        .build()
        .expect("a runner");
    (Service::of(router(AppState::new(runner, options))), fixture)
}

/// Imports a CI, as a form or a script without leave to read the answer can, with these headers.
async fn import(service: &Service, headers: &[(&str, &str)]) -> u16 {
    let headers = [&[("content-type", "text/plain")], headers].concat();
    let line = r#"{"ci_code":"srv-1","ci_name":"x","ci_type":"HW"}"#;
    let uri = "/v1/acme/import?kind=cis";
    service
        .send_with(Method::POST, uri, &headers, line.into())
        .await
        .status
}

#[tokio::test]
async fn no_page_of_another_site_writes() {
    let (service, _fixture) = open(ServerOptions::default()).await;
    for headers in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site")],
        &[("origin", "https://evil.example"), ("host", "127.0.0.1:8642")],
        &[("origin", "null"), ("host", "127.0.0.1:8642")],
        &[("cookie", "sso=1"), ("sec-fetch-site", "cross-site")],
    ] {
        assert_eq!(import(&service, headers).await, 403, "{headers:?}");
    }
    assert_eq!(service.get("/v1/acme/cis/srv-1").await.status, 404);
    // Its own page may, and so may whatever is no browser.
    let own = [("origin", "http://127.0.0.1:8642"), ("host", "127.0.0.1:8642")];
    for headers in [&[][..], &own, &[("sec-fetch-site", "same-origin")]] {
        assert_eq!(import(&service, headers).await, 200, "{headers:?}");
    }
    assert_eq!(service.get("/v1/acme/cis/srv-1").await.status, 200);
}

#[tokio::test]
async fn a_name_that_somebody_gave_this_address_is_not_answered_to() {
    let (service, _fixture) = open(ServerOptions::default().hosts(["cmdb.example"])).await;
    let get = async |uri: &str, host: &str| {
        let reply = service
            .raw(Method::GET, uri, &[("host", host)], Body::empty())
            .await;
        reply.status
    };
    for uri in ["/v1/acme/list", "/v1/cache/stats", "/", "/explore/acme"] {
        for host in ["127.0.0.1:8642", "localhost:8642", "[::1]:8642", "cmdb.example"] {
            assert_eq!(get(uri, host).await, 200, "{uri} of {host}");
        }
        assert_eq!(get(uri, "evil.example:8642").await, 403, "{uri}");
    }
    // A page that claims to be its own is of that name, too.
    let own = [("origin", "http://evil.example"), ("host", "evil.example")];
    assert_eq!(import(&service, &own).await, 403);
    // Probes may come by any name: they tell nothing.
    assert_eq!(get("/healthz", "evil.example").await, 200);
}
