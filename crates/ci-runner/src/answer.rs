//! Answers, and where they came from.

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::ci::Rows;
use ci_model::{CiDetail, CiSummary, Graph, Groups, ListPage, PathAnswer};
use serde::Serialize;

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The cache of this process; no database was asked.
    Hit,
    /// A load that another caller was already running.
    Coalesced,
    /// A load by this call.
    Miss,
}

impl Source {
    /// Tells whether the cache answered.
    pub fn is_hit(self) -> bool {
        self == Self::Hit
    }

    /// The source of an answer that is made of two: the farther one.
    pub(crate) fn farther(self, other: Self) -> Self {
        match (self, other) {
            (Self::Miss, _) | (_, Self::Miss) => Self::Miss,
            (Self::Coalesced, _) | (_, Self::Coalesced) => Self::Coalesced,
            (Self::Hit, Self::Hit) => Self::Hit,
        }
    }
}

/// An answer with its origin. Values are shared and immutable: cloning copies pointers.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Answer<T> {
    /// The answer.
    pub value: T,
    /// Where it came from.
    pub source: Source,
    /// How long ago it was loaded; zero when it was loaded for this call.
    pub age: Duration,
}

impl<T> Answer<T> {
    pub(crate) fn map<U>(self, change: impl FnOnce(T) -> U) -> Answer<U> {
        Answer {
            value: change(self.value),
            source: self.source,
            age: self.age,
        }
    }
}

/// Which question a search answered in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SearchMode {
    /// The one that was asked: every keyword was found.
    Strict,
    /// The identifiers that were recovered from the text.
    Recovered,
    /// Any of the keywords or their parts.
    Broad,
}

/// What a search found.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SearchResult {
    /// The CIs, in the question's order.
    pub items: Arc<[CiSummary]>,
    /// How they were found.
    pub mode: SearchMode,
}

/// A cached answer of any kind: what entries hold.
#[derive(Debug, Clone)]
pub(crate) enum Cached {
    Ci(Option<Arc<CiDetail>>),
    Rows(Arc<[CiSummary]>),
    List(Arc<ListPage>),
    Groups(Arc<Groups>),
    Graph(Option<Arc<Graph>>),
    Path(Option<Arc<PathAnswer>>),
}

impl Rows for Cached {
    fn rows(&self) -> usize {
        match self {
            Self::Ci(ci) => usize::from(ci.is_some()),
            Self::Rows(rows) => rows.len(),
            Self::List(page) => page.items.len(),
            Self::Groups(groups) => groups.items.len(),
            Self::Graph(graph) => graph.as_ref().map_or(0, |graph| graph.items.len()),
            Self::Path(path) => match path.as_deref() {
                Some(PathAnswer::Found(route)) => route.items.len(),
                Some(PathAnswer::NoPath) | None => 0,
            },
        }
    }
}
