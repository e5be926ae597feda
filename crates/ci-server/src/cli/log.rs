//! The log of the program, on stderr.

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _, Registry};

use crate::config::{Config, LogFormat, Origin};
use crate::traces::Traces;

/// What `-v` shows.
const VERBOSE: &str = "info,ci_runner=debug,ci_server=debug,ci_store=debug";
/// And twice.
const EVERYTHING: &str = "debug";

/// A command that ends tells only what goes wrong, unless asked.
pub(super) fn start_for_command(verbose: u8) {
    let level = match verbose {
        0 => "error",
        1 => VERBOSE,
        _ => EVERYTHING,
    };
    let filter = EnvFilter::try_from_env("CI_CACHE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    start(filter, LogFormat::Text);
}

/// A service tells what it does, as its configuration says; `-v` counts where that says nothing. What it does for requests is traced, too, if
/// that is wanted.
pub(super) fn start_for_service(config: &Config, verbose: u8, traces: &Traces) {
    let is_silent = config.origin("log") == Some(Origin::Default);
    let level = match verbose {
        1 if is_silent => VERBOSE,
        2.. if is_silent => EVERYTHING,
        _ => config.settings.log.0.as_str(),
    };
    let (filter, format) = (EnvFilter::new(level), config.settings.log_format);
    match traces.layer::<Registry>() {
        None => start(filter, format),
        Some(traces) => {
            let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
            let lines = match format {
                LogFormat::Text => lines.with_ansi(is_terminal()).boxed(),
                LogFormat::Json => lines.json().boxed(),
            };
            // What is traced is not for the log to decide, so the filter is that of the lines alone.
            let subscriber = tracing_subscriber::registry()
                .with(traces)
                .with(lines.with_filter(filter));
            let _ = subscriber.try_init();
        }
    }
}

fn start(filter: EnvFilter, format: LogFormat) {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // Fails only when a host program has set its own subscriber, which then counts.
    let _ = match format {
        LogFormat::Text => subscriber.with_ansi(is_terminal()).try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
}

fn is_terminal() -> bool {
    std::io::IsTerminal::is_terminal(&std::io::stderr())
}
