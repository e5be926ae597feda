//! `ci-cache serve`: the HTTP API as a service of its own.

use tokio::net::TcpListener;

use super::failure::Failure;
use super::log;
use super::output::Output;
use crate::access::Access;
use crate::config::{Config, Given, Plan, Settings};
use crate::http::{self, AppState, Exporter};

pub(crate) async fn serve(given: &Given, verbose: u8, output: &mut Output) -> Result<(), Failure> {
    let config = Config::load(given)?;
    log::start_for_service(&config, verbose);
    let plan = Plan::of(&config).await?;
    let listener = listen(&plan.settings.listen).await?;
    let access = access(&plan.settings, &listener)?;
    let store = ci_store::open(&plan.settings.database, &plan.store_options()).await?;
    let runner = plan.runner(store)?;
    let options = plan.server_options().metrics(exporter());
    let state = AppState::guarded(runner, options, access.clone());
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
fn access(settings: &Settings, listener: &TcpListener) -> Result<Access, Failure> {
    if let Some(path) = &settings.tokens {
        return Ok(Access::by_file(path)?);
    }
    let address = listener.local_addr()?;
    if address.ip().is_loopback() || settings.without_authentication {
        return Ok(Access::open());
    }
    Err(Failure::Input(format!(
        "listen on {address}, which other machines reach, without knowing who may ask: give --tokens FILE (`ci-cache token create` \
         makes one), or --without-authentication where something in front of it decides"
    )))
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
