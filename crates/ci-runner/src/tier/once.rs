//! One load for the fleet: who takes the lease loads, the others wait a little and look again.
//!
//! ```text
//! node A                        node B
//! the tier has nothing
//! takes the lease, loads
//!                               the tier has nothing, the lease is taken
//! writes, gives the lease back  looks again, finds the answer, proves it
//! ```
//!
//! A node waits only if others load all that it misses: of two that hold what the other waits for, neither would load. A lease lasts as long as
//! somebody would wait for it, so a node that was lost costs one wait.

use std::time::Duration;

use ci_model::{Key, Question, TenantId};
use futures_util::future::join_all;
use tokio::time::Instant;

use super::read::{Tried, look};
use super::{Shared, TierKey};
use crate::runner::{Inner, Lead};

/// Between two looks, at first and at most.
const STEP: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(20)];

/// Asks the tier one question.
pub(crate) async fn read_one(inner: &Inner, tenant: &TenantId, question: Question, lead: Lead) -> Tried {
    if inner.tier.is_none() {
        return Tried::Missing(question, lead);
    }
    let mut tried = read(inner, tenant, vec![(question, lead)]).await;
    match tried.pop() {
        Some(tried) => tried,
        None => unreachable!("there is one result for each question"),
    }
}

/// Asks the tier for several answers; one result for each, in their order.
///
/// Dropped before its end it wakes those who wait for the loads, as every load does.
pub(crate) async fn read(inner: &Inner, tenant: &TenantId, wanted: Vec<(Question, Lead)>) -> Vec<Tried> {
    let missing = |(question, lead)| Tried::Missing(question, lead);
    let Some(shared) = inner.tier.as_deref() else {
        return wanted.into_iter().map(missing).collect();
    };
    let mut tried = match look(inner, shared, tenant, wanted).await {
        Ok(tried) => tried,
        // Whoever did not answer gives no lease either.
        Err(wanted) => return wanted.into_iter().map(missing).collect(),
    };
    if shared.options.wait.is_zero() || !are_loaded(shared, tenant, &tried).await {
        return tried;
    }
    let until = Instant::now() + shared.options.wait;
    let mut step = STEP[0];
    while Instant::now() < until && tried.iter().any(|tried| matches!(tried, Tried::Missing(..))) {
        tokio::time::sleep(step).await;
        step = (step * 2).min(STEP[1]);
        tried = match again(inner, shared, tenant, tried).await {
            Ok(tried) => tried,
            Err(tried) => return tried,
        };
    }
    tried
}

/// Tells whether other nodes load all that is missing. Takes the leases that nobody has.
async fn are_loaded(shared: &Shared, tenant: &TenantId, tried: &[Tried]) -> bool {
    let keys = tried.iter().filter_map(|tried| match tried {
        Tried::Used(_) => None,
        Tried::Missing(question, _) => Some(Key::new(tenant, question)),
    });
    let leases: Vec<TierKey> = keys.map(|key| lease(tenant, &key)).collect();
    if leases.is_empty() {
        return false;
    }
    let options = &shared.options;
    let taken = join_all(leases.iter().map(|key| shared.tier.lease(key, options.wait)));
    let taken = shared.call(options.timeout, async { Ok(taken.await) }).await;
    taken.is_ok_and(|taken| taken.iter().all(|taken| matches!(taken, Ok(false))))
}

/// The name of the lease of a question's load.
pub(super) fn lease(tenant: &TenantId, key: &Key) -> TierKey {
    let value = Shared::name(tenant, key);
    TierKey::new(value.tenant, format!("{}-load", value.name))
}

/// Looks again for what is missing.
///
/// # Errors
/// The same, when the tier does not answer any more.
async fn again(
    inner: &Inner,
    shared: &Shared,
    tenant: &TenantId,
    tried: Vec<Tried>,
) -> Result<Vec<Tried>, Vec<Tried>> {
    let (mut used, mut wanted) = (Vec::with_capacity(tried.len()), Vec::new());
    for tried in tried {
        match tried {
            Tried::Used(entry) => used.push(Some(entry)),
            Tried::Missing(question, lead) => {
                used.push(None);
                wanted.push((question, lead));
            }
        }
    }
    let (looked, well) = match look(inner, shared, tenant, wanted).await {
        Ok(looked) => (looked, true),
        Err(wanted) => {
            let missing = |(question, lead)| Tried::Missing(question, lead);
            (wanted.into_iter().map(missing).collect::<Vec<_>>(), false)
        }
    };
    let mut looked = looked.into_iter();
    let all = used
        .into_iter()
        .filter_map(|used| used.map(Tried::Used).or_else(|| looked.next()));
    let all: Vec<Tried> = all.collect();
    if well { Ok(all) } else { Err(all) }
}
