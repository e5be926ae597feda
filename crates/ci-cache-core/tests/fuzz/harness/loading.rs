//! Steps of the first target that are about flights: beginning and ending them, waiting for them.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use ci_cache_core::{BatchError, Lookup, LookupOptions, Scope, Ttl};

use super::flights::{Bell, Ending, Expected, Leading, Waiting};
use super::model::{Doing, SCOPES, State, Wish};
use super::operations::{Options, Scoping};
use super::steps::{Run, place, wish_of};
use super::subject::Token;

/// Leaders and waiters at a time; more are dropped, oldest first.
const MOST_UNDER_WAY: usize = 8;

impl Run {
    fn lookup_options<'a>(options: &Options, scopes: &'a [Scope; SCOPES]) -> LookupOptions<'a> {
        let mut lookup = LookupOptions::new().ttl(options.ttl);
        let time = Duration::from_micros;
        if let Some(idle) = options.idle {
            lookup = lookup.idle(time(idle));
        }
        if let Some(window) = options.revalidate {
            lookup = lookup.stale_while_revalidate(time(window));
        }
        if let Some(window) = options.error {
            lookup = lookup.stale_if_error(time(window));
        }
        match options.scoping {
            Scoping::Now(scope) => lookup.scope(&scopes[usize::from(scope) % SCOPES]),
            Scoping::None | Scoping::Held => lookup,
        }
    }

    /// What a flight begun with these options is subject to: no weight, no cost, and its stamp is taken now.
    fn flight_wish(&self, options: &Options) -> Wish {
        let stamp = match options.scoping {
            Scoping::Now(scope) => Some(usize::from(scope) % SCOPES),
            Scoping::None | Scoping::Held => None,
        };
        Wish {
            weight: None,
            stamp: stamp.map(|scope| (scope, self.model.generations[scope])),
            ..wish_of(options)
        }
    }

    pub(super) fn lookup(&mut self, key: u8, options: Options) {
        let wish = self.flight_wish(&options);
        let expected = self.flights.lookup(&mut self.model, key, wish);
        let lookup = self
            .cache
            .lookup(&key, Self::lookup_options(&options, &self.scopes));
        self.settle(&Doing::Looking, Vec::new());
        match (lookup, expected) {
            (Lookup::Hit(found), Expected::Hit(id)) => {
                assert_eq!(found.value.id(), id);
                self.is_told_of(&found);
            }
            (Lookup::Stale(found, leader), Expected::Stale(id, flight)) => {
                assert_eq!((found.value.id(), leader.is_some()), (id, flight.is_some()));
                self.is_told_of(&found);
                if let (Some(leader), Some(flight)) = (leader, flight) {
                    self.leading.push(Leading { flight, leader });
                }
            }
            (Lookup::Wait(waiter), Expected::Wait(flight)) => self.waiting.push(Waiting {
                flight,
                waiter,
                bell: None,
            }),
            (Lookup::Lead(leader), Expected::Lead(flight)) => self.leading.push(Leading { flight, leader }),
            (lookup, expected) => panic!("look up {key}: {lookup:?} instead of {expected:?}"),
        }
        if self.leading.len() > MOST_UNDER_WAY {
            self.abandon(0);
        }
        if self.waiting.len() > MOST_UNDER_WAY {
            self.waiting.remove(0);
        }
    }

    pub(super) fn publish(&mut self, which: u8, ttl: Option<Ttl>) {
        let Some(at) = place(which, self.leading.len()) else {
            return;
        };
        let Leading { flight, leader } = self.leading.swap_remove(at);
        let token = self.token(self.flights.all[flight].key);
        let record = self.flights.publish(&mut self.model, flight, &token, ttl);
        let kept = match ttl {
            Some(ttl) => leader.publish_with(token, ttl),
            None => leader.publish(token),
        };
        let is_stored = record.is_some();
        let stays = self.settle(&Doing::Storing, record.into_iter().collect());
        assert_eq!(kept, is_stored && stays, "publish flight {flight}");
        self.is_heard(flight);
    }

    pub(super) fn answer(&mut self, which: u8) {
        let Some(at) = place(which, self.leading.len()) else {
            return;
        };
        let Leading { flight, leader } = self.leading.swap_remove(at);
        let token = self.token(self.flights.all[flight].key);
        self.flights.land(flight, Ending::Loaded(token.id()));
        leader.answer(token);
        self.settle(&Doing::Looking, Vec::new());
        self.is_heard(flight);
    }

    pub(super) fn fail(&mut self, which: u8) {
        let Some(at) = place(which, self.leading.len()) else {
            return;
        };
        let Leading { flight, leader } = self.leading.swap_remove(at);
        self.numbers += 1;
        let error = self.numbers;
        let expected = self.flights.fail(&mut self.model, flight, error);
        let fallback = leader.fail(error).map(|token| token.id());
        assert_eq!(fallback, expected, "fail flight {flight}");
        self.settle(&Doing::Looking, Vec::new());
        self.is_heard(flight);
    }

    pub(super) fn abandon(&mut self, which: u8) {
        let Some(at) = place(which, self.leading.len()) else {
            return;
        };
        let Leading { flight, leader } = self.leading.swap_remove(at);
        self.flights.land(flight, Ending::Abandoned);
        self.model.counts.abandoned += 1;
        drop(leader);
        self.settle(&Doing::Looking, Vec::new());
        self.is_heard(flight);
    }

    /// Everyone who waits for a flight that ended was woken.
    fn is_heard(&self, flight: usize) {
        for waiting in self.waiting.iter().filter(|waiting| waiting.flight == flight) {
            assert!(
                waiting.bell.as_ref().is_none_or(|bell| bell.rang()),
                "nobody woke a waiter"
            );
        }
    }

    pub(super) fn poll(&mut self, which: u8) {
        let Some(at) = place(which, self.waiting.len()) else {
            return;
        };
        let ending = self.flights.all[self.waiting[at].flight].ending;
        if which >= 128 {
            // As a thread would; not longer than it takes to look.
            let Waiting { flight, waiter, bell } = self.waiting.swap_remove(at);
            match waiter.wait_blocking_for(Duration::ZERO) {
                Ok(outcome) => assert_eq!(Some(Ending::of(&outcome)), ending),
                Err(waiter) => {
                    assert_eq!(ending, None, "a thread waits for a flight that ended");
                    self.waiting.push(Waiting { flight, waiter, bell });
                }
            }
            return;
        }
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        let waiting = &mut self.waiting[at];
        match std::pin::Pin::new(&mut waiting.waiter).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(outcome) => {
                assert_eq!(Some(Ending::of(&outcome)), ending);
                self.waiting.swap_remove(at);
            }
            Poll::Pending => {
                assert_eq!(ending, None, "a task waits for a flight that ended");
                waiting.bell = Some(bell);
            }
        }
    }

    /// Gets or loads, unless that would wait for a leader of this very thread.
    pub(super) fn load(&mut self, keys: &[u8], options: Options, succeeds: bool, as_batch: bool) {
        let servable = [State::Fresh, State::Stale];
        let waits = |&key: &u8| {
            self.model.value_in(key, &servable).is_none() && self.flights.joinable(&self.model, key).is_some()
        };
        if keys.iter().any(waits) {
            return;
        }
        let wish = self.flight_wish(&options);
        let (mut expected, mut led, mut newcomers) = (Vec::new(), Vec::new(), Vec::new());
        for (at, &key) in keys.iter().enumerate() {
            match self.flights.lookup(&mut self.model, key, wish) {
                Expected::Hit(id) | Expected::Stale(id, None) => expected.push(Some(id)),
                Expected::Lead(flight) | Expected::Stale(_, Some(flight)) => {
                    led.push((at, flight));
                    expected.push(None);
                }
                Expected::Wait(_) => panic!("nobody waits here"),
            }
        }
        let tokens: Vec<Token> = led.iter().map(|&(at, _)| self.token(keys[at])).collect();
        self.numbers += 1;
        let error = self.numbers;
        for (&(at, flight), token) in led.iter().zip(&tokens) {
            expected[at] = if succeeds {
                newcomers.extend(self.flights.publish(&mut self.model, flight, token, None));
                Some(token.id())
            } else {
                self.flights.fail(&mut self.model, flight, error)
            };
        }
        let expected: Option<Vec<u32>> = expected.into_iter().collect();
        let lookup = Self::lookup_options(&options, &self.scopes);
        let got = if as_batch {
            let loaded = self.cache.get_or_load_many(keys, lookup, |missing| {
                assert_eq!(missing.len(), tokens.len(), "keys to load");
                if succeeds { Ok(tokens.clone()) } else { Err(error) }
            });
            loaded.map_err(|failed| match failed {
                BatchError::Load(error) => error,
                other => panic!("{other:?}"),
            })
        } else {
            let load = || tokens.first().cloned().filter(|_| succeeds).ok_or(error);
            self.cache
                .get_or_load(&keys[0], lookup, load)
                .map(|token| vec![token])
        };
        let got = got.map(|values| values.iter().map(Token::id).collect());
        assert_eq!(got, expected.ok_or(error), "load {keys:?}");
        self.settle(&Doing::Storing, newcomers);
    }
}
