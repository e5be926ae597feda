//! What a change holds in memory, about: the log of changes is bounded by the sum.

use ci_model::{CiChange, CiId, Document, Image};
use serde_json::Value;

/// A node of a map in memory, with the allocator's part of it.
const NODE: usize = 32;

/// The bytes that a change of a CI points to.
pub(super) fn ci(change: &CiChange) -> usize {
    let images = [&change.old, &change.new].into_iter().flatten();
    let neighbours = change.neighbours.as_ref().map_or(0, Vec::capacity);
    size_of::<CiChange>() + images.map(image).sum::<usize>() + neighbours * size_of::<CiId>()
}

fn image(row: &Image) -> usize {
    let texts = [
        &row.subtype,
        &row.category,
        &row.status,
        &row.location,
        &row.owner,
    ];
    let texts: usize = texts.into_iter().flatten().map(String::len).sum();
    let documents = [&row.tags, &row.attributes].into_iter().flatten();
    row.code.len()
        + row.name.len()
        + row.ci_type.len()
        + texts
        + row.search_text().len()
        + documents.map(document).sum::<usize>()
}

fn document(document: &Document) -> usize {
    let members = document
        .iter()
        .map(|(key, value)| size_of::<String>() + key.len() + self::value(value) + NODE);
    members.sum()
}

fn value(value: &Value) -> usize {
    size_of::<Value>()
        + match value {
            Value::String(text) => text.len(),
            Value::Array(items) => items.iter().map(self::value).sum(),
            Value::Object(inner) => document(inner),
            Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        }
}
