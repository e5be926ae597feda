//! What is measured: the small trait each cache is adapted to, and the slices of work that are timed.

use std::hint::black_box;
use std::sync::Arc;

use crate::key::Key;

/// The value of the timed measurements: cloned out on a hit, alike for every contender.
pub(crate) type Value = Arc<u64>;

/// A cache or map that can be filled and read.
///
/// Implementors are configured as their documentation advises, with the capacity that [`Setup`] states.
pub(crate) trait Reads<K: Key, V>: Send + Sync {
    /// Looks a key up by its borrowed form, if the contender has such a look-up, and clones the value out.
    fn get(&self, key: &K) -> Option<V>;
}

/// A cache that takes insertions while it is shared.
pub(crate) trait Writes<K: Key, V>: Reads<K, V> {
    /// Inserts or overwrites.
    fn insert(&self, key: K, value: V);

    /// Does what the contender otherwise does in the background or later, so that tests start from rest.
    fn settle(&self) {}
}

/// A cache whose look-up can load: what a hit costs on that path.
pub(crate) trait Loads<K: Key, V>: Send + Sync {
    /// Gets the value or stores what `load` makes.
    fn get_or_load(&self, key: &K, load: impl FnOnce() -> V) -> V;
}

/// What every contender of a measurement is built with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setup {
    /// Entries that fit.
    pub(crate) capacity: usize,
    /// Whether entries expire (an hour after insertion, so that none does during the run).
    pub(crate) ttl: bool,
    /// One shard instead of the default, for peers that let one choose: their policies are then exact.
    pub(crate) one_shard: bool,
}

impl Setup {
    /// Exactly so much room.
    pub(crate) fn tight(capacity: usize) -> Self {
        Self {
            capacity,
            ttl: false,
            one_shard: false,
        }
    }

    /// Room for so many entries and a quarter more, so that no contender evicts although its shards fill unevenly.
    pub(crate) fn roomy(entries: usize) -> Self {
        Self::tight(entries + entries / 4)
    }

    /// The same with expiry.
    pub(crate) fn with_ttl(self) -> Self {
        Self { ttl: true, ..self }
    }

    /// The same in one shard.
    pub(crate) fn in_one_shard(self) -> Self {
        Self {
            one_shard: true,
            ..self
        }
    }
}

/// The bit of an operation that makes it an insertion; the other bits number the key.
pub(crate) const INSERT: u32 = 1 << 31;

/// A timed slice of look-ups over all kinds of caches.
pub(crate) trait HitSlice<K>: Send + Sync {
    /// Looks the keys up in the given order and counts the hits.
    fn hits(&self, keys: &[K], order: &[u32]) -> usize;

    /// Does the same, but which key comes next depends on the value before it: no look-up can begin before the last has
    /// ended, as in a program that uses what it got.
    fn chained_hits(&self, keys: &[K], order: &[u32]) -> usize;
}

impl<K: Key, C: Reads<K, Value>> HitSlice<K> for C {
    fn hits(&self, keys: &[K], order: &[u32]) -> usize {
        let mut hits = 0;
        for &number in order {
            if let Some(value) = self.get(&keys[number as usize]) {
                hits += 1;
                black_box(&value);
            }
        }
        hits
    }

    fn chained_hits(&self, keys: &[K], order: &[u32]) -> usize {
        let (mut hits, mut carry) = (0, 0);
        for &number in order {
            if let Some(value) = self.get(&keys[(number ^ carry) as usize]) {
                hits += 1;
                // Zero, since values are small; the compiler and the processor cannot know.
                carry = (*value >> 32) as u32;
            }
        }
        hits
    }
}

/// A timed slice of look-ups and insertions.
pub(crate) trait MixedSlice<K>: HitSlice<K> {
    /// Runs the operations and counts the hits; a miss inserts, as the caller of a cache would.
    fn mixed(&self, keys: &[K], operations: &[u32]) -> usize;

    /// Inserts each key once, and those again that the contender dropped although they fit.
    fn fill(&self, keys: &[K]);
}

impl<K: Key, C: Writes<K, Value>> MixedSlice<K> for C {
    fn mixed(&self, keys: &[K], operations: &[u32]) -> usize {
        let mut hits = 0;
        for &operation in operations {
            let key = &keys[(operation & !INSERT) as usize];
            if operation & INSERT == 0
                && let Some(value) = self.get(key)
            {
                hits += 1;
                black_box(&value);
            } else {
                self.insert(key.clone(), Arc::new(u64::from(operation)));
            }
        }
        // What a contender defers belongs to its own time and must not run into the next one's.
        self.settle();
        hits
    }

    fn fill(&self, keys: &[K]) {
        // A bounded number of rounds: contenders with lossy write buffers lose some, those without none.
        for round in 0..4 {
            let mut inserted = 0;
            for chunk in keys.chunks(256) {
                for key in chunk {
                    if round == 0 || self.get(key).is_none() {
                        inserted += 1;
                        self.insert(key.clone(), Arc::new(inserted));
                    }
                }
                self.settle();
            }
            if inserted == 0 {
                break;
            }
        }
    }
}

/// A timed slice of hits on the load path.
pub(crate) trait LoadSlice<K>: Send + Sync {
    /// Asks for the keys in the given order; says how many had to be loaded.
    fn loads(&self, keys: &[K], order: &[u32]) -> usize;
}

impl<K: Key, C: Loads<K, Value>> LoadSlice<K> for C {
    fn loads(&self, keys: &[K], order: &[u32]) -> usize {
        let mut loads = 0;
        for &number in order {
            black_box(self.get_or_load(&keys[number as usize], || {
                loads += 1;
                Arc::new(0)
            }));
        }
        loads
    }
}
