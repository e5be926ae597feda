//! A service of its own: accepts connections until it is told to stop, then lets the requests at work end.

use std::future::{Future, IntoFuture};
use std::io;

use tokio::net::TcpListener;
use tokio::sync::oneshot;

use super::{AppState, router};

/// Serves until `shutdown` ends, then takes no new connections and waits for the requests at work, at most the drain
/// time of the options. The database is closed before it returns.
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
    let runner = state.runner().clone();
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
    let result = tokio::select! {
        result = server.into_future() => result,
        () = late => {
            tracing::warn!(drain_s = drain.as_secs(), "requests are still at work after the drain time; they are cut");
            Ok(())
        }
    };
    runner.close().await;
    result
}
