//! How requests ended, counted by tenant, kind of question and outcome: what reports and metrics are made of.

use std::array;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use ci_model::{QuestionKind, TenantId};
use parking_lot::RwLock;

use crate::answer::Source;
use crate::savings::Requests;

/// Kinds of questions.
pub(crate) const KINDS: usize = QuestionKind::ALL.len();
/// Ways for a request to end.
const ENDINGS: usize = 6;
/// Counters are striped so that processors do not fight over one cache line.
const STRIPES: usize = 8;

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    Hit,
    Tier,
    Coalesced,
    Miss,
    Bypass,
    Error,
}

impl From<Source> for Ended {
    fn from(source: Source) -> Self {
        match source {
            Source::Hit => Self::Hit,
            Source::Tier => Self::Tier,
            Source::Coalesced => Self::Coalesced,
            Source::Miss => Self::Miss,
            Source::Bypass => Self::Bypass,
        }
    }
}

/// The requests of one tenant, or of all that have no tally of their own. A request costs one relaxed addition to a line that
/// its thread mostly has to itself.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    stripes: [Stripe; STRIPES],
}

/// Requests by kind and ending, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe([[AtomicU64; ENDINGS]; KINDS]);

/// Gives threads their stripes in turn.
static NEXT: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: usize = NEXT.fetch_add(1, Ordering::Relaxed) % STRIPES;
}

impl Tally {
    /// Counts so many requests of a kind.
    #[inline]
    pub(crate) fn add(&self, kind: QuestionKind, ended: Ended, requests: u64) {
        // A thread that is being torn down may still ask.
        let stripe = &self.stripes[STRIPE.try_with(|stripe| *stripe).unwrap_or(0)];
        stripe.0[kind.index()][ended as usize].fetch_add(requests, Ordering::Relaxed);
    }

    /// Sums the stripes, by kind in the order of [`QuestionKind::ALL`].
    pub(crate) fn by_kind(&self) -> [Requests; KINDS] {
        let sum = |kind: usize, ended: Ended| -> u64 {
            self.stripes
                .iter()
                .map(|stripe| stripe.0[kind][ended as usize].load(Ordering::Relaxed))
                .sum()
        };
        array::from_fn(|kind| Requests {
            hits: sum(kind, Ended::Hit),
            tier: sum(kind, Ended::Tier),
            coalesced: sum(kind, Ended::Coalesced),
            misses: sum(kind, Ended::Miss),
            bypasses: sum(kind, Ended::Bypass),
            errors: sum(kind, Ended::Error),
        })
    }
}

/// The tallies of a runner: one for each of the first so many tenants, and one for all others together, so that a caller who makes
/// tenants up takes neither memory nor metric labels without end.
#[derive(Debug)]
pub(crate) struct Tallies {
    limit: usize,
    named: RwLock<HashMap<TenantId, Arc<Tally>>>,
    others: Arc<Tally>,
}

impl Tallies {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            limit,
            named: RwLock::default(),
            others: Arc::default(),
        }
    }

    /// The tally that a tenant's requests belong into; decided once, when its first handle is made.
    pub(crate) fn of(&self, tenant: &TenantId) -> Arc<Tally> {
        let known = |named: &HashMap<TenantId, Arc<Tally>>| match named.get(tenant) {
            Some(tally) => Some(Arc::clone(tally)),
            None => (named.len() >= self.limit).then(|| Arc::clone(&self.others)),
        };
        if let Some(tally) = known(&self.named.read()) {
            return tally;
        }
        let mut named = self.named.write();
        // Another handle of the tenant, or the last place, may have been taken between the two locks.
        known(&named).unwrap_or_else(|| Arc::clone(named.entry(tenant.clone()).or_default()))
    }

    /// Every tally, with its tenant; without one that of all others.
    pub(crate) fn all(&self) -> Vec<(Option<TenantId>, Arc<Tally>)> {
        let named = self.named.read();
        let named = named
            .iter()
            .map(|(tenant, tally)| (Some(tenant.clone()), Arc::clone(tally)));
        named.chain([(None, Arc::clone(&self.others))]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_all_threads_add_up() {
        let tally = Tally::default();
        std::thread::scope(|threads| {
            for _ in 0..10 {
                threads.spawn(|| {
                    tally.add(QuestionKind::Search, Ended::Hit, 1);
                    tally.add(QuestionKind::Path, Ended::Error, 2);
                });
            }
        });
        let by_kind = tally.by_kind();
        assert_eq!(by_kind[QuestionKind::Search.index()].hits, 10);
        assert_eq!(by_kind[QuestionKind::Path.index()].errors, 20);
        assert_eq!(by_kind.iter().map(Requests::total).sum::<u64>(), 30);
    }

    #[test]
    fn tenants_beyond_the_limit_share_a_tally() {
        let tallies = Tallies::new(2);
        let of = |name: &str| tallies.of(&TenantId::new(name).unwrap());
        let (a, b, c, d) = (of("a"), of("b"), of("c"), of("d"));
        assert!(!Arc::ptr_eq(&a, &b) && Arc::ptr_eq(&c, &d) && !Arc::ptr_eq(&a, &c));
        assert!(Arc::ptr_eq(&a, &of("a")), "a tenant keeps its tally");
        assert_eq!(tallies.all().len(), 3);
    }
}
