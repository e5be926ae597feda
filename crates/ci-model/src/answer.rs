//! What questions are answered with.

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::{CiId, CiRef, CiSummary, Relation, Timestamp};

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ListPage {
    /// The CIs of the page, newest first.
    pub items: Vec<CiSummary>,
    /// How many CIs there are in all pages; none where that was not asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// The moment by which the last of them is ordered, its creation or its last change: where the page ends. Not in JSON.
    #[serde(skip)]
    pub last: Option<Timestamp>,
}

/// The value that a group has in one field.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(untagged)]
pub enum GroupValue {
    /// A text, or a scalar of a document read as text.
    Text(String),
    /// A criticality.
    Number(i64),
    /// No value.
    Absent,
}

/// One group of an aggregate. In JSON an object: a member per field, then `count` and, if asked for, `distinct`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// Field names and the group's values, in the order of the question.
    pub values: Vec<(String, GroupValue)>,
    /// Number of CIs.
    pub count: u64,
    /// Number of distinct values of the field that the question named.
    pub distinct: Option<u64>,
}

impl Serialize for Group {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (field, value) in &self.values {
            map.serialize_entry(field, value)?;
        }
        map.serialize_entry("count", &self.count)?;
        if let Some(distinct) = self.distinct {
            map.serialize_entry("distinct", &distinct)?;
        }
        map.end()
    }
}

/// The groups of an aggregate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Groups {
    /// The largest groups first; equal ones by their values.
    pub items: Vec<Group>,
    /// Whether there are more groups than the question's limit.
    pub truncated: bool,
}

/// A CI of a graph.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Node {
    /// The CI.
    #[serde(flatten)]
    pub ci: CiSummary,
    /// Steps from the nearest root; 0 is a root itself.
    pub level: u8,
}

/// The graph around one or several CIs; [`crate::Expand`] says exactly what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Graph {
    /// Where it starts: always the first of `items`. Of several roots, which are the items of level 0, the first by code.
    pub root: CiId,
    /// The ids and codes of the question's roots that are not there, ascending, ids first; never one of a single root, and
    /// in JSON only where there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<String>, required = false))]
    pub missing: Vec<CiRef>,
    /// The CIs, by level, then by code.
    pub items: Vec<Node>,
    /// The relations that were followed, in the order in which they were met.
    pub relations: Vec<Relation>,
    /// Whether CIs are missing because of `max_nodes`.
    pub nodes_truncated: bool,
    /// Whether relations are missing because of `max_edges`.
    pub edges_truncated: bool,
}

/// A shortest path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    /// The CIs from start to end, both included.
    pub items: Vec<CiSummary>,
    /// The relations between them, one fewer than there are CIs.
    pub relations: Vec<Relation>,
    /// Number of steps.
    pub hops: u8,
}

/// Several shortest paths, all with the same number of steps.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Routes {
    /// The paths in their order: at least one, at most as many as were asked for.
    pub items: Vec<Route>,
    /// Whether there are more.
    pub truncated: bool,
}

/// The answer to a path question whose two ends exist.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(untagged)]
pub enum PathAnswer {
    /// There is a path, and one was asked for.
    Found(Route),
    /// There is a path, and more than one was asked for.
    Several(Routes),
    /// There is none within the question's bounds; in JSON an empty `items`, an empty `relations` and no `hops`.
    #[serde(serialize_with = "no_route")]
    NoPath,
}

impl PathAnswer {
    /// The paths in their order; none when there is none.
    pub fn routes(&self) -> &[Route] {
        match self {
            Self::Found(route) => std::slice::from_ref(route),
            Self::Several(routes) => &routes.items,
            Self::NoPath => &[],
        }
    }

    /// Whether there are more shortest paths than were asked for; false where one was asked for, and nobody looked.
    pub fn is_truncated(&self) -> bool {
        matches!(self, Self::Several(routes) if routes.truncated)
    }
}

fn no_route<S: Serializer>(serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(Some(3))?;
    map.serialize_entry("items", &[(); 0])?;
    map.serialize_entry("relations", &[(); 0])?;
    map.serialize_entry("hops", &None::<u8>)?;
    map.end()
}
