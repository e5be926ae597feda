//! The CI-shaped face of the cache: answers to questions about configuration items, by tenant.
//!
//! [`CiCache`] has the ten operations of the cache this project grew out of, without its defects: the tenant is the
//! first part of every key, results are shared and immutable, empty results are results, every time to live is used,
//! a load overtaken by an invalidation is not kept, and a hundred simultaneous misses run one load.
//!
//! | its operation | here |
//! |---|---|
//! | constructor | [`CiCache::new`] with a [`CiCacheConfig`] |
//! | generate key | [`CiCache::key`] |
//! | get, set | [`CiCache::get`], [`CiCache::set`]; for loads better [`CiCache::lookup`] and [`CiCache::publish`] |
//! | invalidate | [`CiCache::invalidate`] |
//! | invalidate pattern | [`CiCache::invalidate_keywords`] |
//! | clear, contains | [`CiCache::clear`], [`CiCache::contains`] |
//! | stats | [`CiCache::stats`] |
//! | entries summary | [`CiCache::entries_summary`] |
//!
//! ```
//! use std::sync::Arc;
//! use ci_cache_core::{SystemClock, ci::{CiCache, CiCacheConfig}};
//! use ci_model::{Search, TenantId};
//!
//! let cache: CiCache<Arc<[&str]>> = CiCache::new(CiCacheConfig::new(), Arc::new(SystemClock::new()))?;
//! let tenant = TenantId::new("acme")?;
//! let question = Search::builder().keywords(["ERP", "server"]).build()?.into();
//! cache.set(&tenant, &question, Arc::new(["srv-erp-01"]));
//! let same = Search::builder().keywords([" server", "erp"]).build()?.into();
//! let found = cache.get(&tenant, &same).ok_or("not cached")?;
//! assert_eq!((found.value.rows(), found.value.answer()[0]), (1, "srv-erp-01"));
//! cache.invalidate_questions(&tenant);
//! assert!(cache.get(&tenant, &same).is_none());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod cache;
mod coherent;
mod config;
mod entry;
pub mod matching;
mod stats;
mod tenancy;
mod tenants;

pub use cache::{CiCache, CiFound, CiLeader, CiLookup};
pub use coherent::{CiPublication, CiShared, CoherentCiCache, CoherentCiLeader, CoherentLookup};
pub use config::CiCacheConfig;
pub use entry::{CiEntry, EntrySummary, Rows};
pub use stats::{CiStats, KindStats};
pub use tenancy::{TenantPolicy, TenantShares, TenantStats};
