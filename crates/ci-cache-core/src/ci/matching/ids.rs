//! A set of ids, as small as it can be.

use ci_model::CiId;

/// Ids in ascending order, each once: 16 bytes each.
#[derive(Debug, Clone, Default)]
pub(super) struct Ids {
    /// A bit for each id: most that are not there are ruled out without looking at the list, which lies elsewhere.
    mask: u64,
    ids: Box<[CiId]>,
}

/// The bit of an id in a mask.
pub(super) fn bit(id: CiId) -> u64 {
    let (high, low) = id.0.as_u64_pair();
    1 << ((high ^ low).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
}

impl Ids {
    /// Tells whether an id is in it. Cost: a binary search.
    pub(super) fn has(&self, id: CiId) -> bool {
        self.mask & bit(id) != 0 && self.ids.binary_search(&id).is_ok()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = CiId> + '_ {
        self.ids.iter().copied()
    }

    /// A bit for each id.
    pub(super) fn mask(&self) -> u64 {
        self.mask
    }

    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }
}

impl FromIterator<CiId> for Ids {
    fn from_iter<I: IntoIterator<Item = CiId>>(ids: I) -> Self {
        let mut ids: Vec<CiId> = ids.into_iter().collect();
        ids.sort_unstable();
        ids.dedup();
        Self {
            mask: ids.iter().fold(0, |mask, id| mask | bit(*id)),
            ids: ids.into(),
        }
    }
}
