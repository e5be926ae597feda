//! Does a change matter to an expansion or a path?
//!
//! An expansion is run again in thought: its answer follows from the relations of the CIs that were expanded, from which
//! CIs at their other ends can be seen and how their codes sort, and from the columns of the CIs that are shown. As long
//! as none of that changes, every step reads the same.
//!
//! A path is the first, by codes, of the shortest ones, or the first few. What goes leaves them the first, unless it is part of
//! them; but where there are more, which the answer says, it may be part of those. What
//! comes makes a better one only if it is reached from an end within the question's hops: the search had come `a` steps
//! from one end and `b` from the other, `a + b` being the length of the answer (or the most hops that are asked for), so
//! a way through something new that touches no CI of the `a` and `b` steps has at least `a + 1` steps before it, `b + 1`
//! after it and one in it: too many. (In the last hop only CIs of the other side are looked for, which leaves one step
//! less; still too many.)
//!
//! What is kept names the CIs that were followed; a change beside them is found through the neighbours that it tells.

use ci_model::{
    CiChange, CiId, CiRef, Direction, Expand, Image, Path, RelationChange, RelationImage, RelationType,
};

use super::dependency::{Expanded, Searched};
use super::ids::Ids;
use super::reason::Reason;
use super::rows::{is_named, named, seen, stays};
use super::rules::Rule;
use super::verdict::{Verdict, judge};

/// Most neighbours that a change's are compared one by one; a hub with more counts as beside everything.
const MOST_NEIGHBOURS: usize = 4_096;

/// How a CI's visibility and code change.
#[derive(Clone, Copy)]
enum Turn<'a> {
    /// Not to be seen before and after.
    Unseen,
    Came,
    Went,
    Renamed,
    /// Seen, with the same code.
    Stayed(&'a Image, &'a Image),
}

fn turn(change: &CiChange, with_deleted: bool) -> Turn<'_> {
    let (old, new) = (
        seen(change.old.as_ref(), with_deleted),
        seen(change.new.as_ref(), with_deleted),
    );
    match (old, new) {
        (None, None) => Turn::Unseen,
        (None, Some(_)) if change.old.is_some() && Rule::UndeleteComesIn.is_broken() => Turn::Unseen,
        (None, Some(_)) => Turn::Came,
        (Some(_), None) => Turn::Went,
        (Some(old), Some(new)) if old.code != new.code => Turn::Renamed,
        (Some(old), Some(new)) => Turn::Stayed(old, new),
    }
}

/// Why a change matters to who is named by a reference: somebody else is, or nobody any more.
fn renames(target: &CiRef, change: &CiChange, with_deleted: bool) -> Option<Reason> {
    let is_it = |row: &Option<Image>| {
        seen(row.as_ref(), with_deleted).is_some_and(|row| is_named(target, change.id, row))
    };
    (is_it(&change.old) != is_it(&change.new)).then(|| named(target))
}

/// Tells whether the change is beside one of these CIs.
fn is_beside(ids: &Ids, change: &CiChange) -> Option<Reason> {
    if Rule::NeighboursLook.is_broken() {
        return None;
    }
    match neighbours(change) {
        None => (!Rule::UnknownNeighboursLook.is_broken()).then_some(Reason::Unknown),
        Some(neighbours) => neighbours
            .iter()
            .any(|id| ids.has(*id))
            .then_some(Reason::Neighbour),
    }
}

/// The neighbours that a change tells; nothing when they are not known or too many to go through.
pub(super) fn neighbours(change: &CiChange) -> Option<&[CiId]> {
    change
        .neighbours
        .as_deref()
        .filter(|neighbours| neighbours.len() <= MOST_NEIGHBOURS)
}

/// Tells whether a change can matter to those beside the CI: whether it came, went or sorts elsewhere.
pub(super) fn turns(change: &CiChange) -> bool {
    match (&change.old, &change.new) {
        (Some(old), Some(new)) => old.deleted != new.deleted || old.code != new.code,
        _ => true,
    }
}

pub(super) fn expand_ci(expand: &Expand, seen: Option<&Expanded>, change: &CiChange) -> Option<Reason> {
    let mut roots = expand.roots().iter();
    let mut named = || roots.find_map(|root| renames(root, change, expand.includes_deleted()));
    let Some(graph) = seen else {
        return named();
    };
    // Of several roots some may be missing. One alone is in the graph.
    if expand.roots().len() > 1
        && !Rule::MissingRootsCome.is_broken()
        && let Some(reason) = named()
    {
        return Some(reason);
    }
    if !expand.admitted().filters().is_empty() {
        return filtered_ci(expand, graph, change);
    }
    let turn = turn(change, expand.includes_deleted());
    if graph.has(change.id) {
        return match turn {
            Turn::Stayed(old, new) if stays(old, new) => None,
            Turn::Stayed(..) | Turn::Renamed => Some(Reason::ColumnsOfRow),
            Turn::Came | Turn::Went | Turn::Unseen => Some(Reason::Member),
        };
    }
    // A CI beside the graph that can be seen was cut off by its limit: it may move in the order, or leave.
    let cut = graph.cut && !Rule::CutsDependOnOrder.is_broken();
    match turn {
        Turn::Unseen | Turn::Stayed(..) => None,
        Turn::Went | Turn::Renamed if !cut => None,
        Turn::Came | Turn::Went | Turn::Renamed => is_beside(&graph.inner, change),
    }
}

/// The same where only CIs that pass filters are reached.
///
/// The feed tells neighbours where a CI comes, goes or is renamed, not where another column changes: whether one that comes to pass
/// a filter by such a change is beside the graph is not known, so it counts as beside.
fn filtered_ci(expand: &Expand, graph: &Expanded, change: &CiChange) -> Option<Reason> {
    // Of a root it is only asked that it can be seen.
    let is_root = graph.roots.has(change.id);
    let verdict = |row: &Option<Image>| match row {
        Some(row) if is_root && (expand.includes_deleted() || !row.deleted) => Verdict::Yes,
        Some(_) if is_root => Verdict::No,
        row => judge(expand.admitted(), row.as_ref()),
    };
    let (before, after) = (verdict(&change.old), verdict(&change.new));
    if graph.has(change.id) {
        return match (after, &change.old, &change.new) {
            (Verdict::No, ..) if Rule::FiltersRefuse.is_broken() && !turns(change) => None,
            (Verdict::No, ..) => Some(Reason::Member),
            (Verdict::Yes, Some(old), Some(new)) if stays(old, new) => None,
            (Verdict::Yes, ..) => Some(Reason::ColumnsOfRow),
            (Verdict::Maybe, ..) => Some(Reason::Unknown),
        };
    }
    let comes = before != Verdict::Yes && after != Verdict::No;
    // As without filters, one that can be seen and is not in the graph was cut off.
    let moves = before != Verdict::No
        && (after != Verdict::Yes || renamed(change))
        && graph.cut
        && !Rule::CutsDependOnOrder.is_broken();
    if !comes && !moves {
        return None;
    }
    if turns(change) {
        return is_beside(&graph.inner, change);
    }
    (!Rule::FiltersAdmit.is_broken()).then_some(Reason::Unknown)
}

/// Tells whether a CI that was there and is has another code.
fn renamed(change: &CiChange) -> bool {
    matches!((&change.old, &change.new), (Some(old), Some(new)) if old.code != new.code)
}

pub(super) fn expand_relation(
    expand: &Expand,
    seen: Option<&Expanded>,
    change: &RelationChange,
) -> Option<Reason> {
    // A root that is not there has no relations, or none that can be seen.
    let graph = seen?;
    if change.old == change.new {
        return None;
    }
    // One that goes, to a CI that is not in the answer, led to a CI that was cut off or cannot be seen.
    let gone = |end| graph.has(end) || graph.cut;
    let went = change.old.as_ref().filter(|_| !Rule::OldRelation.is_broken());
    let matters = went.is_some_and(|image| is_followed(expand, graph, image, gone))
        || change
            .new
            .as_ref()
            .is_some_and(|image| is_followed(expand, graph, image, |_| true));
    matters.then_some(Reason::Expansion)
}

/// Tells whether a relation was, or would be, followed from a CI of the graph to an end that counts.
fn is_followed(
    expand: &Expand,
    graph: &Expanded,
    relation: &RelationImage,
    counts: impl Fn(CiId) -> bool,
) -> bool {
    let inner = |id| graph.inner.has(id) && !Rule::ExpandedLevels.is_broken();
    let outwards = expand.direction() != Direction::In;
    let inwards = expand.direction() != Direction::Out && !Rule::BothEnds.is_broken();
    is_of_type(expand.rel_types(), relation)
        && ((outwards && inner(relation.from) && counts(relation.to))
            || (inwards && inner(relation.to) && counts(relation.from)))
}

fn is_of_type(types: &[RelationType], relation: &RelationImage) -> bool {
    types.is_empty() || types.binary_search(&relation.rel_type).is_ok()
}

pub(super) fn path_ci(path: &Path, seen: Option<&Searched>, change: &CiChange) -> Option<Reason> {
    let ends = [path.from(), path.to()];
    if let Some(reason) = ends.into_iter().find_map(|end| renames(end, change, false)) {
        // While one end is not there, the other may come and go; but a comer may be the one that is missing.
        let appears = self::seen(change.new.as_ref(), false).is_some();
        return (seen.is_some() || appears).then_some(reason);
    }
    let turn = turn(change, false);
    let shown = |has: bool| match turn {
        Turn::Stayed(old, new) if stays(old, new) => None,
        _ if !has => None,
        Turn::Stayed(..) | Turn::Renamed => Some(Reason::ColumnsOfRow),
        Turn::Came | Turn::Went | Turn::Unseen => Some(Reason::Member),
    };
    match seen? {
        Searched::Itself(id) => shown(*id == change.id),
        Searched::Visited { visited, route, cut } => shown(route.has(change.id)).or_else(|| match turn {
            // Codes decide between ways; where there is none they do not.
            Turn::Renamed => (visited.has(change.id) && route.len() > 0 && !Rule::CodesBreakTies.is_broken())
                .then_some(Reason::Order),
            Turn::Came if visited.has(change.id) => Some(Reason::Member),
            Turn::Came => is_beside(visited, change),
            // Not of the route: what goes makes no way better, but it may take one of those that are not shown.
            Turn::Went => (is_cut(*cut) && visited.has(change.id)).then_some(Reason::Member),
            Turn::Unseen | Turn::Stayed(..) => None,
        }),
        Searched::Everywhere { route, cut } => shown(route.has(change.id)).or(match turn {
            Turn::Unseen | Turn::Stayed(..) => None,
            Turn::Went => is_cut(*cut).then_some(Reason::Unknown),
            Turn::Renamed => (route.len() > 0).then_some(Reason::Unknown),
            Turn::Came => Some(Reason::Unknown),
        }),
    }
}

/// Tells whether there are more paths than shown, any of which may go.
fn is_cut(cut: bool) -> bool {
    cut && !Rule::OtherWaysGo.is_broken()
}

pub(super) fn path_relation(path: &Path, seen: Option<&Searched>, change: &RelationChange) -> Option<Reason> {
    if change.old == change.new {
        return None;
    }
    let of_type = |relation: &&RelationImage| is_of_type(path.rel_types(), relation);
    let went = change.old.as_ref().filter(of_type);
    let came = change.new.as_ref().filter(of_type);
    // The answer shows one of the relations between two CIs that follow each other.
    let was_shown = |route: &Ids| {
        went.is_some_and(|relation| route.has(relation.from) && route.has(relation.to))
            && !Rule::OldRelation.is_broken()
    };
    match seen? {
        Searched::Itself(_) => None,
        Searched::Visited { visited, route, cut } => {
            let near = if Rule::VisitedMatter.is_broken() {
                route
            } else {
                visited
            };
            // Either end: the search came from both sides.
            let leads_on = came.is_some_and(|relation| {
                near.has(relation.from) || (near.has(relation.to) && !Rule::BothEnds.is_broken())
            });
            let was_there = is_cut(*cut) && was_shown(visited);
            (leads_on || was_there || was_shown(route)).then_some(Reason::Expansion)
        }
        Searched::Everywhere { route, cut } => {
            let shown = was_shown(route).then_some(Reason::Expansion);
            let other = came.or(went.filter(|_| is_cut(*cut)));
            shown.or(other.map(|_| Reason::Unknown))
        }
    }
}
