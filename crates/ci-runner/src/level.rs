//! What a reader can ask for: how true an answer has to be.

use std::time::Duration;

use ci_model::Token;

/// How true an answer has to be. What is asked for is a promise, whatever happens to the database, the feed or the cache;
/// where it cannot be kept from memory the database is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Level {
    /// True at a state of the database that was current at most so long ago. Served from memory while the change feed
    /// is that close behind.
    Cached {
        /// How far behind the answer may be.
        max_lag: Duration,
    },
    /// Includes everything up to a token, as an answer or a write gave it. A token of another history is no use for
    /// comparing: it is treated as [`Strong`](Self::Strong).
    AtLeast(Token),
    /// Includes every write that was acknowledged to anybody before the call. One poll of the feed, which simultaneous
    /// callers share, and then a hit may be served.
    Strong,
    /// Straight from the database, past the cache, and not kept.
    Bypass,
}

impl Level {
    /// The level's name, for logs and headers.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Cached { .. } => "cached",
            Self::AtLeast(_) => "at_least",
            Self::Strong => "strong",
            Self::Bypass => "bypass",
        }
    }
}
