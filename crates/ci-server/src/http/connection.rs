//! One connection: HTTP/1.1 with a time limit on the head of a request and on a client that does not read, and an end when the service stops.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::Response;
use http_body::{Frame, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use pin_project_lite::pin_project;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Mutex, OwnedMutexGuard};
use tower::ServiceExt;

use super::patient::Patient;

/// Longest wait, when the service stops, for what a client has only begun to send, and for the last answers to be
/// written.
pub(super) const LAST_BYTES: Duration = Duration::from_secs(1);

/// How long a connection may be silent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// Between two requests, and within the head of one.
    pub(super) head: Duration,
    /// While there is something to be written to it.
    pub(super) write: Duration,
}

/// Answers the requests of a connection, one after the other, until the client goes away, is silent for longer than `patience`, or `stop`
/// ends. A request at work then is answered first, and its answer sent; whoever has sent nothing whole by then is left, so that an idle client
/// cannot hold up the end of the service.
pub(super) async fn answer(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    patience: Patience,
    stop: impl Future<Output = ()>,
) {
    // Held by the request at work, until its answer is sent: HTTP/1.1 has one at a time.
    let work = Arc::new(Mutex::new(()));
    let is_writing = Arc::new(AtomicBool::new(false));
    let stream = Patient::new(stream, patience.write, Arc::clone(&is_writing));
    let service = service_fn(|request| {
        let (router, work) = (router.clone(), Arc::clone(&work));
        async move {
            let at_work = work.lock_owned().await;
            let response = router.oneshot(request).await?;
            Ok::<_, Infallible>(held_to_its_end(response, at_work))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(patience.head)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop => {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                () = idle(&work, &is_writing) => Ok(()),
            }
        }
    };
    if let Err(error) = ended {
        // Clients go away and send what is no HTTP: that is their affair.
        tracing::trace!(%error, "failed to serve a connection");
    }
}

/// Ends when nobody is at work: not now, and not after the time for what is on its way.
async fn idle(work: &Mutex<()>, is_writing: &AtomicBool) {
    // An answer is at work until its last part was taken to be sent, and then as long as the client does not take that.
    let is_busy = || work.try_lock().is_err() || is_writing.load(Ordering::Relaxed);
    let before = is_busy();
    tokio::time::sleep(LAST_BYTES).await;
    if before || is_busy() {
        // The connection ends by itself with this answer; how long that may take is the service's affair.
        std::future::pending::<()>().await;
    }
}

pin_project! {
    /// A body that is at work until it has been taken to its end.
    struct Held {
        #[pin]
        body: Body,
        at_work: OwnedMutexGuard<()>,
    }
}

fn held_to_its_end(response: Response<Body>, at_work: OwnedMutexGuard<()>) -> Response<Held> {
    response.map(|body| Held { body, at_work })
}

impl http_body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.project().body.poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
    use tokio::sync::oneshot;

    use super::*;

    const PATIENCE: Patience = Patience {
        head: Duration::from_secs(30),
        write: Duration::from_secs(30),
    };
    const BODY: usize = 100_000;

    /// A connection that has been asked for a large body, of which the client has only taken the beginning; and how to stop it.
    async fn asked(body: fn() -> Body) -> (DuplexStream, oneshot::Sender<()>, tokio::task::JoinHandle<()>) {
        let (mut client, served) = tokio::io::duplex(1_024);
        let router = Router::new().fallback(move || async move { body() });
        let (stop, stopped) = oneshot::channel();
        let stopped = async move { stopped.await.unwrap_or_default() };
        let serving = tokio::spawn(answer(served, router, PATIENCE, stopped));
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n")
            .await
            .unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'H');
        (client, stop, serving)
    }

    async fn rest(client: &mut DuplexStream) -> usize {
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        rest.len()
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_under_way_is_sent_to_its_end_when_the_service_stops() {
        let streamed = || {
            let parts = vec![Ok::<_, Infallible>(Bytes::from(vec![b'x'; BODY / 10])); 10];
            Body::from_stream(futures_util::stream::iter(parts))
        };
        for body in [|| Body::from(vec![b'x'; BODY]), streamed] {
            let (mut client, stop, serving) = asked(body).await;
            stop.send(()).unwrap();
            for _ in 0..10 {
                tokio::time::advance(LAST_BYTES / 2).await;
            }
            assert!(rest(&mut client).await >= BODY);
            serving.await.unwrap();
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_does_not_take_its_answer_is_left() {
        let (mut client, _stop, serving) = asked(|| Body::from(vec![b'x'; BODY])).await;
        serving.await.unwrap();
        assert!(rest(&mut client).await < BODY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_asks_for_nothing_does_not_hold_up_the_end() {
        let (mut client, stop, serving) = asked(|| Body::from("short")).await;
        stop.send(()).unwrap();
        serving.await.unwrap();
        assert!(rest(&mut client).await > 0);
    }
}
