//! `POST /v1/{tenant}/mcp`: the Model Context Protocol over HTTP, without sessions: every message is a request like any other, with the same
//! token, limits and end.

use std::sync::Arc;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::routing::post;
use ci_model::TenantId;
use http_body_util::Full;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

use super::answer::PRIVATE;
use super::extract::{Segments, bytes};
use super::problem::{Problem, ProblemKind};
use super::{AppState, ServerOptions};
use crate::mcp::{ANSWER_BYTES, Assistant};

/// Longest text of a refusal, in bytes.
const REFUSAL_BYTES: usize = 1_024;

pub(super) fn routes() -> Router<AppState> {
    Router::new().route("/v1/{tenant}/mcp", post(mcp))
}

/// What is wrong with the settings for AI assistants.
pub(crate) fn fault(_hosts: &[String], answer_bytes: u64) -> Option<String> {
    let is_allowed = usize::try_from(answer_bytes).is_ok_and(|bytes| ANSWER_BYTES.contains(&bytes));
    let (least, most) = (ANSWER_BYTES.start() >> 10, ANSWER_BYTES.end() >> 10);
    (!is_allowed).then(|| format!("`mcp_answer_bytes` is not from {least}KiB to {most}KiB"))
}

/// Sets what the settings say about AI assistants.
pub(crate) fn set(options: ServerOptions, hosts: &[String], answer_bytes: u64) -> ServerOptions {
    let bytes = usize::try_from(answer_bytes).unwrap_or(usize::MAX);
    options.mcp_hosts(hosts).mcp_answer_bytes(bytes)
}

async fn mcp(State(app): State<AppState>, segments: Segments, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let body = bytes(&app, body).await?;
    let service = service(&app, segments.tenant.id());
    let answered = service.handle(Request::from_parts(parts, Full::new(body))).await;
    let mut response = answered.map(Body::new);
    if is_of_the_protocol(&response) {
        response.headers_mut().insert(header::CACHE_CONTROL, PRIVATE);
        return Ok(response);
    }
    Err(refused(response).await)
}

/// What answers one request. Without tokens anybody who reaches the address is answered, and a web page could be made to by giving its own name
/// the address of this machine (DNS rebinding): then only names of this machine are answered to. No page is ever, by its `origin`: browsers send
/// it with every such request, and no assistant is a page of this service.
fn service(app: &AppState, tenant: &TenantId) -> StreamableHttpService<Assistant, NeverSessionManager> {
    let options = app.options();
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(options.body_bytes)
        .enforce_origin_validation();
    let config = match options.mcp_hosts.as_slice() {
        [] if app.access().is_open() => config,
        [] => config.disable_allowed_hosts(),
        hosts => config.with_allowed_hosts(hosts),
    };
    let assistant = Assistant::new(app.runner().clone(), tenant.clone(), options.mcp_answer_bytes);
    StreamableHttpService::new(move || Ok(assistant.clone()), Arc::default(), config)
}

/// Tells an answer of the protocol, which may be an error, from a refusal before it.
fn is_of_the_protocol(response: &Response) -> bool {
    let kind = response.headers().get(header::CONTENT_TYPE);
    let is_json = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
    is_json || response.status() == StatusCode::ACCEPTED
}

/// A refusal in the form that this service has for all of them.
async fn refused(response: Response) -> Problem {
    let kind = match response.status() {
        StatusCode::FORBIDDEN => ProblemKind::Forbidden,
        StatusCode::UNSUPPORTED_MEDIA_TYPE => ProblemKind::UnsupportedMediaType,
        StatusCode::PAYLOAD_TOO_LARGE => ProblemKind::BodyTooLarge,
        status if status.is_client_error() => ProblemKind::InvalidInput,
        _ => ProblemKind::Internal,
    };
    let text = to_bytes(response.into_body(), REFUSAL_BYTES)
        .await
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    if kind == ProblemKind::Internal {
        tracing::error!(%text, "failed to answer a message of the Model Context Protocol");
        return Problem::new(kind, "the cause is in the log of the service");
    }
    Problem::new(kind, text.trim())
}
