//! What the address of a tier leads to: one server at a time, or a cluster.

use std::sync::Arc;

use ci_runner::tier::TierError;
use redis::aio::PubSub;
use redis::{Cmd, Value, cmd};

use crate::address::{self, Address, Parsed};
use crate::cluster::{Cluster, MaybeAnswer, Slotted};
use crate::link::Link;
use crate::server::{Manner, Sentinels, Server};
use crate::slots::slot_of;
use crate::tls::Encryption;
use crate::words;
use crate::{Error, RedisOptions};

/// Where commands go. Clones share connections.
#[derive(Clone)]
pub(crate) enum Target {
    /// To one server at a time: the one that is named, or whichever sentinels name.
    One(Link),
    /// To whoever has the name that they are about.
    Cluster(Cluster),
}

/// A command about one name.
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) command: Cmd,
}

impl Target {
    /// Reads an address; connects later.
    pub(crate) fn new(address: &str, options: &RedisOptions) -> Result<Self, Error> {
        let Parsed {
            address,
            is_encrypted,
        } = address::parse(address)?;
        let encryption = Encryption::of(&options.certificates, is_encrypted)?;
        let limit = options.connect_timeout;
        let server = match address {
            Address::Cluster { nodes, account } => {
                let manner = Manner::new(&account, 0, &encryption, is_encrypted);
                return Ok(Self::Cluster(Cluster::new(nodes, manner, limit)));
            }
            Address::One(info) => Server::Named(encryption.client(info).map_err(|_| Error::unread())?),
            Address::Sentinel(watched) => {
                Server::Watched(Sentinels::new(&watched, &encryption, is_encrypted)?)
            }
        };
        Ok(Self::One(Link::new(server, limit, Arc::default())))
    }

    /// Sends commands about one name each; answers in their order, none for what is of a node of a cluster that fails while others do not.
    pub(crate) async fn each(&self, named: Vec<Named>) -> Result<Vec<MaybeAnswer>, TierError> {
        match self {
            Self::One(link) => {
                let commands: Vec<&Cmd> = named.iter().map(|named| &named.command).collect();
                let answers = link.each(&commands).await?;
                let read = answers
                    .into_iter()
                    .map(|answer| answer.map(Some).map_err(|error| words::told(&error)));
                Ok(read.collect())
            }
            Self::Cluster(cluster) => {
                let slotted = named.into_iter().map(|Named { name, command }| Slotted {
                    slot: slot_of(&name),
                    command,
                });
                cluster.each(&slotted.collect::<Vec<_>>()).await
            }
        }
    }

    /// Asks for a sign of life: one round trip, to all nodes of a cluster at once.
    pub(crate) async fn ping(&self) -> Result<(), TierError> {
        match self {
            Self::One(link) => one(link, &cmd("PING")).await.map(drop),
            Self::Cluster(cluster) => cluster.ping().await,
        }
    }

    /// Publishes on a channel: at the server, at the one that takes writes now, or at a node of a cluster.
    ///
    /// # Errors
    /// When it did not answer, or refused.
    pub(crate) async fn publish(&self, channel: &str) -> Result<(), TierError> {
        let mut publish = cmd("PUBLISH");
        publish.arg(channel).arg("");
        match self {
            Self::One(link) => one(link, &publish).await.map(drop),
            Self::Cluster(cluster) => cluster.publish(slot_of(channel), &publish).await,
        }
    }

    /// Connects once more, to hear what is [published](Self::publish) on a channel.
    ///
    /// # Errors
    /// When it cannot within the time that a connection may take.
    pub(crate) async fn pubsub(&self, channel: &str) -> Result<PubSub, TierError> {
        match self {
            Self::One(link) => link.pubsub().await,
            Self::Cluster(cluster) => cluster.pubsub(slot_of(channel)).await,
        }
    }
}

/// Sends one command.
pub(crate) async fn one(link: &Link, command: &Cmd) -> Result<Value, TierError> {
    let answer = link.each(&[command]).await?.pop();
    let answer = answer.ok_or_else(|| TierError::new("there is no answer"))?;
    answer.map_err(|error| words::told(&error))
}
