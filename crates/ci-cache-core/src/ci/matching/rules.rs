//! The rules of matching that tests break on purpose: a detector that misses a broken rule proves nothing.
//!
//! The tests that know real answers are in another package, so the twin with a state is behind the feature `planted`,
//! which only they ask for. Without it nothing can be broken and the questions cost nothing.

/// A rule of matching that a test can break.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[doc(hidden)]
#[cfg_attr(
    not(feature = "planted"),
    expect(unreachable_pub, reason = "the twin under test is asked for by name")
)]
pub enum Rule {
    /// A row enters a full window when it sorts before the last row, not after it.
    WindowKeepsTheFirst,
    /// A window that is not full takes every row that matches.
    OpenWindowTakesAll,
    /// Absent values sort last.
    AbsentLast,
    /// Absent values sort last also when the order is descending.
    AbsentLastDescending,
    /// The identifiers that come first come first.
    ExactFirst,
    /// Ranks by a match come before the sort.
    RanksComeFirst,
    /// What begins with the text that is ranked by comes before what has it elsewhere.
    PrefixesRank,
    /// Of equal matches, a code's comes before a name's.
    CodesBeforeNames,
    /// A window after a cursor takes what sorts behind it, not before.
    CursorsAreBefore,
    /// Equal sort values are ordered by id.
    IdsBreakTies,
    /// A row of the result that changes a column matters.
    ColumnsMatter,
    /// Trigrams are those of the folded text.
    TrigramsAreFolded,
    /// Both images are probed.
    OldImageProbed,
    /// Both images are probed.
    NewImageProbed,
    /// A CI that is brought back comes in.
    UndeleteComesIn,
    /// What an image does not know may match.
    UnknownMayMatch,
    /// What an image does not know is probed for.
    UnknownIsProbed,
    /// A code that moves to another CI is a change of who has it.
    CodesMove,
    /// A list's order is by creation.
    CreationOrders,
    /// What comes after a full page is nothing to its rows, and nothing else is.
    PagesEnd,
    /// A group's value matters.
    GroupValues,
    /// A distinct value matters.
    DistinctValues,
    /// A CI that comes in is seen by its neighbours.
    NeighboursLook,
    /// Neighbours that are not known may be any.
    UnknownNeighboursLook,
    /// A graph that was cut depends on the order of what was cut off.
    CutsDependOnOrder,
    /// A relation matters at its end as well as at its start.
    BothEnds,
    /// A relation matters before as well as after a change.
    OldRelation,
    /// A relation that leads from the last level is not followed, one from the levels before is.
    ExpandedLevels,
    /// Among shortest paths the codes of the CIs on the way decide.
    CodesBreakTies,
    /// A path depends on all that the search visited, not on the route alone.
    VisitedMatter,
    /// A root that is not there may come.
    MissingRootsCome,
    /// A CI that comes to pass the filters of an expansion is reached.
    FiltersAdmit,
    /// A CI of a graph that does not pass its filters any more leaves it.
    FiltersRefuse,
    /// Where there are more paths than the answer has, one of the others may go.
    OtherWaysGo,
}

impl Rule {
    /// Every rule, for tests that break one after the other.
    #[cfg(feature = "planted")]
    pub const ALL: [Self; 34] = [
        Self::WindowKeepsTheFirst,
        Self::OpenWindowTakesAll,
        Self::AbsentLast,
        Self::AbsentLastDescending,
        Self::ExactFirst,
        Self::RanksComeFirst,
        Self::PrefixesRank,
        Self::CodesBeforeNames,
        Self::CursorsAreBefore,
        Self::IdsBreakTies,
        Self::ColumnsMatter,
        Self::TrigramsAreFolded,
        Self::OldImageProbed,
        Self::NewImageProbed,
        Self::UndeleteComesIn,
        Self::UnknownMayMatch,
        Self::UnknownIsProbed,
        Self::CodesMove,
        Self::CreationOrders,
        Self::PagesEnd,
        Self::GroupValues,
        Self::DistinctValues,
        Self::NeighboursLook,
        Self::UnknownNeighboursLook,
        Self::CutsDependOnOrder,
        Self::BothEnds,
        Self::OldRelation,
        Self::ExpandedLevels,
        Self::CodesBreakTies,
        Self::VisitedMatter,
        Self::MissingRootsCome,
        Self::FiltersAdmit,
        Self::FiltersRefuse,
        Self::OtherWaysGo,
    ];

    /// Tells whether this thread broke the rule: never in what ships.
    #[cfg(not(feature = "planted"))]
    #[expect(clippy::unused_self, reason = "the twin under test looks which rule it is")]
    #[inline]
    pub(crate) const fn is_broken(self) -> bool {
        false
    }

    /// Tells whether this thread broke the rule.
    #[cfg(feature = "planted")]
    pub(crate) fn is_broken(self) -> bool {
        BROKEN.get() == Some(self)
    }

    /// Runs a test with this rule broken, on this thread.
    #[cfg(feature = "planted")]
    pub fn broken<T>(self, test: impl FnOnce() -> T) -> T {
        /// Mends the rule when the test ends, by a panic too.
        struct Mend;
        impl Drop for Mend {
            fn drop(&mut self) {
                BROKEN.set(None);
            }
        }
        BROKEN.set(Some(self));
        let _mend = Mend;
        test()
    }
}

#[cfg(feature = "planted")]
thread_local! {
    static BROKEN: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}
