//! Search: strict first, then by recovered identifiers, then broad.

use std::sync::Arc;

use ci_model::{CiSummary, Question, QuestionKind, Search, Sort};

use crate::answer::{Answer, Cached, SearchMode, SearchResult};
use crate::observe::{Told, observed};
use crate::{Error, Result, Tenant, recover};

impl Tenant {
    /// Finds CIs by keywords and filters; when the strict search finds nothing, falls back and says so.
    ///
    /// In this order, until something is found: the question as asked; if identifiers are not all there is in its
    /// keywords (whole sentences, or their words), the identifiers alone, with exact matches of code or name first; the
    /// broad search for any of the keywords or their parts. Each step is an entry of its own in the cache, so a repeated question needs no database whichever
    /// step answered it.
    ///
    /// Cost: a hit is a key and a look-up per step; a miss one statement per step. Cancel safe: a load goes on for
    /// those who wait for it.
    ///
    /// # Errors
    /// [`Error::Store`] when the database fails: an error is never an empty result.
    pub async fn search(&self, search: &Search) -> Result<Answer<SearchResult>> {
        self.observed_search(self.search_steps(search)).await
    }

    /// Finds CIs by keywords and filters, exactly as asked: no fallback.
    ///
    /// Cost and cancel safety are those of [`search`](Self::search) with one step.
    ///
    /// # Errors
    /// [`Error::Store`] when the database fails.
    pub async fn search_strict(&self, search: &Search) -> Result<Answer<SearchResult>> {
        self.observed_search(self.step(search.clone(), SearchMode::Strict))
            .await
    }

    /// Finds the CIs that a sentence is about: identifiers in it if there are any, otherwise its words.
    ///
    /// A CI whose code or name is one of the identifiers, in any case, comes first. At most `limit` results (1 to 500).
    /// The first 16 identifiers or words count.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a text without any word, a word longer than 200 characters, control characters, or a limit
    /// out of range; otherwise those of [`search`](Self::search).
    pub async fn ask(&self, text: &str, limit: u32) -> Result<Answer<SearchResult>> {
        self.observed_search(self.ask_steps(text, limit)).await
    }

    async fn observed_search(
        &self,
        steps: impl Future<Output = Result<Answer<SearchResult>>>,
    ) -> Result<Answer<SearchResult>> {
        let told = |answer: &Answer<SearchResult>| Told::answer(answer, answer.value.items.len());
        observed(QuestionKind::Search.as_str(), self.id(), steps, told).await
    }

    async fn ask_steps(&self, text: &str, limit: u32) -> Result<Answer<SearchResult>> {
        let identifiers = recover::identifiers(text);
        let (keywords, mode) = if identifiers.is_empty() {
            (recover::words(text), SearchMode::Strict)
        } else {
            (identifiers, SearchMode::Recovered)
        };
        if keywords.is_empty() {
            // Without a keyword every CI would be found, and a text about nothing is not about every CI.
            return Err(ci_model::Error::Empty { what: "text" }.into());
        }
        let exact = keywords.clone();
        let narrow = Search::builder()
            .keywords(keywords)
            .exact_first(exact)
            .limit(limit)
            .build()?;
        let first = self.step(narrow.clone(), mode).await?;
        if !first.value.items.is_empty() {
            return Ok(first);
        }
        self.broad(&narrow, first).await
    }

    async fn search_steps(&self, search: &Search) -> Result<Answer<SearchResult>> {
        let strict = self.step(search.clone(), SearchMode::Strict).await?;
        if !strict.value.items.is_empty() {
            return Ok(strict);
        }
        let Some(recovered) = recovered(search)? else {
            return self.broad(search, strict).await;
        };
        let found = combine(self.step(recovered, SearchMode::Recovered).await?, &strict);
        if !found.value.items.is_empty() {
            return Ok(found);
        }
        // Nothing found either: still the answer to the question as asked, but as far away as this step.
        let nothing = Answer {
            value: strict.value,
            ..found
        };
        self.broad(search, nothing).await
    }

    async fn broad(&self, search: &Search, narrow: Answer<SearchResult>) -> Result<Answer<SearchResult>> {
        let Some(broad) = search.broadened() else {
            return Ok(narrow);
        };
        let found = self.step(broad, SearchMode::Broad).await?;
        Ok(combine(found, &narrow))
    }

    /// One question, from the cache or loaded.
    async fn step(&self, search: Search, mode: SearchMode) -> Result<Answer<SearchResult>> {
        let answer = self.answer(Question::Search(search)).await?;
        let Cached::Rows(items) = answer.value else {
            return Err(Error::WrongKind);
        };
        let value: SearchResult = SearchResult {
            items: items as Arc<[CiSummary]>,
            mode,
        };
        Ok(Answer {
            value,
            source: answer.source,
            age: answer.age,
        })
    }
}

/// The question between strict and broad: for the identifiers among and inside the keywords, if there is any other
/// keyword or text to leave out.
fn recovered(search: &Search) -> Result<Option<Search>> {
    let keywords = search.selection().keywords();
    let identifiers = recover::identifiers(&keywords.join(" "));
    if identifiers.is_empty() || identifiers == keywords {
        return Ok(None);
    }
    // An order that was asked for is the order of every step: the sort alone, unless exact matches were to come first.
    let is_plain = search.exact_first().is_empty() && search.sort() != Sort::default();
    let exact = if is_plain { Vec::new() } else { identifiers.clone() };
    let question = Search::builder()
        .keywords(identifiers)
        .exact_first(exact)
        .filters(search.selection().filters().iter().cloned())
        .sort(search.sort())
        .limit(search.limit())
        .include_deleted(search.selection().include_deleted())
        .build()?;
    Ok(Some(question))
}

/// The later step's answer, as far away and as old as the worse of the two.
fn combine(later: Answer<SearchResult>, earlier: &Answer<SearchResult>) -> Answer<SearchResult> {
    Answer {
        source: later.source.farther(earlier.source),
        age: later.age.max(earlier.age),
        value: later.value,
    }
}
