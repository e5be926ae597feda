//! Coherence: a cached answer is as true as one asked for now, up to a known state of the source.
//!
//! A [`Coherent`] cache follows the changes of a source. It keeps an answer until a change *touches* it, which a [`Domain`]
//! decides from the change and from what the answer was made of; and it says of every hit at which state of the source it is
//! true. It knows nothing of databases: states ([`Version`]), changes, dependencies and groups (tenants) are the domain's.
//!
//! # The protocol
//!
//! - *Load*: read a version S, then the value, in one transaction of the source.
//! - *Publish* ([`Coherent::publish`]): register the dependency as pending; refuse what is of another epoch, or older than the
//!   log reaches; refuse what a logged change hits that S does not include; else give it to the cache and call it ready. Those who
//!   wait for the load get the value in any case, with its S.
//! - *Apply* ([`Coherent::apply`]): append to the log; drop each ready entry and poison each pending one that a change hits and
//!   whose S does not include it; then raise the mark.
//! - *Read*: take the [`mark`](Coherent::mark), then look up. What is found is true at the mark ([`Mark::as_of`]).
//!
//! Versions are never compared as numbers, only by what they cover: where transactions commit in another order than they began, a lower
//! number may come later.
//!
//! # Locks
//!
//! In this order, and none after a later one:
//!
//! | | lock | guards | held |
//! |---|---|---|---|
//! | 1 | feed | epoch, position, the order of batches | by apply, reset, suspend, resume; readers never take it |
//! | 2 | state | log, index, scopes, history, counters | for one registration, one landing, 32 changes |
//! | 3 | the cache's shards | entries and flights | for one operation; inside *state* at a landing only |
//! | 4 | retired | tickets of entries that left the cache | to push or to take |
//! | - | mark | what readers see | never: replaced as a whole |
//!
//! Of foreign code, the domain's methods and the drop of keys and dependencies run under *state*, a weigher and an expiry function under a
//! shard's lock inside it: none of them may use the cache. Listeners, wakers and drops of values run under no lock. The cache tells of
//! evictions from within any operation; the ticket of what left goes to *retired*, and the next holder of *state* unregisters it.
//!
//! # Memory
//!
//! A registration with one anchor takes 130 to 180 bytes, key included but not what keys and dependencies point to; each further
//! anchor some 60. [`CoherenceStats::index_bytes`] has the sum. There are as many as entries and publications under way. The log is
//! bounded by [`CoherenceOptions`]; the sketch of rarities takes 64 KiB, the marks of a search 8.
//!
//! # An example
//!
//! ```
//! use std::sync::Arc;
//! use ci_cache_core::coherence::{
//!     Anchor, Batch, Coherent, CoherenceOptions, Domain, Loaded, Published, Rarity, Reach, Version,
//! };
//! use ci_cache_core::{CacheBuilder, Lookup, LookupOptions, ManualClock, Tick};
//!
//! /// All changes up to a number: right where one transaction ends before the next begins.
//! #[derive(Debug, Clone, PartialEq)]
//! struct UpTo(u64);
//!
//! impl Version for UpTo {
//!     type Origin = u64;
//!     fn covers(&self, number: u64) -> bool { number <= self.0 }
//!     fn includes(&self, other: &Self) -> bool { other.0 <= self.0 }
//! }
//!
//! /// Answers are made of one row each; a change is its number and its row.
//! struct Rows;
//!
//! impl Domain for Rows {
//!     type Version = UpTo;
//!     type Change = (u64, u32);
//!     type Dependency = u32;
//!     type Group = ();
//!     type Hint = ();
//!     type Sight = ();
//!     type Reason = ();
//!     fn origin(&self, change: &(u64, u32)) -> u64 { change.0 }
//!     fn reach<'a>(&self, _: &'a (u64, u32)) -> Reach<'a, ()> { Reach::Some(&()) }
//!     fn group<'a>(&self, _: &'a u32) -> &'a () { &() }
//!     fn file(&self, row: &u32, _: &Rarity, anchors: &mut Vec<Anchor>) { anchors.push(Anchor((*row).into())); }
//!     fn probe(&self, change: &(u64, u32), anchors: &mut Vec<Anchor>) { anchors.push(Anchor(change.1.into())); }
//!     fn touches(&self, change: &(u64, u32), row: &u32) -> Option<()> { (change.1 == *row).then_some(()) }
//! }
//!
//! let builder = CacheBuilder::new(100, Arc::new(ManualClock::new()));
//! let cache: Coherent<String, &str, Rows> = Coherent::new(builder, Rows, &CoherenceOptions::new())?;
//! cache.reset(1, UpTo(0), Tick::from_micros(0));
//! if let Lookup::Lead(leader) = cache.lookup("row 7", LookupOptions::new()) {
//!     let loaded = Loaded { epoch: 1, version: UpTo(0) }; // read before the value, in the same transaction
//!     assert_eq!(cache.publish(leader, "old", loaded, 7).ending, Published::Kept);
//! }
//! let poll = |number, row| Batch {
//!     epoch: 1,
//!     since: UpTo(number - 1),
//!     changes: vec![(number, row)],
//!     position: UpTo(number),
//!     polled_at: Tick::from_micros(number),
//! };
//! cache.apply(poll(1, 8));
//! let mark = cache.mark().ok_or("suspended")?; // before the look-up
//! let entry = cache.get("row 7").ok_or("dropped")?;
//! assert_eq!((*entry.value(), mark.as_of(&entry)), ("old", (1, &UpTo(1))));
//! cache.apply(poll(2, 7));
//! assert!(cache.get("row 7").is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod apply;
mod coherent;
mod domain;
mod entry;
mod filter;
mod history;
mod index;
#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod index_tests;
mod log;
#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod mutants;
mod options;
mod oracle;
mod outcome;
mod posting;
#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
#[path = "../../tests/coherence/programs.rs"]
mod programs;
mod publish;
mod rarity;
mod rules;
mod state;
mod stats;
#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
#[path = "../../tests/coherence/toy.rs"]
mod toy;
mod watermark;
#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
#[path = "../../tests/coherence/world.rs"]
mod world;

pub use apply::Batch;
pub use coherent::{Coherent, CoherentLeader, Shared, Status};
pub use domain::{Anchor, Domain, Reach, Version};
pub use entry::{Entry, Loaded};
pub use history::Dropped;
pub use options::CoherenceOptions;
pub use outcome::{Applied, Course, Publication, Published, Why};
pub use rarity::Rarity;
#[cfg(feature = "planted")]
#[doc(hidden)]
pub use rules::ProtocolRules;
#[cfg(all(any(test, fuzzing), not(feature = "planted")))]
#[cfg_attr(
    not(any(loom, shuttle)),
    allow(unused_imports, reason = "the models of threads name it")
)]
pub(crate) use rules::ProtocolRules;
pub use stats::CoherenceStats;
pub use watermark::Mark;
