//! What this node has of each tenant in the tier, as far as it wrote it.

use std::collections::HashMap;

use ci_cache_core::Tick;
use ci_model::TenantId;

use super::{TierKey, TierOptions, TierValue};

/// Tenants whose budgets are kept apart; those beyond share one.
const TENANTS: usize = 10_000;
/// Values whose lengths are remembered. When there are more all are forgotten: what is written again counts once more until the budgets begin anew.
const VALUES: usize = 65_536;

/// Bytes by tenant, of values that were written within the time to live of a value. One that is written again, or deleted, makes room for itself.
#[derive(Debug, Default)]
pub(super) struct Budgets {
    since: Tick,
    spent: HashMap<Option<TenantId>, u64>,
    lengths: HashMap<TierKey, u64>,
}

impl Budgets {
    /// Takes a value's bytes from its tenant's budget; says whether there was enough.
    pub(super) fn take(&mut self, value: &TierValue, options: &TierOptions, now: Tick) -> bool {
        if now.saturating_since(self.since) >= options.ttl {
            // What was written before has ended by itself, or does so soon.
            self.since = now;
            self.spent.clear();
            self.lengths.clear();
        }
        let length = value.bytes.len() as u64;
        let before = self.lengths.get(&value.key).copied().unwrap_or_default();
        let mut tenant = value.key.tenant.clone();
        if self.spent.len() >= TENANTS && !self.spent.contains_key(&tenant) {
            tenant = None;
        }
        let spent = self.spent.entry(tenant).or_default();
        let after = spent.saturating_sub(before).saturating_add(length);
        if length == 0 || after > options.tenant_bytes {
            return false;
        }
        *spent = after;
        if self.lengths.len() >= VALUES && before == 0 {
            self.lengths.clear();
        }
        self.lengths.insert(value.key.clone(), length);
        true
    }

    /// A value is not there, or not any more.
    pub(super) fn give_back(&mut self, key: &TierKey) {
        let Some(length) = self.lengths.remove(key) else {
            return;
        };
        let own = self.spent.contains_key(&key.tenant);
        let tenant = key.tenant.clone().filter(|_| own);
        if let Some(spent) = self.spent.get_mut(&tenant) {
            *spent = spent.saturating_sub(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Life;
    use super::*;

    fn value(tenant: &str, name: &str, length: usize) -> TierValue {
        let key = TierKey::new(TenantId::new(tenant).ok(), name);
        TierValue::new(key, vec![0; length], Life::AsBefore)
    }

    #[test]
    fn what_counts_is_what_is_there() {
        let options = TierOptions::new().tenant_bytes(100).ttl(Duration::from_secs(10));
        let mut budgets = Budgets::default();
        let mut take = |value: &TierValue, second: u64| {
            let taken = budgets.take(value, &options, Tick::from_micros(second * 1_000_000));
            (taken, budgets.spent.get(&value.key.tenant).copied())
        };
        let (one, other) = (value("acme", "a", 60), value("acme", "b", 60));
        for _ in 0..10 {
            assert_eq!(
                take(&one, 1),
                (true, Some(60)),
                "written again it is the same value"
            );
        }
        assert_eq!(take(&other, 1), (false, Some(60)));
        assert!(!take(&value("acme", "a", 101), 1).0, "alone it is too much");
        assert!(!take(&value("acme", "a", 0), 1).0, "too large to be encoded");
        assert_eq!(
            take(&value("zeta", "a", 100), 1),
            (true, Some(100)),
            "tenants are apart"
        );
        assert_eq!(take(&value("acme", "a", 30), 1), (true, Some(30)));
        assert_eq!(take(&other, 1), (true, Some(90)));
        assert_eq!(
            take(&value("acme", "c", 100), 11),
            (true, Some(100)),
            "it begins anew"
        );
        budgets.give_back(&value("acme", "c", 0).key);
        budgets.give_back(&other.key);
        assert_eq!(budgets.spent.get(&one.key.tenant), Some(&0));
    }

    #[test]
    fn too_many_tenants_share_one_budget() {
        let options = TierOptions::new().tenant_bytes(100);
        let mut budgets = Budgets::default();
        for at in 0..TENANTS {
            assert!(budgets.take(&value(&format!("t-{at}"), "a", 100), &options, Tick::default()));
        }
        assert!(budgets.take(&value("late", "a", 60), &options, Tick::default()));
        assert!(!budgets.take(&value("later", "a", 60), &options, Tick::default()));
        budgets.give_back(&value("late", "a", 0).key);
        assert!(budgets.take(&value("later", "a", 60), &options, Tick::default()));
    }
}
