//! Images of rows, as the triggers of both databases record them: JSON arrays whose first element names the layout.

use ci_model::{CiId, Document, Image, RelationImage, RelationType, Timestamp};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::unrepeated::Unrepeated;

/// The layout that this program reads and writes. Another one is an image that cannot be told.
const LAYOUT: u8 = 1;

/// A CI: layout, code, name, type, subtype, category, status, location, owner, criticality, created at, updated at,
/// whether deleted softly, documents.
#[derive(Deserialize)]
struct CiRow(
    u8,
    String,
    String,
    String,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<String>,
    Value,
    Value,
    Value,
    Value,
    /// Tags and attributes; null when they are not known.
    Option<(Value, Value)>,
);

/// A relation: layout, from, to, type.
#[derive(Deserialize)]
struct RelationRow(u8, Uuid, Uuid, String);

/// Reads the image of a CI; none when it cannot be told.
pub(crate) fn ci(text: &str) -> Option<Image> {
    let row: CiRow = serde_json::from_str(text).ok()?;
    if row.0 != LAYOUT {
        return None;
    }
    let (tags, attributes) = row.13.map_or((None, None), |(tags, attributes)| {
        (document(tags), document(attributes))
    });
    let mut image = Image::new(row.1, row.2, row.3);
    (image.subtype, image.category, image.status) = (row.4, row.5, row.6);
    (image.location, image.owner) = (row.7, row.8);
    image.criticality = match row.9 {
        Value::Null => None,
        value => Some(whole(&value).and_then(|number| u8::try_from(number).ok())?),
    };
    (image.created_at, image.updated_at) = (moment(&row.10), moment(&row.11));
    image.deleted = row
        .12
        .as_bool()
        .or_else(|| whole(&row.12).map(|number| number != 0))?;
    (image.tags, image.attributes) = (tags, attributes);
    image.fold();
    Some(image)
}

/// Reads the image of a relation; none when it cannot be told.
pub(crate) fn relation(text: &str) -> Option<RelationImage> {
    let row: RelationRow = serde_json::from_str(text).ok()?;
    Some(RelationImage {
        from: CiId(row.1),
        to: CiId(row.2),
        rel_type: RelationType::new(row.3).ok().filter(|_| row.0 == LAYOUT)?,
    })
}

/// A document, or its text as SQLite has it; none when it may not mean here what it means there.
///
/// Numbers stay as they were written, unlike in answers: `0.99999999999999999999` is 1 once it was read, and the database finds it by
/// its digits. So a float is known to be one whose digits are not known, even a whole one. And of a key that is repeated the database
/// takes the first, where a map has the last.
fn document(value: Value) -> Option<Document> {
    let value = match value {
        Value::String(text) => serde_json::from_str::<Unrepeated>(&text).ok()?.0,
        value => value,
    };
    match value {
        Value::Object(document) => Some(document),
        Value::Null => Some(Document::new()),
        _ => None,
    }
}

/// A whole number, or its text.
fn whole(value: &Value) -> Option<i64> {
    value.as_i64().or_else(|| value.as_str()?.parse().ok())
}

/// A moment: microseconds since 1970 in PostgreSQL, a text in SQLite.
fn moment(value: &Value) -> Option<Timestamp> {
    match value {
        Value::String(text) => text.parse().ok(),
        value => Timestamp::from_micros(value.as_i64()?).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_of_both_databases_are_one() {
        let postgres =
            r#"[1,"c","n","t",null,"k",null,null,"o",3,1769846400000000,null,false,[{"a":1},null]]"#;
        let sqlite =
            r#"[1,"c","n","t",null,"k",null,null,"o","3","2026-01-31 08:00:00",null,0,["{\"a\":1}",null]]"#;
        let image = ci(postgres).unwrap();
        assert_eq!(ci(sqlite).unwrap(), image);
        assert_eq!((image.criticality, image.deleted), (Some(3), false));
        assert_eq!(
            image.created_at.unwrap().to_string(),
            "2026-01-31T08:00:00.000000Z"
        );
        assert_eq!(
            (image.updated_at, image.attributes.clone()),
            (None, Some(Document::new()))
        );
        assert_eq!(image.tags.as_ref().unwrap()["a"], 1);
        assert!(image.search_text().starts_with("c\u{1f}n"));
    }

    #[test]
    fn documents_whose_meaning_is_the_databases_are_not_told() {
        let tags = |tags: &str| {
            let tags = Value::String(tags.into());
            let row = serde_json::json!([
                1,
                "c",
                "n",
                "t",
                null,
                null,
                null,
                null,
                null,
                null,
                null,
                null,
                0,
                [tags, null]
            ]);
            ci(&row.to_string()).unwrap().tags
        };
        for text in [
            r#"{"a":1,"a":2}"#,
            r#"{"a":[{"b":{"c":1,"c":1}}]}"#,
            "{",
            "[]",
            r#""{}""#,
        ] {
            assert_eq!(tags(text), None, "{text}");
        }
        assert_eq!(tags("null"), Some(Document::new()));
        assert!(tags(r#"{"a":{"b":1},"b":1.0}"#).unwrap()["b"].is_f64());
    }

    #[test]
    fn what_cannot_be_told_is_none() {
        let unknown = ci(r#"[1,"c","n","t",null,null,null,null,null,null,null,null,true,null]"#).unwrap();
        assert_eq!(
            (unknown.tags, unknown.attributes, unknown.deleted),
            (None, None, true)
        );
        for text in [
            "null",
            "",
            r#"[2,"c","n","t",null,null,null,null,null,null,null,null,true,null]"#,
            r#"[1,null,"n","t",null,null,null,null,null,null,null,null,true,null]"#,
            r#"[1,"c","n","t",null,null,null,null,null,700,null,null,true,null]"#,
        ] {
            assert_eq!(ci(text), None, "{text}");
        }
        let id = "00000000-0000-4000-8000-000000000001";
        assert!(relation(&format!(r#"[1,"{id}","{id}","R"]"#)).is_some());
        assert!(relation(&format!(r#"[1,"{id}","{id}",""]"#)).is_none());
    }
}
