//! Where a search's answer ends and which CIs may be in it, in sixteen bytes beside each of its anchors.
//!
//! Most searches that share a rare piece of text with a change are not touched by it: the row is not in their answer and sorts
//! behind its end. To find that out in the dependency costs a cache miss or three for each; here it costs none.

use ci_model::{Change, Event, Image, Order, Sort, SortColumn};

use super::ids::bit;
use super::window::{prefix, value_of};

/// What an index keeps of a dependency.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Hint {
    /// A bit for each CI of the answer.
    rows: u64,
    /// The first seven bytes of the last row's value, and in the lowest byte what it is a value of; [`ANYTHING`] where the
    /// other fields say nothing.
    end: u64,
}

/// In the lowest byte of an end: any change may touch the answer.
const ANYTHING: u64 = 0;
/// The bytes of an end that are a value's.
const VALUE: u64 = !0xFF;

/// What of a change is compared with hints.
#[derive(Debug, Default)]
pub struct Sight {
    /// None for a change of something else than a CI.
    row: Option<Row>,
}

/// A changed row.
#[derive(Debug)]
struct Row {
    bit: u64,
    /// After the change; none where it is gone.
    new: Option<Values>,
}

/// The first bytes of a row's values by column; none where it has no value.
type Values = [Option<u64>; COLUMNS.len()];

/// The columns that a search can be sorted by, in the order of a sight's values.
const COLUMNS: [SortColumn; 5] = [
    SortColumn::CiCode,
    SortColumn::CiName,
    SortColumn::CiType,
    SortColumn::CiSubtype,
    SortColumn::CiCategory,
];

/// The first seven bytes of a text as a number; numbers that differ are in the order of their texts.
fn start(prefix: u64) -> u64 {
    prefix & VALUE
}

impl Hint {
    /// Of an answer with these CIs, full, whose last row has a value that starts like this.
    pub(super) fn of_window(rows: u64, sort: Sort, last: u64) -> Self {
        let kind = (1..).zip(COLUMNS).find(|(_, column)| *column == sort.column);
        let kind: u64 = kind.map_or(ANYTHING, |(number, _)| {
            number * 2 + u64::from(sort.order == Order::Descending)
        });
        Self {
            rows,
            end: start(last) | kind,
        }
    }

    fn sort(self) -> Option<(usize, bool)> {
        let kind = usize::from(self.end.to_le_bytes()[0]);
        Some(((kind / 2).checked_sub(1)?, kind % 2 == 1))
    }
}

impl Sight {
    pub(super) fn of(change: &Change) -> Self {
        let row = match &change.event {
            Event::Ci(change) => Some(Row {
                bit: bit(change.id),
                new: change.new.as_ref().map(values),
            }),
            _ => None,
        };
        Self { row }
    }

    /// See [`crate::coherence::Domain::may_touch`].
    ///
    /// A row that may be in the answer may always be touched; any other comes in only if it sorts before the answer's end.
    pub(super) fn may_touch(&self, hint: Hint) -> bool {
        let (Some(row), Some(sort)) = (&self.row, hint.sort()) else {
            return true;
        };
        let last = start(hint.end);
        hint.rows & row.bit != 0 || row.new.is_some_and(|new| is_before(&new, sort, last))
    }
}

/// Tells whether a row may sort before an end, or at it. One without a value sorts behind all that have one, whatever the order.
fn is_before(row: &Values, (column, descending): (usize, bool), last: u64) -> bool {
    let value = row.get(column).copied().flatten();
    value.is_some_and(|value| if descending { value >= last } else { value <= last })
}

fn values(row: &Image) -> Values {
    COLUMNS.map(|column| value_of(column, row).map(|value| start(prefix(value))))
}
