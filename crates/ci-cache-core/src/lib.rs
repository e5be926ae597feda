//! A bounded concurrent cache that never keeps a value which was overtaken while it was loaded.
//!
//! # The problem
//!
//! A cache in front of a database must answer in nanoseconds, run one load for a hundred simultaneous misses, stay
//! within its capacity, and forget what has changed. The last is where caches go wrong: a load that started before
//! an invalidation stores the old value after it, and the stale answer stays until it expires. Here the race cannot
//! happen: each load is a flight that a removal or an invalidation detaches.
//!
//! # The nouns
//!
//! - A [`Cache`] maps keys to values (cloned out, so use an `Arc` for large ones), evicting at capacity by the chosen
//!   [`Eviction`] and serving nothing beyond its time to live by the [`Clock`] it was given.
//! - A flight is one load that many look-ups share: its [`Leader`] loads, [`Waiter`]s await it or block on it.
//! - A [`Scope`] groups entries and flights to be invalidated together in constant time.
//!
//! # Guaranteed
//!
//! - No look-up that starts after `remove`, `clear` or [`Scope::invalidate`] returned gets a value loaded before
//!   it, nor joins a flight that began before it; a load overtaken by one is answered but not kept.
//! - Per key there is one flight to join at a time, and every waiter ends: a leader that is dropped or panics
//!   wakes its waiters, and one of them takes over.
//! - Never more entries than the capacity; overwriting a key evicts nobody (unless it grew heavier); keys and values are dropped outside
//!   the locks.
//!
//! # Limits
//!
//! No I/O, no runtime, no threads, no clock of its own; expiry is decided at look-up and dead entries keep their
//! place until they are met. Recency is exact within a shard (one shard: exact overall).
//! A look-up of a key from within its own load waits for itself.
//!
//! # Coherence
//!
//! Where the source can tell what has changed, a [`Coherent`](coherence::Coherent) cache keeps an answer until a change touches it, drops nothing else, and
//! says of every hit at which state of the source it is true. See [`coherence`].
//!
//! # Beyond one key at a time
//!
//! [`Cache::compute`] reads and changes an entry in one step, [`Cache::get_or_load_many`] loads many keys in one go, and
//! [`Cache::export`] and [`Cache::import`] carry entries over a restart. Feature `async` adds `Cache::awaiting`, the
//! same loads for any runtime; feature `ci` the cache of CI questions.
//!
//! ```
//! use std::{sync::Arc, time::Duration};
//! use ci_cache_core::{Cache, LookupOptions, Scope, SystemClock};
//!
//! let cache: Cache<String, Arc<str>> = Cache::<String, Arc<str>>::builder(10_000, Arc::new(SystemClock::new()))
//!     .default_ttl(Duration::from_secs(300))
//!     .build()?;
//! let rows = Scope::new();
//! let load = || Ok(Arc::from("expensive"));
//! let options = LookupOptions::new().scope(&rows);
//! let Ok(value) = cache.get_or_load("srv-001", options, load);
//! assert_eq!(&*value, "expensive");
//! assert!(cache.contains("srv-001"));
//! rows.invalidate();
//! assert!(cache.get("srv-001").is_none());
//! # Ok::<(), ci_cache_core::Error>(())
//! ```

#![allow(
    clippy::redundant_closure_for_method_calls,
    reason = "the method's path has one lifetime, the closure is general"
)]
#![allow(
    clippy::inline_always,
    reason = "a hit is compiled into its caller, else the closures it is made of become calls"
)]

// Tests that are compiled into the crate as well, the fuzzer's targets among them, name the engine as others do.
#[cfg(test)]
extern crate self as ci_cache_core;

mod batch;
mod builder;
mod cache;
#[cfg(feature = "ci")]
pub mod ci;
mod clock;
pub mod coherence;
mod compute;
mod config;
mod core;
mod detail;
mod entry;
mod error;
mod expiry;
mod flight;
#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod flight_tests;
mod flights;
#[cfg(feature = "async")]
mod future;
#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod fuzz_tests;
mod leader;
mod listener;
mod load;
mod mark;
#[cfg(all(test, any(loom, shuttle)))]
mod models;
mod policy;
mod raw;
mod rules;
mod scope;
mod scopes;
mod shard;
mod share;
#[cfg(test)]
#[cfg(not(any(loom, shuttle)))]
mod share_tests;
mod shim;
mod snapshot;
mod stats;
mod stripes;
mod table;
mod whole;

pub use batch::BatchError;
pub use builder::CacheBuilder;
pub use cache::Cache;
pub use clock::{Clock, ManualClock, SystemClock, Tick, TickCell};
pub use compute::{Compute, Computed};
pub use entry::{EntrySnapshot, Found, Freshness, InsertOptions, LookupOptions, Meta};
pub use error::Error;
pub use expiry::Ttl;
pub use flight::{Outcome, Waiter};
#[cfg(feature = "async")]
pub use future::Awaiting;
/// Key equivalence across borrowed forms; implemented for everything a key can be borrowed as.
pub use hashbrown::Equivalent;
pub use leader::{Leader, Lookup};
pub use listener::Cause;
pub use policy::Eviction;
pub use scope::{Scope, Stamp};
pub use share::{GroupStats, Share};
pub use snapshot::{Imported, Restored};
pub use stats::Stats;
