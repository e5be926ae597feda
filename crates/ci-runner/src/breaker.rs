//! When to leave the shared tier, or a replica, alone: after some failures in a row for a while, then for longer.
//!
//! ```text
//!         failures in a row              the pause is over: one call may try
//! closed -------------------> open(1 s) ------------------------------------> it fails: open(2 s), ... 30 s
//!    ^                                                                        it works: closed
//!    +-------------------------------------------------------------------------+
//! ```

use std::time::Duration;

use ci_cache_core::Tick;
use parking_lot::Mutex;

/// Failures in a row after which it is left alone when nothing is said.
const FAILURES: u32 = 3;
/// The first pause, and the longest, when nothing is said.
const PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(30)];

/// Whether it may be asked.
#[derive(Debug)]
pub(crate) struct Breaker {
    failures: u32,
    pause: [Duration; 2],
    state: Mutex<State>,
}

impl Default for Breaker {
    fn default() -> Self {
        Self::new(FAILURES, PAUSE)
    }
}

#[derive(Debug, Default)]
struct State {
    /// In a row.
    failures: u32,
    /// The pause that is on, or was the last.
    pause: Duration,
    /// Until when it is left alone; none while it works.
    until: Option<Tick>,
    /// Whether somebody tries if it works again.
    trying: bool,
}

impl Breaker {
    /// One that leaves it alone after so many failures in a row, for the first of these times and at most for the other.
    pub(crate) fn new(failures: u32, pause: [Duration; 2]) -> Self {
        Self {
            failures,
            pause,
            state: Mutex::default(),
        }
    }

    /// Tells whether to ask now. After a pause it says so to one caller, and the pause goes on for the others.
    pub(crate) fn allows(&self, now: Tick) -> bool {
        let mut state = self.state.lock();
        match state.until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                // Whoever tries may never tell how it went.
                state.until = Some(after(now, state.pause));
                state.trying = true;
                true
            }
        }
    }

    /// Tells whether it is left alone.
    pub(crate) fn is_open(&self) -> bool {
        self.state.lock().until.is_some()
    }

    /// Tells whether a call now would be skipped, and lets nobody try: what is shown to people. One that nobody asks any more is not left alone.
    pub(crate) fn skips(&self, now: Tick) -> bool {
        self.state.lock().until.is_some_and(|until| now < until)
    }

    /// A call has ended.
    pub(crate) fn ended(&self, well: bool, now: Tick) {
        let mut state = self.state.lock();
        if well {
            *state = State::default();
            return;
        }
        state.failures = state.failures.saturating_add(1);
        // Calls that were under way when it was given up tell nothing new.
        let opens = state.until.is_none() && state.failures >= self.failures;
        if opens || std::mem::take(&mut state.trying) {
            state.pause = (state.pause * 2).clamp(self.pause[0], self.pause[1]);
            state.until = Some(after(now, state.pause));
        }
    }
}

fn after(now: Tick, pause: Duration) -> Tick {
    let micros = u64::try_from(pause.as_micros()).unwrap_or(u64::MAX);
    Tick::from_micros(now.as_micros().saturating_add(micros))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Tick {
        Tick::from_micros(millis * 1_000)
    }

    #[test]
    fn it_is_left_alone_after_failures_in_a_row_and_tried_by_one() {
        let breaker = Breaker::default();
        breaker.ended(false, at(0));
        breaker.ended(false, at(0));
        breaker.ended(true, at(0));
        breaker.ended(false, at(1));
        breaker.ended(false, at(1));
        assert!(breaker.allows(at(1)) && !breaker.is_open());
        breaker.ended(false, at(1));
        assert!(breaker.is_open() && !breaker.allows(at(1_000)));
        assert!(
            breaker.skips(at(1_000)) && !breaker.skips(at(1_001)),
            "nobody has to ask for that"
        );
        assert!(breaker.allows(at(1_001)), "one may try");
        assert!(
            !breaker.allows(at(1_001)) && breaker.skips(at(1_001)),
            "and no other"
        );
        breaker.ended(true, at(1_002));
        assert!(breaker.allows(at(1_002)) && breaker.allows(at(1_002)));
    }

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let breaker = Breaker::default();
        let mut now = 0;
        for _ in 0..FAILURES {
            breaker.ended(false, at(now));
        }
        let mut pauses = Vec::new();
        for _ in 0..8 {
            let began = now;
            while !breaker.allows(at(now)) {
                now += 100;
            }
            pauses.push((now - began) / 1_000);
            breaker.ended(false, at(now));
        }
        assert_eq!(pauses[0], 1);
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1]), "{pauses:?}");
        assert_eq!(pauses.last(), Some(&30));
    }
}
