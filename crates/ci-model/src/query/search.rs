//! Search: CIs by keywords and filters, sorted, bounded.

use std::str::FromStr;

use crate::{Error, Filter, Selection, fold::fold, limits, text};

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

/// Asks for the CIs of a selection, at most 500, sorted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Search {
    selection: Selection,
    sort: Sort,
    limit: u32,
    exact_first: Vec<String>,
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

    /// Folded identifiers, ascending: a CI whose code or name is one of them, in any case, comes before all others.
    /// Empty for a plain sort.
    pub fn exact_first(&self) -> &[String] {
        &self.exact_first
    }

    /// The broad form, for when the strict search found nothing; see [`Selection::broadened`].
    pub fn broadened(&self) -> Option<Self> {
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
    exact_first: Vec<String>,
    include_deleted: bool,
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

    /// Puts CIs whose code or name is one of these, in any case, before all others.
    pub fn exact_first<S: Into<String>>(mut self, identifiers: impl IntoIterator<Item = S>) -> Self {
        self.exact_first.extend(identifiers.into_iter().map(Into::into));
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
    /// The first part that does not fit, with what is allowed.
    pub fn build(self) -> Result<Search, Error> {
        // First: callers who pass their keywords as identifiers, too, are to read of keywords.
        let selection = Selection::new(&self.keywords, self.filters, self.include_deleted)?;
        let mut exact_first = Vec::with_capacity(self.exact_first.len());
        text::at_most("identifiers", self.exact_first.len(), limits::KEYWORDS)?;
        for identifier in &self.exact_first {
            let identifier = text::bounded("identifier", identifier.trim(), limits::KEYWORD_CHARS)?;
            if !identifier.is_empty() {
                exact_first.push(fold(identifier));
            }
        }
        exact_first.sort_unstable();
        exact_first.dedup();
        let limit = self.limit.unwrap_or(limits::SEARCH_DEFAULT);
        Ok(Search {
            selection,
            sort: self.sort.unwrap_or_default(),
            limit: text::in_range("limit", limit, 1, limits::SEARCH_RESULTS)?,
            exact_first,
        })
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
