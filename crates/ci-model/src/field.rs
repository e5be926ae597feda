//! The fields that filters and groups may name: seven columns, two moments, and any path into tags or attributes.

use std::fmt;
use std::str::FromStr;

use crate::{Error, limits, text};

/// A column that filters and groups may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Column {
    /// `ci_type`
    CiType,
    /// `ci_subtype`
    CiSubtype,
    /// `ci_category`
    CiCategory,
    /// `status`
    Status,
    /// `location`
    Location,
    /// `owner`
    Owner,
    /// `criticality`
    Criticality,
    /// `created_at`
    CreatedAt,
    /// `updated_at`
    UpdatedAt,
}

/// What kind of value a field holds, which decides the operators that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// Text, or a scalar of a document read as text.
    Text,
    /// The criticality, 1 to 5.
    Criticality,
    /// A moment.
    Moment,
}

impl Column {
    pub(crate) const ALL: [Self; 9] = [
        Self::CiType,
        Self::CiSubtype,
        Self::CiCategory,
        Self::Status,
        Self::Location,
        Self::Owner,
        Self::Criticality,
        Self::CreatedAt,
        Self::UpdatedAt,
    ];

    /// The column's name in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CiType => "ci_type",
            Self::CiSubtype => "ci_subtype",
            Self::CiCategory => "ci_category",
            Self::Status => "status",
            Self::Location => "location",
            Self::Owner => "owner",
            Self::Criticality => "criticality",
            Self::CreatedAt => "created_at",
            Self::UpdatedAt => "updated_at",
        }
    }

    /// The kind of its values.
    pub fn kind(self) -> FieldKind {
        match self {
            Self::Criticality => FieldKind::Criticality,
            Self::CreatedAt | Self::UpdatedAt => FieldKind::Moment,
            _ => FieldKind::Text,
        }
    }
}

/// A path of keys into a document: 1 to 8 segments. Arrays are not entered.
///
/// In text the segments are joined by dots; a segment with a dot, a quote, an operator character or a space in it is
/// written in double quotes, as in `tags."app.kubernetes.io/name"`, where `\"` and `\\` stand for a quote and a
/// backslash.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DocumentPath(Vec<String>);

impl DocumentPath {
    /// Checks and keeps a path.
    ///
    /// # Errors
    /// [`Error::TooMany`] segments, or a segment that is empty, too long or has a control character.
    pub fn new(segments: Vec<String>) -> Result<Self, Error> {
        if segments.is_empty() {
            return Err(Error::Empty {
                what: "path of a tags or attributes field",
            });
        }
        text::at_most("path segments", segments.len(), limits::PATH_SEGMENTS)?;
        for segment in &segments {
            text::checked("path segment", segment, limits::PATH_SEGMENT_CHARS)?;
        }
        Ok(Self(segments))
    }

    /// The segments, outermost first; at least one.
    pub fn segments(&self) -> &[String] {
        &self.0
    }
}

/// A field that filters and groups may name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Field {
    /// A column of the table.
    Column(Column),
    /// A path into the tags.
    Tag(DocumentPath),
    /// A path into the attributes.
    Attribute(DocumentPath),
}

impl Field {
    /// The names, for help and errors.
    pub const NAMES: &'static str = "ci_type, ci_subtype, ci_category, status, location, owner, criticality, \
                                     created_at, updated_at, tags.KEY, attributes.KEY";

    /// The kind of its values.
    pub fn kind(&self) -> FieldKind {
        match self {
            Self::Column(column) => column.kind(),
            Self::Tag(_) | Self::Attribute(_) => FieldKind::Text,
        }
    }
}

impl FromStr for Field {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        let unknown = || Error::field(name, Self::NAMES);
        if let Some(column) = Column::ALL.into_iter().find(|column| column.as_str() == name) {
            return Ok(Self::Column(column));
        }
        let path = |rest| split_path(rest).ok_or_else(unknown).and_then(DocumentPath::new);
        match name.split_once('.') {
            Some(("tags", rest)) => path(rest).map(Self::Tag),
            Some(("attributes", rest)) => path(rest).map(Self::Attribute),
            _ => Err(unknown()),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (root, path) = match self {
            Self::Column(column) => return f.write_str(column.as_str()),
            Self::Tag(path) => ("tags", path),
            Self::Attribute(path) => ("attributes", path),
        };
        f.write_str(root)?;
        for segment in path.segments() {
            if segment.chars().all(is_plain) {
                write!(f, ".{segment}")?;
            } else {
                write!(f, ".\"{}\"", segment.replace('\\', "\\\\").replace('"', "\\\""))?;
            }
        }
        Ok(())
    }
}

/// Whether a character may stand in an unquoted segment.
fn is_plain(c: char) -> bool {
    !matches!(c, '.' | '"' | '\\' | '=' | '!' | '<' | '>' | '~') && !c.is_whitespace()
}

/// Splits `a."b.c".d` into its segments; nothing when a quote is not closed or text follows one.
fn split_path(text: &str) -> Option<Vec<String>> {
    let mut segments = Vec::new();
    let mut rest = text;
    loop {
        let (segment, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => rest.find('.').map_or((rest.to_owned(), ""), |dot| {
                (rest[..dot].to_owned(), &rest[dot..])
            }),
        };
        segments.push(segment);
        match after.strip_prefix('.') {
            Some(next) => rest = next,
            None if after.is_empty() => return Some(segments),
            None => return None,
        }
    }
}

/// Reads a quoted segment whose opening quote is gone; returns it and what follows the closing quote.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut segment = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((segment, &text[at + 1..])),
            '\\' => segment.push(chars.next()?.1),
            _ => segment.push(c),
        }
    }
    None
}

/// Splits a filter expression after its field: `tags."a=b"=c` into `tags."a=b"` and `=c`.
pub(crate) fn split_expression(text: &str) -> (&str, &str) {
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '=' | '!' | '<' | '>' | '~' if !quoted => return text.split_at(at),
            c if c.is_whitespace() && !quoted => return text.split_at(at),
            _ => {}
        }
    }
    (text, "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_survive_their_text_form() {
        for name in [
            "ci_type",
            "updated_at",
            "tags.role",
            "tags.implemented-in",
            "attributes.net.ip",
            r#"tags."app.kubernetes.io/name""#,
            r#"attributes."a\"b\\c"."d e""#,
        ] {
            let field: Field = name.parse().unwrap();
            assert_eq!(field.to_string(), name);
        }
        let quoted: Field = r#"tags."a.b".c"#.parse().unwrap();
        assert_eq!(
            quoted,
            Field::Tag(DocumentPath::new(vec!["a.b".into(), "c".into()]).unwrap())
        );
    }

    #[test]
    fn other_names_are_refused_with_the_allowed_ones() {
        for name in [
            "",
            "ci_name",
            "tenant_id",
            "tags",
            "tags.",
            "tags..a",
            r#"tags."a"#,
            r#"tags."a"b"#,
            "CI_TYPE",
        ] {
            let error = name.parse::<Field>().unwrap_err();
            assert!(
                matches!(error, Error::UnknownField { .. } | Error::Empty { .. }),
                "{name}: {error}"
            );
        }
        let deep = format!("tags{}", ".a".repeat(limits::PATH_SEGMENTS + 1));
        assert!(matches!(deep.parse::<Field>(), Err(Error::TooMany { .. })));
    }
}
