//! The leader's side of a flight: a guard whose every ending reaches the waiters.

use std::fmt;
use std::sync::Arc;

use crate::cache::Core;
use crate::entry::Found;
use crate::expiry::Ttl;
use crate::flight::{Flight, Outcome, Waiter};
use crate::shard::Ending;

/// What a look-up found: the value, the duty to load it, or somebody who is loading it.
#[derive(Debug)]
#[must_use = "dropping a lead or a wait has an effect"]
pub enum Lookup<K, V, E> {
    /// A live entry.
    Hit(Found<V>),
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
/// its value, but the value is not kept and later look-ups begin a flight of their own.
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
        !self
            .core
            .shard(self.hash)
            .lock()
            .is_attached(self.hash, &self.flight)
    }

    /// Answers the waiters without keeping the value, and ends the flight. One shard lock.
    pub fn answer(self, value: V) {
        self.end(Ending::Answered, Outcome::Loaded(value));
    }

    /// Gives the waiters an error, each a clone, and ends the flight. Nothing is kept. One shard lock.
    pub fn fail(self, error: E) {
        self.end(Ending::Failed, Outcome::Failed(error));
    }

    fn end(mut self, why: Ending, outcome: Outcome<V, E>) {
        self.settle(why, outcome);
    }

    /// Takes the flight out of its shard, then tells the waiters.
    fn settle(&mut self, why: Ending, outcome: Outcome<V, E>) {
        let garbage = self
            .core
            .shard(self.hash)
            .lock()
            .abandon(self.hash, &self.flight, why);
        self.settled = true;
        self.flight.settle(outcome);
        drop(garbage);
    }
}

impl<K: Eq, V: Clone, E> Leader<K, V, E> {
    /// Publishes the value with the time to live of the look-up that began the flight.
    ///
    /// Says whether the cache kept it; the waiters get it either way. It is refused if the flight was detached.
    /// Two locks, one after the other; the displaced entry is dropped outside both.
    pub fn publish(self, value: V) -> bool {
        let ttl = self.flight.ttl;
        self.publish_with(value, ttl)
    }

    /// Publishes the value with a time to live of its own; see [`publish`](Self::publish).
    pub fn publish_with(mut self, value: V, ttl: impl Into<Ttl>) -> bool {
        let (kept, garbage) = self
            .core
            .publish(self.hash, &self.flight, value.clone(), ttl.into());
        self.settled = true;
        self.flight.settle(Outcome::Loaded(value));
        drop(garbage);
        kept
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
