//! A server that takes writes: one that the address names, or the one that sentinels name now.
//!
//! Sentinels are asked each time a connection is made, in their order, and whom one of them names is asked for its role: for a while after
//! a failover a sentinel may still name the server that was, which is down, hangs, or is a replica by then. Whatever goes wrong on the
//! way through one sentinel leads to the next one. Each way has its share of the time that is left.

use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ErrorKind, IntoConnectionInfo as _, RedisConnectionInfo,
    RedisResult, ServerErrorKind, Value, cmd,
};
use tokio::time::{Instant, timeout};

use crate::Error;
use crate::address::{Account, Place, Watched};
use crate::tls::Encryption;
use crate::words;

/// A call that nobody bounds ends after this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How servers of a kind are spoken to: by whom, and whether encrypted.
#[derive(Clone)]
pub(crate) struct Manner {
    settings: RedisConnectionInfo,
    encryption: Encryption,
    is_encrypted: bool,
}

impl Manner {
    pub(crate) fn new(account: &Account, db: i64, encryption: &Encryption, is_encrypted: bool) -> Self {
        Self {
            settings: account.settings(db),
            encryption: encryption.clone(),
            is_encrypted,
        }
    }

    /// What connects to the server at a place.
    pub(crate) fn client(&self, place: &Place) -> RedisResult<Client> {
        let (host, port) = (place.host.clone(), place.port);
        let address = if self.is_encrypted {
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure: false,
                tls_params: None,
            }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let info = address.into_connection_info()?;
        self.encryption
            .client(info.set_redis_settings(self.settings.clone()))
    }
}

/// Connects to a server.
pub(crate) async fn dial(client: &Client, limit: Duration) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(limit))
        .set_response_timeout(Some(ANSWER_TIMEOUT));
    client.get_multiplexed_async_connection_with_config(&config).await
}

/// What leads to a server that takes writes.
pub(crate) enum Server {
    /// Always the same.
    Named(Client),
    /// Whoever is named by sentinels.
    Watched(Sentinels),
}

/// Why there is no connection to a server.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Away {
    /// In words for people, without addresses.
    pub(crate) why: &'static str,
    /// Whether that took all the time that there was: it will next time, too.
    pub(crate) is_silent: bool,
}

/// A server that was found, and a connection to it.
type Found = (Client, MultiplexedConnection);

impl Server {
    /// Finds the server and connects to it within a time.
    ///
    /// # Errors
    /// Why not.
    pub(crate) async fn connect(&self, limit: Duration) -> Result<Found, Away> {
        match self {
            Self::Named(client) => match timeout(limit, dial(client, limit)).await {
                Ok(Ok(connection)) => Ok((client.clone(), connection)),
                Ok(Err(error)) => {
                    tracing::debug!(why = words::of(&error), "cannot connect to the shared tier");
                    Err(Away {
                        why: words::of_account(&error).unwrap_or("cannot connect"),
                        is_silent: error.is_timeout(),
                    })
                }
                Err(_) => Err(Away {
                    why: "connecting takes too long",
                    is_silent: true,
                }),
            },
            Self::Watched(sentinels) => sentinels.connect(limit).await,
        }
    }
}

/// The sentinels of a service.
pub(crate) struct Sentinels {
    /// What connects to each of them.
    asked: Vec<Client>,
    service: String,
    /// How the servers that they name are spoken to.
    manner: Manner,
}

impl Sentinels {
    pub(crate) fn new(watched: &Watched, encryption: &Encryption, is_encrypted: bool) -> Result<Self, Error> {
        let mut asking = Manner::new(&watched.sentinel_account, 0, encryption, is_encrypted);
        // An account that may do nothing but ask is enough.
        asking.settings = asking.settings.set_skip_set_lib_name();
        let sentinels: RedisResult<Vec<_>> = watched
            .sentinels
            .iter()
            .map(|place| asking.client(place))
            .collect();
        Ok(Self {
            asked: sentinels.map_err(|_| Error::unread())?,
            service: watched.service.clone(),
            manner: Manner::new(&watched.account, watched.db, encryption, is_encrypted),
        })
    }

    async fn connect(&self, limit: Duration) -> Result<Found, Away> {
        let mut away = Away {
            why: "no sentinel leads to a server that takes writes",
            is_silent: false,
        };
        let end = Instant::now() + limit;
        let ways = (1..=u32::try_from(self.asked.len()).unwrap_or(u32::MAX)).rev();
        for (sentinel, left) in self.asked.iter().zip(ways) {
            let share = end.saturating_duration_since(Instant::now()) / left;
            match timeout(share, self.through(sentinel, share)).await {
                Ok(Ok(Some(found))) => return Ok(found),
                Ok(Ok(None)) => tracing::debug!("a sentinel names no server that takes writes"),
                Ok(Err(error)) => {
                    tracing::debug!(why = words::of(&error), "cannot connect by a sentinel's word");
                    // What somebody has to mend is told before all that mends itself.
                    away.why = words::of_account(&error).unwrap_or(away.why);
                    away.is_silent |= error.is_timeout();
                }
                Err(_) => {
                    tracing::debug!("connecting by a sentinel's word takes too long");
                    away.is_silent = true;
                }
            }
        }
        Err(away)
    }

    /// Connects to the server that a sentinel names; none if it names none, or a replica.
    async fn through(&self, sentinel: &Client, share: Duration) -> RedisResult<Option<Found>> {
        let mut connection = dial(sentinel, share).await?;
        let named: Option<(String, u16)> = cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(&self.service)
            .query_async(&mut connection)
            .await?;
        drop(connection);
        let Some((host, port)) = named else {
            return Ok(None);
        };
        let client = self.manner.client(&Place { host, port })?;
        let mut connection = dial(&client, share).await?;
        Ok(takes_writes(&mut connection)
            .await?
            .then_some((client, connection)))
    }
}

/// Whether a server says that it is no replica. One that does not let the account ask is believed: its first `READONLY` tells.
async fn takes_writes(connection: &mut MultiplexedConnection) -> RedisResult<bool> {
    match cmd("ROLE").query_async::<Value>(connection).await {
        Ok(Value::Array(role)) => Ok(match role.first() {
            Some(Value::BulkString(name)) => name == b"master",
            Some(Value::SimpleString(name)) => name == "master",
            _ => false,
        }),
        Ok(_) => Ok(false),
        Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoPerm) => Ok(true),
        Err(error) => Err(error),
    }
}
