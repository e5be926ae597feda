//! The groups of a shard's entries: what each holds, what its share is, and whose entry gives way.
//!
//! An entry is *proven* once it has answered a look-up (or was stored again); until then it is on probation, and most of what a scan brings
//! never gets further. The policy names the entry to lose, and that leaves, but for three cases:
//!
//! 1. *Churn is paid by who causes it.* It is another group's, while the newcomer's group has more than its quota on probation: the newcomer's
//!    group loses its oldest entry on probation instead. Where it would lose by the policy's choice anyway, or has no more than its quota, the
//!    group pays that is known to have the greatest part of its entries on probation, as long as that is more than its quota: what a scan took
//!    while there was room, it gives back. The quota is a quarter of the group's share, so that is what a scan
//!    takes from others at most. But beside the newcomer there may always be eight times its weight (or a 64th of the shard, if that is less): a group whose
//!    share is next to nothing, because groups are many, has to be able to keep what it asks for again.
//! 2. *A share is safe.* Its group is within its share, and it is proven, or its group has an eighth of its share on probation at most: the
//!    newcomer's group loses its oldest entry if it is over its share, else the group that is over by most. There is one: all shares together
//!    are at most the capacity, which is exceeded.
//! 3. *Who is within its share may try.* Its group is the newcomer's, within its share, and has more than that eighth on probation: the oldest
//!    of those leaves. Else a policy that refuses what comes would shut the group out for good: an eighth of its share, in on probation and
//!    never asked for again, would stay, and all that comes after would go at once, while a scan holds what is missing from the share.
//!
//! So a group may borrow whatever others do not use. It can be brought down to its share by others, but not below; and the policy, which knows
//! best what is worth keeping, decides alone wherever no case is at hand.

use hashbrown::HashMap;

use crate::detail::Columns;
use crate::share::{GroupStats, Share};
use crate::shim::{AtomicU64, Ordering};

/// No slot, no group.
const NONE: u32 = u32::MAX;
/// Groups without entries are forgotten when so many are known, and again whenever their number has doubled.
const FIRST_SWEEP: usize = 1_024;
/// Entries looked at, at most, for one on probation that was not used: the used ones are taken for proven.
const LOOKED_AT: usize = 8;
/// What a group may have on probation, as one in so many of its share, before its insertions displace its own.
const CHURN: u64 = 4;
/// What may be on probation beside the newcomer whatever the share is, in weights of the newcomer,
const FLOOR: u64 = 8;
/// and at most, as one in so many of the capacity.
const SMALL: u64 = 64;
/// What is safe on probation, likewise.
const SAFE: u64 = 8;
/// The lists of a group: entries on probation, and proven ones.
const PROBATION: usize = 0;
const PROVEN: usize = 1;

/// What a shard knows of its entries.
pub(crate) trait Uses {
    /// Tells whether an entry has answered a look-up since it was stored.
    fn is_used(&self, slot: u32) -> bool;
    /// Gives an entry's weight.
    fn weight(&self, slot: u32) -> u32;
}

impl Uses for Columns {
    fn is_used(&self, slot: u32) -> bool {
        self.detail(slot)
            .is_some_and(|detail| detail.hits.load(Ordering::Relaxed) > 0)
    }

    fn weight(&self, slot: u32) -> u32 {
        Self::weight(self, slot)
    }
}

/// The groups of one shard.
#[derive(Debug)]
pub(crate) struct Groups {
    /// Where each group is in `all`.
    known: HashMap<u64, u32>,
    all: Vec<Group>,
    /// Places in `all` of forgotten groups.
    free: Vec<u32>,
    /// For each slot its group, and its neighbours there.
    places: Vec<Place>,
    /// The parts of all groups that have entries.
    parts: u64,
    /// How many shards divide a limit between them.
    shards: u64,
    sweep_at: usize,
    /// A group that inserted with more than its quota on probation, which were a greater part of its entries than of others that did.
    churner: u32,
}

/// One group: its entries in two lists, by age, or by recency of use where the policy is exact.
#[derive(Debug)]
struct Group {
    id: u64,
    share: Share,
    len: usize,
    lists: [List; 2],
    /// Written by readers.
    hits: AtomicU64,
    evictions: u64,
}

/// The ends of a list of entries, and their weight.
#[derive(Debug, Clone, Copy)]
struct List {
    newest: u32,
    oldest: u32,
    weight: u64,
}

impl List {
    const EMPTY: Self = Self {
        newest: NONE,
        oldest: NONE,
        weight: 0,
    };
}

impl Group {
    fn weight(&self) -> u64 {
        self.lists[PROBATION].weight + self.lists[PROVEN].weight
    }
}

/// Where an entry is in its group.
#[derive(Debug, Clone, Copy)]
struct Place {
    group: u32,
    newer: u32,
    older: u32,
    list: usize,
}

impl Default for Place {
    fn default() -> Self {
        Self {
            group: NONE,
            newer: NONE,
            older: NONE,
            list: PROBATION,
        }
    }
}

/// What a group may count on of a capacity, of which `all` parts are given out.
fn share_of(parts: u32, all: u64, capacity: u64) -> u64 {
    let share = u128::from(capacity) * u128::from(parts) / u128::from(all.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

impl Groups {
    pub(crate) fn new(shards: u64) -> Self {
        Self {
            known: HashMap::new(),
            all: Vec::new(),
            free: Vec::new(),
            places: Vec::new(),
            parts: 0,
            shards: shards.max(1),
            sweep_at: FIRST_SWEEP,
            churner: NONE,
        }
    }

    /// Gives the most weight that a group may hold in this shard.
    pub(crate) fn limit(&self, share: Share) -> u64 {
        share.limit.div_ceil(self.shards)
    }

    /// Gives the group of a slot that holds an entry.
    pub(crate) fn of(&self, slot: u32) -> u32 {
        self.place(slot).group
    }

    fn place(&self, slot: u32) -> Place {
        self.places.get(slot as usize).copied().unwrap_or_default()
    }

    fn place_mut(&mut self, slot: u32) -> Option<&mut Place> {
        self.places.get_mut(slot as usize)
    }

    fn group_mut(&mut self, slot: u32) -> Option<&mut Group> {
        let group = self.of(slot);
        self.all.get_mut(group as usize)
    }

    /// Takes a new entry in.
    pub(crate) fn join(&mut self, (slot, slots): (u32, usize), (id, share): (u64, Share), weight: u32) {
        if self.places.len() < slots {
            self.places.resize(slots, Place::default());
        }
        let at = self.find(id, share);
        let parts = &mut self.parts;
        if let Some(group) = self.all.get_mut(at as usize) {
            if group.len > 0 {
                *parts -= u64::from(group.share.parts);
            }
            group.share = share;
            *parts += u64::from(share.parts);
            group.len += 1;
        }
        self.link(slot, at, PROBATION, u64::from(weight));
    }

    /// Finds a group, or makes it.
    fn find(&mut self, id: u64, share: Share) -> u32 {
        if let Some(&at) = self.known.get(&id) {
            return at;
        }
        self.sweep();
        let group = Group {
            id,
            share,
            len: 0,
            lists: [List::EMPTY; 2],
            hits: AtomicU64::new(0),
            evictions: 0,
        };
        let at = match self.free.pop() {
            Some(at) => at,
            None => u32::try_from(self.all.len()).unwrap_or(NONE),
        };
        match self.all.get_mut(at as usize) {
            Some(place) => *place = group,
            None => self.all.push(group),
        }
        self.known.insert(id, at);
        at
    }

    /// Forgets groups without entries, so that made-up ones cannot fill the memory.
    fn sweep(&mut self) {
        if self.known.len() < self.sweep_at {
            return;
        }
        let (groups, free) = (&self.all, &mut self.free);
        self.known.retain(|_, at| {
            let is_used = groups.get(*at as usize).is_some_and(|group| group.len > 0);
            if !is_used {
                free.push(*at);
            }
            is_used
        });
        self.churner = NONE;
        self.sweep_at = FIRST_SWEEP.max(self.known.len() * 2);
    }

    /// Puts an entry at the front of one of a group's lists.
    fn link(&mut self, slot: u32, at: u32, list: usize, weight: u64) {
        let Some(group) = self.all.get_mut(at as usize) else {
            return;
        };
        let ends = &mut group.lists[list];
        ends.weight += weight;
        let older = std::mem::replace(&mut ends.newest, slot);
        if older == NONE {
            ends.oldest = slot;
        } else if let Some(place) = self.place_mut(older) {
            place.newer = slot;
        }
        if let Some(place) = self.place_mut(slot) {
            *place = Place {
                group: at,
                newer: NONE,
                older,
                list,
            };
        }
    }

    /// Takes an entry out of its list.
    fn unlink(&mut self, slot: u32, weight: u64) {
        let Place {
            group,
            newer,
            older,
            list,
        } = self.place(slot);
        let Some(group) = self.all.get_mut(group as usize) else {
            return;
        };
        let ends = &mut group.lists[list];
        ends.weight -= weight;
        if newer == NONE {
            ends.newest = older;
        }
        if older == NONE {
            ends.oldest = newer;
        }
        if let Some(place) = self.place_mut(newer) {
            place.older = older;
        }
        if let Some(place) = self.place_mut(older) {
            place.newer = newer;
        }
        if let Some(place) = self.place_mut(slot) {
            *place = Place::default();
        }
    }

    /// Lets go of an entry.
    pub(crate) fn leave(&mut self, slot: u32, weight: u32, evicted: bool) {
        let at = self.of(slot);
        self.unlink(slot, weight.into());
        let Some(group) = self.all.get_mut(at as usize) else {
            return;
        };
        group.len -= 1;
        group.evictions += u64::from(evicted);
        if group.len == 0 {
            self.parts -= u64::from(group.share.parts);
        }
    }

    /// Learns that an entry weighs something else now.
    pub(crate) fn reweighed(&mut self, slot: u32, from: u32, to: u32) {
        let list = self.place(slot).list;
        if let Some(group) = self.group_mut(slot) {
            let weight = &mut group.lists[list].weight;
            *weight = *weight + u64::from(to) - u64::from(from);
        }
    }

    /// Learns of a use of an entry: it is proven, and the newest of its group.
    pub(crate) fn touch(&mut self, slot: u32, weight: u32) {
        let group = self.of(slot);
        if group != NONE {
            self.unlink(slot, weight.into());
            self.link(slot, group, PROVEN, weight.into());
        }
    }

    /// Counts a hit of an entry, under shared access.
    pub(crate) fn hit(&self, slot: u32) {
        if let Some(group) = self.all.get(self.of(slot) as usize) {
            group
                .hits
                .store(group.hits.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Gives a group and what it may count on.
    fn claim(&self, at: u32, capacity: u64) -> Option<(&Group, u64)> {
        let group = self.all.get(at as usize)?;
        Some((group, share_of(group.share.parts, self.parts, capacity)))
    }

    /// Tells by how much a group is over its share; not at all if it is within it.
    fn excess(&self, at: u32, capacity: u64) -> Option<u64> {
        let (group, share) = self.claim(at, capacity)?;
        group.weight().checked_sub(share).filter(|&excess| excess > 0)
    }

    /// Finds the entry that leaves in place of the policy's victim; none if the victim is to leave. See the module's page.
    ///
    /// Constant, unless newcomer and victim are both within their shares: then one look at each group.
    pub(crate) fn instead_of(
        &mut self,
        victim: u32,
        newcomer: Option<u32>,
        capacity: u64,
        uses: &impl Uses,
    ) -> Option<u32> {
        if self.parts == 0 {
            return None;
        }
        let loser = self.of(victim);
        if let Some(own) = newcomer
            && let Some(payer) = self.payer(own, loser, capacity, uses)
            && let Some(slot) = self.unproven(payer, uses)
        {
            return Some(slot);
        }
        if self.place(victim).list == PROBATION && uses.is_used(victim) {
            self.touch(victim, uses.weight(victim));
        }
        let (group, share) = self.claim(loser, capacity)?;
        let is_proven = self.place(victim).list == PROVEN;
        if group.weight() > share {
            return None;
        }
        if !is_proven && group.lists[PROBATION].weight > share / SAFE {
            return newcomer
                .filter(|&own| own == loser)
                .and_then(|own| self.unproven(own, uses));
        }
        let own = newcomer.filter(|&own| self.excess(own, capacity).is_some());
        let from = own.or_else(|| {
            // Of equals the one with the lowest name.
            let groups = self.known.iter();
            let over =
                groups.filter_map(|(&id, &at)| Some((self.excess(at, capacity)?, std::cmp::Reverse(id), at)));
            over.max().map(|(.., at)| at)
        })?;
        self.oldest(from, uses)
    }

    /// Finds the group whose churn pays for a newcomer in the victim's place: the newcomer's own; or, where that is the victim's or has no
    /// more than its quota on probation, the one remembered, if it still has more, and of all that it holds a greater part than the newcomer's.
    fn payer(&mut self, own: u32, loser: u32, capacity: u64, uses: &impl Uses) -> Option<u32> {
        let has_churned = self.has_churned(own, capacity, uses);
        let rival =
            Some(self.churner).filter(|&rival| rival != own && self.has_churned(rival, capacity, uses));
        let worse = rival.filter(|&rival| !has_churned || self.churns_more(rival, own));
        if has_churned && worse.is_none() {
            self.churner = own;
        }
        if has_churned && own != loser {
            return Some(own);
        }
        worse.filter(|&rival| rival != loser)
    }

    /// Tells whether a group has a greater part of what it holds on probation than another.
    fn churns_more(&self, one: u32, other: u32) -> bool {
        let of = |at: u32| {
            let group = self.all.get(at as usize);
            group.map_or((0, 1), |group| {
                (group.lists[PROBATION].weight, group.weight().max(1))
            })
        };
        let ((one, all), (other, others)) = (of(one), of(other));
        u128::from(one) * u128::from(others) > u128::from(other) * u128::from(all)
    }

    /// Tells whether a group has more than its quota on probation, and had more than the least quota before its last entry came.
    fn has_churned(&self, at: u32, capacity: u64, uses: &impl Uses) -> bool {
        let Some((group, share)) = self.claim(at, capacity) else {
            return false;
        };
        let List { newest, weight, .. } = group.lists[PROBATION];
        if newest == NONE {
            return false;
        }
        let newcomer = u64::from(uses.weight(newest));
        let floor = newcomer.saturating_mul(FLOOR).min(capacity / SMALL);
        weight > share / CHURN && weight.saturating_sub(newcomer) > floor
    }

    /// Tells whether a group holds more than it may.
    pub(crate) fn is_above_limit(&self, at: u32) -> bool {
        let group = self.all.get(at as usize);
        group.is_some_and(|group| group.weight() > self.limit(group.share))
    }

    /// Finds the oldest entry of a group on probation that was not used; takes the used ones before it for proven, as many as there is time
    /// for.
    fn unproven(&mut self, at: u32, uses: &impl Uses) -> Option<u32> {
        for _ in 0..LOOKED_AT {
            let slot = self.back(at, PROBATION)?;
            if !uses.is_used(slot) {
                return Some(slot);
            }
            self.touch(slot, uses.weight(slot));
        }
        None
    }

    /// Gives the entry of a group to lose: the oldest on probation, else the oldest.
    pub(crate) fn oldest(&mut self, at: u32, uses: &impl Uses) -> Option<u32> {
        let unproven = self.unproven(at, uses);
        unproven
            .or_else(|| self.back(at, PROVEN))
            .or_else(|| self.back(at, PROBATION))
    }

    fn back(&self, at: u32, list: usize) -> Option<u32> {
        let oldest = self.all.get(at as usize)?.lists[list].oldest;
        (oldest != NONE).then_some(oldest)
    }

    /// Gives the entries of a group, proven ones first, the newest first.
    pub(crate) fn slots(&self, id: u64) -> Vec<u32> {
        let group = self.known.get(&id).and_then(|&at| self.all.get(at as usize));
        let Some(group) = group else { return Vec::new() };
        let mut slots = Vec::with_capacity(group.len);
        for list in [PROVEN, PROBATION] {
            let mut slot = group.lists[list].newest;
            // No longer than it can be, even if it were torn.
            while slot != NONE && slots.len() <= group.len {
                slots.push(slot);
                slot = self.place(slot).older;
            }
        }
        slots
    }

    /// Forgets a group and what it did, if it has no entries.
    pub(crate) fn forget(&mut self, id: u64) {
        let Some(&at) = self.known.get(&id) else { return };
        if self.all.get(at as usize).is_some_and(|group| group.len == 0) {
            self.known.remove(&id);
            self.free.push(at);
            // Its place may be another's soon.
            if self.churner == at {
                self.churner = NONE;
            }
        }
    }

    /// Follows a table that grew.
    pub(crate) fn renumber(&mut self, new_of_old: &[u32], slots: usize) {
        let renamed = |slot: u32| new_of_old.get(slot as usize).copied().unwrap_or(NONE);
        let mut places = vec![Place::default(); slots];
        for (old, place) in self
            .places
            .iter()
            .enumerate()
            .filter(|(_, place)| place.group != NONE)
        {
            if let Some(new) = new_of_old
                .get(old)
                .and_then(|&slot| places.get_mut(slot as usize))
            {
                *new = Place {
                    group: place.group,
                    newer: renamed(place.newer),
                    older: renamed(place.older),
                    list: place.list,
                };
            }
        }
        self.places = places;
        for group in &mut self.all {
            for list in &mut group.lists {
                list.newest = renamed(list.newest);
                list.oldest = renamed(list.oldest);
            }
        }
    }

    /// Lets go of all entries; what the groups did stays known.
    pub(crate) fn clear(&mut self) {
        self.places.clear();
        self.parts = 0;
        for group in &mut self.all {
            group.len = 0;
            group.lists = [List::EMPTY; 2];
        }
    }

    /// Tells what each group holds and did, and one of its slots.
    pub(crate) fn stats(&self, capacity: u64) -> impl Iterator<Item = (u64, Option<u32>, GroupStats)> {
        self.known.values().filter_map(move |&at| {
            let group = self.all.get(at as usize)?;
            let share = share_of(group.share.parts, self.parts, capacity);
            let stats = GroupStats {
                entries: group.len,
                weight: group.weight(),
                share: if group.len > 0 { share } else { 0 },
                hits: group.hits.load(Ordering::Relaxed),
                evictions: group.evictions,
            };
            Some((
                group.id,
                self.back(at, PROVEN).or_else(|| self.back(at, PROBATION)),
                stats,
            ))
        })
    }

    /// Checks lists and sums against the entries: slots, their groups and weights.
    ///
    /// # Errors
    /// Says what disagrees.
    pub(crate) fn validate(&self, entries: impl Iterator<Item = (u32, u64, u32)>) -> Result<(), String> {
        let mut sums: HashMap<u64, (usize, [u64; 2])> = HashMap::new();
        for (slot, id, weight) in entries {
            let group = self.all.get(self.of(slot) as usize);
            if group.map(|group| group.id) != Some(id) {
                return Err(format!("slot {slot}: it is in another group than {id}"));
            }
            let sum = sums.entry(id).or_default();
            sum.0 += 1;
            sum.1[self.place(slot).list] += u64::from(weight);
        }
        let mut parts = 0;
        for (&id, &at) in &self.known {
            let Some(group) = self.all.get(at as usize) else {
                return Err(format!("group {id} is nowhere"));
            };
            let counted = sums.get(&id).copied().unwrap_or_default();
            let listed = self.slots(id).len();
            let booked = (group.len, group.lists.map(|list| list.weight));
            if booked != counted || listed != group.len {
                return Err(format!(
                    "group {id} has {counted:?} entries and weights, {booked:?} counted, {listed} listed"
                ));
            }
            if group.len > 0 {
                parts += u64::from(group.share.parts);
            }
        }
        if parts != self.parts || sums.keys().any(|id| !self.known.contains_key(id)) {
            return Err(format!("{parts} parts are given out, {} counted", self.parts));
        }
        Ok(())
    }
}
