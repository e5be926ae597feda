//! When a request begins: open-loop load, which does not wait for answers.
//!
//! Requests arrive at random moments that are fixed before the run (Poisson, seeded). A latency is taken from the moment at which
//! a request was to begin, not from when somebody came to it: a slow answer delays those behind it, and their waiting counts.
//! That is what users feel; closed loops leave it out (coordinated omission).

use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use ci_measure::number::real64;
use ci_measure::random::Random;

/// So long before an arrival the pacer wakes and watches the clock: the system's timers are no better than this.
const SLACK: Duration = Duration::from_micros(150);

/// The moments at which requests arrive, from the beginning of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrivals(Vec<Duration>);

impl Arrivals {
    /// Draws the arrivals of so many a second until `length` is over; none for a rate of 0.
    pub fn draw(per_second: f64, length: Duration, random: &mut Random) -> Self {
        let mut arrivals = Vec::new();
        if per_second <= 0.0 {
            return Self(arrivals);
        }
        let mut at = 0.0;
        loop {
            // From the exponential distribution; the draw is below 1, so the logarithm is finite.
            at += -(1.0 - random.unit()).ln() / per_second;
            if at >= length.as_secs_f64() {
                return Self(arrivals);
            }
            arrivals.push(Duration::from_secs_f64(at));
        }
    }

    /// The moments.
    pub fn moments(&self) -> &[Duration] {
        &self.0
    }

    /// Calls `ask` with the number and the intended moment of each arrival, at that moment or, where the machine is late, as
    /// soon after it as can be; from a thread of its own, so that nothing delays it. Blocks until the last one.
    pub fn pace(&self, began: Instant, mut ask: impl FnMut(usize, Instant) + Send) {
        thread::scope(|scope| {
            scope.spawn(move || {
                // Nobody ever says anything: waiting for it wakes this thread at a moment.
                let (_silent, silence) = channel();
                for (number, at) in self.0.iter().enumerate() {
                    let intended = began + *at;
                    until(&silence, intended);
                    ask(number, intended);
                }
            });
        });
    }
}

/// Waits until a moment; not at all for one that is over.
fn until(silence: &Receiver<()>, moment: Instant) {
    let left = moment.saturating_duration_since(Instant::now());
    if left > SLACK {
        let heard = silence.recv_timeout(left.saturating_sub(SLACK));
        debug_assert_eq!(heard, Err(RecvTimeoutError::Timeout), "nobody speaks");
    }
    while Instant::now() < moment {
        std::hint::spin_loop();
    }
}

/// How long a request took from the moment at which it was to begin; zero for one that is over before that moment.
pub fn latency(intended: Instant, ended: Instant) -> Duration {
    ended.saturating_duration_since(intended)
}

/// How many a second so many in a time are.
pub fn per_second(count: u64, time: Duration) -> f64 {
    if time.is_zero() {
        return 0.0;
    }
    real64(count) / time.as_secs_f64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[test]
    fn the_same_seed_gives_the_same_arrivals() {
        let draw = |seed| Arrivals::draw(500.0, Duration::from_secs(4), &mut Random::new(seed));
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }

    #[test]
    fn there_are_as_many_as_the_rate_says_and_they_bunch() {
        let arrivals = Arrivals::draw(1_000.0, Duration::from_secs(10), &mut Random::new(9));
        let moments = arrivals.moments();
        assert!((9_600..10_400).contains(&moments.len()), "{}", moments.len());
        assert!(moments.is_sorted());
        assert!(moments.last().is_some_and(|last| *last < Duration::from_secs(10)));
        // Of exponential gaps 63 % are shorter than the mean one; of even gaps none or all would be.
        let short = moments
            .windows(2)
            .filter(|pair| pair[1].saturating_sub(pair[0]) < Duration::from_millis(1))
            .count();
        assert!((5_900..6_800).contains(&short), "{short}");
        assert!(
            Arrivals::draw(0.0, Duration::from_secs(1), &mut Random::new(1))
                .moments()
                .is_empty()
        );
    }

    #[test]
    fn waiting_behind_a_slow_answer_counts() {
        // Three requests a millisecond apart; the first takes 10 ms and holds up the others, which then take 1 ms each.
        let began = Instant::now();
        let at = |ms| began + Duration::from_millis(ms);
        let latencies = [(0, 10), (1, 11), (2, 12)].map(|(intended, ended)| latency(at(intended), at(ended)));
        assert_eq!(latencies, [10, 10, 10].map(Duration::from_millis));
        assert_eq!(latency(at(5), at(4)), Duration::ZERO);
    }

    #[test]
    fn every_arrival_begins_in_order_and_none_early() {
        let arrivals = Arrivals::draw(20_000.0, Duration::from_millis(20), &mut Random::new(4));
        let asked = Mutex::new(Vec::new());
        let began = Instant::now();
        arrivals.pace(began, |number, intended| {
            let late = Instant::now().checked_duration_since(intended);
            asked.lock().expect("no panic").push((number, late.is_some()));
        });
        let expected: Vec<(usize, bool)> = (0..arrivals.moments().len())
            .map(|number| (number, true))
            .collect();
        assert_eq!(asked.into_inner().expect("no panic"), expected);
    }
}
