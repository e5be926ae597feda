//! What a writer expects of a CI that it is about to write.

use crate::{CiDetail, Fingerprint};

/// What must hold of a CI as it is in the database for a write of it to be done. A soft-deleted CI counts as absent, as it does for a get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Precondition {
    /// It is there.
    Present,
    /// It is not there.
    Absent,
    /// It is there and has one of these fingerprints: nobody changed it since the writer read it.
    Unchanged(Vec<Fingerprint>),
}

impl Precondition {
    /// Tells whether it holds of a CI, or of none. Cost: for [`Unchanged`](Self::Unchanged) that of a fingerprint.
    pub fn holds(&self, present: Option<&CiDetail>) -> bool {
        match (self, present) {
            (Self::Present, present) => present.is_some(),
            (Self::Absent, present) => present.is_none(),
            (Self::Unchanged(known), Some(present)) => known.contains(&present.fingerprint()),
            (Self::Unchanged(_), None) => false,
        }
    }
}
