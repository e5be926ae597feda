//! What writes report: per row, what became of it.

use serde::Serialize;

use crate::{CiCode, CiId, RelationType};

/// What a write did to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Effect {
    /// A row was made.
    Created,
    /// A row was changed.
    Updated,
    /// The row was already as given; nothing was written.
    Unchanged,
    /// The row was deleted (a CI softly, a relation for good).
    Deleted,
    /// There was nothing to delete.
    Missing,
    /// A later row of the same batch has the same key and won; this one was not written.
    Superseded,
}

impl Effect {
    /// Whether answers may differ now.
    pub fn is_change(self) -> bool {
        matches!(self, Self::Created | Self::Updated | Self::Deleted)
    }
}

/// What became of a CI that was written or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CiOutcome {
    /// Its id; nothing when it was to be deleted by code and is not there.
    pub ci_id: Option<CiId>,
    /// Its code; nothing when it was to be deleted by id and is not there.
    pub ci_code: Option<CiCode>,
    /// The code that it had before, when the write changed it.
    pub previous_code: Option<CiCode>,
    /// What was done.
    pub effect: Effect,
}

/// What became of a relation that was written or deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RelationOutcome {
    /// Where it starts; nothing when that CI is not there.
    pub from_id: Option<CiId>,
    /// Where it ends; nothing when that CI is not there.
    pub to_id: Option<CiId>,
    /// Its type.
    pub rel_type: RelationType,
    /// What was done.
    pub effect: Effect,
}

/// Why a row of a batch was not written, though its form is right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rejection {
    /// The code belongs to a CI with another id than the one given.
    #[error("ci_code belongs to another ci_id of this tenant")]
    CodeTaken,
    /// The id belongs to a CI of another tenant, or the database has the code for another tenant and allows it only
    /// once (as a database made by the predecessor does).
    #[error("ci_id or ci_code is already used by another tenant in this database")]
    TakenByOtherTenant,
    /// The CI that the relation starts at is not there.
    #[error("`from` names no CI of this tenant")]
    FromMissing,
    /// The CI that the relation ends at is not there.
    #[error("`to` names no CI of this tenant")]
    ToMissing,
    /// The CI is not as its writer expects: see [`Precondition`](crate::Precondition).
    #[error("the CI is not as the writer expects: read it again")]
    PreconditionFailed,
    /// Both ends are the same CI.
    #[error("`from` and `to` are the same CI")]
    SelfRelation,
}
