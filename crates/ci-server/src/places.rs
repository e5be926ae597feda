//! Places for what goes on after its answer began: so many for all tenants together, and so many for each.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ci_model::TenantId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Places of one kind.
#[derive(Debug)]
pub(crate) struct Places {
    all: Arc<Semaphore>,
    /// Most of one tenant; none for as many as there are.
    each: Option<NonZeroU32>,
    /// How many each tenant has. Only of those who have one, so no more than there are places.
    taken: Mutex<HashMap<TenantId, u32>>,
}

/// Whose places are at an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Full {
    /// The tenant's.
    Tenant,
    /// Everybody's.
    All,
}

/// A place; dropping it gives it back.
#[derive(Debug)]
pub(crate) struct Place {
    places: Arc<Places>,
    tenant: TenantId,
    _all: OwnedSemaphorePermit,
}

impl Places {
    pub(crate) fn new(all: usize, each: Option<NonZeroU32>) -> Arc<Self> {
        Arc::new(Self {
            all: Arc::new(Semaphore::new(all)),
            each,
            taken: Mutex::default(),
        })
    }

    /// Takes a place for a tenant, or says whose are at an end; then it has taken nothing.
    pub(crate) fn take(self: &Arc<Self>, tenant: &TenantId) -> Result<Place, Full> {
        let mut taken = self.taken();
        let has = taken.get(tenant).copied().unwrap_or_default();
        if self.each.is_some_and(|most| has >= most.get()) {
            return Err(Full::Tenant);
        }
        let all = Arc::clone(&self.all).try_acquire_owned().map_err(|_| Full::All)?;
        taken.insert(tenant.clone(), has + 1);
        Ok(Place {
            places: Arc::clone(self),
            tenant: tenant.clone(),
            _all: all,
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<TenantId, u32>> {
        // Nothing panics while it is held; and if it did, every number would still be one.
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken();
        if let Some(has) = taken.get_mut(&self.tenant) {
            *has -= 1;
            if *has == 0 {
                taken.remove(&self.tenant);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> TenantId {
        TenantId::new(name).unwrap()
    }

    #[test]
    fn a_tenant_has_its_places_and_all_have_theirs_and_dropping_gives_them_back() {
        let places = Places::new(3, NonZeroU32::new(2));
        let take = |name: &str| places.take(&tenant(name));
        let one = take("a").unwrap();
        let two = take("a").unwrap();
        assert_eq!(take("a").unwrap_err(), Full::Tenant);
        let three = take("b").unwrap();
        assert_eq!(take("b").unwrap_err(), Full::All);
        assert_eq!(take("c").unwrap_err(), Full::All);
        drop(one);
        assert!(take("a").is_ok(), "it was given back at once");
        drop((two, three));
        assert!(places.taken().is_empty(), "nobody is remembered");
        let free = Places::new(1, None);
        let _only = free.take(&tenant("a")).unwrap();
        assert_eq!(free.take(&tenant("a")).unwrap_err(), Full::All);
    }
}
