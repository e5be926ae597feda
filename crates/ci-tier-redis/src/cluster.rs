//! A cluster: each name is asked of the node that has its slot, over a [`Link`] to each node.
//!
//! A link for each node, and a command for each name, so that a node which is down, slow or paused costs what it has and nothing else:
//! calls to the others go on, its silences are counted for it alone, and no answer can come to stand for another name.
//!
//! Who has what is asked in the background, of several nodes at a time. It is asked again after a trouble: a node said that a slot has
//! moved, a connection was lost, or could not be made. Meanwhile what was known is used, and a call follows one redirection.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use ci_runner::tier::TierError;
use futures_util::future::join_all;
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use redis::aio::PubSub;
use redis::{Cmd, RedisResult, Value, cmd};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::address::Place;
use crate::link::Link;
use crate::server::{Manner, Server, dial};
use crate::slots::{Redirect, Slots};

/// Nodes that are asked at a time who has what: two that hang hold nobody up.
const ASKED: usize = 3;
/// Shortest time between two such questions: a node that stays away is a trouble of every call.
const PAUSE: Duration = Duration::from_millis(250);

/// A command, and the slot of the name in it.
pub(crate) struct Slotted {
    pub(crate) slot: u16,
    pub(crate) command: Cmd,
}

/// The nodes of a cluster.
#[derive(Clone)]
pub(crate) struct Cluster(Arc<Inner>);

struct Inner {
    /// The nodes that the address names: where to ask at first, and when none of the others answers.
    seeds: Vec<Place>,
    manner: Manner,
    connect_timeout: Duration,
    map: watch::Sender<Map>,
    links: Mutex<HashMap<Place, Link>>,
    /// Raised by links, and by redirections.
    troubles: Arc<AtomicU64>,
    /// Which node is asked first, in turn: one that is cut off from the others tells what was.
    turn: AtomicUsize,
}

/// What is known of who has what.
struct Map {
    slots: Option<Arc<Slots>>,
    is_asked: bool,
    /// Why nothing is known.
    why: &'static str,
    /// The troubles there had been before it was asked.
    troubles: u64,
    /// When it was asked last.
    at: Option<Instant>,
}

impl Cluster {
    pub(crate) fn new(seeds: Vec<Place>, manner: Manner, connect_timeout: Duration) -> Self {
        Self(Arc::new(Inner {
            seeds,
            manner,
            connect_timeout,
            map: watch::Sender::new(Map {
                slots: None,
                is_asked: false,
                why: "not connected yet",
                troubles: 0,
                at: None,
            }),
            links: Mutex::default(),
            troubles: Arc::default(),
            turn: AtomicUsize::new(0),
        }))
    }

    /// Sends each command to the node that has its slot, all before the first is answered. The answers come in the order of the commands.
    ///
    /// Cancel safe; being dropped counts as a silence for each node that has not answered.
    pub(crate) async fn each(&self, asked: &[Slotted]) -> Result<Vec<Result<Value, TierError>>, TierError> {
        let slots = self.slots().await?;
        let mut nodes = BTreeMap::<&Place, Vec<usize>>::new();
        let mut answers: Vec<Answer> = asked.iter().map(|_| Answer::nobody()).collect();
        for (which, Slotted { slot, .. }) in asked.iter().enumerate() {
            match slots.owner(*slot) {
                Some(place) => nodes.entry(place).or_default().push(which),
                None => self.trouble(),
            }
        }
        let calls = nodes.iter().map(|(place, which)| async move {
            let commands: Vec<&Cmd> = which.iter().map(|which| &asked[*which].command).collect();
            self.ask(place, &commands).await
        });
        for (which, answered) in nodes.values().zip(join_all(calls).await) {
            for (which, answer) in which.iter().zip(answered) {
                answers[*which] = answer;
            }
        }
        let followed = answers.into_iter().zip(asked).map(|(answer, asked)| async {
            match answer {
                Answer::Final(answer) => answer,
                Answer::Elsewhere(redirect) => self.follow(redirect, &asked.command).await,
            }
        });
        Ok(join_all(followed).await)
    }

    /// Sends commands to one node; an answer to each, in their order.
    async fn ask(&self, place: &Place, commands: &[&Cmd]) -> Vec<Answer> {
        let answered = match self.link(place) {
            Ok(link) => link.each(commands).await,
            Err(error) => Err(error),
        };
        match answered {
            Ok(answers) => answers
                .into_iter()
                .map(|answer| Answer::of(answer, place))
                .collect(),
            Err(error) => commands
                .iter()
                .map(|_| Answer::Final(Err(error.clone())))
                .collect(),
        }
    }

    /// Asks once more, where a node says that a name is.
    async fn follow(&self, redirect: Redirect, command: &Cmd) -> Result<Value, TierError> {
        let answer = match &redirect {
            Redirect::Moved(place) => {
                self.trouble();
                let answers = self.link(place)?.each(&[command]).await?.pop();
                answers.ok_or_else(|| TierError::new("there is no answer"))?
            }
            Redirect::Ask(place) => self.link(place)?.asking(command).await?,
        };
        answer.map_err(|error| TierError::new(error.category()))
    }

    /// Asks every node for a sign of life.
    pub(crate) async fn ping(&self) -> Result<(), TierError> {
        let slots = self.slots().await?;
        let ping = cmd("PING");
        let pings = slots.places().into_iter().map(|place| {
            let (link, ping) = (self.link(place), &ping);
            async move {
                let answers = link?.each(&[ping]).await?;
                let failed = answers.into_iter().find_map(Result::err);
                failed.map_or(Ok(()), |error| Err(TierError::new(error.category())))
            }
        });
        join_all(pings).await.into_iter().collect()
    }

    /// Connects once more, to any node, to hear what is published: a cluster tells all its nodes.
    ///
    /// # Errors
    /// When it cannot within the time that a connection may take.
    pub(crate) async fn pubsub(&self) -> Result<PubSub, TierError> {
        let end = Instant::now() + self.0.connect_timeout;
        let known = self.0.map.borrow().slots.clone();
        let places = self.0.places(known.as_deref());
        let ways = (1..=u32::try_from(places.len()).unwrap_or(u32::MAX)).rev();
        for (place, left) in places.iter().zip(ways) {
            let share = end.saturating_duration_since(Instant::now()) / left;
            if let Ok(Ok(made)) = timeout(share, self.link(place)?.pubsub()).await {
                return Ok(made);
            }
        }
        Err(TierError::new("no node of the cluster can be connected to"))
    }

    /// Who has what, as far as it is known; waits for the first word alone.
    async fn slots(&self) -> Result<Arc<Slots>, TierError> {
        let mut maps = self.0.map.subscribe();
        let troubles = self.0.troubles.load(Ordering::Relaxed);
        let begins = self.0.map.send_if_modified(|map| {
            let is_rested = map.at.is_none_or(|at| at.elapsed() >= PAUSE);
            let wanted = map.slots.is_none() || (map.troubles != troubles && is_rested);
            let begins = wanted && !map.is_asked;
            map.is_asked |= begins;
            begins
        });
        if begins {
            tokio::spawn(learn(Arc::clone(&self.0), troubles));
        }
        let settled = maps.wait_for(|map| map.slots.is_some() || !map.is_asked).await;
        let settled = settled.map_err(|_| TierError::new("the cluster was given up"))?;
        settled.slots.clone().ok_or_else(|| TierError::new(settled.why))
    }

    fn link(&self, place: &Place) -> Result<Link, TierError> {
        let mut links = self.0.links.lock();
        if let Some(link) = links.get(place) {
            return Ok(link.clone());
        }
        let client = self.0.manner.client(place);
        let client = client.map_err(|error| TierError::new(error.category()))?;
        let link = Link::new(
            Server::Named(client),
            self.0.connect_timeout,
            Arc::clone(&self.0.troubles),
        );
        links.insert(place.clone(), link.clone());
        Ok(link)
    }

    fn trouble(&self) {
        self.0.troubles.fetch_add(1, Ordering::Relaxed);
    }
}

/// What a command was answered at first.
enum Answer {
    Final(Result<Value, TierError>),
    Elsewhere(Redirect),
}

impl Answer {
    fn of(answer: RedisResult<Value>, told: &Place) -> Self {
        match answer {
            Ok(value) => Self::Final(Ok(value)),
            Err(error) => match Redirect::of(&error, told) {
                Some(redirect) => Self::Elsewhere(redirect),
                None => Self::Final(Err(TierError::new(error.category()))),
            },
        }
    }

    fn nobody() -> Self {
        Self::Final(Err(TierError::new("no node of the cluster has the slot")))
    }
}

/// Asks who has what. Should the task be lost, nobody waits for it for ever.
async fn learn(inner: Arc<Inner>, troubles: u64) {
    struct Attempt<'a>(&'a Inner, Result<Slots, &'static str>, u64);
    impl Drop for Attempt<'_> {
        fn drop(&mut self) {
            let learned = std::mem::replace(&mut self.1, Err(""));
            self.0.map.send_modify(|map| {
                map.is_asked = false;
                map.at = Some(Instant::now());
                match learned {
                    Ok(slots) => (map.slots, map.troubles) = (Some(Arc::new(slots)), self.2),
                    Err(why) => map.why = why,
                }
            });
        }
    }
    let known = inner.map.borrow().slots.clone();
    let mut attempt = Attempt(
        &inner,
        Err("asking a cluster who has what takes too long"),
        troubles,
    );
    let words = stream::iter(inner.places(known.as_deref()))
        .map(|place| inner.ask(place))
        .buffer_unordered(ASKED)
        .filter_map(async |word| word);
    let first = timeout(inner.connect_timeout, Box::pin(words).next()).await;
    if let Ok(first) = first {
        attempt.1 = first.ok_or("no node of the cluster tells who has what");
    }
    if let Ok(slots) = &attempt.1 {
        // Calls under way have clones.
        let places = slots.places();
        inner.links.lock().retain(|place, _| places.contains(place));
    }
}

impl Inner {
    /// All nodes that are known, beginning with another one each time, and the seeds behind them.
    fn places(&self, known: Option<&Slots>) -> Vec<Place> {
        let known: BTreeSet<&Place> = known.map(Slots::places).unwrap_or_default();
        let seeds = self.seeds.iter().filter(|seed| !known.contains(seed));
        let mut places: Vec<Place> = known.iter().copied().chain(seeds).cloned().collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let round = if known.is_empty() {
            places.len()
        } else {
            known.len()
        };
        places[..round].rotate_left(turn % round.max(1));
        places
    }

    /// Asks one node, within half of the time: three that hang leave time for three others.
    async fn ask(&self, place: Place) -> Option<Slots> {
        let share = self.connect_timeout / 2;
        let asked = async {
            let mut connection = dial(&self.manner.client(&place)?, share).await?;
            cmd("CLUSTER")
                .arg("SLOTS")
                .query_async::<Value>(&mut connection)
                .await
        };
        match timeout(share, asked).await {
            Ok(Ok(answer)) => Slots::read(answer, &place),
            Ok(Err(error)) => {
                tracing::debug!(category = error.category(), "cannot ask a node of the cluster");
                None
            }
            Err(_) => {
                tracing::debug!("a node of the cluster takes too long");
                None
            }
        }
    }
}
