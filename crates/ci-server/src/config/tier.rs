//! From settings to the shared tier.

use std::path::PathBuf;
use std::sync::Arc;

use ci_runner::tier::{Tier, TierOptions};

use super::Plan;
use crate::tier;

/// The authorities of the tier's servers, and the certificate and key that they are shown, each in PEM.
pub(crate) type TierCertificates = (Option<Vec<u8>>, Option<(Vec<u8>, Vec<u8>)>);

/// What is wrong with a setting of the shared tier.
#[derive(Debug, thiserror::Error)]
#[error("`{key}`: {reason}")]
pub(crate) struct TierFault {
    key: &'static str,
    reason: String,
}

impl TierFault {
    pub(crate) fn new(key: &'static str, reason: impl Into<String>) -> Self {
        Self {
            key,
            reason: reason.into(),
        }
    }
}

impl Plan {
    /// What is wrong with the shared tier.
    pub(super) fn tier_faults(&self) -> Vec<String> {
        let settings = &self.settings;
        let mut faults = Vec::new();
        if settings.tier_cert.is_some() != settings.tier_key.is_some() {
            faults.push("`tier_cert` and `tier_key` need each other: give both or none".into());
        }
        let Some(address) = &settings.tier_url else {
            return faults;
        };
        let opened = self
            .tier_certificates()
            .and_then(|certificates| tier::open(address, &settings.tier_prefix, certificates));
        if let Err(fault) = opened {
            faults.push(fault.to_string());
        }
        if !settings.database.starts_with("postgres") {
            faults.push(
                "`tier_url` needs a PostgreSQL `database`: a SQLite file is not shared by a fleet".into(),
            );
        }
        if let Err(ci_runner::Error::Config { field, reason }) = self.tier_options().check() {
            faults.push(format!("`{field}`: {reason}"));
        }
        if settings.tier_replay > settings.retention {
            faults.push("`tier_replay` is more than `retention`: older changes are forgotten".into());
        }
        faults
    }

    /// The certificates of the shared tier, read.
    ///
    /// # Errors
    /// Which file cannot be read.
    pub(crate) fn tier_certificates(&self) -> Result<TierCertificates, TierFault> {
        let settings = &self.settings;
        let read = |key: &'static str, path: &PathBuf| {
            std::fs::read(path).map_err(|error| {
                let reason = format!("the file {} cannot be read: {}", path.display(), error.kind());
                TierFault::new(key, reason)
            })
        };
        let ca = settings.tier_ca.as_ref().map(|path| read("tier_ca", path));
        let pair = settings.tier_cert.as_ref().zip(settings.tier_key.as_ref());
        let pair = pair.map(|(certificate, key)| {
            Ok::<_, TierFault>((read("tier_cert", certificate)?, read("tier_key", key)?))
        });
        Ok((ca.transpose()?, pair.transpose()?))
    }

    /// The shared tier; it is connected to later.
    ///
    /// # Errors
    /// What of its settings is refused.
    pub(super) fn open_tier(&self, address: &str) -> ci_runner::Result<Arc<dyn Tier>> {
        let opened = self
            .tier_certificates()
            .and_then(|certificates| tier::open(address, &self.settings.tier_prefix, certificates));
        opened.map_err(|fault| ci_runner::Error::Config {
            field: fault.key,
            reason: fault.reason.into(),
        })
    }

    /// How the shared tier is used.
    pub(super) fn tier_options(&self) -> TierOptions {
        let settings = &self.settings;
        TierOptions::new()
            .timeout(settings.tier_timeout)
            .wait(settings.tier_wait)
            .doorbell(settings.tier_doorbell)
            .ttl(settings.tier_ttl)
            .replay(settings.tier_replay)
            .refresh_every(settings.tier_refresh_every)
            .refresh(settings.tier_refresh)
            .tenant_bytes(settings.tier_tenant_bytes.0)
    }
}
