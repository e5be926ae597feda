//! How long answers take: a sample of the hits, every load, and the slowest loads by name.
//!
//! Two reads of the clock take as long as a good part of a hit, so one request in 64 is measured. Times go into buckets whose bounds are at most a
//! quarter apart, which takes 2 KiB for good.

use std::array;
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ci_cache_core::Tick;
use parking_lot::Mutex;

use crate::events::Load;
use crate::{Runner, Source};

/// Of so many requests of a thread the first is measured.
const SAMPLE: u32 = 64;
/// Buckets for any time of 64 bits: four for each power of two.
const BUCKETS: usize = 252;
/// Slow loads that are remembered.
const SLOWEST: usize = 16;

/// How long something took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Latency {
    /// How many were measured.
    pub measured: u64,
    /// Half of them took at most so long; at most a quarter too high. None before the first.
    pub median: Option<Duration>,
    /// And 99 of 100.
    pub p99: Option<Duration>,
}

/// How long answers took since the runner was built; see [`Runner::latencies`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Latencies {
    /// Requests for one answer that memory had: one of 64 is measured.
    pub hits: Latency,
    /// Loads that went well, from asking for a connection to the answer.
    pub loads: Latency,
}

/// A load that is remembered because it was slow.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SlowLoad {
    /// What was loaded, and how long it took.
    pub load: Load,
    /// When it was over, by [`Runner::now`].
    pub at: Tick,
}

/// The times of a runner.
#[derive(Debug, Default)]
pub(crate) struct Times {
    hits: Histogram,
    loads: Histogram,
    slowest: Slowest,
}

thread_local! {
    static ASKED: Cell<u32> = const { Cell::new(0) };
}

/// Says when a request began, if it is one of those that are measured.
#[inline]
pub(crate) fn sampled() -> Option<Instant> {
    let is_turn = ASKED.try_with(|asked| {
        let before = asked.get();
        asked.set(before.wrapping_add(1));
        before.is_multiple_of(SAMPLE)
    });
    is_turn.unwrap_or(false).then(Instant::now)
}

impl Times {
    /// A measured request was answered.
    pub(crate) fn answered(&self, began: Instant, source: Source) {
        if source.is_hit() {
            self.hits.add(began.elapsed());
        }
    }

    /// A load went well.
    pub(crate) fn loaded(&self, took: Duration, at: Tick, load: impl FnOnce() -> Load) {
        self.loads.add(took);
        if self.slowest.takes(took) {
            self.slowest.add(SlowLoad { load: load(), at });
        }
    }
}

/// Times in buckets.
#[derive(Debug)]
struct Histogram([AtomicU64; BUCKETS]);

impl Default for Histogram {
    fn default() -> Self {
        Self(array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Histogram {
    fn add(&self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.0[bucket(nanos)].fetch_add(1, Ordering::Relaxed);
    }

    fn latency(&self) -> Latency {
        let counts: [u64; BUCKETS] = array::from_fn(|at| self.0[at].load(Ordering::Relaxed));
        let measured = counts.iter().sum();
        let quantile = |percent: u64| {
            let rank = (u128::from(measured) * u128::from(percent)).div_ceil(100);
            let mut below = 0_u128;
            let found = counts.iter().position(|count| {
                below += u128::from(*count);
                *count > 0 && below >= rank
            });
            found.map(|at| Duration::from_nanos(upper(at)))
        };
        Latency {
            measured,
            median: quantile(50),
            p99: quantile(99),
        }
    }
}

/// The bucket of a time: its power of two and the two bits below.
fn bucket(nanos: u64) -> usize {
    if nanos < 4 {
        return usize::try_from(nanos).unwrap_or(0);
    }
    let power = nanos.ilog2();
    let quarter = usize::try_from((nanos >> (power - 2)) & 3).unwrap_or(0);
    (power as usize - 1) * 4 + quarter
}

/// The largest time of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < 4 {
        return bucket as u64;
    }
    let (power, quarter) = (bucket / 4 + 1, (bucket % 4) as u128);
    let next = ((4 + quarter + 1) << (power - 2)) - 1;
    u64::try_from(next).unwrap_or(u64::MAX)
}

/// The loads that took longest.
#[derive(Debug, Default)]
struct Slowest {
    /// What a load has to take longer than, in microseconds; read without the lock.
    bar: AtomicU64,
    /// The slowest first.
    loads: Mutex<Vec<SlowLoad>>,
}

impl Slowest {
    fn takes(&self, took: Duration) -> bool {
        took.as_micros() > u128::from(self.bar.load(Ordering::Relaxed))
    }

    #[cold]
    fn add(&self, slow: SlowLoad) {
        let mut loads = self.loads.lock();
        let at = loads.partition_point(|known| known.load.took >= slow.load.took);
        loads.insert(at, slow);
        loads.truncate(SLOWEST);
        if loads.len() == SLOWEST {
            let least = loads.last().map_or(0, |slow| slow.load.took.as_micros());
            self.bar
                .store(u64::try_from(least).unwrap_or(u64::MAX), Ordering::Relaxed);
        }
    }
}

impl Runner {
    /// How long hits and loads took since the runner was built. Loads are all measured, of the requests one in 64. Cost: some
    /// hundred reads of counters.
    pub fn latencies(&self) -> Latencies {
        let times = &self.inner().times;
        Latencies {
            hits: times.hits.latency(),
            loads: times.loads.latency(),
        }
    }

    /// The up to 16 loads that took longest since the runner was built, the slowest first; none of those that failed.
    pub fn slowest_loads(&self) -> Vec<SlowLoad> {
        self.inner().times.slowest.loads.lock().clone()
    }
}

#[cfg(test)]
mod tests {
    use ci_model::TenantId;

    use super::*;

    #[test]
    fn buckets_hold_what_they_say_and_are_a_quarter_wide() {
        let mut last = None;
        for at in 0..BUCKETS {
            let most = upper(at);
            assert_eq!(bucket(most), at);
            assert!(last.is_none_or(|last: u64| bucket(last + 1) == at));
            last = Some(most);
        }
        assert_eq!(upper(BUCKETS - 1), u64::MAX);
        for nanos in [5, 99, 12_345, 7_000_000_000] {
            let shown = upper(bucket(nanos));
            assert!(shown >= nanos && shown - nanos <= nanos / 4, "{nanos}: {shown}");
        }
    }

    #[test]
    fn quantiles_are_of_what_was_measured() {
        let times = Histogram::default();
        assert_eq!(times.latency(), Latency::default());
        for millis in 1..=100 {
            times.add(Duration::from_millis(millis));
        }
        let seen = times.latency();
        assert_eq!(seen.measured, 100);
        let within = |shown: Option<Duration>, millis: u32| {
            let (shown, exact) = (shown.unwrap(), Duration::from_millis(1) * millis);
            shown >= exact && shown <= exact * 5 / 4
        };
        assert!(within(seen.median, 50) && within(seen.p99, 99), "{seen:?}");
    }

    #[test]
    fn the_slowest_loads_are_kept_and_no_more() {
        let times = Times::default();
        for millis in (0..40).chain(100..120) {
            let took = Duration::from_millis(millis);
            times.loaded(took, Tick::from_micros(millis), || Load {
                tenant: TenantId::new("acme").unwrap(),
                operation: "get",
                question: String::new(),
                key: None,
                took,
                statements: 1,
            });
        }
        let kept = times.slowest.loads.lock();
        let millis: Vec<u128> = kept.iter().map(|slow| slow.load.took.as_millis()).collect();
        assert_eq!(millis, (104..120).rev().collect::<Vec<u128>>());
        assert_eq!(times.loads.latency().measured, 60);
    }

    #[test]
    fn one_request_of_64_is_measured() {
        let thread = std::thread::spawn(|| (0..640).filter(|_| sampled().is_some()).count());
        assert_eq!(thread.join().unwrap(), 10);
    }
}
