//! The window of a search: which rows of the order are in the answer, and would another one get in?
//!
//! The order is the store's: identifiers that match exactly first, then the bytes of the column with absent values
//! last (also in descending order), then the id's bytes.

use std::cmp::Ordering;

use ci_model::fold::fold;
use ci_model::{CiChange, CiId, CiSummary, Image, Order, Search, Sort, SortColumn};

use super::hint::Hint;
use super::ids::Ids;
use super::rules::Rule;

/// What separates the columns of a search text; a column that has it in itself makes code and name uncertain.
const SEPARATOR: char = '\u{1f}';

/// The rows of an answer and where they end.
#[derive(Debug, Clone)]
pub(super) struct Window {
    pub(super) rows: Ids,
    end: End,
    /// The question's, so that most changes are judged without looking there.
    sort: Sort,
    /// Whether some identifiers come first.
    has_first: bool,
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
    exact: bool,
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
            end: end.unwrap_or(End::Unknown),
            sort: search.sort(),
            has_first: !search.exact_first().is_empty(),
        }
    }

    /// Tells whether a row that matches and is not in the answer would get into it: yes where that is not known.
    /// `first` are the identifiers that come first; asked for only where there are any.
    pub(super) fn admits<'a>(&self, first: impl FnOnce() -> &'a [String], id: CiId, row: &Image) -> bool {
        let last = match &self.end {
            End::Open => return !Rule::OpenWindowTakesAll.is_broken(),
            End::Unknown => return true,
            End::At(last) => last,
        };
        let exact = if self.has_first {
            is_exact(first(), row.folded_names())
        } else {
            Some(false)
        };
        exact.is_none_or(|exact| self.is_before((exact, value_of(self.sort.column, row), id), last))
    }

    /// Tells whether a change is beyond the window whatever the question is: its row is not in the answer, and sorts
    /// behind the last one or is not there any more. Looks at nothing but the window itself.
    pub(super) fn is_beyond(&self, change: &CiChange) -> bool {
        if self.rows.has(change.id) {
            return false;
        }
        match (&change.new, &self.end) {
            (None, _) => true,
            (Some(row), End::At(last)) if !self.has_first => {
                !self.is_before((false, value_of(self.sort.column, row), change.id), last)
            }
            (Some(_), _) => false,
        }
    }

    /// What of it lies in the index.
    pub(super) fn hint(&self) -> Hint {
        match &self.end {
            End::At(Place {
                prefix,
                value: Some(_),
                ..
            }) if !self.has_first => Hint::of_window(self.rows.mask(), self.sort, *prefix),
            _ => Hint::default(),
        }
    }

    fn is_before(&self, row: Key<'_>, last: &Place) -> bool {
        let order = compare(self.sort.order, row, last);
        if Rule::WindowKeepsTheFirst.is_broken() {
            return order.is_gt();
        }
        order.is_le()
    }
}

impl Place {
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
        let exact = if search.exact_first().is_empty() {
            false
        } else {
            let names = [fold(row.ci_code.as_str()), fold(&row.ci_name)];
            is_exact(
                search.exact_first(),
                certain.then(|| names.each_ref().map(String::as_str)),
            )?
        };
        let value = value_of_summary(search, row);
        Some(End::At(Self {
            exact,
            prefix: value.map_or(0, prefix),
            value: value.map(Into::into),
            id: row.ci_id,
        }))
    }
}

/// Whether the row is one of the identifiers that come first; nothing when its names are not known.
fn is_exact(first: &[String], names: Option<[&str; 2]>) -> Option<bool> {
    if first.is_empty() || Rule::ExactFirst.is_broken() {
        return Some(false);
    }
    names.map(|names| {
        names
            .iter()
            .any(|name| first.binary_search_by(|known| known.as_str().cmp(name)).is_ok())
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

type Key<'a> = (bool, Option<&'a str>, CiId);

fn compare(order: Order, (exact, value, id): Key<'_>, last: &Place) -> Ordering {
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
    last.exact.cmp(&exact).then(by_value).then(by_id)
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
        assert!(window.admits(|| search.exact_first(), id(9), &image("z", None)));
        assert!(Window::new(&search, &[]).admits(|| search.exact_first(), id(9), &image("z", None)));
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
                window.admits(|| search.exact_first(), id(other_id), &other),
                inside,
                "{sort} {last}"
            );
        }
        let search = search("ci_subtype:desc", 1, &[]);
        let window = Window::new(&search, &[row(5, "m", None)]);
        assert!(
            window.admits(|| search.exact_first(), id(9), &image("x", Some("a"))),
            "absent is last"
        );
    }

    #[test]
    fn identifiers_come_first_and_what_hides_them_is_inside() {
        let search = search("ci_code", 1, &["Z", "q"]);
        let window = Window::new(&search, &[row(5, "a", None)]);
        assert!(window.admits(|| search.exact_first(), id(9), &image("z", None)));
        assert!(!window.admits(|| search.exact_first(), id(9), &image("y", None)));
        let window = Window::new(&search, &[row(5, "Q", None)]);
        assert!(!window.admits(|| search.exact_first(), id(9), &image("a", None)));
        assert!(window.admits(|| search.exact_first(), id(9), &image("a\u{1f}b", None)));
        let mut hidden = row(5, "Q", None);
        hidden.ci_name = "a\u{1f}b".into();
        assert!(Window::new(&search, &[hidden]).admits(|| search.exact_first(), id(9), &image("r", None)));
    }
}
