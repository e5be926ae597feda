//! How much one tenant may ask: so many requests in a second with a burst, and so many at once.
//!
//! The rate is kept as the moment at which a tenant's bucket is full again (the "generic cell rate algorithm" of ATM's traffic
//! management, which a token bucket is in other words): one number per tenant, and nothing that has to be filled up now and then. A
//! tenant whose bucket is full and who has nothing at work is no different from one that never asked, so it is forgotten.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ci_cache_core::Tick;

/// Most tenants that have buckets of their own; what comes beyond them shares one, so that whoever makes tenants up takes no memory
/// without end.
const APART: usize = 10_000;
/// Between two times of forgetting.
const FORGET_EVERY: Duration = Duration::from_secs(1);

/// What each tenant may ask; without any limit when nothing is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[must_use]
pub struct TenantLimits {
    rate: Option<Rate>,
    concurrency: Option<NonZeroU32>,
    pub(crate) followers: Option<NonZeroU32>,
    pub(crate) exports: Option<NonZeroU32>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    /// How long one request fills the bucket.
    interval: Duration,
    /// How full it may be.
    window: Duration,
}

impl TenantLimits {
    /// No limit.
    pub fn none() -> Self {
        Self::default()
    }

    /// Sets how many requests of a tenant are answered in a second, on the whole, and how many may come at once after a pause.
    pub fn rate(mut self, per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let interval = Duration::from_secs(1) / per_second.get();
        self.rate = Some(Rate {
            interval,
            window: interval.saturating_mul(burst.get() - 1),
        });
        self
    }

    /// Sets how many requests of a tenant are at work at once.
    pub fn concurrency(mut self, requests: NonZeroU32) -> Self {
        self.concurrency = Some(requests);
        self
    }

    /// Sets how many of a tenant wait for changes or are sent them at once; as many as all together otherwise.
    pub fn followers(mut self, clients: NonZeroU32) -> Self {
        self.followers = Some(clients);
        self
    }

    /// Sets how many exports of a tenant run at once; as many as all together otherwise.
    pub fn exports(mut self, exports: NonZeroU32) -> Self {
        self.exports = Some(exports);
        self
    }

    /// Whether every request is let in, whatever came before it.
    pub(crate) fn admits_all(self) -> bool {
        self.rate.is_none() && self.concurrency.is_none()
    }
}

/// Why a request has to wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// Too many in this time; the next one is answered after so long.
    Rate(Duration),
    /// Too many at once.
    Concurrency,
    /// Too many who follow changes.
    Followers,
    /// Too many exports.
    Exports,
}

impl Refusal {
    /// What metrics call the limits.
    pub(crate) const LIMITS: [&str; 4] = ["rate", "concurrency", "followers", "exports"];

    /// The limit that it is for.
    pub(crate) fn limit(self) -> &'static str {
        match self {
            Self::Rate(_) => Self::LIMITS[0],
            Self::Concurrency => Self::LIMITS[1],
            Self::Followers => Self::LIMITS[2],
            Self::Exports => Self::LIMITS[3],
        }
    }
}

/// The tenants' buckets.
#[derive(Debug)]
pub(crate) struct Buckets {
    limits: TenantLimits,
    table: Mutex<Table>,
    apart: usize,
}

#[derive(Debug, Default)]
struct Table {
    known: HashMap<Arc<str>, Bucket>,
    /// Of all who found no place.
    others: Bucket,
    /// When who is as if new was forgotten last.
    forgot: Tick,
}

#[derive(Debug, Default, Clone, Copy)]
struct Bucket {
    /// When it is empty again.
    empty_at: Tick,
    at_work: u32,
}

/// A place among a tenant's requests at work; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Permit {
    buckets: Arc<Buckets>,
    /// None: among the others.
    tenant: Option<Arc<str>>,
}

impl Buckets {
    pub(crate) fn new(limits: TenantLimits) -> Arc<Self> {
        Self::with(limits, APART)
    }

    fn with(limits: TenantLimits, apart: usize) -> Arc<Self> {
        Arc::new(Self {
            limits,
            table: Mutex::default(),
            apart,
        })
    }

    /// Lets a tenant's request in, or says why not; then it has taken nothing.
    ///
    /// Cost: a lock and a look-up; every second, while the table is full, one walk through it.
    pub(crate) fn admit(self: &Arc<Self>, tenant: &str, now: Tick) -> Result<Option<Permit>, Refusal> {
        if self.limits.admits_all() {
            return Ok(None);
        }
        let mut table = self.table();
        let key = table.place(tenant, now, self.apart);
        let bucket = match &key {
            Some(key) => table.known.entry(Arc::clone(key)).or_default(),
            None => &mut table.others,
        };
        bucket.take(self.limits, now)?;
        Ok(Some(Permit {
            buckets: Arc::clone(self),
            tenant: key,
        }))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing panics while it is held; and if it did, every bucket would still be one.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// The key of a tenant's own bucket, new or known; none when there is no room for another.
    fn place(&mut self, tenant: &str, now: Tick, apart: usize) -> Option<Arc<str>> {
        if let Some((key, _)) = self.known.get_key_value(tenant) {
            return Some(Arc::clone(key));
        }
        let is_due = now.saturating_since(self.forgot) >= FORGET_EVERY;
        if self.known.len() >= apart && is_due {
            self.forgot = now;
            self.known.retain(|_, bucket| !bucket.is_as_new(now));
        }
        (self.known.len() < apart).then(|| tenant.into())
    }
}

impl Bucket {
    fn is_as_new(self, now: Tick) -> bool {
        self.at_work == 0 && self.empty_at <= now
    }

    fn take(&mut self, limits: TenantLimits, now: Tick) -> Result<(), Refusal> {
        if limits.concurrency.is_some_and(|most| self.at_work >= most.get()) {
            return Err(Refusal::Concurrency);
        }
        if let Some(rate) = limits.rate {
            let empty_at = self.empty_at.max(now);
            let filled = empty_at.saturating_since(now);
            if filled > rate.window {
                return Err(Refusal::Rate(filled.saturating_sub(rate.window)));
            }
            self.empty_at = empty_at.saturating_add(rate.interval);
        }
        self.at_work += 1;
        Ok(())
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut table = self.buckets.table();
        let bucket = match &self.tenant {
            // Never forgotten while somebody is at work.
            Some(tenant) => table.known.get_mut(tenant),
            None => Some(&mut table.others),
        };
        if let Some(bucket) = bucket {
            bucket.at_work = bucket.at_work.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Tick = Tick::from_micros(0);

    fn number(number: u32) -> NonZeroU32 {
        NonZeroU32::new(number).unwrap()
    }

    fn after(millis: u64) -> Tick {
        START.saturating_add(Duration::from_millis(millis))
    }

    #[test]
    fn a_tenant_has_its_burst_and_then_its_rate_and_nobody_elses() {
        let buckets = Buckets::new(TenantLimits::none().rate(number(10), number(3)));
        let admit = |tenant: &str, at| buckets.admit(tenant, at).map(|permit| assert!(permit.is_some()));
        for _ in 0..3 {
            assert_eq!(admit("a", after(1_000)), Ok(()));
        }
        assert_eq!(
            admit("a", after(1_000)),
            Err(Refusal::Rate(Duration::from_millis(100)))
        );
        // Being refused costs nothing, and what was told holds.
        assert_eq!(
            admit("a", after(1_099)),
            Err(Refusal::Rate(Duration::from_millis(1)))
        );
        assert_eq!(admit("a", after(1_100)), Ok(()));
        assert!(admit("a", after(1_100)).is_err());
        assert_eq!(admit("b", after(1_100)), Ok(()));
        // A pause fills up to the burst and no further.
        for (at, expected) in [
            (9_000, true),
            (9_000, true),
            (9_000, true),
            (9_000, false),
            (9_250, true),
            (9_250, true),
            (9_250, false),
        ] {
            assert_eq!(admit("a", after(at)).is_ok(), expected, "{at}");
        }
    }

    #[test]
    fn no_more_than_so_many_are_at_work_at_once_and_the_refused_ones_do_not_count() {
        let limits = TenantLimits::none()
            .concurrency(number(2))
            .rate(number(1), number(3));
        let buckets = Buckets::new(limits);
        let one = buckets.admit("a", START).unwrap();
        let _two = buckets.admit("a", START).unwrap();
        for _ in 0..5 {
            assert_eq!(buckets.admit("a", START).unwrap_err(), Refusal::Concurrency);
        }
        assert!(buckets.admit("b", START).is_ok());
        drop(one);
        drop(buckets.admit("a", START).unwrap());
        assert_eq!(
            buckets.admit("a", START).unwrap_err(),
            Refusal::Rate(Duration::from_secs(1))
        );
    }

    #[test]
    fn made_up_tenants_take_no_room_and_no_place_of_those_who_are_there() {
        let limits = TenantLimits::none()
            .rate(number(1), number(2))
            .concurrency(number(9));
        let buckets = Buckets::with(limits, 4);
        let at_work = buckets.admit("there", START).unwrap();
        for tenant in 0..1_000 {
            let _ended = buckets.admit(&format!("made up {tenant}"), START);
        }
        assert_eq!(buckets.table().known.len(), 4);
        // Three had buckets, two came through the shared one.
        assert!(buckets.admit("one more", START).is_err());
        assert!(buckets.admit("there", START).is_ok(), "its own bucket has room");
        // Later all are as new but the one at work, and a newcomer has a bucket of its own.
        assert!(buckets.admit("newcomer", after(5_000)).is_ok());
        assert_eq!(buckets.table().known.len(), 2);
        drop(at_work);
        assert_eq!(buckets.table().known["there"].at_work, 0);
    }

    #[test]
    fn without_limits_nothing_is_kept() {
        let buckets = Buckets::new(TenantLimits::none());
        for _ in 0..100 {
            assert!(buckets.admit("a", START).unwrap().is_none());
        }
        assert!(buckets.table().known.is_empty());
    }
}
