//! `ci-cache serve`: the HTTP API as a service of its own.

use std::sync::Arc;
use std::time::Duration;

use ci_runner::Runner;
use ci_store::{Store, StoreOptions};
use tokio::net::TcpListener;

use super::args;
use super::failure::Failure;
use super::output::Output;
use crate::access::Access;
use crate::http::{self, AppState, Exporter, ServerOptions};

pub(crate) async fn serve(arguments: args::Serve, output: &mut Output) -> Result<(), Failure> {
    let listener = listen(&arguments.listen).await?;
    let access = access(&arguments, &listener)?;
    let store = ci_store::open(&arguments.database.database, &StoreOptions::default()).await?;
    let options = ServerOptions::default()
        .concurrency(arguments.concurrency.max(1))
        .request_timeout(Duration::from_secs(arguments.request_timeout))
        .import_bytes(arguments.import_bytes)
        .metrics(exporter());
    let state = state(store, arguments.max_entries, options, access.clone())?;
    announce(&listener, output)?;
    let served = http::serve(listener, state, stop_signal()?);
    tokio::select! {
        served = served => Ok(served?),
        () = follow(&access) => Ok(()),
    }
}

/// Reads the tokens again whenever their file changes. Never ends.
async fn follow(access: &Access) {
    access.watch().await;
    // There is nothing to watch where everybody may do everything.
    std::future::pending::<()>().await;
}

/// Who is let in. Everybody only where no other machine can ask, or where that is what was asked for.
fn access(arguments: &args::Serve, listener: &TcpListener) -> Result<Access, Failure> {
    if let Some(path) = &arguments.tokens {
        return Ok(Access::by_file(path)?);
    }
    let address = listener.local_addr()?;
    if address.ip().is_loopback() || arguments.without_authentication {
        return Ok(Access::open());
    }
    Err(Failure::Input(format!(
        "listen on {address}, which other machines reach, without knowing who may ask: give --tokens FILE (`ci-cache token create` \
         makes one), or --without-authentication where something in front of it decides"
    )))
}

pub(crate) fn state(
    store: Arc<dyn Store>,
    entries: usize,
    options: ServerOptions,
    access: Access,
) -> Result<AppState, Failure> {
    let runner = Runner::builder(store).max_entries(entries).build();
    // The only setting comes from the command line, so a refusal is about the input.
    let runner = runner.map_err(|error| Failure::Input(error.to_string()))?;
    Ok(AppState::guarded(runner, options, access))
}

/// What `/metrics` tells. Loads are measured by the recorder of the process, so it becomes that one, too.
pub(crate) fn exporter() -> Exporter {
    let exporter = Exporter::new();
    if metrics::set_global_recorder(exporter.clone()).is_err() {
        tracing::warn!(
            "the program has a recorder of metrics already: /metrics will not tell how long loads take"
        );
    }
    exporter
}

/// Takes the address before the database is opened: the commonest mistake is a port that is taken.
pub(crate) async fn listen(address: &str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address)
        .await
        .map_err(|source| Failure::Listen {
            address: address.into(),
            source,
        })
}

/// Prints the real address, which programs that asked for port 0 wait for; returns it.
pub(crate) fn announce(listener: &TcpListener, output: &mut Output) -> Result<String, Failure> {
    let address = format!("http://{}", listener.local_addr()?);
    output.line(format_args!("listening on {address}"))?;
    Ok(address)
}

/// Ends when the process is asked to stop: SIGTERM, SIGINT (Ctrl-C).
#[cfg(unix)]
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Ends when the process is asked to stop: Ctrl-C.
#[cfg(not(unix))]
pub(crate) fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static, Failure> {
    Ok(async {
        // Without a handler the process ends by itself.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
