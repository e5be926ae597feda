//! The scopes of each tenant: one for gets, one for all other questions.

use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use ci_model::{QuestionKind, TenantId};

use crate::scope::Stamp;
use crate::scopes::Scopes;

/// The scopes of the tenants that have entries or flights.
///
/// Lock order: a stamp is taken under a shard's lock, so nothing here may ever ask the cache.
#[derive(Debug)]
pub(super) struct Tenants {
    known: RwLock<Known>,
}

/// What entries and flights are stamped with.
#[derive(Debug)]
struct Known {
    /// Gets: written CIs are removed by key, the rest may stay.
    gets: Scopes<TenantId>,
    /// Everything whose answer any change of the tenant may touch.
    questions: Scopes<TenantId>,
}

impl Tenants {
    pub(super) fn new() -> Self {
        Self {
            known: RwLock::new(Known {
                gets: Scopes::new(),
                questions: Scopes::new(),
            }),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stamps what begins now.
    pub(super) fn stamp(&self, tenant: &TenantId, kind: QuestionKind) -> Stamp {
        let is_get = kind == QuestionKind::Get;
        let known = self.read();
        let scopes = if is_get { &known.gets } else { &known.questions };
        if let Some(stamp) = scopes.known_stamp(tenant) {
            return stamp;
        }
        drop(known);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        let scopes = if is_get {
            &mut known.gets
        } else {
            &mut known.questions
        };
        scopes.stamp(tenant)
    }

    /// Invalidates everything but gets. A tenant that is not known has nothing to invalidate.
    pub(super) fn invalidate_questions(&self, tenant: &TenantId) {
        self.read().questions.invalidate(tenant);
    }

    /// Invalidates everything.
    pub(super) fn invalidate(&self, tenant: &TenantId) {
        let known = self.read();
        known.questions.invalidate(tenant);
        known.gets.invalidate(tenant);
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
        assert!(tenants.read().gets.len() <= crate::scopes::FIRST_SWEEP);
        assert!(kept.is_live());
        tenants.invalidate_questions(&tenant("kept"));
        assert!(!kept.is_live());
    }
}
