//! A question on a node, step by step as the runner does it: the mark, the look-up, the tier, the load, the publication.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use ci_cache_core::ci::CiShared;
use ci_cache_core::ci::matching::Reason;
use ci_cache_core::coherence::{Loaded, Published};
use ci_cache_core::{Lookup, Outcome};
use ci_model::{Epoch, Token, Version};
use ci_runner::Level;
use ci_tests::matching::Answer;
use ci_tests::store_contract::world::tenant;

use super::estate::Shown;
use super::fleet::{Event, Fleet};
use super::judge::{Answered, Judge};
use super::node::{Read, Source, Task};
use super::queueing::Job;
use super::tier::Stored;

/// A waiter whose answer turned out too old looks up again so often.
const TRIES: u32 = 4;

/// Where an answer is true, and how far behind it may be.
pub(crate) struct AsOf<'a> {
    pub(crate) epoch: u64,
    pub(crate) version: &'a Version,
    /// The mark's state, where neither that nor the answer's includes the other: the answer is true at both together.
    pub(crate) beside: Option<&'a Version>,
    pub(crate) lag: u64,
    pub(crate) source: Source,
}

fn name_of(ending: Published<Reason>) -> &'static str {
    match ending {
        Published::Kept => "published: kept",
        Published::Epoch => "published: refused, other epoch",
        Published::Floor => "published: refused, older than the log",
        Published::Overtaken(_) => "published: refused, overtaken",
        Published::Detached => "published: refused, detached",
        _ => "published: refused otherwise",
    }
}

impl Fleet<'_> {
    /// Takes a question out to go on with it.
    pub(crate) fn taken(&mut self, task: u64) -> Option<Box<Read>> {
        if !matches!(self.tasks.get(&task)?, Task::Read(_)) {
            return None;
        }
        match self.tasks.remove(&task)? {
            Task::Read(read) => Some(read),
            Task::Write(_) => None,
        }
    }

    /// Finds the mark that hits may be served by, or waits for a poll.
    pub(crate) fn footing(&mut self, task: u64) {
        let Some(mut read) = self.taken(task) else {
            return;
        };
        if read.level == Level::Bypass {
            return self.load(task, read);
        }
        let node = &self.nodes[read.node];
        node.tick(self.now);
        let mark = node.cache.mark();
        read.mark = mark.filter(|mark| node.suffices(&read.level, mark, self.now, self.law));
        if read.mark.is_some() {
            return self.look_up_soon(task, read);
        }
        let node = read.node;
        self.tasks.insert(task, Task::Read(read));
        self.wait_for_poll(node, task);
    }

    /// The poll that was waited for has ended.
    pub(crate) fn fresh(&mut self, task: u64, good: bool) {
        let Some(mut read) = self.taken(task) else {
            return self.written(task, good);
        };
        if read.copying.is_some() {
            self.tasks.insert(task, Task::Read(read));
            return self.shown(task, good);
        }
        read.mark = self.nodes[read.node].cache.mark().filter(|_| good);
        if read.mark.is_some() {
            self.look_up_soon(task, read);
        } else {
            self.saw("past the cache");
            self.load(task, read);
        }
    }

    /// Begins anew, with another mark: the one that it has may be of a history that is over, in which its level's promise was kept.
    pub(crate) fn again(&mut self, task: u64, read: Box<Read>) {
        self.tasks.insert(task, Task::Read(read));
        self.footing(task);
    }

    /// Looks up, at once or some time after the mark was read.
    fn look_up_soon(&mut self, task: u64, read: Box<Read>) {
        if !self.chance(self.rates.slow_steps) {
            return self.look_up(task, read);
        }
        self.tasks.insert(task, Task::Read(read));
        let step = self.step();
        self.after(step, Event::LookUp(task));
    }

    pub(crate) fn look_up_now(&mut self, task: u64) {
        if let Some(read) = self.taken(task) {
            self.look_up(task, read);
        }
    }

    fn look_up(&mut self, task: u64, mut read: Box<Read>) {
        read.tries += 1;
        if read.tries > TRIES {
            return self.load(task, read);
        }
        let query = &self.estate.queries[read.query];
        let cache = &self.nodes[read.node].cache;
        match cache.lookup(&tenant(), &query.key, &query.question) {
            Lookup::Hit(found) => {
                self.saw("hit");
                return self.hit(&read, &found.value, Source::Memory);
            }
            Lookup::Stale(..) => self.objects("no window is open".to_owned()),
            Lookup::Wait(waiter) => {
                read.waiter = Some(waiter);
                self.tasks.insert(task, Task::Read(read));
                return;
            }
            Lookup::Lead(leader) => read.leader = Some(leader),
        }
        if read.must_hit {
            let (node, query) = (read.node, read.query);
            self.objects(format!(
                "healed, node {node} does not answer question {query} from memory"
            ));
        }
        if self.rates.has_tier && self.tier.up {
            return self.ask_tier(task, read);
        }
        self.load(task, read);
    }

    /// Loads for all who wait, from the standby if that will do; or for this caller alone.
    pub(crate) fn load(&mut self, task: u64, read: Box<Read>) {
        self.hold_to_wait(&read);
        if self.rates.has_standby && read.leader.is_some() {
            self.copy(task, read);
        } else {
            self.load_of_primary(task, read);
        }
    }

    /// Asks the database.
    pub(crate) fn load_of_primary(&mut self, task: u64, mut read: Box<Read>) {
        read.begun = self.now;
        self.tasks.insert(task, Task::Read(read));
        let delay = self.database_delay();
        self.after(delay, Event::Read(task));
    }

    /// The database takes its snapshot and reads.
    pub(crate) fn read(&mut self, task: u64) {
        let found = self.database.up.then(|| self.database.read(self.now));
        if let Some(Task::Read(read)) = self.tasks.get_mut(&task) {
            read.found = found;
            let delay = self.database_delay();
            self.after(delay, Event::Rows(task));
        }
    }

    /// The rows have come, or the database was down.
    pub(crate) fn rows(&mut self, task: u64) {
        let Some(mut read) = self.taken(task) else {
            return;
        };
        let node = read.node;
        let Some(found) = read.found.take() else {
            self.saw("load failed");
            if let Some(leader) = read.leader.take() {
                drop(leader.fail(()));
            }
            self.end_lease(&mut read);
            return self.settle(node);
        };
        let answer = self.estate.ask(&found.table, read.query);
        let source = match read.leader.take() {
            Some(leader) => {
                let _entry = self.publish(&read, leader, &answer, &found);
                Source::Load
            }
            None => Source::Past,
        };
        self.end_lease(&mut read);
        let as_of = AsOf {
            epoch: found.epoch,
            version: &found.version,
            beside: None,
            lag: self.now - read.begun,
            source,
        };
        self.answered(&read, &answer, &as_of, found.read_at);
        self.settle(node);
    }

    pub(crate) fn publish(
        &mut self,
        read: &Read,
        leader: super::node::Lead,
        answer: &Arc<Answer>,
        found: &super::database::Found,
    ) -> CiShared<Shown> {
        let loaded = Loaded {
            epoch: found.epoch,
            version: found.version.clone(),
        };
        let dependency = self.estate.dependency(read.query, answer);
        let question = &self.estate.queries[read.query].question;
        let load = self.number();
        let shown = Shown {
            answer: Arc::clone(answer),
            loaded_at: found.read_at,
            load,
        };
        let cache = &self.nodes[read.node].cache;
        let published = cache.publish(leader, question, shown, loaded, dependency);
        let ending = published.ending;
        self.saw(name_of(ending));
        self.say(|| {
            let (node, query) = (read.node, read.query);
            format!(
                "node {node} loaded {query} at {}/{}: {ending:?}",
                found.epoch, found.version
            )
        });
        if ending == Published::Kept {
            let stored = Stored {
                epoch: found.epoch,
                query: read.query,
                loaded: found.version.clone(),
                validated: found.version.clone(),
                answer: Arc::clone(answer),
                loaded_at: found.read_at,
                load,
                since: 0,
                damaged: false,
            };
            if self.rates.has_tier && !self.offer(read.node, Job::Put(stored, read.lease)) {
                self.saw("tier: write lost");
            }
        }
        published.entry
    }

    /// Ends the waits on a node whose flights have ended.
    pub(crate) fn settle(&mut self, node: usize) {
        let waits =
            |task: &Task| matches!(task, Task::Read(read) if read.node == node && read.waiter.is_some());
        let waiting: Vec<u64> = self
            .tasks
            .iter()
            .filter(|(_, task)| waits(task))
            .map(|(task, _)| *task)
            .collect();
        for task in waiting {
            let Some(mut read) = self.taken(task) else {
                continue;
            };
            let Some(mut waiter) = read.waiter.take() else {
                continue;
            };
            match Pin::new(&mut waiter).poll(&mut Context::from_waker(Waker::noop())) {
                Poll::Pending => {
                    read.waiter = Some(waiter);
                    self.tasks.insert(task, Task::Read(read));
                }
                Poll::Ready(Outcome::Loaded(entry))
                    if read.mark.as_ref().is_some_and(|mark| entry.is_as_new_as(mark)) =>
                {
                    self.saw("coalesced");
                    self.hit(&read, &entry, Source::Coalesced);
                }
                Poll::Ready(Outcome::Failed(())) => self.saw("load failed"),
                Poll::Ready(_) => {
                    self.saw("waited in vain");
                    self.again(task, read);
                }
            }
        }
    }

    /// An answer that was found after the mark was read.
    pub(crate) fn hit(&mut self, read: &Read, entry: &CiShared<Shown>, source: Source) {
        let Some(mark) = &read.mark else {
            return;
        };
        let (epoch, version) = mark.as_of(entry);
        let is_beside = epoch == mark.epoch() && !version.includes(mark.version());
        if is_beside {
            self.saw("an answer of a state that neither includes its reader's mark nor is included");
        }
        let as_of = AsOf {
            epoch,
            version,
            beside: is_beside.then(|| mark.version()),
            lag: self.nodes[read.node].lag(mark, self.now),
            source,
        };
        let shown = entry.value().answer();
        self.answered(read, &shown.answer, &as_of, shown.loaded_at);
    }

    pub(crate) fn answered(&mut self, read: &Read, value: &Answer, as_of: &AsOf<'_>, loaded_at: u64) {
        self.saw("answers");
        let session = match (&read.level, read.session) {
            (Level::AtLeast(token), Some(_)) => Some(token),
            _ => None,
        };
        let node = &self.nodes[read.node];
        let answered = Answered {
            query: read.query,
            value,
            epoch: as_of.epoch,
            version: as_of.version,
            beside: as_of.beside,
            level: &read.level,
            source: as_of.source,
            asked_at: read.asked_at,
            now: self.now,
            lag: as_of.lag,
            acknowledged: &node.acknowledged,
            session,
            loaded_at,
            forgotten_at: node
                .withdrawn_at
                .get(&read.query)
                .copied()
                .unwrap_or_default()
                .max(node.forgotten_at),
        };
        let judge = Judge {
            database: &self.database,
            estate: self.estate,
        };
        let verdict = judge.check(&answered);
        let included = answered.included().into_owned();
        self.say(|| {
            let (node, query, source) = (read.node, read.query, as_of.source);
            format!(
                "node {node} answers {query} from {source:?} as of {}/{}",
                as_of.epoch, included
            )
        });
        if let Err(wrong) = verdict {
            self.objects(wrong);
        }
        if let Some(session) = read.session {
            self.sees(session, as_of.epoch, &included);
        }
    }

    /// A session has seen a state, and passes it on.
    pub(crate) fn sees(&mut self, session: usize, epoch: u64, version: &Version) {
        let token = &mut self.sessions[session].token;
        let is_newer = token.as_ref().is_none_or(|token| {
            epoch > token.epoch.0 || (epoch == token.epoch.0 && version.includes(&token.version))
        });
        if is_newer {
            *token = Some(Token {
                epoch: Epoch(epoch),
                version: version.clone(),
            });
        }
    }
}
