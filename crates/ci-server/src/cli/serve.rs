//! `ci-cache serve`: the HTTP API as a service of its own.

use tokio::net::TcpListener;

use super::failure::Failure;
use super::log;
use super::output::Output;
use crate::access::Access;
use crate::config::{Config, Given, Plan};
use crate::http::{AppState, Exporter, Server, Tls};
use crate::traces::Traces;

pub(crate) async fn serve(given: &Given, verbose: u8, output: &mut Output) -> Result<(), Failure> {
    let config = Config::load(given)?;
    let plan = Plan::of(&config).await?;
    let traces = Traces::start(plan.traces().as_ref())
        .map_err(|reason| Failure::Input(format!("send traces: {reason}")))?;
    log::start_for_service(&config, verbose, &traces);
    for said in config.unused() {
        tracing::warn!("{said}");
    }
    let main = listen(&plan.settings.listen).await?;
    let admin = match plan.admin_listen() {
        Some(address) => Some(listen(&address).await?),
        None => None,
    };
    let access = access(&plan, [Some(&main), admin.as_ref()].into_iter().flatten())?;
    if let Err(error) = access.fetch_keys().await {
        // Whoever has another way in is let in, and who is served by others meanwhile is told so by `/readyz`.
        tracing::error!(%error, "no JWT counts until the keys can be fetched");
    }
    let tls = plan.tls()?;
    let store = ci_store::open(&plan.settings.database, &plan.store_options()).await?;
    let runner = plan.runner(store)?;
    let options = plan.server_options().metrics(exporter());
    announce(&main, if tls.is_some() { "https" } else { "http" }, output)?;
    let mut server = Server::new(main, AppState::guarded(runner, options, access.clone()));
    if let Some(admin) = admin {
        let address = admin.local_addr()?;
        let is_clear = tls.is_none() || address.ip().is_loopback();
        let scheme = if is_clear { "http" } else { "https" };
        output.line(format_args!("administration on {scheme}://{address}"))?;
        server = server.admin(admin);
    }
    if let Some(tls) = &tls {
        server = server.tls(tls.clone());
    }
    let ended = tokio::select! {
        ended = server.run(stop_signal()?) => ended,
        () = follow(&access) => Ok(()),
        () = renew(tls.as_ref()) => Ok(()),
    };
    traces.finish(plan.settings.drain_timeout).await;
    Ok(ended?)
}

/// Reads the certificate again whenever its files change. Never ends.
async fn renew(tls: Option<&Tls>) {
    match tls {
        Some(tls) => tls.watch().await,
        None => std::future::pending().await,
    }
}

/// Reads the tokens again whenever their file changes. Never ends.
async fn follow(access: &Access) {
    access.watch().await;
    // There is nothing to watch where everybody may do everything.
    std::future::pending::<()>().await;
}

/// Who is let in. Everybody only where no other machine can ask, or where that is what was asked for.
fn access<'a>(plan: &Plan, listeners: impl Iterator<Item = &'a TcpListener>) -> Result<Access, Failure> {
    let settings = &plan.settings;
    match (&settings.tokens, plan.jwt()) {
        (Some(path), Some(jwt)) => return Ok(Access::by_file_or_jwt(path, jwt)?),
        (Some(path), None) => return Ok(Access::by_file(path)?),
        (None, Some(jwt)) => return Ok(Access::by_jwt(jwt)?),
        (None, None) => {}
    }
    if settings.without_authentication {
        return Ok(Access::open());
    }
    for listener in listeners {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            return Err(Failure::Input(format!(
                "listen on {address}, which other machines reach, without knowing who may ask: give --tokens FILE (`ci-cache token \
                 create` makes one), --jwt-keys FILE or --jwks-url URL, or --without-authentication where something in front of it decides"
            )));
        }
    }
    Ok(Access::open())
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
pub(crate) fn announce(listener: &TcpListener, scheme: &str, output: &mut Output) -> Result<String, Failure> {
    let address = format!("{scheme}://{}", listener.local_addr()?);
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
