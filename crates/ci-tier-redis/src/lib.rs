//! The shared tier of a fleet over Redis or Valkey.
//!
//! A [`RedisTier`] is what [`RunnerBuilder::tier`](ci_runner::RunnerBuilder::tier) wants: runners that have one over the same server share
//! answers. What makes that safe is the runner's affair (see [`ci_runner::tier`]): this crate moves bytes, quickly, and may lose
//! them.
//!
//! Two connections to each server carry everything, many calls at a time: one what somebody waits for, one what is written in the background. Each is made in the background, so that nobody whose time budget
//! is shorter than a handshake keeps it from being made, and made anew when it breaks, when several calls in a row got no answer, or when
//! its server takes no writes.
//!
//! With [`TierOptions::doorbell`](ci_runner::tier::TierOptions::doorbell) a further one is subscribed to the channel
//! `PREFIX:f:bell`, on which nodes publish after they have written.
//!
//! What an address may lead to ([`RedisTier::new`]), Redis from 6.0 or Valkey:
//!
//! - One server. Its failover is by a name or an address that moves with it.
//! - A service that sentinels watch: each connection begins with asking them which server takes writes.
//! - A cluster: each name is asked of the node that has its slot, so a node that is down costs what it has: nothing is found there, and what is
//!   written there is lost, without an error as long as other nodes go on. What is deleted there is deleted when the node, or who takes its
//!   slots, answers again. Calls follow a slot that moves.
//!
//! Connections are encrypted (feature `tls`) with the system's authorities or with [others](RedisOptions::ca), and with a
//! [certificate of the client](RedisOptions::client_certificate) where the server asks for one.
//!
//! Limits: replicas are asked for nothing. Replication is asynchronous, so a failover loses the last writes and brings back what was
//! deleted: that costs loads, and no answer is wrong. Use an account of its own that may do `PING MGET SET DEL` on the prefix (`SELECT` for another database than 0, for the
//! doorbell `PUBLISH SUBSCRIBE` on channels of the prefix, with sentinels `ROLE`, in a cluster `CLUSTER SLOTS` and `ASKING` as well); give servers a memory limit and an eviction policy (`allkeys-lfu` or `volatile-ttl`).
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

// In reading order: `tier`, `target`, then `link` with `server` below it, or `cluster` with `learn`, `slots` and `owed`.
mod address;
mod bell;
mod cluster;
mod learn;
mod link;
mod memory;
mod options;
mod owed;
mod server;
mod slots;
mod target;
mod tier;
#[cfg(feature = "tls")]
mod tls;
#[cfg(not(feature = "tls"))]
#[path = "tls_off.rs"]
mod tls;
mod words;

pub use memory::Memory;
pub use options::{Error, RedisOptions};
pub use tier::RedisTier;
