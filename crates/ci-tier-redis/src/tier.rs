//! The tier: names, and the five commands.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use ci_runner::tier::{Bell, Life, Tier, TierError, TierKey, TierValue};
use futures_util::future::try_join_all;
use redis::{Client, ExistenceCheck, SetExpiry, SetOptions, Value, cmd};

use crate::bell::RedisBell;
use crate::link::Link;
use crate::{Error, RedisOptions};

/// A shared tier over Redis or Valkey.
pub struct RedisTier {
    pub(crate) link: Link,
    prefix: String,
}

impl RedisTier {
    /// Makes one; connects with the first call.
    ///
    /// The address is `redis://[user[:password]@]host[:port][/db]`, `rediss://` for TLS (with the feature `tls`), or
    /// `redis+unix:///path`; `valkey` may stand in place of `redis`.
    ///
    /// # Errors
    /// [`Error`] naming what is wrong, without the address.
    pub fn new(address: &str, options: RedisOptions) -> Result<Self, Error> {
        options.check()?;
        let client = Client::open(address).map_err(|_| Error::Address)?;
        Ok(Self {
            link: Link::new(client, options.connect_timeout),
            prefix: options.prefix,
        })
    }

    /// The name in the server. Tenants are told from what is the fleet's, and the last part has no colon, so no two keys have one name.
    fn name(&self, key: &TierKey) -> String {
        match &key.tenant {
            Some(tenant) => format!("{}:t:{}:{}", self.prefix, tenant.as_str(), key.name),
            None => format!("{}:f:{}", self.prefix, key.name),
        }
    }

    /// The channel of the doorbell.
    fn bell(&self) -> String {
        format!("{}:f:bell", self.prefix)
    }

    /// Asks for a sign of life: one round trip.
    ///
    /// # Errors
    /// When there is none.
    pub async fn ping(&self) -> Result<(), TierError> {
        let ping = async |mut connection| cmd("PING").query_async::<()>(&mut connection).await;
        self.link.call(ping).await
    }
}

fn millis(length: Duration) -> u64 {
    u64::try_from(length.as_millis()).unwrap_or(u64::MAX).max(1)
}

#[async_trait]
impl Tier for RedisTier {
    fn kind(&self) -> &'static str {
        "redis"
    }

    async fn get(&self, keys: &[TierKey]) -> Result<Vec<Option<Vec<u8>>>, TierError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let names: Vec<String> = keys.iter().map(|key| self.name(key)).collect();
        let mut ask = cmd("MGET");
        ask.arg(&names);
        let found: Vec<Value> = self
            .link
            .call(async |mut connection| ask.query_async(&mut connection).await)
            .await?;
        // What is of another type is not there.
        let bytes = |value| match value {
            Value::BulkString(bytes) => Some(bytes),
            _ => None,
        };
        Ok(found.into_iter().map(bytes).collect())
    }

    async fn put(&self, values: &[TierValue]) -> Result<(), TierError> {
        let sets = values.iter().map(|value| {
            let options = match value.life {
                Life::For(life) => SetOptions::default().with_expiration(SetExpiry::PX(millis(life))),
                _ => SetOptions::default()
                    .conditional_set(ExistenceCheck::XX)
                    .with_expiration(SetExpiry::KEEPTTL),
            };
            let mut set = cmd("SET");
            set.arg(self.name(&value.key)).arg(&value.bytes).arg(options);
            set
        });
        let sets: Vec<_> = sets.collect();
        // All are sent before the first is answered.
        let put = async |connection: redis::aio::MultiplexedConnection| {
            let all = sets.iter().map(|set| {
                let mut connection = connection.clone();
                async move { set.query_async::<()>(&mut connection).await }
            });
            try_join_all(all).await
        };
        self.link.call(put).await.map(drop)
    }

    async fn delete(&self, keys: &[TierKey]) -> Result<(), TierError> {
        if keys.is_empty() {
            return Ok(());
        }
        let names: Vec<String> = keys.iter().map(|key| self.name(key)).collect();
        let mut delete = cmd("DEL");
        delete.arg(&names);
        self.link
            .call(async |mut connection| delete.query_async::<()>(&mut connection).await)
            .await
    }

    async fn lease(&self, key: &TierKey, length: Duration) -> Result<bool, TierError> {
        let mut take = cmd("SET");
        let options = SetOptions::default()
            .conditional_set(ExistenceCheck::NX)
            .with_expiration(SetExpiry::PX(millis(length)));
        take.arg(self.name(key)).arg(1).arg(options);
        let taken: Value = self
            .link
            .call(async |mut connection| take.query_async(&mut connection).await)
            .await?;
        Ok(taken != Value::Nil)
    }

    async fn ring(&self) -> Result<(), TierError> {
        let mut publish = cmd("PUBLISH");
        publish.arg(self.bell()).arg("");
        self.link
            .call(async |mut connection| publish.query_async::<()>(&mut connection).await)
            .await
    }

    async fn listen(&self) -> Result<Option<Box<dyn Bell>>, TierError> {
        let bell = RedisBell::new(self.link.subscriber(), self.bell(), self.link.connect_timeout()).await?;
        Ok(Some(Box::new(bell)))
    }
}

impl fmt::Debug for RedisTier {
    /// Without the address: it may have a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTier")
            .field("prefix", &self.prefix)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ci_model::TenantId;

    #[test]
    fn names_of_tenants_and_of_the_fleet_are_apart() {
        let tier = RedisTier::new("redis://localhost", RedisOptions::new().prefix("p")).unwrap();
        let name = |tenant: Option<&str>, name: &str| {
            tier.name(&TierKey::new(
                tenant.map(|tenant| TenantId::new(tenant).unwrap()),
                name,
            ))
        };
        assert_eq!(name(Some("acme"), "0f"), "p:t:acme:0f");
        assert_eq!(name(None, "feed-1"), "p:f:feed-1");
    }

    #[test]
    fn what_is_wrong_is_told_without_secrets() {
        for address in ["", "http://host", "redis://:hunter2@", "hunter2"] {
            let error = RedisTier::new(address, RedisOptions::new()).unwrap_err();
            assert_eq!(error, Error::Address, "{address}");
            assert!(!error.to_string().contains("hunter2"));
        }
        let options = RedisOptions::new().prefix("with space");
        assert_eq!(
            RedisTier::new("redis://localhost", options).unwrap_err(),
            Error::Prefix
        );
        let tier = RedisTier::new("redis://:hunter2@localhost", RedisOptions::new()).unwrap();
        assert!(!format!("{tier:?}").contains("hunter2"));
    }

    #[tokio::test]
    async fn nobody_at_home_is_an_error() {
        let tier = RedisTier::new("redis+unix:///nowhere/at/all", RedisOptions::new()).unwrap();
        for _ in 0..2 {
            let error = tier.get(&[TierKey::new(None, "x")]).await.unwrap_err();
            assert!(error.to_string().contains("cannot connect"), "{error}");
        }
        assert_eq!(tier.get(&[]).await.unwrap(), Vec::<Option<Vec<u8>>>::new());
    }
}
