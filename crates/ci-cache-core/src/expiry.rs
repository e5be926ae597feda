//! How long an entry lives: the time to live and how it becomes a tick.

use std::time::Duration;

use crate::clock::Tick;

/// The time to live of an entry, counted from its insertion.
///
/// An entry is served while `now < inserted + ttl`. A zero time to live is legal: such an entry is never served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Ttl {
    /// The cache's default: the builder's `default_ttl`, or no expiry if none was given.
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
    /// Decides when an entry inserted at `now` expires.
    pub(crate) fn expires(self, now: Tick, default: Option<Duration>) -> Tick {
        let ttl = match self {
            Self::Inherit => default,
            Self::Never => None,
            Self::After(ttl) => Some(ttl),
        };
        ttl.map_or(Tick::NEVER, |ttl| now.saturating_add(ttl))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ttl_becomes_a_tick() {
        let now = Tick::from_micros(10);
        let second = Duration::from_secs(1);
        assert_eq!(Ttl::Inherit.expires(now, None), Tick::NEVER);
        assert_eq!(
            Ttl::Inherit.expires(now, Some(second)),
            Tick::from_micros(1_000_010)
        );
        assert_eq!(Ttl::Never.expires(now, Some(second)), Tick::NEVER);
        assert_eq!(Ttl::from(second).expires(now, None), Tick::from_micros(1_000_010));
        assert_eq!(Ttl::After(Duration::ZERO).expires(now, None), now);
    }
}
