//! One connection: HTTP/1.1 with a time limit on the head of a request, and an end when the service stops.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Mutex;
use tower::ServiceExt;

/// Longest wait, when the service stops, for what a client has only begun to send, and for the last answers to be
/// written.
pub(super) const LAST_BYTES: Duration = Duration::from_secs(1);

/// Answers the requests of a connection, one after the other, until the client goes away, is silent for `head_timeout`
/// between requests or within the head of one, or `stop` ends. A request at work then is answered first; whoever has sent
/// nothing whole by then is left, so that an idle client cannot hold up the end of the service.
pub(super) async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    head_timeout: Duration,
    stop: impl Future<Output = ()>,
) {
    // Held by the request at work: HTTP/1.1 has one at a time.
    let work = Arc::new(Mutex::new(()));
    let service = service_fn(|request| {
        let (router, work) = (router.clone(), Arc::clone(&work));
        async move {
            let _at_work = work.lock().await;
            router.oneshot(request).await
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_timeout)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = idle(&work) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        // Clients go away and send what is no HTTP: that is their affair.
        tracing::trace!(%error, "failed to serve a connection");
    }
}

/// Ends when nobody is at work: not now, and not after the time for what is on its way.
async fn idle(work: &Mutex<()>) {
    let before = work.try_lock().is_err();
    tokio::time::sleep(LAST_BYTES).await;
    if before || work.try_lock().is_err() {
        // The connection ends by itself with this answer; how long that may take is the service's affair.
        std::future::pending::<()>().await;
    }
}
