//! What the cache saves: requests by outcome, what a load costs, and so what hits did not cost.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ci_model::QuestionKind;
use serde::Serialize;

use crate::Runner;
use crate::tally::KINDS;

/// Requests by how they ended. Each request that was waited for ends in one way; one whose future was dropped before is in none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct Requests {
    /// Answered from memory.
    pub hits: u64,
    /// Answered from the shared tier.
    pub tier: u64,
    /// Answered by a load that another caller had begun.
    pub coalesced: u64,
    /// Answered by a load of their own, kept or not.
    pub misses: u64,
    /// Answered past the cache, because the level or [`uncached`](crate::RunnerBuilder::uncached) said so.
    pub bypasses: u64,
    /// Not answered.
    pub errors: u64,
}

impl Requests {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.hits + self.tier + self.coalesced + self.misses + self.bypasses + self.errors
    }

    /// Adds others.
    pub(crate) fn add(&mut self, other: &Self) {
        self.hits += other.hits;
        self.tier += other.tier;
        self.coalesced += other.coalesced;
        self.misses += other.misses;
        self.bypasses += other.bypasses;
        self.errors += other.errors;
    }
}

/// What the cache saved on one kind of question since the runner was built.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct KindSavings {
    /// The kind.
    #[serde(serialize_with = "as_name")]
    pub kind: QuestionKind,
    /// Whether answers of the kind are cached; see [`uncached`](crate::RunnerBuilder::uncached).
    pub cached: bool,
    /// Requests by how they ended: each question of a `get_many` or a page counts, and each step of a search, again if it is
    /// asked again at one state.
    pub requests: Requests,
    /// Answers that loads brought. A load of several gets in one statement brings one for each. Loads past the cache count, since they
    /// cost the same; those of a page of several kinds do not, since what each has of them cannot be told.
    pub loaded: u64,
    /// How long those loads took altogether, from asking for a connection to the answer, by the runner's clock.
    pub load_time: Duration,
    /// Statements that those loads ran.
    pub statements: u64,
}

impl KindSavings {
    /// How long it takes to load an answer, on average; none before the first load.
    pub fn mean_load_time(&self) -> Option<Duration> {
        (self.loaded > 0).then(|| self.share_of_loads(1))
    }

    /// Statements that an answer takes, on average; below 1 where loads share one; none before the first load.
    #[expect(clippy::cast_precision_loss, reason = "a mean needs no 64 bits")]
    pub fn mean_statements(&self) -> Option<f64> {
        (self.loaded > 0).then(|| self.statements as f64 / self.loaded as f64)
    }

    /// How much longer callers would have waited had each hit been a load: hits times the mean time of the measured loads.
    ///
    /// An estimate, and it may go down: what is asked again and again may be cheaper or dearer than what was loaded once, a database
    /// with that load would be slower, and the time of the hit itself (microseconds) is not taken off.
    pub fn saved_time(&self) -> Duration {
        self.share_of_loads(self.requests.hits)
    }

    /// How many statements the database did not run for hits: hits times the mean of the measured loads, rounded down. An estimate
    /// like [`saved_time`](Self::saved_time).
    pub fn saved_statements(&self) -> u64 {
        let statements = u128::from(self.statements) * u128::from(self.requests.hits);
        let saved = statements.checked_div(self.loaded.into()).unwrap_or(0);
        u64::try_from(saved).unwrap_or(u64::MAX)
    }

    /// The time of so many loads of average length.
    fn share_of_loads(&self, loads: u64) -> Duration {
        let nanos = self.load_time.as_nanos().saturating_mul(loads.into());
        let share = nanos.checked_div(self.loaded.into()).unwrap_or(0);
        Duration::from_nanos(u64::try_from(share).unwrap_or(u64::MAX))
    }
}

/// What the cache saved since the runner was built; see [`Runner::savings`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Savings {
    /// One for each kind of question, in the order of [`QuestionKind::ALL`].
    pub by_kind: Vec<KindSavings>,
}

impl Savings {
    /// The time that hits saved, over all kinds; an estimate, see [`KindSavings::saved_time`].
    pub fn saved_time(&self) -> Duration {
        let times = self.by_kind.iter().map(KindSavings::saved_time);
        times.fold(Duration::ZERO, Duration::saturating_add)
    }

    /// The statements that hits saved, over all kinds; an estimate, see [`KindSavings::saved_statements`].
    pub fn saved_statements(&self) -> u64 {
        let statements = self.by_kind.iter().map(KindSavings::saved_statements);
        statements.fold(0, u64::saturating_add)
    }

    /// What was saved on one kind.
    pub fn of(&self, kind: QuestionKind) -> Option<&KindSavings> {
        self.by_kind.iter().find(|savings| savings.kind == kind)
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the form that serde wants")]
fn as_name<S: serde::Serializer>(kind: &QuestionKind, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(kind.as_str())
}

/// What loads cost, by kind; written once per load.
#[derive(Debug, Default)]
pub(crate) struct Costs([Cost; KINDS]);

#[derive(Debug, Default)]
struct Cost {
    loaded: AtomicU64,
    micros: AtomicU64,
    statements: AtomicU64,
}

impl Costs {
    /// Counts a load that brought so many answers of a kind.
    pub(crate) fn add(&self, kind: QuestionKind, loaded: u64, took: Duration, statements: u64) {
        let cost = &self.0[kind.index()];
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        cost.loaded.fetch_add(loaded, Ordering::Relaxed);
        cost.micros.fetch_add(micros, Ordering::Relaxed);
        cost.statements.fetch_add(statements, Ordering::Relaxed);
    }
}

impl Runner {
    /// Reports what the cache saved, by kind of question: whether it pays, and for which kinds it does not.
    ///
    /// Counters are read one by one while requests go on, so that sums may be off by those under way. Cost: a read of some hundred
    /// counters for each tenant that is counted apart ([`tenants_apart`](crate::RunnerBuilder::tenants_apart)); takes a
    /// lock that making a new tenant's first handle ([`tenant`](Self::tenant)) waits for, and no request.
    pub fn savings(&self) -> Savings {
        let inner = self.inner();
        let mut requests = [Requests::default(); KINDS];
        for (_, tally) in inner.tallies.all() {
            for (sum, part) in requests.iter_mut().zip(tally.by_kind()) {
                sum.add(&part);
            }
        }
        let of = |kind: QuestionKind| {
            let cost = &inner.costs.0[kind.index()];
            KindSavings {
                kind,
                cached: !inner.uncached.contains(&kind),
                requests: requests[kind.index()],
                loaded: cost.loaded.load(Ordering::Relaxed),
                load_time: Duration::from_micros(cost.micros.load(Ordering::Relaxed)),
                statements: cost.statements.load(Ordering::Relaxed),
            }
        };
        Savings {
            by_kind: QuestionKind::ALL.into_iter().map(of).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn savings(hits: u64, loaded: u64, micros: u64, statements: u64) -> KindSavings {
        KindSavings {
            kind: QuestionKind::Get,
            cached: true,
            requests: Requests {
                hits,
                ..Requests::default()
            },
            loaded,
            load_time: Duration::from_micros(micros),
            statements,
        }
    }

    #[test]
    fn hits_save_what_loads_cost_on_average() {
        let seen = savings(10, 4, 1_000, 2);
        assert_eq!(seen.mean_load_time(), Some(Duration::from_micros(250)));
        assert_eq!(seen.mean_statements(), Some(0.5));
        assert_eq!(seen.saved_time(), Duration::from_micros(2_500));
        assert_eq!(seen.saved_statements(), 5);
    }

    #[test]
    fn without_a_load_nothing_is_known_and_nothing_overflows() {
        let seen = savings(10, 0, 0, 0);
        assert_eq!((seen.mean_load_time(), seen.mean_statements()), (None, None));
        assert_eq!((seen.saved_time(), seen.saved_statements()), (Duration::ZERO, 0));
        let much = savings(u64::MAX, 1, u64::MAX, u64::MAX);
        assert_eq!(much.saved_statements(), u64::MAX);
        assert!(much.saved_time() > Duration::from_secs(500 * 365 * 24 * 3_600));
        let all = Savings {
            by_kind: vec![much, much],
        };
        assert_eq!(all.saved_statements(), u64::MAX);
    }
}
