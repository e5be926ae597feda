//! About how much memory an answer takes, for a cache that is bounded by it.
//!
//! What is allocated is counted: structures by their size, texts and documents by what they hold. What the allocator adds, and what a vector
//! keeps in reserve, is not; most allocations are exact, since answers are collected once and never grow.

use std::mem::size_of_val;

use ci_model::{CiDetail, CiSummary, Graph, Group, GroupValue, Groups, Node, PathAnswer, Relation};
use serde_json::Value;

use crate::Reply;

/// What a map or an `Arc` has around its content.
const AROUND: usize = 32;

/// All of an answer.
pub(crate) fn of(reply: &Reply) -> usize {
    let inside = match reply {
        Reply::Ci(ci) => ci.as_deref().map_or(0, ci_detail),
        Reply::Rows(rows) => summaries(rows),
        Reply::List(page) => size_of_val(&**page) + summaries(&page.items),
        Reply::Groups(groups) => groups_of(groups),
        Reply::Graph(graph) => graph.as_deref().map_or(0, graph_of),
        Reply::Path(path) => path.as_deref().map_or(0, path_of),
    };
    AROUND + inside
}

fn optional(text: Option<&String>) -> usize {
    text.map_or(0, String::len)
}

/// What a row owns beside itself.
fn owned(ci: &CiSummary) -> usize {
    ci.ci_code.as_str().len()
        + ci.ci_name.len()
        + ci.ci_type.len()
        + optional(ci.ci_subtype.as_ref())
        + optional(ci.ci_category.as_ref())
        + optional(ci.status.as_ref())
        + optional(ci.location.as_ref())
        + optional(ci.owner.as_ref())
}

fn summaries(rows: &[CiSummary]) -> usize {
    size_of_val(rows) + rows.iter().map(owned).sum::<usize>()
}

fn ci_detail(ci: &CiDetail) -> usize {
    size_of_val(ci)
        + owned(&ci.summary)
        + ci.tenant_id.as_str().len()
        + object(ci.tags.iter())
        + object(ci.attributes.iter())
}

/// What a JSON object owns.
fn object<'a>(members: impl Iterator<Item = (&'a String, &'a Value)>) -> usize {
    members
        .map(|(name, value)| AROUND + size_of::<String>() + name.len() + json(value))
        .sum()
}

/// A JSON value with what it owns; documents are bounded in depth.
fn json(value: &Value) -> usize {
    let inside = match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 0,
        Value::String(text) => text.len(),
        Value::Array(values) => values.iter().map(json).sum(),
        Value::Object(members) => object(members.iter()),
    };
    size_of::<Value>() + inside
}

fn groups_of(groups: &Groups) -> usize {
    let value = |value: &GroupValue| match value {
        GroupValue::Text(text) => text.len(),
        _ => 0,
    };
    let group = |group: &Group| {
        let values = group.values.iter();
        let texts: usize = values.map(|(field, of)| field.len() + value(of)).sum();
        size_of_val(&*group.values) + texts
    };
    size_of_val(groups) + size_of_val(&*groups.items) + groups.items.iter().map(group).sum::<usize>()
}

fn relations(all: &[Relation]) -> usize {
    let owned = |relation: &Relation| {
        relation.from.as_str().len() + relation.to.as_str().len() + relation.rel_type.as_str().len()
    };
    size_of_val(all) + all.iter().map(owned).sum::<usize>()
}

fn nodes(all: &[Node]) -> usize {
    size_of_val(all) + all.iter().map(|node| owned(&node.ci)).sum::<usize>()
}

fn graph_of(graph: &Graph) -> usize {
    size_of_val(graph) + size_of_val(&*graph.missing) + nodes(&graph.items) + relations(&graph.relations)
}

fn path_of(path: &PathAnswer) -> usize {
    let routes = path.routes().iter();
    let inside =
        routes.map(|route| size_of_val(route) + summaries(&route.items) + relations(&route.relations));
    size_of_val(path) + inside.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use ci_model::{CiCode, CiId, TenantId};

    use super::*;

    fn row(name: &str) -> CiSummary {
        let code = CiCode::new("db-1").unwrap();
        CiSummary {
            ci_id: CiId::derived(&TenantId::new("acme").unwrap(), &code),
            ci_code: code,
            ci_name: name.into(),
            ci_type: "SW".into(),
            ci_subtype: None,
            ci_category: None,
            status: Some("active".into()),
            location: None,
            owner: None,
        }
    }

    #[test]
    fn rows_and_their_texts_count() {
        let rows = |many: usize, name: &str| Reply::Rows(vec![row(name); many].into());
        assert_eq!(of(&rows(0, "")), AROUND);
        let (one, ten) = (of(&rows(1, "n")) - AROUND, of(&rows(10, "n")) - AROUND);
        assert_eq!(ten, one * 10);
        assert_eq!(of(&rows(10, &"n".repeat(101))) - AROUND, ten + 1_000);
        assert_eq!(of(&Reply::Ci(None)), AROUND);
    }

    #[test]
    fn documents_count_with_all_that_is_in_them() {
        let value = |text: &str| json(&serde_json::from_str(text).unwrap());
        assert_eq!(value("1"), size_of::<Value>());
        assert_eq!(value(r#""abc""#), size_of::<Value>() + 3);
        assert_eq!(value(r#"["abc", 1]"#), size_of::<Value>() * 3 + 3);
        assert!(value(r#"{"a": {"b": "0123456789"}}"#) > value(r#"{"a": {"b": ""}}"#) + 9);
        let groups = Groups {
            items: Vec::new(),
            truncated: false,
        };
        assert_eq!(of(&Reply::Groups(Arc::new(groups))), AROUND + size_of::<Groups>());
    }
}
