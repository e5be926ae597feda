//! Path: the shortest ways between two CIs.

use crate::{CiRef, Direction, Error, RelationType, limits, text};

/// Asks for a shortest path between two CIs of at most `max_hops` steps, or for several.
///
/// What the answer holds, exactly, so that every store gives the same one:
/// - a path is a sequence of CIs, so two paths differ in a CI, not only in a relation. All paths of an answer are shortest
///   ones: they have the same number of steps, and there is none with fewer. None passes a CI twice;
/// - they are ordered by their codes, compared step by step from the start. The first `most` of them stay, 1 unless
///   [`PathBuilder::most`] says otherwise, and an answer of several says whether there are more;
/// - between two CIs of a path, the relation whose type comes first (and, if both directions have that type, the one that
///   leads forward);
/// - soft-deleted CIs are not passed through.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Path {
    from: CiRef,
    to: CiRef,
    max_hops: u8,
    direction: Direction,
    rel_types: Vec<RelationType>,
    most: u8,
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
            most: 1,
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

    /// Most paths in the answer, 1 to 25. From 2 on the answer is [`crate::PathAnswer::Several`].
    pub fn most(&self) -> u8 {
        self.most
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
    most: u8,
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

    /// Sets the most paths: 1 to 25, 1 when not called.
    pub fn most(mut self, paths: u8) -> Self {
        self.most = paths;
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// The first part that does not fit, with what is allowed.
    pub fn build(self) -> Result<Path, Error> {
        text::in_range("max_hops", self.max_hops.into(), 1, limits::HOPS.into())?;
        text::in_range("most", self.most.into(), 1, limits::PATHS.into())?;
        Ok(Path {
            from: self.from,
            to: self.to,
            max_hops: self.max_hops,
            direction: self.direction,
            rel_types: RelationType::set(&self.rel_types)?,
            most: self.most,
        })
    }
}
