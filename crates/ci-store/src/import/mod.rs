//! Import of files: JSON Lines and CSV, plain or compressed, of any size in constant memory.
//!
//! Two halves run beside each other: a thread that may block reads, decompresses, parses and checks lines into batches
//! (`read.rs`), and the caller's task gives each batch to the store, which writes it in one transaction. At most three
//! batches exist at a time: one being filled, one waiting, one being written.
//!
//! A line is written wholly or not at all. Lines that cannot be written are rejected, with their number and a reason,
//! and never stop the others. Rows are upserted, so an import that ended early is resumed by running it again: what is
//! already there is found unchanged and costs little.

mod columns;
mod csv;
mod error;
mod lines;
mod read;
mod report;
mod source;
mod target;

use std::sync::Arc;

use ci_model::{CiRecord, RelationRecord, TenantId, Timestamp};
use tokio::sync::mpsc;

pub use error::ImportError;
pub use report::{ImportObserver, ImportReport, KEPT_REJECTIONS, Progress, RejectedLine};
pub use source::{ImportFormat, ImportSource};

use crate::clock::now;
use crate::{OnRejection, Store, WriteOptions};
use read::{Batch, Stop};
use target::Target;

/// Rows of a batch when nothing is said: enough that the cost of a transaction no longer shows, and a few MB.
const BATCH_ROWS: usize = 5_000;
/// From so many written rows on, the database counts its rows anew when the import ends.
const MANY_ROWS: u64 = 10_000;
/// Most rows of a batch.
const MAX_BATCH_ROWS: usize = 100_000;

/// Options of an import.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct ImportOptions {
    /// Rows that are written in one transaction, 1 to 100,000; values outside are brought inside.
    pub batch_rows: usize,
    /// The moment that all new and changed rows are stamped with where they give none; the system's clock, read once
    /// when the import begins, when absent.
    pub at: Option<Timestamp>,
    /// Tell what would become of each line, and write none. Each batch is tried on the database as it is, so a line that another batch of
    /// the same file would have written first is told as if that were not there.
    pub dry_run: bool,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            batch_rows: BATCH_ROWS,
            at: None,
            dry_run: false,
        }
    }
}

impl ImportOptions {
    /// Chooses how many rows are written in one transaction.
    pub fn batch_rows(mut self, rows: usize) -> Self {
        self.batch_rows = rows;
        self
    }

    /// Stamps rows with a given moment.
    pub fn at(mut self, at: Timestamp) -> Self {
        self.at = Some(at);
        self
    }
}

/// Imports CIs: one per line, its columns those of [`CiDraft`](ci_model::CiDraft).
///
/// In a CSV file `tags` and `attributes` hold JSON objects, and columns such as `tags.site` hold one text each.
///
/// # Errors
/// [`ImportError`]; what was committed before it stays and is reported.
///
/// # Cancel safety
/// Dropping the future stops the import between two batches, or lets the batch that is being written finish unseen.
/// The reading thread ends with its next batch (it cannot be interrupted while a reader blocks).
pub async fn import_cis(
    store: &dyn Store,
    tenant: &TenantId,
    source: ImportSource,
    options: ImportOptions,
    observer: &mut dyn ImportObserver,
) -> Result<ImportReport, ImportError> {
    import::<CiRecord>(store, tenant, source, options, observer).await
}

/// Imports relations: one per line with `from`, `to` (codes or ids of CIs that are there) and `rel_type`.
///
/// # Errors
/// [`ImportError`]; what was committed before it stays and is reported.
///
/// # Cancel safety
/// As [`import_cis`].
pub async fn import_relations(
    store: &dyn Store,
    tenant: &TenantId,
    source: ImportSource,
    options: ImportOptions,
    observer: &mut dyn ImportObserver,
) -> Result<ImportReport, ImportError> {
    import::<RelationRecord>(store, tenant, source, options, observer).await
}

async fn import<T: Target>(
    store: &dyn Store,
    tenant: &TenantId,
    source: ImportSource,
    options: ImportOptions,
    observer: &mut dyn ImportObserver,
) -> Result<ImportReport, ImportError> {
    // One moment for all batches: rows of one import tie in created_at, so their order does not depend on batches.
    let write = WriteOptions::default()
        .at(options.at.unwrap_or_else(now))
        .on_rejection(OnRejection::Skip)
        .dry_run(options.dry_run);
    let (sender, mut batches) = mpsc::channel(1);
    let (tenant, rows) = (tenant.clone(), options.batch_rows.clamp(1, MAX_BATCH_ROWS));
    let reading = tokio::task::spawn_blocking(move || read::read::<T>(source, tenant, rows, &sender));
    let mut report = ImportReport::default();
    while let Some(batch) = batches.recv().await {
        if let Err(source) = write_batch(store, batch, write.clone(), &mut report, observer).await {
            let report = Box::new(report);
            return Err(ImportError::Store { source, report });
        }
    }
    if !options.dry_run
        && report.created + report.updated >= MANY_ROWS
        && let Err(error) = store.analyze().await
    {
        // Every row is written; the database counts by itself, later.
        tracing::warn!(%error, "the tables could not be analyzed");
    }
    match reading.await {
        Ok(Ok(())) => Ok(report),
        Ok(Err(stop)) => Err(ended_early(stop, report)),
        Err(join) if join.is_panic() => std::panic::resume_unwind(join.into_panic()),
        Err(join) => Err(ended_early(Stop::Read(std::io::Error::other(join)), report)),
    }
}

fn ended_early(stop: Stop, report: ImportReport) -> ImportError {
    match stop {
        Stop::Open(source) => ImportError::Open(Arc::new(source)),
        Stop::Header(reason) => ImportError::Header(reason.into()),
        Stop::Read(source) => ImportError::Read {
            source: Arc::new(source),
            report: Box::new(report),
        },
    }
}

async fn write_batch<T: Target>(
    store: &dyn Store,
    batch: Batch<T>,
    options: WriteOptions,
    report: &mut ImportReport,
    observer: &mut dyn ImportObserver,
) -> crate::Result<()> {
    let (bytes_read, bytes_total) = (batch.bytes_read, batch.bytes_total);
    let mut rejected = batch.rejected;
    if !batch.rows.is_empty() {
        let outcomes = T::write(store, batch.rows, options).await?;
        for (line, outcome) in batch.lines.into_iter().zip(outcomes) {
            match outcome {
                Ok(effect) => report.count(effect),
                Err(reason) => rejected.push(RejectedLine {
                    line,
                    reason: reason.to_string(),
                }),
            }
        }
    }
    rejected.sort_by_key(|rejected| rejected.line);
    for line in rejected {
        observer.rejected(&line);
        report.reject(line);
    }
    observer.progress(Progress {
        bytes_read,
        bytes_total,
        lines: report.lines,
        written: report.created + report.updated,
        rejected: report.rejected_count,
    });
    Ok(())
}
