//! The CI-shaped face of the engine (feature `ci`): answers to questions about configuration items, by tenant.
//!
//! [`CiCache`] has the ten operations of the predecessor over the general [`Cache`](crate::Cache): construct, generate
//! key, get, set, invalidate, invalidate pattern, clear, contains, stats, entries summary. What was wrong with them there
//! cannot happen here: the tenant is part of every key, empty and not-found answers are entries like others, results are
//! shared and immutable, and a load that was overtaken by an invalidation is not kept.

mod cache;
mod config;
mod entry;
mod stats;
mod tenants;

pub use cache::{CiCache, CiLookup};
pub use config::CiCacheConfig;
pub use entry::{CiEntry, EntrySummary};
pub use stats::CiStats;
