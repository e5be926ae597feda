//! Statistics of a CI cache: the engine's, the ancestor's, and by kind of question.

use std::array;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ci_model::QuestionKind;

use super::config::CiCacheConfig;
use crate::stats::Stats;

/// Kinds of questions.
const KINDS: usize = QuestionKind::ALL.len();
/// Counters are striped so that processors do not fight over one cache line.
const STRIPES: usize = 8;

/// What a CI cache did since it was built, and how it is set.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CiStats {
    /// Look-ups answered from the cache.
    pub hits: u64,
    /// Look-ups that found nothing, those included that joined another caller's load.
    pub misses: u64,
    /// Hits in percent of the look-ups, two decimals; zero before the first.
    pub hit_rate: f64,
    /// Look-ups.
    pub total_requests: u64,
    /// Entries that are resident; expired ones count until they are met.
    pub size: usize,
    /// Entries at most.
    pub max_size: usize,
    /// Entries dropped to make room.
    pub evictions: u64,
    /// Time to live of graphs, paths, and lists and counts of everything.
    pub default_ttl: Duration,
    /// Time to live of questions with keywords and no filters.
    pub keyword_ttl: Duration,
    /// Time to live of questions with filters.
    pub filter_ttl: Duration,
    /// Time to live of gets.
    pub get_ttl: Duration,
    /// Every counter of the engine.
    pub engine: Stats,
    /// Hits and misses of each kind of question, in the order of [`QuestionKind::ALL`].
    pub by_kind: Vec<KindStats>,
}

impl CiStats {
    /// Puts the statistics of a cache together.
    pub(super) fn new(config: &CiCacheConfig, engine: Stats, size: usize, tally: &Tally) -> Self {
        Self {
            hits: engine.hits,
            misses: engine.misses,
            hit_rate: engine.hit_rate_percent(),
            total_requests: engine.requests(),
            size,
            max_size: config.max_size,
            evictions: engine.evictions,
            default_ttl: config.default_ttl,
            keyword_ttl: config.keyword_ttl,
            filter_ttl: config.filter_ttl,
            get_ttl: config.get_ttl,
            engine,
            by_kind: tally.by_kind(),
        }
    }
}

/// Hits and misses of one kind of question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KindStats {
    /// The kind.
    pub kind: QuestionKind,
    /// Look-ups answered from the cache.
    pub hits: u64,
    /// Look-ups that found nothing.
    pub misses: u64,
}

/// Counts look-ups by kind. A look-up costs one addition to a line that its thread mostly has to itself.
#[derive(Debug, Default)]
pub(super) struct Tally {
    stripes: [Stripe; STRIPES],
}

/// Hits and misses by kind, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe {
    hits: [AtomicU64; KINDS],
    misses: [AtomicU64; KINDS],
}

/// Gives threads their stripes in turn.
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
}

impl Tally {
    /// Counts one look-up.
    pub(super) fn count(&self, kind: QuestionKind, outcome: Seen) {
        // A thread that is being torn down may still look something up.
        let stripe = &self.stripes[STRIPE.try_with(|stripe| *stripe).unwrap_or(0)];
        let counters = match outcome {
            Seen::Hit => &stripe.hits,
            Seen::Miss => &stripe.misses,
        };
        counters[kind.index()].fetch_add(1, Ordering::Relaxed);
    }

    /// Sums the stripes.
    pub(super) fn by_kind(&self) -> Vec<KindStats> {
        let sum = |of: fn(&Stripe) -> &[AtomicU64; KINDS]| -> [u64; KINDS] {
            array::from_fn(|at| {
                self.stripes
                    .iter()
                    .map(|stripe| of(stripe)[at].load(Ordering::Relaxed))
                    .sum()
            })
        };
        let (hits, misses) = (sum(|stripe| &stripe.hits), sum(|stripe| &stripe.misses));
        let of = |kind: QuestionKind| (hits[kind.index()], misses[kind.index()]);
        QuestionKind::ALL
            .into_iter()
            .map(|kind| KindStats {
                kind,
                hits: of(kind).0,
                misses: of(kind).1,
            })
            .collect()
    }
}

/// What a look-up saw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    Hit,
    Miss,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_threads_add_up() {
        let tally = Tally::default();
        std::thread::scope(|threads| {
            for _ in 0..10 {
                threads.spawn(|| {
                    tally.count(QuestionKind::Search, Seen::Hit);
                    tally.count(QuestionKind::Path, Seen::Miss);
                });
            }
        });
        let by_kind = tally.by_kind();
        assert_eq!(by_kind.len(), KINDS);
        for stats in by_kind {
            let expected = match stats.kind {
                QuestionKind::Search => (10, 0),
                QuestionKind::Path => (0, 10),
                _ => (0, 0),
            };
            assert_eq!((stats.hits, stats.misses), expected, "{:?}", stats.kind);
        }
    }
}
