//! Our store without a cache: one snapshot and one call for each operation.

use std::sync::Arc;

use async_trait::async_trait;
use ci_model::{CiRecord, TenantId};
use ci_store::Store;

use super::{Arm, Outcome, ask, names, write};
use crate::counted::{Counted, Counts};
use crate::operation::Operation;

/// Asks the database each time.
#[derive(Debug)]
pub struct Uncached(Arc<Counted>);

impl Uncached {
    /// Over a store.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self(Counted::around(store))
    }
}

#[async_trait]
impl Arm for Uncached {
    fn name(&self) -> &'static str {
        names::STORE
    }

    fn caches(&self) -> bool {
        false
    }

    async fn run(&self, tenant: &TenantId, operation: &Operation) -> anyhow::Result<Outcome> {
        let shown = ask(&*self.0, tenant, operation).await?;
        Ok(Outcome { hit: false, shown })
    }

    async fn forget(&self) -> anyhow::Result<()> {
        Ok(())
    }

    async fn write(&self, record: CiRecord) -> anyhow::Result<()> {
        write(&*self.0, record).await
    }

    fn counts(&self) -> Counts {
        self.0.counts()
    }
}
