//! The scopes of each tenant: one for gets, one for all other questions.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use ci_model::{QuestionKind, TenantId};
use hashbrown::HashMap;

use crate::scope::{Scope, Stamp};

/// Unused tenants are swept out when so many are known, and again whenever their number has doubled.
const FIRST_SWEEP: usize = 1_024;

/// The scopes of the tenants that have entries or flights.
///
/// Lock order: a stamp is taken under a shard's lock, so nothing here may ever ask the cache.
#[derive(Debug)]
pub(super) struct Tenants {
    known: RwLock<Known>,
}

#[derive(Debug)]
struct Known {
    scopes: HashMap<TenantId, Scopes>,
    /// The number of tenants at which unused ones are swept out.
    sweep_at: usize,
}

/// What one tenant's entries and flights are stamped with.
#[derive(Debug, Default)]
struct Scopes {
    /// Gets: written CIs are removed by key, the rest may stay.
    gets: Scope,
    /// Everything whose answer any change of the tenant may touch.
    questions: Scope,
}

impl Scopes {
    fn of(&self, kind: QuestionKind) -> &Scope {
        if kind == QuestionKind::Get {
            &self.gets
        } else {
            &self.questions
        }
    }

    fn in_use(&self) -> bool {
        self.gets.is_in_use() || self.questions.is_in_use()
    }
}

impl Tenants {
    pub(super) fn new() -> Self {
        Self {
            known: RwLock::new(Known {
                scopes: HashMap::new(),
                sweep_at: FIRST_SWEEP,
            }),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Known> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stamps what begins now.
    pub(super) fn stamp(&self, tenant: &TenantId, kind: QuestionKind) -> Stamp {
        if let Some(scopes) = self.read().scopes.get(tenant) {
            return scopes.of(kind).stamp();
        }
        let mut known = self.write();
        known.sweep();
        known.scopes.entry(tenant.clone()).or_default().of(kind).stamp()
    }

    /// Invalidates everything but gets. A tenant that is not known has nothing to invalidate.
    pub(super) fn invalidate_questions(&self, tenant: &TenantId) {
        if let Some(scopes) = self.read().scopes.get(tenant) {
            scopes.questions.invalidate();
        }
    }

    /// Invalidates everything.
    pub(super) fn invalidate(&self, tenant: &TenantId) {
        if let Some(scopes) = self.read().scopes.get(tenant) {
            scopes.questions.invalidate();
            scopes.gets.invalidate();
        }
    }
}

impl Known {
    /// Forgets tenants without a stamp in any entry or flight, so that made-up tenants cannot fill the memory.
    ///
    /// A tenant in use must never be forgotten: its stamps would be out of reach of later invalidations. Under
    /// the write lock nobody can take a first stamp, so a scope without stamps stays without.
    fn sweep(&mut self) {
        if self.scopes.len() >= self.sweep_at {
            self.scopes.retain(|_, scopes| scopes.in_use());
            self.sweep_at = FIRST_SWEEP.max(self.scopes.len() * 2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: impl std::fmt::Display) -> TenantId {
        TenantId::new(name.to_string()).unwrap()
    }

    #[test]
    fn scopes_are_by_tenant_and_kind() {
        let tenants = Tenants::new();
        let [a, b] = [tenant("a"), tenant("b")];
        let live = |stamps: [&Stamp; 3]| stamps.map(Stamp::is_live);
        let search = tenants.stamp(&a, QuestionKind::Search);
        let get = tenants.stamp(&a, QuestionKind::Get);
        let other = tenants.stamp(&b, QuestionKind::Search);
        tenants.invalidate_questions(&a);
        assert_eq!(live([&search, &get, &other]), [false, true, true]);
        tenants.invalidate(&a);
        tenants.invalidate(&tenant("nobody"));
        assert_eq!(live([&search, &get, &other]), [false, false, true]);
    }

    #[test]
    fn unused_tenants_are_forgotten_and_used_ones_are_not() {
        let tenants = Tenants::new();
        let kept = tenants.stamp(&tenant("kept"), QuestionKind::List);
        for number in 0..5_000 {
            tenants.stamp(&tenant(number), QuestionKind::Get);
        }
        assert!(tenants.read().scopes.len() <= FIRST_SWEEP);
        assert!(kept.is_live());
        tenants.invalidate_questions(&tenant("kept"));
        assert!(!kept.is_live());
    }
}
