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
//! what is sent, closes no connection, so after several silences in a row a new one is made. Nobody waits for that one: a server that swallows
//! what is sent swallows the handshake, too, and each call would wait for all its time. Calls fail at once until the attempt that is under way,
//! or a later one, succeeds.
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

use crate::server::{Away, Server};
use crate::words;

/// Silences in a row after which the connection is given up.
const SILENCES: u32 = 5;
const BROKE: &str = "the connection broke";

/// Where the connection is.
#[derive(Clone)]
enum State {
    /// Nobody has asked for one yet.
    New,
    /// There is none, and why.
    Down(Away),
    /// It is being made; why the one before was lost or could not be made, if there was one.
    Connecting(Option<Away>),
    /// It is there.
    Up(Connection),
}

impl State {
    /// Whether a call is to wait for what comes of it: not behind a server that swallowed what was sent, lest each call wait for as long as
    /// its attempts last. One that refused, or broke off, tells at once whether it is back.
    fn is_awaited(&self) -> bool {
        matches!(self, Self::Connecting(before) if before.is_none_or(|before| !before.is_silent))
    }
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
            state: watch::Sender::new(State::New),
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
                Server::Watched(_) => {
                    let found = self.0.server.connect(limit).await;
                    found.map_err(|away| TierError::new(away.why))?.0
                }
            };
            let made = client.get_async_pubsub().await;
            made.map_err(|error| words::told(&error))
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
        let mut errors = answers.iter().filter_map(|answer| answer.as_ref().err());
        if let Some(error) = errors.find(|error| is_of_no_use(error)) {
            self.0.give_up(number, BROKE, error.is_timeout());
        }
        answers
    }

    /// Whether the last that is known of the server is that it cannot be reached.
    pub(crate) fn is_away(&self) -> bool {
        matches!(
            &*self.0.state.borrow(),
            State::Down(_) | State::Connecting(Some(_))
        )
    }

    async fn connection(&self) -> Result<Connection, TierError> {
        let mut states = self.0.state.subscribe();
        let begins = self.0.state.send_if_modified(|state| {
            let before = match state {
                State::New => None,
                State::Down(away) => Some(*away),
                State::Connecting(_) | State::Up(_) => return false,
            };
            *state = State::Connecting(before);
            true
        });
        if begins {
            tokio::spawn(connect(Attempt::new(Arc::clone(&self.0))));
        }
        let settled = states.wait_for(|state| !state.is_awaited()).await;
        match settled.map(|state| state.clone()) {
            Ok(State::Up(connection)) => Ok(connection),
            Ok(State::Down(away) | State::Connecting(Some(away))) => Err(TierError::new(away.why)),
            Ok(State::New | State::Connecting(None)) | Err(_) => {
                Err(TierError::new("the connection was given up"))
            }
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

/// An attempt to connect, from before its task begins: should that be lost, even before its first step, nobody waits for it for ever, and the
/// state goes down with it.
struct Attempt {
    inner: Arc<Inner>,
    /// What comes of it.
    end: State,
}

impl Attempt {
    fn new(inner: Arc<Inner>) -> Self {
        let lost = Away {
            why: "the attempt to connect was lost",
            is_silent: false,
        };
        Self {
            inner,
            end: State::Down(lost),
        }
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        if !matches!(self.end, State::Up(_)) {
            self.inner.troubles.fetch_add(1, Ordering::Relaxed);
        }
        self.inner.state.send_replace(self.end.clone());
    }
}

/// Makes a connection.
async fn connect(mut attempt: Attempt) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let inner = &attempt.inner;
    attempt.end = match inner.server.connect(inner.connect_timeout).await {
        Ok((_, connection)) => {
            inner.silences.store(0, Ordering::Relaxed);
            State::Up(Connection {
                number: NEXT.fetch_add(1, Ordering::Relaxed),
                connection,
            })
        }
        Err(away) => State::Down(away),
    };
}

impl Inner {
    /// Has the next call make another connection, if this one is still used.
    fn give_up(&self, number: u64, why: &'static str, is_silent: bool) {
        let given_up = self.state.send_if_modified(|state| {
            let is_it = matches!(state, State::Up(up) if up.number == number);
            if is_it {
                *state = State::Down(Away { why, is_silent });
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
            self.link.give_up(self.number, "it does not answer", true);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    fn link() -> Link {
        let client = redis::Client::open("redis+unix:///nowhere/at/all").unwrap();
        Link::new(Server::Named(client), Duration::from_secs(2), Arc::default())
    }

    #[test]
    fn an_attempt_that_is_lost_before_its_first_step_holds_nobody_up() {
        let link = link();
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let mut asked = pin!(link.connection());
            {
                let _entered = runtime.enter();
                let mut context = Context::from_waker(Waker::noop());
                assert!(asked.as_mut().poll(&mut context).is_pending());
            }
            // Its tasks end with it; none of them has begun.
            drop(runtime);
            let other = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let error = other.block_on(asked).err().unwrap().to_string();
            assert!(error.contains("was lost"), "{error}");
            assert!(link.is_away());
        }
        assert_eq!(link.0.troubles.load(Ordering::Relaxed), 2);
    }

    #[tokio::test]
    async fn what_refuses_is_waited_for_and_what_swallows_is_not() {
        let link = link();
        assert!(!link.is_away(), "nobody has tried");
        for _ in 0..2 {
            let error = link.connection().await.err().unwrap().to_string();
            assert!(error.contains("cannot connect"), "{error}");
            assert!(link.is_away());
        }
        let silent = Away {
            why: "it does not answer",
            is_silent: true,
        };
        link.0.state.send_replace(State::Down(silent));
        // Begins an attempt, whose task cannot take a step meanwhile.
        for _ in 0..2 {
            let error = futures_util::FutureExt::now_or_never(link.connection());
            let error = error.unwrap().err().unwrap().to_string();
            assert!(error.contains("it does not answer"), "{error}");
            assert!(matches!(*link.0.state.borrow(), State::Connecting(Some(_))));
        }
    }
}
