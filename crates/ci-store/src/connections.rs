//! How many connections a store has to its database.

/// The connections to the database that questions use, at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connections {
    /// Those that are given out, or being opened.
    pub used: u32,
    /// Those that are open and wait for somebody.
    pub idle: u32,
    /// How many there may be.
    pub max: u32,
}

/// Reads the counters of a pool. They are read one after the other, so the sum may be off by what happens between.
#[cfg(any(feature = "sqlite", feature = "postgres"))]
pub(crate) fn of<D: sqlx::Database>(pool: &sqlx::Pool<D>) -> Connections {
    let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
    Connections {
        used: pool.size().saturating_sub(idle),
        idle,
        max: pool.options().get_max_connections(),
    }
}
