//! The dependency index: which registrations are filed under an anchor.
//!
//! Registrations lie in a slab of slots; a table leads from an anchor to the slots filed under it. Most anchors have one
//! slot, whose number then stands in the table itself; the others have a list. Each filing knows its place in its list, so that a
//! registration leaves in constant time per anchor, however long the lists are. A posting says of four anchors more that a change must
//! have them, and has the domain's hint beside it, so that most of a list is passed over without a look at the slots.

use std::fmt;

use hashbrown::HashTable;

use super::domain::Anchor;
use super::filter::Filter;
use super::posting::{MAX_SLOTS, Posting, Wanted};

/// A registration's name: a slot may be reused, a ticket never is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Ticket {
    slot: u32,
    /// Counts registrations; 0 is none's.
    serial: u64,
}

impl Ticket {
    /// The ticket of what is not registered.
    pub(crate) const NONE: Self = Self {
        slot: u32::MAX,
        serial: 0,
    };
}

/// Registrations by anchor.
#[derive(Debug)]
pub(super) struct Index<T, H = ()> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
    places: HashTable<Place<H>>,
    lists: Lists<H>,
    /// Tells in front of the table that an anchor is not there.
    filter: Filter,
    /// The anchors of the search under way.
    wanted: Wanted,
    /// Of the search under way: a slot that carries it was found already.
    round: u32,
    serial: u64,
    /// Filings of slots with several.
    several: usize,
}

#[derive(Debug)]
struct Slot<T> {
    serial: u64,
    round: u32,
    filed: Filed,
    /// None in a free slot.
    item: Option<T>,
}

/// Where a slot is filed.
#[derive(Debug)]
enum Filed {
    Once(Filing),
    /// By anchor, ascending.
    Often(Box<[Filing]>),
}

/// One filing: the anchor, and the slot's place in its list.
#[derive(Debug, Clone, Copy)]
struct Filing {
    anchor: Anchor,
    at: u32,
}

/// What is filed under one anchor.
#[derive(Debug, Clone, Copy)]
struct Place<H> {
    anchor: Anchor,
    /// The posting, if there is one.
    only: Posting<H>,
    /// The list of them, if there are several.
    list: u32,
    len: u32,
}

/// Lists of postings, by number.
#[derive(Debug)]
struct Lists<H> {
    lists: Vec<Vec<Posting<H>>>,
    free: Vec<u32>,
}

/// Spreads anchors over the table: they are hashes, but of somebody else's making.
fn spread(anchor: Anchor) -> u64 {
    let mixed = anchor.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    mixed ^ mixed >> 32
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "there are fewer than 2^31 slots, and so postings of an anchor"
)]
fn narrow(number: usize) -> u32 {
    number as u32
}

impl<H: Copy> Lists<H> {
    /// Makes a list of two.
    fn of(&mut self, pair: [Posting<H>; 2]) -> u32 {
        let at = self.free.pop().unwrap_or_else(|| {
            self.lists.push(Vec::new());
            narrow(self.lists.len() - 1)
        });
        self.lists[at as usize].extend(pair);
        at
    }

    /// Takes a posting out of a list; gives the one that moved into its place, if any did.
    fn take(&mut self, list: u32, at: u32) -> Option<Posting<H>> {
        let list = &mut self.lists[list as usize];
        list.swap_remove(at as usize);
        if list.len() * 4 < list.capacity() && list.capacity() > 16 {
            list.shrink_to(list.len() * 2);
        }
        list.get(at as usize).copied()
    }

    /// Gives a list up that has one posting left.
    fn dissolve(&mut self, list: u32) -> Posting<H> {
        self.free.push(list);
        std::mem::take(&mut self.lists[list as usize])[0]
    }
}

impl<T, H: Copy + fmt::Debug> Index<T, H> {
    pub(super) fn new() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            places: HashTable::new(),
            lists: Lists {
                lists: Vec::new(),
                free: Vec::new(),
            },
            filter: Filter::default(),
            wanted: Wanted::new(),
            round: 0,
            serial: 0,
            several: 0,
        }
    }

    /// Counts the registrations.
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Registers something under its anchors, which are sorted and left without doubles; nothing if there are none, or no
    /// slot is left. Only searches that have all of the anchors in `also` need find it.
    pub(super) fn insert(
        &mut self,
        anchors: &mut Vec<Anchor>,
        (also, hint): (&[Anchor], H),
        item: T,
    ) -> Option<Ticket> {
        anchors.sort_unstable();
        anchors.dedup();
        if anchors.is_empty() || (self.free.is_empty() && self.slots.len() >= MAX_SLOTS) {
            return None;
        }
        let slot = self.free.pop().unwrap_or(narrow(self.slots.len()));
        let filed = match anchors.as_slice() {
            [anchor] => Filed::Once(self.file(*anchor, Posting::once(slot, *anchor, also, hint))),
            several => {
                self.several += several.len();
                Filed::Often(
                    several
                        .iter()
                        .map(|&anchor| self.file(anchor, Posting::often(slot, anchor, also, hint)))
                        .collect(),
                )
            }
        };
        self.serial += 1;
        let new = Slot {
            serial: self.serial,
            round: self.round,
            filed,
            item: Some(item),
        };
        match self.slots.get_mut(slot as usize) {
            Some(free) => *free = new,
            None => self.slots.push(new),
        }
        Some(Ticket {
            slot,
            serial: self.serial,
        })
    }

    /// Adds a posting under an anchor.
    fn file(&mut self, anchor: Anchor, posting: Posting<H>) -> Filing {
        let hash = spread(anchor);
        let Some(place) = self.places.find_mut(hash, |place| place.anchor == anchor) else {
            let first = Place {
                anchor,
                only: posting,
                list: 0,
                len: 1,
            };
            self.places
                .insert_unique(hash, first, |place| spread(place.anchor));
            let all = self.places.iter().map(|place| spread(place.anchor));
            self.filter.add(hash, self.places.len(), all);
            return Filing { anchor, at: 0 };
        };
        if place.len == 1 {
            place.list = self.lists.of([place.only, posting]);
        } else {
            self.lists.lists[place.list as usize].push(posting);
        }
        place.len += 1;
        Filing {
            anchor,
            at: place.len - 1,
        }
    }

    /// Takes a registration out, if it is there still.
    pub(super) fn remove(&mut self, ticket: Ticket) -> Option<T> {
        let slot = self.slots.get_mut(ticket.slot as usize)?;
        if slot.serial != ticket.serial {
            return None;
        }
        let item = slot.item.take()?;
        let none = Filed::Often(Box::default());
        match std::mem::replace(&mut slot.filed, none) {
            Filed::Once(filing) => self.withdraw(filing),
            Filed::Often(filings) => {
                self.several -= filings.len();
                // Another filing of this very slot is never moved: a slot is once in a list.
                filings.iter().for_each(|&filing| self.withdraw(filing));
            }
        }
        self.free.push(ticket.slot);
        Some(item)
    }

    /// Takes a posting out from under its anchor.
    fn withdraw(&mut self, Filing { anchor, at }: Filing) {
        let hash = spread(anchor);
        let Ok(mut entry) = self.places.find_entry(hash, |place| place.anchor == anchor) else {
            return;
        };
        let place = entry.get_mut();
        if place.len == 1 {
            entry.remove();
            self.filter.removed();
            return;
        }
        let list = place.list;
        place.len -= 1;
        let left = place.len;
        let moved = self.lists.take(list, at);
        if left == 1 {
            let only = self.lists.dissolve(list);
            place.only = only;
            self.settle(only, anchor, 0);
        } else if let Some(moved) = moved {
            self.settle(moved, anchor, at);
        }
    }

    /// Tells a slot its new place under an anchor.
    fn settle(&mut self, posting: Posting<H>, anchor: Anchor, at: u32) {
        let Some(slot) = self.slots.get_mut(posting.slot() as usize) else {
            return;
        };
        let filing = match &mut slot.filed {
            Filed::Once(filing) => Some(filing),
            Filed::Often(filings) => filings
                .binary_search_by_key(&anchor, |filing| filing.anchor)
                .ok()
                .and_then(|found| filings.get_mut(found)),
        };
        if let Some(filing) = filing {
            filing.at = at;
        }
    }

    /// Collects the slots filed under any of these anchors whose hint may do: each once, if no anchor is named twice.
    pub(super) fn candidates(
        &mut self,
        anchors: &[Anchor],
        may_do: impl Fn(H) -> bool,
        found: &mut Vec<u32>,
    ) {
        self.round = self.round.wrapping_add(1);
        if self.round == 0 {
            // After 2^32 searches: no slot may look as if it were found in this one.
            self.slots.iter_mut().for_each(|slot| slot.round = 0);
            self.round = 1;
        }
        self.wanted.fill(anchors);
        for &anchor in anchors {
            let hash = spread(anchor);
            if !self.filter.may_have(hash) {
                continue;
            }
            let Some(place) = self.places.find(hash, |place| place.anchor == anchor) else {
                continue;
            };
            let postings = if place.len == 1 {
                std::slice::from_ref(&place.only)
            } else {
                &self.lists.lists[place.list as usize]
            };
            for posting in postings {
                if self.wanted.has_all_of(posting) && may_do(posting.hint()) {
                    meet(&mut self.slots, self.round, *posting, found);
                }
            }
        }
        self.wanted.empty(anchors);
    }

    /// Reads what is registered in a slot.
    #[inline]
    pub(super) fn at(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize)?.item.as_ref()
    }

    /// The ticket of what is registered in a slot.
    pub(super) fn ticket(&self, slot: u32) -> Option<Ticket> {
        let taken = self.slots.get(slot as usize)?;
        taken.item.as_ref()?;
        Some(Ticket {
            slot,
            serial: taken.serial,
        })
    }

    /// Reads a registration, if it is there still.
    pub(super) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut T> {
        let slot = self.slots.get_mut(ticket.slot as usize)?;
        if slot.serial == ticket.serial {
            slot.item.as_mut()
        } else {
            None
        }
    }

    /// Walks all registrations by slot.
    pub(super) fn slots(&self) -> impl Iterator<Item = (u32, &T)> {
        let items = self.slots.iter().zip(0..);
        items.filter_map(|(slot, number)| Some((number, slot.item.as_ref()?)))
    }

    /// Takes everything out at once; tickets given so far stay invalid for ever.
    #[must_use = "drop it where there is time"]
    pub(super) fn take_all(&mut self) -> Self {
        let empty = Self {
            serial: self.serial,
            ..Self::new()
        };
        std::mem::replace(self, empty)
    }

    /// What it holds in memory, in bytes, without what the registrations own.
    pub(super) fn bytes(&self) -> usize {
        let lists: usize = self.lists.lists.iter().map(Vec::capacity).sum();
        self.slots.capacity() * size_of::<Slot<T>>()
            + self.several * size_of::<Filing>()
            + self.places.allocation_size()
            + self.lists.lists.capacity() * size_of::<Vec<Posting<H>>>()
            + lists * size_of::<Posting<H>>()
            + (self.lists.free.capacity() + self.free.capacity()) * size_of::<u32>()
            + Wanted::BYTES
            + self.filter.bytes()
    }

    /// Checks slots, postings and filter against each other; for tests, slow.
    ///
    /// # Errors
    /// Says what disagrees.
    pub(super) fn validate(&self) -> Result<(), String> {
        let mut filed = 0_usize;
        for (number, slot) in self.slots.iter().enumerate() {
            let filings = match &slot.filed {
                Filed::Once(filing) => std::slice::from_ref(filing),
                Filed::Often(filings) => filings,
            };
            if slot.item.is_some() == filings.is_empty() {
                return Err(format!("slot {number} is filed {} times", filings.len()));
            }
            for filing in filings {
                filed += 1;
                let posting = self.posting(filing);
                if posting.map(|posting| posting.slot() as usize) != Some(number) {
                    return Err(format!(
                        "slot {number} is not where it is filed: {filing:?}, {posting:?}"
                    ));
                }
                let several = matches!(slot.filed, Filed::Often(_));
                if posting.is_some_and(|posting| posting.is_often() != several) {
                    return Err(format!("slot {number}: a posting is wrong about several"));
                }
            }
        }
        let posted: usize = self.places.iter().map(|place| place.len as usize).sum();
        let taken = self.slots.iter().filter(|slot| slot.item.is_some()).count();
        let hidden = self
            .places
            .iter()
            .find(|place| !self.filter.may_have(spread(place.anchor)));
        if posted != filed || taken != self.len() || hidden.is_some() {
            return Err(format!(
                "{posted} posted, {filed} filed; {taken} taken, {} counted; hidden: {hidden:?}",
                self.len()
            ));
        }
        Ok(())
    }

    fn posting(&self, filing: &Filing) -> Option<Posting<H>> {
        let place = self
            .places
            .find(spread(filing.anchor), |place| place.anchor == filing.anchor)?;
        if place.len == 1 {
            return (filing.at == 0).then_some(place.only);
        }
        let list = self.lists.lists.get(place.list as usize)?;
        (list.len() == place.len as usize).then_some(())?;
        list.get(filing.at as usize).copied()
    }
}

/// Collects the slot of a posting unless this search found it already.
#[inline]
fn meet<T, H: Copy>(slots: &mut [Slot<T>], round: u32, posting: Posting<H>, found: &mut Vec<u32>) {
    if posting.is_often()
        && let Some(slot) = slots.get_mut(posting.slot() as usize)
        && std::mem::replace(&mut slot.round, round) == round
    {
        return;
    }
    found.push(posting.slot());
}
