//! Making room: who leaves when a shard, or a group in it, holds too much.

use super::write::Stored;
use super::{BROKEN, Shard};
use crate::config::{Config, Life};
use crate::listener::{Cause, Garbage, Rest};
use crate::policy::Policy;

impl<K, V, E> Shard<K, V, E> {
    /// Gives the most that an entry may weigh.
    #[inline]
    pub(super) fn most(&self, life: &Life) -> u64 {
        match (&self.groups, life.group) {
            (Some(groups), Some((_, share))) => self.capacity.min(groups.limit(share)),
            _ => self.capacity,
        }
    }

    /// Evicts while the shard, or the group of what was just stored, is too heavy; says whether what was just stored is still there.
    #[inline]
    pub(super) fn shrink(
        &mut self,
        stored: Option<u32>,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) -> Stored {
        let mut outcome = if stored.is_some() {
            Stored::Kept
        } else {
            Stored::Refused
        };
        let newcomer = match (&self.groups, stored) {
            (Some(groups), Some(slot)) => Some(groups.of(slot)),
            _ => None,
        };
        loop {
            let victim = if self.weight > self.capacity {
                self.evict(newcomer, config, out)
            } else {
                newcomer.and_then(|group| self.limit(group, config, out))
            };
            let Some(victim) = victim else { break };
            if stored == Some(victim) {
                outcome = Stored::Refused;
            }
        }
        outcome
    }

    /// Takes the oldest entry of a group out that holds more than it may.
    fn limit(&mut self, group: u32, config: &Config<K, V>, out: &mut Garbage<K, V, E>) -> Option<u32> {
        let groups = self
            .groups
            .as_mut()
            .filter(|groups| groups.is_above_limit(group))?;
        let slot = groups.oldest(group, &self.columns)?;
        let (_, key, _) = self.table.get(slot)?;
        let hash = (config.rehash)(key);
        self.take(hash, slot, Cause::Size, config, out);
        Some(slot)
    }

    /// Lets the policy choose a victim and takes it out, or another that has to give way in its place to an entry of the newcomer's group.
    pub(super) fn evict(
        &mut self,
        newcomer: Option<u32>,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) -> Option<u32> {
        let epoch = std::mem::replace(&mut self.epoch, BROKEN);
        let view = super::View {
            table: &self.table,
            columns: &self.columns,
            rehash: &*config.rehash,
        };
        let mut victim = self.policy.evict(&view);
        if let Some(groups) = &mut self.groups
            && let Some(spared) = victim
            && !self.rules.ignores_shares()
            && let Some(slot) = groups.instead_of(spared, newcomer, self.capacity, &self.columns)
        {
            self.policy.spare(spared, &view);
            self.policy.remove(slot, &view);
            victim = Some(slot);
        }
        self.sample = self.policy.sample_mask().unwrap_or(u64::MAX);
        if let Some(slot) = victim
            && let Some((mark, key, _)) = self.table.get(slot)
        {
            let (state, hash) = (self.state(slot, mark.read(), config), (config.rehash)(key));
            self.unseat(hash, slot, state, Cause::Size, out);
        }
        self.epoch = epoch;
        victim
    }

    /// Learns of a use of an entry where the policy must know of each at once.
    pub(super) fn used(&mut self, slot: u32) {
        self.policy.hit(slot);
        if let Some(groups) = &mut self.groups {
            groups.touch(slot, self.columns.weight(slot));
        }
    }

    /// Takes out every entry of a group, and detaches its flights; counts the fresh ones.
    pub(crate) fn remove_group(
        &mut self,
        group: u64,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) -> usize {
        let (Some(groups), Some(grouping)) = (&self.groups, &config.groups) else {
            return 0;
        };
        let doomed = groups.slots(group);
        let flights = self.flights.detach_where(|key| (grouping.of)(key) == group);
        if !flights.is_empty() {
            out.push_rest(Rest::Flights(flights));
        }
        let taken = doomed.into_iter().filter(|&slot| {
            let hash = self.table.get(slot).map(|(_, key, _)| (config.rehash)(key));
            hash.is_some_and(|hash| self.take(hash, slot, Cause::Removed, config, out))
        });
        let fresh = taken.count();
        if let Some(groups) = &mut self.groups {
            groups.forget(group);
        }
        fresh
    }

    /// Changes the capacity and evicts what is too much, at most `limit` entries; says whether more is to be done.
    pub(crate) fn resize(
        &mut self,
        capacity: u64,
        limit: usize,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) -> bool {
        if self.capacity != capacity {
            self.capacity = capacity;
            self.policy.set_capacity(capacity);
            self.sample = self.policy.sample_mask().unwrap_or(u64::MAX);
        }
        if self.rules.shrinks_later() {
            return false;
        }
        for _ in 0..limit {
            if self.weight <= self.capacity || self.evict(None, config, out).is_none() {
                return false;
            }
        }
        self.weight > self.capacity
    }
}
