//! The CMDB store of ci-cache over SQLite and PostgreSQL.
mod clock;
mod error;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod fault;
pub mod import;
mod open;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod schema;
mod sql;
mod store;
#[cfg(any(feature = "sqlite", feature = "postgres"))]
mod write;

pub use error::{Error, Result};
pub use open::{StoreOptions, open};
#[cfg(feature = "postgres")]
pub use postgres::PostgresStore;
#[cfg(feature = "sqlite")]
pub use sqlite::SqliteStore;
pub use store::{OnRejection, Snapshot, Store, WriteOptions};
