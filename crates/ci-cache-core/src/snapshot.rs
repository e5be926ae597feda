//! Entries as bytes, for a warm restart: written by one process, read by the next.

mod format;
#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod tests;

use std::hash::{BuildHasher, Hash};
use std::time::Duration;

use crate::cache::Cache;
use crate::clock::micros;
use crate::entry::InsertOptions;
use crate::error::Error;
use crate::expiry::Ttl;
use crate::scope::{Scope, Stamp};
use crate::shard::{Particulars, Stored};
use crate::whole::interleave;
use format::Record;

/// A pair out of a snapshot, as the decoder hands it to [`Cache::import`].
#[derive(Debug, Clone)]
pub struct Restored<K, V> {
    key: K,
    value: V,
    stamp: Option<Stamp>,
}

impl<K, V> Restored<K, V> {
    /// Names the pair; it belongs to no scope.
    pub fn new(key: K, value: V) -> Self {
        Self {
            key,
            value,
            stamp: None,
        }
    }

    /// Puts the entry under a scope, by a stamp taken before it was made sure that the snapshot missed no invalidation.
    pub fn stamped(mut self, stamp: Stamp) -> Self {
        self.stamp = Some(stamp);
        self
    }

    /// Puts the entry under a scope, stamped now: right if nothing can invalidate the scope during the import.
    pub fn scope(self, scope: &Scope) -> Self {
        self.stamped(scope.stamp())
    }
}

/// What became of the entries of a snapshot; each is counted once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Imported {
    /// Resident (unless a later one displaced it).
    pub kept: usize,
    /// Expired while the process was away.
    pub expired: usize,
    /// The cache holds a value of the key already, which is newer.
    pub present: usize,
    /// Under a scope when exported, and the decoder gave it none.
    pub unscoped: usize,
    /// The decoder did not want it.
    pub undecoded: usize,
    /// Left out because those to be kept longer fill the capacity, or refused by the cache.
    pub crowded: usize,
}

impl<K, V, E, S> Cache<K, V, E, S> {
    /// Writes the fresh entries into bytes that [`import`](Self::import) reads, without those under a scope.
    ///
    /// An invalidation that happens while the entry is only in the bytes cannot reach it: imported, it would be served all
    /// the same. Hence a scoped entry is left out; see [`export_all`](Self::export_all).
    ///
    /// `encode` gets a pair and appends key and value to the two buffers, which are empty; `None` leaves the entry out. It
    /// runs under the shared lock of one shard: writers of that shard wait, and it must not use the cache. Shards are
    /// written one after the other, so the entries are not of one instant. No look-up is counted.
    ///
    /// Shape: 32 bytes, and per entry 65 bytes over key and value, the entry to be kept longest last; a checksum tells
    /// accidents, not forgers. Besides the pair an entry keeps its weight, cost, the rest of its time to live, its time to
    /// idle and its stale windows. Cost: walks everything; twice the bytes in memory while it runs.
    ///
    /// ```
    /// # use std::{sync::Arc, time::Duration};
    /// # use ci_cache_core::{Cache, ManualClock, Restored};
    /// # fn cache() -> Cache<u32, u32> {
    /// #     Cache::<u32, u32>::builder(100, Arc::new(ManualClock::new())).build().unwrap()
    /// # }
    /// let before = cache();
    /// before.insert(1, 10);
    /// let bytes = before.export(|key, value, key_out, value_out| {
    ///     key_out.extend_from_slice(&key.to_le_bytes());
    ///     value_out.extend_from_slice(&value.to_le_bytes());
    ///     Some(())
    /// });
    ///
    /// let after = cache();
    /// let away = Duration::from_secs(3);
    /// let imported = after.import(&bytes, away, |key, value| {
    ///     let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
    ///     Some(Restored::new(number(key)?, number(value)?))
    /// })?;
    /// assert_eq!((imported.kept, after.get(&1)), (1, Some(10)));
    /// # Ok::<(), ci_cache_core::Error>(())
    /// ```
    pub fn export(&self, encode: impl FnMut(&K, &V, &mut Vec<u8>, &mut Vec<u8>) -> Option<()>) -> Vec<u8> {
        self.write_out(encode, |told| !told.is_scoped)
    }

    /// Writes the fresh entries like [`export`](Self::export), those under a scope included: for who can tell at the import
    /// whether one of their scopes was invalidated meanwhile, and puts them under a scope again.
    pub fn export_all(
        &self,
        encode: impl FnMut(&K, &V, &mut Vec<u8>, &mut Vec<u8>) -> Option<()>,
    ) -> Vec<u8> {
        self.write_out(encode, |_| true)
    }

    fn write_out(
        &self,
        mut encode: impl FnMut(&K, &V, &mut Vec<u8>, &mut Vec<u8>) -> Option<()>,
        wanted: impl Fn(&Particulars) -> bool,
    ) -> Vec<u8> {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        let parts = self.core.read_each(|shard, epoch, config| {
            let (mut bytes, mut ranges) = (Vec::new(), Vec::new());
            let now = config.time.now();
            for seen in shard.in_order(epoch, config) {
                let told = seen.particulars(now);
                key.clear();
                value.clear();
                if wanted(&told) && encode(seen.key, seen.value, &mut key, &mut value).is_some() {
                    let start = bytes.len();
                    format::push(&mut bytes, &told, &key, &value);
                    ranges.push(start..bytes.len());
                }
            }
            (bytes, ranges)
        });
        let (parts, ranges): (Vec<_>, Vec<_>) = parts.unzip();
        let columns = ranges.into_iter().enumerate();
        let columns = columns.map(|(part, ranges)| ranges.into_iter().map(|range| (part, range)).collect());
        let order = interleave(columns.collect(), usize::MAX);
        let body = parts.iter().map(Vec::len).sum();
        let mut bytes = format::begin(self.core.config.weigher.is_some(), order.len(), body);
        for (part, range) in order.into_iter().rev() {
            bytes.extend_from_slice(&parts[part][range]);
        }
        format::seal(bytes)
    }
}

impl<K, V, E, S> Cache<K, V, E, S>
where
    K: Hash + Eq,
    S: BuildHasher,
{
    /// Takes in the entries of a snapshot, in its order, and says what became of them.
    ///
    /// `elapsed` is the time since the export, by a clock that ran meanwhile: the rest of each time to live is counted
    /// from now and shortened by it, for ticks mean nothing in another process. Rather too long than too short. Idling
    /// starts anew; [`Meta`](crate::Meta) counts from the import. Of more entries than the capacity holds, the ones to be
    /// kept longest come in. Weights are taken over if both caches weigh or neither does; otherwise this one decides.
    ///
    /// `decode` makes a pair of the bytes, without any lock; `None` leaves the entry out. An entry that was under a scope
    /// comes in only if the decoder puts it under one.
    ///
    /// Import before the cache is shared: nobody can tell a value of the snapshot from the past that a removal, a clear or
    /// an invalidation during the import was about. A resident value is never overwritten, and a running flight stays.
    ///
    /// Cost: reads the bytes twice; one shard lock per entry.
    ///
    /// # Errors
    /// [`Error::SnapshotFormat`] if it was written by another version of the format, [`Error::SnapshotDamaged`] if it is
    /// anything else than what was exported. Nothing is imported then.
    pub fn import(
        &self,
        bytes: &[u8],
        elapsed: Duration,
        mut decode: impl FnMut(&[u8], &[u8]) -> Option<Restored<K, V>>,
    ) -> Result<Imported, Error> {
        let opened = format::open(bytes, self.core.rules())?;
        let elapsed = micros(elapsed);
        let takes_weights = opened.is_weighed == self.core.config.weigher.is_some();
        let mut records = opened.records;
        let mut imported = Imported::default();
        let all = records.len();
        records.retain(|record| record.told.fresh == u64::MAX || record.told.fresh > elapsed);
        imported.expired = all - records.len();
        imported.crowded = surplus(&records, self.core.capacity(), takes_weights);
        for record in &records[imported.crowded..] {
            let place = match decode(record.key, record.value) {
                None => &mut imported.undecoded,
                Some(pair) if record.told.is_scoped && pair.stamp.is_none() => &mut imported.unscoped,
                Some(pair) => match self.restore(pair, &record.told, elapsed, takes_weights) {
                    None => &mut imported.present,
                    Some(Stored::Kept) => &mut imported.kept,
                    Some(Stored::Refused) => &mut imported.crowded,
                },
            };
            *place += 1;
        }
        Ok(imported)
    }

    fn restore(
        &self,
        pair: Restored<K, V>,
        told: &Particulars,
        elapsed: u64,
        takes_weight: bool,
    ) -> Option<Stored> {
        let mut options = wishes(told, elapsed);
        options.weight = takes_weight.then_some(told.weight);
        options.stamp = pair.stamp;
        // No window is what the value had, too: a default must not prolong it.
        let (had, default) = (&mut options.windows, self.core.config.windows);
        had.revalidate = had.revalidate.or(default.revalidate.map(|_| Duration::ZERO));
        had.error = had.error.or(default.error.map(|_| Duration::ZERO));
        let hash = self.hash(&pair.key);
        self.core.write(hash, |shard, config, out| {
            shard.restore(hash, pair.key, pair.value, &options, config, out)
        })
    }
}

/// Makes of an entry's particulars what is to be wished for it after so many microseconds.
fn wishes(told: &Particulars, elapsed: u64) -> InsertOptions {
    let time = |micros| (micros != u64::MAX).then(|| Duration::from_micros(micros));
    let mut options = InsertOptions::new().cost(told.cost);
    options.ttl = time(told.ttl).map_or(Ttl::Never, |ttl| {
        Ttl::After(ttl.saturating_sub(Duration::from_micros(elapsed)))
    });
    options.idle = time(told.idle);
    options.windows.revalidate = time(told.revalidate);
    options.windows.error = time(told.error);
    options
}

/// Counts the entries at the front that have no room beside those behind them: inserted, they would only be evicted, or worse,
/// be kept by a policy that lets the later ones, which are worth more, compete with them.
fn surplus(records: &[Record<'_>], capacity: u64, by_weight: bool) -> usize {
    let weight = |record: &Record<'_>| {
        if by_weight {
            u64::from(record.told.weight.max(1))
        } else {
            1
        }
    };
    let mut room = capacity;
    let fitting = records.iter().rev().take_while(|record| {
        let left = room.checked_sub(weight(record));
        room = left.unwrap_or(0);
        left.is_some()
    });
    records.len() - fitting.count()
}
