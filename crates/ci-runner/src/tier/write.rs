//! Writing to the tier, in the background: what was loaded, what is still true, what is not any more.
//!
//! A loaded answer is written as it is known: true at the state at which it was loaded. What is used most is confirmed now and then: the
//! mark is read, then the cache, so that what is found is true at the mark; that state is written into the value. One node of the
//! fleet does it at a time, whichever takes the lease.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, Weak};
use std::time::Duration;

use ci_cache_core::ci::Rows as _;
use ci_model::{Key, TenantId, Version};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::budgets::Budgets;
use super::shared::delete_after;
use super::stats::add;
use super::value::{self, States};
use super::{Life, Shared, TierKey, TierValue};
use crate::encoding::PROGRAM;
use crate::runner::{Entry, Inner};

/// Values that are written in one round trip at most.
const BATCH: usize = 64;
/// Bytes of answers, as they are in memory, that are read in one round trip to be confirmed, unless one has more.
const BATCH_BYTES: usize = 1 << 20;
/// What is done in the background may take so many times as long as what somebody waits for.
const PATIENCE: u32 = 20;
/// Before a wrong value is deleted that could not be.
const AGAIN: Duration = Duration::from_secs(1);
/// Most answers of the tier that are remembered; then they are forgotten, and confirmed again once they are written or read again.
const KNOWN: usize = 65_536;

/// Something to do in the background.
#[derive(Debug)]
pub(crate) enum Job {
    /// A loaded answer is kept.
    Put(TenantId, Key, Entry),
    /// An answer that the tier had is kept.
    Adopted(Key, Known),
    /// Changes have dropped answers.
    Dropped,
    /// A value is wrong, whatever the log says.
    Delete(TierKey),
    /// A load has ended, and its lease is given back: after the answers that came before, and unless it has ended by itself.
    Release(TierKey, Instant),
    /// Confirms now what is used most.
    Refresh,
    /// Tells when all before it is done.
    Done(oneshot::Sender<()>),
}

/// Does what is to be done, until the runner is gone.
pub(crate) async fn run(inner: Weak<Inner>, mut jobs: mpsc::Receiver<Job>) {
    let Some(every) = inner.upgrade().and_then(|inner| {
        let shared = inner.tier.as_deref()?;
        Some(shared.options.refresh_every)
    }) else {
        return;
    };
    let mut next = Instant::now() + about(every);
    let mut work = Work::default();
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        tokio::select! {
            taken = jobs.recv_many(&mut batch, BATCH) => if taken == 0 { return },
            () = tokio::time::sleep_until(next) => {
                next = Instant::now() + about(every);
                batch.push(Job::Refresh);
            }
        }
        let Some(inner) = inner.upgrade() else { return };
        let Some(shared) = inner.tier.clone() else { return };
        work.all(&inner, &shared, batch).await;
    }
}

/// A time that is up to a quarter shorter or longer, another one at each call: were the nodes of a fleet always in the same order, the first would take the lease
/// each time, and what it does not use would never be confirmed.
fn about(time: Duration) -> Duration {
    let random = RandomState::new().hash_one(()) % 512;
    time / 4 * 3 + time / 1_024 * u32::try_from(random).unwrap_or_default()
}

/// What is remembered between batches.
#[derive(Debug, Default)]
struct Work {
    /// Drops that were seen.
    drops: u64,
    /// The state that was confirmed last.
    confirmed: Option<(u64, Version)>,
    /// What this node has of what the tier has: that alone it confirms.
    known: HashMap<Key, Known>,
    budgets: Budgets,
}

/// An answer that the tier has as well.
#[derive(Debug)]
pub(crate) struct Known {
    /// The state at which this node keeps it: an entry at another state is another answer.
    pub(super) kept: Version,
    /// The state at which it was loaded, here or by another node. It stays with the answer wherever that is confirmed: another node may have forgotten by hand
    /// what was loaded until then.
    pub(super) loaded: Version,
}

impl Work {
    /// In the order in which it came: what was dropped after it was written must not be there afterwards.
    async fn all(&mut self, inner: &Inner, shared: &Arc<Shared>, batch: Vec<Job>) {
        let (mut puts, mut released) = (Vec::new(), Vec::new());
        for job in batch {
            match job {
                Job::Put(tenant, key, entry) => {
                    shared.taken(&entry);
                    let states = States {
                        epoch: entry.epoch(),
                        loaded: entry.version().clone(),
                        valid: entry.version().clone(),
                    };
                    puts.push((tenant, key, states, entry));
                }
                Job::Dropped => {
                    self.put(inner, shared, std::mem::take(&mut puts)).await;
                    self.delete(inner, shared).await;
                }
                Job::Delete(name) => {
                    self.put(inner, shared, std::mem::take(&mut puts)).await;
                    let within = shared.options.timeout * PATIENCE;
                    let names = [name];
                    if shared.call(within, shared.tier.delete(&names)).await.is_err() {
                        // Not a courtesy: whoever has no change in its log that speaks against the value would use it.
                        let [name] = names;
                        delete_after(AGAIN, shared.jobs.clone(), name);
                    }
                }
                Job::Adopted(key, known) => self.remember(key, known),
                Job::Release(lease, until) => released.push((lease, until)),
                Job::Refresh => self.refresh(inner, shared).await,
                Job::Done(done) => {
                    self.put(inner, shared, std::mem::take(&mut puts)).await;
                    release(shared, std::mem::take(&mut released)).await;
                    let _gone = done.send(());
                }
            }
        }
        self.put(inner, shared, puts).await;
        release(shared, released).await;
    }

    async fn put(&mut self, inner: &Inner, shared: &Arc<Shared>, puts: Vec<Offered>) {
        if puts.is_empty() {
            return;
        }
        if shared.is_left_alone() {
            // Before they are encoded, which costs more than to find that nobody takes them.
            add(&shared.counts.unwritten, puts.len());
            return;
        }
        let written = puts.iter().map(|(_, key, states, _)| {
            let known = Known {
                kept: states.valid.clone(),
                loaded: states.loaded.clone(),
            };
            (key.clone(), known)
        });
        let written: Vec<(Key, Known)> = written.collect();
        let life = Life::For(shared.options.ttl);
        let values = encoded(puts, life).await;
        let (offered, now) = (values.len(), inner.cache.now());
        let with_known = values.into_iter().zip(written);
        let within = with_known.filter(|(value, _)| self.budgets.take(value, &shared.options, now));
        let (values, written): (Vec<TierValue>, Vec<(Key, Known)>) = within.unzip();
        add(&shared.counts.over_budget, offered - values.len());
        if send(shared, &values).await {
            add(&shared.counts.written, values.len());
            for (key, known) in written {
                self.remember(key, known);
            }
        } else {
            // A tier that is away for a while must not find all budgets spent when it is back.
            values.iter().for_each(|value| self.budgets.give_back(&value.key));
            add(&shared.counts.unwritten, values.len());
        }
    }

    fn remember(&mut self, key: Key, known: Known) {
        if self.known.len() >= KNOWN {
            self.known.clear();
        }
        self.known.insert(key, known);
    }

    /// Confirms what this node uses most, if no other node has just done so.
    async fn refresh(&mut self, inner: &Inner, shared: &Arc<Shared>) {
        // Before the entries are read: what is found afterwards is true at the mark.
        let Some(mark) = inner.cache.mark() else { return };
        let (epoch, version) = (mark.epoch(), mark.version().clone());
        if self.confirmed.as_ref() == Some(&(epoch, version.clone())) {
            // Nothing has happened since.
            return;
        }
        // Nodes of another version do not read what this one confirms.
        let lease = TierKey::new(None, format!("refresh-{PROGRAM}"));
        let length = shared.options.refresh_every / 2;
        let within = shared.options.timeout * PATIENCE;
        let taken = shared
            .call(within, shared.tier.lease(&lease, length))
            .await
            .unwrap_or(false);
        if !taken {
            return;
        }
        let entries = inner.cache.entries(shared.options.refresh);
        let confirmed = entries.into_iter().filter_map(|(key, entry)| {
            let (tenant, _) = Key::read(key.as_bytes())?;
            let (epoch, valid) = mark.as_of(&entry);
            let known = self.known.get(&key)?;
            let states = States {
                epoch,
                loaded: known.loaded.clone(),
                valid: valid.clone(),
            };
            let is_it = known.kept == *entry.version() && entry.epoch() == epoch;
            is_it.then_some((tenant, key, states, entry))
        });
        let mut confirmed: Vec<Offered> = confirmed.collect();
        drop(mark);
        while !confirmed.is_empty() {
            let rest = confirmed.split_off(batch(&confirmed));
            let Some(still) = still_there(shared, std::mem::replace(&mut confirmed, rest)).await else {
                return;
            };
            let values = encoded(still, Life::AsBefore).await;
            if !send(shared, &values).await {
                return;
            }
            add(&shared.counts.refreshed, values.len());
        }
        self.confirmed = Some((epoch, version));
    }

    /// Deletes what changes have dropped: values that nobody can use any more need no room.
    async fn delete(&mut self, inner: &Inner, shared: &Shared) {
        let (drops, total) = inner.cache.dropped_since(self.drops);
        self.drops = total;
        let keys = drops.into_iter().filter_map(|dropped| dropped.key);
        let names = keys.filter_map(|key| {
            let (tenant, _) = Key::read(key.as_bytes())?;
            Some(Shared::name(&tenant, &key))
        });
        let names: Vec<TierKey> = names.collect();
        let within = shared.options.timeout * PATIENCE;
        for names in names.chunks(BATCH) {
            if shared.call(within, shared.tier.delete(names)).await.is_ok() {
                names.iter().for_each(|name| self.budgets.give_back(name));
                add(&shared.counts.deleted, names.len());
            }
        }
    }
}

/// How many of them are read in one round trip: readers wait behind it on the same connection.
fn batch(confirmed: &[Offered]) -> usize {
    let mut bytes = 0;
    let within = confirmed.iter().take(BATCH).take_while(|(.., entry)| {
        let before = bytes;
        bytes += entry.value().answer().bytes();
        before == 0 || bytes <= BATCH_BYTES
    });
    within.count()
}

/// Those of which the tier still has the very load, confirmed at an earlier state; none when it does not answer. What another node has put in its place is newer, or
/// is there because ours was found to be wrong; and its time to live is not that of our load.
async fn still_there(shared: &Shared, confirmed: Vec<Offered>) -> Option<Vec<Offered>> {
    let names = confirmed
        .iter()
        .map(|(tenant, key, ..)| Shared::name(tenant, key));
    let names: Vec<TierKey> = names.collect();
    let within = shared.options.timeout * PATIENCE;
    let found = shared.call(within, shared.tier.get(&names)).await.ok()?;
    let still = confirmed
        .into_iter()
        .zip(found)
        .filter(|((.., states, _), found)| {
            let there = found.as_deref().and_then(|bytes| value::open(bytes).ok());
            there.is_some_and(|there| {
                there.states.epoch == states.epoch
                    && there.states.loaded == states.loaded
                    && !there.states.valid.includes(&states.valid)
            })
        });
    Some(still.map(|(offered, _)| offered).collect())
}

/// Gives leases back: whoever misses the same answer again soon need not wait for a load that is over.
async fn release(shared: &Shared, held: Vec<(TierKey, Instant)>) {
    let now = Instant::now();
    let held = held.into_iter().filter(|(_, until)| now < *until);
    let leases: Vec<TierKey> = held.map(|(lease, _)| lease).collect();
    if !leases.is_empty() && !shared.is_left_alone() {
        let within = shared.options.timeout * PATIENCE;
        // They end by themselves, too.
        let _lost = shared.call(within, shared.tier.delete(&leases)).await;
    }
}

/// An answer to be written, with the states at which it is true.
type Offered = (TenantId, Key, States, Entry);

/// Encodes answers, where it holds nobody up. What is too large to be shared is an empty value.
async fn encoded(offered: Vec<Offered>, life: Life) -> Vec<TierValue> {
    let encode = move || {
        let encode = |(tenant, key, states, entry): Offered| {
            let name = Shared::name(&tenant, &key);
            let bytes = value::encode(&key, &states, entry.value().answer());
            TierValue::new(name, bytes.unwrap_or_default(), life)
        };
        offered.into_iter().map(encode).collect()
    };
    tokio::task::spawn_blocking(encode).await.unwrap_or_default()
}

async fn send(shared: &Shared, values: &[TierValue]) -> bool {
    if values.is_empty() {
        return true;
    }
    let within: Duration = shared.options.timeout * PATIENCE;
    shared.call(within, shared.tier.put(values)).await.is_ok()
}
