//! The shared tier of a fleet over Redis or Valkey.
//!
//! A [`RedisTier`] is what [`RunnerBuilder::tier`](ci_runner::RunnerBuilder::tier) wants: runners that have one over the same server share
//! answers. What makes that safe is the runner's affair (see [`ci_runner::tier`]): this crate moves bytes, quickly, and may lose
//! them.
//!
//! One connection carries everything, many calls at a time. It is made in the background, so that nobody whose time budget is shorter than a
//! handshake keeps it from being made, and made anew when it breaks or when several calls in a row got no answer.
//!
//! With [`TierOptions::doorbell`](ci_runner::tier::TierOptions::doorbell) a second connection is subscribed to the channel
//! `PREFIX:f:bell`, on which nodes publish after they have written.
//!
//! Limits: Redis from 6.0 or Valkey, one server at a time (its failover by a name or an address that moves with it). Use an account of its own
//! that may do `PING GET MGET SET DEL` on the prefix (with the doorbell `PUBLISH SUBSCRIBE` on its channel); give the server a memory limit and an eviction policy (`allkeys-lfu` or `volatile-ttl`).
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use ci_runner::tier::TierOptions;
//! use ci_tier_redis::{RedisOptions, RedisTier};
//!
//! # async fn main_of(store: Arc<dyn ci_store::Store>) -> Result<(), Box<dyn std::error::Error>> {
//! let tier = RedisTier::new("redis://cache:secret@redis.internal:6379/0", RedisOptions::new())?;
//! let runner = ci_runner::Runner::builder(store)
//!     .tier(Arc::new(tier), TierOptions::new())
//!     .build()?;
//! # Ok(()) }
//! ```

mod bell;
mod link;
mod memory;
mod options;
mod tier;

pub use memory::Memory;
pub use options::{Error, RedisOptions};
pub use tier::RedisTier;
