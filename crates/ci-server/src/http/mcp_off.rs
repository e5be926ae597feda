//! Without the feature `mcp` there is no route for AI assistants.

use axum::Router;

use super::AppState;

pub(super) fn routes() -> Router<AppState> {
    Router::new()
}
