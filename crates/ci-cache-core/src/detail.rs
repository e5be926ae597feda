//! What is kept of an entry beyond key, value and mark: for those that asked for more than a time to live.
//!
//! Details lie in columns beside the table, by slot number, which are allocated when the first entry needs one: a cache
//! that uses none pays nothing for them.

use crate::clock::Tick;
use crate::mark::{Mark, Reading};
use crate::scope::Stamp;
use crate::shim::{AtomicU64, Ordering};

/// The particulars of an entry whose mark says that it has some.
#[derive(Debug)]
pub(crate) struct Detail {
    pub(crate) created: Tick,
    /// Look-ups answered by this value. Readers beside each other may lose one of two simultaneous hits.
    pub(crate) hits: AtomicU64,
    /// The scope's generation from before the value was loaded.
    pub(crate) stamp: Option<Stamp>,
    /// When the time to live ends; the mark's deadline comes earlier if the entry idles.
    pub(crate) hard: Tick,
    /// Time to idle in microseconds; 0 for none.
    pub(crate) idle_micros: u64,
    /// Until when it may be served while it is being loaded again; never before `hard`.
    pub(crate) stale_until: Tick,
    /// Until when it may be served if loading it again fails; never before `hard`.
    pub(crate) fallback_until: Tick,
}

/// Why an entry must not be served any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Death {
    /// Its time is over.
    Expired,
    /// Its scope was invalidated after its stamp was taken.
    Invalidated,
}

/// What may be done with an entry at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// Served.
    Fresh,
    /// Served while somebody loads it again.
    Stale,
    /// Served only if loading it again fails.
    Fallback,
    /// Not served; its place may be reclaimed.
    Dead(Death),
}

impl Detail {
    /// Decides what may be done with the entry.
    pub(crate) fn state(&self, reading: Reading, now: impl FnOnce() -> Tick) -> State {
        if self.stamp.as_ref().is_some_and(|stamp| !stamp.is_live()) {
            return State::Dead(Death::Invalidated);
        }
        if !reading.expires() {
            return State::Fresh;
        }
        let now = now();
        if !reading.is_over(now) {
            return State::Fresh;
        }
        // By the deadline, not by the moment: what idled out must not come back when its time to live ends.
        let idled_out = self.idle_micros > 0 && reading.deadline() < self.hard;
        if !idled_out && now < self.stale_until {
            State::Stale
        } else if !idled_out && now < self.fallback_until {
            State::Fallback
        } else {
            State::Dead(Death::Expired)
        }
    }

    /// Counts a hit and puts the end of idling off.
    pub(crate) fn hit(&self, mark: &Mark, now: impl FnOnce() -> Tick) {
        let hits = self.hits.load(Ordering::Relaxed) + 1;
        self.hits.store(hits, Ordering::Relaxed);
        if self.idle_micros > 0 {
            mark.set_deadline(now().after_micros(self.idle_micros).min(self.hard));
        }
    }
}

/// The columns of one shard.
#[derive(Debug, Default)]
pub(crate) struct Columns {
    details: Vec<Option<Detail>>,
    /// Empty while every entry weighs 1.
    weights: Vec<u32>,
    /// Empty while no entry has a cost.
    costs: Vec<u32>,
}

impl Columns {
    /// Tells whether no entry has had more than a time to live.
    #[inline]
    pub(crate) fn is_unused(&self) -> bool {
        self.details.is_empty() && self.weights.is_empty() && self.costs.is_empty()
    }

    /// Reads an entry's detail.
    #[inline]
    pub(crate) fn detail(&self, slot: u32) -> Option<&Detail> {
        self.details.get(slot as usize)?.as_ref()
    }

    /// Gives an entry's weight.
    #[inline]
    pub(crate) fn weight(&self, slot: u32) -> u32 {
        self.weights.get(slot as usize).map_or(1, |&weight| weight.max(1))
    }

    /// Gives an entry's cost; 0 for unknown.
    pub(crate) fn cost(&self, slot: u32) -> u32 {
        self.costs.get(slot as usize).copied().unwrap_or(0)
    }

    /// Writes what is known of an entry.
    #[inline]
    pub(crate) fn set(&mut self, slot: u32, slots: usize, detail: Option<Detail>, weight: u32, cost: u32) {
        if self.is_unused() && detail.is_none() && weight <= 1 && cost == 0 {
            return;
        }
        self.set_all(slot, slots, detail, weight, cost);
    }

    #[inline(never)]
    fn set_all(&mut self, slot: u32, slots: usize, detail: Option<Detail>, weight: u32, cost: u32) {
        set(&mut self.weights, slot, slots, weight, weight > 1);
        set(&mut self.costs, slot, slots, cost, cost > 0);
        if detail.is_some() && self.details.len() < slots {
            self.details.resize_with(slots, || None);
        }
        // What a detail holds runs no user code when it is dropped: it may be done here, under the lock.
        if let Some(place) = self.details.get_mut(slot as usize) {
            *place = detail;
        }
    }

    /// Follows a table that grew.
    pub(crate) fn renumber(&mut self, new_of_old: &[u32], slots: usize) {
        move_all(&mut self.details, new_of_old, slots);
        move_all(&mut self.weights, new_of_old, slots);
        move_all(&mut self.costs, new_of_old, slots);
    }
}

/// Writes into a column, which comes to be with the first value worth it.
fn set(column: &mut Vec<u32>, slot: u32, slots: usize, value: u32, worth: bool) {
    if worth && column.len() < slots {
        column.resize(slots, 0);
    }
    if let Some(place) = column.get_mut(slot as usize) {
        *place = value;
    }
}

/// Moves a column's values to their new slots.
fn move_all<T: Default>(column: &mut Vec<T>, new_of_old: &[u32], slots: usize) {
    if column.is_empty() {
        return;
    }
    let mut moved = Vec::new();
    moved.resize_with(slots, T::default);
    for (value, &slot) in std::mem::take(column).into_iter().zip(new_of_old) {
        if let Some(place) = moved.get_mut(slot as usize) {
            *place = value;
        }
    }
    *column = moved;
}
