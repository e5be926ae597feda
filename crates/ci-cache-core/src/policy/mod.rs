//! Eviction policies: which entry leaves a full shard. One file each, behind one small trait.
//!
//! A policy knows slots, hashes, marks and weights; it knows no keys, values or clock. Reading order: the trait here, [`links`] (the queues every
//! policy is made of), `lru`, `sieve`, `s3_fifo`; then [`frequency`] and [`duo`], the family of which `tiny_lfu` and `adaptive` are made.

mod adaptive;
mod duo;
mod frequency;
mod ghost;
mod links;
mod lru;
mod s3_fifo;
mod shadow;
mod sieve;
mod tiny_lfu;

#[cfg(test)]
mod slow_duo;
#[cfg(test)]
mod testing;

use adaptive::Adaptive;
use lru::Lru;
use s3_fifo::S3Fifo;
use sieve::Sieve;
use tiny_lfu::TinyLfu;

/// The highest mark a slot can carry: marks saturate here, so that one counter fits in three bits.
pub(crate) const MAX_HITS: u8 = 7;

/// The most slots a policy can name: positions in [`links`] have 30 bits, of which the queues' ends take a few.
pub(crate) const MAX_SLOTS: usize = links::MAX_SLOTS;

/// What a policy may ask the engine about resident entries.
///
/// All slots a policy holds are readable, including the one being removed, until the call that removes it returns.
pub(crate) trait Residents {
    /// Gives how often the entry was hit since its mark was last set, 0 to [`MAX_HITS`].
    fn hits(&self, slot: u32) -> u8;
    /// Sets the mark of an entry.
    fn set_hits(&self, slot: u32, hits: u8);
    /// Gives the hash of the entry's key: 64 well mixed bits, recomputed at the cost of some nanoseconds.
    fn hash(&self, slot: u32) -> u64;
    /// Gives the weight of an entry, at least 1 (exactly 1 unless the cache weighs entries).
    fn weight(&self, slot: u32) -> u32;
    /// Gives the relative cost of loading the entry again; 0 means unknown.
    fn cost(&self, slot: u32) -> u32;
}

/// Chooses which entry leaves a full shard.
///
/// Duties of the caller (the shard, under its exclusive lock):
/// - [`reserve`](Self::reserve) before the first slot number at or above the last reserve is used;
/// - [`insert`](Self::insert) once per entry placed, its mark set to 0 before; then [`evict`](Self::evict) while the shard is over its capacity;
/// - [`remove`](Self::remove) while the entry is still readable; never after `evict` named the slot, which is then already unlinked;
/// - [`reweighed`](Self::reweighed) when an overwrite changes the weight of a resident entry;
/// - a hit only bumps the mark. With [`Eviction::Lru`] each hit calls [`hit`](Self::hit) instead. A hit whose hash passes
///   [`sample_mask`](Self::sample_mask) is also remembered with its slot (a bounded number, the rest is dropped) and told by [`heard`](Self::heard), in
///   order, before the next insert and before the next [`renumber`](Self::renumber), so that no slot has been given to another entry meanwhile;
/// - the mask is read again after each insert or eviction, which may change it; the shard of a key must not depend on bits 20 to 50 of its hash, of
///   which the mask is made: else all keys of some shards would be sampled, and none of the others.
///
/// Duties of the implementor: constant amortised time per call, a bounded scan per eviction, no panic, and the same answers for the same calls.
pub(crate) trait Policy {
    /// Tells whether every hit must be reported at once: what [`Eviction::is_exact`] says of the policy's name.
    #[cfg(test)]
    fn is_exact(&self) -> bool {
        false
    }

    /// Gives the bits of a hash that must all be zero for a hit to be told by [`heard`](Self::heard); `None` if no hit need be told.
    fn sample_mask(&self) -> Option<u64> {
        None
    }

    /// Learns of a hit at once (exact policies only).
    fn hit(&mut self, _slot: u32) {}

    /// Learns of a sampled hit, in order, some time after it happened. The entry may have been removed since, but its slot holds no other.
    fn heard<R: Residents>(&mut self, _slot: u32, _hash: u64, _residents: &R) {}

    /// Takes in a new entry, just placed in `slot`.
    fn insert<R: Residents>(&mut self, slot: u32, hash: u64, residents: &R);

    /// Lets go of an entry that leaves by the caller's wish or by expiry.
    fn remove<R: Residents>(&mut self, slot: u32, residents: &R);

    /// Learns that a resident entry now weighs `to` instead of `from`.
    fn reweighed(&mut self, _slot: u32, _from: u32, _to: u32) {}

    /// Chooses the entry to lose and lets go of it; `None` only if no entry is held. It may be the entry inserted last: admission refused.
    fn evict<R: Residents>(&mut self, residents: &R) -> Option<u32>;

    /// Takes an entry back that [`evict`](Self::evict) has just named, because its group is not to lose it: as the next to be named, where the policy's
    /// order has such a place. It is no use of the entry.
    fn spare<R: Residents>(&mut self, slot: u32, residents: &R);

    /// Learns that the table was rebuilt: the entry of old slot `i` is now in `new_of_old[i]` (anything for slots not held), all below `slots`.
    fn renumber(&mut self, new_of_old: &[u32], slots: usize);

    /// Makes room for slot numbers below `slots`.
    fn reserve(&mut self, slots: usize);

    /// Sets the total weight the shard may hold, at least 1.
    fn set_capacity(&mut self, capacity: u64);

    /// Forgets all entries and all it learned, keeping its capacity.
    fn clear(&mut self);

    /// Gives the queues by name, the one with the entries to be kept longest first, each from its newest to its next victim.
    fn queues(&self) -> Vec<(&'static str, Vec<u32>)>;

    /// Gives all slots, the one to be kept longest first.
    fn order(&self) -> Vec<u32> {
        self.queues().into_iter().flat_map(|(_, slots)| slots).collect()
    }

    /// Checks that the queues are consistent and the weights add up.
    ///
    /// # Errors
    ///
    /// Says which invariant is broken.
    fn validate<R: Residents>(&self, residents: &R) -> Result<(), String>;
}

/// Which entry leaves when the cache is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Eviction {
    /// The least recently used entry, exactly (within a shard). A hit takes an exclusive lock; simple to reason about, weak against scans and loops.
    Lru,
    /// S3-FIFO: a small queue filters entries used once, a main queue gives second chances, ghosts readmit. (Yang et al., SOSP 2023)
    S3Fifo,
    /// SIEVE: one queue, a hand that sweeps past entries hit since its last visit. (Zhang et al., NSDI 2024)
    Sieve,
    /// W-TinyLFU: a window, and a main queue that an entry enters only if it is used more often than the one it displaces; a hill climber finds the
    /// window's share. (Einziger et al., 2017 and 2018)
    TinyLfu,
    /// Whichever of six rule sets between the above would have done best lately, as small shadow caches on a sample of the keys tell.
    #[default]
    Adaptive,
}

/// The policy of one shard, dispatched statically.
#[derive(Debug)]
pub(crate) enum AnyPolicy {
    /// See [`Eviction::Lru`].
    Lru(Lru),
    /// See [`Eviction::S3Fifo`].
    S3Fifo(S3Fifo),
    /// See [`Eviction::Sieve`].
    Sieve(Sieve),
    /// See [`Eviction::TinyLfu`].
    TinyLfu(TinyLfu),
    /// See [`Eviction::Adaptive`].
    Adaptive(Adaptive),
}

/// Runs the same call on whichever policy it is.
macro_rules! each {
    ($any:expr, $policy:ident => $call:expr) => {
        match $any {
            AnyPolicy::Lru($policy) => $call,
            AnyPolicy::S3Fifo($policy) => $call,
            AnyPolicy::Sieve($policy) => $call,
            AnyPolicy::TinyLfu($policy) => $call,
            AnyPolicy::Adaptive($policy) => $call,
        }
    };
}

impl Eviction {
    /// Tells whether every hit must be reported at once, under the exclusive lock.
    pub(crate) fn is_exact(self) -> bool {
        self == Self::Lru
    }
}

impl AnyPolicy {
    /// Makes the policy of one shard that may hold `capacity` in total weight.
    pub(crate) fn new(eviction: Eviction, capacity: u64) -> Self {
        match eviction {
            Eviction::Lru => Self::Lru(Lru::new()),
            Eviction::S3Fifo => Self::S3Fifo(S3Fifo::new(capacity)),
            Eviction::Sieve => Self::Sieve(Sieve::new()),
            Eviction::TinyLfu => Self::TinyLfu(TinyLfu::new(capacity)),
            Eviction::Adaptive => Self::Adaptive(Adaptive::new(capacity)),
        }
    }
}

#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
impl AnyPolicy {
    /// Gives how many keys it has room to count uses of; 0 if it keeps no frequencies.
    pub(crate) fn known_keys(&self) -> usize {
        match self {
            Self::TinyLfu(policy) => policy.known_keys(),
            Self::Adaptive(policy) => policy.known_keys(),
            Self::Lru(_) | Self::S3Fifo(_) | Self::Sieve(_) => 0,
        }
    }
}

impl Policy for AnyPolicy {
    fn sample_mask(&self) -> Option<u64> {
        each!(self, policy => policy.sample_mask())
    }

    fn hit(&mut self, slot: u32) {
        each!(self, policy => policy.hit(slot));
    }

    fn heard<R: Residents>(&mut self, slot: u32, hash: u64, residents: &R) {
        each!(self, policy => policy.heard(slot, hash, residents));
    }

    fn insert<R: Residents>(&mut self, slot: u32, hash: u64, residents: &R) {
        each!(self, policy => policy.insert(slot, hash, residents));
    }

    fn remove<R: Residents>(&mut self, slot: u32, residents: &R) {
        each!(self, policy => policy.remove(slot, residents));
    }

    fn reweighed(&mut self, slot: u32, from: u32, to: u32) {
        each!(self, policy => policy.reweighed(slot, from, to));
    }

    fn evict<R: Residents>(&mut self, residents: &R) -> Option<u32> {
        each!(self, policy => policy.evict(residents))
    }

    fn spare<R: Residents>(&mut self, slot: u32, residents: &R) {
        each!(self, policy => policy.spare(slot, residents));
    }

    fn renumber(&mut self, new_of_old: &[u32], slots: usize) {
        each!(self, policy => policy.renumber(new_of_old, slots));
    }

    fn reserve(&mut self, slots: usize) {
        each!(self, policy => policy.reserve(slots));
    }

    fn set_capacity(&mut self, capacity: u64) {
        each!(self, policy => policy.set_capacity(capacity));
    }

    fn clear(&mut self) {
        each!(self, policy => policy.clear());
    }

    fn queues(&self) -> Vec<(&'static str, Vec<u32>)> {
        each!(self, policy => policy.queues())
    }

    fn validate<R: Residents>(&self, residents: &R) -> Result<(), String> {
        each!(self, policy => policy.validate(residents))
    }
}

/// Checks that the weight on the books of each queue is the sum of its entries' weights.
///
/// # Errors
///
/// Names the queue whose books are wrong.
fn check_weights<const N: usize, R: Residents>(
    links: &links::Links<N>,
    weights: &[u64; N],
    residents: &R,
) -> Result<(), String> {
    for (queue, &booked) in weights.iter().enumerate() {
        let weight: u64 = links
            .iter(queue)
            .map(|slot| u64::from(residents.weight(slot)))
            .sum();
        if weight != booked {
            return Err(format!("queue {queue} weighs {weight}, {booked} is on the books"));
        }
    }
    Ok(())
}
