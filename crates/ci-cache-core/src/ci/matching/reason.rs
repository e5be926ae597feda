//! Why a change matters to an answer, in words for people.

use std::fmt;

/// Why a change matters to a cached answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The CI that the question names by id changed, came or went.
    Id,
    /// A CI that has, or had, the code that the question names changed, came or went.
    Code,
    /// A row that was not in the result may belong into it now.
    EnteredWindow,
    /// A row of the result does not belong to it any more.
    LeftResult,
    /// A row of the result shows other columns.
    ColumnsOfRow,
    /// The number of selected rows, or of those in a group, is another.
    Membership,
    /// A row may have moved within the order.
    Order,
    /// A row may have moved to another group, or shows another distinct value.
    GroupValue,
    /// A CI of a graph or route came or went.
    Member,
    /// The relations of a CI that was expanded or visited are others.
    Expansion,
    /// A CI beside one that was expanded or visited came, went, or moved in the order.
    Neighbour,
    /// The change was too large to be told row by row.
    Bulk,
    /// The change does not tell enough to rule it out.
    Unknown,
}

impl Reason {
    /// Every reason, in a fixed order.
    pub const ALL: [Self; 13] = [
        Self::Id,
        Self::Code,
        Self::EnteredWindow,
        Self::LeftResult,
        Self::ColumnsOfRow,
        Self::Membership,
        Self::Order,
        Self::GroupValue,
        Self::Member,
        Self::Expansion,
        Self::Neighbour,
        Self::Bulk,
        Self::Unknown,
    ];

    /// The reason's name, in lower case with underscores.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Code => "code",
            Self::EnteredWindow => "entered_window",
            Self::LeftResult => "left_result",
            Self::ColumnsOfRow => "columns_of_row",
            Self::Membership => "membership",
            Self::Order => "order",
            Self::GroupValue => "group_value",
            Self::Member => "member",
            Self::Expansion => "expansion",
            Self::Neighbour => "neighbour",
            Self::Bulk => "bulk",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
