//! Flights: which look-up begins one, which joins it, and what becomes of its value.

use std::sync::Arc;

use hashbrown::Equivalent;

use super::{Look, Seen, Shard, write::Stored};
use crate::clock::Tick;
use crate::config::Config;
use crate::detail::State;
use crate::entry::{Found, Freshness, InsertOptions};
use crate::flight::Flight;
use crate::flights::FlightSlot;
use crate::listener::{Garbage, Rest};
use crate::scope::Stamp;

/// The answer of one look-up that may begin or join a flight.
#[derive(Debug)]
pub(crate) enum Probe<V, E> {
    /// A fresh entry.
    Hit(Found<V>),
    /// A stale one that may be served; the flight that loads it again, if this look-up began it.
    Stale(Found<V>, Option<Arc<Flight<V, E>>>),
    /// This look-up began a flight.
    Lead(Arc<Flight<V, E>>),
    /// Somebody's flight.
    Join(Arc<Flight<V, E>>),
}

/// What became of a flight's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Landing {
    /// It is resident.
    Kept,
    /// The policy gave its place to others, or it weighs too much.
    Refused,
    /// The flight was detached, or its scope invalidated, since it began.
    Detached,
}

impl From<Stored> for Landing {
    fn from(stored: Stored) -> Self {
        match stored {
            Stored::Kept => Self::Kept,
            Stored::Refused => Self::Refused,
        }
    }
}

/// How a flight ended that left nothing to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The leader answered its waiters only.
    Answered,
    /// The leader was dropped.
    Abandoned,
}

impl<K, V, E> Shard<K, V, E> {
    /// Looks a key up under the exclusive lock and lets an exact policy know; a dead entry is taken out.
    pub(crate) fn get<Q, R>(
        &mut self,
        hash: u64,
        key: &Q,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
        visit: impl FnOnce(&Seen<'_, K, V, E>) -> R,
    ) -> Option<R>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let found = self.fresh(hash, key, config, visit);
        if found.is_none() {
            self.stats.misses += 1;
            self.reap(hash, key, config, out);
        }
        found
    }

    /// Looks a key up and tells a stale value from a fresh one.
    pub(crate) fn freshness<Q>(
        &mut self,
        hash: u64,
        key: &Q,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) -> Freshness<V>
    where
        Q: ?Sized + Equivalent<K>,
        V: Clone,
    {
        if let Some(found) = self.fresh(hash, key, config, |seen| seen.found()) {
            return Freshness::Fresh(found);
        }
        if let Some(found) = self.stale(hash, key, config) {
            self.stats.stale_hits += 1;
            return Freshness::Stale(found);
        }
        self.stats.misses += 1;
        self.reap(hash, key, config, out);
        Freshness::Absent
    }

    /// Visits a fresh entry and counts the hit.
    fn fresh<Q, R>(
        &mut self,
        hash: u64,
        key: &Q,
        config: &Config<K, V>,
        visit: impl FnOnce(&Seen<'_, K, V, E>) -> R,
    ) -> Option<R>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let visit = |seen: Seen<'_, K, V, E>| {
            seen.hit(hash, config);
            (seen.slot, visit(&seen))
        };
        let Look::Hit((slot, result)) = self.look((hash, key), self.epoch, config, visit) else {
            return None;
        };
        if config.eviction.is_exact() {
            self.used(slot);
        }
        self.stats.hits += 1;
        Some(result)
    }

    /// Looks a key up and, if it is not fresh, joins its flight or begins one.
    pub(crate) fn lookup<Q>(
        &mut self,
        (hash, key): (u64, &Q),
        config: &Config<K, V>,
        begin: impl FnOnce() -> (K, InsertOptions),
        out: &mut Garbage<K, V, E>,
    ) -> Probe<V, E>
    where
        Q: ?Sized + Equivalent<K>,
        V: Clone,
    {
        if let Some(found) = self.fresh(hash, key, config, |seen| seen.found()) {
            return Probe::Hit(found);
        }
        let stale = self.stale(hash, key, config);
        if stale.is_some() {
            self.stats.stale_hits += 1;
        } else {
            self.stats.misses += 1;
            self.reap(hash, key, config, out);
        }
        let running = self.joinable(hash, key);
        match (stale, running) {
            (Some(found), Some(_)) => Probe::Stale(found, None),
            (Some(found), None) => Probe::Stale(found, Some(self.begin(hash, config, begin))),
            (None, Some(flight)) => {
                self.stats.coalesced += 1;
                Probe::Join(flight)
            }
            (None, None) => Probe::Lead(self.begin(hash, config, begin)),
        }
    }

    /// Copies an entry that may be served while it is loaded again.
    pub(crate) fn stale<Q>(&self, hash: u64, key: &Q, config: &Config<K, V>) -> Option<Found<V>>
    where
        Q: ?Sized + Equivalent<K>,
        V: Clone,
    {
        let (slot, mark, _, value) = self.table.find(hash, key)?;
        let reading = mark.read();
        (self.state(slot, reading, config) == State::Stale).then(|| Found {
            value: value.clone(),
            meta: self.meta(slot, reading),
        })
    }

    /// Begins a flight.
    fn begin(
        &mut self,
        hash: u64,
        config: &Config<K, V>,
        begin: impl FnOnce() -> (K, InsertOptions),
    ) -> Arc<Flight<V, E>> {
        // The stamp is taken here, before the caller can start to load (see `Scope`).
        let (key, options) = begin();
        let since = if config.cost_aware {
            config.time.now()
        } else {
            Tick::default()
        };
        let flight = Arc::new(Flight::new(options, since));
        self.flights.attach(hash, key, Arc::clone(&flight));
        self.stats.loads += 1;
        flight
    }

    /// Finds a flight that this look-up may join; one whose scope was invalidated is joined by nobody any more.
    fn joinable<Q>(&mut self, hash: u64, key: &Q) -> Option<Arc<Flight<V, E>>>
    where
        Q: ?Sized + Equivalent<K>,
    {
        let flight = self.flights.of(hash, key)?;
        if flight.is_live() || self.rules.join_older_flights() {
            return Some(Arc::clone(flight));
        }
        self.flights.supersede(hash, key);
        None
    }

    /// Detaches the flights of a key that a removal or insertion overtakes.
    #[inline]
    pub(super) fn overtake<Q: ?Sized + Equivalent<K>>(
        &mut self,
        hash: u64,
        key: &Q,
        out: &mut Garbage<K, V, E>,
    ) {
        if self.flights.is_empty() || self.rules.removal_forgets_flights() {
            return;
        }
        out.flight = self.flights.detach(hash, key);
        if out.flight.is_some() {
            self.overtake_more(hash, key, out);
        }
    }

    #[cold]
    fn overtake_more<Q: ?Sized + Equivalent<K>>(&mut self, hash: u64, key: &Q, out: &mut Garbage<K, V, E>) {
        let more: Vec<_> = std::iter::from_fn(|| self.flights.detach(hash, key)).collect();
        if !more.is_empty() {
            out.push_rest(Rest::Flights(more));
        }
    }

    /// Ends a flight without a value to keep.
    pub(crate) fn abandon(
        &mut self,
        hash: u64,
        flight: &Arc<Flight<V, E>>,
        why: Ending,
        out: &mut Garbage<K, V, E>,
    ) {
        if why == Ending::Abandoned {
            self.stats.abandoned += 1;
        }
        out.flight = self.flights.land(hash, flight);
    }

    /// Ends a flight with a value that has a version and is not kept.
    pub(crate) fn answer_version(
        &mut self,
        (hash, flight): (u64, &Arc<Flight<V, E>>),
        value: &V,
        is_newer: impl Fn(&V, &V) -> bool,
        out: &mut Garbage<K, V, E>,
    ) where
        K: Eq,
        V: Clone,
    {
        out.flight = self.flights.land(hash, flight);
        if let Some(slot) = &out.flight {
            let known = self.flights.outrun((hash, &slot.key), value, is_newer);
            out.push_values(known);
        }
    }

    /// Ends a flight with an error; an attached one may still have a value to fall back on.
    pub(crate) fn fail(
        &mut self,
        hash: u64,
        flight: &Arc<Flight<V, E>>,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) -> Option<V>
    where
        K: Eq,
        V: Clone,
    {
        self.stats.load_failures += 1;
        out.flight = self.flights.land(hash, flight);
        // What was invalidated since the load began may be the very value.
        let slot = out.flight.as_ref().filter(|_| flight.is_live());
        let key = slot.map(|slot| &slot.key);
        let fallback = key.and_then(|key| self.fallback(hash, key, config));
        self.stats.fallbacks += u64::from(fallback.is_some());
        fallback
    }

    /// Copies an entry that may be served because loading it again failed.
    fn fallback(&self, hash: u64, key: &K, config: &Config<K, V>) -> Option<V>
    where
        K: Eq,
        V: Clone,
    {
        let (slot, mark, _, value) = self.table.find(hash, key)?;
        let state = self.state(slot, mark.read(), config);
        (!matches!(state, State::Dead(_))).then(|| value.clone())
    }

    /// Gives the key of a flight that could still publish.
    pub(crate) fn attached(&self, hash: u64, flight: &Arc<Flight<V, E>>) -> Option<&K> {
        flight.is_live().then(|| self.named(hash, flight)).flatten()
    }

    /// Gives the key of a flight that is its key's still, whether or not its scope was invalidated.
    pub(crate) fn named(&self, hash: u64, flight: &Arc<Flight<V, E>>) -> Option<&K> {
        self.flights.key_of(hash, flight)
    }

    /// Stores the value of a flight unless it was detached or its scope invalidated since it began.
    pub(crate) fn publish(
        &mut self,
        hash: u64,
        flight: &Arc<Flight<V, E>>,
        value: V,
        options: &InsertOptions,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) -> Landing
    where
        K: Eq,
    {
        let stamp = self.rules.stamp_to_publish(options.stamp.as_ref());
        match self.flights.land(hash, flight) {
            Some(slot) if stamp.as_ref().is_none_or(Stamp::is_live) => {
                let options = InsertOptions {
                    stamp,
                    ..options.clone()
                };
                self.insert(hash, slot.key, value, &options, config, out).into()
            }
            slot => self.refuse_flight(slot, value, out),
        }
    }

    /// Stores the value of a flight that is its key's still, whether or not it may be joined, unless another brought a newer one
    /// meanwhile: for values that have a version, so that it does not matter which load began first.
    pub(crate) fn publish_version(
        &mut self,
        (hash, flight): (u64, &Arc<Flight<V, E>>),
        value: V,
        is_newer: impl Fn(&V, &V) -> bool,
        options: &InsertOptions,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) -> Landing
    where
        K: Eq,
        V: Clone,
    {
        let is_live = options.stamp.as_ref().is_none_or(Stamp::is_live);
        let Some(slot) = self.flights.land(hash, flight) else {
            return self.refuse_flight(None, value, out);
        };
        let is_outdated = slot.given.as_ref().is_some_and(|given| is_newer(given, &value));
        let known = self.flights.outrun((hash, &slot.key), &value, is_newer);
        out.push_values(known);
        if is_outdated || !is_live {
            return self.refuse_flight(Some(slot), value, out);
        }
        // Flights of the key that have not landed stay: each may bring a newer value yet.
        out.push_values(slot.given.into_iter().collect());
        let (key, value, life) = Self::life(hash, slot.key, value, options, config, out);
        self.store(hash, key, value, life, config, out).into()
    }

    fn refuse_flight(
        &mut self,
        slot: Option<FlightSlot<K, V, E>>,
        value: V,
        out: &mut Garbage<K, V, E>,
    ) -> Landing {
        self.stats.refused += 1;
        out.flight = slot;
        out.value = Some(value);
        Landing::Detached
    }
}
