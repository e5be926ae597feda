//! The log of the program, on stderr.

use tracing_subscriber::EnvFilter;

use crate::config::{Config, LogFormat, Origin};

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

/// A service tells what it does, as its configuration says; `-v` counts where that says nothing.
pub(super) fn start_for_service(config: &Config, verbose: u8) {
    let is_silent = config.origin("log") == Some(Origin::Default);
    let level = match verbose {
        1 if is_silent => VERBOSE,
        2.. if is_silent => EVERYTHING,
        _ => config.settings.log.0.as_str(),
    };
    start(EnvFilter::new(level), config.settings.log_format);
}

fn start(filter: EnvFilter, format: LogFormat) {
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // Fails only when a host program has set its own subscriber, which then counts.
    let _ = match format {
        LogFormat::Text => {
            let is_terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
            subscriber.with_ansi(is_terminal).try_init()
        }
        LogFormat::Json => subscriber.json().try_init(),
    };
}
