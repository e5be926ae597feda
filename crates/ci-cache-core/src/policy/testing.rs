//! A small table for the policies' tests, with the duties of the engine towards a policy, and the comparison with naive references.

use std::cell::Cell;
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{MAX_HITS, Policy, Residents};

/// What a slot of the table holds.
#[derive(Debug, Clone, Default)]
struct Entry {
    key: u16,
    hits: Cell<u8>,
    weight: u32,
    cost: u32,
}

/// The entries of a tiny shard by slot.
#[derive(Debug, Default)]
pub(super) struct Table {
    entries: Vec<Option<Entry>>,
    slot_of: BTreeMap<u16, u32>,
}

/// Mixes a key into 64 bits.
pub(super) fn hash_of(key: u16) -> u64 {
    let mut hash = u64::from(key).wrapping_add(1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    hash ^= hash >> 29;
    hash = hash.wrapping_mul(0xBF58_476D_1CE4_E5B9);
    hash ^ hash >> 32
}

impl Table {
    /// Gives the entry of a slot that must be held.
    fn entry(&self, slot: u32) -> &Entry {
        self.entries[slot as usize].as_ref().expect("the slot is held")
    }

    /// Gives the key in a slot.
    pub(super) fn key(&self, slot: u32) -> u16 {
        self.entry(slot).key
    }

    /// Sums the weights.
    fn weight_of_all(&self) -> u64 {
        self.entries
            .iter()
            .flatten()
            .map(|entry| u64::from(entry.weight))
            .sum()
    }

    /// Frees a slot.
    fn free(&mut self, slot: u32) -> u16 {
        let entry = self.entries[slot as usize].take().expect("the slot is held");
        self.slot_of.remove(&entry.key);
        entry.key
    }
}

impl Residents for Table {
    fn hits(&self, slot: u32) -> u8 {
        self.entry(slot).hits.get()
    }

    fn set_hits(&self, slot: u32, hits: u8) {
        self.entry(slot).hits.set(hits);
    }

    fn hash(&self, slot: u32) -> u64 {
        hash_of(self.key(slot))
    }

    fn weight(&self, slot: u32) -> u32 {
        self.entry(slot).weight
    }

    fn cost(&self, slot: u32) -> u32 {
        self.entry(slot).cost
    }
}

/// A call of the engine's caller.
#[derive(Debug, Clone, Copy)]
pub(super) enum Op {
    /// Looks a key up and inserts it on a miss, with a weight and a cost.
    Get(u16, u32, u32),
    /// Removes a key.
    Remove(u16),
    /// Changes the weight of a resident key.
    Reweigh(u16, u32),
    /// Asks for a victim and gives it back.
    Spare,
    /// Rebuilds the table with reversed slot numbers.
    Rebuild,
    /// Changes the capacity.
    Resize(u64),
    /// Empties the shard.
    Clear,
}

/// Draws a capacity and up to `most` operations over a tiny key space, mostly gets, of entries of some weights.
pub(super) fn ops(max_weight: u32, most: usize) -> impl Strategy<Value = (u64, Vec<Op>)> {
    let capacities = u64::from(max_weight)..40;
    let keys = 0_u16..48;
    let costs = || prop_oneof![4 => Just(0_u32), 1 => 1_u32..4];
    let op = prop_oneof![
        60 => (keys.clone(), 1..=max_weight, costs()).prop_map(|(key, weight, cost)| Op::Get(key, weight, cost)),
        // A hot few, so that marks build up.
        30 => (0_u16..6, 1..=max_weight, costs()).prop_map(|(key, weight, cost)| Op::Get(key, weight, cost)),
        4 => keys.clone().prop_map(Op::Remove),
        2 => (keys, 1..=max_weight).prop_map(|(key, weight)| Op::Reweigh(key, weight)),
        3 => Just(Op::Spare),
        1 => Just(Op::Rebuild),
        1 => capacities.clone().prop_map(Op::Resize),
        1 => Just(Op::Clear),
    ];
    (capacities, prop::collection::vec(op, 0..most))
}

/// A slow, literal transcription of a policy over keys.
pub(super) trait Naive {
    /// A hit on a resident key.
    fn hit(&mut self, key: u16);
    /// A new key.
    fn insert(&mut self, key: u16, weight: u32, cost: u32);
    /// A key leaves by wish.
    fn remove(&mut self, key: u16);
    /// A key's weight changes.
    fn reweigh(&mut self, key: u16, weight: u32);
    /// Chooses the victim.
    fn evict(&mut self) -> Option<u16>;
    /// Takes the victim back, with the hits on its mark.
    fn spare(&mut self, key: u16, hits: u8, weight: u32, cost: u32);
    /// The capacity changes.
    fn resize(&mut self, capacity: u64);
    /// All is forgotten.
    fn clear(&mut self);
    /// The queues as [`Policy::queues`] gives them, as keys.
    fn queues(&self) -> Vec<(&'static str, Vec<u16>)>;
}

/// A policy in its table beside its naive twin, driven through both at once.
pub(super) struct Twin<P, N> {
    policy: P,
    naive: N,
    table: Table,
    capacity: u64,
}

impl<P: Policy, N: Naive> Twin<P, N> {
    /// Pairs a policy and its reference, both of the same capacity.
    pub(super) fn new(policy: P, naive: N, capacity: u64) -> Self {
        Self {
            policy,
            naive,
            table: Table::default(),
            capacity,
        }
    }

    /// Runs all operations, comparing the whole queues after each.
    pub(super) fn run(mut self, ops: Vec<Op>) {
        for op in ops {
            self.step(op);
            self.policy
                .validate(&self.table)
                .expect("the policy is consistent");
            let queues: Vec<(&str, Vec<u16>)> = self
                .policy
                .queues()
                .into_iter()
                .map(|(name, slots)| (name, self.keys(&slots)))
                .collect();
            assert_eq!(queues, self.naive.queues());
            assert_eq!(self.policy.order().len(), self.table.slot_of.len());
        }
    }

    fn keys(&self, slots: &[u32]) -> Vec<u16> {
        slots.iter().map(|&slot| self.table.key(slot)).collect()
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Get(key, weight, cost) => match self.table.slot_of.get(&key).copied() {
                Some(slot) => self.hit(key, slot),
                None => self.insert(key, weight, cost),
            },
            Op::Remove(key) => self.remove(key),
            Op::Reweigh(key, weight) => self.reweigh(key, weight),
            Op::Spare => self.spare(),
            Op::Rebuild => self.rebuild(),
            Op::Resize(capacity) => {
                self.capacity = capacity;
                self.policy.set_capacity(capacity);
                self.naive.resize(capacity);
                self.evict();
            }
            Op::Clear => {
                self.table = Table::default();
                self.policy.clear();
                self.naive.clear();
            }
        }
    }

    fn hit(&mut self, key: u16, slot: u32) {
        let mark = &self.table.entry(slot).hits;
        mark.set((mark.get() + 1).min(MAX_HITS));
        if self.policy.is_exact() {
            self.policy.hit(slot);
        }
        if self
            .policy
            .sample_mask()
            .is_some_and(|mask| hash_of(key) & mask == 0)
        {
            self.policy.heard(slot, hash_of(key), &self.table);
        }
        self.naive.hit(key);
    }

    fn insert(&mut self, key: u16, weight: u32, cost: u32) {
        let free = self.table.entries.iter().position(Option::is_none);
        let slot = free.unwrap_or(self.table.entries.len());
        if free.is_none() {
            self.table.entries.push(None);
            self.policy.reserve(self.table.entries.len().next_power_of_two());
        }
        self.table.entries[slot] = Some(Entry {
            key,
            hits: Cell::new(0),
            weight,
            cost,
        });
        let slot = u32::try_from(slot).expect("tiny");
        self.table.slot_of.insert(key, slot);
        self.policy.insert(slot, hash_of(key), &self.table);
        self.naive.insert(key, weight, cost);
        self.evict();
    }

    fn evict(&mut self) {
        while self.table.weight_of_all() > self.capacity {
            let slot = self.policy.evict(&self.table).expect("entries are held");
            assert_eq!(Some(self.table.free(slot)), self.naive.evict());
        }
    }

    fn spare(&mut self) {
        // The engine asks for a victim only where something is held.
        if self.table.slot_of.is_empty() {
            return;
        }
        let slot = self.policy.evict(&self.table).expect("entries are held");
        let Entry {
            key,
            hits,
            weight,
            cost,
        } = self.table.entry(slot).clone();
        assert_eq!(Some(key), self.naive.evict());
        self.policy.spare(slot, &self.table);
        self.naive.spare(key, hits.get(), weight, cost);
    }

    fn remove(&mut self, key: u16) {
        let Some(&slot) = self.table.slot_of.get(&key) else {
            return;
        };
        self.policy.remove(slot, &self.table);
        self.naive.remove(key);
        self.table.free(slot);
    }

    fn reweigh(&mut self, key: u16, weight: u32) {
        let Some(&slot) = self.table.slot_of.get(&key) else {
            return;
        };
        let entry = self.table.entries[slot as usize]
            .as_mut()
            .expect("the slot is held");
        let from = std::mem::replace(&mut entry.weight, weight);
        self.policy.reweighed(slot, from, weight);
        self.naive.reweigh(key, weight);
        self.evict();
    }

    fn rebuild(&mut self) {
        let slots = self.table.entries.len();
        let new_of_old: Vec<u32> = (0..slots)
            .rev()
            .map(|slot| u32::try_from(slot).expect("tiny"))
            .collect();
        self.table.entries.reverse();
        for slot in self.table.slot_of.values_mut() {
            *slot = new_of_old[*slot as usize];
        }
        self.policy.renumber(&new_of_old, slots);
    }
}
