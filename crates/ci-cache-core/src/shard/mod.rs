//! One shard: a table, its policy, the flights of its keys, and its counters, all under one lock.
//!
//! Everything that carries a user's key or value out of the shard goes into [`Garbage`] or is returned, so that it
//! is dropped after the caller has released the lock.
//!
//! - `mod.rs`: the parts, and what is done under shared access: looking.
//! - `write.rs`: entries come and go.
//! - `load.rs`: flights.
//! - `room.rs` and `groups.rs`: who leaves, and shares of the capacity.
//! - `step.rs`: what `compute` and the snapshots need.

mod groups;
mod load;
mod room;
mod step;
mod write;

use hashbrown::Equivalent;

use groups::Groups;
pub(crate) use load::{Ending, Landing, Probe};
pub(crate) use step::Particulars;
pub(crate) use write::Stored;

use crate::clock::Tick;
use crate::config::Config;
use crate::detail::{Columns, State};
use crate::entry::{Found, Meta};
use crate::flights::Flights;
use crate::listener::{Garbage, Rest};
use crate::mark::{Mark, Reading};
use crate::policy::{AnyPolicy, Policy, Residents};
use crate::raw::Access;
use crate::rules::Rules;
use crate::share::GroupStats;
use crate::shim::{AtomicU32, AtomicU64, Ordering};
use crate::stats::Stats;
use crate::table::Table;

/// Sampled hits that wait for the policy to hear of them; more are dropped.
const HEARD: usize = if cfg!(any(loom, shuttle)) { 2 } else { 32 };
/// The epoch of a shard in the middle of a change: what a panic in user code leaves behind is never served.
const BROKEN: u64 = u64::MAX;

/// See the module's page. Fields of atomic types are written by readers too.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Shard<K, V, E> {
    // What a hit reads comes first: with the lock's word it fills one cache line.
    /// The cache's epoch these contents belong to: in another epoch they are gone, whether or not they were dropped.
    epoch: u64,
    /// Bits of a hash that are all zero if the policy wants to hear of the hit.
    sample: u64,
    table: Table<K, V>,
    // What a hit under the word, or a sampled one, writes.
    /// Hits under the word by readers (those beside it are on the stripes).
    hits: AtomicU64,
    heard: Heard,
    columns: Columns,
    /// The weight of all entries.
    weight: u64,
    /// The most weight; at least 1.
    capacity: u64,
    /// Where the next sweep for dead entries begins.
    hand: u32,
    /// No deadline of an entry comes before this moment.
    soonest: Tick,
    /// The same of the entries that this round of sweeps has seen so far, and of those that came since it began.
    upcoming: Tick,
    policy: AnyPolicy,
    flights: Flights<K, V, E>,
    /// Where entries are grouped.
    groups: Option<Box<Groups>>,
    stats: Stats,
    /// The rules of the protocol that tests break on purpose.
    pub(crate) rules: Rules,
}

/// Slots and hashes of sampled hits. Readers beside each other may overwrite one another's: it is a sample.
#[derive(Debug)]
#[repr(C)]
struct Heard {
    len: AtomicU32,
    slots: [AtomicU32; HEARD],
    hashes: [AtomicU64; HEARD],
}

impl Heard {
    fn new() -> Self {
        Self {
            len: AtomicU32::new(0),
            slots: std::array::from_fn(|_| AtomicU32::new(0)),
            hashes: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    #[inline]
    fn push(&self, slot: u32, hash: u64) {
        let len = self.len.load(Ordering::Relaxed);
        if let (Some(place), Some(beside)) = (self.hashes.get(len as usize), self.slots.get(len as usize)) {
            place.store(hash, Ordering::Relaxed);
            beside.store(slot, Ordering::Relaxed);
            self.len.store(len + 1, Ordering::Relaxed);
        }
    }
}

/// What a look under shared access found.
#[derive(Debug)]
pub(crate) enum Look<R> {
    /// A fresh entry, and what the caller made of it.
    Hit(R),
    /// No entry.
    Absent,
    /// An entry that is not fresh.
    NotFresh,
}

/// What the policy sees of a shard's entries.
pub(crate) struct View<'a, K, V> {
    table: &'a Table<K, V>,
    columns: &'a Columns,
    rehash: &'a (dyn Fn(&K) -> u64 + Send + Sync),
}

impl<K, V> Residents for View<'_, K, V> {
    #[inline]
    fn hits(&self, slot: u32) -> u8 {
        self.table.get(slot).map_or(0, |(mark, ..)| mark.read().hits())
    }

    #[inline]
    fn set_hits(&self, slot: u32, hits: u8) {
        if let Some((mark, ..)) = self.table.get(slot) {
            mark.set_hits(hits);
        }
    }

    fn hash(&self, slot: u32) -> u64 {
        self.table.get(slot).map_or(0, |(_, key, _)| (self.rehash)(key))
    }

    #[inline]
    fn weight(&self, slot: u32) -> u32 {
        self.columns.weight(slot)
    }

    #[inline]
    fn cost(&self, slot: u32) -> u32 {
        self.columns.cost(slot)
    }
}

impl<K, V, E> Shard<K, V, E> {
    pub(crate) fn new(capacity: u64, shards: u64, config: &Config<K, V>) -> Self {
        let policy = AnyPolicy::new(config.eviction, capacity);
        Self {
            epoch: 0,
            sample: policy.sample_mask().unwrap_or(u64::MAX),
            table: Table::default(),
            columns: Columns::default(),
            policy,
            flights: Flights::default(),
            groups: config.groups.is_some().then(|| Box::new(Groups::new(shards))),
            weight: 0,
            capacity,
            hand: 0,
            soonest: Tick::NEVER,
            upcoming: Tick::NEVER,
            stats: Stats::default(),
            hits: AtomicU64::new(0),
            heard: Heard::new(),
            rules: Rules::SHIPPED,
        }
    }

    /// Looks a key up under shared access; `visit` runs on a fresh entry.
    #[inline(always)]
    pub(crate) fn look<Q, R>(
        &self,
        (hash, key): (u64, &Q),
        epoch: u64,
        config: &Config<K, V>,
        visit: impl FnOnce(Seen<'_, K, V, E>) -> R,
    ) -> Look<R>
    where
        Q: ?Sized + Equivalent<K>,
    {
        if self.epoch != epoch {
            return Look::Absent;
        }
        let Some((slot, mark, key, value)) = self.table.find(hash, key) else {
            return Look::Absent;
        };
        let reading = mark.read();
        if reading.is_detailed() {
            if self.state(slot, reading, config) != State::Fresh {
                return Look::NotFresh;
            }
        } else if reading.expires() && reading.is_over(config.time.now()) {
            return Look::NotFresh;
        }
        Look::Hit(visit(Seen {
            shard: self,
            slot,
            mark,
            reading,
            key,
            value,
        }))
    }

    /// Counts a hit under the word; one beside others is counted on its thread's stripe.
    #[inline]
    pub(crate) fn count_hit(&self, access: Access) {
        if access == Access::Alone {
            self.hits
                .store(self.hits.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        }
    }

    /// Counts a hit in an entry's detail. Takes no `Seen`: a reference to one would keep it out of registers.
    #[cold]
    fn hit_detail(&self, slot: u32, mark: &Mark, config: &Config<K, V>) {
        if let Some(detail) = self.columns.detail(slot) {
            detail.hit(mark, || config.time.now());
        }
        if let Some(groups) = &self.groups {
            groups.hit(slot);
        }
    }

    /// Decides what may be done with an entry.
    fn state(&self, slot: u32, reading: Reading, config: &Config<K, V>) -> State {
        match self.columns.detail(slot) {
            Some(detail) if reading.is_detailed() => detail.state(reading, || config.time.now()),
            _ if reading.expires() && reading.is_over(config.time.now()) => {
                State::Dead(crate::detail::Death::Expired)
            }
            _ => State::Fresh,
        }
    }

    /// Tells what is known of an entry.
    fn meta(&self, slot: u32, reading: Reading) -> Meta {
        let detail = self.columns.detail(slot).filter(|_| reading.is_detailed());
        Meta {
            created: detail.map(|detail| detail.created),
            expires: reading.expires().then(|| reading.deadline()),
            hits: detail.map(|detail| detail.hits.load(Ordering::Relaxed)),
            weight: self.columns.weight(slot),
        }
    }

    /// Counts the entries.
    pub(crate) fn len(&self, epoch: u64) -> usize {
        if self.epoch == epoch { self.table.len() } else { 0 }
    }

    /// Gives the weight of the entries.
    pub(crate) fn weight(&self, epoch: u64) -> u64 {
        if self.epoch == epoch { self.weight } else { 0 }
    }

    /// Counts the attached flights.
    pub(crate) fn in_flight(&self, epoch: u64) -> usize {
        if self.epoch == epoch {
            self.flights.len()
        } else {
            0
        }
    }

    /// Gives the counters, what a clear made of the entries included.
    pub(crate) fn stats(&self, epoch: u64) -> Stats {
        let mut stats = self.stats;
        stats.hits += self.hits.load(Ordering::Relaxed);
        if self.epoch != epoch {
            stats.invalidations += stats.unended();
        }
        stats
    }

    /// Walks the fresh entries, the one to be kept longest first.
    pub(crate) fn in_order<'a>(
        &'a self,
        epoch: u64,
        config: &'a Config<K, V>,
    ) -> impl Iterator<Item = Seen<'a, K, V, E>> {
        let order = if self.epoch == epoch {
            self.policy.order()
        } else {
            Vec::new()
        };
        order.into_iter().filter_map(move |slot| {
            let (mark, key, value) = self.table.get(slot)?;
            let reading = mark.read();
            (self.state(slot, reading, config) == State::Fresh).then_some(Seen {
                shard: self,
                slot,
                mark,
                reading,
                key,
                value,
            })
        })
    }

    fn view<'a>(&'a self, config: &'a Config<K, V>) -> View<'a, K, V> {
        View {
            table: &self.table,
            columns: &self.columns,
            rehash: &*config.rehash,
        }
    }

    /// Tells whether the contents are those of an epoch.
    #[inline]
    pub(crate) fn is_of(&self, epoch: u64) -> bool {
        self.epoch == epoch
    }

    /// Enters the cache's epoch: what a clear, or a panic in the middle of a change, left behind goes out whole.
    #[inline]
    pub(crate) fn sync(&mut self, epoch: u64, out: &mut Garbage<K, V, E>) {
        if self.epoch != epoch {
            self.reset(epoch, out);
        }
    }

    #[cold]
    fn reset(&mut self, epoch: u64, out: &mut Garbage<K, V, E>) {
        if self.epoch == BROKEN {
            self.stats.faults += 1;
        }
        // What the table holds, and what a panic dropped on its way there.
        self.stats.invalidations += self.stats.unended();
        self.heard.len.store(0, Ordering::Relaxed);
        let contents = Rest::Contents(
            Box::new(std::mem::take(&mut self.table)),
            Box::new(std::mem::take(&mut self.columns)),
            Box::new(std::mem::take(&mut self.flights)),
        );
        out.push_rest(contents);
        self.policy.clear();
        if let Some(groups) = &mut self.groups {
            groups.clear();
        }
        self.weight = 0;
        self.hand = 0;
        self.soonest = Tick::NEVER;
        self.upcoming = Tick::NEVER;
        self.epoch = epoch;
    }

    /// Checks table, policy, columns and counters against each other; for tests.
    ///
    /// # Errors
    /// Says what disagrees.
    pub(crate) fn validate(&self, epoch: u64, config: &Config<K, V>) -> Result<(), String> {
        if self.epoch != epoch {
            return Ok(());
        }
        self.table.validate(&config.rehash)?;
        let view = self.view(config);
        self.policy.validate(&view)?;
        let mut order = self.policy.order();
        order.sort_unstable();
        let slots: Vec<u32> = self.table.iter().map(|(slot, ..)| slot).collect();
        if order != slots {
            return Err(format!("the policy holds slots {order:?}, the table {slots:?}"));
        }
        let weight: u64 = slots.iter().map(|&slot| u64::from(view.weight(slot))).sum();
        if weight != self.weight || weight > self.capacity {
            return Err(format!(
                "weight {weight}, {} counted, capacity {}",
                self.weight, self.capacity
            ));
        }
        for (slot, mark, ..) in self.table.iter() {
            if mark.read().is_detailed() != self.columns.detail(slot).is_some() {
                return Err(format!("slot {slot}: mark and column disagree about a detail"));
            }
            if mark.read().deadline() < self.soonest {
                return Err(format!("slot {slot}: its deadline comes before the soonest"));
            }
        }
        if let (Some(groups), Some(grouping)) = (&self.groups, &config.groups) {
            let entries = self.table.iter();
            groups
                .validate(entries.map(|(slot, _, key, _)| (slot, (grouping.of)(key), view.weight(slot))))?;
        }
        self.validate_counters()
    }

    /// Tells what each group holds and did; `name` is asked of one of its keys, if it has any.
    pub(crate) fn groups<T>(&self, epoch: u64, name: impl Fn(&K) -> T) -> Vec<(u64, Option<T>, GroupStats)> {
        let groups = self.groups.iter().flat_map(|groups| groups.stats(self.capacity));
        let told = |(id, slot, stats): (u64, Option<u32>, GroupStats)| {
            if self.epoch == epoch {
                let key = slot.and_then(|slot| self.table.get(slot));
                return (id, key.map(|(_, key, _)| name(key)), stats);
            }
            let GroupStats { hits, evictions, .. } = stats;
            let gone = GroupStats {
                hits,
                evictions,
                ..GroupStats::default()
            };
            (id, None, gone)
        };
        groups.map(told).collect()
    }

    fn validate_counters(&self) -> Result<(), String> {
        let ended = self.stats.ended();
        let len = self.table.len() as u64;
        if self.stats.insertions == ended + len {
            Ok(())
        } else {
            Err(format!(
                "{} insertions, {ended} ended, {len} entries",
                self.stats.insertions
            ))
        }
    }
}

/// An entry under shared access.
pub(crate) struct Seen<'a, K, V, E> {
    shard: &'a Shard<K, V, E>,
    slot: u32,
    mark: &'a Mark,
    reading: Reading,
    pub(crate) key: &'a K,
    pub(crate) value: &'a V,
}

impl<K, V, E> Seen<'_, K, V, E> {
    /// Counts a hit of the entry: its mark, its detail, and the policy's sample.
    #[inline(always)]
    pub(crate) fn hit(&self, hash: u64, config: &Config<K, V>) {
        self.mark.hit(self.reading);
        if hash & self.shard.sample == 0 {
            self.shard.heard.push(self.slot, hash);
        }
        if self.reading.is_detailed() {
            self.shard.hit_detail(self.slot, self.mark, config);
        }
    }

    /// Tells what is known of it.
    pub(crate) fn meta(&self) -> Meta {
        self.shard.meta(self.slot, self.mark.read())
    }

    /// Copies it.
    pub(crate) fn found(&self) -> Found<V>
    where
        V: Clone,
    {
        Found {
            value: self.value.clone(),
            meta: self.meta(),
        }
    }

    /// Tells whether it is under a scope.
    pub(crate) fn is_scoped(&self) -> bool {
        let detail = self.shard.columns.detail(self.slot);
        self.reading.is_detailed() && detail.is_some_and(|detail| detail.stamp.is_some())
    }
}
