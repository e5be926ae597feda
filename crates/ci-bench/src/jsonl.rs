//! JSON Lines: the form in which a CI and a relation are written to an import file.

use std::io::{self, Write};

use ci_model::{CiDraft, CiId, Document, RelationDraft, Timestamp};
use serde::Serialize;

/// The columns of an import line; what is absent is left out.
#[derive(Serialize)]
struct CiLine<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    ci_id: Option<CiId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant_id: Option<&'a str>,
    ci_code: &'a str,
    ci_name: &'a str,
    ci_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    ci_subtype: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ci_category: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    criticality: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    location: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    updated_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deleted_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tags: Option<&'a Document>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<&'a Document>,
}

#[derive(Serialize)]
struct RelationLine<'a> {
    from: &'a str,
    to: &'a str,
    rel_type: &'a str,
}

/// Writes one CI as a line of JSON, absent columns left out. Reading the line gives the same draft.
///
/// # Errors
/// Those of the writer.
pub fn write_ci<W: Write>(out: &mut W, ci: &CiDraft) -> io::Result<()> {
    let line = CiLine {
        ci_id: ci.ci_id,
        tenant_id: ci.tenant_id.as_deref(),
        ci_code: &ci.ci_code,
        ci_name: &ci.ci_name,
        ci_type: &ci.ci_type,
        ci_subtype: ci.ci_subtype.as_deref(),
        ci_category: ci.ci_category.as_deref(),
        status: ci.status.as_deref(),
        criticality: ci.criticality,
        location: ci.location.as_deref(),
        owner: ci.owner.as_deref(),
        created_at: ci.created_at,
        updated_at: ci.updated_at,
        deleted_at: ci.deleted_at,
        tags: ci.tags.as_ref(),
        attributes: ci.attributes.as_ref(),
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}

/// Writes one relation as a line of JSON: `from`, `to` and `rel_type`.
///
/// # Errors
/// Those of the writer.
pub fn write_relation<W: Write>(out: &mut W, relation: &RelationDraft) -> io::Result<()> {
    let line = RelationLine {
        from: &relation.from,
        to: &relation.to,
        rel_type: &relation.rel_type,
    };
    serde_json::to_writer(&mut *out, &line)?;
    out.write_all(b"\n")
}
