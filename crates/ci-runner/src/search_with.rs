//! A search with all that is shown beside its rows: total, facets, fields, the next page.

use std::sync::Arc;

use ci_model::{CiDetail, CiId, Get, Projection, Question, Row, Search};
use tracing::Instrument;

use crate::answer::{Reply, Traced};
use crate::observe::{Told, observed};
use crate::reading::Reading;
use crate::request::{Facet, SearchPage, SearchRequest};
use crate::runner::Inner;
use crate::watch::Asked;
use crate::{Error, Level, Page, Result, SearchMode, Source, Tenant};

/// The searches that may answer a request, the first one first.
type Steps = [(SearchMode, Search)];

impl Tenant {
    /// Finds CIs as [`search`](Self::search) does, and answers what is asked beside: the page after a cursor, how many CIs there are in
    /// all, how many of each value of some fields, other fields than the short ones. All of it is true at one state, and of the
    /// selection that found the rows.
    ///
    /// No part is cached for the combination: rows, total and each facet are entries of their own, which other pages, other facets and
    /// plain searches share, and a write drops those that it changes. Fields are a view of the rows, or where those do not have
    /// them of the CIs, each the entry of a get by id.
    ///
    /// Cost: look-ups when all is in memory. Otherwise one statement for what is missing (two for more than 14 facets), one
    /// more when the search finds nothing and falls back, and one more for fields that the short form does not have. Cancel safe: a load
    /// goes on, and is kept.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a field that does not exist or cannot be counted by, more than 16 facets, or a cursor of another search;
    /// [`Error::Store`] when the database fails.
    pub async fn search_with(&self, request: &SearchRequest) -> Result<SearchPage> {
        let told = |page: &SearchPage| Told {
            hit: Some(page.source.is_hit()),
            rows: page.items.len(),
        };
        observed("search_with", self.id(), self.requested(request), told).await
    }

    async fn requested(&self, request: &SearchRequest) -> Result<SearchPage> {
        let steps = request.steps()?;
        let mut asked = &steps[..1];
        let page = self.page_of(&questions(request, asked)?).await?;
        let mut source = page.source;
        let mut found = Found::read(request, asked, page)?;
        if found.page.items.is_empty() && steps.len() > 1 {
            // All steps at one state: that a later one answers is to say that the earlier ones find nothing.
            asked = &steps;
            let page = self.uncounted_page(&questions(request, asked)?).await?;
            source = source.farther(page.source);
            found = Found::read(request, asked, page)?;
        }
        match request.projection() {
            Some(projection) if projection.needs_details() => {
                found = self.in_full(request, asked, found, projection).await?;
                source = source.farther(found.page.source);
            }
            Some(projection) => {
                let rows = found.page.items.iter().map(|ci| projection.of_summary(ci));
                found.page.rows = Some(rows.collect::<Option<_>>().ok_or(Error::WrongKind)?);
            }
            None => {}
        }
        found.page.source = source;
        Ok(found.page)
    }

    /// The same with the fields of its CIs in full, at one state.
    async fn in_full(
        &self,
        request: &SearchRequest,
        steps: &Steps,
        found: Found,
        projection: &Projection,
    ) -> Result<Found> {
        let mut all = questions(request, steps)?;
        all.extend(found.gets().map(Question::Get));
        let mut page = self.uncounted_page(&all).await?;
        let details = page
            .answers
            .split_off(page.answers.len() - found.page.items.len());
        let mut now = Found::read(request, steps, page)?;
        let details = details.iter().map(|answer| match answer {
            Reply::Ci(Some(ci)) => Some(projection.of_detail(ci)),
            _ => None,
        });
        let rows: Option<Vec<Row>> = details.collect();
        if now.ids().eq(found.ids()) && rows.is_some() {
            now.page.rows = rows;
            return Ok(now);
        }
        // Between the two the search came to find other CIs than those that were asked for.
        let (mut now, details) = self.of_one_snapshot(request, steps).await?;
        let rows = details
            .iter()
            .map(|ci| ci.as_ref().map(|ci| projection.of_detail(ci)));
        now.page.rows = Some(rows.collect::<Option<_>>().ok_or(Error::WrongKind)?);
        Ok(now)
    }

    /// A request's answers and the CIs that it finds in full, past the cache. In a task of its own, as every load.
    async fn of_one_snapshot(
        &self,
        request: &SearchRequest,
        steps: &Steps,
    ) -> Result<(Found, Vec<Option<CiDetail>>)> {
        let source = if *self.level() == Level::Bypass {
            Source::Bypass
        } else {
            Source::Miss
        };
        let (inner, tenant) = (Arc::clone(self.inner()), self.id().clone());
        let (request, steps) = (request.clone(), steps.to_vec());
        let task = async move {
            let begun = inner.cache.now();
            let questions = questions(&request, &steps)?;
            let mut reading = Reading::begin(&inner, &tenant, Asked::Page(&questions)).await?;
            let found = async {
                let answers = reading.snapshot().ask_all(&tenant, &questions).await?;
                let loaded = reading.loaded();
                let page = Page {
                    answers: answers
                        .into_iter()
                        .map(|found| Traced::from(found).value)
                        .collect(),
                    source,
                    as_of: Inner::token(loaded.epoch, &loaded.version),
                    lag: Some(inner.cache.now().saturating_since(begun)),
                };
                let found = Found::read(&request, &steps, page)?;
                let gets: Vec<Get> = found.gets().collect();
                let details = reading.snapshot().get_many(&tenant, &gets).await?;
                Ok::<_, Error>((found, details))
            }
            .await;
            Ok(reading.end(found)?.0)
        };
        tokio::spawn(task.in_current_span())
            .await
            .unwrap_or_else(|lost| Err(Error::lost(&lost)))
    }
}

/// The questions of some steps, step after step.
fn questions(request: &SearchRequest, steps: &Steps) -> Result<Vec<Question>> {
    let mut all = Vec::new();
    for (_, search) in steps {
        all.extend(request.questions(search)?);
    }
    Ok(all)
}

/// What answers a request, and of what kind its CIs are.
struct Found {
    page: SearchPage,
    with_deleted: bool,
}

impl Found {
    /// Reads the answers to the questions of some steps: those of the first step that found something. If none did, then only a broad
    /// search is another question than the one that was asked.
    fn read(request: &SearchRequest, steps: &Steps, page: Page) -> Result<Self> {
        let mut answers = page.answers.into_iter();
        let mut found: Option<Self> = None;
        for (mode, search) in steps {
            let Some(Reply::Rows(items)) = answers.next() else {
                return Err(Error::WrongKind);
            };
            let mut counted = || match answers.next() {
                Some(Reply::Groups(groups)) => Ok(groups),
                _ => Err(Error::WrongKind),
            };
            let total = if request.has_total() {
                let all = counted()?;
                Some(all.items.first().ok_or(Error::WrongKind)?.count)
            } else {
                None
            };
            let facets = request.facets().iter().map(|field| {
                let (field, groups) = (field.clone(), counted()?);
                Ok(Facet { field, groups })
            });
            let facets = facets.collect::<Result<_>>()?;
            let (is_empty, is_broad) = (items.is_empty(), *mode == SearchMode::Broad);
            if !is_empty || is_broad || found.is_none() {
                found = Some(Self {
                    with_deleted: search.selection().include_deleted(),
                    page: SearchPage {
                        next: search.next_cursor(&items),
                        items,
                        rows: None,
                        mode: *mode,
                        total,
                        facets,
                        source: page.source,
                        as_of: page.as_of.clone(),
                        lag: page.lag,
                    },
                });
            }
            if !is_empty {
                break;
            }
        }
        found.ok_or(Error::WrongKind)
    }

    fn ids(&self) -> impl Iterator<Item = CiId> {
        self.page.items.iter().map(|ci| ci.ci_id)
    }

    /// The questions for its CIs in full.
    fn gets(&self) -> impl Iterator<Item = Get> {
        self.ids()
            .map(|id| Get::new(id).include_deleted(self.with_deleted))
    }
}
