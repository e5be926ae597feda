//! The scopes by which a tenant's answers are invalidated in constant time.

use std::hash::BuildHasher;

use ci_model::{QuestionKind, TenantId};
use foldhash::fast::RandomState;

use crate::Scope;

/// Number of stripes. Tenants come from outside (a path of a request names one), so a table with an entry for each
/// would grow without bound; a fixed table of stripes does not. Two tenants that share a stripe are invalidated
/// together: that costs hits, never truth.
const STRIPES: usize = 1_024;

/// What stands for the tenants of one stripe.
#[derive(Debug, Default)]
struct Stripe {
    /// Searches, lists, aggregates, expansions and paths.
    questions: Scope,
    /// Single CIs.
    gets: Scope,
}

/// The scopes of all tenants.
#[derive(Debug)]
pub(super) struct Tenants {
    stripes: Box<[Stripe]>,
    hasher: RandomState,
}

impl Tenants {
    pub(super) fn new() -> Self {
        let stripes = std::iter::repeat_with(Stripe::default).take(STRIPES).collect();
        Self {
            stripes,
            hasher: RandomState::default(),
        }
    }

    /// The scope that a kind of question of a tenant belongs to.
    pub(super) fn scope(&self, tenant: &TenantId, kind: QuestionKind) -> &Scope {
        let stripe = self.stripe(tenant);
        if kind == QuestionKind::Get {
            &stripe.gets
        } else {
            &stripe.questions
        }
    }

    /// Invalidates everything but single CIs.
    pub(super) fn invalidate_questions(&self, tenant: &TenantId) {
        self.stripe(tenant).questions.invalidate();
    }

    /// Invalidates everything.
    pub(super) fn invalidate_all(&self, tenant: &TenantId) {
        let stripe = self.stripe(tenant);
        stripe.questions.invalidate();
        stripe.gets.invalidate();
    }

    fn stripe(&self, tenant: &TenantId) -> &Stripe {
        let hash = self.hasher.hash_one(tenant.as_str());
        // The remainder is below the number of stripes, which fits every `usize`.
        let index = usize::try_from(hash % STRIPES as u64).unwrap_or(0);
        &self.stripes[index]
    }
}
