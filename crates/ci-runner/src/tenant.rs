//! One tenant's view of a runner: there is no question without a tenant.

use std::fmt;
use std::sync::Arc;

use ci_model::TenantId;

use crate::runner::Inner;

/// Asks and writes for one tenant. A cheap handle: clone it freely.
#[derive(Clone)]
pub struct Tenant {
    inner: Arc<Inner>,
    id: TenantId,
}

impl Tenant {
    pub(crate) fn new(inner: Arc<Inner>, id: TenantId) -> Self {
        Self { inner, id }
    }

    /// Whose view this is.
    pub fn id(&self) -> &TenantId {
        &self.id
    }

    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Forgets every cached answer of this tenant, in constant time; loads under way are answered but not kept.
    pub fn invalidate(&self) {
        self.inner.cache.invalidate_tenant(&self.id);
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tenant").field(&self.id).finish()
    }
}
