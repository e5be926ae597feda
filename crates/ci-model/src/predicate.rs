//! The predicate on a row image: does this CI belong to that selection?
//!
//! It agrees with the SQL that `ci-store` makes of the same selection; the store's contract suite holds the two
//! against each other. It is the oracle of matching and a building block of invalidation.

use crate::filter::{Condition, Filter, Operator, Value};
use crate::fold::fold;
use crate::json::{Document, scalar_text};
use crate::{CiDetail, Column, Field, KeywordMode, Selection, Timestamp};

/// The columns of one row that questions look at, before or after a change.
#[derive(Debug, Clone, Copy)]
pub struct RowImage<'a> {
    /// `ci_code`
    pub code: &'a str,
    /// `ci_name`
    pub name: &'a str,
    /// `ci_type`
    pub ci_type: &'a str,
    /// `ci_subtype`
    pub subtype: Option<&'a str>,
    /// `ci_category`
    pub category: Option<&'a str>,
    /// `status`
    pub status: Option<&'a str>,
    /// `location`
    pub location: Option<&'a str>,
    /// `owner`
    pub owner: Option<&'a str>,
    /// `criticality`
    pub criticality: Option<u8>,
    /// `created_at`
    pub created_at: Timestamp,
    /// `updated_at`
    pub updated_at: Timestamp,
    /// Whether `deleted_at` has a value.
    pub deleted: bool,
    /// `tags`
    pub tags: &'a Document,
    /// `attributes`
    pub attributes: &'a Document,
}

impl<'a> From<&'a CiDetail> for RowImage<'a> {
    fn from(ci: &'a CiDetail) -> Self {
        let summary = &ci.summary;
        Self {
            code: summary.ci_code.as_str(),
            name: &summary.ci_name,
            ci_type: &summary.ci_type,
            subtype: summary.ci_subtype.as_deref(),
            category: summary.ci_category.as_deref(),
            status: summary.status.as_deref(),
            location: summary.location.as_deref(),
            owner: summary.owner.as_deref(),
            criticality: ci.criticality.map(crate::Criticality::get),
            created_at: ci.created_at,
            updated_at: ci.updated_at,
            deleted: ci.deleted_at.is_some(),
            tags: &ci.tags,
            attributes: &ci.attributes,
        }
    }
}

impl Selection {
    /// Tells whether a row of the same tenant belongs to the selection.
    ///
    /// Cost: folds the searched columns once if there are keywords; a look-up per filter.
    pub fn matches(&self, row: &RowImage<'_>) -> bool {
        (self.include_deleted() || !row.deleted)
            && self.filters().iter().all(|filter| filter.matches(row))
            && self.keywords_match(row)
    }

    fn keywords_match(&self, row: &RowImage<'_>) -> bool {
        if self.keywords().is_empty() {
            return true;
        }
        let columns = [
            Some(row.code),
            Some(row.name),
            Some(row.ci_type),
            row.subtype,
            row.category,
        ];
        let folded: Vec<String> = columns.into_iter().flatten().map(fold).collect();
        let found = |keyword: &String| folded.iter().any(|text| text.contains(keyword.as_str()));
        match self.mode() {
            KeywordMode::All => self.keywords().iter().all(found),
            KeywordMode::Any => self.keywords().iter().any(found),
        }
    }
}

/// A field's value in a row: nothing, something that only exists, or something to compare.
enum Found {
    Absent,
    Opaque,
    Value(Value),
}

impl Filter {
    /// Tells whether the condition holds for a row. An absent value is neither equal nor unequal to anything.
    pub fn matches(&self, row: &RowImage<'_>) -> bool {
        let found = value_of(self.field(), row);
        match (self.condition(), &found) {
            (Condition::Exists(yes), found) => *yes != matches!(found, Found::Absent),
            (Condition::Contains(part), Found::Value(Value::Text(text))) => {
                fold(text).contains(part.as_str())
            }
            (_, Found::Absent | Found::Opaque) | (Condition::Contains(_), Found::Value(_)) => false,
            (Condition::Compare(operator, value), Found::Value(found)) => compare(found, *operator, value),
            (Condition::In(values), Found::Value(found)) => values.contains(found),
        }
    }
}

fn compare(found: &Value, operator: Operator, value: &Value) -> bool {
    match operator {
        Operator::Eq => found == value,
        Operator::Ne => found != value,
        Operator::Lt => found < value,
        Operator::Le => found <= value,
        Operator::Gt => found > value,
        Operator::Ge => found >= value,
        Operator::Contains | Operator::In | Operator::Exists => false,
    }
}

fn value_of(field: &Field, row: &RowImage<'_>) -> Found {
    let text = |value: Option<&str>| value.map_or(Found::Absent, |v| Found::Value(Value::Text(v.into())));
    match field {
        Field::Column(Column::CiType) => text(Some(row.ci_type)),
        Field::Column(Column::CiSubtype) => text(row.subtype),
        Field::Column(Column::CiCategory) => text(row.category),
        Field::Column(Column::Status) => text(row.status),
        Field::Column(Column::Location) => text(row.location),
        Field::Column(Column::Owner) => text(row.owner),
        Field::Column(Column::Criticality) => row
            .criticality
            .and_then(|value| crate::Criticality::new(value.into()).ok())
            .map_or(Found::Absent, |value| Found::Value(Value::Criticality(value))),
        Field::Column(Column::CreatedAt) => Found::Value(Value::Moment(row.created_at)),
        Field::Column(Column::UpdatedAt) => Found::Value(Value::Moment(row.updated_at)),
        Field::Tag(path) => document_value(row.tags, path.segments()),
        Field::Attribute(path) => document_value(row.attributes, path.segments()),
    }
}

fn document_value(document: &Document, path: &[String]) -> Found {
    let mut value = path.first().and_then(|key| document.get(key));
    for key in path.iter().skip(1) {
        value = value
            .and_then(serde_json::Value::as_object)
            .and_then(|inner| inner.get(key));
    }
    match value {
        None | Some(serde_json::Value::Null) => Found::Absent,
        Some(value) => scalar_text(value).map_or(Found::Opaque, |text| Found::Value(Value::Text(text))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matches(keywords: &[&str], filters: &[&str], deleted: bool) -> bool {
        let tags = json!({"env": "prod", "n": 8, "none": null, "list": ["a"], "net": {"ip": "10.0.0.1"}});
        let row = RowImage {
            code: "APP-Größe-01",
            name: "50%_off",
            ci_type: "SW",
            subtype: Some("app"),
            category: None,
            status: Some("active"),
            location: None,
            owner: Some("Ops"),
            criticality: Some(4),
            created_at: "2026-01-31".parse().unwrap(),
            updated_at: "2026-02-01".parse().unwrap(),
            deleted,
            tags: tags.as_object().unwrap(),
            attributes: &Document::new(),
        };
        let filters = filters.iter().map(|f| Filter::parse(f).unwrap()).collect();
        Selection::new(keywords, filters, false).unwrap().matches(&row)
    }

    #[test]
    fn keywords_are_literal_and_in_any_case() {
        for words in [&["GRÖSSE"][..], &["x"], &["app", "nowhere"], &["50_"]] {
            assert!(!matches(words, &[], false), "{words:?}");
        }
        for words in [&["GRÖß"][..], &["app", "sw"], &["0%_O"], &["%"], &[]] {
            assert!(matches(words, &[], false), "{words:?}");
        }
        assert!(!matches(&["app"], &[], true), "soft-deleted");
    }

    #[test]
    fn filters_know_absence_scalars_and_order() {
        for (filter, expected) in [
            ("owner=Ops", true),
            ("owner=ops", false),
            ("owner contains OP", true),
            ("location!=x", false),
            ("location exists false", true),
            ("tags.env!=test", true),
            ("tags.none exists", false),
            ("tags.list exists", true),
            ("tags.list!=a", false),
            ("tags.n=8", true),
            ("tags.net.ip in 10.0.0.1,b", true),
            ("tags.env.deeper exists", false),
            ("attributes.env exists", false),
            ("criticality>=4", true),
            ("criticality<4", false),
            ("created_at<2026-02-01", true),
            ("updated_at<=2026-02-01T00:00:00Z", true),
        ] {
            assert_eq!(matches(&[], &[filter], false), expected, "{filter}");
        }
    }
}
