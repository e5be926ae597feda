//! Expand: the graph around one or several CIs, by a view, bounded.

use crate::{CiRef, Direction, Error, Filter, RelationType, Selection, View, limits, text};

/// Asks for the CIs that are reached from one or several CIs in at most `depth` steps, level by level, and for the
/// relations that were followed.
///
/// What the answer holds, exactly, so that every store gives the same one:
/// - level 0 holds the roots that are there, ordered by code; a CI that is named twice, by id and by code, counts once.
///   Roots that are not there are left out and named; when none is there, there is no answer;
/// - level n+1 holds the neighbours of level n that were not reached before, ordered by code;
/// - a CI that a filter does not admit is not there, and nothing is reached through it; roots need not be admitted;
/// - when they are more than `max_nodes` allows, the first by code stay and the answer says so;
/// - relations: every one between a CI of a level that was expanded and a neighbour that is in the answer, once, in
///   the order in which they were met: by level, then by from-code, to-code and type; when they are more than
///   `max_edges` allows, the first ones stay and the answer says so;
/// - soft-deleted CIs are not there, unless asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Expand {
    /// Ascending, each once; at least one.
    roots: Vec<CiRef>,
    view: View,
    depth: u8,
    direction: Direction,
    rel_types: Vec<RelationType>,
    max_nodes: u32,
    max_edges: u32,
    /// Without keywords.
    admitted: Selection,
}

impl Expand {
    /// Starts an expansion of a CI by a view; [`ExpandBuilder::roots`] adds others.
    pub fn builder(root: impl Into<CiRef>, view: View) -> ExpandBuilder {
        ExpandBuilder {
            roots: vec![root.into()],
            view,
            depth: None,
            direction: None,
            rel_types: Vec::new(),
            max_nodes: limits::NODES_DEFAULT,
            max_edges: limits::EDGES_DEFAULT,
            filters: Vec::new(),
            include_deleted: false,
        }
    }

    /// Where it starts: 1 to 16 references, ascending, each once, whatever order they were given in.
    pub fn roots(&self) -> &[CiRef] {
        &self.roots
    }

    /// The view that it was asked by.
    pub fn view(&self) -> View {
        self.view
    }

    /// Most steps from a root; at least 1.
    pub fn depth(&self) -> u8 {
        self.depth
    }

    /// Which way relations are followed.
    pub fn direction(&self) -> Direction {
        self.direction
    }

    /// The types that are followed, ascending; empty means all.
    pub fn rel_types(&self) -> &[RelationType] {
        &self.rel_types
    }

    /// Most CIs in the answer, the roots included.
    pub fn max_nodes(&self) -> u32 {
        self.max_nodes
    }

    /// Most relations in the answer.
    pub fn max_edges(&self) -> u32 {
        self.max_edges
    }

    /// Which CIs may be reached: the filters, all of which must hold, and whether soft-deleted ones are there. Of the roots
    /// only the latter is asked.
    pub fn admitted(&self) -> &Selection {
        &self.admitted
    }

    /// Whether soft-deleted CIs are there.
    pub fn includes_deleted(&self) -> bool {
        self.admitted.include_deleted()
    }
}

/// Collects the parts of an [`Expand`].
#[derive(Debug, Clone)]
pub struct ExpandBuilder {
    roots: Vec<CiRef>,
    view: View,
    depth: Option<u8>,
    direction: Option<Direction>,
    rel_types: Vec<String>,
    max_nodes: u32,
    max_edges: u32,
    filters: Vec<Filter>,
    include_deleted: bool,
}

impl ExpandBuilder {
    /// Adds CIs to start at: at most 16 in all, in any order.
    pub fn roots<R: Into<CiRef>>(mut self, roots: impl IntoIterator<Item = R>) -> Self {
        self.roots.extend(roots.into_iter().map(Into::into));
        self
    }

    /// Reaches only CIs for which this filter holds, and goes on from no other; the roots are not asked.
    pub fn filter(mut self, filter: Filter) -> Self {
        self.filters.push(filter);
        self
    }

    /// Adds several filters, all of which must hold.
    pub fn filters(mut self, filters: impl IntoIterator<Item = Filter>) -> Self {
        self.filters.extend(filters);
        self
    }

    /// Sets the most steps: 1 to the view's largest depth; the view's default when not called.
    pub fn depth(mut self, depth: u8) -> Self {
        self.depth = Some(depth);
        self
    }

    /// Overrides the view's direction.
    pub fn direction(mut self, direction: Direction) -> Self {
        self.direction = Some(direction);
        self
    }

    /// Overrides the view's relation types; none given leaves the view's.
    pub fn rel_types<S: Into<String>>(mut self, types: impl IntoIterator<Item = S>) -> Self {
        self.rel_types.extend(types.into_iter().map(Into::into));
        self
    }

    /// Sets the most CIs, the roots included: the number of roots to 2,000, 200 when not called.
    pub fn max_nodes(mut self, nodes: u32) -> Self {
        self.max_nodes = nodes;
        self
    }

    /// Sets the most relations: 0 to 4,000, 400 when not called.
    pub fn max_edges(mut self, edges: u32) -> Self {
        self.max_edges = edges;
        self
    }

    /// Also follows to soft-deleted CIs.
    pub fn include_deleted(mut self, yes: bool) -> Self {
        self.include_deleted = yes;
        self
    }

    /// Checks everything.
    ///
    /// # Errors
    /// The first part that does not fit, with what is allowed; [`Error::UnknownWord`] for the view `PATH`, which only
    /// a path question has.
    pub fn build(self) -> Result<Expand, Error> {
        if self.view == View::Path {
            return Err(Error::word(
                "view of an expansion",
                self.view.as_str(),
                "SUMMARY, COMPOSITION, DEPENDENCY, IMPACT, NEIGHBORS; ask a path question for PATH",
            ));
        }
        let policy = self.view.policy();
        let depth = u32::from(self.depth.unwrap_or(policy.default_depth));
        text::in_range("depth", depth, 1, policy.max_depth.into())?;
        text::at_most("roots", self.roots.len(), limits::ROOTS)?;
        let mut roots = self.roots;
        roots.sort_unstable();
        roots.dedup();
        let fewest = u32::try_from(roots.len()).unwrap_or(u32::MAX);
        let rel_types = if self.rel_types.is_empty() {
            RelationType::set(policy.rel_types)?
        } else {
            RelationType::set(&self.rel_types)?
        };
        Ok(Expand {
            roots,
            view: self.view,
            depth: self.depth.unwrap_or(policy.default_depth),
            direction: self.direction.unwrap_or(policy.direction),
            rel_types,
            max_nodes: text::in_range("max_nodes", self.max_nodes, fewest, limits::NODES)?,
            max_edges: text::in_range("max_edges", self.max_edges, 0, limits::EDGES)?,
            admitted: Selection::new::<&str>(&[], self.filters, self.include_deleted)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::CiCode;

    fn root() -> CiRef {
        CiCode::new("db-1").unwrap().into()
    }

    #[test]
    fn views_bring_their_policy_and_overrides_win() {
        let impact = Expand::builder(root(), View::Impact).build().unwrap();
        assert_eq!((impact.depth(), impact.direction()), (2, Direction::In));
        assert!(impact.rel_types().iter().any(|t| t.as_str() == "RUNS_ON"));
        let other = Expand::builder(root(), View::Impact)
            .direction(Direction::Out)
            .rel_types(["USES", "USES"])
            .depth(1)
            .build()
            .unwrap();
        assert_eq!(other.direction(), Direction::Out);
        assert_eq!(other.rel_types(), [RelationType::new("USES").unwrap()]);
    }

    #[test]
    fn bounds_are_checked() {
        let depth = |view, depth| Expand::builder(root(), view).depth(depth).build();
        assert!(depth(View::Neighbors, 2).is_ok());
        assert!(matches!(
            depth(View::Neighbors, 3),
            Err(Error::OutOfRange {
                what: "depth",
                max: 2,
                ..
            })
        ));
        assert!(matches!(depth(View::Impact, 0), Err(Error::OutOfRange { .. })));
        assert!(matches!(depth(View::Path, 1), Err(Error::UnknownWord { .. })));
        assert!(
            Expand::builder(root(), View::Impact)
                .max_nodes(0)
                .build()
                .is_err()
        );
    }

    #[test]
    fn roots_and_filters_have_one_form_and_bounds() {
        let code = |n: usize| CiRef::from(CiCode::new(format!("db-{n}")).unwrap());
        let of = |others: &[usize]| {
            let filters = ["status=active", "owner=x"].map(|filter| Filter::parse(filter).unwrap());
            Expand::builder(code(2), View::Impact)
                .roots(others.iter().map(|n| code(*n)))
                .filters(filters)
        };
        let expand = of(&[3, 1, 2]).build().unwrap();
        assert_eq!(expand.roots(), [code(1), code(2), code(3)]);
        assert_eq!(
            expand,
            of(&[1, 3])
                .filter(Filter::parse("owner=x").unwrap())
                .build()
                .unwrap()
        );
        assert_eq!(expand.admitted().filters().len(), 2);
        let all: Vec<usize> = (0..limits::ROOTS).collect();
        assert!(of(&all[1..]).build().is_ok());
        assert!(matches!(
            of(&all).build(),
            Err(Error::TooMany { what: "roots", .. })
        ));
        assert!(of(&[1]).max_nodes(2).build().is_ok());
        assert!(matches!(
            of(&[1]).max_nodes(1).build(),
            Err(Error::OutOfRange {
                what: "max_nodes",
                min: 2,
                ..
            })
        ));
    }
}
