//! The tier: names, and the commands.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use ci_runner::tier::{Bell, Life, Tier, TierError, TierKey, TierValue};
use redis::{Cmd, ExistenceCheck, SetExpiry, SetOptions, Value, cmd};

use crate::bell::RedisBell;
use crate::cluster::MaybeAnswer;
use crate::owed::Owed;
use crate::target::{Named, Target, one};
use crate::{Error, RedisOptions};

/// A shared tier over Redis or Valkey.
pub struct RedisTier {
    /// For what somebody waits for.
    pub(crate) target: Target,
    /// For what is written in the background: a read behind some megabytes on one connection would be late.
    writes: Target,
    /// What nodes of a cluster that fail have still to delete.
    owed: Owed,
    prefix: String,
    connect_timeout: Duration,
}

impl RedisTier {
    /// Makes one; connects with the first call.
    ///
    /// The address is one of these, with `rediss` in place of `redis` for TLS (with the feature `tls`), and `valkey` if you like that more:
    ///
    /// - `redis://[[user]:password@]host[:port][/db]`, or `redis+unix:///path`: one server;
    /// - `redis+sentinel://[[user]:password@]host[:port][,host[:port]...]/SERVICE[/db]`: the server that takes writes now, as these sentinels
    ///   say; where they want an account, `?sentinel_user=...&sentinel_password=...`;
    /// - `redis+cluster://[[user]:password@]host[:port][,host[:port]...]`: a cluster, by some of its nodes.
    ///
    /// # Errors
    /// [`Error`] naming what is wrong, without the address.
    pub fn new(address: &str, options: RedisOptions) -> Result<Self, Error> {
        options.check()?;
        Ok(Self {
            target: Target::new(address, &options)?,
            writes: Target::new(address, &options)?,
            owed: Owed::default(),
            connect_timeout: options.connect_timeout,
            prefix: options.prefix,
        })
    }

    /// The name in the server. Tenants are told from what is the fleet's, and the last part has no colon, so no two keys have one name.
    ///
    /// What is beside an answer (`ANSWER-load`, the lease of its load) is in the slot of the answer, so that a node which fails costs the lease of
    /// what it costs anyway: between braces is what the slot is counted from. It is so whatever the address leads to: there may be a cluster
    /// behind one address, too, and answers have the names that they always had.
    fn name(&self, key: &TierKey) -> String {
        let Some(tenant) = &key.tenant else {
            return format!("{}:f:{}", self.prefix, key.name);
        };
        let answer = |name: &str| format!("{}:t:{}:{name}", self.prefix, tenant.as_str());
        match key.name.split_once('-') {
            None => answer(&key.name),
            // Braces of the tenant's own count for both.
            Some((name, beside)) if tenant.as_str().contains('}') => {
                format!("{}:b:{}-{beside}", self.prefix, answer(name))
            }
            Some((name, beside)) => format!("{}:b:{{{}}}-{beside}", self.prefix, answer(name)),
        }
    }

    /// The channel of the doorbell.
    fn bell(&self) -> String {
        format!("{}:f:bell", self.prefix)
    }

    fn names(&self, keys: &[TierKey]) -> Vec<String> {
        keys.iter().map(|key| self.name(key)).collect()
    }

    /// A command about a key.
    fn named(&self, command: &str, key: &TierKey, rest: impl FnOnce(&mut Cmd)) -> Named {
        let (name, mut command) = (self.name(key), cmd(command));
        command.arg(&name);
        rest(&mut command);
        Named { name, command }
    }

    /// Reads from the nodes of a cluster. What is of nodes that fail or refuse is not there, as long as not all do.
    async fn gather(&self, keys: &[TierKey]) -> Result<Vec<Option<Vec<u8>>>, TierError> {
        // `GET` would take a value of another type for an error.
        let gets = keys.iter().map(|key| self.named("MGET", key, |_| {}));
        let found = self.target.each(gets.collect()).await?;
        if let Some(Err(error)) = found.iter().find(|found| found.is_err())
            && found.iter().all(Result::is_err)
        {
            return Err(error.clone());
        }
        let one = |found: MaybeAnswer| values(found.ok()??, 1)?.pop()?;
        Ok(found.into_iter().map(one).collect())
    }

    /// Asks for a sign of life: one round trip, to all nodes of a cluster at once.
    ///
    /// # Errors
    /// When there is none.
    pub async fn ping(&self) -> Result<(), TierError> {
        self.target.ping().await
    }
}

/// The bytes of so many values, each none where it is not there or of another type.
fn values(answer: Value, count: usize) -> Option<Vec<Option<Vec<u8>>>> {
    let Value::Array(found) = answer else { return None };
    let bytes = |value| match value {
        Value::BulkString(bytes) => Some(bytes),
        _ => None,
    };
    (found.len() == count).then(|| found.into_iter().map(bytes).collect())
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
        let link = match &self.target {
            Target::One(link) => link,
            Target::Cluster(_) => return self.gather(keys).await,
        };
        let answer = one(link, cmd("MGET").arg(self.names(keys))).await?;
        values(answer, keys.len()).ok_or_else(|| TierError::new("it answered something else"))
    }

    async fn put(&self, values: &[TierValue]) -> Result<(), TierError> {
        let sets = values.iter().map(|value| {
            let options = match value.life {
                Life::For(life) => SetOptions::default().with_expiration(SetExpiry::PX(millis(life))),
                _ => SetOptions::default()
                    .conditional_set(ExistenceCheck::XX)
                    .with_expiration(SetExpiry::KEEPTTL),
            };
            self.named("SET", &value.key, |set| {
                set.arg(&value.bytes).arg(options);
            })
        });
        self.writes
            .each(sets.collect())
            .await?
            .into_iter()
            .collect::<Result<Vec<_>, _>>()?;
        Ok(())
    }

    async fn delete(&self, keys: &[TierKey]) -> Result<(), TierError> {
        if keys.is_empty() {
            return Ok(());
        }
        let link = match &self.writes {
            Target::One(link) => link,
            Target::Cluster(cluster) => return self.owed.delete(cluster, self.names(keys)).await,
        };
        one(link, cmd("DEL").arg(self.names(keys))).await.map(drop)
    }

    async fn lease(&self, key: &TierKey, length: Duration) -> Result<bool, TierError> {
        let options = SetOptions::default()
            .conditional_set(ExistenceCheck::NX)
            .with_expiration(SetExpiry::PX(millis(length)));
        let take = self.named("SET", key, |take| {
            take.arg(1).arg(options);
        });
        let taken = self.target.each(vec![take]).await?.pop();
        let taken = taken.ok_or_else(|| TierError::new("there is no answer"))??;
        // Where the node that would know fails, whoever asks loads: nobody waits for somebody who cannot be told of.
        Ok(taken != Some(Value::Nil))
    }

    async fn ring(&self) -> Result<(), TierError> {
        self.target.publish(&self.bell()).await
    }

    async fn listen(&self) -> Result<Option<Box<dyn Bell>>, TierError> {
        let channel = self.bell();
        let subscribed = self.target.pubsub(&channel).await?;
        let bell = RedisBell::new(subscribed, channel, self.connect_timeout).await?;
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
    use crate::slots::slot_of;
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
        assert_eq!(name(Some("acme"), "0f-load"), "p:b:{p:t:acme:0f}-load");
    }

    #[test]
    fn what_is_beside_an_answer_is_in_its_slot_and_no_two_names_are_one() {
        let tier = RedisTier::new("redis://localhost", RedisOptions::new()).unwrap();
        let mut names = std::collections::BTreeSet::new();
        let tenants = [
            "acme",
            "a:b",
            "a{x}",
            "{x}:y{z",
            "b:{ci-cache:t:acme",
            "t:acme",
            "a}",
        ];
        for tenant in tenants {
            let name = |name: &str| tier.name(&TierKey::new(TenantId::new(tenant).ok(), name));
            let (answer, lease) = (name("0f"), name("0f-load"));
            let is_odd = tenant.find('}').is_some_and(|at| !tenant[..at].contains('{'));
            assert!(is_odd || slot_of(&answer) == slot_of(&lease), "{answer} {lease}");
            assert!(names.insert(answer) && names.insert(lease), "{tenant}");
        }
        assert!(names.iter().all(|name| name.starts_with("ci-cache:")));
    }

    #[test]
    fn what_is_wrong_is_told_without_secrets() {
        for address in ["", "http://host", "redis://:hunter2@", "hunter2"] {
            let error = RedisTier::new(address, RedisOptions::new()).unwrap_err();
            assert!(matches!(error, Error::Address { .. }), "{address}");
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
