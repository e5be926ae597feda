//! Traces of requests, sent to an OpenTelemetry collector (OTLP over HTTP, protobuf).
//!
//! A span's fields are the route's pattern, method, status, tenant, kind of question and how it was answered: no path, no query, no code, no
//! token. Spans go to a queue that drops what does not fit, and from there by a thread of its own: a collector that is slow or down costs
//! requests nothing.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use axum::http::{HeaderMap, Method, StatusCode};
use bytes::Bytes;
use http_body_util::Full;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{Status, TracerProvider as _};
use opentelemetry_http::{HeaderExtractor, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::runtime::Handle;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::registry::LookupSpan;

use crate::fetch::Client;

/// Longest time for one batch.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Longest answer of a collector that is read.
const ANSWER_BYTES: usize = 64 << 10;
/// The crates whose spans are sent: what libraries have is not ours to tell.
const OURS: [&str; 2] = ["ci_server", "ci_runner"];

/// Where traces go and which.
#[derive(Debug, Clone)]
pub(crate) struct TraceOptions {
    /// The collector's address, without `/v1/traces`.
    pub(crate) endpoint: String,
    /// The share of the traces that begin here, 0 to 1. Of those that began elsewhere their beginner decides.
    pub(crate) sample: f64,
    /// What the service is called.
    pub(crate) service: String,
}

/// What goes to the collector of a process; nothing where there is none.
pub(crate) struct Traces(Option<SdkTracerProvider>);

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Traces").field(&self.0.is_some()).finish()
    }
}

impl Traces {
    /// Begins to send. Nobody is asked yet, so a collector that is down is noticed by the log alone.
    ///
    /// # Errors
    /// What of the options does not fit.
    pub(crate) fn start(options: Option<&TraceOptions>) -> Result<Self, String> {
        let Some(options) = options else {
            return Ok(Self(None));
        };
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Sender {
                client: Client {
                    timeout: TIMEOUT,
                    most_bytes: ANSWER_BYTES,
                },
                runtime: Handle::current(),
            })
            .with_endpoint(format!("{}/v1/traces", options.endpoint.trim_end_matches('/')))
            .with_timeout(TIMEOUT)
            .build()
            .map_err(|error| error.to_string())?;
        let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(options.sample)));
        let resource = Resource::builder().with_service_name(options.service.clone());
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(sampler)
            .with_resource(resource.build())
            .build();
        Ok(Self(Some(provider)))
    }

    /// What hears of spans; nothing where nothing is sent.
    pub(crate) fn layer<S>(&self) -> Option<Box<dyn Layer<S> + Send + Sync>>
    where
        S: tracing::Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let tracer = self.0.as_ref()?.tracer("ci-cache");
        let layer = tracing_opentelemetry::layer()
            .with_tracer(tracer)
            .with_location(false)
            .with_threads(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(|metadata| {
                // Lines of the log stay in the log.
                let name = metadata.target().split("::").next().unwrap_or_default();
                metadata.is_span() && OURS.contains(&name)
            }));
        Some(layer.boxed())
    }

    /// Sends what is left, for at most so long.
    pub(crate) async fn finish(self, patience: Duration) {
        let Some(provider) = self.0 else { return };
        let ended = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(patience)).await;
        if !matches!(ended, Ok(Ok(()))) {
            tracing::warn!("the last traces may not have reached their collector");
        }
    }
}

/// Lets a request's span go on with the trace that its sender began (W3C `traceparent`), and names it.
pub(crate) fn join(span: &Span, headers: &HeaderMap, method: &Method, route: &str) {
    if span.is_disabled() {
        return;
    }
    let parent = TraceContextPropagator::new().extract(&HeaderExtractor(headers));
    // Without a layer that sends spans there is nothing to go on with.
    let _ = span.set_parent(parent);
    match route {
        "" => span.record("otel.name", method.as_str()),
        route => span.record("otel.name", format!("{method} {route}")),
    };
}

/// Says of a request's span how it ended.
pub(crate) fn ended(span: &Span, status: StatusCode) {
    if status.is_server_error() {
        span.set_status(Status::error(""));
    }
}

/// Sends batches in the service's runtime, whatever thread asks for it.
#[derive(Debug)]
struct Sender {
    client: Client,
    runtime: Handle,
}

#[async_trait]
impl HttpClient for Sender {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let client = self.client.clone();
        let request = request.map(Full::new);
        Ok(self
            .runtime
            .spawn(async move { client.send(request).await })
            .await??)
    }
}
