//! The shared tier of a fleet, over Redis or Valkey.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use ci_runner::tier::{Life, Tier, TierError, TierKey, TierValue};
use ci_tier_redis::{Error, RedisOptions, RedisTier};

use crate::config::{TierCertificates, TierFault};
use crate::tier_looked::{Full, Looked};

/// Longest wait for a sign of life.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long what is written to look at it stays if it cannot be deleted.
const LIFE: Duration = Duration::from_secs(60);

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

/// Has a tier do everything that a service asks of it, with one name of its own under the prefix, which is deleted again and ends by itself.
pub(crate) async fn look(
    address: &str,
    prefix: &str,
    certificates: TierCertificates,
    doorbell: bool,
) -> Looked {
    let tier = match tier(address, prefix, certificates) {
        Ok(tier) => tier,
        Err(fault) => return Looked::Away(fault.to_string()),
    };
    let looked = tokio::time::timeout(PATIENCE, look_at(&tier, doorbell)).await;
    looked.unwrap_or_else(|_| Looked::Away("it does not answer".into()))
}

async fn look_at(tier: &RedisTier, doorbell: bool) -> Looked {
    if let Err(error) = tier.ping().await {
        return Looked::Away(error.to_string());
    }
    // Whoever looks at the same time has another name.
    let name = TierKey::new(None, format!("doctor-{:016x}", RandomState::new().hash_one(())));
    let names = std::slice::from_ref(&name);
    let written = b"a look of the doctor".to_vec();
    let value = TierValue::new(name.clone(), written.clone(), Life::For(LIFE));
    let mut refused = Refused::default();
    let is_written = refused
        .note("SET", tier.put(std::slice::from_ref(&value)).await)
        .is_some();
    let found = refused.note("MGET", tier.get(names).await);
    refused.note("DEL", tier.delete(names).await);
    if doorbell {
        refused.note("SUBSCRIBE", tier.listen().await);
        refused.note("PUBLISH", tier.ring().await);
    }
    match (refused.why, found) {
        (Some(why), _) => Looked::Refuses(refused.commands, why),
        (None, Some(found)) if is_written && found != [Some(written)] => Looked::Mixes,
        _ => {
            // Whoever may not ask is told nothing.
            let memory = tier.memory().await.ok().flatten();
            Looked::Well(memory.map(|memory| Full {
                most_bytes: memory.most_bytes,
                policy: memory.policy,
            }))
        }
    }
}

/// What a tier did not do.
#[derive(Default)]
struct Refused {
    commands: Vec<&'static str>,
    /// What was said of the first.
    why: Option<String>,
}

impl Refused {
    fn note<T>(&mut self, command: &'static str, answer: Result<T, TierError>) -> Option<T> {
        match answer {
            Ok(value) => Some(value),
            Err(error) => {
                self.commands.push(command);
                self.why.get_or_insert(error.to_string());
                None
            }
        }
    }
}
