//! What an import tells while it runs and when it ends.

use ci_model::Effect;
use serde::Serialize;

/// Most rejected lines that a report keeps; an [`ImportObserver`] hears of all.
pub const KEPT_REJECTIONS: usize = 1_000;

/// A line that was not written, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RejectedLine {
    /// Where it starts in the file, from 1; blank lines and a CSV file's header count.
    pub line: u64,
    /// Why, without the line's values.
    pub reason: String,
}

/// What became of the lines of a file that were dealt with: of all of them when the import ended well.
///
/// `created + updated + unchanged + superseded + rejected_count` is `lines`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct ImportReport {
    /// Lines that hold something (records of a CSV file, its header not counted).
    pub lines: u64,
    /// Rows that were made.
    pub created: u64,
    /// Rows that were changed.
    pub updated: u64,
    /// Rows that were already as given.
    pub unchanged: u64,
    /// Lines that a later line of the same batch replaces.
    pub superseded: u64,
    /// Lines that were not written.
    pub rejected_count: u64,
    /// The first [`KEPT_REJECTIONS`] of them, in the order of the file.
    pub rejected: Vec<RejectedLine>,
}

impl ImportReport {
    /// Lines whose content is now in the database, committed.
    pub fn committed(&self) -> u64 {
        self.lines - self.rejected_count
    }

    pub(super) fn count(&mut self, effect: Effect) {
        self.lines += 1;
        match effect {
            Effect::Created => self.created += 1,
            Effect::Updated => self.updated += 1,
            Effect::Superseded => self.superseded += 1,
            // An upsert deletes nothing and misses nothing, so these two do not occur here.
            Effect::Unchanged | Effect::Deleted | Effect::Missing => self.unchanged += 1,
        }
    }

    pub(super) fn reject(&mut self, line: RejectedLine) {
        self.lines += 1;
        self.rejected_count += 1;
        if self.rejected.len() < KEPT_REJECTIONS {
            self.rejected.push(line);
        }
    }
}

/// How far an import is, told after each committed batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// Bytes of the file (as it is stored, so compressed ones of a compressed file) that committed batches needed.
    pub bytes_read: u64,
    /// Size of the file, when known.
    pub bytes_total: Option<u64>,
    /// Lines dealt with.
    pub lines: u64,
    /// Rows made or changed.
    pub written: u64,
    /// Lines rejected.
    pub rejected: u64,
}

/// Listens to an import. Both methods are called between batches, so what they do delays the import.
pub trait ImportObserver: Send {
    /// A batch was committed.
    fn progress(&mut self, progress: Progress) {
        let _ = progress;
    }

    /// A line was rejected; every one is told, in the order of the file.
    fn rejected(&mut self, line: &RejectedLine) {
        let _ = line;
    }
}

/// Listens to nothing.
impl ImportObserver for () {}
