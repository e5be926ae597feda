//! What is the same over HTTP and on the command line: the JSON of answers.

use ci_model::{CiDetail, CiSummary, Group, Groups, PathAnswer, Relation, Route};
use serde::Serialize;
use utoipa::ToSchema;

/// Counts by group.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AggregateAnswer)]
pub(crate) struct GroupsBody<'a> {
    /// The groups, the largest first: a member per field of `group_by`, then `count` and, if asked for, `distinct`.
    #[schema(value_type = Vec<Object>)]
    items: &'a [Group],
    /// Whether there are more groups than the limit.
    truncated: bool,
}

impl<'a> From<&'a Groups> for GroupsBody<'a> {
    fn from(groups: &'a Groups) -> Self {
        Self {
            items: &groups.items,
            truncated: groups.truncated,
        }
    }
}

/// A shortest path, and others where several were asked for. Without one `items` and `relations` are empty and `hops` is
/// null.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PathAnswer)]
pub(crate) struct RouteBody<'a> {
    /// The CIs from start to end, both included.
    #[schema(value_type = Vec<CiSummary>)]
    pub(crate) items: &'a [CiSummary],
    /// The relations between them.
    #[schema(value_type = Vec<Relation>)]
    pub(crate) relations: &'a [Relation],
    /// Number of steps.
    pub(crate) hops: Option<u8>,
    /// The paths after the first, all with as many steps; only where there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    pub(crate) others: Vec<OtherBody<'a>>,
    /// Whether there are more shortest paths; only where several were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) truncated: Option<bool>,
}

/// Another path with as many steps as the first.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OtherPath)]
pub(crate) struct OtherBody<'a> {
    /// The CIs from start to end, both included.
    #[schema(value_type = Vec<CiSummary>)]
    pub(crate) items: &'a [CiSummary],
    /// The relations between them.
    #[schema(value_type = Vec<Relation>)]
    pub(crate) relations: &'a [Relation],
}

impl<'a> From<&'a PathAnswer> for RouteBody<'a> {
    fn from(answer: &'a PathAnswer) -> Self {
        let (first, others) = match answer.routes() {
            [first, others @ ..] => (Some(first), others),
            [] => (None, &[][..]),
        };
        let other = |route: &'a Route| OtherBody {
            items: &route.items,
            relations: &route.relations,
        };
        Self {
            items: first.map_or(&[], |route| &route.items),
            relations: first.map_or(&[], |route| &route.relations),
            hops: first.map(|route| route.hops),
            others: others.iter().map(other).collect(),
            truncated: match answer {
                PathAnswer::Several(routes) => Some(routes.truncated),
                PathAnswer::Found(_) | PathAnswer::NoPath => None,
            },
        }
    }
}

/// Several CIs at once.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = BatchAnswer)]
pub(crate) struct BatchBody<'a> {
    /// The CIs that are there, in the order that was asked for.
    #[schema(value_type = Vec<CiDetail>)]
    pub(crate) items: Vec<&'a CiDetail>,
    /// The codes and ids that are not there.
    #[schema(value_type = Vec<String>)]
    pub(crate) missing: Vec<&'a str>,
}
