//! The seam between the shared reads and a database's connection: rows and their cells.

use ci_model::Timestamp;
use uuid::Uuid;

use crate::Result;
use crate::sql::{Dialect, Statement};

/// One state of a database, for running statements on.
pub(crate) trait Source: Send {
    /// How its statements are written.
    const DIALECT: Dialect;
    /// What it returns.
    type Row: Cells;

    /// Runs a statement and returns its rows.
    fn rows(&mut self, statement: Statement) -> impl Future<Output = Result<Vec<Self::Row>>> + Send;

    /// Runs a statement and hands each row on as it arrives, for results that are not kept whole; stops at the first
    /// error.
    fn each<F>(&mut self, statement: Statement, take: F) -> impl Future<Output = Result<()>> + Send
    where
        F: FnMut(&Self::Row) -> Result<()> + Send;
}

/// A row's cells by position, from 0. A cell of another type than is asked for is an [`crate::Error::Corrupt`].
pub(crate) trait Cells: Send {
    /// A text, or nothing.
    fn text(&self, at: usize) -> Result<Option<String>>;
    /// A whole number, or nothing.
    fn integer(&self, at: usize) -> Result<Option<i64>>;
    /// An id, or nothing.
    fn id(&self, at: usize) -> Result<Option<Uuid>>;
    /// A moment, or nothing.
    fn moment(&self, at: usize) -> Result<Option<Timestamp>>;
}
