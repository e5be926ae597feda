//! Without the feature `otel` no trace goes anywhere.

use std::time::Duration;

use axum::http::{HeaderMap, Method, StatusCode};
use tracing::Span;
use tracing_subscriber::Layer;

/// Where traces would go.
#[derive(Debug, Clone)]
pub(crate) struct TraceOptions {
    pub(crate) endpoint: String,
    pub(crate) sample: f64,
    pub(crate) service: String,
}

/// Nothing.
#[derive(Debug)]
pub(crate) struct Traces;

impl Traces {
    pub(crate) fn start(options: Option<&TraceOptions>) -> Result<Self, String> {
        match options {
            None => Ok(Self),
            Some(TraceOptions {
                endpoint,
                sample,
                service,
            }) => {
                let _ = (endpoint, sample, service);
                Err("this program was built without the feature `otel`".into())
            }
        }
    }

    #[expect(clippy::unused_self, reason = "the form of its twin")]
    pub(crate) fn layer<S>(&self) -> Option<Box<dyn Layer<S> + Send + Sync>> {
        None
    }

    #[expect(clippy::unused_async, reason = "the form of its twin")]
    pub(crate) async fn finish(self, _patience: Duration) {}
}

pub(crate) fn join(_span: &Span, _headers: &HeaderMap, _method: &Method, _route: &str) {}

pub(crate) fn ended(_span: &Span, _status: StatusCode) {}
