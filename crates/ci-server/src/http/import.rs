//! Import over HTTP: a body of JSON Lines, streamed into the store.

use std::io::{self, Read};
use std::sync::{Arc, OnceLock};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use ci_store::import::{
    ImportError, ImportFormat, ImportOptions, ImportReport, ImportSource, RejectedLine, import_cis,
    import_relations,
};
use futures_util::StreamExt;
use serde::Serialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::AppState;
use super::conditional::{self, DRY_RUN};
use super::extract::{self, Segments};
use super::params::Params;
use super::problem::{ImportProblems, Problem, ProblemKind, sentence};

/// Chunks between the network and the thread that parses them.
const CHUNKS: usize = 8;

/// Media types that are taken for JSON Lines; also a body without one.
const MEDIA_TYPES: [&str; 6] = [
    "application/x-ndjson",
    "application/jsonl",
    "application/json",
    "application/gzip",
    "application/octet-stream",
    "text/plain",
];

/// What became of the lines. Lines that were not rejected are written.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImportReport)]
pub(crate) struct ReportBody {
    /// Lines that hold something.
    lines: u64,
    /// Rows that were made.
    created: u64,
    /// Rows that were changed.
    updated: u64,
    /// Rows that were already as given.
    unchanged: u64,
    /// Lines that a later line replaces.
    superseded: u64,
    /// Lines that were not written.
    rejected_count: u64,
    /// The first 1,000 of them.
    rejected: Vec<Rejected>,
}

/// A line that was not written.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = RejectedLine)]
pub(crate) struct Rejected {
    /// Its number, from 1.
    line: u64,
    /// Why.
    reason: String,
}

impl From<ImportReport> for ReportBody {
    fn from(report: ImportReport) -> Self {
        let rejected = |RejectedLine { line, reason }| Rejected { line, reason };
        Self {
            lines: report.lines,
            created: report.created,
            updated: report.updated,
            unchanged: report.unchanged,
            superseded: report.superseded,
            rejected_count: report.rejected_count,
            rejected: report.rejected.into_iter().map(rejected).collect(),
        }
    }
}

/// Imports CIs or relations from JSON Lines, plain or compressed with gzip or zstd.
///
/// The body is written in batches while it arrives: when the import ends early, what was committed stays, and sending
/// the whole body again finishes the work. A line that cannot be written is reported and stops nothing.
#[utoipa::path(
    post,
    path = "/v1/{tenant}/import",
    tag = "writes",
    params(
        ("tenant" = String, Path, description = "Whose CIs"),
        ("kind" = Option<String>, Query, description = "cis (default) or relations"),
        ("dry_run" = Option<bool>, Query,
            description = "Tell what would become of each line, and write none; each batch of 5,000 by itself"),
    ),
    request_body(content((String = "application/x-ndjson"), (String = "text/plain")),
        description = "One CI or relation per line, as a JSON object"),
    responses((status = 200, description = "What became of the lines", body = ReportBody), ImportProblems),
)]
pub(crate) async fn import(
    State(app): State<AppState>,
    segments: Segments,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["kind", DRY_RUN])?;
    conditional::refuse(&headers)?;
    let relations = match params.one("kind")? {
        None | Some("cis") => false,
        Some("relations") => true,
        Some(_) => return Err(Problem::invalid("the parameter `kind` must be cis or relations")),
    };
    let kind = extract::media_type(&headers);
    if kind.is_some_and(|kind| !MEDIA_TYPES.contains(&kind.as_str())) {
        let detail = "send JSON Lines, with the header `content-type: application/x-ndjson`";
        return Err(Problem::new(ProblemKind::UnsupportedMediaType, detail));
    }
    let (sender, receiver) = mpsc::channel(CHUNKS);
    let failure = Arc::new(OnceLock::new());
    let reader = BodyReader::new(receiver, Arc::clone(&failure));
    let source = ImportSource::reader(reader, ImportFormat::JsonLines);
    let (store, tenant) = (app.runner().store(), segments.tenant.id());
    let mut options = ImportOptions::default();
    options.dry_run = params.flag(DRY_RUN)?;
    let pump = pump(&app, body, sender, &failure);
    let import = async {
        if relations {
            import_relations(&*store, tenant, source, options, &mut ()).await
        } else {
            import_cis(&*store, tenant, source, options, &mut ()).await
        }
    };
    let mut import = std::pin::pin!(import);
    let report = tokio::select! {
        // An import that ended early does not wait for the rest of the body.
        report = &mut import => report,
        () = pump => import.await,
    };
    match report {
        Ok(report) => Ok(Json(ReportBody::from(report)).into_response()),
        Err(error) => Err(ended(error, failure.get().copied(), (&app, options.dry_run))),
    }
}

/// Why a body ended before its end.
#[derive(Debug, Clone, Copy)]
enum Broken {
    TooLarge,
    Late,
    Cut,
}

/// Hands the body's chunks to the reading thread; ends when it reads no more.
async fn pump(app: &AppState, body: Body, sender: mpsc::Sender<Bytes>, failure: &OnceLock<Broken>) {
    let options = app.options();
    let (mut chunks, mut left) = (body.into_data_stream(), options.import_bytes);
    // A failure is set before the channel closes, which the reader takes for the end of the body otherwise.
    let broken = loop {
        let chunk = match tokio::time::timeout(options.body_timeout, chunks.next()).await {
            Ok(Some(Ok(chunk))) => chunk,
            Ok(None) => return,
            Ok(Some(Err(_))) => break Broken::Cut,
            Err(_) => break Broken::Late,
        };
        match left.checked_sub(chunk.len() as u64) {
            Some(rest) => left = rest,
            None => break Broken::TooLarge,
        }
        if sender.send(chunk).await.is_err() {
            return;
        }
    };
    // Set once: only this function does.
    let _ = failure.set(broken);
}

/// The body as the import's thread reads it.
struct BodyReader {
    chunks: mpsc::Receiver<Bytes>,
    current: Bytes,
    failure: Arc<OnceLock<Broken>>,
}

impl BodyReader {
    fn new(chunks: mpsc::Receiver<Bytes>, failure: Arc<OnceLock<Broken>>) -> Self {
        Self {
            chunks,
            current: Bytes::new(),
            failure,
        }
    }
}

impl Read for BodyReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.chunks.blocking_recv() {
                Some(chunk) => self.current = chunk,
                // A body that broke off is not a shorter body.
                None if self.failure.get().is_some() => return Err(io::ErrorKind::UnexpectedEof.into()),
                None => return Ok(0),
            }
        }
        let bytes = self.current.len().min(into.len());
        into[..bytes].copy_from_slice(&self.current.split_to(bytes));
        Ok(bytes)
    }
}

/// The problem of an import that ended early; what was committed is told.
fn ended(error: ImportError, broken: Option<Broken>, (app, is_dry): (&AppState, bool)) -> Problem {
    // Of what is only tried nothing is committed.
    let report = error.report().filter(|_| !is_dry);
    let committed = report.map_or(0, ImportReport::committed);
    match (error, broken) {
        (ImportError::Store { source, .. }, _) => Problem::from(source).after(committed),
        (_, Some(Broken::TooLarge)) => {
            let most = usize::try_from(app.options().import_bytes).unwrap_or(usize::MAX);
            extract::body_too_large(most).after(committed)
        }
        (_, Some(Broken::Late)) => extract::body_late().after(committed),
        (_, Some(Broken::Cut)) => Problem::invalid("the body broke off").after(committed),
        (error, None) => Problem::invalid(sentence(&error)),
    }
}
