//! Answers as services pass them around that use none of our types: what the predecessor builds from its rows, and what is kept in
//! Redis as JSON.

use ci_model::{CiDetail, CiSummary, GroupValue, Groups};
use ci_runner::Reply;
use serde::{Deserialize, Serialize};

/// The nine columns of a row.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Row {
    /// Primary key, as text.
    pub ci_id: String,
    /// Business key.
    pub ci_code: String,
    /// Name.
    pub ci_name: String,
    /// Type.
    pub ci_type: String,
    /// Subtype.
    pub ci_subtype: Option<String>,
    /// Category.
    pub ci_category: Option<String>,
    /// Status.
    pub status: Option<String>,
    /// Location.
    pub location: Option<String>,
    /// Owner.
    pub owner: Option<String>,
    /// The other columns of a CI in full.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rest: Option<serde_json::Value>,
}

/// One group: its first value and the count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The value; none where it is absent.
    pub value: Option<String>,
    /// How many.
    pub count: u64,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Plain {
    /// CIs, in the question's order.
    Rows(Vec<Row>),
    /// Counts by one field.
    Counts(Vec<Count>),
}

impl From<&CiSummary> for Row {
    fn from(ci: &CiSummary) -> Self {
        Self {
            ci_id: ci.ci_id.to_string(),
            ci_code: ci.ci_code.as_str().to_owned(),
            ci_name: ci.ci_name.clone(),
            ci_type: ci.ci_type.clone(),
            ci_subtype: ci.ci_subtype.clone(),
            ci_category: ci.ci_category.clone(),
            status: ci.status.clone(),
            location: ci.location.clone(),
            owner: ci.owner.clone(),
            rest: None,
        }
    }
}

impl From<&CiDetail> for Row {
    fn from(ci: &CiDetail) -> Self {
        let rest = serde_json::json!({
            "criticality": ci.criticality,
            "created_at": ci.created_at,
            "updated_at": ci.updated_at,
            "tags": ci.tags,
            "attributes": ci.attributes,
        });
        Self {
            rest: Some(rest),
            ..Self::from(&ci.summary)
        }
    }
}

fn counts(groups: &Groups) -> Plain {
    let count = |group: &ci_model::Group| Count {
        value: group.values.first().and_then(|(_, value)| text(value)),
        count: group.count,
    };
    Plain::Counts(groups.items.iter().map(count).collect())
}

/// A group's value as a text.
pub fn text(value: &GroupValue) -> Option<String> {
    match value {
        GroupValue::Text(text) => Some(text.clone()),
        GroupValue::Number(number) => Some(number.to_string()),
        GroupValue::Absent => None,
    }
}

impl From<&Reply> for Plain {
    fn from(reply: &Reply) -> Self {
        match reply {
            Reply::Ci(ci) => Self::Rows(ci.iter().map(|ci| Row::from(&**ci)).collect()),
            Reply::Rows(rows) => Self::Rows(rows.iter().map(Row::from).collect()),
            Reply::List(page) => Self::Rows(page.items.iter().map(Row::from).collect()),
            Reply::Groups(groups) => counts(groups),
            Reply::Graph(graph) => {
                let nodes = graph.iter().flat_map(|graph| &graph.items);
                Self::Rows(nodes.map(|node| Row::from(&node.ci)).collect())
            }
            // No workload asks for paths.
            _ => Self::Rows(Vec::new()),
        }
    }
}
