//! From cells to what the domain calls them.

use ci_model::{CiCode, CiDetail, CiId, CiSummary, Criticality, Document, TenantId};
use serde_json::{Number, Value};

use crate::source::Cells;
use crate::{Error, Result};

/// Number of columns of a [`CiSummary`].
const SUMMARY_COLUMNS: usize = 9;

/// A column that every row has.
pub(crate) fn present<T>(value: Option<T>, column: &str) -> Result<T> {
    value.ok_or_else(|| corrupt(column))
}

/// A column that cannot be read.
pub(crate) fn corrupt(column: &str) -> Error {
    Error::Corrupt(format!("column {column} holds what cannot be read").into())
}

/// The nine short columns, from position `at` on.
pub(crate) fn summary(row: &impl Cells, at: usize) -> Result<CiSummary> {
    Ok(CiSummary {
        ci_id: CiId(present(row.id(at)?, "ci_id")?),
        ci_code: CiCode::new(present(row.text(at + 1)?, "ci_code")?).map_err(|_| corrupt("ci_code"))?,
        ci_name: present(row.text(at + 2)?, "ci_name")?,
        ci_type: present(row.text(at + 3)?, "ci_type")?,
        ci_subtype: row.text(at + 4)?,
        ci_category: row.text(at + 5)?,
        status: row.text(at + 6)?,
        location: row.text(at + 7)?,
        owner: row.text(at + 8)?,
    })
}

/// All columns, in the order of `sql::select::get_many`, from position `at` on.
pub(crate) fn detail(row: &impl Cells, at: usize, tenant: &TenantId) -> Result<CiDetail> {
    let short = summary(row, at)?;
    let at = at + SUMMARY_COLUMNS;
    let criticality = row.integer(at)?.map(Criticality::new).transpose();
    Ok(CiDetail {
        summary: short,
        tenant_id: tenant.clone(),
        criticality: criticality.map_err(|_| corrupt("criticality"))?,
        created_at: present(row.moment(at + 1)?, "created_at")?,
        updated_at: present(row.moment(at + 2)?, "updated_at")?,
        deleted_at: row.moment(at + 3)?,
        tags: document(row.text(at + 4)?, "tags")?,
        attributes: document(row.text(at + 5)?, "attributes")?,
    })
}

/// A document from its text; no row, NULL and JSON null are the empty document.
fn document(text: Option<String>, column: &str) -> Result<Document> {
    let Some(text) = text else {
        return Ok(Document::new());
    };
    serde_json::from_str(&text)
        .ok()
        .and_then(object)
        .ok_or_else(|| corrupt(column))
}

/// A document from its value; JSON null is the empty document, every other value is none.
pub(crate) fn object(value: Value) -> Option<Document> {
    match value {
        Value::Object(document) => Some(
            document
                .into_iter()
                .map(|(key, value)| (key, plain(value)))
                .collect(),
        ),
        Value::Null => Some(Document::new()),
        _ => None,
    }
}

/// Numbers in the one form of `ci_model::json::normalised`, whoever wrote them. Unlike there, nothing is refused: what
/// another program stored is returned.
fn plain(value: Value) -> Value {
    match value {
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::Object(inner) => Value::Object(
            inner
                .into_iter()
                .map(|(key, value)| (key, plain(value)))
                .collect(),
        ),
        Value::Number(number) => Value::Number(plain_number(number)),
        other => other,
    }
}

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
