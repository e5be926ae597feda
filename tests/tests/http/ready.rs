//! `/readyz` says whether to send requests, and why not.

use std::net::SocketAddr;
use std::time::Duration;

use ci_server::http::{AppState, ServerOptions, router, serve};
use ci_tests::fixture::{Fixture, on_both};
use ci_tests::observed::Observed;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::service::{Reply, Service};
use crate::socket::{answer, ask};

const HOUR: Duration = Duration::from_secs(3_600);

/// Asks until the answer is this one.
async fn until(service: &Service, status: u16, kind: &str) -> Reply {
    loop {
        let reply = service.get("/readyz").await;
        let says = reply.json()["type"].as_str().map(str::to_owned);
        if reply.status == status && says.as_deref().unwrap_or_default().ends_with(kind) {
            return reply;
        }
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_feed_that_stands_still_is_told_and_its_mending_too() {
    on_both(async |fixture| {
        let service = Service::over(fixture.open().await, ServerOptions::default());
        until(&service, 200, "").await;
        fixture
            .execute(if fixture.is_sqlite() {
                "DROP TRIGGER ci_change_update"
            } else {
                "ALTER TABLE ci DISABLE TRIGGER \"CI_change_rows\""
            })
            .await;
        let reply = until(&service, 503, "/feed-behind").await;
        assert!(reply.detail().contains("stopped"), "{}", reply.detail());
        assert_eq!(reply.header("retry-after"), Some("5"));
        // Questions are answered all the same, from the database.
        assert_eq!(service.get("/v1/acme/list").await.status, 200);
        drop(fixture.open().await);
        until(&service, 200, "").await;
    })
    .await;
}

#[tokio::test]
async fn a_lag_beyond_the_bound_is_told_and_a_gap_is_over_with_the_next_poll() {
    let fixture = Fixture::sqlite();
    let (store, control) = Observed::around(fixture.open().await);
    let options = ServerOptions::default().ready_lag(Duration::from_millis(300));
    let service = Service::over(store, options.ready_timeout(Duration::from_millis(1)));
    until(&service, 200, "").await;
    let held = control.hold_poll(false);
    let reply = until(&service, 503, "/feed-behind").await;
    assert!(
        reply.detail().contains("ready is up to 300 ms"),
        "{}",
        reply.detail()
    );
    drop(held);
    until(&service, 200, "").await;
    let before = control.polls_held();
    drop(control.hold_poll(true));
    while control.polls_held() == before {
        tokio::task::yield_now().await;
    }
    until(&service, 200, "").await;
}

#[tokio::test]
async fn being_ready_costs_no_statement_and_not_being_so_tells_the_database_from_the_feed() {
    let fixture = Fixture::sqlite();
    let (store, control) = Observed::around(fixture.open().await);
    let service = Service::over(store, ServerOptions::default().ready_lag(HOUR));
    until(&service, 200, "").await;
    // The next call of the store would fail: none comes.
    control.fail_nth(1);
    for _ in 0..100 {
        assert_eq!(service.get("/readyz").await.status, 200);
    }
    assert!(!control.has_failed());
    fixture.execute("DROP TRIGGER ci_change_update").await;
    until(&service, 503, "/database-unavailable").await;
    assert!(control.has_failed());
    until(&service, 503, "/feed-behind").await;
}

#[tokio::test]
async fn a_service_that_is_told_to_stop_says_so_before_it_stops() {
    let fixture = Fixture::sqlite();
    let runner = ci_tests::fixture::patient(fixture.open().await)
        .build()
        .expect("a runner");
    let options = ServerOptions::default().drain_delay(HOUR);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address: SocketAddr = listener.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel::<()>();
    let state = AppState::new(runner, options);
    let beside = Service::of(router(state.clone()));
    let server = tokio::spawn(serve(listener, state, async move {
        let _ = stopped.await;
    }));
    until(&beside, 200, "").await;
    stop.send(()).expect("the server listens");
    let reply = until(&beside, 503, "/stopping").await;
    assert!(reply.detail().contains("told to stop"));
    // Connections are still taken, and answered.
    let ready = answer(ask(address, "/readyz").await).await;
    assert!(
        ready.starts_with("HTTP/1.1 503") && ready.contains("/problems/stopping"),
        "{ready}"
    );
    let list = answer(ask(address, "/v1/acme/list").await).await;
    assert!(list.starts_with("HTTP/1.1 200"), "{list}");
    assert_eq!(beside.get("/healthz").await.status, 200);
    server.abort();
}
