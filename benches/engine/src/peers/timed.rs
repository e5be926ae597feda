//! quick_cache with expiry as its users add it: the moment of expiry in the value, the time read at each look-up.

use std::time::{Duration, Instant};

use crate::contender::{Reads, Setup, Writes};
use crate::key::Key;
use crate::peers::Quick;

/// The name in tables.
pub(crate) const NAME: &str = "quick_cache + Instant";

/// quick_cache over values that expire.
pub(crate) struct Timed<K, V>(Quick<K, (V, Instant)>);

impl<K: Key, V: Clone + Send + Sync> Timed<K, V> {
    /// Builds it.
    pub(crate) fn new(setup: Setup) -> anyhow::Result<Self> {
        Ok(Self(Quick::new(setup)?))
    }
}

impl<K: Key, V: Clone + Send + Sync> Reads<K, V> for Timed<K, V> {
    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        let (value, expires) = self.0.get(key)?;
        (Instant::now() < expires).then_some(value)
    }
}

impl<K: Key, V: Clone + Send + Sync> Writes<K, V> for Timed<K, V> {
    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0
            .insert(key, (value, Instant::now() + Duration::from_secs(3_600)));
    }
}
