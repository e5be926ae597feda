//! Reading from a copy: a SQLite file has none that follows it.

use std::sync::Arc;

use crate::{Error, Replica, Result};

/// See [`crate::Store::replica`].
pub(super) fn none() -> Result<Arc<dyn Replica>> {
    Err(Error::Address(
        "a SQLite file has no replica that follows it; only PostgreSQL has".into(),
    ))
}
