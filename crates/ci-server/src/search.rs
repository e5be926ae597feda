//! A search as it is asked over HTTP and on the command line, and the JSON of its answer.

use std::sync::Arc;
use std::time::Duration;

use ci_model::{CiSummary, Cursor, Group, Projection, Row, Search, SearchBuilder, Sort, Token};
use ci_runner::{Facet, SearchMode, SearchPage, SearchRequest, Source, Tenant};
use serde::Serialize;
use utoipa::ToSchema;

use crate::http::Part;

/// What is asked beside the selection.
#[derive(Debug, Clone, Default)]
pub(crate) struct Wanted {
    pub(crate) keywords: Vec<String>,
    pub(crate) sort: Option<Sort>,
    pub(crate) strict: bool,
    /// The order is by how well the text fits, then by `sort`.
    pub(crate) rank: Option<String>,
    pub(crate) after: Option<Cursor>,
    pub(crate) total: bool,
    pub(crate) facets: Vec<String>,
    pub(crate) facet_limit: Option<u32>,
    pub(crate) fields: Vec<String>,
}

impl Wanted {
    /// Completes a search. CIs whose code or name equals a keyword come first, unless the caller said how to rank or sort or
    /// wants strict answers: whoever does so gets that alone (`docs/decisions/0003`).
    ///
    /// # Errors
    /// The first part that does not fit.
    pub(crate) fn request(self, search: SearchBuilder) -> Result<SearchRequest, ci_model::Error> {
        let search = match (self.sort, self.rank) {
            (Some(sort), Some(text)) => search.sort(sort).rank_by(text),
            (None, Some(text)) => search.rank_by(text),
            (Some(sort), None) => search.sort(sort),
            (None, None) if self.strict => search,
            (None, None) => search.exact_first(self.keywords.iter().cloned()),
        };
        let mut request = SearchRequest::new(search.keywords(self.keywords).build()?);
        if let Some(cursor) = self.after {
            request = request.after(cursor);
        }
        if self.total {
            request = request.total();
        }
        for facet in self.facets {
            request = request.facet(facet);
        }
        if let Some(limit) = self.facet_limit {
            request = request.facet_limit(limit);
        }
        if !self.fields.is_empty() {
            request = request.fields(Projection::new(&self.fields)?);
        }
        if self.strict {
            request = request.strict();
        }
        Ok(request)
    }
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    pub(crate) items: Arc<[CiSummary]>,
    pub(crate) rows: Option<Vec<Row>>,
    pub(crate) mode: SearchMode,
    next: Next<'a>,
    pub(crate) total: Option<u64>,
    pub(crate) facets: Vec<Facet>,
    pub(crate) source: Source,
    pub(crate) age: Duration,
    pub(crate) as_of: Option<Token>,
    pub(crate) lag: Option<Duration>,
}

/// The cursor of what comes after, which most answers are sent without asking for: their bytes are there already.
#[derive(Debug)]
enum Next<'a> {
    Told(Option<Cursor>),
    /// After the first rows of a search that found what it asked for.
    Of(&'a Search),
}

impl Found<'_> {
    /// The cursor of what comes after; none when there is no more than this.
    pub(crate) fn next(&self) -> Option<Cursor> {
        match &self.next {
            Next::Told(next) => next.clone(),
            Next::Of(search) => search.next_cursor(&self.items),
        }
    }

    /// What its JSON is made of, beside the request: `next` follows from the items and the mode. The fields of `rows` may be of CIs read beside
    /// the search, which change while its items stay as they are.
    pub(crate) fn parts(&self) -> Vec<Part> {
        let mode = Part::Number(Some(self.mode as u64));
        let rows = [
            Part::Rows(Arc::clone(&self.items)),
            Part::Number(self.total),
            mode,
        ];
        let facets = self.facets.iter().map(|facet| Part::of(&facet.groups));
        let fields = self.rows.as_ref().map(|rows| Part::Fields(rows.clone()));
        rows.into_iter().chain(facets).chain(fields).collect()
    }
}

/// Asks. A search alone goes the short way, which knows how old its answer is; an answer of several parts has no one age.
pub(crate) async fn find<'a>(view: &Tenant, request: &'a SearchRequest) -> ci_runner::Result<Found<'a>> {
    let Some((search, strict)) = request.alone() else {
        let SearchPage {
            items,
            rows,
            mode,
            next,
            total,
            facets,
            source,
            as_of,
            lag,
            ..
        } = Box::pin(view.search_with(request)).await?;
        return Ok(Found {
            items,
            rows,
            mode,
            next: Next::Told(next),
            total,
            facets,
            source,
            age: Duration::ZERO,
            as_of,
            lag,
        });
    };
    let answer = if strict {
        view.search_strict(search).await?
    } else {
        view.search(search).await?
    };
    Ok(Found {
        next: match answer.value.mode {
            SearchMode::Strict => Next::Of(search),
            mode => Next::Told(request.next_cursor(mode, &answer.value.items)?),
        },
        items: answer.value.items,
        rows: None,
        mode: answer.value.mode,
        total: None,
        facets: Vec::new(),
        source: answer.source,
        age: answer.age,
        as_of: answer.as_of,
        lag: answer.lag,
    })
}

/// What a search found.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SearchAnswer)]
pub(crate) struct SearchBody<'a> {
    /// The CIs, in the order that was asked for; with `fields` objects of those alone.
    #[schema(value_type = Vec<Object>)]
    items: Items<'a>,
    /// How they were found: `strict` (every keyword), `recovered` (identifiers in the text) or `broad` (any keyword).
    #[schema(value_type = String)]
    mode: SearchMode,
    /// The `cursor` of the next page; absent when there are no more than these.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(required = false)]
    next: Option<String>,
    /// How many the search finds in all; only with `total`.
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<u64>,
    /// How many of them have each value of the fields in `facet`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    facets: Vec<FacetBody<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Items<'a> {
    Whole(&'a [CiSummary]),
    Fields(&'a [Row]),
}

/// How many of what was found have each value of a field.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Facet)]
pub(crate) struct FacetBody<'a> {
    /// The field.
    field: &'a str,
    /// The values, the most frequent first: a member under the field's name, and `count`.
    #[schema(value_type = Vec<Object>)]
    items: &'a [Group],
    /// Whether there are more values than `facet_limit`.
    truncated: bool,
}

impl<'a> From<&'a Found<'_>> for SearchBody<'a> {
    fn from(found: &'a Found<'_>) -> Self {
        let facets = found.facets.iter().map(|facet| FacetBody {
            field: &facet.field,
            items: &facet.groups.items,
            truncated: facet.groups.truncated,
        });
        Self {
            items: match &found.rows {
                Some(rows) => Items::Fields(rows),
                None => Items::Whole(&found.items),
            },
            mode: found.mode,
            next: found.next().as_ref().map(Cursor::to_string),
            total: found.total,
            facets: facets.collect(),
        }
    }
}
