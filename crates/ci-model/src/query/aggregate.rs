//! Aggregate: how many CIs per group.

use std::str::FromStr;

use crate::{Error, Field, FieldKind, Filter, Selection, limits, text};

/// What distinct values to count in each group.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Distinct(Field);

impl Distinct {
    /// The field whose distinct values are counted; absent values do not count.
    pub fn field(&self) -> &Field {
        &self.0
    }
}

/// Asks for the number of CIs of a selection, by the values of up to four fields: largest groups first, equal ones by
/// their values in byte order, absent values last.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Aggregate {
    selection: Selection,
    group_by: Vec<Field>,
    distinct: Option<Distinct>,
    limit: u32,
}

impl Aggregate {
    /// Starts an aggregate.
    pub fn builder() -> AggregateBuilder {
        AggregateBuilder::default()
    }

    /// Which CIs.
    pub fn selection(&self) -> &Selection {
        &self.selection
    }

    /// The fields to group by, in the order given; empty for one group of everything.
    pub fn group_by(&self) -> &[Field] {
        &self.group_by
    }

    /// The field whose distinct values are counted as well.
    pub fn distinct(&self) -> Option<&Distinct> {
        self.distinct.as_ref()
    }

    /// Most groups, 1 to 200.
    pub fn limit(&self) -> u32 {
        self.limit
    }
}

/// Collects the parts of an [`Aggregate`].
#[derive(Debug, Clone, Default)]
pub struct AggregateBuilder {
    keywords: Vec<String>,
    filters: Vec<Filter>,
    group_by: Vec<String>,
    distinct: Option<String>,
    limit: Option<u32>,
    include_deleted: bool,
    selection: Option<Selection>,
}

impl AggregateBuilder {
    /// Counts the CIs of a selection that there is already, such as a search's ([`Search::selection`](crate::Search::selection)), in
    /// place of those of keywords and filters.
    pub fn selection(mut self, selection: Selection) -> Self {
        self.selection = Some(selection);
        self
    }

    /// Adds a field to group by, by name. Moments cannot be grouped by.
    pub fn group_by(mut self, field: impl Into<String>) -> Self {
        self.group_by.push(field.into());
        self
    }

    /// Also counts the distinct values of a field, by name.
    pub fn distinct(mut self, field: impl Into<String>) -> Self {
        self.distinct = Some(field.into());
        self
    }

    /// Adds keywords; blank ones are left out.
    pub fn keywords<S: Into<String>>(mut self, keywords: impl IntoIterator<Item = S>) -> Self {
        self.keywords.extend(keywords.into_iter().map(Into::into));
        self
    }

    /// Adds filters.
    pub fn filters(mut self, filters: impl IntoIterator<Item = Filter>) -> Self {
        self.filters.extend(filters);
        self
    }

    /// Sets the most groups: 1 to 200, 50 when not called.
    pub fn limit(mut self, limit: u32) -> Self {
        self.limit = Some(limit);
        self
    }

    /// Also counts soft-deleted CIs.
    pub fn include_deleted(mut self, yes: bool) -> Self {
        self.include_deleted = yes;
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// The first part that does not fit, with what is allowed.
    pub fn build(self) -> Result<Aggregate, Error> {
        text::at_most("fields to group by", self.group_by.len(), limits::GROUP_FIELDS)?;
        let group_by = self
            .group_by
            .iter()
            .map(|name| groupable(name))
            .collect::<Result<Vec<_>, _>>()?;
        if (1..group_by.len()).any(|at| group_by[..at].contains(&group_by[at])) {
            return Err(Error::value("group_by", "each field once"));
        }
        let limit = self.limit.unwrap_or(limits::GROUPS_DEFAULT);
        let selection = match self.selection {
            Some(selection) => selection,
            None => Selection::new(&self.keywords, self.filters, self.include_deleted)?,
        };
        Ok(Aggregate {
            selection,
            group_by,
            distinct: self.distinct.as_deref().map(groupable).transpose()?.map(Distinct),
            limit: text::in_range("limit", limit, 1, limits::GROUPS)?,
        })
    }
}

fn groupable(name: &str) -> Result<Field, Error> {
    const NAMES: &str =
        "ci_type, ci_subtype, ci_category, status, location, owner, criticality, tags.KEY, attributes.KEY";
    match Field::from_str(name) {
        Ok(field) if field.kind() != FieldKind::Moment => Ok(field),
        Ok(_) | Err(Error::UnknownField { .. }) => Err(Error::field(name, NAMES)),
        Err(other) => Err(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_search_finds_can_be_counted() {
        let search = crate::Search::builder().keyword("app-erp").build().unwrap();
        let broad = search.broadened().unwrap();
        let counted = Aggregate::builder().selection(broad.selection().clone());
        assert_eq!(counted.build().unwrap().selection(), broad.selection());
    }

    #[test]
    fn wrong_fields_and_limits_are_refused() {
        let by = |names: &[&str]| {
            names
                .iter()
                .fold(Aggregate::builder(), |builder, name| builder.group_by(*name))
                .build()
        };
        assert!(by(&["ci_type", "tags.role", "criticality", "owner"]).is_ok());
        assert!(by(&[]).is_ok());
        assert!(matches!(by(&["created_at"]), Err(Error::UnknownField { .. })));
        assert!(matches!(by(&["owner", "owner"]), Err(Error::InvalidValue { .. })));
        assert!(matches!(by(&["owner"; 5]), Err(Error::TooMany { .. })));
        assert!(matches!(
            Aggregate::builder().limit(201).build(),
            Err(Error::OutOfRange { .. })
        ));
    }
}
