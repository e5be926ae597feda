//! List: page by page, newest or last changed first, with the total unless it is not wanted.

use std::str::FromStr;

use crate::{Error, Filter, Selection, limits, text};

/// Which CIs of a list come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[non_exhaustive]
pub enum ListOrder {
    /// Those that were created last.
    #[default]
    Created,
    /// Those that were changed last, by their `updated_at`.
    Updated,
}

impl FromStr for ListOrder {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        match name {
            "created" => Ok(Self::Created),
            "updated" => Ok(Self::Updated),
            _ => Err(Error::value("order", "created or updated")),
        }
    }
}

/// Asks for one page of the CIs of a selection, newest or last changed first (then by id), and unless told otherwise for how many
/// there are in all.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct List {
    selection: Selection,
    order: ListOrder,
    limit: u32,
    offset: u32,
    total: bool,
}

impl List {
    /// Starts a list.
    pub fn builder() -> ListBuilder {
        ListBuilder::default()
    }

    /// Which CIs.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// Which come first.
    pub fn order(&self) -> ListOrder {
        self.order
    }

    /// Most results of the page, 1 to 500.
    pub fn limit(&self) -> u32 {
        self.limit
    }

    /// How many of the first to leave out.
    pub fn offset(&self) -> u32 {
        self.offset
    }

    /// Whether it asks how many there are in all.
    pub fn has_total(&self) -> bool {
        self.total
    }
}

/// Collects the parts of a [`List`].
#[derive(Debug, Clone)]
pub struct ListBuilder {
    filters: Vec<Filter>,
    order: ListOrder,
    limit: Option<u32>,
    offset: u32,
    total: bool,
    include_deleted: bool,
}

impl Default for ListBuilder {
    fn default() -> Self {
        Self {
            filters: Vec::new(),
            order: ListOrder::default(),
            limit: None,
            offset: 0,
            total: true,
            include_deleted: false,
        }
    }
}

impl ListBuilder {
    /// Adds filters.
    pub fn filters(mut self, filters: impl IntoIterator<Item = Filter>) -> Self {
        self.filters.extend(filters);
        self
    }

    /// Sets which come first; those that were created last when not called.
    pub fn order(mut self, order: ListOrder) -> Self {
        self.order = order;
        self
    }

    /// Sets the most results of the page: 1 to 500, 50 when not called.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Leaves out the first ones: 0 to 10,000,000.
    pub fn offset(mut self, offset: u32) -> Self {
        self.offset = offset;
        self
    }

    /// Sets whether to ask how many there are in all; yes when not called. The database counts them one by one: on a large selection
    /// that takes longer than the page. A cached page without a total is also dropped by less: not by what comes or goes behind it.
    pub fn total(mut self, yes: bool) -> Self {
        self.total = yes;
        self
    }

    /// Also lists soft-deleted CIs.
    pub fn include_deleted(mut self, yes: bool) -> Self {
        self.include_deleted = yes;
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// The first part that does not fit, with what is allowed.
    pub fn build(self) -> Result<List, Error> {
        let limit = self.limit.unwrap_or(limits::LIST_DEFAULT);
        Ok(List {
            selection: Selection::new::<&str>(&[], self.filters, self.include_deleted)?,
            order: self.order,
            limit: text::in_range("limit", limit, 1, limits::SEARCH_RESULTS)?,
            offset: text::in_range("offset", self.offset, 0, limits::LIST_OFFSET)?,
            total: self.total,
        })
    }
}
