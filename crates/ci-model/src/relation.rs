//! Relations: typed, directed edges between two CIs of one tenant.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{CiCode, CiId, CiRef, Error, TenantId, limits, text};

/// A relation's type, an open set: `DEPENDS_ON`, `RUNS_ON`, … 1 to 64 characters, compared byte for byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, min_length = 1, max_length = 64))]
#[serde(try_from = "String", into = "String")]
pub struct RelationType(Arc<str>);

impl RelationType {
    /// Checks and keeps a relation type.
    ///
    /// # Errors
    /// [`Error::Empty`], [`Error::TooLong`] or [`Error::ControlCharacter`].
    pub fn new(name: impl AsRef<str>) -> Result<Self, Error> {
        text::checked("rel_type", name.as_ref(), limits::RELATION_TYPE_CHARS).map(|name| Self(name.into()))
    }

    /// The type's name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Checks, sorts and de-duplicates the types that a question names.
    pub(crate) fn set<S: AsRef<str>>(names: &[S]) -> Result<Vec<Self>, Error> {
        text::at_most("relation types", names.len(), limits::RELATION_TYPES)?;
        let mut types = names.iter().map(Self::new).collect::<Result<Vec<_>, _>>()?;
        types.sort_unstable();
        types.dedup();
        Ok(types)
    }
}

impl TryFrom<String> for RelationType {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        Self::new(name)
    }
}

impl From<RelationType> for String {
    fn from(kind: RelationType) -> Self {
        kind.0.as_ref().into()
    }
}

impl fmt::Display for RelationType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RelationType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Which way a traversal follows relations, seen from the CI it stands on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From `from` to `to`: what this CI needs, or consists of.
    Out,
    /// From `to` to `from`: what needs this CI.
    In,
    /// Both ways.
    Both,
}

impl Direction {
    /// The words, for help and errors.
    pub const WORDS: &'static str = "out, in, both";
}

impl FromStr for Direction {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        match word.to_ascii_lowercase().as_str() {
            "out" => Ok(Self::Out),
            "in" => Ok(Self::In),
            "both" => Ok(Self::Both),
            _ => Err(Error::word("direction", word, Self::WORDS)),
        }
    }
}

/// One relation as a graph returns it. `from` is the whole in `COMPOSED_OF`, and the dependant in every other type.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Relation {
    /// Code of the CI that the relation starts at.
    pub from: CiCode,
    /// Code of the CI that the relation ends at.
    pub to: CiCode,
    /// The relation's type.
    pub rel_type: RelationType,
    /// Id of the CI that the relation starts at.
    pub from_id: CiId,
    /// Id of the CI that the relation ends at.
    pub to_id: CiId,
}

/// What a writer gives to create a relation, before it is checked: the form of a line of a relations file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RelationDraft {
    /// Code or id of the CI that the relation starts at.
    pub from: String,
    /// Code or id of the CI that the relation ends at.
    pub to: String,
    /// The relation's type.
    pub rel_type: String,
    /// Ignored; present when a graph's relation is written back.
    #[serde(default)]
    pub from_id: Option<CiId>,
    /// Ignored; present when a graph's relation is written back.
    #[serde(default)]
    pub to_id: Option<CiId>,
}

/// A checked relation, ready to be written for one tenant.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelationRecord {
    /// Whose it is; both ends belong to this tenant.
    pub tenant: TenantId,
    /// Where it starts.
    pub from: CiRef,
    /// Where it ends.
    pub to: CiRef,
    /// Its type.
    pub rel_type: RelationType,
}

impl RelationDraft {
    /// A draft from its three parts.
    pub fn new(from: impl Into<String>, rel_type: impl Into<String>, to: impl Into<String>) -> Self {
        Self {
            from: from.into(),
            to: to.into(),
            rel_type: rel_type.into(),
            from_id: None,
            to_id: None,
        }
    }

    /// Checks the parts.
    ///
    /// # Errors
    /// The first part that does not fit; [`Error::InvalidValue`] when both ends are the same text: a CI has no
    /// relation to itself.
    pub fn check(self, tenant: &TenantId) -> Result<RelationRecord, Error> {
        if self.from == self.to {
            return Err(Error::value("to", "another CI than `from`"));
        }
        Ok(RelationRecord {
            tenant: tenant.clone(),
            from: CiRef::parse(&self.from)?,
            to: CiRef::parse(&self.to)?,
            rel_type: RelationType::new(&self.rel_type)?,
        })
    }
}
