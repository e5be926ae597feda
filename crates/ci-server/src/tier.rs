//! The shared tier of a fleet, over Redis or Valkey.

use std::sync::Arc;
use std::time::Duration;

use ci_runner::tier::Tier;
use ci_tier_redis::{RedisOptions, RedisTier};

/// Longest wait for a sign of life.
const PATIENCE: Duration = Duration::from_secs(5);

fn tier(address: &str, prefix: &str) -> Result<RedisTier, String> {
    RedisTier::new(address, RedisOptions::new().prefix(prefix)).map_err(|error| error.to_string())
}

/// Makes what a runner shares; connects later.
pub(crate) fn open(address: &str, prefix: &str) -> Result<Arc<dyn Tier>, String> {
    Ok(Arc::new(tier(address, prefix)?))
}

/// Asks for a sign of life.
pub(crate) async fn ping(address: &str, prefix: &str) -> Result<(), String> {
    let tier = tier(address, prefix)?;
    match tokio::time::timeout(PATIENCE, tier.ping()).await {
        Ok(answered) => answered.map_err(|error| error.to_string()),
        Err(_) => Err("it does not answer".into()),
    }
}
