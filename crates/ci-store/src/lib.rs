//! The CMDB store of ci-cache over SQLite and PostgreSQL.
mod error;
mod store;
pub use error::{Error, Result};
pub use store::{OnRejection, Snapshot, Store, WriteOptions};
