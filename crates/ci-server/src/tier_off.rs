//! Without the feature `redis` nothing is shared.

use std::sync::Arc;

use ci_runner::tier::Tier;

use crate::config::{TierCertificates, TierFault};

const WITHOUT: &str = "this program was built without the feature `redis`";

pub(crate) fn open(
    _address: &str,
    _prefix: &str,
    _certificates: TierCertificates,
) -> Result<Arc<dyn Tier>, TierFault> {
    Err(TierFault::new("tier_url", WITHOUT))
}

#[expect(clippy::unused_async, reason = "the form of its twin")]
pub(crate) async fn ping(
    _address: &str,
    _prefix: &str,
    _certificates: TierCertificates,
) -> Result<(), String> {
    Err(WITHOUT.into())
}
