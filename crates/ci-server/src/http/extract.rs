//! What handlers take from a request: path segments and bodies, with every refusal as a problem.

use std::time::Duration;

use axum::body::{self, Body};
use axum::extract::{FromRequestParts, RawPathParams};
use axum::http::request::Parts;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, Uri, header};
use axum::response::Response;
use ci_model::{TenantId, Token};
use ci_runner::{Source, Tenant};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::answer::{self, Held, Origin};
use super::encoded::{Bodies, Encoded, Part};
use super::params::Params;
use super::problem::{Problem, ProblemKind};
use super::{AppState, level};

/// The path's segments: the tenant and, on paths about one CI, its id or code.
#[derive(Debug)]
pub(crate) struct Segments {
    pub(crate) tenant: Tenant,
    target: Option<String>,
    /// What an answer must include at least.
    token: Option<Token>,
    /// The bodies of answers, under which of them this one's is, and what the client has of it.
    bodies: Bodies,
    uri: Uri,
    held: Held,
}

impl Segments {
    /// The id or code of the path.
    pub(crate) fn target(&self) -> Result<&str, Problem> {
        // Only paths with the segment ask for it.
        let missing = || Problem::invalid("the path has no CI");
        self.target.as_deref().ok_or_else(missing)
    }
}

impl Segments {
    /// Sends an answer that is made of these parts and of nothing else that may change: encoded as it was before, if it was.
    pub(crate) fn send<B: Serialize>(
        &self,
        origin: &Origin,
        parts: &[Part],
        body: impl FnOnce() -> B,
    ) -> Result<Response, Problem> {
        let path = self.uri.path_and_query().map_or("", PathAndQuery::as_str);
        let encoded = if origin.source() == Source::Bypass {
            // Of values that the cache does not have, so nobody will answer with them again.
            Encoded::new(&body())
        } else {
            self.bodies.get(path, parts, body)
        };
        let encoded = encoded.map_err(|error| unencodable(&error))?;
        Ok(answer::send(encoded, origin, &self.held))
    }

    /// Sends an answer to a question that the path and the query alone do not tell.
    pub(crate) fn send_once(origin: &Origin, body: &impl Serialize) -> Result<Response, Problem> {
        let encoded = Encoded::new(body).map_err(|error| unencodable(&error))?;
        Ok(answer::send(encoded, origin, &Held::default()))
    }

    /// The tenant's view at the level that the request asks for.
    pub(crate) fn view(&self, params: &Params) -> Result<Tenant, Problem> {
        let level = level::level(params, self.token.as_ref())?;
        Ok(match level {
            Some(level) => self.tenant.at(level),
            None => self.tenant.clone(),
        })
    }
}

impl FromRequestParts<AppState> for Segments {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Problem> {
        let path = RawPathParams::from_request_parts(parts, app).await;
        let segments = path.map_err(|_| Problem::invalid("the path is not UTF-8 when decoded"))?;
        let (mut tenant, mut target) = (None, None);
        for (name, value) in &segments {
            match name {
                "tenant" => tenant = Some(value),
                _ => target = Some(value.to_owned()),
            }
        }
        let tenant = TenantId::new(tenant.unwrap_or_default())?;
        Ok(Self {
            tenant: app.runner().tenant(tenant),
            target,
            token: level::token(&parts.headers)?,
            bodies: app.bodies().clone(),
            uri: parts.uri.clone(),
            held: Held::of(&parts.headers),
        })
    }
}

fn unencodable(error: &serde_json::Error) -> Problem {
    tracing::error!(%error, "failed to encode an answer");
    Problem::new(ProblemKind::Internal, "the cause is in the log of the service")
}

/// Reads a JSON object from a body, within the limits of size and time.
pub(crate) async fn json_object(
    app: &AppState,
    headers: &HeaderMap,
    body: Body,
) -> Result<Map<String, Value>, Problem> {
    if !is_json(headers) {
        let detail = "send JSON, with the header `content-type: application/json`";
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
    }
    let bytes = bytes(app, body).await?;
    match serde_json::from_slice(&bytes) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(Problem::invalid("the body must be a JSON object")),
        // Errors of syntax tell a place and what was expected there, never a value.
        Err(error) => Err(Problem::invalid(format!("the body is not JSON: {error}"))),
    }
}

/// Reads a body within the limits of the service.
pub(crate) async fn bytes(app: &AppState, body: Body) -> Result<body::Bytes, Problem> {
    let options = app.options();
    bytes_within((options.body_bytes, options.body_timeout), body).await
}

/// Reads a body of at most so many bytes that may take so long to arrive.
pub(crate) async fn bytes_within(
    (most, time): (usize, Duration),
    body: Body,
) -> Result<body::Bytes, Problem> {
    let read = body::to_bytes(body, most);
    match tokio::time::timeout(time, read).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => Err(body_problem(&error, most)),
        Err(_) => Err(body_late()),
    }
}

/// Tells a body that is too large from one that broke off.
fn body_problem(error: &axum::Error, most: usize) -> Problem {
    use std::error::Error as _;
    let mut cause = error.source();
    while let Some(inner) = cause {
        if inner.is::<http_body_util::LengthLimitError>() {
            return body_too_large(most);
        }
        cause = inner.source();
    }
    Problem::invalid("the body broke off")
}

pub(crate) fn body_too_large(most: usize) -> Problem {
    let detail = format!("at most {most} bytes are taken here");
    Problem::new(ProblemKind::BodyTooLarge, detail)
}

pub(crate) fn body_late() -> Problem {
    Problem::new(
        ProblemKind::BodyTimeout,
        "send the whole body without long pauses",
    )
}

/// The media type without its parameters, in lower case.
pub(crate) fn media_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(header::CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or_default();
    Some(essence.trim().to_ascii_lowercase())
}

fn is_json(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(|kind| kind == "application/json" || kind.ends_with("+json"))
}

/// Reads a body's object as a type; an error names the member that does not fit, and never repeats its value.
///
/// `sample` is an object of the required members: with it, each member can be tried alone.
pub(crate) fn typed<T: DeserializeOwned>(object: Map<String, Value>, sample: &Value) -> Result<T, Problem> {
    let error = match serde_json::from_value(Value::Object(object.clone())) {
        Ok(value) => return Ok(value),
        Err(error) => error.to_string(),
    };
    for (name, value) in object {
        let mut alone = sample.clone();
        alone[&name] = value;
        if let Err(error) = serde_json::from_value::<T>(alone) {
            let error = error.to_string();
            let shown: String = name.chars().take(64).flat_map(char::escape_debug).collect();
            let why = if error.starts_with("unknown field") {
                "is unknown"
            } else {
                "has the wrong type or form"
            };
            return Err(Problem::invalid(format!(
                "the member `{shown}` of the body {why}"
            )));
        }
    }
    // Every member fits, so one is missing: that error names the member only.
    Err(Problem::invalid(format!("the body does not fit: {error}")))
}
