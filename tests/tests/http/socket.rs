//! The service on a real socket: it answers, drains, and stops.

use std::net::SocketAddr;
use std::time::Duration;

use ci_server::http::{AppState, ServerOptions, serve};
use ci_tests::fixture::Fixture;
use ci_tests::observed::Observed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

/// Longer than any test.
const HOUR: Duration = Duration::from_secs(3_600);

pub(crate) async fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("a request is sent");
    stream
}

pub(crate) async fn answer(mut stream: TcpStream) -> String {
    let mut text = String::new();
    // A connection that is cut reads as its end or as an error: both leave what came before.
    let _ = stream.read_to_string(&mut text).await;
    text
}

#[tokio::test]
async fn a_request_at_work_is_answered_before_the_service_stops() {
    let fixture = Fixture::sqlite();
    let (store, control) = Observed::around(fixture.open().await);
    let runner = ci_tests::fixture::patient(store).build().expect("a runner");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel::<()>();
    let options = ServerOptions::default().drain_timeout(HOUR);
    let server = tokio::spawn(serve(listener, AppState::new(runner, options), async move {
        let _ = stopped.await;
    }));

    let alive = answer(ask(address, "/healthz").await).await;
    assert!(alive.starts_with("HTTP/1.1 200 OK"), "{alive}");

    let gate = control.close_gate();
    let waiting = ask(address, "/v1/acme/list").await;
    while control.reads() == 0 {
        tokio::task::yield_now().await;
    }
    stop.send(()).expect("the server listens");
    // No new connection is taken: the listener is gone as soon as the server has noticed.
    while TcpStream::connect(address).await.is_ok() {
        tokio::task::yield_now().await;
    }
    drop(gate);
    let late = answer(waiting).await;
    assert!(
        late.starts_with("HTTP/1.1 200 OK") && late.contains("\"total\":0"),
        "{late}"
    );
    server.await.expect("no panic").expect("no error");
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_after_the_drain_time() {
    let fixture = Fixture::sqlite();
    let (store, control) = Observed::around(fixture.open().await);
    let runner = ci_tests::fixture::patient(store).build().expect("a runner");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let options = ServerOptions::default().drain_timeout(Duration::from_millis(1));
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, AppState::new(runner, options), async move {
        let _ = stopped.await;
    }));
    let gate = control.close_gate();
    let waiting = ask(address, "/v1/acme/list").await;
    while control.reads() == 0 {
        tokio::task::yield_now().await;
    }
    stop.send(()).expect("the server listens");
    server.await.expect("no panic").expect("no error");
    let cut = answer(waiting).await;
    assert!(
        cut.starts_with("HTTP/1.1 503") && cut.contains("/problems/timeout"),
        "{cut}"
    );
    drop(gate);
}

/// A connection on which the head of a request has begun and does not end.
async fn begin(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let head = b"GET /healthz HTTP/1.1\r\nhost: test\r\n";
    stream.write_all(head).await.expect("a part of a request is sent");
    stream
}

#[tokio::test]
async fn a_head_that_stalls_is_not_waited_for() {
    let fixture = Fixture::sqlite();
    let runner = ci_tests::fixture::patient(fixture.open().await)
        .build()
        .expect("a runner");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let options = ServerOptions::default().head_timeout(Duration::from_millis(1));
    let server = tokio::spawn(serve(
        listener,
        AppState::new(runner, options),
        std::future::pending(),
    ));
    let mut silent = TcpStream::connect(address).await.expect("a connection");
    let mut rest = Vec::new();
    let _ = silent.read_to_end(&mut rest).await;
    assert!(rest.is_empty(), "nothing was asked");
    let _ = answer(begin(address).await).await;
    server.abort();
}

#[tokio::test]
async fn a_head_that_stalls_does_not_hold_up_the_end() {
    let fixture = Fixture::sqlite();
    let runner = ci_tests::fixture::patient(fixture.open().await)
        .build()
        .expect("a runner");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let options = ServerOptions::default().drain_timeout(HOUR).head_timeout(HOUR);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = tokio::spawn(serve(listener, AppState::new(runner, options), async move {
        let _ = stopped.await;
    }));
    let stalled = begin(address).await;
    // Connections are taken in their order: when this one is answered, the other one is being read.
    let alive = answer(ask(address, "/healthz").await).await;
    assert!(alive.starts_with("HTTP/1.1 200 OK"), "{alive}");
    stop.send(()).expect("the server listens");
    server.await.expect("no panic").expect("no error");
    drop(stalled);
}

/// Whoever watches a dashboard is told that it is over, and waits for nothing.
#[tokio::test]
async fn a_dashboard_that_is_watched_does_not_hold_up_the_end() {
    let fixture = Fixture::sqlite();
    let runner = ci_tests::fixture::patient(fixture.open().await)
        .build()
        .expect("a runner");
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (stop, stopped) = oneshot::channel::<()>();
    let state = AppState::new(runner, ServerOptions::default());
    let server = tokio::spawn(serve(listener, state, async move {
        let _ = stopped.await;
    }));
    let mut watched = ask(address, "/live").await;
    let mut seen = String::new();
    while !seen.contains("data:") {
        let mut bytes = [0; 4_096];
        let read = watched.read(&mut bytes).await.expect("it goes on");
        assert!(read > 0, "it ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    stop.send(()).expect("the server listens");
    let rest = answer(watched).await;
    server.await.expect("no panic").expect("no error");
    // Ended in order, not cut: the last chunk is the empty one.
    assert!(rest.ends_with("\r\n0\r\n\r\n") || rest == "0\r\n\r\n", "{rest:?}");
}
