//! Search: strict first, then by recovered identifiers, then broad.

use ci_model::{Question, QuestionKind, Ranking, Search, Sort};

use crate::answer::{Answer, Cached, SearchMode, SearchResult};
use crate::observe::{Told, observed};
use crate::{Error, Result, Tenant, recover};

impl Tenant {
    /// Finds CIs by keywords and filters; when the strict search finds nothing, falls back and says so.
    ///
    /// In this order, until something is found: the question as asked; if identifiers are not all there is in its
    /// keywords (whole sentences, or their words), the identifiers alone, with exact matches of code or name first; the
    /// broad search for any of the keywords or their parts. Each step is an entry of its own in the cache, so a repeated question needs no database whichever
    /// step answered it. What comes after a cursor has no fallback: finding nothing there means that there is no more.
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
        self.observed_search(self.step(search, SearchMode::Strict)).await
    }

    /// Finds the CIs that a sentence is about: identifiers in it if there are any, otherwise its words.
    ///
    /// Identifiers are found in sentences of any language, without the particles that it puts behind them. A CI whose code or name is
    /// one of them, in any case, comes first. At most `limit` results (1 to 500).
    /// The first 16 identifiers or words count.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a text without any word, a word longer than 200 characters, control characters, or a limit
    /// out of range; otherwise those of [`search`](Self::search).
    pub async fn ask(&self, text: &str, limit: u32) -> Result<Answer<SearchResult>> {
        self.observed_search(self.ask_steps(text, limit)).await
    }

    fn observed_search(
        &self,
        steps: impl Future<Output = Result<Answer<SearchResult>>>,
    ) -> impl Future<Output = Result<Answer<SearchResult>>> {
        let told = |answer: &Answer<SearchResult>| Told::answer(answer, answer.value.items.len());
        observed(QuestionKind::Search.as_str(), self.id(), steps, told)
    }

    async fn ask_steps(&self, text: &str, limit: u32) -> Result<Answer<SearchResult>> {
        let identifiers = recover::identifiers(text);
        let (keywords, exact, mode) = if identifiers.is_empty() {
            let words = recover::words(text);
            (words.clone(), words, SearchMode::Strict)
        } else {
            (identifiers, recover::exact(text), SearchMode::Recovered)
        };
        if keywords.is_empty() {
            // Without a keyword every CI would be found, and a text about nothing is not about every CI.
            return Err(ci_model::Error::Empty { what: "text" }.into());
        }
        let narrow = Search::builder()
            .keywords(keywords)
            .exact_first(exact)
            .limit(limit)
            .build()?;
        let broad = || Ok(broadened(&narrow).into_iter().collect());
        self.first_found((mode, &narrow), broad).await
    }

    async fn search_steps(&self, search: &Search) -> Result<Answer<SearchResult>> {
        let fallback = || Ok(recovered(search)?.into_iter().chain(broadened(search)).collect());
        self.first_found((SearchMode::Strict, search), fallback).await
    }

    /// Asks one question, and if it finds nothing the others, one after the other, until something is found; what they are is not worked
    /// out before they are needed.
    ///
    /// That a later step answers is itself an answer: the earlier ones found nothing, at the same state. Should the database have moved
    /// on in between, all of them are asked again at one state.
    async fn first_found(
        &self,
        (mode, search): (SearchMode, &Search),
        others: impl FnOnce() -> Result<Vec<(SearchMode, Search)>>,
    ) -> Result<Answer<SearchResult>> {
        let answer = self.step(search, mode).await?;
        if !answer.value.items.is_empty() {
            return Ok(answer);
        }
        Box::pin(self.first_found_after(answer, (mode, search), others()?)).await
    }

    /// The rest of [`first_found`](Self::first_found), when the first question found nothing.
    async fn first_found_after(
        &self,
        mut answer: Answer<SearchResult>,
        (mode, search): (SearchMode, &Search),
        others: Vec<(SearchMode, Search)>,
    ) -> Result<Answer<SearchResult>> {
        let mut mixed = false;
        for (mode, search) in &others {
            let next = self.step(search, *mode).await?;
            mixed |= !self.at_one_state(&answer, &next);
            answer = combine(next, answer);
            if !answer.value.items.is_empty() {
                break;
            }
        }
        if mixed {
            let before = answer.source;
            let steps = std::iter::once((mode, search.clone())).chain(others).collect();
            answer = self.first_found_at_once(steps).await?;
            // It may find in memory what the steps before have just loaded.
            answer.source = answer.source.farther(before);
        }
        Ok(answer)
    }

    /// Tells whether two answers are true at one state. Without a feed nobody can tell, and times to live bound what is wrong.
    ///
    /// ```text
    /// changes are not recorded now, so no state has a version
    /// this question                           another program
    /// asks for the identifier: nothing
    ///                                         inserts the CI that has it
    /// asks for the words: finds the CI, and says that no CI has the identifier
    /// ```
    fn at_one_state<T>(&self, one: &Answer<T>, other: &Answer<T>) -> bool {
        one.as_of == other.as_of && (one.as_of.is_some() || !self.inner().follow.has_feed())
    }

    async fn first_found_at_once(&self, steps: Vec<(SearchMode, Search)>) -> Result<Answer<SearchResult>> {
        let (modes, questions): (Vec<SearchMode>, Vec<Question>) = steps
            .into_iter()
            .map(|(mode, search)| (mode, Question::Search(search)))
            .unzip();
        let page = self.page_of(&questions).await?;
        let mut value: Option<SearchResult> = None;
        for (reply, mode) in page.answers.into_iter().zip(modes) {
            let Cached::Rows(items) = reply else {
                return Err(Error::WrongKind);
            };
            let next = SearchResult { items, mode };
            value = Some(match value {
                Some(before) => next.or_nothing_of(before),
                None => next,
            });
            if value.as_ref().is_some_and(|value| !value.items.is_empty()) {
                break;
            }
        }
        Ok(Answer {
            value: value.ok_or(Error::WrongKind)?,
            source: page.source,
            age: std::time::Duration::ZERO,
            as_of: page.as_of,
            lag: page.lag,
            stale: false,
        })
    }

    /// One question, from the cache or loaded.
    async fn step(&self, search: &Search, mode: SearchMode) -> Result<Answer<SearchResult>> {
        let answer = self.answer(&Question::Search(search.clone())).await?;
        let Cached::Rows(items) = answer.value else {
            return Err(Error::WrongKind);
        };
        let value = SearchResult { items, mode };
        Ok(Answer {
            value,
            source: answer.source,
            age: answer.age,
            as_of: answer.as_of,
            lag: answer.lag,
            stale: answer.stale,
        })
    }
}

/// The question between strict and broad: for the identifiers among and inside the keywords, if there is any other
/// keyword or text to leave out.
pub(crate) fn recovered(search: &Search) -> Result<Option<(SearchMode, Search)>> {
    if search.start().is_some() {
        return Ok(None);
    }
    let keywords = search.selection().keywords();
    let text = keywords.join(" ");
    let identifiers = recover::identifiers(&text);
    if identifiers.is_empty() || identifiers == keywords {
        return Ok(None);
    }
    // An order that was asked for is the order of every step: the sort alone, unless matches were to come first.
    let ordered = match (search.ranking(), identifiers.first()) {
        (Ranking::ByMatch(_), Some(first)) => Search::builder().rank_by(first),
        (Ranking::Plain, _) if search.sort() != Sort::default() => Search::builder(),
        _ => Search::builder().exact_first(recover::exact(&text)),
    };
    let question = ordered
        .keywords(identifiers)
        .filters(search.selection().filters().iter().cloned())
        .sort(search.sort())
        .limit(search.limit())
        .include_deleted(search.selection().include_deleted())
        .build()?;
    Ok(Some((SearchMode::Recovered, question)))
}

/// The last question: for any of the keywords or their parts, if there are several.
pub(crate) fn broadened(search: &Search) -> Option<(SearchMode, Search)> {
    Some((SearchMode::Broad, search.broadened()?))
}

/// The later step's answer, as far away, as old and as far behind as the worse of the two.
fn combine(later: Answer<SearchResult>, earlier: Answer<SearchResult>) -> Answer<SearchResult> {
    Answer {
        source: later.source.farther(earlier.source),
        age: later.age.max(earlier.age),
        as_of: later.as_of,
        stale: later.stale || earlier.stale,
        lag: later
            .lag
            .zip(earlier.lag)
            .map(|(later, earlier)| later.max(earlier)),
        value: later.value.or_nothing_of(earlier.value),
    }
}

impl SearchResult {
    /// This step's result; if it found nothing either, then only a broad search is another question than the one that was asked.
    fn or_nothing_of(self, earlier: Self) -> Self {
        if self.items.is_empty() && self.mode != SearchMode::Broad {
            earlier
        } else {
            self
        }
    }
}
