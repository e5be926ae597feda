//! Values that fit a schema of the OpenAPI document: most of a request has to be right for the rest of it to be read.

use serde_json::{Map, Value, json};

use super::questions::{filter, word};
use crate::bytes::Bytes;

/// Deeper values than this are empty.
const DEEPEST: u8 = 6;
/// Where the document's schemas refer to.
const SCHEMAS: &str = "#/components/schemas/";
const MOMENT: &str = "2026-01-31T08:00:00Z";
const ID: &str = "0189d7a4-1111-4222-8333-444455556666";

/// A value of this schema by its type; its bounds are not kept.
pub(super) fn fitting(schema: &Value, document: &Value, bytes: &mut Bytes<'_>, depth: u8) -> Value {
    if let Some(named) = schema["$ref"]
        .as_str()
        .and_then(|name| name.strip_prefix(SCHEMAS))
    {
        return match named {
            "CiId" => ID.into(),
            "Timestamp" => MOMENT.into(),
            _ => fitting(
                &document["components"]["schemas"][named],
                document,
                bytes,
                depth + 1,
            ),
        };
    }
    if let Some(first) = schema["oneOf"].get(0).or(schema["allOf"].get(0)) {
        return fitting(first, document, bytes, depth + 1);
    }
    if let Some(words) = schema["enum"].as_array().filter(|words| !words.is_empty()) {
        return words[usize::from(bytes.byte()) % words.len()].clone();
    }
    let kind = schema["type"].as_str().or(schema["type"][0].as_str());
    match kind {
        Some("boolean") => (bytes.byte() % 2 == 1).into(),
        Some("integer" | "number") => (bytes.micros() % 1_000).into(),
        Some("array") if depth < DEEPEST => {
            let items = (0..bytes.byte() % 4).map(|_| fitting(&schema["items"], document, bytes, depth + 1));
            items.collect()
        }
        Some("object") if depth < DEEPEST => object(schema, document, bytes, depth),
        Some("array") => json!([]),
        Some("object") => json!({}),
        _ if bytes.byte().is_multiple_of(4) => filter(bytes).into(),
        _ => word(bytes).into(),
    }
}

/// The members that have to be there, and some of the others.
fn object(schema: &Value, document: &Value, bytes: &mut Bytes<'_>, depth: u8) -> Value {
    let mut members = Map::new();
    let required = schema["required"].as_array();
    let wanted = |name: &str| required.is_some_and(|names| names.iter().any(|known| known == name));
    for (name, member) in schema["properties"].as_object().into_iter().flatten() {
        if wanted(name) || bytes.byte().is_multiple_of(4) {
            members.insert(name.clone(), fitting(member, document, bytes, depth + 1));
        }
    }
    if schema["properties"].is_null() {
        // Any members: a document.
        for _ in 0..bytes.byte() % 3 {
            members.insert(word(bytes), json!([word(bytes), bytes.micros()]));
        }
    }
    Value::Object(members)
}
