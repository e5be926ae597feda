//! The fleet: nodes, one database, one tier, and the queue of what happens when, in virtual time.
//!
//! One seed is one run: every draw comes from it, nothing runs beside it, and whoever gives the same seed sees the same run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ci_cache_core::Tick;
use ci_model::{Token, Version};
use ci_runner::Level;
use ci_store::{Polled, Start};
use ci_tests::store_contract::world::{below, seeded};
use rand_chacha::ChaCha8Rng;

use super::copying::CopyStep;
use super::database::{Database, Feed};
use super::estate::Estate;
use super::faults::{Fault, Rates};
use super::laws::Law;
use super::node::{Node, Read, Session, Task, options};
use super::queueing::{Call, Called};
use super::standby::Standby;
use super::tier::{Stored, Tier};

/// How long faults come, in microseconds of virtual time.
const ROUGH: u64 = 250_000;
/// Until when what is under way has ended once no more faults come.
const SETTLED: u64 = ROUGH + 3_000_000;
/// Callers that pass tokens on.
const SESSIONS: usize = 3;

/// What a poll or a start of the feed brings.
#[derive(Debug)]
pub(crate) enum Brought {
    Start(Start),
    Poll(Polled),
    Nothing,
}

/// What happens at a moment.
pub(crate) enum Event {
    Ask,
    Write,
    Commit(u64, u64),
    /// Of an epoch a transaction becomes visible, perhaps for a write on a node.
    Show(u64, u64, Option<(usize, u64)>),
    Abort(u64, u64),
    Acknowledged(u64),
    PollDue(usize, u64, u64),
    PollAsked(usize, u64, u64, Tick),
    PollAnswered(usize, u64, u64, Tick, Option<Feed>, Brought),
    /// A question that has read its mark looks up.
    LookUp(u64),
    TierAnswered(u64, Option<Stored>, u64, bool),
    TierSilent(u64),
    /// The tier has said whether a lease was taken; who waits for another's load looks again.
    Leased(u64, Option<bool>),
    LeaseLook(u64),
    /// What the tier gave is held against the log, and published: two steps more, between which polls may come.
    TierCheck(u64),
    TierPublish(u64),
    /// A node sees to what it has to write; a call comes to the tier, perhaps too late; it has ended, or was given up.
    Work(usize, u64),
    Call(usize, u64, Call, bool),
    Called(usize, u64, Called),
    GivenUp(usize, u64, Option<(usize, u64)>),
    /// A wrong value is to be deleted: of a question, by a load.
    Owed(usize, u64, usize, u64),
    /// A node confirms what it has of what the tier has.
    Refresh(usize, u64),
    /// A node leaves a bookmark of its feed in the tier.
    Bookmark(usize, u64),
    /// The tier has told a node that joins where to go on.
    Joined(usize, u64, Option<Feed>),
    Read(u64),
    Rows(u64),
    /// A load from the standby goes on, if it is still the one of this number.
    Copy(u64, u64, CopyStep),
    /// The standby is a new copy of the primary.
    Rebuilt,
    Fault(Fault, u64),
    Mend(Fault, usize),
}

pub(crate) struct Fleet<'a> {
    pub(crate) estate: &'a Estate,
    pub(crate) law: Law,
    pub(crate) dice: ChaCha8Rng,
    pub(crate) rates: Rates,
    pub(crate) now: u64,
    queue: BTreeMap<(u64, u64), Event>,
    numbers: u64,
    pub(crate) database: Database,
    pub(crate) standby: Standby,
    pub(crate) tier: Tier,
    pub(crate) nodes: Vec<Node>,
    pub(crate) tasks: BTreeMap<u64, Task>,
    pub(crate) sessions: Vec<Session>,
    /// Loads of which a node has had the value deleted, because it was wrong.
    pub(crate) withdrawn: BTreeSet<(usize, u64)>,
    /// No more faults.
    pub(crate) healed: bool,
    pub(crate) seen: BTreeMap<&'static str, u64>,
    pub(crate) wrong: Option<String>,
    /// What happened, if somebody wants to read it.
    trace: Option<Vec<String>>,
}

/// What a run met.
pub(crate) struct Outcome {
    pub(crate) seen: BTreeMap<&'static str, u64>,
    pub(crate) wrong: Option<String>,
    pub(crate) trace: Vec<String>,
}

/// Runs a seed.
pub(crate) fn run(estate: &Estate, seed: u64, law: Law, traced: bool) -> Outcome {
    estate.forget();
    let mut fleet = Fleet::new(estate, seed, law, traced);
    fleet.run();
    Outcome {
        seen: fleet.seen,
        wrong: fleet.wrong,
        trace: fleet.trace.unwrap_or_default(),
    }
}

impl<'a> Fleet<'a> {
    fn new(estate: &'a Estate, seed: u64, law: Law, traced: bool) -> Self {
        let mut dice = seeded(seed);
        // Now and then nothing goes wrong.
        let quiet = below(&mut dice, 16) == 0;
        let mut rates = Rates::draw(&mut dice, estate.queries.len(), quiet);
        rates.bring_out(law, estate.queries.len());
        let database = Database::new(law);
        let mut fleet = Self {
            estate,
            law,
            now: 1,
            queue: BTreeMap::new(),
            numbers: 0,
            standby: Standby::new(&database),
            database,
            tier: Tier::new(rates.slots),
            nodes: Vec::new(),
            tasks: BTreeMap::new(),
            sessions: vec![Session::default(); SESSIONS],
            withdrawn: BTreeSet::new(),
            healed: false,
            seen: BTreeMap::new(),
            wrong: None,
            trace: traced.then(Vec::new),
            dice,
            rates,
        };
        for number in 0..fleet.rates.nodes {
            let node = fleet.make(number, 1);
            fleet.nodes.push(node);
            fleet.begin_life(number);
        }
        fleet.after(1, Event::Ask);
        fleet.after(1, Event::Write);
        for (fault, every) in fleet.rates.faults.clone() {
            let delay = 1 + fleet.below(every);
            fleet.after(delay, Event::Fault(fault, every));
        }
        fleet
    }

    pub(crate) fn make(&self, number: usize, life: u64) -> Node {
        let offset = self.rates.offset * number as u64;
        Node::new(offset, life, self.law, &options(self.rates.log, self.rates.bulk))
    }

    /// A number below another.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        below(&mut self.dice, usize::try_from(limit).unwrap().max(1)) as u64
    }

    /// Says yes so often in a thousand, and never once the fleet is healed.
    pub(crate) fn chance(&mut self, per_thousand: usize) -> bool {
        let drawn = below(&mut self.dice, 1_000);
        drawn < per_thousand && !self.healed
    }

    pub(crate) fn saw(&mut self, what: &'static str) {
        *self.seen.entry(what).or_default() += 1;
    }

    pub(crate) fn say(&mut self, what: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9} {}", self.now, what()));
        }
    }

    pub(crate) fn objects(&mut self, what: String) {
        self.say(|| format!("WRONG: {what}"));
        self.wrong.get_or_insert(what);
    }

    pub(crate) fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    pub(crate) fn after(&mut self, delay: u64, event: Event) {
        let number = self.number();
        self.queue.insert((self.now + delay, number), event);
    }

    /// How long a message to the database or back takes.
    pub(crate) fn database_delay(&mut self) -> u64 {
        let slow = self.chance(self.rates.slow_database);
        1 + self.below(if slow { 60_000 } else { 1_000 })
    }

    /// How long a message to the tier or back takes.
    pub(crate) fn tier_delay(&mut self) -> u64 {
        let slow = self.chance(self.rates.slow_tier);
        1 + self.below(if slow { 80_000 } else { 300 })
    }

    /// How long a node takes between two steps of its own.
    pub(crate) fn step(&mut self) -> u64 {
        let slow = self.chance(self.rates.slow_steps);
        1 + self.below(if slow { 8_000 } else { 20 })
    }

    fn run(&mut self) {
        self.advance(ROUGH);
        self.heal();
        self.advance(SETTLED);
        self.ask_everything(false);
        self.advance(SETTLED + 1_000_000);
        self.ask_everything(true);
        self.advance(SETTLED + 2_000_000);
        self.at_rest();
    }

    /// Lets everything happen that happens up to a moment.
    fn advance(&mut self, until: u64) {
        while self.wrong.is_none()
            && let Some(first) = self.queue.first_entry()
            && first.key().0 <= until
        {
            let ((at, _), event) = first.remove_entry();
            self.now = self.now.max(at);
            if let Some(ready) = self.paused(&event) {
                self.after(ready - self.now, event);
            } else {
                self.happens(event);
            }
        }
        self.now = self.now.max(until);
    }

    /// When a node that has to act on an event is awake again; none if it is.
    fn paused(&self, event: &Event) -> Option<u64> {
        let node = match event {
            Event::PollDue(node, ..)
            | Event::PollAnswered(node, ..)
            | Event::Work(node, ..)
            | Event::Called(node, ..)
            | Event::GivenUp(node, ..)
            | Event::Owed(node, ..)
            | Event::Refresh(node, ..)
            | Event::Bookmark(node, ..)
            | Event::Joined(node, ..) => Some(*node),
            Event::Acknowledged(task)
            | Event::TierAnswered(task, ..)
            | Event::TierSilent(task)
            | Event::LookUp(task)
            | Event::Leased(task, ..)
            | Event::LeaseLook(task)
            | Event::TierCheck(task)
            | Event::TierPublish(task)
            | Event::Rows(task) => self.tasks.get(task).map(Task::node),
            Event::Copy(task, _, step) if step.is_at_node() => self.tasks.get(task).map(Task::node),
            _ => None,
        };
        let until = self.nodes[node?].paused_until;
        (until > self.now).then_some(until)
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Ask => self.ask_something(),
            Event::Write => self.write_something(),
            Event::Commit(epoch, xid) => {
                if epoch == self.database.epoch() && self.database.up {
                    self.database.commit(xid, self.now);
                }
            }
            Event::Show(epoch, xid, writer) => self.show(epoch, xid, writer),
            Event::Abort(epoch, xid) => {
                if epoch == self.database.epoch() && self.database.up {
                    self.database.abort(xid, self.now);
                    self.saw("rolled back");
                }
            }
            Event::Acknowledged(task) => self.acknowledged(task),
            Event::PollDue(node, life, due) => {
                if self.nodes[node].life == life && self.nodes[node].due == due {
                    self.begin_poll(node);
                }
            }
            Event::PollAsked(node, life, number, at) => self.ask_database(node, life, number, at),
            Event::PollAnswered(node, life, number, at, feed, brought) => {
                if self.nodes[node].life == life {
                    self.polled(node, (number, at), feed, brought);
                }
            }
            Event::TierAnswered(task, stored, generation, is_free) => {
                self.tier_answered(task, stored, generation, is_free);
            }
            Event::LookUp(task) => self.look_up_now(task),
            Event::TierSilent(task) => self.tier_silent(task),
            Event::Leased(task, taken) => self.leased(task, taken),
            Event::LeaseLook(task) => self.look_again(task),
            Event::TierCheck(task) => self.tier_check(task),
            Event::TierPublish(task) => self.tier_publish(task),
            Event::Work(node, life) => self.work(node, life),
            Event::Call(node, life, call, is_late) => self.called(node, life, call, is_late),
            Event::Called(node, life, called) => self.call_ended(node, life, called),
            Event::GivenUp(node, life, owed) => self.gave_up(node, life, owed),
            Event::Owed(node, life, query, load) => self.owe((node, life), query, load),
            Event::Refresh(node, life) => self.refresh(node, life),
            Event::Bookmark(node, life) => self.leave_bookmark(node, life),
            Event::Joined(node, life, bookmark) => self.joined(node, life, bookmark),
            Event::Read(task) => self.read(task),
            Event::Rows(task) => self.rows(task),
            Event::Copy(task, id, step) => self.copy_step(task, id, step),
            Event::Rebuilt => self.rebuild_standby(),
            Event::Fault(fault, every) => self.strike(fault, every),
            Event::Mend(fault, node) => self.mend(fault, node),
        }
    }

    /// No more faults; what is broken is mended.
    fn heal(&mut self) {
        self.healed = true;
        self.say(|| "healed".to_owned());
        if !self.database.up {
            self.mend(Fault::Crash, 0);
        }
        if !self.database.records {
            self.mend(Fault::Blind, 0);
        }
        self.heal_standby();
        self.tier.up = true;
        self.tier.join(0, self.now);
        for node in 0..self.nodes.len() {
            self.nodes[node].paused_until = 0;
            if !self.nodes[node].alive {
                self.mend(Fault::KillNode, node);
            }
        }
    }

    /// Asks every node every question; the second time memory has to have it.
    fn ask_everything(&mut self, must_hit: bool) {
        for node in 0..self.nodes.len() {
            for query in 0..self.estate.queries.len() {
                let level = Level::Cached {
                    max_lag: Duration::from_secs(1),
                };
                self.ask(node, query, level, None, must_hit);
            }
        }
    }

    /// What must hold when nothing is under way any more.
    fn at_rest(&mut self) {
        if self.wrong.is_some() {
            return;
        }
        if !self.tasks.is_empty() {
            let left = self.tasks.len();
            self.objects(format!("{left} questions or writes have no end"));
        }
        for node in 0..self.nodes.len() {
            let (owed, is_busy) = (self.nodes[node].todo.owed, self.nodes[node].todo.is_busy);
            if owed > 0 || is_busy {
                self.objects(format!("node {node} owes {owed} deletes, is at work: {is_busy}"));
            }
            let cache = &self.nodes[node].cache;
            let (valid, coherence, in_flight) = (cache.validate(), cache.coherence(), cache.in_flight());
            if let Err(what) = valid {
                self.objects(format!("node {node}: {what}"));
            }
            if coherence.missed > 0 || in_flight > 0 {
                let missed = coherence.missed;
                self.objects(format!("node {node}: {missed} not led to, {in_flight} in flight"));
            }
        }
        self.saw("healed");
    }

    fn ask_something(&mut self) {
        if self.healed {
            return;
        }
        let every = self.rates.reads;
        let delay = 1 + self.below(2 * every);
        self.after(delay, Event::Ask);
        let (nodes, queries) = (self.nodes.len() as u64, self.estate.queries.len() as u64);
        let node = usize::try_from(self.below(nodes)).unwrap();
        let query = usize::try_from(self.below(queries)).unwrap();
        let session = usize::try_from(self.below(2 * SESSIONS as u64)).unwrap();
        let session = (session < SESSIONS).then_some(session);
        let token: Option<Token> = session.and_then(|session| self.sessions[session].token.clone());
        let max_lag = Duration::from_micros(1_000 + self.below(30_000));
        let level = match (token, self.below(10)) {
            (Some(token), _) => Level::AtLeast(token),
            (None, 0) => Level::Strong,
            (None, 1) => Level::Bypass,
            (None, _) => Level::Cached { max_lag },
        };
        self.ask(node, query, level, session, false);
    }

    /// Asks a node.
    fn ask(&mut self, node: usize, query: usize, level: Level, session: Option<usize>, must_hit: bool) {
        if !self.nodes[node].alive || self.nodes[node].paused_until > self.now {
            return;
        }
        let read = Read {
            node,
            query,
            level,
            session,
            asked_at: self.now,
            tries: 0,
            mark: None,
            leader: None,
            waiter: None,
            begun: 0,
            found: None,
            proving: None,
            lease: None,
            leasing: None,
            held: None,
            copying: None,
            must_hit,
        };
        let task = self.number();
        self.tasks.insert(task, Task::Read(Box::new(read)));
        self.footing(task);
    }

    /// Notes a node's mark: it never goes back within an epoch.
    pub(crate) fn note_mark(&mut self, node: usize) {
        let Some(mark) = self.nodes[node].cache.mark() else {
            return;
        };
        let new: (u64, Version) = (mark.epoch(), mark.version().clone());
        let last = self.nodes[node].mark.replace(new.clone());
        if let Some((epoch, version)) = last
            && epoch == new.0
            && !new.1.includes(&version)
        {
            self.objects(format!(
                "the mark of node {node} went back from {version} to {}",
                new.1
            ));
        }
    }
}
