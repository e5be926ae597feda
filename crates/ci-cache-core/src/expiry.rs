//! How long an entry lives: times to live, their jitter, and the stale windows after them.

use std::time::Duration;

#[cfg(test)]
use crate::clock::Tick;

/// The time to live of an entry, counted from its insertion.
///
/// An entry is served while `now < inserted + ttl`. A zero time to live is legal: such an entry is never served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Ttl {
    /// The cache's default: its expiry function's, or the builder's `default_ttl`, or no expiry if none was given.
    #[default]
    Inherit,
    /// No expiry: the entry stays until it is evicted, removed or invalidated.
    Never,
    /// Expires this long after the insertion (microseconds count, finer parts are rounded up).
    After(Duration),
}

impl From<Duration> for Ttl {
    fn from(ttl: Duration) -> Self {
        Self::After(ttl)
    }
}

impl Ttl {
    /// Puts the default in the place of [`Ttl::Inherit`].
    pub(crate) fn or(self, default: Option<Duration>) -> Option<Duration> {
        match self {
            Self::Inherit => default,
            Self::Never => None,
            Self::After(ttl) => Some(ttl),
        }
    }
}

/// How long after its time to live a value may still be served, and when. Idling is not prolonged by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Windows {
    /// While somebody loads it again (RFC 5861, `stale-while-revalidate`).
    pub(crate) revalidate: Option<Duration>,
    /// If loading it again failed (RFC 5861, `stale-if-error`).
    pub(crate) error: Option<Duration>,
}

impl Windows {
    /// Fills in defaults.
    pub(crate) fn or(self, default: Self) -> Self {
        Self {
            revalidate: self.revalidate.or(default.revalidate),
            error: self.error.or(default.error),
        }
    }

    /// Tells whether there is any.
    pub(crate) fn any(self) -> bool {
        self.revalidate.is_some() || self.error.is_some()
    }
}

/// What [`shorten`] takes for the whole.
pub(crate) const WHOLE: u32 = 1 << 16;

/// Shortens a time to live by up to `jitter` / 65,536 of it, by how much `seed` decides: entries inserted together
/// then do not expire together. Never longer, so a promise about age holds.
pub(crate) fn shorten(ttl: Duration, jitter: u32, seed: u64) -> Duration {
    if jitter == 0 {
        return ttl;
    }
    let drawn = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 48;
    let share = (u64::from(jitter) * drawn) >> 16;
    let nanos = ttl.as_nanos();
    let cut = u64::try_from(nanos.saturating_mul(share.into()) >> 16).unwrap_or(u64::MAX);
    ttl.saturating_sub(Duration::from_nanos(cut))
}

/// Makes a tick out of a moment and a time to live.
#[cfg(test)]
fn expires(ttl: Ttl, now: Tick, default: Option<Duration>) -> Tick {
    ttl.or(default).map_or(Tick::NEVER, |ttl| now.saturating_add(ttl))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_becomes_a_tick() {
        let now = Tick::from_micros(10);
        let second = Duration::from_secs(1);
        assert_eq!(expires(Ttl::Inherit, now, None), Tick::NEVER);
        assert_eq!(
            expires(Ttl::Inherit, now, Some(second)),
            Tick::from_micros(1_000_010)
        );
        assert_eq!(expires(Ttl::Never, now, Some(second)), Tick::NEVER);
        assert_eq!(
            expires(Ttl::from(second), now, None),
            Tick::from_micros(1_000_010)
        );
        assert_eq!(expires(Ttl::After(Duration::ZERO), now, None), now);
    }

    #[test]
    fn jitter_shortens_by_at_most_its_share() {
        let ttl = Duration::from_secs(100);
        assert_eq!(shorten(ttl, 0, 5), ttl);
        let drawn: Vec<Duration> = (0..1_000).map(|seed| shorten(ttl, WHOLE / 10, seed)).collect();
        assert!(drawn.iter().all(|&one| one <= ttl && one >= ttl.mul_f64(0.9)));
        let (least, most) = (drawn.iter().min().unwrap(), drawn.iter().max().unwrap());
        assert!(
            most.saturating_sub(*least) > ttl.mul_f64(0.09),
            "{least:?} to {most:?}"
        );
        assert!(shorten(Duration::MAX, WHOLE, u64::MAX) < Duration::MAX);
    }
}
