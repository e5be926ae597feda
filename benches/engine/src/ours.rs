//! Our cache behind the contenders' traits. The one place that follows its interface.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, LazyLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ci_cache_core::{Cache, CacheBuilder, Eviction, LookupOptions, ManualClock, Share, Tick};
use foldhash::fast::RandomState;

use crate::contender::{Loads, Reads, Setup, Writes};
use crate::key::Key;

/// The name in tables and verdicts.
pub(crate) const NAME: &str = "ci-cache-core";

/// The name where it stands beside the same without expiry.
pub(crate) const WITH_TTL: &str = "ci-cache-core with TTL";

/// Longer than any run.
const TTL: Duration = Duration::from_secs(3_600);

/// The coarse clock of all our caches; a [`Ticker`] advances it.
static CLOCK: LazyLock<Arc<ManualClock>> = LazyLock::new(Arc::default);

/// The policies whose hit ratio is measured. The first is the default, which the verdict is about.
pub(crate) const POLICIES: &[(&str, Eviction)] = &[
    (NAME, Eviction::Adaptive),
    ("ci-cache-core LRU", Eviction::Lru),
    ("ci-cache-core S3-FIFO", Eviction::S3Fifo),
    ("ci-cache-core SIEVE", Eviction::Sieve),
    ("ci-cache-core W-TinyLFU", Eviction::TinyLfu),
];

/// Our cache.
pub(crate) struct Ours<K, V, S = RandomState>(Cache<K, V, Infallible, S>);

impl<K: Hash + Eq + 'static, V: Clone> Ours<K, V> {
    /// Builds it; shards and hasher are the default's in any case.
    pub(crate) fn new(setup: Setup, eviction: Eviction) -> Result<Self, ci_cache_core::Error> {
        let builder = CacheBuilder::new(setup.capacity, CLOCK.clone());
        Ok(Self(configured(builder, setup, eviction).build()?))
    }
}

impl Ours<u64, u32> {
    /// Builds one for two tenants, told apart by the keys' highest bit, with or without equal shares.
    pub(crate) fn of_tenants(
        capacity: usize,
        eviction: Eviction,
        shares: bool,
    ) -> Result<Self, ci_cache_core::Error> {
        let builder = CacheBuilder::new(capacity, CLOCK.clone()).eviction(eviction);
        let builder = if shares {
            builder.groups(|key: &u64| key >> 63, |_| Share::new())
        } else {
            builder
        };
        Ok(Self(builder.build()?))
    }
}

impl<K: Hash + Eq + 'static, V: Clone, S: BuildHasher + Send + Sync + 'static> Ours<K, V, S> {
    /// Builds it with another hasher than the default.
    pub(crate) fn hashed_by(
        setup: Setup,
        eviction: Eviction,
        hasher: S,
    ) -> Result<Self, ci_cache_core::Error> {
        let builder = CacheBuilder::new(setup.capacity, CLOCK.clone()).hasher(hasher);
        Ok(Self(configured(builder, setup, eviction).build()?))
    }
}

fn configured<K, V, S>(
    builder: CacheBuilder<K, V, S>,
    setup: Setup,
    eviction: Eviction,
) -> CacheBuilder<K, V, S> {
    let builder = builder.eviction(eviction);
    if setup.ttl {
        builder.default_ttl(TTL)
    } else {
        builder
    }
}

impl<K: Key, V: Clone + Send + Sync, S: BuildHasher + Send + Sync> Reads<K, V> for Ours<K, V, S> {
    #[inline]
    fn get(&self, key: &K) -> Option<V> {
        self.0.get::<K::Borrowed>(key.borrow())
    }
}

impl<K: Key, V: Clone + Send + Sync, S: BuildHasher + Send + Sync> Writes<K, V> for Ours<K, V, S> {
    #[inline]
    fn insert(&self, key: K, value: V) {
        self.0.insert(key, value);
    }
}

impl<K: Key, V: Clone + Send + Sync, S: BuildHasher + Send + Sync> Loads<K, V> for Ours<K, V, S> {
    #[inline]
    fn get_or_load(&self, key: &K, load: impl FnOnce() -> V) -> V {
        let options = LookupOptions::new();
        let loaded: Result<V, Infallible> = self
            .0
            .get_or_load::<K::Borrowed>(key.borrow(), options, || Ok(load()));
        let Ok(value) = loaded;
        value
    }
}

/// The thread that advances the clock every millisecond, as a service does; it ends with this handle.
#[derive(Debug)]
pub(crate) struct Ticker {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Ticker {
    /// Starts the thread.
    pub(crate) fn start() -> Self {
        let (stop, stopped) = channel();
        Self {
            stop: Some(stop),
            thread: Some(std::thread::spawn(move || tick(&stopped))),
        }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.stop.take();
        if let Some(thread) = self.thread.take() {
            // A thread that panicked has nothing to say that its message did not.
            let _ = thread.join();
        }
    }
}

fn tick(stopped: &Receiver<()>) {
    let origin = Instant::now();
    while stopped.recv_timeout(Duration::from_millis(1)) == Err(RecvTimeoutError::Timeout) {
        let micros = u64::try_from(origin.elapsed().as_micros()).unwrap_or(u64::MAX);
        CLOCK.advance_to(Tick::from_micros(micros));
    }
}
