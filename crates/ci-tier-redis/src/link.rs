//! The connection: made in the background, shared by all calls, given up when it does not answer.
//!
//! ```text
//! caller (25 ms)                background (2 s)
//! no connection: begins one
//! waits, its time is over       handshake goes on
//!                               connected
//! next caller: asks at once
//! ```
//!
//! A call that is dropped before its answer, because its time is over, is a silence. A server that is paused, or a network that swallows
//! what is sent, closes no connection, so after several silences in a row a new one is made.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ci_runner::tier::TierError;
use redis::AsyncConnectionConfig;
use redis::aio::MultiplexedConnection;
use tokio::sync::watch;

/// Silences in a row after which the connection is given up.
const SILENCES: u32 = 5;
/// A call that nobody bounds ends after this.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// Where the connection is.
#[derive(Clone)]
enum State {
    /// There is none, and why.
    Down(&'static str),
    /// It is being made.
    Connecting,
    /// It is there.
    Up(Connection),
}

/// One of the connections that there have been.
#[derive(Clone)]
struct Connection {
    number: u64,
    connection: MultiplexedConnection,
}

/// The connection to one server.
pub(crate) struct Link(Arc<Inner>);

struct Inner {
    client: redis::Client,
    connect_timeout: Duration,
    state: watch::Sender<State>,
    silences: AtomicU32,
}

impl Link {
    pub(crate) fn new(client: redis::Client, connect_timeout: Duration) -> Self {
        Self(Arc::new(Inner {
            client,
            connect_timeout,
            state: watch::Sender::new(State::Down("not connected yet")),
            silences: AtomicU32::new(0),
        }))
    }

    /// Makes a call on the connection, and one first if there is none.
    ///
    /// Cancel safe; being dropped before the answer counts as a silence.
    pub(crate) async fn call<T>(
        &self,
        call: impl AsyncFnOnce(MultiplexedConnection) -> redis::RedisResult<T>,
    ) -> Result<T, TierError> {
        let Connection { number, connection } = self.connection().await?;
        let silence = Silence {
            link: &self.0,
            number,
        };
        let answered = call(connection).await;
        std::mem::forget(silence);
        self.0.silences.store(0, Ordering::Relaxed);
        answered.map_err(|error| {
            if error.is_unrecoverable_error() || error.is_timeout() {
                self.0.give_up(number);
            }
            TierError::new(error.category())
        })
    }

    /// Makes another connection to the same server, to be told what is published there.
    pub(crate) async fn subscriber(&self) -> redis::RedisResult<redis::aio::PubSub> {
        self.0.client.get_async_pubsub().await
    }

    /// How long making a connection may take.
    pub(crate) fn connect_timeout(&self) -> Duration {
        self.0.connect_timeout
    }

    async fn connection(&self) -> Result<Connection, TierError> {
        let mut states = self.0.state.subscribe();
        let begins = self.0.state.send_if_modified(|state| {
            let down = matches!(state, State::Down(_));
            if down {
                *state = State::Connecting;
            }
            down
        });
        if begins {
            tokio::spawn(connect(Arc::clone(&self.0)));
        }
        let settled = states.wait_for(|state| !matches!(state, State::Connecting)).await;
        match settled.map(|state| state.clone()) {
            Ok(State::Up(connection)) => Ok(connection),
            Ok(State::Down(why)) => Err(TierError::new(why)),
            Ok(State::Connecting) | Err(_) => Err(TierError::new("the connection was given up")),
        }
    }
}

/// Makes a connection. Should the task be lost, nobody waits for it for ever: the state goes down with it.
async fn connect(inner: Arc<Inner>) {
    struct Attempt<'a>(&'a Inner, State);
    impl Drop for Attempt<'_> {
        fn drop(&mut self) {
            self.0.state.send_replace(self.1.clone());
        }
    }
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let mut attempt = Attempt(&inner, State::Down("the attempt to connect was lost"));
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(inner.connect_timeout))
        .set_response_timeout(Some(ANSWER_TIMEOUT));
    let made = inner.client.get_multiplexed_async_connection_with_config(&config);
    attempt.1 = match tokio::time::timeout(inner.connect_timeout, made).await {
        Ok(Ok(connection)) => {
            inner.silences.store(0, Ordering::Relaxed);
            State::Up(Connection {
                number: NEXT.fetch_add(1, Ordering::Relaxed),
                connection,
            })
        }
        Ok(Err(error)) => {
            tracing::debug!(category = error.category(), "cannot connect to the shared tier");
            State::Down("cannot connect")
        }
        Err(_) => State::Down("connecting takes too long"),
    };
}

impl Inner {
    /// Has the next call make another connection, if this one is still used.
    fn give_up(&self, number: u64) {
        self.state.send_if_modified(|state| {
            let is_it = matches!(state, State::Up(up) if up.number == number);
            if is_it {
                *state = State::Down("the connection broke");
            }
            is_it
        });
    }
}

/// A call that has no answer yet.
struct Silence<'a> {
    link: &'a Inner,
    number: u64,
}

impl Drop for Silence<'_> {
    fn drop(&mut self) {
        if self.link.silences.fetch_add(1, Ordering::Relaxed) + 1 >= SILENCES {
            self.link.silences.store(0, Ordering::Relaxed);
            self.link.give_up(self.number);
        }
    }
}
