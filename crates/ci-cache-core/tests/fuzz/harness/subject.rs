//! The cache that is fuzzed: its settings, and keys, values and hashes that notice what is done to them.

use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ci_cache_core::{Cache, CacheBuilder, Cause, Eviction, ManualClock, Ttl};

use super::Plant;
use super::bytes::Bytes;

/// The cache.
pub(crate) type Subject = Cache<u8, Token, u32, Spread>;

/// What happened inside an operation, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// The listener was told.
    Gone { key: u8, id: u32, cause: Cause },
    /// An import asked for the pair of a record, and got this value for it.
    Decoded { key: u8, id: u32 },
}

/// Counts the values that are alive, and notes what is heard.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    alive: AtomicUsize,
    log: Mutex<Vec<Heard>>,
}

impl Ledger {
    pub(crate) fn alive(&self) -> usize {
        self.alive.load(Ordering::Relaxed)
    }

    pub(crate) fn note(&self, heard: Heard) {
        self.log.lock().expect("nobody panics here").push(heard);
    }

    pub(crate) fn take(&self) -> Vec<Heard> {
        std::mem::take(&mut self.log.lock().expect("nobody panics here"))
    }
}

/// A value that is like no other, with memory of its own for a sanitizer to watch.
#[derive(Debug, Clone)]
pub(crate) struct Token(Arc<Body>);

#[derive(Debug)]
struct Body {
    id: u32,
    key: u8,
    weight: u32,
    filling: Box<[u8]>,
    ledger: Arc<Ledger>,
}

impl Token {
    pub(crate) fn new(ledger: &Arc<Ledger>, key: u8, id: u32, weight: u32) -> Self {
        ledger.alive.fetch_add(1, Ordering::Relaxed);
        Self(Arc::new(Body {
            id,
            key,
            weight,
            filling: vec![id.to_le_bytes()[0]; 1 + id as usize % 40].into(),
            ledger: Arc::clone(ledger),
        }))
    }

    /// Reads which value it is, and checks that it is whole.
    pub(crate) fn id(&self) -> u32 {
        let Body { id, filling, .. } = &*self.0;
        assert!(filling.iter().all(|&byte| byte == id.to_le_bytes()[0]));
        *id
    }

    pub(crate) fn key(&self) -> u8 {
        self.0.key
    }

    pub(crate) fn weight(&self) -> u32 {
        self.0.weight
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.ledger.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Hashes well, badly or not at all, and the same in every run.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread(u8);

impl BuildHasher for Spread {
    type Hasher = Sum;

    fn build_hasher(&self) -> Sum {
        Sum {
            kind: self.0,
            sum: 17,
        }
    }
}

/// See [`Spread`].
#[derive(Debug)]
pub(crate) struct Sum {
    kind: u8,
    sum: u64,
}

impl Hasher for Sum {
    fn finish(&self) -> u64 {
        match self.kind {
            0 => 42,
            1 => self.sum % 4,
            2 => self.sum << 50,
            _ => self.sum.wrapping_mul(0xD6E8_FEB8_6659_FD93),
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.sum = self.sum.wrapping_mul(31).wrapping_add(byte.into());
        }
    }
}

/// The settings of a cache. Times are in microseconds.
#[derive(Debug, Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a setting of its own")]
pub(crate) struct Setup {
    pub(crate) eviction: Eviction,
    pub(crate) capacity: u64,
    pub(crate) shards: usize,
    pub(crate) weighs: bool,
    pub(crate) ttl: Option<u64>,
    pub(crate) idle: Option<u64>,
    pub(crate) revalidate: Option<u64>,
    pub(crate) error: Option<u64>,
    pub(crate) details: bool,
    pub(crate) costs: bool,
    /// Keys have times to live of their own: see [`ttl_of`].
    pub(crate) expiry: bool,
    pub(crate) reclaim: usize,
    hashing: u8,
    /// Which bits of a byte make a key: few keys meet often, many fill the table.
    pub(crate) keys: u8,
}

/// The time to live that a cache with an expiry function gives a key.
pub(crate) fn ttl_of(key: u8) -> Ttl {
    match key % 4 {
        0 => Ttl::Never,
        1 => Ttl::After(Duration::from_micros(5)),
        _ => Ttl::Inherit,
    }
}

impl Setup {
    pub(crate) fn decode(bytes: &mut Bytes<'_>) -> Self {
        let eviction = bytes.pick([
            Eviction::Lru,
            Eviction::S3Fifo,
            Eviction::Sieve,
            Eviction::TinyLfu,
            Eviction::Adaptive,
        ]);
        let keys = bytes.pick([0x07, 0x0F, 0x3F, 0xFF]);
        let capacity = match bytes.byte() {
            byte @ 0..=199 => u64::from(byte % 24) + 1,
            byte => u64::from(byte),
        };
        let shards = bytes.pick([1, 1, 1, 2, 3, 4]).min(capacity);
        let flags = bytes.byte();
        let is = |bit: u8| flags >> bit & 1 == 1;
        let times = bytes.byte();
        let mut time = |bit: u8| (times >> bit & 1 == 1).then(|| bytes.micros());
        Self {
            eviction,
            keys,
            capacity,
            shards: usize::try_from(shards).expect("few"),
            weighs: is(0),
            details: is(1),
            costs: is(2),
            expiry: is(3),
            reclaim: if is(4) { 0 } else { 4 },
            hashing: flags >> 6,
            ttl: time(0).filter(|&ttl| ttl > 0),
            idle: time(1).filter(|&idle| idle > 0),
            revalidate: time(2),
            error: time(3),
        }
    }

    /// Builds the cache; what leaves it is noted.
    pub(crate) fn build(&self, clock: &Arc<ManualClock>, ledger: &Arc<Ledger>, plant: Plant<'_>) -> Subject {
        let capacity = usize::try_from(self.capacity).expect("small");
        let ledger = Arc::clone(ledger);
        let mut builder = CacheBuilder::new(capacity, clock.clone())
            .eviction(self.eviction)
            .shards(self.shards)
            .details(self.details)
            .cost_aware(self.costs)
            .reclaim(self.reclaim)
            .hasher(Spread(self.hashing))
            .listener(move |&key, token: &Token, cause| {
                assert_eq!(token.key(), key, "a value left under another's key");
                ledger.note(Heard::Gone {
                    key,
                    id: token.id(),
                    cause,
                });
            });
        if self.weighs {
            builder = builder.weigher(|_, token| token.weight());
        }
        if self.expiry {
            builder = builder.expiry(|&key, _| ttl_of(key));
        }
        let time = Duration::from_micros;
        if let Some(ttl) = self.ttl {
            builder = builder.default_ttl(time(ttl));
        }
        if let Some(idle) = self.idle {
            builder = builder.default_idle(time(idle));
        }
        if let Some(window) = self.revalidate {
            builder = builder.stale_while_revalidate(time(window));
        }
        if let Some(window) = self.error {
            builder = builder.stale_if_error(time(window));
        }
        let cache = builder.build().expect("decoded settings are valid");
        plant(&cache);
        cache
    }
}
