//! Whether CIs are as their writer expects, asked inside the transaction that is to write them.

use ci_model::{CiRecord, CiRef, Get, Precondition, Rejection, TenantId};

use crate::source::Source;
use crate::{Error, Result, answers};

/// The CI that a record is about: the one with its id if it gives one, else the one with its code.
pub(crate) fn target(record: &CiRecord) -> CiRef {
    record
        .given_id
        .map_or_else(|| record.code.clone().into(), CiRef::from)
}

/// Fails with the first CI of which the precondition does not hold. One statement for each.
///
/// # Errors
/// [`Error::Rejected`] with [`Rejection::PreconditionFailed`].
pub(crate) async fn require<'t, S: Source>(
    source: &mut S,
    targets: impl Iterator<Item = (&'t TenantId, CiRef)> + Send,
    precondition: &Precondition,
) -> Result<()> {
    for (index, (tenant, target)) in targets.enumerate() {
        let found = answers::get_many(source, tenant, &[Get::new(target)]).await?;
        let present = found.into_iter().next().flatten();
        if !precondition.holds(present.as_ref()) {
            let reason = Rejection::PreconditionFailed;
            return Err(Error::Rejected { index, reason });
        }
    }
    Ok(())
}
