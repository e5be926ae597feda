//! The answers as `ci_model` defines them, computed the slow and obvious way.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use ci_model::{
    Aggregate, CiDetail, CiId, CiRef, CiSummary, Column, Direction, Expand, Field, Get, Graph, Group,
    GroupValue, Groups, List, ListOrder, ListPage, Node, Order, Path, PathAnswer, Ranking, Relation,
    RelationType, Route, Search, Selection, SortColumn, fold::fold, json::scalar_text,
};

use super::World;
use super::world::tenant;

/// The text of a text field, or a document's scalar; nothing for criticality and moments.
pub fn text_of(ci: &CiDetail, field: &Field) -> Option<String> {
    let summary = &ci.summary;
    let (document, path) = match field {
        Field::Column(Column::CiType) => return Some(summary.ci_type.clone()),
        Field::Column(Column::CiSubtype) => return summary.ci_subtype.clone(),
        Field::Column(Column::CiCategory) => return summary.ci_category.clone(),
        Field::Column(Column::Status) => return summary.status.clone(),
        Field::Column(Column::Location) => return summary.location.clone(),
        Field::Column(Column::Owner) => return summary.owner.clone(),
        Field::Column(_) => return None,
        Field::Tag(path) => (&ci.tags, path),
        Field::Attribute(path) => (&ci.attributes, path),
    };
    let mut value = serde_json::Value::Object(document.clone());
    for key in path.segments() {
        value = value.as_object()?.get(key)?.clone();
    }
    scalar_text(&value)
}

fn selected<'a>(world: &'a World, selection: &'a Selection) -> impl Iterator<Item = &'a CiDetail> {
    let tenant = tenant();
    let rows = world.cis.iter().zip(world.images());
    rows.filter(move |(ci, row)| ci.tenant_id == tenant && selection.matches(row))
        .map(|(ci, _)| ci)
}

/// Absent values last, whichever the order.
fn absent_last(a: Option<&str>, b: Option<&str>, order: Order) -> Ordering {
    match (a, b) {
        (Some(a), Some(b)) if order == Order::Descending => b.cmp(a),
        (Some(a), Some(b)) => a.cmp(b),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => Ordering::Equal,
    }
}

/// The answer to a search.
pub fn search(world: &World, question: &Search) -> Vec<CiSummary> {
    let column = |ci: &CiSummary| match question.sort().column {
        SortColumn::CiCode => Some(ci.ci_code.as_str().to_owned()),
        SortColumn::CiName => Some(ci.ci_name.clone()),
        SortColumn::CiType => Some(ci.ci_type.clone()),
        SortColumn::CiSubtype => ci.ci_subtype.clone(),
        SortColumn::CiCategory => ci.ci_category.clone(),
    };
    let rank = |ci: &CiSummary| {
        let (code, name) = (fold(ci.ci_code.as_str()), fold(&ci.ci_name));
        match question.ranking() {
            Ranking::ExactFirst(first) => i32::from(!first.contains(&code) && !first.contains(&name)),
            Ranking::ByMatch(text) if code == *text => 0,
            Ranking::ByMatch(text) if name == *text => 1,
            Ranking::ByMatch(text) if code.find(text) == Some(0) => 2,
            Ranking::ByMatch(text) if name.find(text) == Some(0) => 3,
            Ranking::ByMatch(_) => 4,
            _ => 0,
        }
    };
    let order = |a: (i32, Option<&str>, CiId), b: (i32, Option<&str>, CiId)| {
        let by_value = absent_last(a.1, b.1, question.sort().order);
        a.0.cmp(&b.0).then(by_value).then(a.2.cmp(&b.2))
    };
    let mut found: Vec<CiSummary> = selected(world, question.selection())
        .map(|ci| ci.summary.clone())
        .collect();
    found.sort_by(|a, b| {
        let (value, other) = (column(a), column(b));
        order(
            (rank(a), value.as_deref(), a.ci_id),
            (rank(b), other.as_deref(), b.ci_id),
        )
    });
    if let Some(start) = question.start() {
        let start = (i32::from(start.rank()), start.value(), start.id());
        found.retain(|ci| order((rank(ci), column(ci).as_deref(), ci.ci_id), start).is_gt());
    }
    found.truncate(question.limit() as usize);
    found
}

/// The answer to a list.
pub fn list(world: &World, question: &List) -> ListPage {
    let mut found: Vec<&CiDetail> = selected(world, question.selection()).collect();
    found.sort_by(|a, b| {
        let moment = |ci: &CiDetail| match question.order() {
            ListOrder::Updated => ci.updated_at,
            _ => ci.created_at,
        };
        moment(b)
            .cmp(&moment(a))
            .then_with(|| a.summary.ci_id.cmp(&b.summary.ci_id))
    });
    ListPage {
        total: found.len() as u64,
        items: found
            .into_iter()
            .skip(question.offset() as usize)
            .take(question.limit() as usize)
            .map(|ci| ci.summary.clone())
            .collect(),
    }
}

fn group_value(ci: &CiDetail, field: &Field) -> GroupValue {
    if *field == Field::Column(Column::Criticality) {
        return ci
            .criticality
            .map_or(GroupValue::Absent, |value| GroupValue::Number(value.into()));
    }
    text_of(ci, field).map_or(GroupValue::Absent, GroupValue::Text)
}

/// The answer to an aggregate.
pub fn aggregate(world: &World, question: &Aggregate) -> Groups {
    let mut groups: BTreeMap<Vec<GroupValue>, (u64, BTreeSet<GroupValue>)> = BTreeMap::new();
    if question.group_by().is_empty() {
        groups.insert(Vec::new(), (0, BTreeSet::new()));
    }
    for ci in selected(world, question.selection()) {
        let values = question
            .group_by()
            .iter()
            .map(|field| group_value(ci, field))
            .collect();
        let group = groups.entry(values).or_default();
        group.0 += 1;
        let distinct = question
            .distinct()
            .map(|distinct| group_value(ci, distinct.field()));
        group
            .1
            .extend(distinct.filter(|value| *value != GroupValue::Absent));
    }
    let mut items: Vec<Group> = groups
        .into_iter()
        .map(|(values, (count, distinct))| Group {
            values: question
                .group_by()
                .iter()
                .map(ToString::to_string)
                .zip(values)
                .collect(),
            count,
            distinct: question.distinct().map(|_| distinct.len() as u64),
        })
        .collect();
    // Stable: equal counts stay in the order of their values, in which `Absent` is the last.
    items.sort_by_key(|group| std::cmp::Reverse(group.count));
    let truncated = items.len() > question.limit() as usize;
    items.truncate(question.limit() as usize);
    Groups { items, truncated }
}

fn named<'a>(world: &'a World, target: &CiRef, include_deleted: bool) -> Option<(usize, &'a CiDetail)> {
    world.cis.iter().enumerate().find(|(_, ci)| {
        ci.tenant_id == tenant()
            && (include_deleted || ci.deleted_at.is_none())
            && match target {
                CiRef::Id(id) => ci.summary.ci_id == *id,
                CiRef::Code(code) => ci.summary.ci_code == *code,
            }
    })
}

fn relation(world: &World, edge: &(usize, usize, RelationType)) -> Relation {
    let (from, to) = (&world.cis[edge.0].summary, &world.cis[edge.1].summary);
    Relation {
        from: from.ci_code.clone(),
        to: to.ci_code.clone(),
        rel_type: edge.2.clone(),
        from_id: from.ci_id,
        to_id: to.ci_id,
    }
}

/// The other end of a relation seen from a CI, when it may be followed.
fn other_end(
    edge: &(usize, usize, RelationType),
    from: usize,
    direction: Direction,
    types: &[RelationType],
) -> Option<usize> {
    if !types.is_empty() && !types.contains(&edge.2) {
        return None;
    }
    if edge.0 == from && direction != Direction::In {
        return Some(edge.1);
    }
    (edge.1 == from && direction != Direction::Out).then_some(edge.0)
}

fn is_seen(world: &World, at: usize, with_deleted: bool) -> bool {
    let ci = &world.cis[at];
    ci.tenant_id == tenant() && (with_deleted || ci.deleted_at.is_none())
}

/// The answer to a get.
pub fn get(world: &World, question: &Get) -> Option<CiDetail> {
    named(world, question.target(), question.includes_deleted()).map(|(_, ci)| ci.clone())
}

/// Every CI that a search for a path reaches, from the side that has fewer to go on from, until the sides meet; in the
/// last hop only those where they meet.
pub fn visited(world: &World, question: &Path) -> Vec<CiId> {
    let ends = [question.from(), question.to()].map(|end| named(world, end, false));
    let [Some((from, _)), Some((to, _))] = ends else {
        return Vec::new();
    };
    let back = match question.direction() {
        Direction::Out => Direction::In,
        Direction::In => Direction::Out,
        Direction::Both => Direction::Both,
    };
    let mut sides = [(vec![from], question.direction()), (vec![to], back)];
    let mut reached = [BTreeSet::from([from]), BTreeSet::from([to])];
    for hop in 1..=question.max_hops() {
        if !reached[0].is_disjoint(&reached[1]) {
            break;
        }
        let near = usize::from(sides[0].0.len() > sides[1].0.len());
        let far = sides[1 - near].0.clone();
        let (frontier, direction) = &mut sides[near];
        let beside: BTreeSet<usize> = frontier
            .iter()
            .flat_map(|at| {
                let ends = world.relations.iter();
                ends.filter_map(|edge| other_end(edge, *at, *direction, question.rel_types()))
            })
            .filter(|other| is_seen(world, *other, false) && !reached[near].contains(other))
            .filter(|other| hop < question.max_hops() || far.contains(other))
            .collect();
        reached[near].extend(&beside);
        *frontier = beside.into_iter().collect();
        if frontier.is_empty() {
            break;
        }
    }
    let all: BTreeSet<usize> = reached.into_iter().flatten().collect();
    all.into_iter().map(|at| world.cis[at].summary.ci_id).collect()
}

/// The answer to an expansion.
pub fn expand(world: &World, question: &Expand) -> Option<Graph> {
    let (root, ci) = named(world, question.root(), question.includes_deleted())?;
    let mut graph = Graph {
        root: ci.summary.ci_id,
        items: vec![Node {
            ci: ci.summary.clone(),
            level: 0,
        }],
        relations: Vec::new(),
        nodes_truncated: false,
        edges_truncated: false,
    };
    let mut levels = vec![vec![root]];
    let mut seen: Vec<&(usize, usize, RelationType)> = Vec::new();
    for level in 1..=question.depth() {
        let frontier = levels.last().cloned().unwrap_or_default();
        let followed: Vec<_> = frontier
            .iter()
            .flat_map(|at| world.relations.iter().map(move |edge| (*at, edge)))
            .filter_map(|(at, edge)| {
                other_end(edge, at, question.direction(), question.rel_types()).map(|other| (edge, other))
            })
            .filter(|(_, other)| is_seen(world, *other, question.includes_deleted()))
            .collect();
        let known: BTreeSet<usize> = levels.iter().flatten().copied().collect();
        let fresh: BTreeSet<usize> = followed
            .iter()
            .map(|(_, other)| *other)
            .filter(|at| !known.contains(at))
            .collect();
        let mut fresh: Vec<usize> = fresh.into_iter().collect();
        fresh.sort_by(|a, b| world.cis[*a].summary.ci_code.cmp(&world.cis[*b].summary.ci_code));
        let left = question.max_nodes() as usize - graph.items.len();
        graph.nodes_truncated |= fresh.len() > left;
        fresh.truncate(left);
        graph.items.extend(fresh.iter().map(|at| Node {
            ci: world.cis[*at].summary.clone(),
            level,
        }));
        let mut new: Vec<_> = followed
            .into_iter()
            .filter(|(edge, other)| (known.contains(other) || fresh.contains(other)) && !seen.contains(edge))
            .map(|(edge, _)| edge)
            .collect();
        new.sort_by_key(|edge| {
            let relation = relation(world, edge);
            (relation.from, relation.to, relation.rel_type)
        });
        new.dedup();
        seen.extend(&new);
        graph
            .relations
            .extend(new.into_iter().map(|edge| relation(world, edge)));
        levels.push(fresh);
    }
    let most = question.max_edges() as usize;
    graph.edges_truncated = graph.relations.len() > most;
    graph.relations.truncate(most);
    Some(graph)
}

/// The answer to a path question: distances to the end, then always the neighbour whose code comes first.
pub fn path(world: &World, question: &Path) -> Option<PathAnswer> {
    let (from, _) = named(world, question.from(), false)?;
    let (to, _) = named(world, question.to(), false)?;
    let neighbours = |at: usize| {
        let ends = world
            .relations
            .iter()
            .filter_map(move |edge| other_end(edge, at, question.direction(), question.rel_types()));
        ends.filter(|other| is_seen(world, *other, false))
            .collect::<Vec<_>>()
    };
    let mut distance: HashMap<usize, u8> = HashMap::from([(to, 0)]);
    for hops in 1..=question.max_hops() {
        for at in 0..world.cis.len() {
            let next = neighbours(at)
                .into_iter()
                .any(|other| distance.get(&other) == Some(&(hops - 1)));
            if next && is_seen(world, at, false) {
                distance.entry(at).or_insert(hops);
            }
        }
    }
    let Some(hops) = distance.get(&from).copied() else {
        return Some(PathAnswer::NoPath);
    };
    let (mut items, mut relations, mut at) = (vec![world.cis[from].summary.clone()], Vec::new(), from);
    for left in (0..hops).rev() {
        let next = neighbours(at)
            .into_iter()
            .filter(|other| distance.get(other) == Some(&left))
            .min_by_key(|other| world.cis[*other].summary.ci_code.clone())?;
        let step = world
            .relations
            .iter()
            .filter(|edge| other_end(edge, at, question.direction(), question.rel_types()) == Some(next))
            .min_by_key(|edge| (edge.2.clone(), edge.0 != at))?;
        relations.push(relation(world, step));
        items.push(world.cis[next].summary.clone());
        at = next;
    }
    Some(PathAnswer::Found(Route {
        items,
        relations,
        hops,
    }))
}
