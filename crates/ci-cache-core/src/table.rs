//! The hash table: groups of 15 tags beside inline slots, at fixed places until it grows.
//!
//! A look-up reads one 16-byte group of tags, which for a million entries is a table of a megabyte, and then the one slot
//! whose tag matches: two cache lines, like the fastest hash maps. Unlike them it is sized to the capacity instead of
//! to a power of two, and a removal leaves no tombstone: the sixteenth byte of a group counts the entries that found it
//! full and went on, and a search goes on only while that count is not zero (the counter is from F14; Bronson and
//! Shi, 2019). So slots stay where they are however long entries come and go, and the policies can name entries by
//! slot number.

#![allow(
    clippy::cast_possible_truncation,
    reason = "slot numbers fit 32 bits (MAX_ENTRIES), tags and counts are bytes on purpose"
)]

use hashbrown::Equivalent;

use crate::mark::Mark;
use crate::policy::MAX_SLOTS;
use crate::raw::match_byte;

/// Slots of a group.
const WIDTH: usize = 15;
/// The byte of a group that counts entries which went on.
const OVERFLOW: usize = 15;
/// A count that stays: it is no longer known how many went on.
const STUCK: u8 = u8::MAX;
/// Entries a table holds at most, in percent of its slots: beyond it searches become long.
const MAX_LOAD_PERCENT: u64 = 82;
/// The most entries of a table: as many as have room in the slots that the policies' queues can name.
pub(crate) const MAX_ENTRIES: usize = 850_000_000;

const _: () = assert!(groups_for(MAX_ENTRIES) * WIDTH <= MAX_SLOTS);

/// The tags of 15 slots, and in byte 15 the overflow count. Tag 0 is an empty slot.
#[derive(Debug, Clone, Copy, Default)]
#[repr(align(16))]
struct Group([u64; 2]);

impl Group {
    #[inline]
    fn matching(self, tag: u8) -> Matches {
        Matches(match_byte(self.0, tag) & ((1 << WIDTH) - 1))
    }

    #[inline]
    fn byte(self, index: usize) -> u8 {
        (self.0[index / 8] >> (index % 8 * 8)) as u8
    }

    #[inline]
    fn set(&mut self, index: usize, byte: u8) {
        let shift = index % 8 * 8;
        let word = &mut self.0[index / 8];
        *word = *word & !(0xFF << shift) | u64::from(byte) << shift;
    }

    #[inline]
    fn overflow(self) -> u8 {
        self.byte(OVERFLOW)
    }
}

/// The slots of a group that a tag selects.
struct Matches(u32);

impl Iterator for Matches {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.0 == 0 {
            return None;
        }
        let index = self.0.trailing_zeros() as usize;
        self.0 &= self.0 - 1;
        Some(index)
    }
}

/// A place for an entry. An enum without further fields, so that a key or value with a niche (a `String`, an `Arc`)
/// pays nothing for it.
#[derive(Debug)]
pub(crate) enum Slot<K, V> {
    /// Nobody.
    Empty,
    /// An entry.
    Full {
        /// Its deadline, hit mark and flags.
        mark: Mark,
        /// Its key.
        key: K,
        /// Its value.
        value: V,
    },
}

/// See the module's page.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Table<K, V> {
    groups: Box<[Group]>,
    slots: Box<[Slot<K, V>]>,
    len: usize,
}

/// The byte that stands for a hash in its group; never 0.
#[inline]
fn tag_of(hash: u64) -> u8 {
    (hash as u8).max(1)
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self {
            groups: Box::default(),
            slots: Box::default(),
            len: 0,
        }
    }
}

impl<K, V> Table<K, V> {
    /// Counts the entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Counts the slots: slot numbers are below it.
    pub(crate) fn slots(&self) -> usize {
        self.slots.len()
    }

    /// Tells whether one more entry needs [`grown`](Self::grown) first.
    #[inline]
    pub(crate) fn is_full(&self) -> bool {
        (self.len as u64 + 1) * 100 > self.slots.len() as u64 * MAX_LOAD_PERCENT
    }

    /// Finds the slot of a key.
    #[inline(always)]
    pub(crate) fn find<Q: ?Sized + Equivalent<K>>(&self, hash: u64, key: &Q) -> Option<(u32, &Mark, &K, &V)> {
        let home = home(self.groups.len(), hash);
        let group = self.groups.get(home)?;
        if let Some(found) = self.find_in(home, *group, hash, key) {
            return Some(found);
        }
        if group.overflow() == 0 {
            return None;
        }
        self.find_further(hash, key)
    }

    /// Finds the slot of a key in one group.
    #[inline(always)]
    fn find_in<Q: ?Sized + Equivalent<K>>(
        &self,
        at: usize,
        group: Group,
        hash: u64,
        key: &Q,
    ) -> Option<(u32, &Mark, &K, &V)> {
        for index in group.matching(tag_of(hash)) {
            let slot = at * WIDTH + index;
            if let Some(Slot::Full {
                mark,
                key: other,
                value,
            }) = self.slots.get(slot)
                && key.equivalent(other)
            {
                return Some((slot as u32, mark, other, value));
            }
        }
        None
    }

    /// Finds the slot of a key that is not in its first group, which has overflowed.
    #[inline(never)]
    fn find_further<Q: ?Sized + Equivalent<K>>(&self, hash: u64, key: &Q) -> Option<(u32, &Mark, &K, &V)> {
        let groups = self.groups.len();
        let mut at = elsewhere(groups, hash);
        for _ in 0..groups {
            let group = self.groups.get(at)?;
            if let Some(found) = self.find_in(at, *group, hash, key) {
                return Some(found);
            }
            if group.overflow() == 0 {
                return None;
            }
            at = behind(groups, at);
        }
        None
    }

    /// Borrows an entry.
    #[inline]
    pub(crate) fn get(&self, slot: u32) -> Option<(&Mark, &K, &V)> {
        match self.slots.get(slot as usize)? {
            Slot::Full { mark, key, value } => Some((mark, key, value)),
            Slot::Empty => None,
        }
    }

    /// Borrows an entry's mark and value to change them.
    #[inline]
    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<(&mut Mark, &K, &mut V)> {
        match self.slots.get_mut(slot as usize)? {
            Slot::Full { mark, key, value } => Some((mark, key, value)),
            Slot::Empty => None,
        }
    }

    /// Walks the entries by slot number.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u32, &Mark, &K, &V)> {
        self.slots
            .iter()
            .zip(0..)
            .filter_map(|(slot, number)| match slot {
                Slot::Full { mark, key, value } => Some((number, mark, key, value)),
                Slot::Empty => None,
            })
    }

    /// Places an entry whose key is not in the table; gives its slot, or the entry back if the table is full.
    pub(crate) fn insert(&mut self, hash: u64, mark: Mark, key: K, value: V) -> Result<u32, (K, V)> {
        if self.is_full() {
            return Err((key, value));
        }
        let groups = &mut self.groups;
        // A table that is not full has a group with room, and the path leads to all groups.
        for at in path(groups.len(), hash) {
            if let Some(index) = groups[at].matching(0).next() {
                groups[at].set(index, tag_of(hash));
                self.slots[at * WIDTH + index] = Slot::Full { mark, key, value };
                self.len += 1;
                return Ok((at * WIDTH + index) as u32);
            }
            let passed = &mut groups[at];
            passed.set(OVERFLOW, passed.overflow().saturating_add(1));
        }
        Err((key, value))
    }

    /// Takes an entry out; `hash` must be its key's.
    pub(crate) fn take(&mut self, hash: u64, slot: u32) -> Option<(Mark, K, V)> {
        let place = self.slots.get_mut(slot as usize)?;
        let Slot::Full { mark, key, value } = std::mem::replace(place, Slot::Empty) else {
            return None;
        };
        let end = slot as usize / WIDTH;
        self.groups[end].set(slot as usize % WIDTH, 0);
        self.len -= 1;
        for at in path(self.groups.len(), hash).take_while(|&at| at != end) {
            let passed = &mut self.groups[at];
            if passed.overflow() != STUCK {
                passed.set(OVERFLOW, passed.overflow().saturating_sub(1));
            }
        }
        Some((mark, key, value))
    }

    /// Moves everything to a larger table, sized for at most `limit` entries if that is near.
    ///
    /// Gives the old one, empty but for its memory, and the new slot of each old one (`u32::MAX` for none). Hashes
    /// are computed before anything moves: should one panic, nothing has changed.
    pub(crate) fn grow(&mut self, limit: usize, hash_of: impl Fn(&K) -> u64) -> (Self, Vec<u32>) {
        let hashes: Vec<u64> = self.iter().map(|(_, _, key, _)| hash_of(key)).collect();
        let mut moved = vec![u32::MAX; self.slots.len()];
        let larger = Self::with_groups(self.next_groups(limit));
        let mut old = std::mem::replace(self, larger);
        let mut hashes = hashes.into_iter();
        for (place, new) in old.slots.iter_mut().zip(&mut moved) {
            if let Slot::Full { mark, key, value } = std::mem::replace(place, Slot::Empty)
                && let Some(hash) = hashes.next()
                && let Ok(slot) = self.insert(hash, mark, key, value)
            {
                *new = slot;
            }
        }
        (old, moved)
    }

    /// Half as many groups again, or just enough for the limit if that is no more than a third further.
    fn next_groups(&self, limit: usize) -> usize {
        let groups = self.groups.len();
        let next = groups + (groups / 2).max(1);
        let last = groups_for(limit.min(MAX_ENTRIES));
        if last > groups && next * 4 >= last * 3 {
            last
        } else {
            next
        }
    }

    fn with_groups(groups: usize) -> Self {
        Self {
            groups: vec![Group::default(); groups].into_boxed_slice(),
            slots: (0..groups * WIDTH).map(|_| Slot::Empty).collect(),
            len: 0,
        }
    }

    /// Checks tags, slots, overflow counts and the number of entries against each other; for tests.
    ///
    /// # Errors
    /// Says what disagrees.
    pub(crate) fn validate(&self, hash_of: impl Fn(&K) -> u64) -> Result<(), String> {
        let mut passed = vec![0_usize; self.groups.len()];
        let mut len = 0;
        for (slot, _, key, _) in self.iter() {
            let (hash, end) = (hash_of(key), slot as usize / WIDTH);
            len += 1;
            if self.groups[end].byte(slot as usize % WIDTH) != tag_of(hash) {
                return Err(format!("slot {slot} has another key's tag"));
            }
            for at in path(self.groups.len(), hash).take_while(|&at| at != end) {
                passed[at] += 1;
            }
        }
        let tags: usize = self
            .groups
            .iter()
            .map(|group| WIDTH - group.matching(0).count())
            .sum();
        if (len, len) != (self.len, tags) {
            return Err(format!("{len} entries, {} counted, {tags} tags", self.len));
        }
        for (index, (group, passed)) in self.groups.iter().zip(passed).enumerate() {
            let overflow = usize::from(group.overflow());
            if overflow < passed.min(STUCK.into()) || overflow != usize::from(STUCK) && overflow != passed {
                return Err(format!("group {index}: {passed} went on, {overflow} counted"));
            }
        }
        Ok(())
    }
}

/// Gives the first group of a hash, of so many: its upper half, scaled to their number.
#[inline]
fn home(groups: usize, hash: u64) -> usize {
    (((hash >> 32) * groups as u64) >> 32) as usize
}

/// Gives the second group of a hash.
#[inline]
fn elsewhere(groups: usize, hash: u64) -> usize {
    // Another multiplier than those of hashers: hashes that share a home part here.
    home(groups, hash.wrapping_mul(0xD6E8_FEB8_6659_FD93))
}

/// Gives the group behind one.
#[inline]
fn behind(groups: usize, at: usize) -> usize {
    if at + 1 == groups { 0 } else { at + 1 }
}

/// The groups in which a hash may be, all in the end: the first, then one elsewhere and those behind that.
///
/// Were the second the neighbour of the first, a group that is full would fill its neighbours.
struct Path {
    next: usize,
    /// Where the second step leads; then those behind follow.
    elsewhere: Option<usize>,
    groups: usize,
    left: usize,
}

#[inline]
fn path(groups: usize, hash: u64) -> Path {
    Path {
        next: home(groups, hash),
        elsewhere: Some(elsewhere(groups, hash)),
        groups,
        left: groups + 1,
    }
}

impl Iterator for Path {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let at = self.next;
        self.next = self.elsewhere.take().unwrap_or_else(|| behind(self.groups, at));
        Some(at)
    }
}

/// The fewest groups that hold so many entries.
const fn groups_for(entries: usize) -> usize {
    let groups = (entries as u64 * 100).div_ceil(MAX_LOAD_PERCENT * WIDTH as u64) as usize;
    if groups == 0 { 1 } else { groups }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn hash(key: u8, colliding: bool) -> u64 {
        if colliding {
            42
        } else {
            u64::from(key).wrapping_mul(0x9E37_79B9_7F4A_7C15)
        }
    }

    #[test]
    fn the_final_size_fits_the_limit() {
        let mut table: Table<u32, ()> = Table::default();
        let hash = |key: &u32| u64::from(*key).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        for key in 0..100_001 {
            if table.is_full() {
                drop(table.grow(100_001, hash));
            }
            table.insert(hash(&key), Mark::default(), key, ()).unwrap();
        }
        assert!(
            table.slots() as u64 * MAX_LOAD_PERCENT < 100_100 * 100,
            "{}",
            table.slots()
        );
        table.validate(hash).unwrap();
    }

    proptest! {
        #[test]
        fn equals_a_map(
            ops in proptest::collection::vec((0..40_u8, any::<bool>()), 1..400),
            colliding in any::<bool>(),
        ) {
            let hash = |key: &u8| hash(*key, colliding);
            let mut table: Table<u8, usize> = Table::default();
            let mut map = BTreeMap::new();
            for (step, (key, insert)) in ops.into_iter().enumerate() {
                let found = table.find(hash(&key), &key).map(|(slot, _, _, &value)| (slot, value));
                prop_assert_eq!(found.map(|(_, value)| value), map.get(&key).copied());
                match (found, insert) {
                    (None, true) => {
                        if table.is_full() {
                            drop(table.grow(30, hash));
                        }
                        table.insert(hash(&key), Mark::default(), key, step).unwrap();
                        map.insert(key, step);
                    }
                    (Some((slot, _)), false) => {
                        let (_, taken, value) = table.take(hash(&key), slot).unwrap();
                        prop_assert_eq!(map.remove(&taken), Some(value));
                    }
                    _ => {}
                }
                prop_assert_eq!(table.validate(hash), Ok(()));
            }
            let all: BTreeMap<u8, usize> = table.iter().map(|(_, _, &key, &value)| (key, value)).collect();
            prop_assert_eq!(all, map);
        }
    }
}
