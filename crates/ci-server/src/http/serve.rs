//! A service of its own: accepts connections until it is told to stop, then lets the requests at work end.

use std::future::Future;
use std::io;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use futures_util::future::join_all;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::connection::{self, LAST_BYTES, Patience};
use super::tls::Tls;
use super::{AppState, audit, metrics, public_router, router};
use crate::web;

/// Serves one address until `shutdown` ends: [`Server`] with nothing else.
///
/// # Errors
/// Those of [`Server::run`].
///
/// # Cancel safety
/// Dropping the future closes all connections at once and leaves the database open.
pub async fn serve(
    listener: TcpListener,
    state: AppState,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    Server::new(listener, state).run(shutdown).await
}

/// A service with its listeners.
#[derive(Debug)]
#[must_use]
pub struct Server {
    state: AppState,
    main: TcpListener,
    admin: Option<TcpListener>,
    tls: Option<Tls>,
}

/// A listener, what answers there, and how.
struct Door {
    listener: TcpListener,
    router: Router,
    tls: Option<Tls>,
}

impl Server {
    /// A service that answers everything on one address, without encryption.
    pub fn new(listener: TcpListener, state: AppState) -> Self {
        Self {
            state,
            main: listener,
            admin: None,
            tls: None,
        }
    }

    /// Gives what is for administrators a listener of its own, which answers everything; the main one answers those paths as unknown. It
    /// speaks TLS, where that is set, unless it is on a loopback address.
    pub fn admin(mut self, listener: TcpListener) -> Self {
        self.admin = Some(listener);
        self
    }

    /// Encrypts what goes over the network.
    pub fn tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Serves until `shutdown` ends; `/readyz` says from then on that the service stops, and after the drain delay of the options it
    /// takes no new connections and waits for the requests at work, at most the drain time; those that are left then are answered with
    /// 503. The database is closed before it returns, unless its statements run on for as long again.
    ///
    /// # Errors
    /// When a listener has lost its address. Otherwise none: a connection that fails ends alone, and a listening socket that fails is
    /// asked again.
    ///
    /// # Cancel safety
    /// Dropping the future closes all connections at once and leaves the database open.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send + 'static) -> io::Result<()> {
        let app = self.state.clone();
        web::live::run(&app);
        let (delay, drain) = (app.options().drain_delay, app.options().drain_timeout);
        let patience = Patience {
            head: app.options().head_timeout,
            write: app.options().body_timeout,
        };
        let stopping = watch::Sender::new(false);
        let doors = self.doors()?.into_iter();
        let open = doors.map(|door| connections(door, patience, stopping.subscribe()));
        let mut server = std::pin::pin!(join_all(open));
        let late = async {
            shutdown.await;
            app.begin_to_stop();
            if delay > Duration::ZERO {
                tracing::info!(
                    "stopping: `/readyz` says so, and requests are answered until others have noticed"
                );
                tokio::time::sleep(delay).await;
            }
            tracing::info!("stopping: no new connections are taken");
            app.stop();
            stopping.send_replace(true);
            tokio::time::sleep(drain).await;
        };
        tokio::select! {
            _ = &mut server => {}
            // These never end by themselves.
            () = metrics::upkeep(&app) => {}
            () = audit::run(&app) => {}
            () = late => {
                tracing::warn!("requests are still at work after the drain time: they are answered with 503");
                app.cut();
                // What remains now is to write short answers; a client that does not read them is left behind.
                let _ = tokio::time::timeout(LAST_BYTES, server).await;
            }
        }
        // Closing waits for running statements; one that hangs must not keep the process.
        if tokio::time::timeout(drain, app.runner().close()).await.is_err() {
            tracing::warn!(
                "statements are still running; the database is left to notice that nobody listens"
            );
        }
        Ok(())
    }

    fn doors(self) -> io::Result<Vec<Door>> {
        let Self {
            state,
            main,
            admin,
            tls,
        } = self;
        let Some(admin) = admin else {
            let router = router(state);
            return Ok(vec![Door {
                listener: main,
                router,
                tls,
            }]);
        };
        let is_local = admin.local_addr()?.ip().is_loopback();
        Ok(vec![
            Door {
                listener: admin,
                router: router(state.clone()),
                tls: tls.clone().filter(|_| !is_local),
            },
            Door {
                listener: main,
                router: public_router(state),
                tls,
            },
        ])
    }
}

/// Takes connections until `stopped` says so, and ends when the last one has; dropping it closes them all.
async fn connections(door: Door, patience: Patience, mut stopped: watch::Receiver<bool>) {
    let Door {
        mut listener,
        router,
        tls,
    } = door;
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            (stream, _) = Listener::accept(&mut listener) => {
                let mut stopped = stopped.clone();
                let stop = async move { is_set(&mut stopped).await };
                open.spawn(connection(stream, tls.clone(), router.clone(), patience, stop));
            }
            // Forgets those that have ended; a panic in one has been told by the panic hook.
            Some(_) = open.join_next() => {}
            () = is_set(&mut stopped) => break,
        }
    }
    drop(listener);
    while open.join_next().await.is_some() {}
}

/// Answers one connection, in the clear or not. The time of a head is also that of the handshake before the first.
async fn connection(
    stream: TcpStream,
    tls: Option<Tls>,
    router: Router,
    patience: Patience,
    stop: impl Future<Output = ()>,
) {
    // Answers are written at once as a whole: waiting for more to send would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::trace!(%error, "failed to set an option of a connection");
    }
    let Some(tls) = tls else {
        return connection::answer(stream, router, patience, stop).await;
    };
    let mut stop = std::pin::pin!(stop);
    let greeted = tokio::select! {
        greeted = tokio::time::timeout(patience.head, tls.accept(stream)) => greeted,
        // Nothing was asked yet.
        () = &mut stop => return,
    };
    match greeted {
        Ok(Ok(stream)) => connection::answer(stream, router, patience, stop).await,
        // Whoever speaks something else, or nothing: that is their affair.
        Ok(Err(error)) => tracing::trace!(%error, "failed to greet a connection"),
        Err(_) => {}
    }
}

async fn is_set(stopped: &mut watch::Receiver<bool>) {
    // An error says that the sender is gone, and with it the one who serves: that is a stop, too.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}
