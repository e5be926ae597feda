//! Search: CIs by keywords and filters, sorted, bounded.

use std::str::FromStr;

use super::{Cursor, Place, Ranking};
use crate::{Error, Filter, Selection, key, limits, text};

/// A column that results may be sorted by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SortColumn {
    /// `ci_code`
    CiCode,
    /// `ci_name`
    CiName,
    /// `ci_type`
    CiType,
    /// `ci_subtype`
    CiSubtype,
    /// `ci_category`
    CiCategory,
}

impl SortColumn {
    /// The words, for help and errors.
    pub const WORDS: &'static str = "ci_code, ci_name, ci_type, ci_subtype, ci_category";

    pub(crate) const ALL: [Self; 5] = [
        Self::CiCode,
        Self::CiName,
        Self::CiType,
        Self::CiSubtype,
        Self::CiCategory,
    ];

    /// The column's name in the table.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::CiCode => "ci_code",
            Self::CiName => "ci_name",
            Self::CiType => "ci_type",
            Self::CiSubtype => "ci_subtype",
            Self::CiCategory => "ci_category",
        }
    }

    /// Tells whether a CI may be without a value.
    pub fn may_be_absent(self) -> bool {
        matches!(self, Self::CiSubtype | Self::CiCategory)
    }
}

/// Ascending or descending.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// Smallest first.
    Ascending,
    /// Largest first.
    Descending,
}

/// What results are sorted by: byte order of the column, absent values last, then by id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sort {
    /// The column.
    pub column: SortColumn,
    /// Which end first.
    pub order: Order,
}

impl Default for Sort {
    fn default() -> Self {
        Self {
            column: SortColumn::CiCode,
            order: Order::Ascending,
        }
    }
}

impl FromStr for Sort {
    type Err = Error;

    /// Reads `COLUMN`, `COLUMN:asc` or `COLUMN:desc`.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (column, order) = text.split_once(':').unwrap_or((text, "asc"));
        let order = match order {
            "asc" => Order::Ascending,
            "desc" => Order::Descending,
            other => return Err(Error::word("sort order", other, "asc, desc")),
        };
        SortColumn::ALL
            .into_iter()
            .find(|known| known.as_str() == column)
            .map(|column| Self { column, order })
            .ok_or_else(|| Error::word("sort column", column, SortColumn::WORDS))
    }
}

/// Asks for the CIs of a selection, at most 500: by [`Ranking`], then sorted; from the first on, or after a [`Cursor`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Search {
    selection: Selection,
    sort: Sort,
    limit: u32,
    ranking: Ranking,
    pub(super) start: Option<Place>,
}

impl Search {
    /// Starts a search.
    pub fn builder() -> SearchBuilder {
        SearchBuilder::default()
    }

    /// Which CIs.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// The order of the results.
    pub fn sort(&self) -> Sort {
        self.sort
    }

    /// Most results, 1 to 500.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// What comes before the sort.
    pub fn ranking(&self) -> &Ranking {
        &self.ranking
    }

    /// Folded identifiers, ascending: a CI whose code or name is one of them, in any case, comes before all others.
    /// Empty for a plain sort, and for a ranking by a text.
    pub fn exact_first(&self) -> &[String] {
        match &self.ranking {
            Ranking::ExactFirst(first) => first,
            Ranking::Plain | Ranking::ByMatch(_) => &[],
        }
    }

    /// The place after which the results begin; none for those from the first on.
    pub fn start(&self) -> Option<&Place> {
        self.start.as_ref()
    }

    /// What a cursor belongs to: everything but the limit and the start.
    pub(super) fn fingerprint(&self) -> u64 {
        key::fingerprint(self)
    }

    /// The broad form, for when the strict search found nothing; see [`Selection::broadened`]. None for what comes after a cursor:
    /// finding nothing there means that there is no more.
    pub fn broadened(&self) -> Option<Self> {
        if self.start.is_some() {
            return None;
        }
        let selection = self.selection.broadened()?;
        Some(Self {
            selection,
            ..self.clone()
        })
    }
}

/// Collects the parts of a [`Search`].
#[derive(Debug, Clone, Default)]
pub struct SearchBuilder {
    keywords: Vec<String>,
    filters: Vec<Filter>,
    sort: Option<Sort>,
    limit: Option<u32>,
    ranking: Ranked,
    after: Option<Cursor>,
    include_deleted: bool,
}

/// What to rank by, as it was said last.
#[derive(Debug, Clone)]
enum Ranked {
    Identifiers(Vec<String>),
    FirstKeyword,
    Text(String),
}

impl Default for Ranked {
    fn default() -> Self {
        Self::Identifiers(Vec::new())
    }
}

impl SearchBuilder {
    /// Adds a keyword; blank ones are left out.
    pub fn keyword(mut self, keyword: impl Into<String>) -> Self {
        self.keywords.push(keyword.into());
        self
    }

    /// Adds keywords; blank ones are left out.
    pub fn keywords<S: Into<String>>(mut self, keywords: impl IntoIterator<Item = S>) -> Self {
        self.keywords.extend(keywords.into_iter().map(Into::into));
        self
    }

    /// Adds a filter.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filters.push(filter);
        self
    }

    /// Adds filters.
    pub fn filters(mut self, filters: impl IntoIterator<Item = Filter>) -> Self {
        self.filters.extend(filters);
        self
    }

    /// Sets the order; by code, ascending, when not called.
    pub fn sort(mut self, sort: Sort) -> Self {
        self.sort = Some(sort);
        self
    }

    /// Sets the most results: 1 to 500, 10 when not called.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Puts CIs whose code or name is one of these, in any case, before all others ([`Ranking::ExactFirst`]).
    pub fn exact_first<S: Into<String>>(mut self, identifiers: impl IntoIterator<Item = S>) -> Self {
        let mut all = match self.ranking {
            Ranked::Identifiers(before) => before,
            Ranked::FirstKeyword | Ranked::Text(_) => Vec::new(),
        };
        all.extend(identifiers.into_iter().map(Into::into));
        self.ranking = Ranked::Identifiers(all);
        self
    }

    /// Ranks by the first keyword that is not blank, as they were given, before the sort ([`Ranking::ByMatch`]): its code, its name,
    /// codes and names that begin with it, the others. A plain sort when there are no keywords. Takes the place of identifiers that
    /// come first.
    pub fn ranked(mut self) -> Self {
        self.ranking = Ranked::FirstKeyword;
        self
    }

    /// Ranks by a text of up to 200 characters, such as all that somebody typed; otherwise as [`ranked`](Self::ranked). A plain sort
    /// by a blank one.
    pub fn rank_by(mut self, text: impl Into<String>) -> Self {
        self.ranking = Ranked::Text(text.into());
        self
    }

    /// Begins after a cursor of the same search (its limit may be another); from the first on when not called.
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// Also finds soft-deleted CIs.
    pub fn include_deleted(mut self, yes: bool) -> Self {
        self.include_deleted = yes;
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// The first part that does not fit, with what is allowed; [`Error::ForeignCursor`] for another search's cursor.
    pub fn build(self) -> Result<Search, Error> {
        // First: callers who pass their keywords as identifiers, too, are to read of keywords.
        let selection = Selection::new(&self.keywords, self.filters, self.include_deleted)?;
        let ranking = match &self.ranking {
            Ranked::Identifiers(first) => Ranking::exact_first(first)?,
            Ranked::Text(text) => Ranking::by_match(text)?,
            Ranked::FirstKeyword => {
                let mut keywords = self.keywords.iter().map(|keyword| keyword.trim());
                Ranking::by_match(keywords.find(|keyword| !keyword.is_empty()).unwrap_or_default())?
            }
        };
        let limit = self.limit.unwrap_or(limits::SEARCH_DEFAULT);
        let search = Search {
            selection,
            sort: self.sort.unwrap_or_default(),
            limit: text::in_range("limit", limit, 1, limits::SEARCH_RESULTS)?,
            ranking,
            start: None,
        };
        match self.after {
            Some(cursor) => search.after(&cursor),
            None => Ok(search),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_hold_at_their_edge() {
        let limit = |n| Search::builder().limit(n).build();
        assert!(limit(1).is_ok() && limit(500).is_ok());
        for n in [0, 501] {
            assert!(matches!(
                limit(n),
                Err(Error::OutOfRange {
                    what: "limit",
                    min: 1,
                    max: 500,
                    ..
                })
            ));
        }
        assert_eq!(Search::builder().build().unwrap().limit(), 10);
    }

    #[test]
    fn what_was_said_last_ranks() {
        let builder = || Search::builder().keywords([" ", "ERP", "db"]);
        let ranking = |builder: SearchBuilder| builder.build().unwrap().ranking().clone();
        assert_eq!(ranking(builder()), Ranking::Plain);
        assert_eq!(ranking(builder().ranked()), Ranking::ByMatch("erp".into()));
        assert_eq!(
            ranking(builder().exact_first(["x"]).rank_by("ERP db")),
            Ranking::ByMatch("erp db".into())
        );
        let first = builder().ranked().exact_first(["y"]).exact_first(["X"]);
        assert_eq!(ranking(first), Ranking::ExactFirst(vec!["x".into(), "y".into()]));
        assert_eq!(ranking(Search::builder().ranked()), Ranking::Plain);
    }

    #[test]
    fn sort_reads_column_and_order() {
        let sort: Sort = "ci_name:desc".parse().unwrap();
        assert_eq!(
            sort,
            Sort {
                column: SortColumn::CiName,
                order: Order::Descending
            }
        );
        assert_eq!("ci_code".parse::<Sort>().unwrap(), Sort::default());
        for wrong in ["owner", "ci_name:down", ""] {
            assert!(
                matches!(wrong.parse::<Sort>(), Err(Error::UnknownWord { .. })),
                "{wrong}"
            );
        }
    }
}
