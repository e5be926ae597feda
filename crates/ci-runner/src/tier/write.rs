//! Writing to the tier, in the background: what was loaded, what is still true, what is not any more.
//!
//! A loaded answer is written as it is known: true at the state at which it was loaded. What is used most is confirmed now and then: the
//! mark is read, then the cache, so that what is found is true at the mark; that state is written into the value. One node of the
//! fleet does it at a time, whichever takes the lease.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ci_cache_core::Tick;
use ci_model::{Key, TenantId, Version};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior};

use super::stats::add;
use super::value::{self, States};
use super::{Life, Shared, TierKey, TierValue};
use crate::runner::{Entry, Inner};

/// Values that are written in one round trip at most.
const BATCH: usize = 64;
/// What is done in the background may take so many times as long as what somebody waits for.
const PATIENCE: u32 = 20;
/// Most written answers that are remembered; then they are forgotten, and confirmed again once they are written again.
const WRITTEN: usize = 65_536;
/// Tenants whose budgets are kept apart; those beyond share one.
const TENANTS: usize = 10_000;

/// Something to do in the background.
#[derive(Debug)]
pub(crate) enum Job {
    /// A loaded answer is kept.
    Put(TenantId, Key, Entry),
    /// Changes have dropped answers.
    Dropped,
    /// A value is wrong, whatever the log says.
    Delete(TierKey),
    /// A load has ended, and its lease is given back: after the answers that came before.
    Release(TierKey),
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
    let mut ticks = tokio::time::interval_at(Instant::now() + every, every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut work = Work::default();
    loop {
        let mut batch = Vec::with_capacity(BATCH);
        tokio::select! {
            taken = jobs.recv_many(&mut batch, BATCH) => if taken == 0 { return },
            _ = ticks.tick() => batch.push(Job::Refresh),
        }
        let Some(inner) = inner.upgrade() else { return };
        let Some(shared) = inner.tier.clone() else { return };
        work.all(&inner, &shared, batch).await;
    }
}

/// What is remembered between batches.
#[derive(Debug, Default)]
struct Work {
    /// Drops that were seen.
    drops: u64,
    /// The state that was confirmed last.
    confirmed: Option<(u64, Version)>,
    /// What this node loaded and wrote, with the state at which it was loaded: that alone it confirms. Of an answer that it had from the tier itself
    /// it does not know when it was loaded, and another node may have forgotten by hand what was loaded until then.
    written: HashMap<Key, Version>,
    budgets: Budgets,
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
                    let _lost = shared.call(within, shared.tier.delete(&names)).await;
                }
                Job::Release(lease) => released.push(lease),
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
        let loaded: Vec<(Key, Version)> = puts
            .iter()
            .map(|(_, key, states, _)| (key.clone(), states.loaded.clone()))
            .collect();
        let life = Life::For(shared.options.ttl);
        let mut values = encoded(puts, life).await;
        let offered = values.len();
        let now = inner.cache.now();
        values.retain(|value| self.budgets.take(value, shared, now));
        add(&shared.counts.over_budget, offered - values.len());
        if send(shared, &values).await {
            add(&shared.counts.written, values.len());
            if self.written.len() > WRITTEN {
                self.written.clear();
            }
            self.written.extend(loaded);
        } else {
            // A tier that is away for a while must not find all budgets spent when it is back.
            self.budgets.give_back(&values);
            add(&shared.counts.unwritten, values.len());
        }
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
        let lease = TierKey::new(None, "refresh");
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
            let states = States {
                epoch,
                loaded: entry.version().clone(),
                valid: valid.clone(),
            };
            let is_own = self.written.get(&key) == Some(entry.version());
            (is_own && entry.epoch() == epoch).then_some((tenant, key, states, entry))
        });
        let mut confirmed: Vec<Offered> = confirmed.collect();
        drop(mark);
        while !confirmed.is_empty() {
            let rest = confirmed.split_off(confirmed.len().min(BATCH));
            let values = encoded(std::mem::replace(&mut confirmed, rest), Life::AsBefore).await;
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
                add(&shared.counts.deleted, names.len());
            }
        }
    }
}

/// Gives leases back: whoever misses the same answer again soon need not wait for a load that is over.
async fn release(shared: &Shared, leases: Vec<TierKey>) {
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

/// What tenants have written within the time to live of a value.
#[derive(Debug, Default)]
struct Budgets {
    since: Tick,
    bytes: HashMap<Option<TenantId>, u64>,
}

impl Budgets {
    /// Puts back what values took that were not written.
    fn give_back(&mut self, values: &[TierValue]) {
        for value in values {
            let own = self.bytes.contains_key(&value.key.tenant);
            let tenant = value.key.tenant.clone().filter(|_| own);
            if let Some(spent) = self.bytes.get_mut(&tenant) {
                *spent = spent.saturating_sub(value.bytes.len() as u64);
            }
        }
    }

    /// Takes a value's bytes from its tenant's budget; says whether there was enough.
    fn take(&mut self, value: &TierValue, shared: &Shared, now: Tick) -> bool {
        if now.saturating_since(self.since) >= shared.options.ttl {
            self.since = now;
            self.bytes.clear();
        }
        let mut tenant = value.key.tenant.clone();
        if self.bytes.len() >= TENANTS && !self.bytes.contains_key(&tenant) {
            tenant = None;
        }
        let spent = self.bytes.entry(tenant).or_default();
        let length = value.bytes.len() as u64;
        let enough = length > 0 && spent.saturating_add(length) <= shared.options.tenant_bytes;
        if enough {
            *spent += length;
        }
        enough
    }
}
