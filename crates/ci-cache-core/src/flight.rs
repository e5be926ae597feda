//! Single flight: one load for any number of simultaneous callers.
//!
//! A flight is a small state machine that any runtime can drive: it is open until it has an outcome, and then
//! wakes whoever waits, threads and tasks alike. Which flight a look-up may join is the shard's business.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};
#[cfg(not(any(loom, shuttle)))]
use std::time::Duration;

use crate::clock::Tick;
use crate::entry::InsertOptions;
use crate::scope::Stamp;
use crate::shim::{Condvar, Mutex, lock};

/// How a flight ended for those who waited for it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome<V, E> {
    /// The leader's value, whether or not the cache kept it.
    Loaded(V),
    /// The leader's error, shared by all waiters.
    Failed(E),
    /// The load failed, and there is a value with a stale window that is still open.
    Fallback {
        /// The value.
        value: V,
        /// The leader's error, shared by all waiters.
        error: E,
    },
    /// The leader was dropped without an answer (cancelled, panicked): look up again; exactly one of those who
    /// do becomes the next leader.
    Abandoned,
}

/// The shared part of one load.
pub(crate) struct Flight<V, E> {
    /// What the value is subject to unless its leader says otherwise. Its stamp was taken before the load began; a
    /// dead one forbids joining and keeping. Fixed at birth.
    pub(crate) options: InsertOptions,
    /// When it began, if the cache wants to know what a load costs.
    pub(crate) begun: Tick,
    /// Outcome and waiters. Taken after a shard's lock or without one, never the other way round.
    state: Mutex<State<V, E>>,
    /// Wakes waiting threads.
    landed: Condvar,
}

/// What changes in a flight.
struct State<V, E> {
    /// Set once.
    outcome: Option<Outcome<V, E>>,
    /// Wakers of waiting tasks; a waiter owns one place from its first poll until it is dropped.
    wakers: Vec<Option<Waker>>,
    /// Places in `wakers` given back by dropped waiters.
    spare: Vec<usize>,
}

impl<V, E> Flight<V, E> {
    pub(crate) fn new(options: InsertOptions, begun: Tick) -> Self {
        let state = State {
            outcome: None,
            wakers: Vec::new(),
            spare: Vec::new(),
        };
        Self {
            options,
            begun,
            state: Mutex::new(state),
            landed: Condvar::new(),
        }
    }

    /// Tells whether the flight's scope has not been invalidated since it began.
    pub(crate) fn is_live(&self) -> bool {
        self.options.stamp.as_ref().is_none_or(Stamp::is_live)
    }

    /// Gives the flight its outcome and wakes everyone; a second outcome is dropped.
    pub(crate) fn settle(&self, outcome: Outcome<V, E>) {
        let wakers = {
            let mut state = lock(&self.state);
            if state.outcome.is_some() {
                return;
            }
            state.outcome = Some(outcome);
            std::mem::take(&mut state.wakers)
        };
        self.landed.notify_all();
        // Outside the lock: a waker may run the task at once, and the task asks for the outcome.
        wakers.into_iter().flatten().for_each(Waker::wake);
    }
}

impl<V, E> fmt::Debug for Flight<V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Flight")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// A place in the queue of a running flight: a future, or something a thread can block on.
///
/// Cancel safety: dropping a waiter at any time deregisters it and affects nobody else. A waiter ends when its
/// leader publishes, answers, fails or is dropped, so a leader that waits for its own key waits for ever; bound
/// the wait where that could happen.
#[must_use = "a waiter does nothing unless it is awaited or waited for"]
pub struct Waiter<V, E> {
    flight: Arc<Flight<V, E>>,
    /// Its place in the flight's `wakers`, once polled.
    place: Option<usize>,
}

impl<V, E> Waiter<V, E> {
    pub(crate) fn new(flight: Arc<Flight<V, E>>) -> Self {
        Self { flight, place: None }
    }
}

impl<V: Clone, E: Clone> Waiter<V, E> {
    /// Blocks the thread until the flight has its outcome. Not for use inside a task of an async runtime.
    pub fn wait_blocking(self) -> Outcome<V, E> {
        let mut state = lock(&self.flight.state);
        loop {
            if let Some(outcome) = &state.outcome {
                return outcome.clone();
            }
            state = self
                .flight
                .landed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Blocks the thread like [`wait_blocking`](Self::wait_blocking), for about `limit` at most (real time, not
    /// the cache's clock).
    ///
    /// # Errors
    /// Gives the waiter back when the time is over.
    #[cfg(not(any(loom, shuttle)))]
    pub fn wait_blocking_for(self, limit: Duration) -> Result<Outcome<V, E>, Self> {
        let outcome = {
            let state = lock(&self.flight.state);
            let (state, _) = self
                .flight
                .landed
                .wait_timeout_while(state, limit, |state| state.outcome.is_none())
                .unwrap_or_else(PoisonError::into_inner);
            state.outcome.clone()
        };
        outcome.ok_or(self)
    }
}

impl<V: Clone, E: Clone> Future for Waiter<V, E> {
    type Output = Outcome<V, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        // Wakers are cloned before and dropped after the lock: both run code of the runtime, and dropping the
        // last waker of a task may drop the task with another waiter of this very flight in it.
        let fresh = cx.waker().clone();
        let mut state = lock(&this.flight.state);
        if let Some(outcome) = &state.outcome {
            return Poll::Ready(outcome.clone());
        }
        let place = *this.place.get_or_insert_with(|| state.reserve());
        let previous = state.wakers[place].replace(fresh);
        drop(state);
        drop(previous);
        Poll::Pending
    }
}

impl<V, E> State<V, E> {
    /// Finds a place for one more waker.
    fn reserve(&mut self) -> usize {
        self.spare.pop().unwrap_or_else(|| {
            self.wakers.push(None);
            self.wakers.len() - 1
        })
    }
}

impl<V, E> Drop for Waiter<V, E> {
    fn drop(&mut self) {
        let Some(place) = self.place else { return };
        let mut state = lock(&self.flight.state);
        // After the outcome the wakers are gone and there is nothing to give back.
        if state.outcome.is_none() {
            let previous = state.wakers[place].take();
            state.spare.push(place);
            drop(state);
            drop(previous);
        }
    }
}

impl<V, E> fmt::Debug for Waiter<V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Waiter")
            .field("flight", &self.flight)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests {
    use super::*;
    use tokio_test::{assert_pending, assert_ready_eq, task};

    fn flight() -> Arc<Flight<u32, &'static str>> {
        Arc::new(Flight::new(InsertOptions::new(), Tick::default()))
    }

    #[test]
    fn an_outcome_wakes_tasks_and_is_set_once() {
        let flight = flight();
        let mut first = task::spawn(Waiter::new(Arc::clone(&flight)));
        let mut second = task::spawn(Waiter::new(Arc::clone(&flight)));
        assert_pending!(first.poll());
        assert_pending!(second.poll());
        assert_pending!(second.poll());
        flight.settle(Outcome::Loaded(1));
        flight.settle(Outcome::Failed("late"));
        assert!(first.is_woken() && second.is_woken());
        assert_ready_eq!(first.poll(), Outcome::Loaded(1));
        assert_ready_eq!(second.poll(), Outcome::Loaded(1));
    }

    #[test]
    fn a_dropped_waiter_gives_its_place_back() {
        let flight = flight();
        for _ in 0..3 {
            let mut waiter = task::spawn(Waiter::new(Arc::clone(&flight)));
            assert_pending!(waiter.poll());
        }
        let state = lock(&flight.state);
        assert_eq!((state.wakers.len(), state.spare.len()), (1, 1));
        assert!(state.wakers[0].is_none());
    }

    #[test]
    fn a_waiter_dropped_after_the_outcome_is_harmless() {
        let flight = flight();
        let mut waiter = task::spawn(Waiter::new(Arc::clone(&flight)));
        assert_pending!(waiter.poll());
        flight.settle(Outcome::Abandoned);
        drop(waiter);
        assert_eq!(Waiter::new(flight).wait_blocking(), Outcome::Abandoned);
    }

    #[test]
    fn a_bounded_wait_gives_the_waiter_back() {
        let flight = flight();
        let waiter = Waiter::new(Arc::clone(&flight))
            .wait_blocking_for(Duration::ZERO)
            .unwrap_err();
        flight.settle(Outcome::Failed("down"));
        assert_eq!(
            waiter.wait_blocking_for(Duration::ZERO).unwrap(),
            Outcome::Failed("down")
        );
    }

    #[test]
    fn an_outcome_wakes_threads() {
        let flight = flight();
        let waiting: Vec<_> = (0..4)
            .map(|_| {
                let waiter = Waiter::new(Arc::clone(&flight));
                std::thread::spawn(move || waiter.wait_blocking())
            })
            .collect();
        flight.settle(Outcome::Loaded(7));
        for thread in waiting {
            assert_eq!(thread.join().unwrap(), Outcome::Loaded(7));
        }
    }
}
