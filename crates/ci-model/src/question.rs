//! Every question that can be asked, as one type: what keys are made of and what a cache sorts its entries by.

use crate::{Aggregate, Expand, Get, List, Path, Search, Selection};

/// One question of any kind.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Question {
    /// One CI by id or code.
    Get(Get),
    /// CIs by keywords and filters.
    Search(Search),
    /// A page of CIs, newest first.
    List(List),
    /// Counts by group.
    Aggregate(Aggregate),
    /// The graph around a CI.
    Expand(Expand),
    /// The shortest way between two CIs.
    Path(Path),
}

/// The kind of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum QuestionKind {
    /// One CI by id or code.
    Get,
    /// CIs by keywords and filters.
    Search,
    /// A page of CIs, newest first.
    List,
    /// Counts by group.
    Aggregate,
    /// The graph around a CI.
    Expand,
    /// The shortest way between two CIs.
    Path,
}

impl QuestionKind {
    /// Every kind, in a fixed order; [`QuestionKind::index`] is the position here.
    pub const ALL: [Self; 6] = [
        Self::Get,
        Self::Search,
        Self::List,
        Self::Aggregate,
        Self::Expand,
        Self::Path,
    ];

    /// The kind's position in [`QuestionKind::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The kind's name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "get",
            Self::Search => "search",
            Self::List => "list",
            Self::Aggregate => "aggregate",
            Self::Expand => "expand",
            Self::Path => "path",
        }
    }
}

impl Question {
    /// The question's kind.
    pub fn kind(&self) -> QuestionKind {
        match self {
            Self::Get(_) => QuestionKind::Get,
            Self::Search(_) => QuestionKind::Search,
            Self::List(_) => QuestionKind::List,
            Self::Aggregate(_) => QuestionKind::Aggregate,
            Self::Expand(_) => QuestionKind::Expand,
            Self::Path(_) => QuestionKind::Path,
        }
    }

    /// The CIs it is about, for the kinds that select by keywords and filters.
    pub fn selection(&self) -> Option<&Selection> {
        match self {
            Self::Search(search) => Some(search.selection()),
            Self::List(list) => Some(list.selection()),
            Self::Aggregate(aggregate) => Some(aggregate.selection()),
            Self::Get(_) | Self::Expand(_) | Self::Path(_) => None,
        }
    }

    /// The folded keywords, ascending; empty for kinds without.
    pub fn keywords(&self) -> &[String] {
        self.selection().map_or(&[], Selection::keywords)
    }

    /// The number of filters; 0 for kinds without.
    pub fn filter_count(&self) -> usize {
        self.selection().map_or(0, |selection| selection.filters().len())
    }
}

macro_rules! question_from {
    ($($kind:ident),*) => {$(
        impl From<$kind> for Question {
            fn from(question: $kind) -> Self {
                Self::$kind(question)
            }
        }
    )*};
}
question_from!(Get, Search, List, Aggregate, Expand, Path);
