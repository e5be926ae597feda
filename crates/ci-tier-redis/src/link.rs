//! The connection to a server: made in the background, shared by all calls, given up when it does not answer.
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
//!
//! A server that takes no writes is given up as well: the name that led to it, or a sentinel, may lead to another one by now.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use ci_runner::tier::TierError;
use futures_util::future::join_all;
use redis::aio::{MultiplexedConnection, PubSub};
use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, pipe};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::server::Server;

/// Silences in a row after which the connection is given up.
const SILENCES: u32 = 5;

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

/// The connection to one server, or to the one of several that takes writes.
#[derive(Clone)]
pub(crate) struct Link(Arc<Inner>);

struct Inner {
    server: Server,
    connect_timeout: Duration,
    state: watch::Sender<State>,
    silences: AtomicU32,
    /// How often a connection was lost or could not be made: whoever routes calls over several links looks whether it grows.
    troubles: Arc<AtomicU64>,
}

/// What each command of a call was answered.
pub(crate) type Answers = Vec<RedisResult<Value>>;

impl Link {
    pub(crate) fn new(server: Server, connect_timeout: Duration, troubles: Arc<AtomicU64>) -> Self {
        Self(Arc::new(Inner {
            server,
            connect_timeout,
            state: watch::Sender::new(State::Down("not connected yet")),
            silences: AtomicU32::new(0),
            troubles,
        }))
    }

    /// Sends commands, all before the first is answered; makes a connection first if there is none. The answers come in the order of the
    /// commands.
    ///
    /// Cancel safe; being dropped before the last answer counts as a silence.
    pub(crate) async fn each(&self, commands: &[&Cmd]) -> Result<Answers, TierError> {
        let Connection { number, connection } = self.connection().await?;
        let all = commands.iter().map(|command| {
            let mut connection = connection.clone();
            async move { command.query_async::<Value>(&mut connection).await }
        });
        Ok(self.heard(number, join_all(all)).await)
    }

    /// Sends a command to the node that is about to get what it names, which answers it only when it is asked to.
    ///
    /// Cancel safe; being dropped before the answer counts as a silence.
    pub(crate) async fn asking(&self, command: &Cmd) -> Result<RedisResult<Value>, TierError> {
        let Connection {
            number,
            mut connection,
        } = self.connection().await?;
        let mut both = pipe();
        both.cmd("ASKING").ignore().add_command(command.clone());
        let answer = async {
            let answers: RedisResult<Vec<Value>> = both.query_async(&mut connection).await;
            vec![answers.map(|mut answers| answers.pop().unwrap_or(Value::Nil))]
        };
        let answer = self.heard(number, answer).await.pop();
        answer.ok_or_else(|| TierError::new("there is no answer"))
    }

    /// Connects once more, to hear what is published.
    ///
    /// # Errors
    /// When it cannot within the time that a connection may take.
    pub(crate) async fn pubsub(&self) -> Result<PubSub, TierError> {
        let limit = self.0.connect_timeout;
        let made = timeout(limit, async {
            let client = match &self.0.server {
                Server::Named(client) => client.clone(),
                Server::Watched(_) => self.0.server.connect(limit).await.map_err(TierError::new)?.0,
            };
            let made = client.get_async_pubsub().await;
            made.map_err(|error| TierError::new(error.category()))
        });
        made.await
            .unwrap_or_else(|_| Err(TierError::new("connecting takes too long")))
    }

    /// Waits for answers, and gives the connection up if they tell that it is of no use.
    async fn heard(&self, number: u64, answers: impl Future<Output = Answers>) -> Answers {
        let silence = Silence {
            link: &self.0,
            number,
        };
        let answers = answers.await;
        std::mem::forget(silence);
        self.0.silences.store(0, Ordering::Relaxed);
        if answers
            .iter()
            .any(|answer| answer.as_ref().is_err_and(is_of_no_use))
        {
            self.0.give_up(number);
        }
        answers
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

/// Whether an error says that the connection broke, or that its server is not one that takes writes.
fn is_of_no_use(error: &RedisError) -> bool {
    let takes_no_writes = matches!(
        error.kind(),
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown)
    );
    takes_no_writes || error.is_unrecoverable_error() || error.is_timeout()
}

/// Makes a connection. Should the task be lost, nobody waits for it for ever: the state goes down with it.
async fn connect(inner: Arc<Inner>) {
    struct Attempt<'a>(&'a Inner, State);
    impl Drop for Attempt<'_> {
        fn drop(&mut self) {
            if !matches!(self.1, State::Up(_)) {
                self.0.troubles.fetch_add(1, Ordering::Relaxed);
            }
            self.0.state.send_replace(self.1.clone());
        }
    }
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let mut attempt = Attempt(&inner, State::Down("the attempt to connect was lost"));
    attempt.1 = match inner.server.connect(inner.connect_timeout).await {
        Ok((_, connection)) => {
            inner.silences.store(0, Ordering::Relaxed);
            State::Up(Connection {
                number: NEXT.fetch_add(1, Ordering::Relaxed),
                connection,
            })
        }
        Err(why) => State::Down(why),
    };
}

impl Inner {
    /// Has the next call make another connection, if this one is still used.
    fn give_up(&self, number: u64) {
        let given_up = self.state.send_if_modified(|state| {
            let is_it = matches!(state, State::Up(up) if up.number == number);
            if is_it {
                *state = State::Down("the connection broke");
            }
            is_it
        });
        if given_up {
            self.troubles.fetch_add(1, Ordering::Relaxed);
        }
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
