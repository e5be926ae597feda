//! Dependencies: what a cached answer was made of, small enough to keep one beside each entry.

use std::sync::Arc;

use ci_model::{CiDetail, CiId, CiSummary, Expand, Graph, Groups, ListPage, PathAnswer, Question, TenantId};

use super::ids::Ids;
use super::needles::Needles;
use super::rows::Paged;
use super::window::Window;

/// Most CIs of a path search that are kept; above, the answer depends on all relations of its types.
const MOST_VISITED: usize = 4_096;

/// An answer as its dependency looks at it.
#[derive(Debug, Clone, Copy)]
pub enum Answered<'a> {
    /// Of a get; none when there is no such CI.
    Ci(Option<&'a CiDetail>),
    /// Of a search.
    Rows(&'a [CiSummary]),
    /// Of a list.
    Page(&'a ListPage),
    /// Of an aggregate.
    Groups(&'a Groups),
    /// Of an expansion; none when no root is there.
    Graph(Option<&'a Graph>),
    /// Of a path question; none when one of the ends is not there.
    Path {
        /// The answer.
        answer: Option<&'a PathAnswer>,
        /// Every CI that the search reached from either end, the ends included, in any order; none when they were too
        /// many to tell, and then the answer depends on every relation of the question's types.
        visited: Option<&'a [CiId]>,
    },
}

/// What an answer depends on: a tenant's question and, of the answer, what decides whether a change matters to it.
///
/// Size: some 170 bytes and the keywords; the question is shared. Beside it 16 bytes for each row of a search or list, node of a graph or CI that a path
/// search visited, and the last row's sort value.
#[derive(Debug, Clone)]
pub struct Dependency {
    pub(super) tenant: TenantId,
    pub(super) question: Arc<Question>,
    pub(super) footprint: Footprint,
    /// Keywords of the question, for a quick no.
    pub(super) needles: Needles,
}

/// What is kept of an answer.
#[derive(Debug, Clone)]
pub(super) enum Footprint {
    /// Nothing: the question says it all.
    Question,
    Window(Window),
    Page(Paged),
    /// None when no root was there.
    Graph(Option<Expanded>),
    /// None when an end was not there.
    Path(Option<Searched>),
}

/// What an expansion looked at.
#[derive(Debug, Clone)]
pub(super) struct Expanded {
    /// The CIs whose relations were followed.
    pub(super) inner: Ids,
    /// The CIs of the last level.
    pub(super) outer: Ids,
    /// The CIs of the first level where the question filters, which roots need not pass; otherwise empty.
    pub(super) roots: Ids,
    /// Whether CIs are missing.
    pub(super) cut: bool,
}

/// What a path search looked at.
#[derive(Debug, Clone)]
pub(super) enum Searched {
    /// Both ends are the same CI: nothing was followed.
    Itself(CiId),
    /// These CIs.
    Visited {
        visited: Ids,
        /// The CIs of the answer; empty when there is no path.
        route: Ids,
        /// Whether there are more paths than the answer has.
        cut: bool,
    },
    /// More than can be kept.
    Everywhere {
        /// The CIs of the answer; empty when there is no path.
        route: Ids,
        /// Whether there are more paths than the answer has.
        cut: bool,
    },
}

impl Dependency {
    /// Makes the dependency of a question's answer; nothing when the answer is not of the question's kind, and then it
    /// must not be kept.
    pub fn new(tenant: &TenantId, question: impl Into<Arc<Question>>, answer: Answered<'_>) -> Option<Self> {
        let question = question.into();
        let footprint = match (&*question, answer) {
            (Question::Get(_), Answered::Ci(_)) | (Question::Aggregate(_), Answered::Groups(_)) => {
                Footprint::Question
            }
            (Question::Search(search), Answered::Rows(rows)) => Footprint::Window(Window::new(search, rows)),
            (Question::List(list), Answered::Page(page)) => Footprint::Page(Paged::new(list, page)),
            (Question::Expand(expand), Answered::Graph(graph)) => {
                Footprint::Graph(graph.map(|graph| Expanded::new(expand, graph)))
            }
            (Question::Path(_), Answered::Path { answer, visited }) => {
                Footprint::Path(answer.map(|answer| Searched::new(answer, visited)))
            }
            _ => return None,
        };
        Some(Self {
            tenant: tenant.clone(),
            needles: Needles::new(question.selection()),
            question,
            footprint,
        })
    }

    /// Whose answer it is.
    pub fn tenant(&self) -> &TenantId {
        &self.tenant
    }

    /// The question.
    pub fn question(&self) -> &Question {
        &self.question
    }
}

impl Expanded {
    fn new(expand: &Expand, graph: &Graph) -> Self {
        let (inner, outer): (Vec<_>, Vec<_>) =
            graph.items.iter().partition(|node| node.level < expand.depth());
        let filters = !expand.admitted().filters().is_empty();
        let roots = graph.items.iter().filter(|node| filters && node.level == 0);
        Self {
            roots: roots.map(|node| node.ci.ci_id).collect(),
            inner: inner.iter().map(|node| node.ci.ci_id).collect(),
            outer: outer.iter().map(|node| node.ci.ci_id).collect(),
            cut: graph.nodes_truncated,
        }
    }

    pub(super) fn has(&self, id: CiId) -> bool {
        self.inner.has(id) || self.outer.has(id)
    }
}

impl Searched {
    fn new(answer: &PathAnswer, visited: Option<&[CiId]>) -> Self {
        let routes = answer.routes();
        if let Some([only]) = routes.first().map(|route| &*route.items) {
            return Self::Itself(only.ci_id);
        }
        let route: Ids = routes
            .iter()
            .flat_map(|route| &route.items)
            .map(|ci| ci.ci_id)
            .collect();
        let cut = answer.is_truncated();
        match visited {
            Some(visited) if visited.len() <= MOST_VISITED => Self::Visited {
                // The route is on the way whatever the search says.
                visited: visited.iter().copied().chain(route.iter()).collect(),
                route,
                cut,
            },
            _ => Self::Everywhere { route, cut },
        }
    }
}
