//! What the tests of writes share: drafts, and the whole content of a database as text.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail tests")]
#![allow(dead_code, reason = "each test program uses a part of it")]

use std::sync::Arc;

use ci_model::{
    CiCode, CiDraft, CiId, CiOutcome, CiRecord, Document, Effect, Rejection, RelationDraft, RelationRecord,
    TenantId, Timestamp,
};
use ci_store::{OnRejection, Store, WriteOptions};
use ci_tests::fixture::Fixture;

/// A tenant.
pub(crate) fn tenant(name: &str) -> TenantId {
    TenantId::new(name).expect("a tenant")
}

/// A moment of the year 2026, by its day.
pub(crate) fn day(day: u32) -> Timestamp {
    format!("2026-01-{day:02}").parse().expect("a day of January")
}

/// A record of the tenant `acme`.
pub(crate) fn record(draft: CiDraft) -> CiRecord {
    record_of("acme", draft)
}

/// A record of a tenant.
pub(crate) fn record_of(name: &str, draft: CiDraft) -> CiRecord {
    draft.check(&tenant(name)).expect("a right draft")
}

/// A draft whose name tells its code and version.
pub(crate) fn draft(code: &str, version: &str) -> CiDraft {
    CiDraft::new(code, format!("{code} {version}"), "SW")
}

/// A document.
pub(crate) fn document(value: serde_json::Value) -> Document {
    serde_json::from_value(value).expect("an object")
}

/// A relation of the tenant `acme`.
pub(crate) fn relation(from: &str, to: &str) -> RelationRecord {
    RelationDraft::new(from, "DEPENDS_ON", to)
        .check(&tenant("acme"))
        .expect("a right relation")
}

/// Every column of every row that both databases keep in the same form, in one order.
pub(crate) async fn dump(fixture: &Fixture) -> Vec<String> {
    let (id, moment, document) = if fixture.is_sqlite() {
        ("c.ci_id", "{}", "json({})")
    } else {
        (
            "c.ci_id::text",
            "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')",
            "{}::text",
        )
    };
    let moments =
        ["c.created_at", "c.updated_at", "c.deleted_at", "e.updated_at"].map(|m| moment.replace("{}", m));
    let documents = ["e.tags", "e.attributes"].map(|d| document.replace("{}", d));
    let texts = [
        "c.tenant_id",
        "c.ci_code",
        "c.ci_name",
        "c.ci_type",
        "c.ci_subtype",
        "c.ci_category",
        "c.status",
        "c.location",
        "c.owner",
        "CAST(c.criticality AS text)",
    ];
    let columns: Vec<String> = std::iter::once(id.to_owned())
        .chain(texts.map(str::to_owned))
        .chain(moments)
        .chain(documents)
        .map(|column| format!("coalesce({column}, '~')"))
        .collect();
    let cis = format!(
        "SELECT {} FROM ci AS c LEFT JOIN ci_ext AS e ON e.ci_id = c.ci_id ORDER BY c.ci_id",
        columns.join(" || '|' || ")
    );
    let relations = "SELECT tenant_id || '|' || CAST(from_id AS text) || '|' || rel_type || '|' || CAST(to_id AS text) \
                     FROM ci_relation ORDER BY 1";
    let mut rows = fixture.texts(&cis).await;
    if !fixture.is_sqlite() {
        rows.iter_mut().for_each(|row| *row = compact(row));
    }
    rows.extend(fixture.texts(relations).await);
    rows
}

/// Brings the two documents at the end of a row into one form: `jsonb` has an order of keys of its own.
fn compact(row: &str) -> String {
    let start = row.find("|{").map_or(row.len(), |at| at + 1);
    let (columns, documents) = row.split_at(start);
    let values: Vec<String> = serde_json::Deserializer::from_str(&documents.replace("}|{", "} {"))
        .into_iter::<serde_json::Value>()
        .map(|value| value.expect("a document").to_string())
        .collect();
    format!("{columns}{}", values.join("|"))
}

/// What a batch of CIs reports.
pub(crate) type Outcomes = Vec<Result<CiOutcome, Rejection>>;

/// Options that stamp with a day and skip rejected rows.
pub(crate) fn skipping(on: u32) -> WriteOptions {
    WriteOptions::default()
        .at(day(on))
        .on_rejection(OnRejection::Skip)
}

/// Writes a batch on a day.
pub(crate) async fn write(store: &Arc<dyn Store>, records: Vec<CiRecord>, on: u32) -> Outcomes {
    store.upsert_cis(records, skipping(on)).await.unwrap()
}

/// What was done, record by record.
pub(crate) fn effects(outcomes: &Outcomes) -> Vec<Result<Effect, Rejection>> {
    outcomes
        .iter()
        .map(|outcome| outcome.as_ref().map(|o| o.effect).map_err(Clone::clone))
        .collect()
}

/// The id that a record got.
pub(crate) fn id_of(outcomes: &Outcomes, index: usize) -> CiId {
    outcomes[index].as_ref().unwrap().ci_id.unwrap()
}

/// A code.
pub(crate) fn code(text: &str) -> CiCode {
    CiCode::new(text).unwrap()
}
