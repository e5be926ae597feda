//! The bytes of an answer. Names that are checked when they are made are checked when they are read.

use std::sync::Arc;

use ci_model::{
    CiCode, CiDetail, CiId, CiRef, CiSummary, Criticality, Document, Graph, Group, GroupValue, Groups,
    ListPage, Node, PathAnswer, Relation, RelationType, Route, Routes, TenantId, Timestamp,
};
use serde_json::{Number, Value};

use super::bytes::{Reader, Writer};
use crate::Reply;

/// Documents are nested no deeper than this, those included that somebody else wrote into the database.
const DEEPEST: u8 = 128;

/// Writes an answer.
pub(crate) fn write(to: &mut Writer, answer: &Reply) {
    match answer {
        Reply::Ci(ci) => {
            to.byte(0);
            to.option(ci.as_deref(), detail);
        }
        Reply::Rows(rows) => {
            to.byte(1);
            to.list(rows, summary);
        }
        Reply::List(page) => {
            to.byte(2);
            to.list(&page.items, summary);
            to.option(page.total, Writer::number);
            to.option(page.last, moment);
        }
        Reply::Groups(groups) => {
            to.byte(3);
            to.list(&groups.items, group);
            to.flag(groups.truncated);
        }
        Reply::Graph(graph) => {
            to.byte(4);
            to.option(graph.as_deref(), |to, graph| {
                id(to, graph.root);
                to.list(&graph.items, |to, node| {
                    summary(to, &node.ci);
                    to.byte(node.level);
                });
                to.list(&graph.relations, relation);
                to.flag(graph.nodes_truncated);
                to.flag(graph.edges_truncated);
                to.list(&graph.missing, reference);
            });
        }
        Reply::Path(path) => {
            to.byte(5);
            to.option(path.as_deref(), |to, path| {
                match path {
                    PathAnswer::NoPath => to.byte(0),
                    PathAnswer::Found(_) => to.byte(1),
                    PathAnswer::Several(_) => to.byte(2),
                }
                to.list(path.routes(), |to, route| {
                    to.list(&route.items, summary);
                    to.list(&route.relations, relation);
                    to.byte(route.hops);
                });
                to.flag(path.is_truncated());
            });
        }
    }
}

/// Reads an answer.
pub(crate) fn read(from: &mut Reader<'_>) -> Option<Reply> {
    Some(match from.byte()? {
        0 => Reply::Ci(from.option(read_detail)?.map(Arc::new)),
        1 => Reply::Rows(from.list(read_summary)?.into()),
        2 => Reply::List(Arc::new(ListPage {
            items: from.list(read_summary)?,
            total: from.option(Reader::number)?,
            last: from.option(read_moment)?,
        })),
        3 => Reply::Groups(Arc::new(Groups {
            items: from.list(read_group)?,
            truncated: from.flag()?,
        })),
        4 => Reply::Graph(from.option(read_graph)?.map(Arc::new)),
        5 => Reply::Path(from.option(read_path)?.map(Arc::new)),
        _ => return None,
    })
}

fn id(to: &mut Writer, id: CiId) {
    to.0.extend_from_slice(id.0.as_bytes());
}

fn read_id(from: &mut Reader<'_>) -> Option<CiId> {
    from.array().map(|bytes| CiId(uuid::Uuid::from_bytes(bytes)))
}

fn read_code(from: &mut Reader<'_>) -> Option<CiCode> {
    CiCode::new(from.text()?).ok()
}

fn owned(from: &mut Reader<'_>) -> Option<String> {
    from.text().map(str::to_owned)
}

fn summary(to: &mut Writer, ci: &CiSummary) {
    id(to, ci.ci_id);
    to.text(ci.ci_code.as_str());
    to.text(&ci.ci_name);
    to.text(&ci.ci_type);
    for column in [
        &ci.ci_subtype,
        &ci.ci_category,
        &ci.status,
        &ci.location,
        &ci.owner,
    ] {
        to.option(column.as_deref(), Writer::text);
    }
}

fn read_summary(from: &mut Reader<'_>) -> Option<CiSummary> {
    Some(CiSummary {
        ci_id: read_id(from)?,
        ci_code: read_code(from)?,
        ci_name: owned(from)?,
        ci_type: owned(from)?,
        ci_subtype: from.option(owned)?,
        ci_category: from.option(owned)?,
        status: from.option(owned)?,
        location: from.option(owned)?,
        owner: from.option(owned)?,
    })
}

fn moment(to: &mut Writer, moment: Timestamp) {
    to.0.extend_from_slice(&moment.as_micros().to_le_bytes());
}

fn read_moment(from: &mut Reader<'_>) -> Option<Timestamp> {
    Timestamp::from_micros(i64::from_le_bytes(from.array()?)).ok()
}

fn detail(to: &mut Writer, ci: &CiDetail) {
    summary(to, &ci.summary);
    to.text(ci.tenant_id.as_str());
    to.option(ci.criticality, |to, criticality| to.byte(criticality.get()));
    moment(to, ci.created_at);
    moment(to, ci.updated_at);
    to.option(ci.deleted_at, moment);
    document(to, &ci.tags);
    document(to, &ci.attributes);
}

fn read_detail(from: &mut Reader<'_>) -> Option<CiDetail> {
    Some(CiDetail {
        summary: read_summary(from)?,
        tenant_id: TenantId::new(from.text()?).ok()?,
        criticality: from.option(|from| Criticality::new(from.byte()?.into()).ok())?,
        created_at: read_moment(from)?,
        updated_at: read_moment(from)?,
        deleted_at: from.option(read_moment)?,
        tags: read_document(from, DEEPEST)?,
        attributes: read_document(from, DEEPEST)?,
    })
}

fn document(to: &mut Writer, document: &Document) {
    let members: Vec<_> = document.iter().collect();
    to.list(&members, |to, (key, member)| {
        to.text(key);
        value(to, member);
    });
}

fn read_document(from: &mut Reader<'_>, deepest: u8) -> Option<Document> {
    let members = from.list(|from| Some((owned(from)?, read_value(from, deepest)?)))?;
    Some(members.into_iter().collect())
}

/// Numbers by their bits: as text a fraction might come back as its neighbour.
fn value(to: &mut Writer, json: &Value) {
    match json {
        Value::Null => to.byte(0),
        Value::Bool(yes) => to.byte(1 + u8::from(*yes)),
        Value::Number(number) => {
            if let Some(number) = number.as_u64() {
                to.byte(3);
                to.number(number);
            } else if let Some(number) = number.as_i64() {
                to.byte(4);
                to.number(number.cast_unsigned());
            } else {
                to.byte(5);
                to.number(number.as_f64().unwrap_or_default().to_bits());
            }
        }
        Value::String(text) => {
            to.byte(6);
            to.text(text);
        }
        Value::Array(items) => {
            to.byte(7);
            to.list(items, value);
        }
        Value::Object(members) => {
            to.byte(8);
            document(to, members);
        }
    }
}

fn read_value(from: &mut Reader<'_>, deepest: u8) -> Option<Value> {
    let deeper = deepest.checked_sub(1)?;
    Some(match from.byte()? {
        0 => Value::Null,
        1 => Value::Bool(false),
        2 => Value::Bool(true),
        3 => from.number()?.into(),
        4 => from.number()?.cast_signed().into(),
        5 => Value::Number(Number::from_f64(f64::from_bits(from.number()?))?),
        6 => Value::String(owned(from)?),
        7 => Value::Array(from.list(|from| read_value(from, deeper))?),
        8 => Value::Object(read_document(from, deeper)?),
        _ => return None,
    })
}

fn group(to: &mut Writer, group: &Group) {
    to.list(&group.values, |to, (field, value)| {
        to.text(field);
        match value {
            GroupValue::Text(text) => {
                to.byte(0);
                to.text(text);
            }
            GroupValue::Number(number) => {
                to.byte(1);
                to.number(number.cast_unsigned());
            }
            GroupValue::Absent => to.byte(2),
        }
    });
    to.number(group.count);
    to.option(group.distinct, Writer::number);
}

fn read_group(from: &mut Reader<'_>) -> Option<Group> {
    let value = |from: &mut Reader<'_>| {
        let field = owned(from)?;
        let value = match from.byte()? {
            0 => GroupValue::Text(owned(from)?),
            1 => GroupValue::Number(from.number()?.cast_signed()),
            2 => GroupValue::Absent,
            _ => return None,
        };
        Some((field, value))
    };
    Some(Group {
        values: from.list(value)?,
        count: from.number()?,
        distinct: from.option(Reader::number)?,
    })
}

fn relation(to: &mut Writer, relation: &Relation) {
    to.text(relation.from.as_str());
    to.text(relation.to.as_str());
    to.text(relation.rel_type.as_str());
    id(to, relation.from_id);
    id(to, relation.to_id);
}

fn read_relation(from: &mut Reader<'_>) -> Option<Relation> {
    Some(Relation {
        from: read_code(from)?,
        to: read_code(from)?,
        rel_type: RelationType::new(from.text()?).ok()?,
        from_id: read_id(from)?,
        to_id: read_id(from)?,
    })
}

fn read_graph(from: &mut Reader<'_>) -> Option<Graph> {
    let node = |from: &mut Reader<'_>| {
        Some(Node {
            ci: read_summary(from)?,
            level: from.byte()?,
        })
    };
    Some(Graph {
        root: read_id(from)?,
        items: from.list(node)?,
        relations: from.list(read_relation)?,
        nodes_truncated: from.flag()?,
        edges_truncated: from.flag()?,
        missing: from.list(read_reference)?,
    })
}

fn reference(to: &mut Writer, ci: &CiRef) {
    match ci {
        CiRef::Id(of) => {
            to.byte(0);
            id(to, *of);
        }
        CiRef::Code(code) => {
            to.byte(1);
            to.text(code.as_str());
        }
    }
}

fn read_reference(from: &mut Reader<'_>) -> Option<CiRef> {
    match from.byte()? {
        0 => read_id(from).map(CiRef::from),
        1 => read_code(from).map(CiRef::from),
        _ => None,
    }
}

fn read_path(from: &mut Reader<'_>) -> Option<PathAnswer> {
    let kind = from.byte()?;
    let mut routes = from.list(|from| {
        Some(Route {
            items: from.list(read_summary)?,
            relations: from.list(read_relation)?,
            hops: from.byte()?,
        })
    })?;
    let truncated = from.flag()?;
    match (kind, routes.len()) {
        (0, 0) => Some(PathAnswer::NoPath),
        (1, 1) => routes.pop().map(PathAnswer::Found),
        (2, 1..) => Some(PathAnswer::Several(Routes {
            items: routes,
            truncated,
        })),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ci(number: u128) -> CiSummary {
        CiSummary {
            ci_id: CiId(uuid::Uuid::from_u128(number)),
            ci_code: CiCode::new(format!("srv-{number}")).unwrap(),
            ci_name: "Ümlaut 😀".into(),
            ci_type: "HW".into(),
            ci_subtype: None,
            ci_category: Some(String::new()),
            status: Some("active".into()),
            location: None,
            owner: Some("ops".into()),
        }
    }

    fn answers() -> Vec<Reply> {
        let tags = serde_json::json!({
            "text": "a\"\\\u{1}", "null": null, "yes": true, "no": false, "fraction": 0.1, "tiny": 5e-324, "large": 1.797e308,
            "negative": -3, "most": u64::MAX, "least": i64::MIN, "list": [1, [2, {"a": []}], {}], "odd": 123.456_789_012_345_67
        });
        let Value::Object(tags) = tags else {
            panic!("it is an object");
        };
        let relation = Relation {
            from: CiCode::new("a").unwrap(),
            to: CiCode::new("b").unwrap(),
            rel_type: RelationType::new("USES").unwrap(),
            from_id: CiId(uuid::Uuid::from_u128(1)),
            to_id: CiId(uuid::Uuid::from_u128(2)),
        };
        let detail = CiDetail {
            summary: ci(1),
            tenant_id: TenantId::new("acme").unwrap(),
            criticality: Some(Criticality::new(5).unwrap()),
            created_at: Timestamp::from_micros(-1).unwrap(),
            updated_at: Timestamp::from_micros(1_700_000_000_123_456).unwrap(),
            deleted_at: Some(Timestamp::from_micros(0).unwrap()),
            tags,
            attributes: Document::new(),
        };
        let group = |value, distinct| Group {
            values: vec![
                ("owner".into(), value),
                ("criticality".into(), GroupValue::Absent),
            ],
            count: 7,
            distinct,
        };
        let graph = Graph {
            root: CiId(uuid::Uuid::from_u128(1)),
            items: vec![Node { ci: ci(1), level: 0 }, Node { ci: ci(2), level: 1 }],
            relations: vec![relation.clone()],
            missing: vec![CiCode::new("gone").unwrap().into()],
            nodes_truncated: true,
            edges_truncated: false,
        };
        let route = Route {
            items: vec![ci(1), ci(2)],
            relations: vec![relation],
            hops: 1,
        };
        let groups = Groups {
            items: vec![
                group(GroupValue::Text("x".into()), None),
                group(GroupValue::Number(-4), Some(3)),
            ],
            truncated: true,
        };
        vec![
            Reply::Ci(None),
            Reply::Ci(Some(Arc::new(detail))),
            Reply::Rows([].into()),
            Reply::Rows([ci(1), ci(2)].into()),
            Reply::List(Arc::new(ListPage {
                items: vec![ci(3)],
                total: Some(u64::MAX),
                last: Timestamp::from_micros(-5).ok(),
            })),
            Reply::List(Arc::new(ListPage {
                items: vec![],
                total: None,
                last: None,
            })),
            Reply::Groups(Arc::new(groups)),
            Reply::Graph(None),
            Reply::Graph(Some(Arc::new(graph))),
            Reply::Path(None),
            Reply::Path(Some(Arc::new(PathAnswer::NoPath))),
            Reply::Path(Some(Arc::new(PathAnswer::Found(route)))),
        ]
    }

    fn bytes(answer: &Reply) -> Vec<u8> {
        let mut to = Writer::default();
        write(&mut to, answer);
        to.0
    }

    #[test]
    fn every_answer_is_read_back() {
        for answer in answers() {
            let bytes = bytes(&answer);
            let mut from = Reader(&bytes);
            assert_eq!(read(&mut from), Some(answer));
            assert!(from.0.is_empty());
        }
    }

    #[test]
    fn what_is_cut_off_or_changed_is_refused_or_another_answer() {
        for answer in answers() {
            let bytes = bytes(&answer);
            for end in 0..bytes.len() {
                assert_eq!(read(&mut Reader(&bytes[..end])), None);
            }
            for at in 0..bytes.len() {
                let mut other = bytes.clone();
                other[at] ^= 0xFF;
                drop(read(&mut Reader(&other)));
            }
        }
    }

    #[test]
    fn a_document_without_end_is_refused() {
        let mut bytes = [7, 1, 0, 0, 0].repeat(100_000);
        bytes.push(0);
        assert_eq!(read_value(&mut Reader(&bytes), DEEPEST), None);
    }
}
