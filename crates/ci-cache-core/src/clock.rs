//! Time as the engine sees it: ticks read from a clock that the embedder hands in.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A moment in microseconds since an origin that only its clock knows.
///
/// Ticks of two different clocks must not be compared. All arithmetic saturates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Tick(u64);

impl Tick {
    /// The moment that never comes: what an entry without expiry expires at.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    /// Makes a tick out of microseconds since the clock's origin.
    pub const fn from_micros(micros: u64) -> Self {
        Self(micros)
    }

    /// Gives the microseconds since the clock's origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Moves the tick into the future, at most to the end of time (some 584,000 years).
    pub fn saturating_add(self, by: Duration) -> Self {
        Self(self.0.saturating_add(micros(by)))
    }

    /// Moves the tick so many microseconds into the future.
    pub(crate) const fn after_micros(self, micros: u64) -> Self {
        Self(self.0.saturating_add(micros))
    }

    /// Gives the time since `earlier`, zero if `earlier` lies ahead.
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

/// Converts a duration to whole microseconds, rounded up so that no positive duration becomes zero.
pub(crate) fn micros(by: Duration) -> u64 {
    by.as_secs()
        .saturating_mul(1_000_000)
        .saturating_add(by.subsec_nanos().div_ceil(1_000).into())
}

/// Where the engine reads the time from.
///
/// Duties of the implementor: `now` never goes backwards for one observer, does not block, does not panic, and
/// does not call the cache (it is read while a shard's lock is held). It is read once per insertion and once per
/// look-up that meets an entry with an expiry; a look-up of an entry without one reads no clock.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Reads the current tick.
    fn now(&self) -> Tick;

    /// Gives the cell that holds the current tick, if this clock keeps it in one: a cache then reads the cell
    /// itself, which is some nanoseconds cheaper than a call. `now` must give what is in the cell.
    fn cell(&self) -> Option<Arc<TickCell>> {
        None
    }
}

/// A tick that threads share, on a cache line of its own: hits read it all the time.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct TickCell {
    micros: AtomicU64,
}

impl TickCell {
    /// Starts at tick zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads the tick.
    #[inline]
    pub fn get(&self) -> Tick {
        Tick(self.micros.load(Ordering::Acquire))
    }

    /// Moves it forward to `tick`; a tick in the past changes nothing.
    pub fn advance_to(&self, tick: Tick) {
        self.micros.fetch_max(tick.as_micros(), Ordering::AcqRel);
    }

    /// Moves it forward.
    pub fn advance(&self, by: Duration) {
        // Not `fetch_add`: it wraps at the end of time, and a clock must not run backwards.
        let step = micros(by);
        let mut seen = self.micros.load(Ordering::Relaxed);
        while let Err(now) = self.micros.compare_exchange_weak(
            seen,
            seen.saturating_add(step),
            Ordering::AcqRel,
            Ordering::Relaxed,
        ) {
            seen = now;
        }
    }
}

/// A clock over the operating system's monotonic time; its origin is its construction.
///
/// A reading costs some 30 ns. A program that needs cheaper hits may let one thread advance a [`ManualClock`].
#[derive(Debug, Clone, Copy)]
pub struct SystemClock {
    origin: Instant,
}

impl SystemClock {
    /// Starts a clock at tick zero.
    pub fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn now(&self) -> Tick {
        Tick::default().saturating_add(self.origin.elapsed())
    }
}

/// A clock that moves only when it is told to: for tests, and as a coarse clock that one thread advances.
#[derive(Debug, Default)]
pub struct ManualClock {
    tick: Arc<TickCell>,
}

impl ManualClock {
    /// Starts a clock at tick zero.
    pub fn new() -> Self {
        Self::default()
    }

    /// Moves the clock forward.
    pub fn advance(&self, by: Duration) {
        self.tick.advance(by);
    }

    /// Moves the clock forward to `tick`; a tick in the past changes nothing.
    pub fn advance_to(&self, tick: Tick) {
        self.tick.advance_to(tick);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Tick {
        self.tick.get()
    }

    fn cell(&self) -> Option<Arc<TickCell>> {
        Some(Arc::clone(&self.tick))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn manual_clock_moves_forward_only() {
        let clock = ManualClock::new();
        clock.advance(Duration::from_millis(2));
        assert_eq!(clock.now(), Tick::from_micros(2_000));
        clock.advance_to(Tick::from_micros(1_000));
        assert_eq!(clock.now().as_micros(), 2_000);
        clock.advance_to(Tick::from_micros(3_000));
        assert_eq!(
            clock.now().saturating_since(Tick::from_micros(1_000)),
            Duration::from_millis(2)
        );
        clock.advance(Duration::MAX);
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.now(), Tick::NEVER);
    }

    #[test]
    fn ticks_saturate_and_round_up() {
        let start = Tick::from_micros(5);
        assert_eq!(
            start.saturating_add(Duration::from_nanos(1)),
            Tick::from_micros(6)
        );
        assert_eq!(start.saturating_add(Duration::MAX), Tick::NEVER);
        assert_eq!(start.saturating_since(Tick::from_micros(9)), Duration::ZERO);
    }

    #[test]
    fn system_clock_does_not_go_backwards() {
        let clock = SystemClock::default();
        let first = clock.now();
        assert!(clock.now() >= first);
    }
}
