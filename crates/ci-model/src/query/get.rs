//! One CI by id or by code.

use crate::CiRef;

/// Asks for all columns of one CI.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Get {
    target: CiRef,
    include_deleted: bool,
}

impl Get {
    /// Asks for a CI that is not soft-deleted.
    pub fn new(target: impl Into<CiRef>) -> Self {
        Self {
            target: target.into(),
            include_deleted: false,
        }
    }

    /// Also finds the CI when it is soft-deleted.
    pub fn include_deleted(mut self, yes: bool) -> Self {
        self.include_deleted = yes;
        self
    }

    /// Which CI.
    pub fn target(&self) -> &CiRef {
        &self.target
    }

    /// Whether a soft-deleted CI is found.
    pub fn includes_deleted(&self) -> bool {
        self.include_deleted
    }
}
