//! Tags and attributes: JSON objects in the one form that both databases give back unchanged.

use std::io;

use serde::Serialize;
use serde_json::ser::Formatter;
use serde_json::{Map, Number, Value};

use crate::{Error, limits};

/// A JSON object of tags or attributes.
pub type Document = Map<String, Value>;

/// Brings a document into the form that PostgreSQL's `jsonb` and SQLite's text both preserve, and checks it.
///
/// An integral float becomes an integer (`jsonb` turns `1e2` into `100`), negative zero becomes zero. Keys are in
/// ascending order, as [`Map`] keeps them.
///
/// # Errors
/// [`Error::ControlCharacter`] for a NUL in a key or text (`jsonb` cannot hold it), [`Error::OutOfRange`] for deeper
/// nesting than [`limits::JSON_DEPTH`], [`Error::TooLong`] for more bytes than [`limits::JSON_BYTES`].
pub fn normalised(what: &'static str, document: Document) -> Result<Document, Error> {
    let document = object(what, document, 1)?;
    let actual = to_text(&document).len();
    if actual > limits::JSON_BYTES {
        return Err(Error::TooLong {
            what,
            max: limits::JSON_BYTES,
            actual,
        });
    }
    Ok(document)
}

fn object(what: &'static str, document: Document, depth: usize) -> Result<Document, Error> {
    if depth > limits::JSON_DEPTH {
        let number = |depth: usize| i64::try_from(depth).unwrap_or(i64::MAX);
        let (max, actual) = (number(limits::JSON_DEPTH), number(depth));
        return Err(Error::OutOfRange {
            what,
            min: 1,
            max,
            actual,
        });
    }
    document
        .into_iter()
        .map(|(key, value)| {
            without_nul(what, &key)?;
            Ok((key, any(what, value, depth)?))
        })
        .collect()
}

fn any(what: &'static str, value: Value, depth: usize) -> Result<Value, Error> {
    Ok(match value {
        Value::Object(inner) => Value::Object(object(what, inner, depth + 1)?),
        Value::Array(items) if depth < limits::JSON_DEPTH => Value::Array(
            items
                .into_iter()
                .map(|item| any(what, item, depth + 1))
                .collect::<Result<_, _>>()?,
        ),
        Value::Array(_) => return object(what, Map::new(), depth + 1).map(Value::Object),
        Value::Number(number) => Value::Number(plain_number(number)),
        Value::String(text) => {
            without_nul(what, &text)?;
            Value::String(text)
        }
        other @ (Value::Null | Value::Bool(_)) => other,
    })
}

fn without_nul(what: &'static str, text: &str) -> Result<(), Error> {
    if text.contains('\0') {
        Err(Error::ControlCharacter { what, code: 0 })
    } else {
        Ok(())
    }
}

/// The integer where a float holds one exactly.
#[expect(clippy::cast_possible_truncation, reason = "the range was checked")]
fn plain_number(number: Number) -> Number {
    const EXACT: f64 = 9_007_199_254_740_992.0; // 2^53: every integer up to here is a float
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && float.abs() <= EXACT => {
            (float as i64).into()
        }
        _ => number,
    }
}

/// Writes a document as compact JSON with every number in plain decimal notation, as `jsonb` prints it.
///
/// Cost: one allocation of the text's size.
pub fn to_text(document: &Document) -> String {
    let mut out = Vec::with_capacity(128);
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, PlainNumbers);
    // Writing into a vector cannot fail and a document has only text keys; an empty object is the safe reading.
    if document.serialize(&mut serializer).is_err() {
        return "{}".into();
    }
    String::from_utf8(out).unwrap_or_else(|_| "{}".into())
}

/// The text form of a scalar that filters, groups and `jsonb` see: a text's content, a number in plain decimals,
/// `true` or `false`. Nothing for null, arrays and objects: they equal nothing and differ from nothing.
pub fn scalar_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) if number.is_f64() => number.as_f64().map(|float| float.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

struct PlainNumbers;

impl Formatter for PlainNumbers {
    fn write_f64<W: ?Sized + io::Write>(&mut self, writer: &mut W, value: f64) -> io::Result<()> {
        write!(writer, "{value}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document(value: Value) -> Document {
        let Value::Object(document) = value else {
            panic!("an object")
        };
        document
    }

    #[test]
    fn numbers_take_the_form_that_jsonb_gives_back() {
        let given = document(json!({"a": 1e2, "b": -0.0, "c": 1.5, "d": 1e300, "e": [2.0], "f": 1e-7}));
        let text = to_text(&normalised("attributes", given).unwrap());
        assert!(
            text.starts_with(r#"{"a":100,"b":0,"c":1.5,"d":1000000000"#),
            "{text}"
        );
        assert!(text.ends_with(r#""e":[2],"f":0.0000001}"#), "{text}");
    }

    #[test]
    fn nul_depth_and_size_are_refused_at_the_limit() {
        let nul = document(json!({"a": [{"b": "x\0"}]}));
        assert_eq!(
            normalised("tags", nul),
            Err(Error::ControlCharacter {
                what: "tags",
                code: 0
            })
        );
        let nested = |depth| document(json!({"a": (1..depth).fold(json!(1), |inner, _| json!([inner]))}));
        assert!(normalised("tags", nested(limits::JSON_DEPTH)).is_ok());
        assert!(matches!(
            normalised("tags", nested(limits::JSON_DEPTH + 1)),
            Err(Error::OutOfRange { .. })
        ));
        let sized = |bytes| document(json!({"a": "x".repeat(bytes - 8)}));
        assert!(normalised("tags", sized(limits::JSON_BYTES)).is_ok());
        assert!(matches!(
            normalised("tags", sized(limits::JSON_BYTES + 1)),
            Err(Error::TooLong { .. })
        ));
    }

    #[test]
    fn only_scalars_have_a_text() {
        assert_eq!(scalar_text(&json!("8")), Some("8".into()));
        assert_eq!(scalar_text(&json!(8)), Some("8".into()));
        assert_eq!(scalar_text(&json!(false)), Some("false".into()));
        for value in [json!(null), json!([1]), json!({"a": 1})] {
            assert_eq!(scalar_text(&value), None);
        }
    }
}
