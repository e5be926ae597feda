//! A service of its own: accepts connections until it is told to stop, then lets the requests at work end.

use std::future::{Future, IntoFuture};
use std::io;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::{AppState, router};

/// Longest wait for the last answers to be written.
const LAST_BYTES: Duration = Duration::from_secs(1);

/// Serves until `shutdown` ends, then takes no new connections and waits for the requests at work, at most the drain
/// time of the options; those that are left then are answered with 503. The database is closed before it returns,
/// unless its statements run on for as long again.
///
/// # Errors
/// Those of the listening socket; single connections that fail are not errors.
///
/// # Cancel safety
/// Dropping the future closes all connections at once and leaves the database open.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let drain = state.options().drain_timeout;
    let app = state.clone();
    let (stopping, stopped) = oneshot::channel();
    let server = axum::serve(listener, router(state)).with_graceful_shutdown(async move {
        shutdown.await;
        tracing::info!("stopping: no new connections are taken");
        // Nobody listens any more only when the server has ended by itself.
        let _ = stopping.send(());
    });
    let late = async {
        match stopped.await {
            Ok(()) => tokio::time::sleep(drain).await,
            // The server ended without a signal: its own result counts.
            Err(_) => std::future::pending().await,
        }
    };
    let mut server = std::pin::pin!(server.into_future());
    let result = tokio::select! {
        result = &mut server => result,
        () = late => {
            tracing::warn!("requests are still at work after the drain time: they are answered with 503");
            app.cut();
            // What remains now is to write short answers; a client that does not read them is left behind.
            tokio::time::timeout(LAST_BYTES, server).await.unwrap_or(Ok(()))
        }
    };
    // Closing waits for running statements; one that hangs must not keep the process.
    if tokio::time::timeout(drain, app.runner().close()).await.is_err() {
        tracing::warn!("statements are still running; the database is left to notice that nobody listens");
    }
    result
}
