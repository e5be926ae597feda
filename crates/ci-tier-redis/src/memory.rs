//! What a server does when its memory is full, for whoever looks after it.

use ci_runner::tier::TierError;
use redis::{Value, cmd};

use crate::RedisTier;
use crate::target::{Target, one};

/// How much a server may hold, and what it does when that is full.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// Bytes; 0 for as much as there is.
    pub most_bytes: u64,
    /// What goes when it is full, in the server's words: `noeviction`, `allkeys-lfu`, ...
    pub policy: String,
}

impl RedisTier {
    /// Asks for the server's memory limit: one round trip, by `INFO memory`. None from a server that does not say it, and of a cluster, whose nodes have each
    /// their own.
    ///
    /// # Errors
    /// When it did not answer, or the account may not ask.
    pub async fn memory(&self) -> Result<Option<Memory>, TierError> {
        let Target::One(link) = &self.target else {
            return Ok(None);
        };
        match one(link, cmd("INFO").arg("memory")).await? {
            Value::VerbatimString { text, .. } => Ok(read(&text)),
            Value::BulkString(text) => Ok(std::str::from_utf8(&text).ok().and_then(read)),
            _ => Ok(None),
        }
    }
}

fn read(info: &str) -> Option<Memory> {
    let of = |name: &str| {
        info.lines()
            .find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(':'))
    };
    Some(Memory {
        most_bytes: of("maxmemory")?.parse().ok()?,
        policy: of("maxmemory_policy")?.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_read() {
        let info = "# Memory\r\nused_memory:1\r\nmaxmemory:64000000\r\nmaxmemory_human:61.04M\r\nmaxmemory_policy:allkeys-lfu\r\n";
        let memory = Memory {
            most_bytes: 64_000_000,
            policy: "allkeys-lfu".into(),
        };
        assert_eq!(read(info), Some(memory));
        assert_eq!(read("maxmemory:1\r\n"), None);
        assert_eq!(read("maxmemory:much\r\nmaxmemory_policy:x"), None);
    }
}
