//! Does a change of a CI matter to a get, a search, a list or an aggregate?
//!
//! Each rule says no only if the answer, *and what is kept of it*, stays as it is; so that after any number of changes
//! that did not matter the next one is judged by what is still true.

use ci_model::{
    Aggregate, CiChange, CiId, CiRef, Column, Field, Get, Image, List, ListOrder, ListPage, Question,
    Ranking, Selection, Timestamp,
};

use super::dependency::Dependency;
use super::ids::Ids;
use super::reason::Reason;
use super::rules::Rule;
use super::verdict::{Scalar, Verdict, judge, scalar};
use super::window::Window;

/// Tells whether a row is the CI that a reference names.
pub(super) fn is_named(target: &CiRef, id: CiId, row: &Image) -> bool {
    match target {
        CiRef::Id(wanted) => *wanted == id,
        CiRef::Code(code) => code.as_str() == row.code,
    }
}

/// Why a change of the CI that a reference names matters.
pub(super) fn named(target: &CiRef) -> Reason {
    match target {
        CiRef::Id(_) => Reason::Id,
        CiRef::Code(_) => Reason::Code,
    }
}

/// The row where it can be seen.
pub(super) fn seen(row: Option<&Image>, with_deleted: bool) -> Option<&Image> {
    row.filter(|row| with_deleted || !row.deleted)
}

/// A get shows every column, so any change of the row matters, and so does a row that takes the name.
///
/// ```text
/// get by code "db-1" finds nothing, or CI a
/// a is renamed to "db-9", b to "db-1"
///                           the change of b has "db-1" only in its new image, that of a only in its old one
/// ```
pub(super) fn get(get: &Get, change: &CiChange) -> Option<Reason> {
    let is_it = |row: Option<&Image>| {
        seen(row, get.includes_deleted()).is_some_and(|row| is_named(get.target(), change.id, row))
    };
    let matters = is_it(change.old.as_ref())
        || (is_it(change.new.as_ref())
            && !(Rule::CodesMove.is_broken() && matches!(get.target(), CiRef::Code(_))));
    matters.then(|| named(get.target()))
}

/// A row of the answer that matches neither before nor after a change was taken out by an earlier one.
///
/// ```text
/// the answer has a, which matches "erp"
/// a is renamed to "x"          the old image matches, the new one does not: it matters, and is found by either
/// a is renamed to "y"          no image matches: it would not be found, and need not be
/// ```
///
/// What lies in the dependency itself comes first; most changes are judged without a look at the question.
pub(super) fn search(dependency: &Dependency, window: &Window, change: &CiChange) -> Option<Reason> {
    if window.is_beyond(change) {
        return None;
    }
    if !dependency.needles.are_all() && !dependency.needles.may_be_found(change) {
        return None;
    }
    if !window.rows.has(change.id) {
        return enters(dependency, window, change);
    }
    match (verdict(dependency, change.new.as_ref()), &change.old, &change.new) {
        (Verdict::No, old, _) => {
            let was = verdict(dependency, old.as_ref()) != Verdict::No;
            was.then_some(Reason::LeftResult)
        }
        // The columns that decide its place are among those that it shows.
        (Verdict::Yes, Some(old), Some(new)) if stays(old, new) => None,
        (Verdict::Yes, ..) => Some(Reason::ColumnsOfRow),
        (Verdict::Maybe, ..) => Some(Reason::Unknown),
    }
}

/// Judges a row by the keywords, or else by the question.
fn verdict(dependency: &Dependency, row: Option<&Image>) -> Verdict {
    let by_needles = dependency.needles.verdict(row);
    by_needles.unwrap_or_else(|| match dependency.question.selection() {
        Some(selection) => judge(selection, row),
        None => Verdict::Maybe,
    })
}

/// Whether a row that is not in the answer gets into it. Its place first: that is a comparison, and most sort behind.
fn enters(dependency: &Dependency, window: &Window, change: &CiChange) -> Option<Reason> {
    let row = change.new.as_ref()?;
    let ranking = || match &*dependency.question {
        Question::Search(search) => search.ranking(),
        // No dependency is made like that.
        _ => &Ranking::Plain,
    };
    if !window.admits(ranking, change.id, row) {
        return None;
    }
    let back = change.old.as_ref().is_some_and(|old| old.deleted) && !row.deleted;
    match verdict(dependency, Some(row)) {
        Verdict::No => None,
        _ if back && Rule::UndeleteComesIn.is_broken() => None,
        Verdict::Yes => Some(Reason::EnteredWindow),
        Verdict::Maybe => Some(Reason::Unknown),
    }
}

/// Whether a row of an answer looks the same.
pub(super) fn stays(old: &Image, new: &Image) -> bool {
    old.same_summary(new) || Rule::ColumnsMatter.is_broken()
}

/// How a change moves a row into, out of or within a selection.
enum Move<'a> {
    /// It was not there and is not.
    Outside,
    /// It was there and is.
    Inside(&'a Image, &'a Image),
    CameOrWent,
    Unknown,
}

fn movement<'a>(selection: &Selection, change: &'a CiChange) -> Move<'a> {
    let verdicts = [&change.old, &change.new].map(|row| judge(selection, row.as_ref()));
    match (verdicts, &change.old, &change.new) {
        ([Verdict::No, Verdict::No], ..) => Move::Outside,
        ([Verdict::Yes, Verdict::Yes], Some(old), Some(new)) => Move::Inside(old, new),
        ([Verdict::Maybe, _] | [_, Verdict::Maybe], ..) => Move::Unknown,
        _ => Move::CameOrWent,
    }
}

/// What of a list's page matters.
#[derive(Debug, Clone)]
pub(super) struct Paged {
    rows: Ids,
    /// The place of the last row of a full page: rows behind it are on later pages.
    end: Option<(Timestamp, CiId)>,
}

impl Paged {
    pub(super) fn new(question: &List, page: &ListPage) -> Self {
        let is_full = page.items.len() >= question.limit() as usize;
        let row = page.items.last().filter(|_| is_full);
        Self {
            rows: page.items.iter().map(|row| row.ci_id).collect(),
            end: page.last.zip(row.map(|row| row.ci_id)),
        }
    }

    /// Tells whether a row is not on the page and comes after it, wherever it is in a change.
    fn is_before(&self, list: &List, change: &CiChange) -> bool {
        let Some((moment, id)) = self.end else {
            return false;
        };
        let is_behind = |row: &Image| {
            // Later moments come first; of equal ones the lower id.
            moment_of(list, row).is_some_and(|its| its < moment || its == moment && change.id > id)
        };
        let mut rows = change.old.iter().chain(&change.new);
        !self.rows.has(change.id) && (rows.all(is_behind) || Rule::PagesEnd.is_broken())
    }
}

/// The moment that a list orders a row by; none where it is not known.
fn moment_of(list: &List, row: &Image) -> Option<Timestamp> {
    match list.order() {
        ListOrder::Updated => row.updated_at,
        // Nobody can ask for another.
        _ => row.created_at,
    }
}

/// A total counts every row of the selection, so one that comes or goes matters wherever it is. Without one, and for what only moves,
/// it matters on the page and before it, where it pushes the page's rows.
pub(super) fn list(list: &List, page: &Paged, change: &CiChange) -> Option<Reason> {
    if !list.has_total() && page.is_before(list, change) {
        return None;
    }
    match movement(list.selection(), change) {
        Move::Outside => None,
        Move::CameOrWent => Some(Reason::Membership),
        Move::Unknown => Some(Reason::Unknown),
        Move::Inside(old, new) => {
            let moved = moment_of(list, old) != moment_of(list, new) || moment_of(list, new).is_none();
            if moved && !page.is_before(list, change) && !Rule::CreationOrders.is_broken() {
                // From one page to another it need not be on this one to push its rows.
                Some(Reason::Order)
            } else if page.rows.has(change.id) && !stays(old, new) {
                Some(Reason::ColumnsOfRow)
            } else {
                None
            }
        }
    }
}

/// Groups beyond the limit count, too: the answer tells that they are there, and the order is by their size.
pub(super) fn aggregate(aggregate: &Aggregate, change: &CiChange) -> Option<Reason> {
    match movement(aggregate.selection(), change) {
        Move::Outside => None,
        Move::CameOrWent => Some(Reason::Membership),
        Move::Unknown => Some(Reason::Unknown),
        Move::Inside(old, new) => {
            let groups = aggregate
                .group_by()
                .iter()
                .filter(|_| !Rule::GroupValues.is_broken());
            let distinct = aggregate.distinct().filter(|_| !Rule::DistinctValues.is_broken());
            groups
                .chain(distinct.map(ci_model::Distinct::field))
                .find_map(|field| other_value(field, old, new))
        }
    }
}

/// Why a field's value may be another, if it may.
fn other_value(field: &Field, old: &Image, new: &Image) -> Option<Reason> {
    let same = match field {
        Field::Column(Column::CiType) => old.ci_type == new.ci_type,
        Field::Column(Column::CiSubtype) => old.subtype == new.subtype,
        Field::Column(Column::CiCategory) => old.category == new.category,
        Field::Column(Column::Status) => old.status == new.status,
        Field::Column(Column::Location) => old.location == new.location,
        Field::Column(Column::Owner) => old.owner == new.owner,
        Field::Column(Column::Criticality) => old.criticality == new.criticality,
        // Moments cannot be grouped by.
        Field::Column(Column::CreatedAt | Column::UpdatedAt) => false,
        Field::Tag(path) => match (scalar(old.tags.as_ref(), path), scalar(new.tags.as_ref(), path)) {
            (Scalar::Unknown, _) | (_, Scalar::Unknown) => return Some(Reason::Unknown),
            (old, new) => old == new,
        },
        Field::Attribute(path) => {
            match (
                scalar(old.attributes.as_ref(), path),
                scalar(new.attributes.as_ref(), path),
            ) {
                (Scalar::Unknown, _) | (_, Scalar::Unknown) => return Some(Reason::Unknown),
                (old, new) => old == new,
            }
        }
    };
    (!same).then_some(Reason::GroupValue)
}
