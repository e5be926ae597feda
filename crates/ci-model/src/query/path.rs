//! Path: the shortest way between two CIs.

use crate::{CiRef, Direction, Error, RelationType, limits, text};

/// Asks for a shortest path between two CIs of at most `max_hops` steps.
///
/// Among several shortest paths the answer is the one whose codes come first, compared step by step from the start;
/// between two CIs of it, the relation whose type comes first (and, if both directions have that type, the one that
/// leads forward). Soft-deleted CIs are not passed through.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path {
    from: CiRef,
    to: CiRef,
    max_hops: u8,
    direction: Direction,
    rel_types: Vec<RelationType>,
}

impl Path {
    /// Starts a path question.
    pub fn builder(from: impl Into<CiRef>, to: impl Into<CiRef>) -> PathBuilder {
        PathBuilder {
            from: from.into(),
            to: to.into(),
            max_hops: limits::HOPS,
            direction: Direction::Both,
            rel_types: Vec::new(),
        }
    }

    /// Where it starts.
    pub fn from(&self) -> &CiRef {
        &self.from
    }

    /// Where it ends.
    pub fn to(&self) -> &CiRef {
        &self.to
    }

    /// Most steps, 1 to 6.
    pub fn max_hops(&self) -> u8 {
        self.max_hops
    }

    /// Which way relations are followed.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The types that are followed, ascending; empty means all.
    pub fn rel_types(&self) -> &[RelationType] {
        &self.rel_types
    }
}

/// Collects the parts of a [`Path`].
#[derive(Debug, Clone)]
pub struct PathBuilder {
    from: CiRef,
    to: CiRef,
    max_hops: u8,
    direction: Direction,
    rel_types: Vec<String>,
}

impl PathBuilder {
    /// Sets the most steps: 1 to 6, 6 when not called.
    pub fn max_hops(mut self, hops: u8) -> Self {
        self.max_hops = hops;
        self
    }

    /// Sets the direction; both when not called.
    pub fn direction(mut self, direction: Direction) -> Self {
        self.direction = direction;
        self
    }

    /// Follows only these relation types; all when none is given.
    pub fn rel_types<S: Into<String>>(mut self, types: impl IntoIterator<Item = S>) -> Self {
        self.rel_types.extend(types.into_iter().map(Into::into));
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// The first part that does not fit, with what is allowed.
    pub fn build(self) -> Result<Path, Error> {
        text::in_range("max_hops", self.max_hops.into(), 1, limits::HOPS.into())?;
        Ok(Path {
            from: self.from,
            to: self.to,
            max_hops: self.max_hops,
            direction: self.direction,
            rel_types: RelationType::set(&self.rel_types)?,
        })
    }
}
