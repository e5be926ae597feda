//! Without the feature `redis` nothing is shared.

use std::sync::Arc;

use ci_runner::tier::Tier;

use crate::config::{TierCertificates, TierFault};
use crate::tier_looked::Looked;

const WITHOUT: &str = "this program was built without the feature `redis`";

pub(crate) fn open(
    _address: &str,
    _prefix: &str,
    _certificates: TierCertificates,
) -> Result<Arc<dyn Tier>, TierFault> {
    Err(TierFault::new("tier_url", WITHOUT))
}

#[expect(clippy::unused_async, reason = "the form of its twin")]
pub(crate) async fn look(
    _address: &str,
    _prefix: &str,
    _certificates: TierCertificates,
    _doorbell: bool,
) -> Looked {
    Looked::Away(WITHOUT.into())
}
