//! What one tenant may ask: beyond it 429, and nobody else notices.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::Request;
use axum::response::Response;
use ci_bench::Estate;
use ci_cache_core::ManualClock;
use ci_server::http::{AppState, Exporter, ServerOptions, TenantLimits, router};
use ci_tests::fixture::Fixture;
use ci_tests::observed::Observed;
use futures_util::FutureExt as _;
use tower::ServiceExt as _;

use crate::service::{Service, fill};

fn number(number: u32) -> NonZeroU32 {
    NonZeroU32::new(number).expect("a number")
}

/// How many requests a limit has refused, as `/metrics` tells it.
async fn limited(service: &Service, limit: &str) -> String {
    let page = service.get("/metrics").await.text();
    let series = format!("ci_cache_http_limited_total{{runner=\"main\",limit=\"{limit}\"}} ");
    let line = page.lines().find_map(|line| line.strip_prefix(&series));
    line.expect("the series").to_owned()
}

#[tokio::test]
async fn a_tenant_that_asks_too_often_waits_and_the_others_do_not() {
    let fixture = Fixture::sqlite();
    let clock = Arc::new(ManualClock::new());
    let runner = ci_tests::fixture::patient(fixture.open().await).clock(Arc::clone(&clock) as _);
    let runner = runner.build().expect("a runner");
    let limits = TenantLimits::none().rate(number(2), number(4));
    let options = ServerOptions::default()
        .tenant_limits(limits)
        .metrics(Exporter::new());
    let service = Service::of(router(AppState::new(runner, options)));
    assert_eq!(
        limited(&service, "rate").await,
        "0",
        "it is there before the first"
    );
    for _ in 0..4 {
        assert_eq!(service.get("/v1/acme/list").await.status, 200);
    }
    let reply = service.get("/v1/acme/list").await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, Some("1")));
    assert_eq!(reply.json()["type"], "/problems/too-many-requests");
    // Every route of the tenant counts together, and nothing else does.
    assert_eq!(service.get("/v1/acme/dashboard").await.status, 429);
    for uri in ["/v1/other/list", "/v1/cache/stats", "/healthz", "/openapi.json"] {
        assert_eq!(service.get(uri).await.status, 200, "{uri}");
    }
    // What can be no tenant is told so, however often.
    for _ in 0..9 {
        assert_eq!(service.get("/v1/%20/list").await.status, 400);
    }
    clock.advance(Duration::from_millis(500));
    assert_eq!(service.get("/v1/acme/list").await.status, 200);
    assert_eq!(service.get("/v1/acme/list").await.status, 429);
    assert_eq!(limited(&service, "rate").await, "3");
    assert_eq!(limited(&service, "concurrency").await, "0");
}

#[tokio::test]
async fn a_tenant_has_no_more_at_work_than_it_may() {
    let fixture = Fixture::sqlite();
    let (store, control) = Observed::around(fixture.open().await);
    let limits = TenantLimits::none().concurrency(number(2));
    let options = ServerOptions::default()
        .tenant_limits(limits)
        .metrics(Exporter::new());
    let service = Service::over(store, options);
    let gate = control.close_gate();
    let full = async {
        while control.reads() < 2 {
            tokio::task::yield_now().await;
        }
        let refused = service.get("/v1/acme/list?limit=3").await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
        assert_eq!(service.get("/v1/acme/cis/x").await.status, 429);
        drop(gate);
    };
    let (one, two, ()) = tokio::join!(
        service.get("/v1/acme/list?limit=1"),
        service.get("/v1/acme/list?limit=2"),
        full
    );
    assert_eq!((one.status, two.status), (200, 200));
    assert_eq!(service.get("/v1/acme/list?limit=3").await.status, 200);
    assert_eq!(limited(&service, "concurrency").await, "2");
    assert_eq!(limited(&service, "rate").await, "0");
}

/// Asks for what goes on after its answer began; dropping the answer is what the end of a connection is.
async fn stream(service: &Service, uri: &str) -> Response {
    let request = Request::get(uri).header("accept", "text/event-stream");
    let request = request.body(Body::empty()).expect("a request");
    service.router().oneshot(request).await.expect("no error")
}

/// Until the place of one whose client went away is free again.
async fn until_there_is_a_place(service: &Service, uri: &str) -> Response {
    loop {
        let response = stream(service, uri).await;
        if response.status() == 200 {
            return response;
        }
        assert_eq!(response.status(), 429);
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_tenant_has_no_more_followers_and_exports_than_it_may() {
    let fixture = Fixture::sqlite();
    let store = fixture.open().await;
    for tenant in ["acme", "other"] {
        // More than what is read ahead, so that an export that is not read does not end.
        fill(&*store, tenant, Estate::new(1, 5_000)).await;
    }
    let limits = TenantLimits::none().followers(number(3)).exports(number(1));
    let options = ServerOptions::default()
        .tenant_limits(limits)
        .metrics(Exporter::new());
    let service = Service::over(store, options);
    service.get("/v1/acme/list?level=strong").await;
    for (limit, route, most) in [("followers", "changes", 3), ("exports", "export", 1)] {
        let uri = format!("/v1/acme/{route}");
        let mut held = Vec::new();
        for _ in 0..most {
            let response = stream(&service, &uri).await;
            assert_eq!(response.status(), 200, "{limit}");
            held.push(response);
        }
        let refused = service.get(&uri).await;
        assert_eq!((refused.status, refused.header("retry-after")), (429, Some("1")));
        assert_eq!(refused.json()["type"], "/problems/too-many-requests");
        assert_eq!(limited(&service, limit).await, "1");
        // Nobody else notices, nor does anything else of this tenant.
        assert_eq!(
            stream(&service, &format!("/v1/other/{route}")).await.status(),
            200
        );
        assert_eq!(service.get("/v1/acme/list").await.status, 200);
        held.pop();
        held.push(until_there_is_a_place(&service, &uri).await);
        // That one took the place that was free, and there is no other.
        assert_eq!(service.get(&uri).await.status, 429);
        drop(held);
        drop(until_there_is_a_place(&service, &uri).await);
    }
    // One that waits has a place, too, and gives it back when its client goes away before the answer.
    let uri = "/v1/acme/changes?wait_ms=30000";
    let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(service.get(uri))).collect();
    for one in &mut waiting {
        assert!(one.as_mut().now_or_never().is_none(), "there is nothing to tell");
    }
    assert_eq!(service.get("/v1/acme/changes").await.status, 429);
    drop(waiting);
    assert_eq!(service.get("/v1/acme/changes").await.status, 200);
}
