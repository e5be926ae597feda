//! What both databases' migrations have in common: versions, and what to say about tables that do not fit.

use ci_model::fold::FOLD_VERSION;

use crate::{Error, Result};

/// Version of the tables. A database with a lower one is migrated, one with a higher one is left alone.
pub(crate) const SCHEMA_VERSION: u32 = 4;
/// `ci_meta` key of [`SCHEMA_VERSION`].
pub(crate) const SCHEMA_KEY: &str = "schema_version";
/// `ci_meta` key of the folding table's version: search texts are made again when it differs.
pub(crate) const FOLD_KEY: &str = "fold_version";
/// `ci_meta` key of the database's own random name.
pub(crate) const UUID_KEY: &str = "uuid";

/// `ci_meta` key of a random name that is changed when the database was found to be an older one (SQLite).
#[cfg_attr(
    not(feature = "sqlite"),
    expect(dead_code, reason = "PostgreSQL has a table for it")
)]
pub(crate) const HISTORY_KEY: &str = "history";
/// `ci_meta` key of the unique indexes that the triggers were made for (SQLite: REPLACE displaces by them).
#[cfg_attr(
    not(feature = "sqlite"),
    expect(dead_code, reason = "PostgreSQL has no REPLACE")
)]
pub(crate) const KEYS_KEY: &str = "change_keys";
/// `ci_meta` key of the last change that was deleted because it was old: a number in the order of `ci_change`.
pub(crate) const FLOOR_KEY: &str = "change_floor";
/// `ci_meta` key of the epoch that a primary was in when somebody began to read from its standbys: what a standby shows there it has from that primary
/// (PostgreSQL).
#[cfg_attr(
    not(feature = "postgres"),
    expect(dead_code, reason = "SQLite has no standbys")
)]
pub(crate) const EPOCH_KEY: &str = "epoch";
/// Changes that are deleted at a time.
pub(crate) const RETAIN_ROWS: i64 = 10_000;
/// Most tenants that a poll of many changes tells, each with the transaction that changed it.
pub(crate) const POLL_TENANTS: usize = 100_000;

/// How a database stands to this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing to do.
    Current,
    /// Tables to make, adopt or bring up to date.
    Older,
}

/// Judges a database by the pairs of its `ci_meta`.
pub(crate) fn state(meta: &[(String, String)]) -> Result<State> {
    let version = |key: &str| {
        let value = meta
            .iter()
            .find(|(known, _)| known == key)
            .map(|(_, value)| value);
        value.map_or(Ok(0), |value| value.parse::<u32>())
    };
    let unreadable = |_| Error::Schema("ci_meta holds a version that is not a number".into());
    let (schema, fold) = (
        version(SCHEMA_KEY).map_err(unreadable)?,
        version(FOLD_KEY).map_err(unreadable)?,
    );
    if schema > SCHEMA_VERSION || fold > FOLD_VERSION {
        let text = format!(
            "its schema version {schema} (folding {fold}) is newer than this program's {SCHEMA_VERSION} \
             ({FOLD_VERSION}); use a newer program"
        );
        return Err(Error::Schema(text.into()));
    }
    Ok(if (schema, fold) == (SCHEMA_VERSION, FOLD_VERSION) {
        State::Current
    } else {
        State::Older
    })
}

/// A table of another program without a column that has no default.
pub(crate) fn missing_column(table: &str, column: &str) -> Error {
    Error::Schema(format!("table {table} has no column {column}; add it and fill it").into())
}

/// A column of another type than is needed.
pub(crate) fn wrong_type(table: &str, column: &str, needed: &str) -> Error {
    Error::Schema(format!("column {table}.{column} has another type than {needed}; change its type").into())
}

/// Rows that cannot be read.
pub(crate) fn faulty_rows(table: &str, rows: i64, what: &str) -> Error {
    Error::Schema(format!("in {rows} rows of table {table} {what}; correct them").into())
}

/// Rows that share a key.
pub(crate) fn duplicates(table: &str, groups: i64, key: &str) -> Error {
    Error::Schema(
        format!("in table {table} {groups} values of ({key}) occur more than once; remove duplicates").into(),
    )
}
