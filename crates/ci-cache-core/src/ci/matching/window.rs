//! The window of a search: which rows of the order are in the answer, and would another one get in?
//!
//! The order is the store's: the rank, then the bytes of the column with absent values last (also in descending order), then
//! the id's bytes. A window after a cursor begins behind a place: what comes there, or moves within what is before it, is
//! nothing to the answer. A row of the answer that moves before it shows other columns, as any that moves does.

use std::cmp::Ordering;

use ci_model::fold::fold;
use ci_model::{CiChange, CiId, CiSummary, Image, Order, Ranking, Search, Sort, SortColumn};

use super::hint::Hint;
use super::ids::Ids;
use super::rules::Rule;

/// What separates the columns of a search text; a column that has it in itself makes code and name uncertain.
const SEPARATOR: char = '\u{1f}';

/// The rows of an answer and where they end.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) rows: Ids,
    /// The place that all rows are behind; none for an answer from the first row on.
    start: Option<Box<Place>>,
    end: End,
    /// The question's, so that most changes are judged without looking there.
    sort: Sort,
    /// Whether something comes before the sort.
    is_ranked: bool,
}

/// Where the window ends.
#[derive(Debug, Clone)]
enum End {
    /// There are fewer rows than the limit: every row that matches is in the answer.
    Open,
    /// At this row.
    At(Place),
    /// At a row whose place cannot be told.
    Unknown,
}

/// A row's place in the order.
#[derive(Debug, Clone)]
struct Place {
    rank: u8,
    /// The value's first bytes: they decide most comparisons, and lie here.
    prefix: u64,
    value: Option<Box<str>>,
    id: CiId,
}

/// The first eight bytes of a text as a number; numbers that differ are in the order of their texts.
pub(super) fn prefix(text: &str) -> u64 {
    let mut first = [0; 8];
    first
        .iter_mut()
        .zip(text.bytes())
        .for_each(|(place, byte)| *place = byte);
    u64::from_be_bytes(first)
}

impl Window {
    /// The window of an answer.
    pub(super) fn new(search: &Search, rows: &[CiSummary]) -> Self {
        let end = match rows.last() {
            Some(last) if rows.len() >= search.limit() as usize => Place::of_row(search, last),
            _ => Some(End::Open),
        };
        Self {
            rows: rows.iter().map(|row| row.ci_id).collect(),
            start: search.start().map(|start| Box::new(Place::of_start(start))),
            end: end.unwrap_or(End::Unknown),
            sort: search.sort(),
            is_ranked: !search.ranking().is_plain(),
        }
    }

    /// Tells whether a row that matches and is not in the answer would get into it: yes where that is not known.
    /// `ranking` is the question's; asked for only where it is not plain.
    pub(super) fn admits<'a>(&self, ranking: impl FnOnce() -> &'a Ranking, id: CiId, row: &Image) -> bool {
        if self.start.is_none() && matches!(self.end, End::Open) {
            return !Rule::OpenWindowTakesAll.is_broken();
        }
        let rank = if self.is_ranked {
            rank_of(ranking(), row.folded_names())
        } else {
            Some(0)
        };
        rank.is_none_or(|rank| self.is_within((rank, value_of(self.sort.column, row), id)))
    }

    /// Tells whether a change is beyond the window whatever the question is: its row is not in the answer, and sorts
    /// before the start or behind the last one, or is not there any more. Looks at nothing but the window itself.
    pub(super) fn is_beyond(&self, change: &CiChange) -> bool {
        if self.rows.has(change.id) {
            return false;
        }
        match &change.new {
            None => true,
            Some(row) if !self.is_ranked => !self.is_within((0, value_of(self.sort.column, row), change.id)),
            Some(_) => false,
        }
    }

    /// What of it lies in the index.
    pub(super) fn hint(&self) -> Hint {
        match &self.end {
            End::At(Place {
                prefix,
                value: Some(_),
                ..
            }) if !self.is_ranked => Hint::of_window(self.rows.mask(), self.sort, *prefix),
            _ => Hint::default(),
        }
    }

    /// Tells whether a place is behind the start and not behind the last row.
    fn is_within(&self, row: Key<'_>) -> bool {
        if let Some(start) = &self.start {
            let order = compare(self.sort.order, row, start);
            let is_behind = if Rule::CursorsAreBefore.is_broken() {
                order.is_lt()
            } else {
                order.is_gt()
            };
            if !is_behind {
                return false;
            }
        }
        match &self.end {
            End::Open => !Rule::OpenWindowTakesAll.is_broken(),
            End::Unknown => true,
            End::At(last) => {
                let order = compare(self.sort.order, row, last);
                if Rule::WindowKeepsTheFirst.is_broken() {
                    order.is_gt()
                } else {
                    order.is_le()
                }
            }
        }
    }
}

impl Place {
    fn new(rank: u8, value: Option<&str>, id: CiId) -> Self {
        Self {
            rank,
            prefix: value.map_or(0, prefix),
            value: value.map(Into::into),
            id,
        }
    }

    fn of_start(start: &ci_model::Place) -> Self {
        Self::new(start.rank(), start.value(), start.id())
    }

    fn of_row(search: &Search, row: &CiSummary) -> Option<End> {
        let columns = [
            Some(row.ci_code.as_str()),
            Some(&row.ci_name),
            Some(&row.ci_type),
            row.ci_subtype.as_deref(),
            row.ci_category.as_deref(),
        ];
        let certain = !columns
            .into_iter()
            .flatten()
            .any(|column| column.contains(SEPARATOR));
        let rank = if search.ranking().is_plain() {
            0
        } else {
            let names = [fold(row.ci_code.as_str()), fold(&row.ci_name)];
            rank_of(
                search.ranking(),
                certain.then(|| names.each_ref().map(String::as_str)),
            )?
        };
        Some(End::At(Self::new(rank, value_of_summary(search, row), row.ci_id)))
    }
}

/// The rank of a row; nothing when its names are not known.
fn rank_of(ranking: &Ranking, names: Option<[&str; 2]>) -> Option<u8> {
    let by_match = matches!(ranking, Ranking::ByMatch(_));
    if !by_match && Rule::ExactFirst.is_broken() || by_match && Rule::RanksComeFirst.is_broken() {
        return Some(0);
    }
    let [code, name] = names?;
    let rank = ranking.rank(code, name);
    if !by_match {
        return Some(rank);
    }
    Some(match rank {
        2 | 3 if Rule::PrefixesRank.is_broken() => ranking.last(),
        0 | 2 if Rule::CodesBeforeNames.is_broken() => rank + 1,
        rank => rank,
    })
}

fn value_of_summary<'a>(search: &Search, row: &'a CiSummary) -> Option<&'a str> {
    match search.sort().column {
        SortColumn::CiCode => Some(row.ci_code.as_str()),
        SortColumn::CiName => Some(&row.ci_name),
        SortColumn::CiType => Some(&row.ci_type),
        SortColumn::CiSubtype => row.ci_subtype.as_deref(),
        SortColumn::CiCategory => row.ci_category.as_deref(),
    }
}

pub(super) fn value_of(column: SortColumn, row: &Image) -> Option<&str> {
    match column {
        SortColumn::CiCode => Some(&row.code),
        SortColumn::CiName => Some(&row.name),
        SortColumn::CiType => Some(&row.ci_type),
        SortColumn::CiSubtype => row.subtype.as_deref(),
        SortColumn::CiCategory => row.category.as_deref(),
    }
}

/// A rank, a value and an id: a row's place, in pieces.
type Key<'a> = (u8, Option<&'a str>, CiId);

fn compare(order: Order, (rank, value, id): Key<'_>, last: &Place) -> Ordering {
    let descending = order == Order::Descending;
    let by_value = match (value, &last.value) {
        (Some(value), Some(other)) => {
            let ascending = prefix(value).cmp(&last.prefix).then_with(|| value.cmp(other));
            if descending {
                ascending.reverse()
            } else {
                ascending
            }
        }
        (None, None) => Ordering::Equal,
        (value, _) => {
            let wrong =
                Rule::AbsentLast.is_broken() || (descending && Rule::AbsentLastDescending.is_broken());
            if value.is_none() == wrong {
                Ordering::Less
            } else {
                Ordering::Greater
            }
        }
    };
    let by_id = if Rule::IdsBreakTies.is_broken() {
        Ordering::Greater
    } else {
        id.cmp(&last.id)
    };
    rank.cmp(&last.rank).then(by_value).then(by_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use ci_model::CiCode;

    fn id(last: u8) -> CiId {
        CiId(
            format!("00000000-0000-4000-8000-0000000000{last:02x}")
                .parse()
                .unwrap(),
        )
    }

    fn row(last: u8, code: &str, subtype: Option<&str>) -> CiSummary {
        CiSummary {
            ci_id: id(last),
            ci_code: CiCode::new(code).unwrap(),
            ci_name: "n".into(),
            ci_type: "SW".into(),
            ci_subtype: subtype.map(Into::into),
            ci_category: None,
            status: None,
            location: None,
            owner: None,
        }
    }

    fn image(code: &str, subtype: Option<&str>) -> Image {
        let mut image = Image::new(code.into(), "n".into(), "SW".into());
        image.subtype = subtype.map(Into::into);
        image.fold();
        image
    }

    fn search(sort: &str, limit: u32, first: &[&str]) -> Search {
        let search = Search::builder().sort(sort.parse().unwrap()).limit(limit);
        search.exact_first(first.iter().copied()).build().unwrap()
    }

    #[test]
    fn a_window_that_is_not_full_takes_every_row() {
        let search = search("ci_code", 2, &[]);
        let window = Window::new(&search, &[row(5, "m", None)]);
        assert!(window.admits(|| search.ranking(), id(9), &image("z", None)));
        assert!(Window::new(&search, &[]).admits(|| search.ranking(), id(9), &image("z", None)));
    }

    #[test]
    fn a_full_one_takes_what_sorts_before_its_last_row() {
        for (sort, subtype, last, other, other_id, inside) in [
            ("ci_code", None, "m", "l", 9, true),
            ("ci_code", None, "m", "n", 1, false),
            ("ci_code:desc", None, "m", "n", 9, true),
            ("ci_code:desc", None, "m", "l", 1, false),
            // Bytes, not letters of a language.
            ("ci_code", None, "a", "Z", 9, true),
            ("ci_code", None, "z", "ä", 9, false),
            // The same value: the id decides, in either order.
            ("ci_type", None, "m", "x", 1, true),
            ("ci_type:desc", None, "m", "x", 1, true),
            ("ci_type:desc", None, "m", "x", 9, false),
            ("ci_subtype", Some("os"), "m", "x", 1, false),
            ("ci_subtype:desc", Some("os"), "m", "x", 1, false),
        ] {
            let search = search(sort, 1, &[]);
            let window = Window::new(&search, &[row(5, last, subtype)]);
            let other = image(other, None);
            assert_eq!(
                window.admits(|| search.ranking(), id(other_id), &other),
                inside,
                "{sort} {last}"
            );
        }
        let search = search("ci_subtype:desc", 1, &[]);
        let window = Window::new(&search, &[row(5, "m", None)]);
        assert!(
            window.admits(|| search.ranking(), id(9), &image("x", Some("a"))),
            "absent is last"
        );
    }

    #[test]
    fn identifiers_come_first_and_what_hides_them_is_inside() {
        let search = search("ci_code", 1, &["Z", "q"]);
        let window = Window::new(&search, &[row(5, "a", None)]);
        assert!(window.admits(|| search.ranking(), id(9), &image("z", None)));
        assert!(!window.admits(|| search.ranking(), id(9), &image("y", None)));
        let window = Window::new(&search, &[row(5, "Q", None)]);
        assert!(!window.admits(|| search.ranking(), id(9), &image("a", None)));
        assert!(window.admits(|| search.ranking(), id(9), &image("a\u{1f}b", None)));
        let mut hidden = row(5, "Q", None);
        hidden.ci_name = "a\u{1f}b".into();
        assert!(Window::new(&search, &[hidden]).admits(|| search.ranking(), id(9), &image("r", None)));
    }
    #[test]
    fn ranks_come_before_the_sort() {
        let by = |text: &str| {
            let search = Search::builder().rank_by(text).limit(1);
            search.build().unwrap()
        };
        for (text, last, other, inside) in [
            ("z", "zz", "z", true),
            ("z", "z", "a", false),
            ("z", "zz", "za", true),
            ("z", "za", "zz", false),
            ("z", "zz", "a", false),
            ("z", "m", "za", true),
            // The name is `n`.
            ("n", "n1", "a", true),
            ("n", "a", "n1", false),
            ("n", "a", "n", true),
        ] {
            let search = by(text);
            let window = Window::new(&search, &[row(5, last, None)]);
            let admits = window.admits(|| search.ranking(), id(9), &image(other, None));
            assert_eq!(admits, inside, "{text} {last} {other}");
        }
        let search = by("z");
        let window = Window::new(&search, &[row(5, "z", None)]);
        assert!(window.admits(|| search.ranking(), id(9), &image("a\u{1f}b", None)));
    }

    #[test]
    fn a_window_after_a_cursor_takes_nothing_from_before_it() {
        for (sort, start, other, other_id, inside) in [
            ("ci_code", "m", "n", 1, true),
            ("ci_code", "m", "l", 9, false),
            ("ci_code:desc", "m", "l", 1, true),
            ("ci_code:desc", "m", "n", 1, false),
            ("ci_type", "m", "x", 6, true),
            ("ci_type", "m", "x", 5, false),
            ("ci_type:desc", "m", "x", 4, false),
            // Ends at `x`.
            ("ci_code", "m", "y", 1, false),
        ] {
            let first = search(sort, 1, &[]);
            let search = first.after(&first.cursor_at(&row(5, start, None))).unwrap();
            let change = |new: Image| CiChange {
                tenant: ci_model::TenantId::new("t").unwrap(),
                id: id(other_id),
                old: None,
                new: Some(new),
                neighbours: None,
            };
            let end = if sort == "ci_code" { "x" } else { "a" };
            let end = row(if sort.starts_with("ci_type") { 9 } else { 7 }, end, None);
            for rows in [&[][..], &[end]] {
                if rows.is_empty() && other == "y" {
                    continue;
                }
                let window = Window::new(&search, rows);
                let image = image(other, None);
                let admits = window.admits(|| search.ranking(), id(other_id), &image);
                assert_eq!(admits, inside, "{sort} {start} {other}");
                assert_eq!(
                    window.is_beyond(&change(image)),
                    !inside,
                    "{sort} {start} {other}"
                );
            }
        }
    }
}
