//! A service of its own: accepts connections until it is told to stop, then lets the requests at work end.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::serve::Listener;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::{self, LAST_BYTES};
use super::{AppState, metrics, router};

/// Serves until `shutdown` ends; `/readyz` says from then on that the service stops, and after the drain delay of the options it takes no new connections and waits for the requests at work, at most the drain
/// time of the options; those that are left then are answered with 503. The database is closed before it returns,
/// unless its statements run on for as long again.
///
/// # Errors
/// None so far: a connection that fails ends alone, and a listening socket that fails is asked again.
///
/// # Cancel safety
/// Dropping the future closes all connections at once and leaves the database open.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    let (delay, drain) = (state.options().drain_delay, state.options().drain_timeout);
    let app = state.clone();
    let stopping = watch::Sender::new(false);
    let mut server = std::pin::pin!(connections(listener, state, stopping.subscribe()));
    let late = async {
        shutdown.await;
        app.stop();
        if delay > Duration::ZERO {
            tracing::info!(
                "stopping: `/readyz` says so, and requests are answered until others have noticed"
            );
            tokio::time::sleep(delay).await;
        }
        tracing::info!("stopping: no new connections are taken");
        stopping.send_replace(true);
        tokio::time::sleep(drain).await;
    };
    tokio::select! {
        () = &mut server => {}
        // Never ends by itself.
        () = metrics::upkeep(&app) => {}
        () = late => {
            tracing::warn!("requests are still at work after the drain time: they are answered with 503");
            app.cut();
            // What remains now is to write short answers; a client that does not read them is left behind.
            let _ = tokio::time::timeout(LAST_BYTES, server).await;
        }
    }
    // Closing waits for running statements; one that hangs must not keep the process.
    if tokio::time::timeout(drain, app.runner().close()).await.is_err() {
        tracing::warn!("statements are still running; the database is left to notice that nobody listens");
    }
    Ok(())
}

/// Takes connections until `stopped` says so, and ends when the last one has; dropping it closes them all.
async fn connections(mut listener: TcpListener, state: AppState, mut stopped: watch::Receiver<bool>) {
    let head_timeout = state.options().head_timeout;
    let router = router(state);
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            (stream, _) = Listener::accept(&mut listener) => {
                let mut stopped = stopped.clone();
                let stop = async move { is_set(&mut stopped).await };
                open.spawn(connection::answer(stream, router.clone(), head_timeout, stop));
            }
            // Forgets those that have ended; a panic in one has been told by the panic hook.
            Some(_) = open.join_next() => {}
            () = is_set(&mut stopped) => break,
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

async fn is_set(stopped: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone, and with it the one who serves: that is a stop, too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
