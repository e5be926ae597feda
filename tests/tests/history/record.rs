//! What readers and writers write down.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ci_model::{CiDetail, CiSummary, Graph, Groups, ListPage, PathAnswer, Token};
use ci_runner::{Answer, Level, Reply, SearchMode, SearchResult, Source};
use ci_tests::history::Place;
use ci_tests::history::truth::Truth;
use serde_json::{Value, json};

use super::pool::Expected;

/// An answer as it came.
#[derive(Debug, Clone)]
pub(crate) enum Seen {
    Ci(Option<Arc<CiDetail>>),
    Rows(Arc<[CiSummary]>),
    Found(SearchResult),
    List(Arc<ListPage>),
    Groups(Arc<Groups>),
    Graph(Option<Arc<Graph>>),
    Path(Option<Arc<PathAnswer>>),
    /// As it came over HTTP: the part of the body that is the answer, null where there is none.
    #[allow(dead_code, reason = "one of the two targets asks over HTTP")]
    Json(Arc<Value>),
    /// Of a kind that no question has.
    Strange,
}

impl Seen {
    /// Whether it is what it has to be.
    pub(crate) fn is(&self, expected: &Expected) -> bool {
        match (self, expected) {
            (Self::Found(seen), Expected::Found(rows, mode)) => *seen.items == **rows && seen.mode == *mode,
            (Self::Ci(seen), Expected::Plain(Truth::Ci(truth))) => seen.as_deref() == truth.as_deref(),
            (Self::Rows(seen), Expected::Plain(Truth::Rows(truth))) => **seen == **truth,
            (Self::List(seen), Expected::Plain(Truth::List(truth))) => **seen == *truth,
            (Self::Groups(seen), Expected::Plain(Truth::Groups(truth))) => **seen == *truth,
            (Self::Graph(seen), Expected::Plain(Truth::Graph(truth))) => seen.as_deref() == truth.as_ref(),
            (Self::Path(seen), Expected::Plain(Truth::Path(truth))) => seen.as_deref() == truth.as_ref(),
            (Self::Json(seen), Expected::Plain(truth)) => **seen == json(truth),
            _ => false,
        }
    }
}

/// What an answer is over HTTP.
fn json(truth: &Truth) -> Value {
    let value = match truth {
        Truth::Ci(ci) => serde_json::to_value(ci),
        Truth::Rows(rows) => serde_json::to_value(rows),
        Truth::List(page) => serde_json::to_value(page),
        Truth::Groups(groups) => serde_json::to_value(groups),
        Truth::Graph(graph) => serde_json::to_value(graph),
        Truth::Path(None) => Ok(Value::Null),
        Truth::Path(Some(answer)) => {
            let route = answer.routes().first();
            Ok(json!({
                "items": route.map_or(&[][..], |route| &route.items),
                "relations": route.map_or(&[][..], |route| &route.relations),
                "hops": route.map(|route| route.hops),
            }))
        }
    };
    value.unwrap()
}

impl From<Reply> for Seen {
    fn from(reply: Reply) -> Self {
        match reply {
            Reply::Ci(ci) => Self::Ci(ci),
            Reply::Rows(rows) => Self::Rows(rows),
            Reply::List(list) => Self::List(list),
            Reply::Groups(groups) => Self::Groups(groups),
            Reply::Graph(graph) => Self::Graph(graph),
            Reply::Path(path) => Self::Path(path),
            _ => Self::Strange,
        }
    }
}

impl From<SearchResult> for Seen {
    fn from(result: SearchResult) -> Self {
        match result.mode {
            SearchMode::Strict => Self::Rows(result.items),
            _ => Self::Found(result),
        }
    }
}

/// How a question was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Way {
    /// By itself.
    Alone,
    /// With others in a page.
    Page,
    /// With other gets.
    Batch,
}

/// One answered question.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    /// Its place in the pool.
    pub(crate) asked: usize,
    pub(crate) way: Way,
    pub(crate) level: Level,
    pub(crate) began: Instant,
    pub(crate) source: Source,
    pub(crate) as_of: Option<Token>,
    pub(crate) lag: Option<Duration>,
    pub(crate) seen: Seen,
}

impl Read {
    pub(crate) fn of<T>(asked: usize, level: &Level, began: Instant, answer: Answer<T>) -> Self
    where
        Seen: From<T>,
    {
        Self {
            asked,
            way: Way::Alone,
            level: level.clone(),
            began,
            source: answer.source,
            as_of: answer.as_of,
            lag: answer.lag,
            seen: answer.value.into(),
        }
    }
}

macro_rules! seen_from {
    ($($value:ty => $kind:ident),*) => {$(
        impl From<$value> for Seen {
            fn from(value: $value) -> Self {
                Self::$kind(value)
            }
        }
    )*};
}
seen_from!(
    Option<Arc<CiDetail>> => Ci, Arc<ListPage> => List, Arc<Groups> => Groups, Option<Arc<Graph>> => Graph,
    Option<Arc<PathAnswer>> => Path
);

/// A write through the runner that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) token: Option<Token>,
    /// What the row says that it wrote, if it says so.
    pub(crate) tag: Option<String>,
}

/// What the test knows of the order of things.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// At this moment, at the latest, anybody could see this.
    pub(crate) floors: Vec<(Instant, Place)>,
    pub(crate) writes: Vec<Write>,
    /// Acknowledged transactions of other programs, and those that they took back.
    pub(crate) commits: u64,
    pub(crate) rollbacks: u64,
    /// Statements of other programs that the database refused.
    pub(crate) refusals: u64,
}
