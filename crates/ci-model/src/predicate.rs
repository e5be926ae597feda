//! The predicate on a row image: does this CI belong to that selection?
//!
//! It agrees with the SQL that `ci-store` makes of the same selection; the store's contract suite holds the two
//! against each other. It is the oracle of matching and a building block of invalidation: what an image does not know
//! counts as matching, so that a selection may match too much but never too little.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::collections::BTreeSet;

use crate::change::Image;
use crate::filter::{Condition, Filter, Operator, Value};
use crate::fold::fold;
use crate::json::{Document, scalar_text};
use crate::{Column, Field, KeywordMode, Selection, Timestamp};

impl Selection {
    /// Tells whether a row belongs to this selection; true also where the image does not know enough.
    ///
    /// Cost: a substring search per keyword and a comparison per filter; filters on columns allocate only for
    /// `contains`.
    pub fn matches(&self, row: &Image) -> bool {
        (self.include_deleted() || !row.deleted)
            && self.filters().iter().all(|filter| filter.matches(row))
            && self.keywords_match(row)
    }

    /// Tells whether the keywords alone are found in a row, as many as the mode asks for.
    pub fn keywords_match(&self, row: &Image) -> bool {
        if self.keywords().is_empty() {
            return true;
        }
        let found = |keyword: &String| row.search_text().contains(keyword.as_str());
        match self.mode() {
            KeywordMode::All => self.keywords().iter().all(found),
            KeywordMode::Any => self.keywords().iter().any(found),
        }
    }
}

/// A field of a row, as a filter sees it.
enum Found<'a> {
    /// The image does not tell.
    Unknown,
    /// NULL, or not in the document.
    Absent,
    /// An array or object: there, but never equal or unequal to anything.
    Opaque,
    Text(Cow<'a, str>),
    /// A number or truth value of a document, with its text.
    Scalar(&'a serde_json::Value, String),
    Criticality(u8),
    Moment(Timestamp),
}

impl Found<'_> {
    /// The text, for conditions without an order.
    fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Scalar(_, text) => Some(text),
            _ => None,
        }
    }

    /// Tells whether the value is one of several; nothing where there is no value that could be.
    fn is_one_of(&self, values: &BTreeSet<Value>) -> Option<bool> {
        let is = |value: &Value| self.compare(Operator::Eq, value) == Some(Ordering::Equal);
        let comparable = values
            .first()
            .is_some_and(|value| self.compare(Operator::Eq, value).is_some());
        comparable.then(|| values.iter().any(is))
    }

    /// Tells whether the two are of one kind and how they compare.
    fn compare(&self, operator: Operator, value: &Value) -> Option<Ordering> {
        match (self, value) {
            (Self::Text(text), Value::Text(value)) => Some(text.as_ref().cmp(value)),
            (Self::Scalar(_, text), Value::Text(value)) if !operator.is_ordered() => Some(text.cmp(value)),
            (Self::Scalar(scalar, _), Value::Number(number)) => compare_numbers(scalar, *number),
            (Self::Criticality(number), Value::Criticality(value)) => Some(number.cmp(&value.get())),
            (Self::Moment(moment), Value::Moment(value)) => Some(moment.cmp(value)),
            _ => None,
        }
    }
}

impl Filter {
    /// Tells whether a row satisfies this filter; true also where the image does not know the field.
    pub fn matches(&self, row: &Image) -> bool {
        let found = value_of(self.field(), row);
        match (self.condition(), &found) {
            (_, Found::Unknown) => true,
            (Condition::Exists(yes), found) => *yes != matches!(found, Found::Absent),
            (Condition::Contains(part), found) => found
                .text()
                .is_some_and(|text| fold(text).contains(part.as_str())),
            (Condition::NotContains(part), found) => found
                .text()
                .is_some_and(|text| !fold(text).contains(part.as_str())),
            (Condition::Compare(operator, value), found) => found
                .compare(*operator, value)
                .is_some_and(|order| holds(*operator, order)),
            (Condition::In(values), found) => found.is_one_of(values) == Some(true),
            (Condition::NotIn(values), found) => found.is_one_of(values) == Some(false),
        }
    }
}

/// How a number of a document compares with a whole one below 2^53, exactly: an integer as it is, another in floating point, which
/// such a number is the same in.
#[expect(clippy::cast_precision_loss, reason = "whole numbers below 2^53 are exact")]
fn compare_numbers(value: &serde_json::Value, number: i64) -> Option<Ordering> {
    match (value.as_i64(), value.as_u64()) {
        (Some(integer), _) => Some(integer.cmp(&number)),
        // Beyond what is signed.
        (None, Some(_)) => Some(Ordering::Greater),
        (None, None) => value.as_f64()?.partial_cmp(&(number as f64)),
    }
}

fn holds(operator: Operator, order: Ordering) -> bool {
    match operator {
        Operator::Eq => order.is_eq(),
        Operator::Ne => order.is_ne(),
        Operator::Lt => order.is_lt(),
        Operator::Le => order.is_le(),
        Operator::Gt => order.is_gt(),
        Operator::Ge => order.is_ge(),
        // These have conditions of their own and never stand in a comparison.
        Operator::Contains | Operator::NotContains | Operator::In | Operator::NotIn | Operator::Exists => {
            false
        }
    }
}

fn value_of<'a>(field: &Field, row: &'a Image) -> Found<'a> {
    let text = |value: Option<&'a String>| value.map_or(Found::Absent, |v| Found::Text(v.as_str().into()));
    let moment = |value: Option<Timestamp>| value.map_or(Found::Unknown, Found::Moment);
    match field {
        Field::Column(Column::CiType) => text(Some(&row.ci_type)),
        Field::Column(Column::CiSubtype) => text(row.subtype.as_ref()),
        Field::Column(Column::CiCategory) => text(row.category.as_ref()),
        Field::Column(Column::Status) => text(row.status.as_ref()),
        Field::Column(Column::Location) => text(row.location.as_ref()),
        Field::Column(Column::Owner) => text(row.owner.as_ref()),
        Field::Column(Column::Criticality) => row.criticality.map_or(Found::Absent, Found::Criticality),
        Field::Column(Column::CreatedAt) => moment(row.created_at),
        Field::Column(Column::UpdatedAt) => moment(row.updated_at),
        Field::Tag(path) => document_value(row.tags.as_ref(), path.segments()),
        Field::Attribute(path) => document_value(row.attributes.as_ref(), path.segments()),
    }
}

fn document_value<'a>(document: Option<&'a Document>, path: &[String]) -> Found<'a> {
    let Some(document) = document else {
        return Found::Unknown;
    };
    let mut value = path.first().and_then(|key| document.get(key));
    for key in path.iter().skip(1) {
        value = value
            .and_then(serde_json::Value::as_object)
            .and_then(|inner| inner.get(key));
    }
    match value {
        None | Some(serde_json::Value::Null) => Found::Absent,
        Some(serde_json::Value::String(text)) => Found::Text(text.as_str().into()),
        Some(value) => scalar_text(value).map_or(Found::Opaque, |text| Found::Scalar(value, text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn matches(keywords: &[&str], filters: &[&str], deleted: bool) -> bool {
        let tags = json!({"env": "prod", "n": 8, "none": null, "list": ["a"], "net": {"ip": "10.0.0.1"}});
        let mut row = Image {
            subtype: Some("app".into()),
            status: Some("active".into()),
            owner: Some("Ops".into()),
            criticality: Some(4),
            created_at: "2026-01-31".parse().ok(),
            updated_at: "2026-02-01".parse().ok(),
            deleted,
            tags: tags.as_object().cloned(),
            attributes: Some(Document::new()),
            ..Image::new("APP-Größe-01".into(), "50%_off".into(), "SW".into())
        };
        row.fold();
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
            ("owner not contains OP", false),
            ("owner not contains x", true),
            ("location not contains x", false),
            ("tags.n not contains 7", true),
            ("owner not in Ops,x", false),
            ("owner not in ops", true),
            ("location not in x", false),
            ("tags.list not in x", false),
            ("tags.none not in x", false),
            ("criticality not in 1,2", true),
            ("owner>=Op", true),
            ("owner<O", false),
            ("tags.n>=8", true),
            ("tags.n>8", false),
            ("tags.n<100", true),
            (r#"tags.n<"9""#, false),
            ("tags.env<q", true),
            ("tags.env>1", false),
            ("tags.none<=1", false),
            ("criticality>=4", true),
            ("criticality<4", false),
            ("created_at<2026-02-01", true),
            ("updated_at<=2026-02-01T00:00:00Z", true),
        ] {
            assert_eq!(matches(&[], &[filter], false), expected, "{filter}");
        }
    }

    #[test]
    fn what_is_not_known_matches() {
        let mut row = Image::new("c".into(), "n".into(), "SW".into());
        let matches = |row: &Image, filter: &str| Filter::parse(filter).unwrap().matches(row);
        for filter in [
            "tags.a=x",
            "tags.a exists false",
            "attributes.b!=x",
            "created_at>2026-01-01",
        ] {
            assert!(matches(&row, filter), "{filter}");
        }
        row.tags = Some(Document::new());
        assert!(!matches(&row, "tags.a=x"));
        assert!(!matches(&row, "status=x"), "a column is known to be absent");
    }
}
