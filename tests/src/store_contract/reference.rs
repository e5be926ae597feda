//! The answers as `ci_model` defines them, computed the slow and obvious way.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use ci_model::{
    Aggregate, CiDetail, CiId, CiRef, CiSummary, Column, Direction, Expand, Field, Get, Graph, Group,
    GroupValue, Groups, List, ListOrder, ListPage, Node, Order, Path, PathAnswer, Ranking, Relation,
    RelationType, Route, Routes, Search, Selection, SortColumn, fold::fold, json::scalar_text,
};

use super::World;
use super::world::{Edge, tenant};

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
    let moment = |ci: &CiDetail| match question.order() {
        ListOrder::Updated => ci.updated_at,
        _ => ci.created_at,
    };
    found.sort_by(|a, b| {
        moment(b)
            .cmp(&moment(a))
            .then_with(|| a.summary.ci_id.cmp(&b.summary.ci_id))
    });
    let total = question.has_total().then_some(found.len() as u64);
    let page = found.into_iter().skip(question.offset() as usize);
    let page: Vec<&CiDetail> = page.take(question.limit() as usize).collect();
    ListPage {
        total,
        items: page.iter().map(|ci| ci.summary.clone()).collect(),
        last: page.last().map(|ci| moment(ci)),
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

fn relation(world: &World, edge: &Edge) -> Relation {
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
fn other_end(edge: &Edge, from: usize, direction: Direction, types: &[RelationType]) -> Option<usize> {
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
    let mut sides = [
        (vec![from], question.direction()),
        (vec![to], back(question.direction())),
    ];
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
                let ends = world.edges(*at);
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
    let mut roots = BTreeSet::new();
    let mut missing = Vec::new();
    for root in question.roots() {
        match named(world, root, question.includes_deleted()) {
            Some((at, _)) => _ = roots.insert(at),
            None => missing.push(root.clone()),
        }
    }
    let by_code = |all: BTreeSet<usize>| {
        let mut all: Vec<usize> = all.into_iter().collect();
        all.sort_by(|a, b| world.cis[*a].summary.ci_code.cmp(&world.cis[*b].summary.ci_code));
        all
    };
    let node = |at: &usize, level| Node {
        ci: world.cis[*at].summary.clone(),
        level,
    };
    let mut frontier = by_code(roots.clone());
    let mut graph = Graph {
        root: world.cis[*frontier.first()?].summary.ci_id,
        missing,
        items: frontier.iter().map(|at| node(at, 0)).collect(),
        relations: Vec::new(),
        nodes_truncated: false,
        edges_truncated: false,
    };
    let images = world.images();
    let may_be_reached = |at: usize| {
        is_seen(world, at, question.includes_deleted())
            && (roots.contains(&at) || question.admitted().matches(&images[at]))
    };
    let mut known = roots.clone();
    let mut seen = HashSet::new();
    for level in 1..=question.depth() {
        let followed: Vec<_> = frontier
            .iter()
            .flat_map(|at| world.edges(*at).map(move |edge| (*at, edge)))
            .filter_map(|(at, edge)| {
                other_end(edge, at, question.direction(), question.rel_types()).map(|other| (edge, other))
            })
            .filter(|(_, other)| may_be_reached(*other))
            .collect();
        let fresh: BTreeSet<usize> = followed
            .iter()
            .map(|(_, other)| *other)
            .filter(|at| !known.contains(at))
            .collect();
        let mut fresh = by_code(fresh);
        let left = question.max_nodes() as usize - graph.items.len();
        graph.nodes_truncated |= fresh.len() > left;
        fresh.truncate(left);
        graph.items.extend(fresh.iter().map(|at| node(at, level)));
        known.extend(&fresh);
        let mut new: Vec<_> = followed
            .into_iter()
            .filter(|(edge, other)| known.contains(other) && seen.insert(*edge))
            .map(|(edge, _)| relation(world, edge))
            .collect();
        new.sort_by(|a, b| (&a.from, &a.to, &a.rel_type).cmp(&(&b.from, &b.to, &b.rel_type)));
        graph.relations.append(&mut new);
        frontier = fresh;
    }
    let most = question.max_edges() as usize;
    graph.edges_truncated = graph.relations.len() > most;
    graph.relations.truncate(most);
    Some(graph)
}

/// The answer to a path question: distances to the end, then always the neighbours in the order of their codes.
pub fn path(world: &World, question: &Path) -> Option<PathAnswer> {
    let (from, _) = named(world, question.from(), false)?;
    let (to, _) = named(world, question.to(), false)?;
    let neighbours = |at: usize, direction: Direction| {
        let ends = world
            .edges(at)
            .filter_map(move |edge| other_end(edge, at, direction, question.rel_types()));
        let ends: BTreeSet<usize> = ends.filter(|other| is_seen(world, *other, false)).collect();
        ends
    };
    let mut distance: HashMap<usize, u8> = HashMap::from([(to, 0)]);
    let mut frontier = vec![to];
    for hops in 1..=question.max_hops() {
        let beside: BTreeSet<usize> = frontier
            .iter()
            .flat_map(|at| neighbours(*at, back(question.direction())))
            .collect();
        frontier = beside
            .into_iter()
            .filter(|at| !distance.contains_key(at))
            .collect();
        distance.extend(frontier.iter().map(|at| (*at, hops)));
    }
    let Some(hops) = distance.get(&from).copied() else {
        return Some(PathAnswer::NoPath);
    };
    let most = usize::from(question.most());
    // The first ways by code of each length, one more than are wanted.
    let mut ways = vec![vec![from]];
    for left in (0..hops).rev() {
        let mut longer = Vec::new();
        for way in &ways {
            let Some(at) = way.last() else { continue };
            let mut next: Vec<usize> = neighbours(*at, question.direction())
                .into_iter()
                .filter(|other| distance.get(other) == Some(&left))
                .collect();
            next.sort_by(|a, b| world.cis[*a].summary.ci_code.cmp(&world.cis[*b].summary.ci_code));
            longer.extend(next.into_iter().map(|next| [way.as_slice(), &[next]].concat()));
        }
        longer.truncate(most + 1);
        ways = longer;
    }
    let truncated = ways.len() > most;
    let mut items: Vec<Route> = ways
        .iter()
        .take(most)
        .map(|way| route(world, question, way))
        .collect();
    if most > 1 {
        return Some(PathAnswer::Several(Routes { items, truncated }));
    }
    items.pop().map(PathAnswer::Found)
}

fn route(world: &World, question: &Path, way: &[usize]) -> Route {
    let step = |pair: &[usize]| {
        let follows = |edge: &&Edge| {
            other_end(edge, pair[0], question.direction(), question.rel_types()) == Some(pair[1])
        };
        let best = world
            .edges(pair[0])
            .filter(follows)
            .min_by_key(|edge| (edge.2.clone(), edge.0 != pair[0]));
        relation(world, best.expect("a relation between two CIs of a way"))
    };
    Route {
        items: way.iter().map(|at| world.cis[*at].summary.clone()).collect(),
        relations: way.windows(2).map(step).collect(),
        hops: u8::try_from(way.len() - 1).expect("a few steps"),
    }
}

/// The way against a direction.
fn back(direction: Direction) -> Direction {
    match direction {
        Direction::Out => Direction::In,
        Direction::In => Direction::Out,
        Direction::Both => Direction::Both,
    }
}
