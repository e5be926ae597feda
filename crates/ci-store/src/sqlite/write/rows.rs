//! How rows travel: as one JSON array per statement. A statement per row would cross to the connection's thread and
//! back for each.

use ci_model::{Timestamp, json};
use serde::Serialize;

use crate::write::cis::{self, Change};
use crate::{Error, Result};

/// The rows of `ci`, as arrays in the order of the statements' numbers.
pub(super) fn rows_json(changes: &[Change<'_>], at: Timestamp) -> Result<String> {
    let rows = changes.iter().map(|(id, record)| {
        let (created_at, updated_at) = cis::moments(record, at);
        (
            id,
            &record.tenant,
            &record.code,
            &record.name,
            &record.ci_type,
            &record.subtype,
            &record.category,
            &record.status,
            record.criticality,
            &record.location,
            &record.owner,
            created_at,
            at,
            updated_at,
            record.deleted_at,
        )
    });
    json(&rows.collect::<Vec<_>>())
}

/// The rows of `ci_ext`: id, tags, attributes, `updated_at`. The documents are texts within the text, kept as they are.
pub(super) fn documents_json(changes: &[Change<'_>], at: Timestamp) -> Result<String> {
    let rows = changes.iter().map(|(id, record)| {
        let updated_at = cis::moments(record, at).1;
        (
            id,
            json::to_text(&record.tags),
            json::to_text(&record.attributes),
            updated_at,
        )
    });
    json(&rows.collect::<Vec<_>>())
}

pub(super) fn json(value: &(impl Serialize + ?Sized)) -> Result<String> {
    serde_json::to_string(value).map_err(|_| Error::Database("rows could not be written as JSON".into()))
}
