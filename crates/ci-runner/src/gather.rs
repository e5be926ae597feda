//! Gets that miss at about the same time: one statement for all of them.
//!
//! A page that shows forty CIs asks for each where it is drawn, and so do a thousand requests that come in together. The first
//! get that misses begins a task, which lets whatever is ready to run come first, as long as that brings more; then it loads all.
//!
//! ```text
//! get a      get b      get c      the task
//! misses                           begins, gives way
//!            misses                gives way again: there is one more
//!                       misses     ... two more, then none: loads a, b and c
//! ```
//!
//! No timer is involved: a get that comes alone waits for nobody, and a few microseconds at most.

use std::collections::HashMap;
use std::sync::Arc;

use ci_model::{Get, Question, TenantId};
use ci_store::Found;
use parking_lot::Mutex;
use tokio::sync::oneshot;
use tracing::Instrument;

use crate::load::{Got, failed};
use crate::reading::{Place, Read};
use crate::runner::{Entry, Inner, Lead};
use crate::tier::{self, Tried};
use crate::watch::Asked;
use crate::{Error, Result, reading};

/// Most gets of one statement; the rest goes into the next.
const MOST: usize = 500;
/// How often the task gives way at most, lest gets that keep coming keep the first waiting.
const TURNS: usize = 64;

/// A get to be loaded.
struct Wanted {
    get: Get,
    leader: Lead,
    caller: oneshot::Sender<Result<Got>>,
}

/// Gets that wait to be loaded, by tenant. A tenant that is in it has a task that sees to them.
#[derive(Default)]
pub(crate) struct Gathering(Mutex<HashMap<TenantId, Vec<Wanted>>>);

impl Gathering {
    /// Adds a get; says whether it is the first and needs a task.
    fn add(&self, tenant: &TenantId, wanted: Wanted) -> bool {
        let mut waiting = self.0.lock();
        if let Some(others) = waiting.get_mut(tenant) {
            others.push(wanted);
            return false;
        }
        waiting.insert(tenant.clone(), vec![wanted]);
        true
    }

    /// Counts those that wait.
    fn len(&self, tenant: &TenantId) -> usize {
        self.0.lock().get(tenant).map_or(0, Vec::len)
    }

    /// Counts those of all tenants.
    #[cfg(feature = "metrics")]
    pub(crate) fn waiting(&self) -> usize {
        self.0.lock().values().map(Vec::len).sum()
    }

    /// Takes the oldest out, as many as one statement may ask for; says whether others are left.
    fn take(&self, tenant: &TenantId) -> (Vec<Wanted>, bool) {
        let mut waiting = self.0.lock();
        let Some(mut all) = waiting.remove(tenant) else {
            return (Vec::new(), false);
        };
        if all.len() <= MOST {
            return (all, false);
        }
        let rest = all.split_off(MOST);
        waiting.insert(tenant.clone(), rest);
        (all, true)
    }
}

/// Loads a get together with others that miss now.
///
/// Cancel safe: the load goes on for those who wait for it.
pub(crate) async fn load(inner: &Arc<Inner>, tenant: &TenantId, get: Get, leader: Lead) -> Result<Got> {
    let (caller, answer) = oneshot::channel();
    if inner.gathering.add(tenant, Wanted { get, leader, caller }) {
        let duty = Duty {
            inner: Arc::clone(inner),
            tenant: tenant.clone(),
            done: false,
        };
        tokio::spawn(serve(duty).in_current_span());
    }
    answer.await.unwrap_or(Err(Error::TaskLost))
}

/// To see to a tenant's gets. Dropped with its task, by a panic or because the runtime ends, it lets go of those that wait: their
/// callers hear of it, and the next get begins a new task.
struct Duty {
    inner: Arc<Inner>,
    tenant: TenantId,
    /// Nobody waits any more.
    done: bool,
}

impl Drop for Duty {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        // Dropped without the lock: whoever waits for a leader may look up at once.
        let _lost = self.inner.gathering.0.lock().remove(&self.tenant);
    }
}

/// Lets others come, and loads them.
async fn serve(mut duty: Duty) {
    let (inner, tenant) = (Arc::clone(&duty.inner), duty.tenant.clone());
    loop {
        let mut known = 0;
        for _ in 0..TURNS {
            let len = inner.gathering.len(&tenant);
            if len == known || len >= MOST {
                break;
            }
            known = len;
            tokio::task::yield_now().await;
        }
        let (wanted, has_more) = inner.gathering.take(&tenant);
        let batch = answer(Arc::clone(&inner), tenant.clone(), wanted);
        if !has_more {
            // Those that come from now on have a task of their own.
            duty.done = true;
            drop(duty);
            return batch.await;
        }
        // Beside the next: a thousand that miss at once need not wait for each other's statements.
        tokio::spawn(batch.in_current_span());
    }
}

async fn answer(inner: Arc<Inner>, tenant: TenantId, wanted: Vec<Wanted>) {
    let mut callers = Vec::with_capacity(wanted.len());
    let mut missing = Vec::with_capacity(wanted.len());
    for Wanted { get, leader, caller } in wanted {
        callers.push(Some(caller));
        missing.push((get, leader));
    }
    let mut tell = |at: usize, got: Result<Got>| {
        if let Some(caller) = callers.get_mut(at).and_then(Option::take) {
            // Those who do not listen any more have gone away.
            let _gone = caller.send(got);
        }
    };
    let shared = |at: usize, entry: &Entry| tell(at, Ok(Got::Shared(Arc::clone(entry))));
    let loaded = load_all(&inner, &tenant, missing, shared).await;
    for (at, got) in loaded.into_iter().enumerate() {
        tell(at, got);
    }
}

/// Loads gets, what the shared tier does not have in one statement, and keeps what can be kept. One result for each, in their order; the database's error for each that has
/// nothing to fall back on. `told` hears at once of what the tier has.
pub(crate) async fn load_all(
    inner: &Inner,
    tenant: &TenantId,
    missing: Vec<(Get, Lead)>,
    told: impl FnMut(usize, &Entry),
) -> Vec<Result<Got>> {
    let mut all: Vec<Option<Result<Got>>> = Vec::with_capacity(missing.len());
    let mut rest = Vec::with_capacity(missing.len());
    // Until the loads have ended.
    let mut leases = Vec::new();
    let wanted = missing
        .into_iter()
        .map(|(get, leader)| (Question::Get(get), leader));
    for tried in tier::read(inner, tenant, wanted.collect(), told).await {
        match tried {
            Tried::Used(entry) => all.push(Some(Ok(Got::Shared(entry)))),
            Tried::Missing(get, leader, held) => {
                all.push(None);
                rest.push((get, leader));
                leases.push(held);
            }
        }
    }
    let mut loaded = load_rest(inner, tenant, rest).await.into_iter();
    drop(leases);
    let each = all.into_iter().map(|got| got.or_else(|| loaded.next()));
    each.map(|got| got.unwrap_or(Err(Error::TaskLost))).collect()
}

/// The same for those that the shared tier does not have.
async fn load_rest(inner: &Inner, tenant: &TenantId, missing: Vec<(Question, Lead)>) -> Vec<Result<Got>> {
    if missing.is_empty() {
        return Vec::new();
    }
    let (gets, leaders): (Vec<Question>, Vec<Lead>) = missing.into_iter().unzip();
    match reading::ask_all(inner, tenant, Asked::Gets(&gets), &gets, Place::Any).await {
        Ok(Read { found, loaded, floor }) => {
            let publish = |((leader, get), found): ((Lead, Question), Found)| {
                let entry = inner.publish(leader, tenant, get, found.into(), loaded.clone());
                entry.map(|entry| Got::read(entry, floor.as_ref()))
            };
            leaders.into_iter().zip(gets).zip(found).map(publish).collect()
        }
        Err(error) => {
            let failed = |leader| failed(leader, error.clone());
            leaders.into_iter().map(failed).collect()
        }
    }
}
