//! What `compute` and the snapshots do under a shard's lock.

use hashbrown::Equivalent;

use super::{Look, Seen, Shard, write::Stored};
use crate::clock::Tick;
use crate::config::Config;
use crate::detail::State;
use crate::entry::InsertOptions;
use crate::listener::{Garbage, Rest};

/// What a snapshot says of an entry besides key and value. Times are left over at the moment of the export, in
/// microseconds; `u64::MAX` is "none" or "no end".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Particulars {
    pub(crate) weight: u32,
    pub(crate) cost: u32,
    pub(crate) is_scoped: bool,
    /// Until it is no longer fresh, by its time to live or by idling.
    pub(crate) fresh: u64,
    /// Until its time to live ends.
    pub(crate) ttl: u64,
    pub(crate) idle: u64,
    /// How long after its time to live it may be served while it is loaded again.
    pub(crate) revalidate: u64,
    /// How long after its time to live it may be served if loading fails.
    pub(crate) error: u64,
}

impl<K, V, E> Shard<K, V, E> {
    /// Visits a key's fresh value under the exclusive lock, and counts nothing.
    pub(crate) fn look_here<Q, R>(
        &self,
        hash: u64,
        key: &Q,
        config: &Config<K, V>,
        visit: impl FnOnce(&V) -> R,
    ) -> Look<R>
    where
        Q: ?Sized + Equivalent<K>,
    {
        self.look((hash, key), self.epoch, config, |seen| visit(seen.value))
    }

    /// Stores a pair of a snapshot unless the key is resident: what came since is newer. A running flight stays, for its
    /// value will be newer still. Nothing if the key was there.
    pub(crate) fn restore(
        &mut self,
        hash: u64,
        key: K,
        value: V,
        options: &InsertOptions,
        config: &Config<K, V>,
        out: &mut Garbage<K, V, E>,
    ) -> Option<Stored>
    where
        K: Eq,
    {
        if let Some((slot, mark, ..)) = self.table.find(hash, &key)
            && !matches!(self.state(slot, mark.read(), config), State::Dead(_))
        {
            out.value = Some(value);
            out.push_rest(Rest::Key(key));
            return None;
        }
        let (key, value, life) = Self::life(hash, key, value, options, config, out);
        Some(self.store(hash, key, value, life, config, out))
    }
}

impl<K, V, E> Seen<'_, K, V, E> {
    /// Tells what a snapshot says of it.
    pub(crate) fn particulars(&self, now: Tick) -> Particulars {
        let deadline = self.reading.expires().then(|| self.reading.deadline());
        let columns = &self.shard.columns;
        let mut told = Particulars {
            weight: columns.weight(self.slot),
            cost: columns.cost(self.slot),
            is_scoped: self.is_scoped(),
            fresh: left(deadline.unwrap_or(Tick::NEVER), now),
            ttl: left(deadline.unwrap_or(Tick::NEVER), now),
            idle: u64::MAX,
            revalidate: u64::MAX,
            error: u64::MAX,
        };
        let detail = columns.detail(self.slot);
        if let Some(detail) = detail.filter(|_| self.reading.is_detailed()) {
            told.ttl = left(detail.hard, now);
            if detail.idle_micros > 0 {
                told.idle = detail.idle_micros;
            }
            if told.ttl != u64::MAX {
                told.revalidate = window(detail.stale_until, detail.hard);
                told.error = window(detail.fallback_until, detail.hard);
            }
        }
        told
    }
}

/// Gives the microseconds until `end`.
fn left(end: Tick, now: Tick) -> u64 {
    if end == Tick::NEVER {
        u64::MAX
    } else {
        end.as_micros().saturating_sub(now.as_micros())
    }
}

/// Gives the length of a stale window; an empty one is none.
fn window(end: Tick, hard: Tick) -> u64 {
    match end.as_micros().saturating_sub(hard.as_micros()) {
        0 => u64::MAX,
        length => length,
    }
}
