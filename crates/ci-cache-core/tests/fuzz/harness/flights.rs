//! The reference's flights: who leads, who waits, and how each ends.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Wake;

use ci_cache_core::{Leader, Outcome, Waiter};

use super::model::{Model, Record, State, Wish};
use super::subject::Token;

/// A flight as its look-up began it.
#[derive(Debug, Clone)]
pub(crate) struct Flight {
    pub(crate) key: u8,
    pub(crate) wish: Wish,
    /// How it ended.
    pub(crate) ending: Option<Ending>,
}

/// How a flight ends for those who wait; values and errors by their numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Loaded(u32),
    Failed(u32),
    Fallback(u32, u32),
    Abandoned,
}

impl Ending {
    pub(crate) fn of(outcome: &Outcome<Token, u32>) -> Self {
        match outcome {
            Outcome::Loaded(token) => Self::Loaded(token.id()),
            Outcome::Failed(error) => Self::Failed(*error),
            Outcome::Fallback { value, error } => Self::Fallback(value.id(), *error),
            Outcome::Abandoned => Self::Abandoned,
            other => panic!("an outcome nobody knows: {other:?}"),
        }
    }
}

/// What a look-up is to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    Hit(u32),
    /// The value, and the flight if this look-up leads it.
    Stale(u32, Option<usize>),
    Wait(usize),
    Lead(usize),
}

/// All flights ever, and those that a look-up may join.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    pub(crate) all: Vec<Flight>,
    /// By key.
    pub(crate) attached: BTreeMap<u8, usize>,
}

impl Flights {
    /// The flight that a look-up of the key would join.
    pub(crate) fn joinable(&self, model: &Model, key: u8) -> Option<usize> {
        let flight = *self.attached.get(&key)?;
        model.is_live(self.all[flight].wish.stamp).then_some(flight)
    }

    fn begin(&mut self, model: &mut Model, key: u8, wish: Wish) -> usize {
        model.counts.loads += 1;
        let flight = self.all.len();
        self.all.push(Flight {
            key,
            wish,
            ending: None,
        });
        // In the place of one whose scope was invalidated, if there was one.
        self.attached.insert(key, flight);
        flight
    }

    /// What [`ci_cache_core::Cache::lookup`] has to answer.
    pub(crate) fn lookup(&mut self, model: &mut Model, key: u8, wish: Wish) -> Expected {
        if let Some(id) = model.hit(key) {
            return Expected::Hit(id);
        }
        let stale = model.value_in(key, &[State::Stale]);
        match stale {
            Some(_) => model.counts.stale_hits += 1,
            None => model.counts.misses += 1,
        }
        match (stale, self.joinable(model, key)) {
            (Some(id), Some(_)) => Expected::Stale(id, None),
            (Some(id), None) => Expected::Stale(id, Some(self.begin(model, key, wish))),
            (None, Some(flight)) => {
                model.counts.coalesced += 1;
                Expected::Wait(flight)
            }
            (None, None) => Expected::Lead(self.begin(model, key, wish)),
        }
    }

    pub(crate) fn is_attached(&self, flight: usize) -> bool {
        self.attached.get(&self.all[flight].key) == Some(&flight)
    }

    /// Whether a publication would be refused.
    pub(crate) fn is_detached(&self, model: &Model, flight: usize) -> bool {
        !self.is_attached(flight) || !model.is_live(self.all[flight].wish.stamp)
    }

    /// Takes a flight that ends out of the way of look-ups.
    pub(crate) fn land(&mut self, flight: usize, ending: Ending) {
        if self.is_attached(flight) {
            self.attached.remove(&self.all[flight].key);
        }
        self.all[flight].ending = Some(ending);
    }

    /// A publication: the record to be stored, unless it is refused.
    pub(crate) fn publish(
        &mut self,
        model: &mut Model,
        flight: usize,
        token: &Token,
        ttl: Option<ci_cache_core::Ttl>,
    ) -> Option<Record> {
        let is_detached = self.is_detached(model, flight);
        self.land(flight, Ending::Loaded(token.id()));
        if is_detached {
            model.counts.refused += 1;
            return None;
        }
        let Flight { key, mut wish, .. } = self.all[flight];
        wish.ttl = ttl.unwrap_or(wish.ttl);
        Some(model.record(key, token.id(), token.weight(), &wish))
    }

    /// A failure: the value to fall back on.
    pub(crate) fn fail(&mut self, model: &mut Model, flight: usize, error: u32) -> Option<u32> {
        model.counts.load_failures += 1;
        let servable = [State::Fresh, State::Stale, State::Fallback];
        let value = model.value_in(self.all[flight].key, &servable);
        let value = value.filter(|_| !self.is_detached(model, flight));
        model.counts.fallbacks += u64::from(value.is_some());
        self.land(
            flight,
            value.map_or(Ending::Failed(error), |id| Ending::Fallback(id, error)),
        );
        value
    }
}

/// Counts how often it was woken.
#[derive(Debug, Default)]
pub(crate) struct Bell(AtomicUsize);

impl Bell {
    pub(crate) fn rang(&self) -> bool {
        self.0.load(Ordering::Relaxed) > 0
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// A leader under way.
pub(crate) struct Leading {
    pub(crate) flight: usize,
    pub(crate) leader: Leader<u8, Token, u32>,
}

/// A waiter under way.
pub(crate) struct Waiting {
    pub(crate) flight: usize,
    pub(crate) waiter: Waiter<Token, u32>,
    /// What it rings, once it was polled.
    pub(crate) bell: Option<Arc<Bell>>,
}
