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
//! A node waits only if others load all that it misses: of two that hold what the other waits for, neither would load. A load whose answer is not
//! written, because it failed or a change overtook it, gives its lease back as well: who waits sees that nobody has it, takes it, and loads. A lease
//! lasts as long as somebody would wait for it, so a node that was lost costs one wait. Where the tier takes more than half of its time for the look,
//! nobody asks it for leases: everybody loads.

use std::time::Duration;

use ci_model::{Question, TenantId};
use tokio::time::Instant;

use super::Shared;
use super::lease::take;
use super::read::{Leases, Tried, look};
use crate::runner::{Entry, Inner, Lead};

/// Between two looks, at first and at most.
const STEP: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(20)];

/// Asks the tier one question.
pub(crate) async fn read_one(inner: &Inner, tenant: &TenantId, question: Question, lead: Lead) -> Tried {
    if inner.tier.is_none() {
        return Tried::Missing(question, lead, None);
    }
    let mut tried = read(inner, tenant, vec![(question, lead)], |_, _| {}).await;
    match tried.pop() {
        Some(tried) => tried,
        None => unreachable!("there is one result for each question"),
    }
}

/// Asks the tier for several answers; one result for each, in their order. `told` hears of each that is answered as soon as it is, with its place, and may hear of it again: whoever
/// asked for that alone need not wait for the others.
///
/// Dropped before its end it wakes those who wait for the loads, as every load does.
pub(crate) async fn read(
    inner: &Inner,
    tenant: &TenantId,
    wanted: Vec<(Question, Lead)>,
    mut told: impl FnMut(usize, &Entry),
) -> Vec<Tried> {
    let Some(shared) = inner.tier.as_deref() else {
        return missing(wanted);
    };
    // One for the look and the lease: whoever waits does not care what for.
    let end = Instant::now() + shared.options.timeout;
    let mut tried = match look(inner, shared, tenant, wanted, Leases::Unasked, end).await {
        Ok((tried, _)) => tried,
        // Whoever did not answer gives no lease either.
        Err(wanted) => return missing(wanted),
    };
    let mut news = |tried: &[Tried]| {
        for (at, tried) in tried.iter().enumerate() {
            if let Tried::Used(entry) = tried {
                told(at, entry);
            }
        }
    };
    news(&tried);
    // A lease whose answer is not waited for to the end would be taken, and held by nobody.
    let is_slow = shared.left(end) < shared.options.timeout / 2;
    if is_slow || shared.options.wait.is_zero() || !is_missing(&tried) {
        return tried;
    }
    if !take(shared, tenant, &mut tried, end).await {
        return tried;
    }
    let until = Instant::now() + shared.options.wait;
    let end = until + shared.options.timeout;
    let mut step = STEP[0];
    while Instant::now() < until && is_missing(&tried) {
        tokio::time::sleep_until(until.min(Instant::now() + step)).await;
        step = (step * 2).min(STEP[1]);
        let Some(are_free) = again(inner, shared, tenant, &mut tried, end).await else {
            return tried;
        };
        news(&tried);
        if are_free && !take(shared, tenant, &mut tried, end).await {
            // Whoever gave it back may have written the answer between our look and our taking it.
            again(inner, shared, tenant, &mut tried, end).await;
            return tried;
        }
    }
    tried
}

fn missing(wanted: Vec<(Question, Lead)>) -> Vec<Tried> {
    let missing = |(question, lead)| Tried::Missing(question, lead, None);
    wanted.into_iter().map(missing).collect()
}

fn is_missing(tried: &[Tried]) -> bool {
    tried.iter().any(|tried| matches!(tried, Tried::Missing(..)))
}

/// Looks again for what is missing; says whether nobody has the lease of some of it, or nothing when the tier does not answer any more.
async fn again(
    inner: &Inner,
    shared: &Shared,
    tenant: &TenantId,
    tried: &mut Vec<Tried>,
    end: Instant,
) -> Option<bool> {
    let before = std::mem::take(tried);
    let (mut places, mut wanted) = (Vec::with_capacity(before.len()), Vec::new());
    for one in before {
        match one {
            Tried::Used(entry) => places.push(Ok(entry)),
            Tried::Missing(question, lead, held) => {
                places.push(Err(held));
                wanted.push((question, lead));
            }
        }
    }
    let (looked, are_free) = match look(inner, shared, tenant, wanted, Leases::Asked, end).await {
        Ok((looked, are_free)) => (looked, Some(are_free)),
        Err(wanted) => (missing(wanted), None),
    };
    let mut looked = looked.into_iter();
    let all = places.into_iter().filter_map(|place| match place {
        Ok(entry) => Some(Tried::Used(entry)),
        Err(held) => looked.next().map(|tried| tried.holding(held)),
    });
    *tried = all.collect();
    are_free
}
