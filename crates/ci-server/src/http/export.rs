//! Export over HTTP: all CIs or relations of a tenant as JSON Lines, streamed from one state of the database, in the form that an import takes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::{RawQuery, State};
use axum::http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use ci_model::{Get, Relation, Search, TenantId, Token};
use ci_store::Snapshot;
use futures_util::stream;
use serde::Serialize;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::answer::{PRIVATE, set_token};
use super::extract::Segments;
use super::params::Params;
use super::problem::{AskProblems, Problem};
use super::{AppState, limit};
use crate::places::Place;
use crate::tenant_limits::Refusal;

/// Most exports at the same time: each holds a connection, and the state that it reads, for as long as it lasts.
pub(crate) const EXPORTS: usize = 2;
/// Rows of one page.
const PAGE: u32 = 500;
/// Pages between the database and the network.
const AHEAD: usize = 2;

/// Exports CIs or relations as JSON Lines, all of one state.
///
/// `x-ci-token` is that state: who goes on with `changes` from it misses nothing. Soft-deleted CIs and their relations are left out. A body
/// that breaks off before its end (its last chunk never comes) is not the whole; so is one whose client does not read it for 30 seconds, or
/// whose token is revoked meanwhile.
#[utoipa::path(
    get,
    path = "/v1/{tenant}/export",
    tag = "changes",
    params(
        ("tenant" = String, Path, description = "Whose CIs"),
        ("kind" = Option<String>, Query, description = "cis (default) or relations"),
        ("filter" = Option<Vec<String>>, Query, explode = true, description = "Of CIs, as of a search; repeatable"),
    ),
    responses(
        (status = 200, description = "One CI or relation per line, as an import takes it",
            content((String = "application/x-ndjson")),
            headers(("x-ci-token" = String, description = "The state of which all of it is"))),
        AskProblems,
    ),
)]
pub(crate) async fn export(
    State(app): State<AppState>,
    segments: Segments,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let params = Params::parse(query.as_deref(), &["kind", "filter"])?;
    let what = match (params.one("kind")?, params.filters()?) {
        (None | Some("cis"), filters) => What::Cis(Search::builder().filters(filters).limit(PAGE).build()?),
        (Some("relations"), filters) if filters.is_empty() => What::Relations(None),
        (Some("relations"), _) => {
            return Err(Problem::invalid("the parameter `filter` goes with `kind=cis`"));
        }
        (Some(_), _) => return Err(Problem::invalid("the parameter `kind` must be cis or relations")),
    };
    let place = limit::place(&app, app.exports(), segments.tenant.id(), Refusal::Exports)?;
    let mut snapshot = app.runner().store().snapshot().await?;
    let version = snapshot.version().await?;
    let mut export = Export {
        tenant: segments.tenant.id().clone(),
        snapshot,
        what: Some(what),
        authorization: headers.get(AUTHORIZATION).cloned(),
        _place: place,
    };
    // The first page before the head is sent: a database that fails at once is told as a problem.
    let first = export.page().await?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let is_whole = Arc::new(AtomicBool::new(false));
    tokio::spawn(pump(app, export, first, sender, Arc::clone(&is_whole)));
    let chunks = stream::unfold(Some(receiver), move |receiver| {
        next(receiver, Arc::clone(&is_whole))
    });
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    headers.insert(CACHE_CONTROL, PRIVATE);
    let token = version.map(|(epoch, version)| Token { epoch, version });
    set_token(headers, token.as_ref());
    Ok(response)
}

/// What is left to be read.
enum What {
    /// This page of CIs and those behind it.
    Cis(Search),
    /// The relations behind this one.
    Relations(Option<Relation>),
}

/// An export at work.
struct Export {
    tenant: TenantId,
    snapshot: Box<dyn Snapshot>,
    /// None at its end.
    what: Option<What>,
    /// What the caller proved its right by.
    authorization: Option<HeaderValue>,
    _place: Place,
}

impl Export {
    /// The next page, as lines; empty at the end.
    async fn page(&mut self) -> ci_store::Result<Bytes> {
        let mut lines = Vec::new();
        self.what = match self.what.take() {
            None => None,
            Some(What::Cis(search)) => {
                let rows = self.snapshot.search(&self.tenant, &search).await?;
                let gets: Vec<Get> = rows.iter().map(|row| Get::new(row.ci_id)).collect();
                for ci in self.snapshot.get_many(&self.tenant, &gets).await? {
                    // Of one state, so what was found is there.
                    let ci = ci
                        .ok_or_else(|| ci_store::Error::Corrupt("a CI that was found is not there".into()))?;
                    write(&mut lines, &ci)?;
                }
                let next = search
                    .next_cursor(&rows)
                    .and_then(|cursor| search.after(&cursor).ok());
                next.map(What::Cis)
            }
            Some(What::Relations(after)) => {
                let page = self
                    .snapshot
                    .relations(&self.tenant, after.as_ref(), PAGE)
                    .await?;
                for relation in &page {
                    write(&mut lines, relation)?;
                }
                let is_last = page.len() < PAGE as usize;
                let last = page.into_iter().next_back().filter(|_| !is_last);
                last.map(|last| What::Relations(Some(last)))
            }
        };
        Ok(lines.into())
    }
}

fn write(lines: &mut Vec<u8>, row: &impl Serialize) -> ci_store::Result<()> {
    serde_json::to_writer(&mut *lines, row)
        .map_err(|error| ci_store::Error::Corrupt(format!("a row has no JSON form: {error}").into()))?;
    lines.push(b'\n');
    Ok(())
}

/// The next chunk. A channel that ends before the export does ends the body with an error, so that nobody takes it for the whole.
async fn next(
    receiver: Option<mpsc::Receiver<Bytes>>,
    is_whole: Arc<AtomicBool>,
) -> Option<(Result<Bytes, ci_store::Error>, Option<mpsc::Receiver<Bytes>>)> {
    let mut receiver = receiver?;
    if let Some(page) = receiver.recv().await {
        return Some((Ok(page), Some(receiver)));
    }
    let broken = || ci_store::Error::Unavailable("the export was cut off".into());
    (!is_whole.load(Ordering::Acquire)).then(|| (Err(broken()), None))
}

/// Hands page after page to whoever sends them, until the end, an error, a client that does not read, or the end of the service.
async fn pump(
    app: AppState,
    mut export: Export,
    first: Bytes,
    sender: mpsc::Sender<Bytes>,
    is_whole: Arc<AtomicBool>,
) {
    let patience = app.options().body_timeout;
    // A client that reads slowly must not keep the database at one state for ever.
    let deadline = Instant::now() + app.options().import_timeout;
    let mut page = first;
    loop {
        if !page.is_empty() {
            let sent = tokio::select! {
                sent = tokio::time::timeout(patience, sender.send(page)) => sent,
                () = app.is_cut() => return,
                () = tokio::time::sleep_until(deadline) => return,
            };
            // The client is gone, or does not read.
            if !matches!(sent, Ok(Ok(()))) {
                return;
            }
        }
        if export.what.is_none() {
            is_whole.store(true, Ordering::Release);
            return;
        }
        // It may have been revoked since.
        if !app
            .access()
            .still_reads(export.authorization.as_ref(), &export.tenant)
        {
            tracing::warn!("an export broke off: its token does not count any more");
            return;
        }
        page = match export.page().await {
            Ok(page) => page,
            Err(error) => {
                tracing::warn!(%error, "an export broke off");
                return;
            }
        };
    }
}
