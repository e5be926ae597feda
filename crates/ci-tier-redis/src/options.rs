//! The settings of a tier over Redis, and what is wrong with them.

use std::time::Duration;

/// What every name begins with when nothing is said.
const PREFIX: &str = "ci-cache";

/// Why a tier cannot be made. Says nothing of addresses or secrets.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address is none, or wants what this build does not have.
    #[error(
        "the address of the shared tier is not of the form redis://[user[:password]@]host[:port][/db], rediss://... (with the feature \
         `tls`) or redis+unix:///path"
    )]
    Address,
    /// The prefix is none.
    #[error("the prefix of the shared tier is not 1 to 64 letters, digits, `-`, `_` or `.`")]
    Prefix,
}

/// How a tier uses its server.
#[derive(Debug, Clone)]
#[must_use]
pub struct RedisOptions {
    pub(crate) prefix: String,
    pub(crate) connect_timeout: Duration,
}

impl Default for RedisOptions {
    fn default() -> Self {
        Self {
            prefix: PREFIX.into(),
            connect_timeout: Duration::from_secs(2),
        }
    }
}

impl RedisOptions {
    /// Starts with the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets what every name in the server begins with: fleets over different databases that share a server should have different ones, or
    /// they displace each other's answers. `ci-cache` when not called.
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Sets how long making a connection may take; 2 s when not called. Nobody waits for it longer than for an answer.
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = timeout;
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        let good = (1..=64).contains(&self.prefix.len()) && self.prefix.chars().all(allowed);
        if good { Ok(()) } else { Err(Error::Prefix) }
    }
}
