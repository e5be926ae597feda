//! Answers, and where they came from.

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::ci::Rows;
use ci_cache_core::ci::matching::{Answered, Dependency};
use ci_model::{CiDetail, CiId, CiSummary, Graph, Groups, ListPage, PathAnswer, Question, TenantId, Token};
use ci_store::Found;
use serde::Serialize;

use crate::size;

/// Where an answer came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Source {
    /// The cache of this process; no database was asked.
    Hit,
    /// The tier that the nodes of a fleet [share](crate::tier), and nothing that has changed since touches it; no database was asked.
    Tier,
    /// A load that another caller was already running.
    Coalesced,
    /// A load by this call.
    Miss,
    /// The database, past the cache, because the level said so.
    Bypass,
}

impl Source {
    /// Where the value was: `l1` (this process's memory), `l2` (the shared tier), `load` (the database, by this call or one that it waited for) or `bypass`
    /// (the database, past the cache).
    pub fn place(self) -> &'static str {
        match self {
            Self::Hit => "l1",
            Self::Tier => "l2",
            Self::Coalesced | Self::Miss => "load",
            Self::Bypass => "bypass",
        }
    }

    /// Tells whether this process's cache answered.
    pub fn is_hit(self) -> bool {
        self == Self::Hit
    }

    /// The source of an answer that is made of two: the farther one.
    pub fn farther(self, other: Self) -> Self {
        match (self, other) {
            (Self::Bypass, _) | (_, Self::Bypass) => Self::Bypass,
            (Self::Miss, _) | (_, Self::Miss) => Self::Miss,
            (Self::Coalesced, _) | (_, Self::Coalesced) => Self::Coalesced,
            (Self::Tier, _) | (_, Self::Tier) => Self::Tier,
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
    /// The state of the database at which it is true: give it back as [`Level::AtLeast`](crate::Level::AtLeast) to see nothing
    /// older. None where the store records no changes, and on SQLite while it does not record them.
    pub as_of: Option<Token>,
    /// How far that state may be behind the database, at most, when this was answered. None when nobody knows: the store
    /// records no changes, and the answer is as old as its time to live allows.
    pub lag: Option<Duration>,
    /// Its time to live is over, and it was served because it is being loaded again, or because that failed: only with
    /// [`stale_while_revalidate`](crate::RunnerBuilder::stale_while_revalidate) or
    /// [`stale_if_error`](crate::RunnerBuilder::stale_if_error). No change that is in `as_of` affects it.
    pub stale: bool,
}

impl<T> Answer<T> {
    pub(crate) fn filter_map<U>(self, change: impl FnOnce(T) -> Option<U>) -> Option<Answer<U>> {
        Some(Answer {
            value: change(self.value)?,
            source: self.source,
            age: self.age,
            as_of: self.as_of,
            lag: self.lag,
            stale: self.stale,
        })
    }

    /// The same, past its time to live.
    pub(crate) fn stale(self) -> Self {
        Self { stale: true, ..self }
    }

    /// The same, from the shared tier.
    pub(crate) fn shared(self) -> Self {
        Self {
            source: Source::Tier,
            ..self
        }
    }

    /// The same, by a load of a replica.
    pub(crate) fn missed(self) -> Self {
        Self {
            source: Source::Miss,
            ..self
        }
    }

    /// The same, by a load that somebody else ran.
    pub(crate) fn coalesced(self) -> Self {
        Self {
            source: Source::Coalesced,
            ..self
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

/// An answer to a question of any kind, as a [`Page`](crate::Page) has them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// Of a get.
    Ci(Option<Arc<CiDetail>>),
    /// Of a search.
    Rows(Arc<[CiSummary]>),
    /// Of a list.
    List(Arc<ListPage>),
    /// Of an aggregate.
    Groups(Arc<Groups>),
    /// Of an expansion; none when no root is there.
    Graph(Option<Arc<Graph>>),
    /// Of a path question; none when one of the ends is not there.
    Path(Option<Arc<PathAnswer>>),
}

/// What entries hold.
pub(crate) type Cached = Reply;

/// A loaded answer, with what its dependency needs besides.
#[derive(Debug, Clone)]
pub(crate) struct Traced {
    pub(crate) value: Cached,
    /// The CIs that a path search came by, if there are not too many.
    pub(crate) visited: Option<Vec<CiId>>,
}

impl From<Found> for Traced {
    fn from(found: Found) -> Self {
        let value = match found {
            Found::Ci(ci) => Cached::Ci(ci.map(Arc::from)),
            Found::Rows(rows) => Cached::Rows(rows.into()),
            Found::List(page) => Cached::List(page.into()),
            Found::Groups(groups) => Cached::Groups(groups.into()),
            Found::Graph(graph) => Cached::Graph(graph.map(Arc::new)),
            Found::Path(trace) => {
                return Self {
                    value: Cached::Path(trace.answer.map(Arc::new)),
                    visited: trace.visited,
                };
            }
        };
        Self { value, visited: None }
    }
}

impl Traced {
    /// What the answer depends on; none when it is of another kind than the question.
    pub(crate) fn dependency(&self, tenant: &TenantId, question: Arc<Question>) -> Option<Dependency> {
        let answered = match &self.value {
            Cached::Ci(ci) => Answered::Ci(ci.as_deref()),
            Cached::Rows(rows) => Answered::Rows(rows),
            Cached::List(page) => Answered::Page(page),
            Cached::Groups(groups) => Answered::Groups(groups),
            Cached::Graph(graph) => Answered::Graph(graph.as_deref()),
            Cached::Path(path) => Answered::Path {
                answer: path.as_deref(),
                visited: self.visited.as_deref(),
            },
        };
        Dependency::new(tenant, question, answered)
    }
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
                Some(answer) => answer.routes().iter().map(|route| route.items.len()).sum(),
                None => 0,
            },
        }
    }

    fn bytes(&self) -> usize {
        size::of(self)
    }
}
