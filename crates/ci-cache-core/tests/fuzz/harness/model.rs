//! The naive reference: which values are resident, what may be done with each, and what was counted. Everything by walking.
//!
//! It knows no policy. Which entry leaves it learns from the listener, and judges: whether the cause is the true one, whether anything had to leave.
//! So it is exact about everything but the choice of victims. Written by the documentation, not by the engine's code.

use std::collections::{BTreeMap, BTreeSet};

use ci_cache_core::{Cause, Stats, Ttl};

use super::subject::{Heard, Setup, ttl_of};

/// The end of time: what never expires expires then.
pub(crate) const NEVER: u64 = u64::MAX;
/// The last deadline that the engine keeps exactly (some 2,283 years): a later one comes then, rather early than never.
const LAST: u64 = (1 << 56) - 2;

/// How many scopes there are.
pub(crate) const SCOPES: usize = 3;

/// What an insertion or a look-up asks for.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Wish {
    pub(crate) ttl: Ttl,
    pub(crate) idle: Option<u64>,
    pub(crate) revalidate: Option<u64>,
    pub(crate) error: Option<u64>,
    pub(crate) weight: Option<u32>,
    pub(crate) cost: u32,
    /// Scope and generation.
    pub(crate) stamp: Option<(usize, u64)>,
}

/// A resident value.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) id: u32,
    pub(crate) key: u8,
    pub(crate) created: u64,
    pub(crate) hits: u64,
    pub(crate) weight: u32,
    pub(crate) stamp: Option<(usize, u64)>,
    /// When the time to live ends.
    pub(crate) hard: u64,
    pub(crate) idle: Option<u64>,
    /// When idling ends, for now.
    idle_end: u64,
    pub(crate) stale_until: u64,
    pub(crate) fallback_until: u64,
    /// The cache knows when it came and how often it was hit.
    pub(crate) detailed: bool,
}

impl Record {
    /// The first moment at which it is no longer fresh.
    pub(crate) fn deadline(&self) -> u64 {
        let end = self.hard.min(self.idle_end);
        if end == NEVER { NEVER } else { end.min(LAST) }
    }
}

/// What may be done with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Fresh,
    Stale,
    Fallback,
    Expired,
    Invalidated,
}

impl State {
    pub(crate) fn is_dead(self) -> bool {
        matches!(self, Self::Expired | Self::Invalidated)
    }
}

/// What an operation does, hence which values may leave in it. Dead ones may always.
pub(crate) enum Doing<'a> {
    /// Reads, and ends flights.
    Looking,
    /// Stores values: those of the same key are replaced, others make room.
    Storing,
    /// Removes what matches by key and value.
    Removing(&'a dyn Fn(u8, u32) -> bool),
    /// Lowers the capacity.
    Shrinking,
}

/// What the model counts, as [`Stats`] does; `sized` is what left for others or was refused.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) hits: u64,
    pub(crate) stale_hits: u64,
    pub(crate) misses: u64,
    pub(crate) insertions: u64,
    pub(crate) replacements: u64,
    pub(crate) sized: u64,
    pub(crate) expirations: u64,
    pub(crate) invalidations: u64,
    pub(crate) loads: u64,
    pub(crate) load_failures: u64,
    pub(crate) fallbacks: u64,
    pub(crate) abandoned: u64,
    pub(crate) refused: u64,
    pub(crate) coalesced: u64,
    pub(crate) faults: u64,
}

impl Counts {
    pub(crate) fn of(stats: &Stats) -> Self {
        Self {
            hits: stats.hits,
            stale_hits: stats.stale_hits,
            misses: stats.misses,
            insertions: stats.insertions,
            replacements: stats.replacements,
            sized: stats.evictions + stats.rejections,
            expirations: stats.expirations,
            invalidations: stats.invalidations,
            loads: stats.loads,
            load_failures: stats.load_failures,
            fallbacks: stats.fallbacks,
            abandoned: stats.abandoned,
            refused: stats.refused,
            coalesced: stats.coalesced,
            faults: stats.faults,
        }
    }
}

/// The reference.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) setup: Setup,
    pub(crate) capacity: u64,
    pub(crate) now: u64,
    pub(crate) generations: [u64; SCOPES],
    /// By the value's number, which rises.
    pub(crate) residents: BTreeMap<u32, Record>,
    /// Cleared, and not yet told of.
    pub(crate) cleared: BTreeSet<u32>,
    pub(crate) counts: Counts,
}

impl Model {
    pub(crate) fn new(setup: Setup) -> Self {
        Self {
            capacity: setup.capacity,
            setup,
            now: 0,
            generations: [0; SCOPES],
            residents: BTreeMap::new(),
            cleared: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// Whether a stamp is of its scope's generation.
    pub(crate) fn is_live(&self, stamp: Option<(usize, u64)>) -> bool {
        stamp.is_none_or(|(scope, generation)| self.generations[scope] == generation)
    }

    pub(crate) fn state(&self, record: &Record) -> State {
        let end = record.deadline();
        if !self.is_live(record.stamp) {
            State::Invalidated
        } else if end == NEVER || self.now < end {
            State::Fresh
        } else if record.idle.is_some() && end < record.hard {
            // It idled out; stale windows do not prolong that.
            State::Expired
        } else if self.now < record.stale_until {
            State::Stale
        } else if self.now < record.fallback_until {
            State::Fallback
        } else {
            State::Expired
        }
    }

    /// The resident value of a key, dead ones included.
    pub(crate) fn resident(&self, key: u8) -> Option<(&Record, State)> {
        let record = self.residents.values().find(|record| record.key == key)?;
        Some((record, self.state(record)))
    }

    /// The number of a key's value in one of some states.
    pub(crate) fn value_in(&self, key: u8, states: &[State]) -> Option<u32> {
        let (record, state) = self.resident(key)?;
        states.contains(&state).then_some(record.id)
    }

    pub(crate) fn fresh(&self, key: u8) -> Option<u32> {
        self.value_in(key, &[State::Fresh])
    }

    /// A look-up: counts a hit and puts the end of idling off, if there is a fresh value.
    pub(crate) fn hit(&mut self, key: u8) -> Option<u32> {
        let id = self.fresh(key)?;
        self.counts.hits += 1;
        let now = self.now;
        if let Some(record) = self.residents.get_mut(&id) {
            record.hits += 1;
            if let Some(idle) = record.idle {
                record.idle_end = now.saturating_add(idle);
            }
        }
        Some(id)
    }

    /// The life that a value would start now.
    pub(crate) fn record(&self, key: u8, id: u32, weight: u32, wish: &Wish) -> Record {
        let Setup { weighs, expiry, .. } = self.setup;
        let ttl = match wish.ttl {
            Ttl::Inherit if expiry => ttl_of(key),
            ttl => ttl,
        };
        let hard = match ttl {
            Ttl::After(ttl) => Some(u64::try_from(ttl.as_micros()).unwrap_or(NEVER)),
            Ttl::Inherit => self.setup.ttl,
            _ => None,
        }
        .map_or(NEVER, |ttl| self.now.saturating_add(ttl));
        let idle = wish.idle.or(self.setup.idle);
        let revalidate = wish.revalidate.or(self.setup.revalidate);
        let error = wish.error.or(self.setup.error);
        let weighed = if weighs { weight } else { 1 };
        let has_particulars =
            wish.stamp.is_some() || idle.is_some() || revalidate.is_some() || error.is_some();
        let detailed = self.setup.details || has_particulars;
        // Without particulars nothing but the deadline is known, which at the end of time is an early one.
        let hard = if detailed || hard == NEVER {
            hard
        } else {
            hard.min(LAST)
        };
        Record {
            id,
            key,
            created: self.now,
            hits: 0,
            weight: wish.weight.unwrap_or(weighed).max(1),
            stamp: wish.stamp,
            hard,
            idle,
            idle_end: idle.map_or(NEVER, |idle| self.now.saturating_add(idle)),
            stale_until: hard.saturating_add(revalidate.unwrap_or(0)),
            fallback_until: hard.saturating_add(error.unwrap_or(0)),
            detailed,
        }
    }

    pub(crate) fn weight(&self) -> u64 {
        self.residents
            .values()
            .map(|record| u64::from(record.weight))
            .sum()
    }

    /// The least capacity that any shard has.
    fn least_share(&self) -> u64 {
        self.capacity / self.setup.shards as u64
    }

    /// Takes in what an operation stored and what left in it, and judges; tells whether the last newcomer was kept.
    ///
    /// # Panics
    /// If something left that should not have, or under a wrong cause.
    pub(crate) fn settle(&mut self, heard: &[Heard], doing: &Doing<'_>, newcomers: Vec<Record>) -> bool {
        let arrived: Vec<(u8, u32)> = newcomers.iter().map(|new| (new.key, new.id)).collect();
        self.counts.insertions += newcomers.len() as u64;
        for record in newcomers {
            self.residents.insert(record.id, record);
        }
        let mut left = Vec::new();
        for &event in heard {
            let Heard::Gone { key, id, cause } = event else {
                panic!("nothing is imported, but {event:?}")
            };
            if cause == Cause::Cleared {
                assert!(self.cleared.remove(&id), "{event:?}: it was not cleared");
                continue;
            }
            let Some(record) = self.residents.remove(&id) else {
                panic!("{event:?}: it was not there")
            };
            assert_eq!(record.key, key, "{event:?}: it was another's");
            self.judge(&record, cause, doing, &arrived);
            // One that is too heavy never came in.
            let was_in = !arrived.contains(&(key, id)) || u64::from(record.weight) <= self.capacity;
            if was_in {
                left.push((u64::from(record.weight), cause));
            }
        }
        if arrived.len() <= 1 && self.setup.shards == 1 {
            self.judge_evictions(&left);
        }
        for &(key, id) in &arrived {
            let others = self
                .residents
                .values()
                .filter(|other| other.key == key && other.id != id);
            assert_eq!(others.count(), 0, "{key} has two values");
        }
        arrived
            .last()
            .is_none_or(|(_, id)| self.residents.contains_key(id))
    }

    /// Whether this value may have left for this cause.
    fn judge(&mut self, record: &Record, cause: Cause, doing: &Doing<'_>, arrived: &[(u8, u32)]) {
        let state = self.state(record);
        let is_new = arrived.contains(&(record.key, record.id));
        let is_replaced = arrived
            .iter()
            .any(|&(key, id)| key == record.key && id > record.id);
        let is_refused = is_new && cause == Cause::Size && u64::from(record.weight) > self.least_share();
        let may_leave = match doing {
            Doing::Looking => state.is_dead(),
            Doing::Storing | Doing::Shrinking => true,
            Doing::Removing(matches) => state.is_dead() || matches(record.key, record.id),
        };
        assert!(may_leave, "{record:?} left, {state:?}, for {cause:?}");
        let cause_of_fresh = match doing {
            Doing::Removing(_) => Cause::Removed,
            _ if is_replaced => Cause::Replaced,
            _ => Cause::Size,
        };
        let expected = match state {
            _ if is_refused => Cause::Size,
            State::Invalidated => Cause::Removed,
            State::Stale | State::Fallback | State::Expired => Cause::Expired,
            State::Fresh => cause_of_fresh,
        };
        assert_eq!(cause, expected, "{record:?} left, {state:?}");
        match cause {
            Cause::Size => self.counts.sized += 1,
            Cause::Expired => self.counts.expirations += 1,
            Cause::Replaced => self.counts.replacements += 1,
            _ => self.counts.invalidations += 1,
        }
    }

    /// Nobody is evicted while there is room: before each eviction the weight was above the capacity.
    fn judge_evictions(&self, left: &[(u64, Cause)]) {
        let mut after = self.weight();
        for &(weight, cause) in left.iter().rev() {
            if cause == Cause::Size {
                assert!(
                    after + weight > self.capacity,
                    "evicted with room for it: {after} + {weight} of {}",
                    self.capacity
                );
            }
            after += weight;
        }
    }

    /// A clear: all is gone at once, and will be told of later.
    pub(crate) fn clear(&mut self) {
        self.counts.invalidations += self.residents.len() as u64;
        self.cleared.extend(self.residents.keys());
        self.residents.clear();
    }
}
