//! The CMDB store of ci-cache over SQLite and PostgreSQL.
//!
//! Two databases with different ideas of case, order, JSON and graphs have to give one answer, or a cache in front of
//! them would depend on which one is behind it. This crate asks both so that they answer as [`ci_model`] defines it,
//! byte for byte, also for rows that other programs wrote.
//!
//! Three nouns: a [`Store`] is a CMDB in a database, a [`Snapshot`] one state of it that questions are asked of, and
//! [`import`] fills it from files.
//!
//! Guaranteed: the answers of one snapshot belong together; no call crosses a tenant; a write is one transaction; a
//! failure is an [`Error`], never an empty answer; no value of a row or a filter is ever part of a statement's text or
//! of an error's. Not here: caching, retries, access rights.
//!
//! ```
//! # #[cfg(feature = "sqlite")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use ci_model::{CiDraft, Search, TenantId};
//! use ci_store::{StoreOptions, WriteOptions};
//!
//! let store = ci_store::open("sqlite::memory:", &StoreOptions::default()).await?;
//! let tenant = TenantId::new("acme")?;
//! let record = CiDraft::new("db-1", "Orders database", "SW").check(&tenant)?;
//! store.upsert_cis(vec![record], WriteOptions::default()).await?;
//!
//! let mut snapshot = store.snapshot().await?;
//! let found = snapshot.search(&tenant, &Search::builder().keyword("ORDERS").build()?).await?;
//! assert_eq!(found[0].ci_code.as_str(), "db-1");
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sqlite"))]
//! # fn main() {}
//! ```
//!
//! Limits: those of [`ci_model::limits`]; PostgreSQL 15 or later with the extension `pg_trgm`, in UTF-8.

#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod answers;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod changes;
mod clock;
mod connections;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod decode;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod epoch;
mod error;
mod examine;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod fault;
mod feed;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod findings;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod graph;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod image;
pub mod import;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod once;
mod open;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod path;
#[cfg(feature = "postgres")]
mod postgres;
mod replica;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod schema;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod source;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod together;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod unrepeated;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod ways;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod write;

pub use connections::Connections;
pub use error::{Error, Result};
pub use examine::{Finding, Remedy, Verdict, examine, examine_replica};
pub use feed::{BlindReason, EpochReason, Feed, POLL_CHANGES, Polled, Start};
pub use open::{StoreOptions, open};
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
pub use replica::{Replica, Unused};
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use store::{Answers, Found, OnRejection, PathTrace, Snapshot, Store, TRACE_CIS, WriteOptions};
