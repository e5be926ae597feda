//! The validated read; why it is right is on the module's page.

use std::sync::Arc;

use ci_cache_core::coherence::{Loaded, Published};
use ci_model::{Key, Question, TenantId, Version};
use tokio::time::Instant;

use super::Shared;
use super::lease::{Held, lease};
use super::stats::TierOutcome as Outcome;
use super::value::{self, Opened};
use crate::answer::{Cached, Traced};
use crate::runner::{Entry, Inner, Lead};

/// What became of a question that the tier was asked.
#[derive(Debug)]
pub(crate) enum Tried {
    /// It is answered, and those who wait have the answer: true at the entry's version.
    Used(Entry),
    /// It is still to be loaded, and the lease of that is to be kept until then.
    Missing(Question, Lead, Option<Box<Held>>),
}

impl Tried {
    /// The same with a lease, if there is still something to hold it for.
    pub(super) fn holding(self, held: Option<Box<Held>>) -> Self {
        match self {
            Self::Missing(question, lead, None) => Self::Missing(question, lead, held),
            other => other,
        }
    }
}

/// Whether a look is to tell of leases, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Leases {
    Unasked,
    Asked,
}

/// Asks the tier for several answers, in one round trip; one result for each, in their order, and whether nobody has the lease of one that is
/// missing (no, if that was not asked). Not longer than until its end.
///
/// Dropped before its end it wakes those who wait for the loads, as every load does.
///
/// # Errors
/// The questions, when it did not answer.
pub(super) async fn look(
    inner: &Inner,
    shared: &Shared,
    tenant: &TenantId,
    wanted: Vec<(Question, Lead)>,
    leases: Leases,
    end: Instant,
) -> Result<(Vec<Tried>, bool), Vec<(Question, Lead)>> {
    let keys: Vec<Key> = wanted
        .iter()
        .map(|(question, _)| Key::new(tenant, question))
        .collect();
    let mut names: Vec<_> = keys.iter().map(|key| Shared::name(tenant, key)).collect();
    if leases == Leases::Asked {
        names.extend(wanted.iter().map(|(question, _)| lease(tenant, question)));
    }
    let found = shared.call(shared.left(end), shared.tier.get(&names)).await;
    let mut found = match found {
        Ok(found) => found,
        Err(refused) => {
            for _ in &wanted {
                shared.counts.read(refused.into());
            }
            return Err(wanted);
        }
    };
    // A tier that gives fewer than it was asked for does not have the others.
    found.resize(names.len(), None);
    let taken = found.split_off(keys.len());
    let each = wanted.into_iter().zip(keys).zip(found);
    let tried = each.map(|(((question, lead), key), bytes)| {
        let proven = match bytes {
            None => Err(Outcome::Absent),
            Some(bytes) => prove(inner, shared, (tenant, &key, &question), &bytes),
        };
        shared
            .counts
            .read(*proven.as_ref().err().unwrap_or(&Outcome::Hit));
        match proven {
            Ok(proven) => use_it((inner, shared), (tenant, key), (question, lead), proven),
            Err(_) => Tried::Missing(question, lead, None),
        }
    });
    let tried: Vec<Tried> = tried.collect();
    let mut with_leases = tried.iter().zip(taken);
    let are_free = with_leases.any(|(tried, lease)| matches!(tried, Tried::Missing(..)) && lease.is_none());
    Ok((tried, are_free))
}

/// Proves that a value is true now; says what it answers, and at which state.
fn prove(
    inner: &Inner,
    shared: &Shared,
    (tenant, key, question): (&TenantId, &Key, &Question),
    bytes: &[u8],
) -> Result<Proven, Outcome> {
    let rules = shared.rules;
    let opened = value::open(bytes)?;
    if opened.key != key.as_bytes() && !rules.ignores_key() {
        return Err(Outcome::Key);
    }
    // Before the check: every change up to this mark is in the log then.
    let mark = inner.cache.mark().ok_or(Outcome::NoMark)?;
    if opened.states.epoch != mark.epoch() && !rules.ignores_epoch() {
        return Err(Outcome::Epoch);
    }
    if shared.is_forgotten(&opened.states.loaded, &mark) {
        return Err(Outcome::Forgotten);
    }
    let traced = Traced {
        value: opened.answer()?,
        // What a path search came by is not in the value: without it more counts as a change of the answer.
        visited: None,
    };
    let Opened { states, .. } = opened;
    let valid = Loaded {
        epoch: mark.epoch(),
        version: states.valid,
    };
    if !rules.trusts_values() {
        let dependency = traced.dependency(tenant, Arc::new(question.clone()));
        let checked = inner.cache.check(&valid, dependency.ok_or(Outcome::Unfiled)?);
        checked.map_err(|ending| match ending {
            Published::Epoch => Outcome::Epoch,
            Published::Floor => Outcome::Floor,
            Published::Overtaken(_) => Outcome::Overtaken,
            _ => Outcome::Unfiled,
        })?;
    }
    // True at both; the later one tells readers more. Where neither includes the other it is the one that was written.
    let at_mark = mark.version().includes(&valid.version) || rules.trusts_values();
    let version = if at_mark {
        mark.version().clone()
    } else {
        valid.version
    };
    Ok(Proven {
        answer: traced.value,
        loaded: states.loaded,
        at: Loaded {
            epoch: valid.epoch,
            version,
        },
    })
}

/// What was proven of a value.
struct Proven {
    answer: Cached,
    /// The state at which some node loaded it.
    loaded: Version,
    /// The state at which it is true and is given.
    at: Loaded<Version>,
}

/// Ends the load with it. Whether the cache keeps it or not, it is true at the state that it is given with.
fn use_it(
    (inner, shared): (&Inner, &Shared),
    (tenant, key): (&TenantId, Key),
    (question, lead): (Question, Lead),
    proven: Proven,
) -> Tried {
    let question = Arc::new(question);
    let traced = Traced {
        value: proven.answer,
        visited: None,
    };
    match traced.dependency(tenant, Arc::clone(&question)) {
        Some(dependency) => {
            let publication = inner
                .cache
                .publish(lead, &question, traced.value, proven.at, dependency);
            if publication.ending == Published::Kept {
                shared.adopt(key, publication.entry.version().clone(), proven.loaded);
            }
            Tried::Used(publication.entry)
        }
        // Only with the rule about keys broken.
        None => Tried::Missing(Arc::unwrap_or_clone(question), lead, None),
    }
}
