//! Projections: which fields of a CI are shown.
//!
//! A projection is a view of a CI that is there already, not a question: however many there are, the same answers are cached.

use std::str::FromStr;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::{CiDetail, CiSummary, Column, Document, DocumentPath, Error, Field, limits, text};

/// The fields to show, in the order in which they were named.
#[derive(Debug, Clone, PartialEq)]
pub struct Projection(Vec<(Arc<str>, Shown)>);

/// One field that is shown.
#[derive(Debug, Clone, PartialEq)]
enum Shown {
    Id,
    Code,
    Name,
    DeletedAt,
    Tags,
    Attributes,
    Field(Field),
}

/// The fields of one CI; in JSON an object, with `null` for what is absent.
#[derive(Debug, Clone, PartialEq)]
pub struct Row(Vec<(Arc<str>, Value)>);

impl Shown {
    const NAMES: &'static str = "ci_id, ci_code, ci_name, ci_type, ci_subtype, ci_category, status, location, owner, \
                                 criticality, created_at, updated_at, deleted_at, tags, attributes, tags.KEY, \
                                 attributes.KEY";

    fn parse(name: &str) -> Result<Self, Error> {
        Ok(match name {
            "ci_id" => Self::Id,
            "ci_code" => Self::Code,
            "ci_name" => Self::Name,
            "deleted_at" => Self::DeletedAt,
            "tags" => Self::Tags,
            "attributes" => Self::Attributes,
            _ => match Field::from_str(name) {
                Err(Error::UnknownField { .. }) => return Err(Error::field(name, Self::NAMES)),
                field => Self::Field(field?),
            },
        })
    }

    /// The value of a field that the short form has; nothing for the others.
    fn short(&self, ci: &CiSummary) -> Option<Value> {
        let text = |text: &str| Some(Value::from(text));
        let optional = |text: &Option<String>| Some(text.as_deref().map_or(Value::Null, Value::from));
        match self {
            Self::Id => Some(ci.ci_id.to_string().into()),
            Self::Code => text(ci.ci_code.as_str()),
            Self::Name => text(&ci.ci_name),
            Self::Field(Field::Column(column)) => match column {
                Column::CiType => text(&ci.ci_type),
                Column::CiSubtype => optional(&ci.ci_subtype),
                Column::CiCategory => optional(&ci.ci_category),
                Column::Status => optional(&ci.status),
                Column::Location => optional(&ci.location),
                Column::Owner => optional(&ci.owner),
                Column::Criticality | Column::CreatedAt | Column::UpdatedAt => None,
            },
            Self::DeletedAt
            | Self::Tags
            | Self::Attributes
            | Self::Field(Field::Tag(_) | Field::Attribute(_)) => None,
        }
    }

    fn is_short(&self) -> bool {
        match self {
            Self::Id | Self::Code | Self::Name => true,
            Self::DeletedAt
            | Self::Tags
            | Self::Attributes
            | Self::Field(Field::Tag(_) | Field::Attribute(_)) => false,
            Self::Field(Field::Column(column)) => !matches!(
                column,
                Column::Criticality | Column::CreatedAt | Column::UpdatedAt
            ),
        }
    }

    fn full(&self, ci: &CiDetail) -> Value {
        if let Some(value) = self.short(&ci.summary) {
            return value;
        }
        match self {
            Self::DeletedAt => ci
                .deleted_at
                .map_or(Value::Null, |moment| moment.to_string().into()),
            Self::Tags => Value::Object(ci.tags.clone()),
            Self::Attributes => Value::Object(ci.attributes.clone()),
            Self::Field(Field::Tag(path)) => inside(&ci.tags, path),
            Self::Field(Field::Attribute(path)) => inside(&ci.attributes, path),
            Self::Field(Field::Column(Column::Criticality)) => ci
                .criticality
                .map_or(Value::Null, |criticality| criticality.get().into()),
            Self::Field(Field::Column(Column::CreatedAt)) => ci.created_at.to_string().into(),
            Self::Field(Field::Column(Column::UpdatedAt)) => ci.updated_at.to_string().into(),
            // The short form has the others.
            Self::Id | Self::Code | Self::Name | Self::Field(Field::Column(_)) => Value::Null,
        }
    }
}

/// What is at a path: a value of any kind, null where there is none.
fn inside(document: &Document, path: &DocumentPath) -> Value {
    let Some((first, rest)) = path.segments().split_first() else {
        return Value::Null;
    };
    let value = rest
        .iter()
        .try_fold(document.get(first), |value, key| {
            Some(value?.as_object()?.get(key))
        })
        .flatten();
    value.cloned().unwrap_or_default()
}

impl Projection {
    /// Reads the names of fields: every column, `tags` and `attributes` for the whole documents, `tags.KEY` and `attributes.KEY` for
    /// what is at a path in them. A name that comes again is left out.
    ///
    /// # Errors
    /// [`Error::UnknownField`], [`Error::Empty`] without any name, [`Error::TooMany`] for more than 64.
    pub fn new<S: AsRef<str>>(names: &[S]) -> Result<Self, Error> {
        if names.is_empty() {
            return Err(Error::Empty {
                what: "list of fields",
            });
        }
        text::at_most("fields", names.len(), limits::SHOWN_FIELDS)?;
        let mut fields: Vec<(Arc<str>, Shown)> = Vec::with_capacity(names.len());
        for name in names.iter().map(|name| name.as_ref().trim()) {
            let shown = Shown::parse(name)?;
            if !fields.iter().any(|(_, known)| *known == shown) {
                fields.push((name.into(), shown));
            }
        }
        Ok(Self(fields))
    }

    /// Tells whether it shows what the short form of a CI does not have, so that the CIs are needed in full.
    pub fn needs_details(&self) -> bool {
        !self.0.iter().all(|(_, shown)| shown.is_short())
    }

    /// The fields of a CI's short form; nothing when it [needs details](Self::needs_details).
    pub fn of_summary(&self, ci: &CiSummary) -> Option<Row> {
        let fields = self.0.iter();
        let fields = fields.map(|(name, shown)| Some((Arc::clone(name), shown.short(ci)?)));
        fields.collect::<Option<_>>().map(Row)
    }

    /// The fields of a CI. Copies what it shows and nothing else.
    pub fn of_detail(&self, ci: &CiDetail) -> Row {
        let fields = self.0.iter();
        Row(fields
            .map(|(name, shown)| (Arc::clone(name), shown.full(ci)))
            .collect())
    }
}

impl Row {
    /// A field's value, by the name that the projection has for it; null where it is absent, nothing for other names.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.fields()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value)
    }

    /// All fields, in the projection's order.
    pub fn fields(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(&**name, value)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{CiDraft, CiRecord, TenantId};
    use serde_json::json;

    fn ci() -> CiDetail {
        let draft = json!({
            "ci_code": "db-1", "ci_name": "Größe", "ci_type": "SW", "owner": "ops", "criticality": 4,
            "tags": {"env": "prod", "net": {"ip": "10.0.0.1"}}, "attributes": {"cpu": 8, "disks": ["a"]},
        });
        let draft: CiDraft = serde_json::from_value(draft).unwrap();
        let record: CiRecord = draft.check(&TenantId::new("acme").unwrap()).unwrap();
        CiDetail {
            summary: CiSummary {
                ci_id: record.insert_id(),
                ci_code: record.code,
                ci_name: record.name,
                ci_type: record.ci_type,
                ci_subtype: None,
                ci_category: None,
                status: None,
                location: None,
                owner: record.owner,
            },
            tenant_id: record.tenant,
            criticality: record.criticality,
            created_at: "2026-01-31".parse().unwrap(),
            updated_at: "2026-02-01".parse().unwrap(),
            deleted_at: None,
            tags: record.tags,
            attributes: record.attributes,
        }
    }

    #[test]
    fn only_what_was_named_is_shown_in_its_order() {
        let ci = ci();
        let short = Projection::new(&["owner", " ci_code", "ci_subtype", "owner"]).unwrap();
        assert!(!short.needs_details());
        let row = short.of_summary(&ci.summary).unwrap();
        assert_eq!(row, short.of_detail(&ci));
        assert_eq!(
            serde_json::to_string(&row).unwrap(),
            r#"{"owner":"ops","ci_code":"db-1","ci_subtype":null}"#
        );
        let full = Projection::new(&[
            "ci_id",
            "ci_name",
            "ci_type",
            "criticality",
            "created_at",
            "updated_at",
            "deleted_at",
            "tags.net",
            "tags.net.ip",
            "tags.env.deeper",
            "attributes.cpu",
            "attributes.disks",
            "attributes",
        ])
        .unwrap();
        assert!(full.needs_details());
        assert_eq!(full.of_summary(&ci.summary), None);
        assert_eq!(
            serde_json::to_value(full.of_detail(&ci)).unwrap(),
            json!({
                "ci_id": ci.summary.ci_id.to_string(), "ci_name": "Größe", "ci_type": "SW", "criticality": 4,
                "created_at": "2026-01-31T00:00:00.000000Z", "updated_at": "2026-02-01T00:00:00.000000Z",
                "deleted_at": null, "tags.net": {"ip": "10.0.0.1"}, "tags.net.ip": "10.0.0.1",
                "tags.env.deeper": null, "attributes.cpu": 8, "attributes.disks": ["a"],
                "attributes": {"cpu": 8, "disks": ["a"]},
            })
        );
        let tags = Projection::new(&["tags"]).unwrap().of_detail(&ci);
        assert_eq!(tags.get("tags").unwrap()["env"], "prod");
        assert_eq!(tags.get("attributes"), None);
    }

    #[test]
    fn every_column_is_of_the_short_form_or_needs_details() {
        let ci = ci();
        for name in Shown::NAMES.split(", ").filter(|name| !name.ends_with("KEY")) {
            let one = Projection::new(&[name]).unwrap();
            assert_eq!(
                one.of_summary(&ci.summary).is_none(),
                one.needs_details(),
                "{name}"
            );
        }
    }

    #[test]
    fn other_names_and_too_many_are_refused() {
        assert!(matches!(
            Projection::new(&["tenant_id"]),
            Err(Error::UnknownField { .. })
        ));
        assert!(matches!(Projection::new::<&str>(&[]), Err(Error::Empty { .. })));
        let names = vec!["owner"; limits::SHOWN_FIELDS + 1];
        assert!(Projection::new(&names[1..]).is_ok());
        assert!(matches!(Projection::new(&names), Err(Error::TooMany { .. })));
    }
}
