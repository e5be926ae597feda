//! Steps of the first target that write and read snapshots.

use std::collections::BTreeMap;
use std::time::Duration;

use ci_cache_core::{Imported, Restored, Ttl};

use super::model::{Doing, NEVER, Record, SCOPES, Wish};
use super::steps::Run;
use super::subject::{Heard, Token};

/// The last snapshot, and what it has to say of each value.
#[derive(Debug, Default)]
pub(crate) struct Saved {
    pub(crate) bytes: Vec<u8>,
    pub(crate) values: BTreeMap<u32, Told>,
}

/// What a snapshot has to keep of a value. Times are what was left of them, in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    weight: u32,
    is_scoped: bool,
    fresh: u64,
    ttl: u64,
    idle: Option<u64>,
    revalidate: u64,
    error: u64,
}

impl Told {
    fn of(record: &Record, now: u64) -> Self {
        let left = |end: u64| {
            if end == NEVER {
                NEVER
            } else {
                end.saturating_sub(now)
            }
        };
        Self {
            weight: record.weight,
            is_scoped: record.stamp.is_some(),
            fresh: left(record.deadline()),
            ttl: left(record.hard),
            // One without end is none.
            idle: record.idle.filter(|&idle| idle != NEVER),
            revalidate: record.stale_until - record.hard,
            error: record.fallback_until - record.hard,
        }
    }

    /// Whether it is over after so long.
    fn is_over(&self, elapsed: u64) -> bool {
        self.fresh != NEVER && self.fresh <= elapsed
    }
}

/// Writes a pair as the targets do.
#[expect(clippy::unnecessary_wraps, reason = "the shape that export asks for")]
pub(super) fn encode(key: u8, token: &Token, key_out: &mut Vec<u8>, value_out: &mut Vec<u8>) -> Option<()> {
    key_out.push(key);
    value_out.extend_from_slice(&token.id().to_le_bytes());
    value_out.extend_from_slice(&token.weight().to_le_bytes());
    Some(())
}

/// Reads a pair: key, number and weight.
pub(super) fn decode(key: &[u8], value: &[u8]) -> Option<(u8, u32, u32)> {
    let &[key] = key else { return None };
    let (id, weight) = value.split_first_chunk()?;
    let weight = weight.try_into().ok()?;
    Some((key, u32::from_le_bytes(*id), u32::from_le_bytes(weight)))
}

impl Run {
    pub(super) fn export(&mut self, all: bool) {
        let now = self.model.now;
        let wanted = self
            .fresh_records()
            .filter(|record| all || record.stamp.is_none());
        let values: BTreeMap<u32, Told> = wanted.map(|record| (record.id, Told::of(record, now))).collect();
        let mut written = Vec::new();
        let write = |&key: &u8, token: &Token, key_out: &mut Vec<u8>, value_out: &mut Vec<u8>| {
            written.push(token.id());
            encode(key, token, key_out, value_out)
        };
        let bytes = if all {
            self.cache.export_all(write)
        } else {
            // It may ask for more than it writes, but not for another's.
            self.cache.export(write)
        };
        written.sort_unstable();
        assert!(
            written.iter().eq(values.keys()),
            "{written:?} exported of {values:?}"
        );
        self.saved = Saved { bytes, values };
    }

    pub(super) fn import(&mut self, elapsed: u64, scope: Option<u8>, skipped: Option<u8>) {
        let mask = self.model.setup.keys;
        let scope = scope.map(|scope| usize::from(scope) % SCOPES);
        let saved = std::mem::take(&mut self.saved);
        let Self {
            cache,
            ledger,
            scopes,
            numbers,
            ..
        } = self;
        // Which value of the snapshot each new one is.
        let mut old_of_new = BTreeMap::new();
        let mut undecoded = 0;
        let imported = cache.import(&saved.bytes, Duration::from_micros(elapsed), |key, value| {
            let (key, id, weight) = decode(key, value).expect("what was exported");
            if skipped.is_some_and(|skipped| skipped & mask == key) {
                undecoded += 1;
                return None;
            }
            *numbers += 1;
            old_of_new.insert(*numbers, id);
            ledger.note(Heard::Decoded { key, id: *numbers });
            let pair = Restored::new(key, Token::new(ledger, key, *numbers, weight));
            Some(match scope {
                Some(scope) => pair.scope(&scopes[scope]),
                None => pair,
            })
        });
        if saved.bytes.is_empty() {
            assert!(imported.is_err(), "nothing is no snapshot");
            return;
        }
        let imported = imported.expect("what was exported");
        let expired = saved.values.values().filter(|told| told.is_over(elapsed)).count();
        let counted = self.judge_import(&saved, &old_of_new, elapsed, scope);
        let surplus = imported.crowded - counted.crowded;
        assert_eq!(
            (
                imported.kept,
                imported.present,
                imported.unscoped,
                imported.expired,
                imported.undecoded
            ),
            (
                counted.kept,
                counted.present,
                counted.unscoped,
                expired,
                undecoded
            ),
        );
        assert_eq!(
            old_of_new.len() + undecoded + expired + surplus,
            saved.values.len(),
            "each is counted once: {imported:?}"
        );
        let lasting = saved.values.values().filter(|told| !told.is_over(elapsed));
        let weight: u64 = lasting.map(|told| u64::from(told.weight)).sum();
        assert!(
            surplus == 0 || weight > self.model.capacity,
            "{surplus} left out with room for them"
        );
        self.saved = saved;
    }

    /// Judges an import value by value: what is heard between two decodings is about the first.
    fn judge_import(
        &mut self,
        saved: &Saved,
        old_of_new: &BTreeMap<u32, u32>,
        elapsed: u64,
        scope: Option<usize>,
    ) -> Imported {
        let heard = self.ledger.take();
        let mut counted = Imported::default();
        let mut rest = heard.as_slice();
        while let Some((&Heard::Decoded { key, id }, after)) = rest.split_first() {
            let is_next = |heard: &Heard| matches!(heard, Heard::Decoded { .. });
            let (events, following) = after.split_at(after.iter().position(is_next).unwrap_or(after.len()));
            rest = following;
            let told = &saved.values[&old_of_new[&id]];
            let stamp = scope.map(|scope| (scope, self.model.generations[scope]));
            let is_present = self
                .model
                .resident(key)
                .is_some_and(|(_, state)| !state.is_dead());
            if told.is_scoped && stamp.is_none() {
                counted.unscoped += 1;
                assert!(events.is_empty(), "{key} was under a scope: {events:?}");
            } else if is_present {
                counted.present += 1;
                self.model.settle(events, &Doing::Looking, Vec::new());
            } else {
                let wish = self.wish_of_told(told, elapsed, stamp);
                let record = self.model.record(key, id, 1, &wish);
                if self.model.settle(events, &Doing::Storing, vec![record]) {
                    counted.kept += 1;
                } else {
                    counted.crowded += 1;
                }
            }
        }
        assert!(rest.is_empty(), "before anything was decoded: {rest:?}");
        counted
    }

    /// What a value of a snapshot is restored with: all it had, less the time that passed.
    fn wish_of_told(&self, told: &Told, elapsed: u64, stamp: Option<(usize, u64)>) -> Wish {
        let ttl = match told.ttl {
            NEVER => Ttl::Never,
            ttl => Ttl::After(Duration::from_micros(ttl.saturating_sub(elapsed))),
        };
        // A value that had no stale window does not get the cache's default one.
        let window = |had: u64, default: Option<u64>| (had > 0).then_some(had).or(default.map(|_| 0));
        Wish {
            ttl,
            idle: told.idle,
            revalidate: window(told.revalidate, self.model.setup.revalidate),
            error: window(told.error, self.model.setup.error),
            weight: Some(told.weight),
            cost: 0,
            stamp,
        }
    }
}
