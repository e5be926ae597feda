//! Columns of a line: how a CSV cell becomes a value, and what is wrong with a line that does not fit.

use ci_model::{CiId, Document, Field, Timestamp};
use serde_json::Value;

/// Longest part of a column's name that a reason repeats, in characters.
const ECHO_CHARS: usize = 64;

/// What a column holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Integer,
    Timestamp,
    Id,
    Document,
}

impl Kind {
    fn expected(self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Integer => "a whole number",
            Self::Timestamp => "a date and time such as 2026-01-31T08:00:00Z",
            Self::Id => "a UUID",
            Self::Document => "a JSON object",
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Text => value.is_string(),
            Self::Integer => value.is_i64(),
            Self::Timestamp => value
                .as_str()
                .is_some_and(|text| text.parse::<Timestamp>().is_ok()),
            Self::Id => value.as_str().is_some_and(|text| text.parse::<CiId>().is_ok()),
            Self::Document => value.is_object(),
        }
    }

    /// The value of a cell that is not empty.
    fn read(self, cell: &str) -> Option<Value> {
        match self {
            Self::Text | Self::Timestamp | Self::Id => Some(cell.into()),
            Self::Integer => cell.trim().parse::<i64>().ok().map(Value::from),
            Self::Document => serde_json::from_str::<Document>(cell).ok().map(Value::Object),
        }
    }
}

/// One column of a kind of row.
#[derive(Debug, Clone, Copy)]
pub(super) struct Column {
    name: &'static str,
    kind: Kind,
    required: bool,
}

impl Column {
    pub(super) const fn required(name: &'static str, kind: Kind) -> Self {
        let required = true;
        Self { name, kind, required }
    }

    pub(super) const fn optional(name: &'static str, kind: Kind) -> Self {
        let required = false;
        Self { name, kind, required }
    }

    fn mismatch(&self) -> String {
        format!("{}: expected {}", self.name, self.kind.expected())
    }
}

/// Says what is wrong with an object that is not a row of these columns; its values are not repeated.
pub(super) fn explain(columns: &[Column], object: &Document) -> String {
    if let Some(name) = object
        .keys()
        .find(|key| columns.iter().all(|column| column.name != *key))
    {
        return unknown(columns, name);
    }
    for column in columns {
        match object.get(column.name) {
            None if column.required => return format!("{} is missing", column.name),
            Some(Value::Null) if !column.required => {}
            Some(value) if !column.kind.fits(value) => return column.mismatch(),
            _ => {}
        }
    }
    // The object, which has the last of equal names only, is right.
    "a column is given twice".into()
}

fn unknown(columns: &[Column], name: &str) -> String {
    let allowed: Vec<&str> = columns.iter().map(|column| column.name).collect();
    format!(
        "unknown column `{}`; allowed are {}",
        echo(name),
        allowed.join(", ")
    )
}

fn echo(name: &str) -> String {
    let mut shown: String = name
        .chars()
        .take(ECHO_CHARS)
        .flat_map(char::escape_debug)
        .collect();
    if name.chars().nth(ECHO_CHARS).is_some() {
        shown.push('…');
    }
    shown
}

/// Where a cell of a CSV record goes.
enum Slot {
    Column(Column),
    /// Into a document, at a path: `tags.a.b` is the key `b` of the object `a` of the tags, as in filters.
    Path {
        name: String,
        path: Vec<String>,
    },
}

impl Slot {
    fn of_name(columns: &[Column], documents: &[&str], name: &str) -> Option<Self> {
        if let Some(column) = columns.iter().find(|column| column.name == name) {
            return Some(Self::Column(*column));
        }
        let (document, _) = name.split_once('.')?;
        if !documents.contains(&document) {
            return None;
        }
        let (Field::Tag(path) | Field::Attribute(path)) = name.parse().ok()? else {
            return None;
        };
        let mut whole = vec![document.to_owned()];
        whole.extend_from_slice(path.segments());
        Some(Self::Path {
            name: echo(name),
            path: whole,
        })
    }
}

/// The header of a CSV file, understood.
pub(super) struct Header {
    slots: Vec<Slot>,
}

impl Header {
    /// Understands the names of a header row.
    ///
    /// # Errors
    /// A reason: an unknown column, one that is given twice, one that every row needs and is not there.
    pub(super) fn new(columns: &[Column], documents: &[&str], names: &[String]) -> Result<Self, String> {
        let mut slots = Vec::with_capacity(names.len());
        for (at, name) in names.iter().enumerate() {
            if names[..at].contains(name) {
                return Err(format!("the column `{}` is given twice", echo(name)));
            }
            let slot = Slot::of_name(columns, documents, name).ok_or_else(|| {
                documents.iter().fold(unknown(columns, name), |reason, document| {
                    reason + ", " + document + ".KEY"
                })
            })?;
            slots.push(slot);
        }
        let missing = |column: &&Column| column.required && names.iter().all(|name| name != column.name);
        match columns.iter().find(missing) {
            Some(column) => Err(format!("the column {} is missing", column.name)),
            None => Ok(Self { slots }),
        }
    }

    /// Makes an object of a record's cells. An empty cell is absent; whole documents come before their parts.
    ///
    /// # Errors
    /// A reason without the cells' content.
    pub(super) fn object<'a>(
        &self,
        cells: impl ExactSizeIterator<Item = &'a str>,
    ) -> Result<Document, String> {
        if cells.len() != self.slots.len() {
            return Err(format!(
                "{} cells where the header has {}",
                cells.len(),
                self.slots.len()
            ));
        }
        let mut object = Document::new();
        let mut parts = Vec::new();
        for (slot, cell) in self.slots.iter().zip(cells) {
            match slot {
                _ if cell.is_empty() => {}
                Slot::Column(column) => {
                    let value = column.kind.read(cell).ok_or_else(|| column.mismatch())?;
                    object.insert(column.name.to_owned(), value);
                }
                Slot::Path { name, path } => parts.push((name, path, cell)),
            }
        }
        for (name, path, cell) in parts {
            put(&mut object, path, cell)
                .ok_or_else(|| format!("{name}: another column has a value where this needs an object"))?;
        }
        Ok(object)
    }
}

/// Puts a text at a path, making the objects on the way; nothing when something else is in the way.
fn put(object: &mut Document, path: &[String], text: &str) -> Option<()> {
    let (last, above) = path.split_last()?;
    let mut inner = object;
    for segment in above {
        let next = inner
            .entry(segment.as_str())
            .or_insert_with(|| Document::new().into());
        inner = next.as_object_mut()?;
    }
    if inner.get(last).is_some_and(Value::is_object) {
        return None;
    }
    inner.insert(last.clone(), text.into());
    Some(())
}

#[cfg(test)]
mod tests {
    use ci_model::CiRecord;
    use serde_json::json;

    use super::super::target::Target;
    use super::*;

    fn header(names: &[&str]) -> Result<Header, String> {
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        Header::new(CiRecord::COLUMNS, CiRecord::DOCUMENTS, &names)
    }

    const THREE: [&str; 3] = ["ci_code", "ci_name", "ci_type"];

    #[test]
    fn a_header_names_known_columns_once_and_all_that_are_needed() {
        let refused = |more: &[&str]| header(&[&THREE, more].concat()).err().unwrap();
        assert!(refused(&["colour"]).starts_with("unknown column `colour`; allowed are ci_code, "));
        assert!(refused(&["colour"]).ends_with("deleted_at, tags.KEY, attributes.KEY"));
        assert!(refused(&["tags."]).starts_with("unknown column `tags.`"));
        assert_eq!(refused(&["ci_name"]), "the column `ci_name` is given twice");
        assert_eq!(
            header(&THREE[1..]).err().unwrap(),
            "the column ci_code is missing"
        );
        assert!(refused(&[&"x".repeat(9_999)]).len() < 400);
    }

    #[test]
    fn cells_become_columns_and_parts_of_documents() {
        let names = [
            &THREE[..],
            &["criticality", "tags", "tags.a.b", r#"attributes."x.y""#],
        ]
        .concat();
        let header = header(&names).unwrap();
        let cells = ["c", "n", "t", "4", r#"{"k":[1]}"#, "v", "w"];
        assert_eq!(
            Value::Object(header.object(cells.into_iter()).unwrap()),
            json!({"ci_code": "c", "ci_name": "n", "ci_type": "t", "criticality": 4,
                   "tags": {"k": [1], "a": {"b": "v"}}, "attributes": {"x.y": "w"}})
        );
        let sparse = header
            .object(["c", "n", "t", "", "", "", ""].into_iter())
            .unwrap();
        assert_eq!(sparse.len(), 3);
        let refused = |cells: [&'static str; 7]| header.object(cells.into_iter()).unwrap_err();
        assert_eq!(
            refused(["", "", "", "high", "", "", ""]),
            "criticality: expected a whole number"
        );
        assert_eq!(
            refused(["", "", "", "", "[1]", "", ""]),
            "tags: expected a JSON object"
        );
        assert!(refused(["", "", "", "", r#"{"a":1}"#, "v", ""]).starts_with("tags.a.b: another column"));
        assert!(
            refused(["", "", "", "", r#"{"a":{"b":{}}}"#, "v", ""]).starts_with("tags.a.b: another column")
        );
        let short = header.object(["c", "n"].into_iter()).unwrap_err();
        assert_eq!(short, "2 cells where the header has 7");
    }
}
