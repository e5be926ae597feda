//! JSON from bytes: members of the names that the service knows, and values that fit some of them.

use serde_json::{Map, Value};

use super::questions::word;
use super::shapes::fitting;
use crate::bytes::Bytes;

/// Deeper values than this are drawn as texts with brackets alone.
const DEEPEST: u8 = 6;

/// A body: JSON, lines of JSON, nests of brackets, or whatever the bytes are. Most have the form that the operation takes.
pub(super) fn body(bytes: &mut Bytes<'_>, schema: &Value, document: &Value, names: &[String]) -> Vec<u8> {
    match bytes.byte() % 16 {
        8..=12 => fitting(schema, document, bytes, 0).to_string().into_bytes(),
        13 | 14 => {
            let lines = (0..bytes.byte() % 4).map(|_| fitting(schema, document, bytes, 0).to_string());
            lines.collect::<Vec<_>>().join("\n").into_bytes()
        }
        0 => bytes.rest().to_vec(),
        1 => {
            let opening = bytes.pick([&b"["[..], b"{\"a\":", b"[{\"tags\":"]);
            opening.repeat(usize::from(bytes.byte()) * 4)
        }
        2 | 3 => {
            let lines = (0..bytes.byte() % 4).map(|_| object(bytes, names, 0).to_string());
            lines.collect::<Vec<_>>().join("\n").into_bytes()
        }
        4 => {
            // Broken somewhere.
            let mut text = object(bytes, names, 0).to_string().into_bytes();
            let at = usize::from(bytes.byte()) % text.len();
            text[at] = bytes.byte();
            text
        }
        _ => object(bytes, names, 0).to_string().into_bytes(),
    }
}

fn object(bytes: &mut Bytes<'_>, names: &[String], depth: u8) -> Value {
    let mut members = Map::new();
    for _ in 0..bytes.byte() % 7 {
        let name = name(bytes, names);
        members.insert(name, value(bytes, names, depth + 1));
    }
    Value::Object(members)
}

fn name(bytes: &mut Bytes<'_>, names: &[String]) -> String {
    match names.get(usize::from(bytes.byte())) {
        Some(name) => name.clone(),
        None => word(bytes),
    }
}

fn value(bytes: &mut Bytes<'_>, names: &[String], depth: u8) -> Value {
    match bytes.byte() % 12 {
        0 => Value::Null,
        1 => Value::Bool(bytes.byte() % 2 == 1),
        2 => bytes.micros().into(),
        3 => f64::from_bits(bytes.micros()).into(),
        4 | 5 if depth < DEEPEST => (0..bytes.byte() % 4)
            .map(|_| value(bytes, names, depth + 1))
            .collect(),
        6 if depth < DEEPEST => object(bytes, names, depth),
        7 => name(bytes, names).into(),
        _ => word(bytes).into(),
    }
}
