//! Configuration items: their identity, the short and the full form, and the draft that a writer gives.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::json::{self, Document};
use crate::{Error, TenantId, Timestamp, limits, text};

/// Namespace of the ids that are made from tenant and code.
const ID_NAMESPACE: Uuid = Uuid::from_u128(0x9a3f_27c4_51d8_4b6e_8c07_e2b1_6f4d_a935);

/// A CI's primary key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, format = "uuid"))]
#[serde(transparent)]
pub struct CiId(pub Uuid);

impl CiId {
    /// The id that a CI gets when its writer gives none: a version 5 UUID of tenant and code (RFC 9562), so that
    /// importing the same file twice, or into two databases, makes the same ids.
    pub fn derived(tenant: &TenantId, code: &CiCode) -> Self {
        // Neither part can hold a NUL, so no two pairs share a name.
        let name = format!("{tenant}\0{code}");
        Self(Uuid::new_v5(&ID_NAMESPACE, name.as_bytes()))
    }
}

impl fmt::Display for CiId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl fmt::Debug for CiId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for CiId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_| Error::value("ci_id", "a UUID"))
    }
}

/// A CI's business key: unique within its tenant, 1 to 255 characters, compared byte for byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, min_length = 1, max_length = 255))]
#[serde(try_from = "String", into = "String")]
pub struct CiCode(Arc<str>);

impl CiCode {
    /// Checks and keeps a code.
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::TooLong`] or [`Error::ControlCharacter`].
    pub fn new(code: impl AsRef<str>) -> Result<Self, Error> {
        text::checked("ci_code", code.as_ref(), limits::CODE_CHARS).map(|code| Self(code.into()))
    }

    /// The code.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for CiCode {
    type Error = Error;

    fn try_from(code: String) -> Result<Self, Error> {
        Self::new(code)
    }
}

impl From<CiCode> for String {
    fn from(code: CiCode) -> Self {
        code.0.as_ref().into()
    }
}

impl fmt::Display for CiCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for CiCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// One CI, named by id or by code.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CiRef {
    /// By primary key.
    Id(CiId),
    /// By business key.
    Code(CiCode),
}

impl CiRef {
    /// Reads a reference from text: a UUID in its hyphenated form is an id, everything else a code.
    ///
    /// # Errors
    /// Those of [`CiCode::new`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        const HYPHENATED: usize = 36;
        match Uuid::try_parse(text) {
            Ok(id) if text.len() == HYPHENATED => Ok(Self::Id(CiId(id))),
            _ => CiCode::new(text).map(Self::Code),
        }
    }
}

impl fmt::Display for CiRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Code(code) => f.write_str(code.as_str()),
        }
    }
}

impl Serialize for CiRef {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl From<CiId> for CiRef {
    fn from(id: CiId) -> Self {
        Self::Id(id)
    }
}

impl From<CiCode> for CiRef {
    fn from(code: CiCode) -> Self {
        Self::Code(code)
    }
}

/// How much depends on a CI: 1 (least) to 5 (most).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = i64, minimum = 1, maximum = 5))]
#[serde(try_from = "i64", into = "i64")]
pub struct Criticality(u8);

impl Criticality {
    /// Checks and keeps a criticality.
    ///
    /// # Errors
    /// [`Error::OutOfRange`] outside 1 to 5.
    pub fn new(value: i64) -> Result<Self, Error> {
        match u8::try_from(value) {
            Ok(value @ 1..=5) => Ok(Self(value)),
            _ => Err(Error::OutOfRange {
                what: "criticality",
                min: 1,
                max: 5,
                actual: value,
            }),
        }
    }

    /// The value, 1 to 5.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl TryFrom<i64> for Criticality {
    type Error = Error;

    fn try_from(value: i64) -> Result<Self, Error> {
        Self::new(value)
    }
}

impl From<Criticality> for i64 {
    fn from(value: Criticality) -> Self {
        value.0.into()
    }
}

/// The nine columns that searches, lists and graphs return.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CiSummary {
    /// Primary key.
    pub ci_id: CiId,
    /// Business key, unique within the tenant.
    pub ci_code: CiCode,
    /// Name for people.
    pub ci_name: String,
    /// Type, an open set: `HW`, `SW`, `SYSTEM`, …
    pub ci_type: String,
    /// Subtype, an open set: `server`, `os`, `db`, …
    pub ci_subtype: Option<String>,
    /// Category.
    pub ci_category: Option<String>,
    /// Life-cycle status.
    pub status: Option<String>,
    /// Where it is.
    pub location: Option<String>,
    /// Who answers for it.
    pub owner: Option<String>,
}

/// All columns of a CI with its tags and attributes.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CiDetail {
    /// The nine short columns.
    #[serde(flatten)]
    pub summary: CiSummary,
    /// Whose it is.
    pub tenant_id: TenantId,
    /// 1 to 5, when known.
    pub criticality: Option<Criticality>,
    /// When the row was made.
    pub created_at: Timestamp,
    /// When the row last changed.
    pub updated_at: Timestamp,
    /// When it was soft-deleted; a CI with a value here is found only when asked for.
    pub deleted_at: Option<Timestamp>,
    /// Tags; an empty object when there are none.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub tags: Document,
    /// Attributes; an empty object when there are none.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub attributes: Document,
}

/// What a writer gives to create or replace a CI, before it is checked: the form of a line of an import file.
///
/// A column that is left out becomes empty: an upsert replaces the whole CI. Unknown columns are refused, because
/// silently losing a misspelt column is data loss. `tenant_id` may be present, so that what the program exports can be
/// imported again, but it must name the tenant that the write is for.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct CiDraft {
    /// Primary key; when absent, the existing row's, or [`CiId::derived`].
    #[serde(default)]
    pub ci_id: Option<CiId>,
    /// Must equal the tenant of the write when present.
    #[serde(default)]
    pub tenant_id: Option<String>,
    /// Business key.
    pub ci_code: String,
    /// Name for people.
    pub ci_name: String,
    /// Type.
    pub ci_type: String,
    /// Subtype.
    #[serde(default)]
    pub ci_subtype: Option<String>,
    /// Category.
    #[serde(default)]
    pub ci_category: Option<String>,
    /// Life-cycle status.
    #[serde(default)]
    pub status: Option<String>,
    /// 1 to 5.
    #[serde(default)]
    pub criticality: Option<i64>,
    /// Where it is.
    #[serde(default)]
    pub location: Option<String>,
    /// Who answers for it.
    #[serde(default)]
    pub owner: Option<String>,
    /// When it was made; the moment of the first write when absent.
    #[serde(default)]
    pub created_at: Option<Timestamp>,
    /// When it last changed; the moment of the write when absent. Alone it does not make a row differ.
    #[serde(default)]
    pub updated_at: Option<Timestamp>,
    /// When it was soft-deleted; absent means that it is live, also if it was deleted before.
    #[serde(default)]
    pub deleted_at: Option<Timestamp>,
    /// Tags.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub tags: Option<Document>,
    /// Attributes.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub attributes: Option<Document>,
}

/// A checked CI, ready to be written for one tenant.
#[derive(Debug, Clone, PartialEq)]
pub struct CiRecord {
    /// Whose it is.
    pub tenant: TenantId,
    /// The id that the writer gave, if any.
    pub given_id: Option<CiId>,
    /// Business key.
    pub code: CiCode,
    /// Name.
    pub name: String,
    /// Type.
    pub ci_type: String,
    /// Subtype; never an empty text.
    pub subtype: Option<String>,
    /// Category; never an empty text.
    pub category: Option<String>,
    /// Status; never an empty text.
    pub status: Option<String>,
    /// Criticality.
    pub criticality: Option<Criticality>,
    /// Location; never an empty text.
    pub location: Option<String>,
    /// Owner; never an empty text.
    pub owner: Option<String>,
    /// Given creation time.
    pub created_at: Option<Timestamp>,
    /// Given change time.
    pub updated_at: Option<Timestamp>,
    /// Given deletion time.
    pub deleted_at: Option<Timestamp>,
    /// Normalised tags.
    pub tags: Document,
    /// Normalised attributes.
    pub attributes: Document,
}

impl CiRecord {
    /// The id to insert the row with when the tenant does not have the code yet.
    pub fn insert_id(&self) -> CiId {
        self.given_id
            .unwrap_or_else(|| CiId::derived(&self.tenant, &self.code))
    }
}

impl CiDraft {
    /// A draft with the three columns that every CI has.
    pub fn new(code: impl Into<String>, name: impl Into<String>, ci_type: impl Into<String>) -> Self {
        Self {
            ci_code: code.into(),
            ci_name: name.into(),
            ci_type: ci_type.into(),
            ..Self::default()
        }
    }

    /// Checks every column and brings the draft into the form that is written. An empty optional text becomes absent.
    ///
    /// # Errors
    /// The first column that does not fit, by name; [`Error::InvalidValue`] when `tenant_id` names another tenant.
    pub fn check(self, tenant: &TenantId) -> Result<CiRecord, Error> {
        if self
            .tenant_id
            .as_deref()
            .is_some_and(|given| given != tenant.as_str())
        {
            return Err(Error::value(
                "tenant_id",
                "the tenant that the write is for, or nothing",
            ));
        }
        let optional = |what, value: Option<String>| match value {
            Some(value) if !value.is_empty() => {
                text::bounded(what, &value, limits::TEXT_CHARS)?;
                Ok(Some(value))
            }
            _ => Ok(None),
        };
        Ok(CiRecord {
            tenant: tenant.clone(),
            given_id: self.ci_id,
            code: CiCode::new(&self.ci_code)?,
            name: text::checked("ci_name", &self.ci_name, limits::NAME_CHARS)?.to_owned(),
            ci_type: text::checked("ci_type", &self.ci_type, limits::TEXT_CHARS)?.to_owned(),
            subtype: optional("ci_subtype", self.ci_subtype)?,
            category: optional("ci_category", self.ci_category)?,
            status: optional("status", self.status)?,
            criticality: self.criticality.map(Criticality::new).transpose()?,
            location: optional("location", self.location)?,
            owner: optional("owner", self.owner)?,
            created_at: self.created_at,
            updated_at: self.updated_at,
            deleted_at: self.deleted_at,
            tags: json::normalised("tags", self.tags.unwrap_or_default())?,
            attributes: json::normalised("attributes", self.attributes.unwrap_or_default())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant() -> TenantId {
        TenantId::new("acme").unwrap()
    }

    #[test]
    fn a_line_becomes_a_record_and_empty_texts_become_absent() {
        let line = r#"{"ci_code":"db-1","ci_name":"orders","ci_type":"SW","owner":"","criticality":5,"tags":{"n":1.0}}"#;
        let record = serde_json::from_str::<CiDraft>(line)
            .unwrap()
            .check(&tenant())
            .unwrap();
        assert_eq!(record.owner, None);
        assert_eq!(record.criticality.map(Criticality::get), Some(5));
        assert_eq!(record.tags["n"], serde_json::json!(1));
        assert_eq!(record.insert_id(), CiId::derived(&tenant(), &record.code));
    }

    #[test]
    fn wrong_columns_are_named() {
        let refused = |draft: CiDraft| draft.check(&tenant()).unwrap_err().to_string();
        assert_eq!(
            refused(CiDraft::new(" ", "n", "t")),
            "accept ci_code: it is empty"
        );
        assert!(refused(CiDraft::new("c", "n\0", "t")).contains("ci_name"));
        let other = CiDraft {
            tenant_id: Some("other".into()),
            ..CiDraft::new("c", "n", "t")
        };
        assert!(refused(other).contains("tenant_id"));
        let high = CiDraft {
            criticality: Some(6),
            ..CiDraft::new("c", "n", "t")
        };
        assert_eq!(refused(high), "accept criticality: 6 is outside 1 to 5");
        let unknown =
            serde_json::from_str::<CiDraft>(r#"{"ci_code":"c","ci_name":"n","ci_type":"t","colour":1}"#);
        assert!(unknown.unwrap_err().to_string().contains("colour"));
    }

    #[test]
    fn tenants_never_share_a_derived_id() {
        let id = |tenant: &str, code: &str| {
            CiId::derived(&TenantId::new(tenant).unwrap(), &CiCode::new(code).unwrap())
        };
        assert_ne!(id("a", "bc"), id("ab", "c"));
        assert_eq!(id("a", "bc"), id("a", "bc"));
    }

    #[test]
    fn a_reference_is_an_id_only_in_the_hyphenated_form() {
        let id = "0189d7a4-1111-4222-8333-444455556666";
        assert_eq!(CiRef::parse(id).unwrap(), CiRef::Id(id.parse().unwrap()));
        assert!(matches!(
            CiRef::parse("0189d7a4111142228333444455556666").unwrap(),
            CiRef::Code(_)
        ));
    }
}
