//! The CMDB store of ci-cache over SQLite and PostgreSQL.
mod clock;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod answers;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod decode;
mod error;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod fault;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod graph;
pub mod import;
mod open;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod store;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod schema;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod source;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod sql;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod write;

pub use error::{Error, Result};
pub use open::{StoreOptions, open};
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use store::{OnRejection, Snapshot, Store, WriteOptions};
