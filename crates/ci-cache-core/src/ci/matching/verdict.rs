//! Does this row belong to that selection: yes, no, or not to be told from what the change says?
//!
//! [`Selection::matches`] answers "it may": what an image does not know matches. That is enough for a row that comes in,
//! and too little for one that stays: a row of the result that *may* still match may as well have left it. So the two
//! are told apart here.

use ci_model::filter::Condition;
use ci_model::json::scalar_text;
use ci_model::{Column, Document, DocumentPath, Field, Filter, Image, Selection};
use serde_json::Value;

use super::rules::Rule;

/// Whether a row belongs to a selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Yes,
    No,
    /// The image does not tell.
    Maybe,
}

/// A scalar of a document, as filters and groups see it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    /// Nothing, or something that is equal to nothing.
    None,
    Text(String),
    /// Not to be told.
    Unknown,
}

/// Judges a row; no row belongs to nothing.
pub(super) fn judge(selection: &Selection, row: Option<&Image>) -> Verdict {
    let Some(row) = row else {
        return Verdict::No;
    };
    if row.deleted && !selection.include_deleted() {
        return Verdict::No;
    }
    let mut verdict = Verdict::Yes;
    for filter in selection.filters() {
        match judge_filter(filter, row) {
            Verdict::No => return Verdict::No,
            Verdict::Maybe if Rule::UnknownMayMatch.is_broken() => return Verdict::No,
            Verdict::Maybe => verdict = Verdict::Maybe,
            Verdict::Yes => {}
        }
    }
    // Last: a filter is a comparison, a keyword is looked for in a text. The search text is always known.
    if selection.keywords_match(row) {
        verdict
    } else {
        Verdict::No
    }
}

fn judge_filter(filter: &Filter, row: &Image) -> Verdict {
    let unknown = match filter.field() {
        Field::Column(Column::CreatedAt) => row.created_at.is_none(),
        Field::Column(Column::UpdatedAt) => row.updated_at.is_none(),
        Field::Column(_) => false,
        Field::Tag(path) => is_unknown(filter, row.tags.as_ref(), path),
        Field::Attribute(path) => is_unknown(filter, row.attributes.as_ref(), path),
    };
    if unknown {
        Verdict::Maybe
    } else if filter.matches(row) {
        Verdict::Yes
    } else {
        Verdict::No
    }
}

fn is_unknown(filter: &Filter, document: Option<&Document>, path: &DocumentPath) -> bool {
    let Some(document) = document else {
        return true;
    };
    // Whether there is a value does not depend on its digits.
    !matches!(filter.condition(), Condition::Exists(_)) && find(document, path).is_some_and(is_inexact)
}

/// Whether a value's text is not known to be the database's.
///
/// A fraction, or an integer beyond 64 bits, was read into binary floating point, but a database keeps the digits that
/// another program wrote: `0.12345678901234567890` is found by that text in PostgreSQL, and by no other.
pub(super) fn is_inexact(value: &Value) -> bool {
    value.is_f64()
}

fn find<'a>(document: &'a Document, path: &DocumentPath) -> Option<&'a Value> {
    let (first, rest) = path.segments().split_first()?;
    rest.iter()
        .try_fold(document.get(first)?, |value, key| value.as_object()?.get(key))
}

/// The text that a group has of a field of a document.
pub(super) fn scalar(document: Option<&Document>, path: &DocumentPath) -> Scalar {
    match document.map(|document| find(document, path)) {
        None => Scalar::Unknown,
        Some(None) => Scalar::None,
        Some(Some(value)) if is_inexact(value) => Scalar::Unknown,
        Some(Some(value)) => scalar_text(value).map_or(Scalar::None, Scalar::Text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn row() -> Image {
        let tags = json!({"env": "prod", "load": 0.5, "n": 8, "deep": {"huge": 1e30}});
        let mut row = Image::new("db-1".into(), "Größe".into(), "SW".into());
        row.status = Some("active".into());
        row.tags = tags.as_object().cloned();
        row
    }

    fn verdict(keywords: &[&str], filters: &[&str], row: &Image) -> Verdict {
        let filters = filters.iter().map(|f| Filter::parse(f).unwrap()).collect();
        judge(&Selection::new(keywords, filters, false).unwrap(), Some(row))
    }

    #[test]
    fn what_is_known_is_told() {
        assert_eq!(
            verdict(&["GRÖ"], &["status=active", "tags.env=prod"], &row()),
            Verdict::Yes
        );
        assert_eq!(verdict(&["gross"], &[], &row()), Verdict::No);
        assert_eq!(verdict(&[], &["tags.n=8"], &row()), Verdict::Yes);
        assert_eq!(judge(&Selection::all(), None), Verdict::No);
        let mut deleted = row();
        deleted.deleted = true;
        assert_eq!(verdict(&[], &["attributes.a=x"], &deleted), Verdict::No);
    }

    #[test]
    fn what_is_not_known_may_be() {
        for filter in [
            "attributes.a=x",
            "attributes.a exists false",
            "created_at>2026-01-01",
        ] {
            assert_eq!(verdict(&[], &[filter], &row()), Verdict::Maybe, "{filter}");
            assert_eq!(
                verdict(&[], &[filter, "status=retired"], &row()),
                Verdict::No,
                "{filter}"
            );
            assert_eq!(verdict(&["nowhere"], &[filter], &row()), Verdict::No, "{filter}");
        }
    }

    #[test]
    fn the_digits_of_a_fraction_are_not_known() {
        for filter in [
            "tags.load=0.50000000000000000001",
            "tags.load!=0.5",
            "tags.deep.huge in 1,2",
        ] {
            assert_eq!(verdict(&[], &[filter], &row()), Verdict::Maybe, "{filter}");
        }
        assert_eq!(verdict(&[], &["tags.load exists"], &row()), Verdict::Yes);
        assert_eq!(verdict(&[], &["tags.load exists false"], &row()), Verdict::No);
    }
}
