//! Graph views: a name for which relations to follow, which way, and how far.

use std::fmt;
use std::str::FromStr;

use serde::Serialize;

use crate::{Direction, Error};

/// A named way to look at the graph around a CI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum View {
    /// The direct surroundings.
    Summary,
    /// What it consists of.
    Composition,
    /// What it stands on, and what stands on it.
    Dependency,
    /// Who is affected when it fails: against the direction of every dependency, and from a part to its whole.
    Impact,
    /// The way between two CIs; only for paths.
    Path,
    /// The surroundings, one or two steps far.
    Neighbors,
}

/// What a [`View`] stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewPolicy {
    /// Depth when nothing is said, in hops.
    pub default_depth: u8,
    /// Largest depth, in hops.
    pub max_depth: u8,
    /// Direction when nothing is said.
    pub direction: Direction,
    /// Relation types when nothing is said; empty means all.
    pub rel_types: &'static [&'static str],
}

const DEPENDENCIES: &[&str] = &[
    "DEPENDS_ON",
    "RUNS_ON",
    "DEPLOYED_ON",
    "USES",
    "PROTECTED_BY",
    "CONNECTED_TO",
];
const IMPACTS: &[&str] = &[
    "DEPENDS_ON",
    "RUNS_ON",
    "DEPLOYED_ON",
    "USES",
    "PROTECTED_BY",
    "CONNECTED_TO",
    "COMPOSED_OF",
];

impl View {
    /// The words, for help and errors.
    pub const WORDS: &'static str = "SUMMARY, COMPOSITION, DEPENDENCY, IMPACT, PATH, NEIGHBORS";

    /// The view's name, in upper case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Summary => "SUMMARY",
            Self::Composition => "COMPOSITION",
            Self::Dependency => "DEPENDENCY",
            Self::Impact => "IMPACT",
            Self::Path => "PATH",
            Self::Neighbors => "NEIGHBORS",
        }
    }

    /// What the view stands for.
    pub fn policy(self) -> ViewPolicy {
        let policy = |default_depth, max_depth, direction, rel_types| ViewPolicy {
            default_depth,
            max_depth,
            direction,
            rel_types,
        };
        match self {
            Self::Summary => policy(1, 1, Direction::Both, &[]),
            Self::Composition => policy(2, 3, Direction::Out, &["COMPOSED_OF"]),
            Self::Dependency => policy(2, 3, Direction::Both, DEPENDENCIES),
            Self::Impact => policy(2, 3, Direction::In, IMPACTS),
            Self::Path => policy(crate::limits::HOPS, crate::limits::HOPS, Direction::Both, &[]),
            Self::Neighbors => policy(1, 2, Direction::Both, &[]),
        }
    }
}

impl FromStr for View {
    type Err = Error;

    fn from_str(word: &str) -> Result<Self, Error> {
        let all = [
            Self::Summary,
            Self::Composition,
            Self::Dependency,
            Self::Impact,
            Self::Path,
            Self::Neighbors,
        ];
        all.into_iter()
            .find(|view| view.as_str().eq_ignore_ascii_case(word))
            .ok_or_else(|| Error::word("view", word, Self::WORDS))
    }
}

impl fmt::Display for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
