//! A set of ids, as small as it can be.

use ci_model::CiId;

/// Ids in ascending order, each once: 16 bytes each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Ids(Box<[CiId]>);

impl Ids {
    /// Tells whether an id is in it. Cost: a binary search.
    pub(super) fn has(&self, id: CiId) -> bool {
        self.0.binary_search(&id).is_ok()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = CiId> + '_ {
        self.0.iter().copied()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl FromIterator<CiId> for Ids {
    fn from_iter<I: IntoIterator<Item = CiId>>(ids: I) -> Self {
        let mut ids: Vec<CiId> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        Self(ids.into())
    }
}
