//! The leader's side of a flight: a guard whose every ending reaches the waiters.

use std::fmt;
use std::sync::Arc;

use crate::core::Core;
use crate::entry::Found;
use crate::expiry::Ttl;
use crate::flight::{Flight, Outcome, Waiter};
use crate::listener::Garbage;
use crate::scope::Stamp;
use crate::shard::{Ending, Landing, Shard};

/// What a look-up found: the value, the duty to load it, or somebody who is loading it.
#[derive(Debug)]
#[must_use = "dropping a lead or a wait has an effect"]
pub enum Lookup<K, V, E> {
    /// A fresh entry.
    Hit(Found<V>),
    /// An entry past its time to live that may be served while it is loaded again (stale while revalidate). The
    /// first look-up to meet it also gets the duty to load it; should it drop the leader, the next one gets it.
    Stale(Found<V>, Option<Leader<K, V, E>>),
    /// Nobody has it: the caller loads and reports through the leader.
    Lead(Leader<K, V, E>),
    /// Somebody is loading it.
    Wait(Waiter<V, E>),
}

/// The duty to end a flight that a look-up began.
///
/// Exactly one of [`publish`](Self::publish), [`answer`](Self::answer), [`fail`](Self::fail) ends it. Dropped
/// without any of them, by cancellation or panic, it wakes the waiters with [`Outcome::Abandoned`]: they look up
/// again and one of them becomes the next leader. The leader is owned (`'static`) and may move to another task.
///
/// A removal of the key, a `clear` or an invalidation of the scope detaches the flight: whoever waits already gets
/// its value, but the value is not kept and later look-ups begin a flight of their own. (A [coherent](crate::coherence) cache judges what a
/// load brought by its version, so there one whose scope was invalidated may be kept all the same.)
#[must_use = "dropping a leader abandons its flight"]
pub struct Leader<K, V, E> {
    core: Arc<Core<K, V, E>>,
    /// The key's hash, by which the flight is found in its shard.
    hash: u64,
    flight: Arc<Flight<V, E>>,
    /// Set once the waiters have an outcome; otherwise the drop gives them one.
    settled: bool,
}

impl<K, V, E> Leader<K, V, E> {
    pub(crate) fn new(core: Arc<Core<K, V, E>>, hash: u64, flight: Arc<Flight<V, E>>) -> Self {
        Self {
            core,
            hash,
            flight,
            settled: false,
        }
    }

    /// Tells whether a publication would be refused now: the key was removed or inserted or the scope invalidated
    /// since the flight began. It may become true at any moment, and stays true. One shard lock.
    pub fn is_detached(&self) -> bool {
        self.core.write(self.hash, |shard, _, _| {
            shard.attached(self.hash, &self.flight).is_none()
        })
    }

    /// Copies the key; nothing if the flight is not the key's any more. A flight whose scope was invalidated still is: nobody joins it,
    /// and whether its value may be kept under another stamp is the caller's to find out.
    pub(crate) fn key(&self) -> Option<K>
    where
        K: Clone,
    {
        self.core.write(self.hash, |shard, _, _| {
            shard.named(self.hash, &self.flight).cloned()
        })
    }

    /// Answers the waiters without keeping the value, and ends the flight. One shard lock.
    pub fn answer(mut self, value: V) {
        self.settle(Ending::Answered, Outcome::Loaded(value));
    }

    /// Takes the flight out of its shard, then tells the waiters.
    fn settle(&mut self, why: Ending, outcome: Outcome<V, E>) {
        self.settle_by(outcome, |shard, hash, flight, out| {
            shard.abandon(hash, flight, why, out);
        });
    }

    fn settle_by(
        &mut self,
        outcome: Outcome<V, E>,
        land: impl FnOnce(&mut Shard<K, V, E>, u64, &Arc<Flight<V, E>>, &mut Garbage<K, V, E>),
    ) {
        // This may be the drop, after which nobody could tell the waiters: they are told even if a listener panics.
        let telling = Telling {
            flight: Arc::clone(&self.flight),
            outcome: Some(outcome),
        };
        self.settled = true;
        let ((), garbage) = self.core.write_keeping(self.hash, |shard, _, out| {
            land(shard, self.hash, &self.flight, out);
        });
        drop(telling);
        drop(garbage);
    }
}

impl<K: Eq, V: Clone, E> Leader<K, V, E> {
    /// Publishes the value with the options of the look-up that began the flight.
    ///
    /// Says whether the cache kept it; the waiters get it either way. It is refused if the flight was detached, if
    /// the value is heavier than its shard may hold, or by the policy in favour of others.
    /// Two locks, one after the other; the displaced entry is dropped outside both.
    pub fn publish(self, value: V) -> bool {
        self.publish_as(value, None)
    }

    /// Publishes the value with a time to live of its own; see [`publish`](Self::publish).
    pub fn publish_with(self, value: V, ttl: impl Into<Ttl>) -> bool {
        self.publish_as(value, Some(ttl.into()))
    }

    fn publish_as(mut self, value: V, ttl: Option<Ttl>) -> bool {
        let mut garbage = Garbage::default();
        let at = (self.hash, &self.flight);
        let landing = self.core.publish(at, value.clone(), ttl, &mut garbage);
        self.core.tell(&garbage);
        self.settled = true;
        self.flight.settle(Outcome::Loaded(value));
        landing == Landing::Kept
    }

    /// Publishes a value that has a version under a scope, unless another flight of the key brought one that `is_newer` (the first than the
    /// second); in two steps for a caller that holds a lock: nobody is told of anything and nothing is dropped before [`Landed::finish`].
    pub(crate) fn land(
        self,
        value: V,
        is_newer: impl Fn(&V, &V) -> bool,
        ttl: Option<Ttl>,
        stamp: Stamp,
    ) -> (Landing, Landed<K, V, E>) {
        let mut garbage = Garbage::default();
        let (at, options) = ((self.hash, &self.flight), (ttl, stamp));
        let landing = self
            .core
            .publish_version(at, value.clone(), is_newer, options, &mut garbage);
        let landed = Landed {
            leader: self,
            value,
            garbage,
        };
        (landing, landed)
    }
}

/// A flight that is out of its shard and whose waiters are still to be told.
#[must_use = "the waiters wait for `finish`"]
pub(crate) struct Landed<K, V, E> {
    leader: Leader<K, V, E>,
    value: V,
    garbage: Garbage<K, V, E>,
}

impl<K, V, E> Landed<K, V, E> {
    /// Tells the waiters, then the listener, and drops what was displaced. For after the caller's lock.
    pub(crate) fn finish(self) {
        let Self {
            mut leader,
            value,
            garbage,
        } = self;
        leader.settled = true;
        leader.flight.settle(Outcome::Loaded(value));
        leader.core.tell(&garbage);
    }
}

impl<K: Eq, V: Clone, E> Leader<K, V, E> {
    /// Answers the waiters with a value that has a version, and ends the flight; others of the key that may have read an older state are
    /// neither joined nor, if they have, kept. One shard lock.
    pub(crate) fn answer_version(mut self, value: V, is_newer: impl Fn(&V, &V) -> bool) {
        self.settle_by(Outcome::Loaded(value.clone()), |shard, hash, flight, out| {
            shard.answer_version((hash, flight), &value, is_newer, out);
        });
    }

    /// Ends the flight with an error: waiters get a clone, or the value whose stale-if-error window, or
    /// stale-while-revalidate window, is open ([`Outcome::Fallback`]), which is also returned to be served by the leader.
    /// Nothing is kept. One shard lock.
    ///
    /// There is no fallback if the flight was detached: the value was removed, replaced or invalidated meanwhile.
    pub fn fail(mut self, error: E) -> Option<V> {
        let (fallback, garbage) = self.core.write_keeping(self.hash, |shard, config, out| {
            shard.fail(self.hash, &self.flight, config, out)
        });
        // Before the flight counts as settled: should the clone panic, the drop tells the waiters.
        let outcome = match fallback.clone() {
            Some(value) => Outcome::Fallback { value, error },
            None => Outcome::Failed(error),
        };
        self.settled = true;
        self.flight.settle(outcome);
        drop(garbage);
        fallback
    }
}

/// Tells the waiters of a flight when it is dropped, by a panic too.
struct Telling<V, E> {
    flight: Arc<Flight<V, E>>,
    outcome: Option<Outcome<V, E>>,
}

impl<V, E> Drop for Telling<V, E> {
    fn drop(&mut self) {
        if let Some(outcome) = self.outcome.take() {
            self.flight.settle(outcome);
        }
    }
}

impl<K, V, E> Drop for Leader<K, V, E> {
    fn drop(&mut self) {
        if !self.settled {
            self.settle(Ending::Abandoned, Outcome::Abandoned);
        }
    }
}

impl<K, V, E> fmt::Debug for Leader<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leader")
            .field("flight", &self.flight)
            .finish_non_exhaustive()
    }
}
