//! A shared tier in memory that does to its values whatever a test asks for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use ci_runner::tier::{Life, Tier, TierError, TierKey, TierValue};
use parking_lot::Mutex;

/// All values at one moment.
pub type Values = HashMap<TierKey, Vec<u8>>;

/// What goes wrong from now on.
#[derive(Debug, Clone, Copy, Default)]
pub struct Faults {
    /// Deletes are acknowledged and lost.
    pub loses_deletes: bool,
    /// Writes are acknowledged and lost.
    pub loses_puts: bool,
    /// Every call fails.
    pub fails: bool,
    /// No call ends.
    pub hangs: bool,
}

/// A tier in memory. Times to live never end.
#[derive(Debug, Default)]
pub struct MemoryTier {
    values: Mutex<Values>,
    leases: Mutex<Vec<TierKey>>,
    faults: Mutex<Faults>,
    calls: AtomicU64,
}

impl MemoryTier {
    /// An empty one without faults.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// Sets what goes wrong from now on.
    pub fn set(&self, faults: Faults) {
        *self.faults.lock() = faults;
    }

    /// All values that tenants have.
    pub fn dump(&self) -> Values {
        let values = self.values.lock();
        let of_tenants = values.iter().filter(|(key, _)| key.tenant.is_some());
        of_tenants
            .map(|(key, bytes)| (key.clone(), bytes.clone()))
            .collect()
    }

    /// Puts values back, over what is there.
    pub fn restore(&self, values: Values) {
        self.values.lock().extend(values);
    }

    /// Forgets everything, leases too.
    pub fn flush(&self) {
        self.values.lock().clear();
        self.leases.lock().clear();
    }

    /// Does something to each value of a tenant.
    pub fn damage(&self, mut damage: impl FnMut(&TierKey, &mut Vec<u8>)) {
        let mut values = self.values.lock();
        let of_tenants = values.iter_mut().filter(|(key, _)| key.tenant.is_some());
        of_tenants.for_each(|(key, bytes)| damage(key, bytes));
    }

    /// Whether a node has left a bookmark of its feed.
    pub fn has_bookmark(&self) -> bool {
        let values = self.values.lock();
        values.keys().any(|key| key.name.starts_with("feed:"))
    }

    /// How often it was called for values of tenants.
    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::SeqCst)
    }

    async fn called(&self, key: Option<&TierKey>) -> Result<Faults, TierError> {
        if key.is_some_and(|key| key.tenant.is_some()) {
            self.calls.fetch_add(1, Ordering::SeqCst);
        }
        let faults = *self.faults.lock();
        if faults.hangs {
            std::future::pending::<()>().await;
        }
        if faults.fails {
            return Err(TierError::new("it fails"));
        }
        Ok(faults)
    }
}

#[async_trait]
impl Tier for MemoryTier {
    fn kind(&self) -> &'static str {
        "memory"
    }

    async fn get(&self, keys: &[TierKey]) -> Result<Vec<Option<Vec<u8>>>, TierError> {
        self.called(keys.first()).await?;
        let values = self.values.lock();
        Ok(keys.iter().map(|key| values.get(key).cloned()).collect())
    }

    async fn put(&self, values: &[TierValue]) -> Result<(), TierError> {
        if self
            .called(values.first().map(|value| &value.key))
            .await?
            .loses_puts
        {
            return Ok(());
        }
        let mut all = self.values.lock();
        for value in values {
            if value.life != Life::AsBefore || all.contains_key(&value.key) {
                all.insert(value.key.clone(), value.bytes.clone());
            }
        }
        Ok(())
    }

    async fn delete(&self, keys: &[TierKey]) -> Result<(), TierError> {
        if !self.called(keys.first()).await?.loses_deletes {
            let mut all = self.values.lock();
            keys.iter().for_each(|key| drop(all.remove(key)));
        }
        Ok(())
    }

    async fn lease(&self, key: &TierKey, _length: Duration) -> Result<bool, TierError> {
        self.called(Some(key)).await?;
        let mut leases = self.leases.lock();
        let free = !leases.contains(key);
        if free {
            leases.push(key.clone());
        }
        Ok(free)
    }
}

/// The server that `CI_CACHE_TEST_REDIS` names, as `cargo xtask test` and `cargo xtask redis` set it.
///
/// # Panics
/// When it is not set: nothing is ever skipped.
pub fn redis() -> &'static str {
    static ADDRESS: OnceLock<String> = OnceLock::new();
    ADDRESS.get_or_init(|| {
        std::env::var("CI_CACHE_TEST_REDIS").expect(
            "CI_CACHE_TEST_REDIS is not set; run `cargo xtask test`, or `cargo xtask redis -- COMMAND` for one command",
        )
    })
}
