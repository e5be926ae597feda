//! Where a search's answer ends and which CIs may be in it, in sixteen bytes beside each of its anchors.
//!
//! Most searches that share a rare piece of text with a change are not touched by it: the row is not in their answer and sorts
//! behind its end. To find that out in the dependency costs a cache miss or three for each; here it costs none.

use ci_model::{Change, CiId, Event, Image, Order, Sort, SortColumn};

use super::ids::bit;

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
    /// The first bytes of its values by column; none where it has no value, in all where the row is gone.
    values: [Option<u64>; 5],
}

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
            Event::Ci(change) => Some(Row::new(change.id, change.new.as_ref())),
            _ => None,
        };
        Self { row }
    }

    /// See [`crate::coherence::Domain::may_touch`].
    pub(super) fn may_touch(&self, hint: Hint) -> bool {
        let (Some(row), Some((column, descending))) = (&self.row, hint.sort()) else {
            return true;
        };
        if hint.rows & row.bit != 0 {
            return true;
        }
        // A row without a value sorts behind all that have one, whatever the order.
        let value = row.values.get(column).copied().flatten();
        let last = start(hint.end);
        value.is_some_and(|value| if descending { value >= last } else { value <= last })
    }
}

impl Row {
    fn new(id: CiId, row: Option<&Image>) -> Self {
        Self {
            bit: bit(id),
            values: COLUMNS.map(|column| {
                row.and_then(|row| super::window::value_of(column, row))
                    .map(|value| start(super::window::prefix(value)))
            }),
        }
    }
}
