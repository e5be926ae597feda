//! Without the feature `mcp` there is no route for AI assistants.

use axum::Router;

use super::{AppState, ServerOptions};

pub(super) fn routes() -> Router<AppState> {
    Router::new()
}

/// What is wrong with the settings for AI assistants: that there are some.
pub(crate) fn fault(hosts: &[String], _answer_bytes: u64) -> Option<String> {
    let fault = "`mcp_hosts` needs a program that was built with `--features mcp`";
    (!hosts.is_empty()).then(|| fault.into())
}

pub(crate) fn set(options: ServerOptions, _hosts: &[String], _answer_bytes: u64) -> ServerOptions {
    options
}
