//! A cluster: each name is asked of the node that has its slot, over a [`Link`] to each node.
//!
//! A link for each node, and a command for each name, so that a node which is down, slow or paused costs what it has and nothing else:
//! calls to the others go on, its silences are counted for it alone, and no answer can come to stand for another name.
//!
//! Who has what is [asked](crate::learn) in the background. It is asked again after a trouble: a node said that a slot has moved or that the cluster
//! is down, a connection was lost, or could not be made. Meanwhile what was known is used, and a call follows one redirection.
//!
//! Whoever calls leaves the whole tier alone after some failures. So what a node that fails has is no failure as long as others may answer: it is
//! not there.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ci_runner::tier::TierError;
use futures_util::future::join_all;
use redis::aio::PubSub;
use redis::{Cmd, ErrorKind, RedisError, RedisResult, ServerErrorKind, Value, cmd};
use tokio::time::{Instant, timeout};

use crate::address::Place;
use crate::learn::Known;
use crate::link::Link;
use crate::server::{Manner, Server};
use crate::slots::{Redirect, Slots};
use crate::words;

/// What a command was answered; none if its node fails and others may answer.
pub(crate) type MaybeAnswer = Result<Option<Value>, TierError>;

/// A command, and the slot of the name in it.
pub(crate) struct Slotted {
    pub(crate) slot: u16,
    pub(crate) command: Cmd,
}

/// The nodes of a cluster.
#[derive(Clone)]
pub(crate) struct Cluster(Arc<Known>);

impl Cluster {
    pub(crate) fn new(seeds: Vec<Place>, manner: Manner, connect_timeout: Duration) -> Self {
        Self(Arc::new(Known::new(seeds, manner, connect_timeout)))
    }

    /// Sends each command to the node that has its slot, all before the first is answered. The answers come in the order of the commands.
    ///
    /// Cancel safe; being dropped counts as a silence for each node that has not answered.
    ///
    /// # Errors
    /// When nobody says who has what. For a command: when its node refuses it, or fails as all the others do.
    pub(crate) async fn each(&self, asked: &[Slotted]) -> Result<Vec<MaybeAnswer>, TierError> {
        let slots = self.0.slots().await?;
        let mut nodes = BTreeMap::<&Place, Vec<usize>>::new();
        let mut answers: Vec<Answer> = asked.iter().map(|_| Answer::nobody()).collect();
        for (which, Slotted { slot, .. }) in asked.iter().enumerate() {
            match slots.owner(*slot) {
                Some(place) => nodes.entry(place).or_default().push(which),
                None => self.0.trouble(),
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
        let answers = join_all(followed).await;
        let may_others = self.may_answer(&slots);
        let judged = answers.into_iter().map(|answer| match answer {
            Ok(value) => Ok(Some(value)),
            Err(Failed::Away(_)) if may_others => Ok(None),
            Err(Failed::Away(error) | Failed::Refused(error)) => Err(error),
        });
        Ok(judged.collect())
    }

    /// Whether there is a node of which it is not known that it fails.
    fn may_answer(&self, slots: &Slots) -> bool {
        let is_away = |place: &Place| self.0.links.lock().get(place).is_some_and(Link::is_away);
        let may = |place: &Place| !self.0.is_doubted(place) && !is_away(place);
        !self.0.is_lost() && slots.places().into_iter().any(may)
    }

    /// Sends commands to one node; an answer to each, in their order.
    async fn ask(&self, place: &Place, commands: &[&Cmd]) -> Vec<Answer> {
        let answered = match self.link(place) {
            Ok(link) => link.each(commands).await,
            Err(error) => Err(error),
        };
        match answered {
            Ok(answers) => {
                self.look_at(place, &answers);
                answers
                    .into_iter()
                    .map(|answer| Answer::of(answer, place))
                    .collect()
            }
            Err(error) => commands
                .iter()
                .map(|_| Answer::Final(Err(Failed::Away(error.clone()))))
                .collect(),
        }
    }

    /// Looks whether a node is one that the others have given up: who has its slots now is told by them alone.
    fn look_at(&self, place: &Place, answers: &[RedisResult<Value>]) {
        let is_cut_off = answers
            .iter()
            .any(|answer| answer.as_ref().is_err_and(is_cut_off));
        if is_cut_off {
            self.0.trouble();
        }
        let is_of_use = answers.iter().any(Result::is_ok);
        if is_cut_off || is_of_use {
            self.0.doubt(place, !is_of_use);
        }
    }

    /// Asks once more, where a node says that a name is.
    async fn follow(&self, redirect: Redirect, command: &Cmd) -> Result<Value, Failed> {
        let followed = async {
            Ok(match &redirect {
                Redirect::Moved(place) => {
                    self.0.trouble();
                    self.link(place)?.each(&[command]).await?.pop()
                }
                Redirect::Ask(place) => Some(self.link(place)?.asking(command).await?),
            })
        };
        let answer = followed.await.map_err(Failed::Away)?;
        let answer = answer.ok_or_else(Failed::no_answer)?;
        answer.map_err(|error| Failed::of(&error))
    }

    /// Asks every node for a sign of life.
    pub(crate) async fn ping(&self) -> Result<(), TierError> {
        let slots = self.0.slots().await?;
        let ping = cmd("PING");
        let pings = slots.places().into_iter().map(|place| {
            let (link, ping) = (self.link(place), &ping);
            async move {
                let answers = link?.each(&[ping]).await?;
                let failed = answers.into_iter().find_map(Result::err);
                failed.map_or(Ok(()), |error| Err(words::told(&error)))
            }
        });
        join_all(pings).await.into_iter().collect()
    }

    /// Publishes at the node that has a slot, which is where [`Self::pubsub`] listens; if it fails (one that hangs: after some silences), at another one: a cluster tells all its
    /// nodes, but loses what is published while two of them have no connection to each other.
    ///
    /// Cancel safe; being dropped counts as a silence for the node that has not answered.
    ///
    /// # Errors
    /// When a node refuses, or all of them fail.
    pub(crate) async fn publish(&self, slot: u16, publish: &Cmd) -> Result<(), TierError> {
        let slots = self.0.slots().await?;
        let mut failure = TierError::new("no node of the cluster has the slot");
        for place in self.beginning_with(&slots, slot) {
            // What is published is taken by a node that is cut off, too: it tells nothing of whether one is.
            let link = match self.link(&place) {
                Ok(link) => link,
                Err(error) => {
                    failure = error;
                    continue;
                }
            };
            match one(&link, publish).await {
                Ok(_) => return Ok(()),
                Err(Failed::Refused(error)) => return Err(error),
                Err(Failed::Away(error)) => failure = error,
            }
        }
        Err(failure)
    }

    /// Connects once more, to hear what is published: to the node that has a slot, or if it fails to another one.
    ///
    /// # Errors
    /// When nobody says who has what, or no node can be connected to within the time that a connection may take.
    pub(crate) async fn pubsub(&self, slot: u16) -> Result<PubSub, TierError> {
        let slots = self.0.slots().await?;
        let end = Instant::now() + self.0.connect_timeout;
        let places = self.beginning_with(&slots, slot);
        let ways = (1..=u32::try_from(places.len()).unwrap_or(u32::MAX)).rev();
        for (place, left) in places.iter().zip(ways) {
            let share = end.saturating_duration_since(Instant::now()) / left;
            if let Ok(link) = self.link(place)
                && let Ok(Ok(made)) = timeout(share, link.pubsub()).await
            {
                return Ok(made);
            }
        }
        Err(TierError::new("no node of the cluster can be connected to"))
    }

    /// The node that has a slot, then all others in an order of their own, so that who rings and who listens meet there, too.
    fn beginning_with(&self, slots: &Slots, slot: u16) -> Vec<Place> {
        let owner = slots.owner(slot);
        let others: BTreeSet<&Place> = slots.places().into_iter().chain(&self.0.seeds).collect();
        let others = others.into_iter().filter(|place| Some(*place) != owner);
        owner.into_iter().chain(others).cloned().collect()
    }

    fn link(&self, place: &Place) -> Result<Link, TierError> {
        let mut links = self.0.links.lock();
        if let Some(link) = links.get(place) {
            return Ok(link.clone());
        }
        let client = self.0.manner.client(place);
        let client = client.map_err(|error| words::told(&error))?;
        let link = Link::new(
            Server::Named(client),
            self.0.connect_timeout,
            Arc::clone(&self.0.troubles),
        );
        let told = self.0.told();
        let places = told.as_deref().map(Slots::places).unwrap_or_default();
        // Redirections may lead anywhere: whoever sends them does not decide how many connections there are. Calls under way have clones.
        if links.len() >= 2 * places.len().max(self.0.seeds.len()) {
            links.retain(|place, _| places.contains(place));
        }
        links.insert(place.clone(), link.clone());
        Ok(link)
    }
}

/// Sends a command that names nothing.
async fn one(link: &Link, command: &Cmd) -> Result<Value, Failed> {
    let mut answers = link.each(&[command]).await.map_err(Failed::Away)?;
    let answer = answers.pop().ok_or_else(Failed::no_answer)?;
    answer.map_err(|error| Failed::of(&error))
}

/// What a command was answered at first.
enum Answer {
    Final(Result<Value, Failed>),
    Elsewhere(Redirect),
}

impl Answer {
    fn of(answer: RedisResult<Value>, told: &Place) -> Self {
        match answer {
            Ok(value) => Self::Final(Ok(value)),
            Err(error) => match Redirect::of(&error, told) {
                Some(redirect) => Self::Elsewhere(redirect),
                None => Self::Final(Err(Failed::of(&error))),
            },
        }
    }

    fn nobody() -> Self {
        Self::Final(Err(Failed::Away(TierError::new(
            "no node of the cluster has the slot",
        ))))
    }
}

/// Why a command was not answered.
enum Failed {
    /// Its node cannot be reached, or does nothing for now: another one may have its slots before long.
    Away(TierError),
    /// Its node works, and does not do this.
    Refused(TierError),
}

impl Failed {
    fn no_answer() -> Self {
        Self::Away(TierError::new("there is no answer"))
    }

    fn of(error: &RedisError) -> Self {
        use ServerErrorKind as Kind;
        // Whoever is sent on a second time is in the middle of a move.
        let is_passing = matches!(
            error.kind(),
            ErrorKind::Server(Kind::BusyLoading | Kind::TryAgain | Kind::Moved | Kind::Ask)
        );
        let is_broken = error.is_unrecoverable_error() || error.is_io_error();
        let told = words::told(error);
        if is_passing || is_broken || is_cut_off(error) {
            Self::Away(told)
        } else {
            Self::Refused(told)
        }
    }
}

/// Whether an error says that its node does not belong to those any more that have slots, or does not know whether it does.
fn is_cut_off(error: &RedisError) -> bool {
    use ServerErrorKind as Kind;
    matches!(
        error.kind(),
        ErrorKind::Server(Kind::ClusterDown | Kind::MasterDown | Kind::ReadOnly)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::address::{self, Address};
    use crate::options::Certificates;
    use crate::tls::Encryption;

    #[test]
    fn redirections_to_anywhere_make_a_bounded_number_of_connections() {
        let seeds: Vec<Place> = (1..4_u16)
            .map(|port| Place {
                host: "h".into(),
                port,
            })
            .collect();
        let Address::Cluster { account, .. } = address::parse("redis+cluster://h").unwrap().address else {
            unreachable!("it is one")
        };
        let encryption = Encryption::of(&Certificates::default(), false).unwrap();
        let manner = Manner::new(&account, 0, &encryption, false);
        let cluster = Cluster::new(seeds, manner, Duration::from_secs(2));
        for port in 1..1_000 {
            let host = "elsewhere".into();
            cluster.link(&Place { host, port }).unwrap();
            assert!(cluster.0.links.lock().len() <= 6, "twice as many as are known");
        }
    }

    #[test]
    fn what_fails_is_told_from_what_is_refused() {
        for (line, is_failure) in [
            ("CLUSTERDOWN The cluster is down", true),
            ("MASTERDOWN Link with MASTER is down", true),
            ("READONLY You can't write against a read only replica.", true),
            ("LOADING Redis is loading the dataset in memory", true),
            ("TRYAGAIN Multiple keys request during rehashing of slot", true),
            ("MOVED 1 h:1", true),
            ("NOPERM this user has no permissions", false),
            ("OOM command not allowed when used memory > 'maxmemory'.", false),
            ("ERR unknown command", false),
        ] {
            let answer = redis::parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap();
            let error = answer.extract_error().unwrap_err();
            let failed = matches!(Failed::of(&error), Failed::Away(_));
            assert_eq!(failed, is_failure, "{line}");
            let means_old = ["CLUSTERDOWN", "MASTERDOWN", "READONLY"]
                .iter()
                .any(|code| line.starts_with(code));
            assert_eq!(is_cut_off(&error), means_old, "{line}");
        }
        let broken = RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert!(matches!(Failed::of(&broken), Failed::Away(_)));
    }
}
