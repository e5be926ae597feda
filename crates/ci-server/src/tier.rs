//! The shared tier of a fleet, over Redis or Valkey.

use std::sync::Arc;
use std::time::Duration;

use ci_runner::tier::Tier;
use ci_tier_redis::{Error, RedisOptions, RedisTier};

use crate::config::{TierCertificates, TierFault};

/// Longest wait for a sign of life.
const PATIENCE: Duration = Duration::from_secs(5);

fn tier(address: &str, prefix: &str, (ca, client): TierCertificates) -> Result<RedisTier, TierFault> {
    let mut options = RedisOptions::new().prefix(prefix);
    if let Some(ca) = ca {
        options = options.ca(ca);
    }
    if let Some((certificate, key)) = client {
        options = options.client_certificate(certificate, key);
    }
    RedisTier::new(address, options).map_err(|error| {
        let key = match &error {
            Error::Prefix => "tier_prefix",
            Error::Ca(_) => "tier_ca",
            Error::ClientCertificate(_) => "tier_cert",
            _ => "tier_url",
        };
        TierFault::new(key, error.to_string())
    })
}

/// Makes what a runner shares; connects later.
pub(crate) fn open(
    address: &str,
    prefix: &str,
    certificates: TierCertificates,
) -> Result<Arc<dyn Tier>, TierFault> {
    Ok(Arc::new(tier(address, prefix, certificates)?))
}

/// Asks for a sign of life.
pub(crate) async fn ping(address: &str, prefix: &str, certificates: TierCertificates) -> Result<(), String> {
    let tier = tier(address, prefix, certificates).map_err(|fault| fault.to_string())?;
    match tokio::time::timeout(PATIENCE, tier.ping()).await {
        Ok(answered) => answered.map_err(|error| error.to_string()),
        Err(_) => Err("it does not answer".into()),
    }
}
