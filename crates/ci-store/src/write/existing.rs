//! Rows as a write finds them, in a form that both databases can give.

use std::collections::{HashMap, HashSet};

use ci_model::{CiId, CiRecord, Document, Timestamp, json};
use sqlx::{ColumnIndex, Decode, FromRow, Row, Type};

/// A CI's row, columns as texts: it may hold what this program never writes.
#[derive(Debug, Clone)]
pub(crate) struct Existing {
    pub(crate) id: CiId,
    pub(crate) tenant: String,
    pub(crate) code: String,
    name: String,
    ci_type: String,
    subtype: Option<String>,
    category: Option<String>,
    status: Option<String>,
    criticality: Option<i64>,
    location: Option<String>,
    owner: Option<String>,
    /// RFC 3339 in UTC with six decimals, as [`Timestamp`] prints it.
    created_at: Option<String>,
    deleted_at: Option<String>,
    tags: Option<String>,
    attributes: Option<String>,
}

impl<'r, R: Row> FromRow<'r, R> for Existing
where
    usize: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
    i64: Decode<'r, R::Database> + Type<R::Database>,
    Option<String>: Decode<'r, R::Database> + Type<R::Database>,
    Option<i64>: Decode<'r, R::Database> + Type<R::Database>,
{
    fn from_row(row: &'r R) -> sqlx::Result<Self> {
        Ok(Self {
            id: id(row, 0)?,
            tenant: row.try_get(1)?,
            code: row.try_get(2)?,
            name: row.try_get(3)?,
            ci_type: row.try_get(4)?,
            subtype: row.try_get(5)?,
            category: row.try_get(6)?,
            status: row.try_get(7)?,
            criticality: row.try_get(8)?,
            location: row.try_get(9)?,
            owner: row.try_get(10)?,
            created_at: row.try_get(11)?,
            deleted_at: row.try_get(12)?,
            tags: row.try_get(13)?,
            attributes: row.try_get(14)?,
        })
    }
}

/// An id that is given as text.
pub(crate) fn id<'r, R: Row>(row: &'r R, index: usize) -> sqlx::Result<CiId>
where
    usize: ColumnIndex<R>,
    String: Decode<'r, R::Database> + Type<R::Database>,
{
    row.try_get::<String, _>(index)?
        .parse()
        .map_err(|_| sqlx::Error::ColumnDecode {
            index: "ci_id".into(),
            source: "not a UUID".into(),
        })
}

impl Existing {
    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted_at.is_some()
    }

    /// Whether writing the record would change nothing but `updated_at`.
    pub(crate) fn is_as_given(&self, record: &CiRecord) -> bool {
        let text = |moment: Option<Timestamp>| moment.map(|moment| moment.to_string());
        self.code == record.code.as_str()
            && self.name == record.name
            && self.ci_type == record.ci_type
            && self.subtype == record.subtype
            && self.category == record.category
            && self.status == record.status
            && self.criticality == record.criticality.map(i64::from)
            && self.location == record.location
            && self.owner == record.owner
            && self.deleted_at == text(record.deleted_at)
            && (record.created_at.is_none() || self.created_at == text(record.created_at))
            && same_document(self.tags.as_deref(), &record.tags)
            && same_document(self.attributes.as_deref(), &record.attributes)
    }
}

fn same_document(stored: Option<&str>, given: &Document) -> bool {
    let Some(stored) = stored.filter(|text| *text != "null") else {
        return given.is_empty();
    };
    let text = json::to_text(given);
    if stored == text {
        return true;
    }
    // Both sides are read from text: a float that was read once more may differ in its last bit.
    match (
        serde_json::from_str::<Document>(stored),
        serde_json::from_str::<Document>(&text),
    ) {
        (Ok(stored), Ok(given)) => stored == given,
        _ => false,
    }
}

/// What is known about the rows that a batch may touch.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// Rows of the batch's tenants with its codes, and rows of any tenant with its ids.
    pub(crate) rows: HashMap<CiId, Existing>,
    /// Ids that were looked for, whether there or not.
    pub(crate) asked: HashSet<CiId>,
    /// Where the database allows a code only once, as one made by the predecessor does: which tenant has each of the
    /// batch's codes. Looked up only when a write without had clashed.
    pub(crate) owners: Option<HashMap<String, String>>,
    /// Whether a write has clashed, so that derived ids are looked up before they are used.
    pub(crate) careful: bool,
}

impl Known {
    pub(crate) fn add(&mut self, rows: Vec<Existing>) {
        self.rows.extend(rows.into_iter().map(|row| (row.id, row)));
    }

    /// The rows with their tenant and code.
    pub(crate) fn holders(&self) -> HashMap<(&str, &str), CiId> {
        self.rows
            .values()
            .map(|row| ((row.tenant.as_str(), row.code.as_str()), row.id))
            .collect()
    }
}
