//! Changes of a database, as its triggers record them and the coherence of a cache needs them.
//!
//! A change carries the row before and after it ([`Image`]), reduced to what questions look at. Where a part could not be
//! recorded it is *unknown*, and whoever judges the change has to count an unknown part as one that matters.

use crate::fold::fold;
use crate::json::Document;
use crate::version::Origin;
use crate::{CiDetail, CiId, RelationType, TenantId, Timestamp};

/// What separates the columns of a search text; no keyword has a control character, so a match cannot span two.
const SEPARATOR: char = '\u{1f}';

/// One change that was committed.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its place in the history.
    pub origin: Origin,
    /// What changed.
    pub event: Event,
}

/// What a change changed.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A CI came, went, or has other columns, tags or attributes.
    Ci(Box<CiChange>),
    /// A relation came, went, or leads elsewhere.
    Relation(RelationChange),
    /// So many rows of one tenant, or rows in such a way, that they are not told apart: anything of the tenant may have
    /// changed.
    Tenant(TenantId),
    /// Anything of any tenant may have changed, as by TRUNCATE.
    Everything,
}

/// A change of one CI of one tenant. A CI that moves to another tenant goes from one and comes to the other.
#[derive(Debug, Clone, PartialEq)]
pub struct CiChange {
    /// Whose it is.
    pub tenant: TenantId,
    /// Which it is.
    pub id: CiId,
    /// The row before; none when there was none.
    pub old: Option<Image>,
    /// The row after; none when there is none.
    pub new: Option<Image>,
    /// The CIs that relations lead to or from, either way, where the change made the CI visible or invisible to them or
    /// moved it in their order (came, went, deleted softly or brought back, renamed); `None` when they are not known.
    /// Empty where the change cannot matter to them.
    pub neighbours: Option<Vec<CiId>>,
}

/// A change of one relation of one tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelationChange {
    /// Whose it is.
    pub tenant: TenantId,
    /// The relation before; none when there was none.
    pub old: Option<RelationImage>,
    /// The relation after; none when there is none.
    pub new: Option<RelationImage>,
}

/// A relation as a change tells it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RelationImage {
    /// Where it starts.
    pub from: CiId,
    /// Where it leads.
    pub to: CiId,
    /// Its type.
    pub rel_type: RelationType,
}

impl Event {
    /// The tenant whose answers may be touched; none for all of them.
    pub fn tenant(&self) -> Option<&TenantId> {
        match self {
            Self::Ci(change) => Some(&change.tenant),
            Self::Relation(change) => Some(&change.tenant),
            Self::Tenant(tenant) => Some(tenant),
            Self::Everything => None,
        }
    }
}

/// A CI's row as predicates see it: before or after a change, or read in full. Unknown parts are `None` where the
/// field says so.
#[derive(Debug, Clone, PartialEq)]
pub struct Image {
    /// `ci_code`, as the row has it.
    pub code: String,
    /// `ci_name`
    pub name: String,
    /// `ci_type`
    pub ci_type: String,
    /// `ci_subtype`
    pub subtype: Option<String>,
    /// `ci_category`
    pub category: Option<String>,
    /// `status`
    pub status: Option<String>,
    /// `location`
    pub location: Option<String>,
    /// `owner`
    pub owner: Option<String>,
    /// `criticality`, 1 to 5
    pub criticality: Option<u8>,
    /// `created_at`; `None` when it is not known.
    pub created_at: Option<Timestamp>,
    /// `updated_at`; `None` when it is not known.
    pub updated_at: Option<Timestamp>,
    /// Whether the row is soft-deleted.
    pub deleted: bool,
    /// Tags; `None` when they are not known.
    pub tags: Option<Document>,
    /// Attributes; `None` when they are not known.
    pub attributes: Option<Document>,
    pub(crate) search_text: String,
}

impl Image {
    /// An image with a code, a name and a type, and nothing else: not deleted, documents and moments unknown.
    pub fn new(code: String, name: String, ci_type: String) -> Self {
        let mut image = Self {
            code,
            name,
            ci_type,
            subtype: None,
            category: None,
            status: None,
            location: None,
            owner: None,
            criticality: None,
            created_at: None,
            updated_at: None,
            deleted: false,
            tags: None,
            attributes: None,
            search_text: String::new(),
        };
        image.fold();
        image
    }

    /// Folds the search text again: to be called after code, name, type, subtype or category were set.
    pub fn fold(&mut self) {
        let columns = [
            self.code.as_str(),
            &self.name,
            &self.ci_type,
            self.subtype.as_deref().unwrap_or_default(),
            self.category.as_deref().unwrap_or_default(),
        ];
        self.search_text.clear();
        for (at, column) in columns.into_iter().enumerate() {
            if at > 0 {
                self.search_text.push(SEPARATOR);
            }
            self.search_text.push_str(&fold(column));
        }
    }

    /// What keywords are looked for in: code, name, type, subtype and category, folded, separated by U+001F.
    pub fn search_text(&self) -> &str {
        &self.search_text
    }

    /// The folded code and name; nothing when a column holds the separator, so that they cannot be told apart.
    pub fn folded_names(&self) -> Option<[&str; 2]> {
        let mut parts = self.search_text.split(SEPARATOR);
        let names = [parts.next()?, parts.next()?];
        (parts.count() == 3).then_some(names)
    }

    /// Tells whether the nine columns of a summary are the same (the id apart).
    pub fn same_summary(&self, other: &Self) -> bool {
        self.code == other.code
            && self.name == other.name
            && self.ci_type == other.ci_type
            && self.subtype == other.subtype
            && self.category == other.category
            && self.status == other.status
            && self.location == other.location
            && self.owner == other.owner
    }
}

impl From<&CiDetail> for Image {
    fn from(ci: &CiDetail) -> Self {
        let summary = &ci.summary;
        let mut image = Self {
            subtype: summary.ci_subtype.clone(),
            category: summary.ci_category.clone(),
            status: summary.status.clone(),
            location: summary.location.clone(),
            owner: summary.owner.clone(),
            criticality: ci.criticality.map(crate::Criticality::get),
            created_at: Some(ci.created_at),
            updated_at: Some(ci.updated_at),
            deleted: ci.deleted_at.is_some(),
            tags: Some(ci.tags.clone()),
            attributes: Some(ci.attributes.clone()),
            ..Self::new(
                summary.ci_code.as_str().to_owned(),
                summary.ci_name.clone(),
                summary.ci_type.clone(),
            )
        };
        image.fold();
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_text_is_folded_and_tells_code_and_name() {
        let mut image = Image::new("DB-1".into(), "Größe".into(), "SW".into());
        assert_eq!(image.search_text(), "db-1\u{1f}größe\u{1f}sw\u{1f}\u{1f}");
        assert_eq!(image.folded_names(), Some(["db-1", "größe"]));
        image.subtype = Some("App".into());
        image.fold();
        assert!(image.search_text().ends_with("\u{1f}app\u{1f}"));
        image.name = "a\u{1f}b".into();
        image.fold();
        assert_eq!(image.folded_names(), None);
    }

    #[test]
    fn a_summary_has_no_documents_and_moments() {
        let image = Image::new("c".into(), "n".into(), "t".into());
        let mut other = image.clone();
        other.tags = Some(Document::new());
        other.deleted = true;
        other.criticality = Some(3);
        assert!(image.same_summary(&other));
        other.owner = Some("ops".into());
        assert!(!image.same_summary(&other));
    }
}
