//! The reading half of an import: a thread that parses and checks lines into batches.

use std::io::{self, BufRead};
use std::marker::PhantomData;
use std::sync::atomic::Ordering;

use ci_model::{Document, TenantId};
use serde::Deserialize;
use serde_json::error::Category;
use tokio::sync::mpsc::Sender;

use super::columns::{self, Header};
use super::csv::Records;
use super::lines::{self, Lines};
use super::source::ImportSource;
use super::target::Target;
use super::{ImportFormat, RejectedLine};

/// Most bytes of text that one batch takes, so that a file of huge lines needs no more memory than one of short ones.
const BATCH_BYTES: usize = 8 << 20;

/// Lines that are dealt with together.
pub(super) struct Batch<T> {
    /// Rows to write.
    pub(super) rows: Vec<T>,
    /// Line of each row.
    pub(super) lines: Vec<u64>,
    /// Lines that are no row.
    pub(super) rejected: Vec<RejectedLine>,
    /// Bytes taken from the file so far.
    pub(super) bytes_read: u64,
    /// Size of the file.
    pub(super) bytes_total: Option<u64>,
    /// Bytes of text in this batch.
    weight_bytes: usize,
}

impl<T> Batch<T> {
    fn new(bytes_total: Option<u64>) -> Self {
        Self {
            rows: Vec::new(),
            lines: Vec::new(),
            rejected: Vec::new(),
            bytes_read: 0,
            bytes_total,
            weight_bytes: 0,
        }
    }

    fn push(&mut self, parsed: Parsed<T>) {
        let Parsed { line, bytes, row } = parsed;
        self.weight_bytes += bytes;
        match row {
            Ok(row) => {
                self.rows.push(row);
                self.lines.push(line);
            }
            Err(reason) => self.rejected.push(RejectedLine { line, reason }),
        }
    }

    fn len(&self) -> usize {
        self.rows.len() + self.rejected.len()
    }
}

/// Why the reading ended before the end of the file.
pub(super) enum Stop {
    Open(io::Error),
    Header(String),
    Read(io::Error),
}

/// One line, understood.
struct Parsed<T> {
    line: u64,
    /// Bytes of text that it took, roughly.
    bytes: usize,
    row: Result<T, String>,
}

trait Rows<T> {
    fn next_row(&mut self) -> io::Result<Option<Parsed<T>>>;
}

/// Reads a whole source into batches of at most so many rows. Blocks; ends early when nobody receives any more.
pub(super) fn read<T: Target>(
    source: ImportSource,
    tenant: TenantId,
    batch_rows: usize,
    batches: &Sender<Batch<T>>,
) -> Result<(), Stop> {
    let format = source.format;
    let opened = source.open().map_err(Stop::Open)?;
    let mut rows: Box<dyn Rows<T>> = match format {
        ImportFormat::JsonLines => Box::new(JsonRows {
            lines: Lines::new(opened.reader),
            tenant,
        }),
        ImportFormat::Csv => Box::new(CsvRows::new(opened.reader, tenant)?),
    };
    let mut batch = Batch::new(opened.bytes_total);
    let ended = loop {
        match rows.next_row() {
            Ok(Some(parsed)) => batch.push(parsed),
            Ok(None) => break Ok(()),
            Err(error) => break Err(Stop::Read(error)),
        }
        if batch.len() >= batch_rows || batch.weight_bytes >= BATCH_BYTES {
            batch.bytes_read = opened.bytes_read.load(Ordering::Relaxed);
            let full = std::mem::replace(&mut batch, Batch::new(opened.bytes_total));
            if batches.blocking_send(full).is_err() {
                return Ok(());
            }
        }
    };
    // Lines before a read error are whole and right, so they are written too.
    batch.bytes_read = opened.bytes_read.load(Ordering::Relaxed);
    // Nobody receives only when the import was dropped: then there is nobody to tell either.
    let _ = batches.blocking_send(batch);
    ended
}

struct JsonRows<R> {
    lines: Lines<R>,
    tenant: TenantId,
}

impl<T: Target, R: BufRead> Rows<T> for JsonRows<R> {
    fn next_row(&mut self) -> io::Result<Option<Parsed<T>>> {
        let Some((line, text)) = self.lines.next_line()? else {
            return Ok(None);
        };
        let row = text.ok_or_else(|| lines::TOO_LONG.to_owned()).and_then(|text| {
            let draft = json_draft::<T>(text)?;
            T::check(draft, &self.tenant).map_err(|error| error.to_string())
        });
        let bytes = text.map_or(0, <[u8]>::len);
        Ok(Some(Parsed { line, bytes, row }))
    }
}

fn json_draft<T: Target>(text: &[u8]) -> Result<T::Draft, String> {
    // serde reads a struct from an array too, by position: nobody means that here.
    if text.first() != Some(&b'{') {
        return Err("not a JSON object".into());
    }
    serde_json::from_slice(text).map_err(|error| match error.classify() {
        Category::Data => match serde_json::from_slice::<Document>(text) {
            Ok(object) => columns::explain(T::COLUMNS, &object),
            Err(error) => not_json(&error),
        },
        Category::Syntax | Category::Eof | Category::Io => not_json(&error),
    })
}

/// Errors of syntax hold no values; the line number that they give is always 1.
fn not_json(error: &serde_json::Error) -> String {
    format!("not JSON: {error}").replace(" at line 1 column ", " at column ")
}

struct CsvRows<R, T> {
    records: Records<R>,
    header: Header,
    tenant: TenantId,
    target: PhantomData<fn() -> T>,
}

impl<R: BufRead, T: Target> CsvRows<R, T> {
    fn new(input: R, tenant: TenantId) -> Result<Self, Stop> {
        let mut records = Records::new(input);
        let names = records.header().map_err(Stop::Read)?;
        let header = names
            .map_err(str::to_owned)
            .and_then(|names| Header::new(T::COLUMNS, T::DOCUMENTS, &names))
            .map_err(Stop::Header)?;
        Ok(Self {
            records,
            header,
            tenant,
            target: PhantomData,
        })
    }
}

impl<R: BufRead, T: Target> Rows<T> for CsvRows<R, T> {
    fn next_row(&mut self) -> io::Result<Option<Parsed<T>>> {
        let Some(record) = self.records.next_record()? else {
            return Ok(None);
        };
        let object = record
            .cells()
            .map_err(str::to_owned)
            .and_then(|cells| self.header.object(cells));
        let row = object.and_then(|object| {
            let draft = csv_draft::<T>(&object)?;
            T::check(draft, &self.tenant).map_err(|error| error.to_string())
        });
        Ok(Some(Parsed {
            line: record.line,
            bytes: record.taken,
            row,
        }))
    }
}

fn csv_draft<T: Target>(object: &Document) -> Result<T::Draft, String> {
    T::Draft::deserialize(object).map_err(|_| columns::explain(T::COLUMNS, object))
}
