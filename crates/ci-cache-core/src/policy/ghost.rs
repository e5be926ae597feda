//! Ghosts: fingerprints of entries that left not long ago, four bytes each.

/// How many ghosts share a bucket: two buckets fill a cache line.
pub(crate) const WAYS: usize = 8;

/// Remembers about as many evicted keys as it has places, forgetting the oldest of a bucket first.
///
/// A key is looked for in one bucket only, so what is forgotten is the oldest of eight rather than of all: exact up to eight places, and close enough
/// above. A false match (about one in 500 million look-ups) admits one entry too easily.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ghost {
    /// Each the newest first; 0 is an empty place.
    buckets: Vec<[u32; WAYS]>,
}

impl Ghost {
    /// Sets the number of places, rounded up to whole buckets. Forgets all when the number of buckets changes.
    pub(crate) fn resize(&mut self, places: usize) {
        let buckets = places.div_ceil(WAYS).max(1);
        if buckets != self.buckets.len() {
            self.buckets = vec![[0; WAYS]; buckets];
        }
    }

    /// Remembers a key that is not remembered yet, as the newest of its bucket.
    pub(crate) fn insert(&mut self, hash: u64) {
        let (bucket, mark) = self.locate(hash);
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            bucket.copy_within(0..WAYS - 1, 1);
            bucket[0] = mark;
        }
    }

    /// Forgets a key and tells whether it was remembered.
    pub(crate) fn take(&mut self, hash: u64) -> bool {
        let (bucket, mark) = self.locate(hash);
        let Some(bucket) = self.buckets.get_mut(bucket) else {
            return false;
        };
        let Some(at) = bucket.iter().position(|&ghost| ghost == mark) else {
            return false;
        };
        bucket.copy_within(at + 1.., at);
        bucket[WAYS - 1] = 0;
        true
    }

    /// Forgets all.
    pub(crate) fn clear(&mut self) {
        self.buckets.fill([0; WAYS]);
    }

    /// Gives the bucket of a hash (by its upper half) and its fingerprint (its lower half, never 0).
    #[expect(clippy::cast_possible_truncation, reason = "halves of a hash are meant")]
    fn locate(&self, hash: u64) -> (usize, u32) {
        let bucket = ((hash >> 32) * self.buckets.len() as u64) >> 32;
        (bucket as usize, (hash as u32).max(1))
    }
}
