//! What can be asked of a search beside its rows.

use std::sync::Arc;
use std::time::Duration;

use ci_model::{
    Aggregate, CiSummary, Cursor, Groups, Projection, Question, Row, Search, Selection, Token, limits,
};

use crate::search::{broadened, recovered};
use crate::{Result, SearchMode, Source};

/// A search, with the page to show, totals, facets and fields: for [`Tenant::search_with`](crate::Tenant::search_with).
#[derive(Debug, Clone, PartialEq)]
pub struct SearchRequest {
    search: Search,
    after: Option<Cursor>,
    total: bool,
    facets: Vec<String>,
    facet_limit: u32,
    fields: Option<Projection>,
    fallback: bool,
}

impl SearchRequest {
    /// The first rows of a search, and nothing else; with its fallbacks.
    pub fn new(search: Search) -> Self {
        Self {
            search,
            after: None,
            total: false,
            facets: Vec::new(),
            facet_limit: limits::GROUPS_DEFAULT,
            fields: None,
            fallback: true,
        }
    }

    /// The page after a cursor that came with an answer to the same search: also where a fallback gave that answer.
    pub fn after(mut self, cursor: Cursor) -> Self {
        self.after = Some(cursor);
        self
    }

    /// Also counts all that the search finds, whatever its limit and cursor.
    pub fn total(mut self) -> Self {
        self.total = true;
        self
    }

    /// Also counts all that the search finds by a field's values, largest first. At most 16 facets.
    pub fn facet(mut self, field: impl Into<String>) -> Self {
        self.facets.push(field.into());
        self
    }

    /// Sets the most values of each facet: 1 to 200, 50 when not called.
    pub fn facet_limit(mut self, limit: u32) -> Self {
        self.facet_limit = limit;
        self
    }

    /// Also shows each row's fields of a projection.
    pub fn fields(mut self, fields: Projection) -> Self {
        self.fields = Some(fields);
        self
    }

    /// Asks exactly what the search says: no fallback when it finds nothing.
    pub fn strict(mut self) -> Self {
        self.fallback = false;
        self
    }

    /// The search, and whether it is strict, if nothing is asked beside its first rows: [`Tenant::search`](crate::Tenant::search) and
    /// [`search_strict`](crate::Tenant::search_strict) answer the same then.
    pub fn alone(&self) -> Option<(&Search, bool)> {
        let alone = self.after.is_none() && !self.total && self.facets.is_empty() && self.fields.is_none();
        alone.then_some((&self.search, !self.fallback))
    }

    /// The cursor after a page with which this request, or its search alone, was answered; none when there are no more rows than these.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) for the cursor of another search.
    pub fn next_cursor(&self, mode: SearchMode, items: &[CiSummary]) -> Result<Option<Cursor>> {
        let steps = self.steps()?;
        let step = steps.iter().find(|(known, _)| *known == mode);
        Ok(step.and_then(|(_, search)| search.next_cursor(items)))
    }

    /// The projection.
    pub(crate) fn projection(&self) -> Option<&Projection> {
        self.fields.as_ref()
    }

    pub(crate) fn facets(&self) -> &[String] {
        &self.facets
    }

    pub(crate) fn has_total(&self) -> bool {
        self.total
    }

    /// The searches to try, in their order; after a cursor the one that it was made for.
    pub(crate) fn steps(&self) -> Result<Vec<(SearchMode, Search)>> {
        let mut steps = vec![(SearchMode::Strict, self.search.clone())];
        if self.fallback {
            steps.extend(recovered(&self.search)?);
            steps.extend(broadened(&self.search));
        }
        let Some(cursor) = &self.after else {
            return Ok(steps);
        };
        let own = steps
            .iter()
            .find_map(|(mode, search)| Some((*mode, search.after(cursor).ok()?)));
        Ok(vec![own.ok_or(ci_model::Error::ForeignCursor)?])
    }

    /// The questions of a step: rows, then the total if it is asked for, then the facets.
    pub(crate) fn questions(&self, search: &Search) -> Result<Vec<Question>> {
        if self.facets.len() > limits::FACETS {
            return Err(ci_model::Error::TooMany {
                what: "facets",
                max: limits::FACETS,
                actual: self.facets.len(),
            }
            .into());
        }
        let mut questions = vec![Question::Search(search.clone())];
        let counted = |selection: &Selection| Aggregate::builder().selection(selection.clone());
        if self.total {
            questions.push(counted(search.selection()).build()?.into());
        }
        for field in &self.facets {
            let facet = counted(search.selection())
                .group_by(field)
                .limit(self.facet_limit);
            questions.push(facet.build()?.into());
        }
        Ok(questions)
    }
}

/// How many CIs that a search finds there are of each value of a field.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Facet {
    /// The field's name, as it was asked for.
    pub field: String,
    /// The values and their counts, the largest first.
    pub groups: Arc<Groups>,
}

/// What a search found, with all that was asked beside it: true at one state.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct SearchPage {
    /// The CIs, in the question's order.
    pub items: Arc<[CiSummary]>,
    /// The fields of each that were asked for, in the order of the CIs; none where no projection was asked for.
    pub rows: Option<Vec<Row>>,
    /// How they were found. Total and facets are of the same selection.
    pub mode: SearchMode,
    /// Where the next page begins; none when there are no more rows than these. After a full page there may turn out to be none,
    /// either.
    pub next: Option<Cursor>,
    /// How many CIs the search finds in all; none where that was not asked for.
    pub total: Option<u64>,
    /// The facets, in the order in which they were asked for.
    pub facets: Vec<Facet>,
    /// From memory, or from the database.
    pub source: Source,
    /// The state at which all of it is true; none where the store records no changes.
    pub as_of: Option<Token>,
    /// How far that state may be behind the database, at most.
    pub lag: Option<Duration>,
}
