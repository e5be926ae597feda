//! Following and writing on a node, step by step as the runner does it; and what strikes the fleet.

use ci_cache_core::Tick;
use ci_cache_core::ci::matching::CiDomain;
use ci_cache_core::coherence::{Batch, Course};
use ci_model::Version;
use ci_store::{EpochReason, Polled};

use super::database::{Feed, Telling};
use super::estate::{CIS, EDGES, Row, Write};
use super::faults::Fault;
use super::fleet::{Brought, Event, Fleet};
use super::judge::Judge;
use super::laws::Law;
use super::node::{Task, Written};
use super::queueing::Job;

/// Between two polls.
const PACE: u64 = 3_000;
/// The same once no more faults come: nobody asks.
const IDLE: u64 = 100_000;
/// Until a poll that gets no answer is given up.
const PATIENCE: u64 = 30_000;
const UNFOLLOWED: &str = "a write could not be followed";

impl Fleet<'_> {
    /// Waits for a good poll that begins after now.
    pub(crate) fn wait_for_poll(&mut self, node: usize, task: u64) {
        let joins = self.law == Law::JoinsOlderPolls && self.nodes[node].polling;
        let wanted = self.nodes[node].begun + u64::from(!joins);
        self.nodes[node].pollers.push((wanted, task));
        if self.nodes[node].failed == 0 {
            // A database that is down is not asked more often because more callers wait for it.
            self.begin_poll(node);
        }
    }

    pub(crate) fn begin_poll(&mut self, number: usize) {
        let node = &mut self.nodes[number];
        if node.polling || !node.alive || node.joining {
            return;
        }
        node.polling = true;
        node.begun += 1;
        let (life, poll, at) = (node.life, node.begun, node.tick(self.now));
        if self.chance(self.rates.lose_request) {
            self.saw("feed: request lost");
            let nothing = Event::PollAnswered(number, life, poll, at, None, Brought::Nothing);
            return self.after(PATIENCE, nothing);
        }
        let delay = self.database_delay();
        self.after(delay, Event::PollAsked(number, life, poll, at));
    }

    /// The database answers a poll, by one snapshot.
    pub(crate) fn ask_database(&mut self, number: usize, life: u64, poll: u64, at: Tick) {
        if self.nodes[number].life != life {
            return;
        }
        let delay = self.database_delay();
        if !self.database.up {
            let nothing = Event::PollAnswered(number, life, poll, at, None, Brought::Nothing);
            return self.after(delay, nothing);
        }
        let (feed, brought) = match &self.nodes[number].feed {
            None => {
                let (feed, start) = self.database.start();
                (feed, Brought::Start(start))
            }
            Some(feed) => {
                let (feed, polled) = self.database.poll(feed);
                (feed, Brought::Poll(polled))
            }
        };
        if self.chance(self.rates.lose_answer) {
            self.saw("feed: answer lost");
            if self.chance(self.rates.moved_on) || self.law == Law::MovesBeforeApplying {
                self.nodes[number].feed = Some(feed);
            }
            let nothing = Event::PollAnswered(number, life, poll, at, None, Brought::Nothing);
            return self.after(PATIENCE, nothing);
        }
        self.after(
            delay,
            Event::PollAnswered(number, life, poll, at, Some(feed), brought),
        );
    }

    /// A poll has ended: what it brought is applied, and who waited for it goes on.
    pub(crate) fn polled(
        &mut self,
        number: usize,
        (poll, at): (u64, Tick),
        feed: Option<Feed>,
        brought: Brought,
    ) {
        self.nodes[number].tick(self.now);
        self.nodes[number].polling = false;
        if feed.is_some() {
            self.nodes[number].feed = feed;
        }
        let good = match brought {
            Brought::Nothing => false,
            Brought::Start(start) => {
                self.follow_from(number, (start.epoch.0, start.position), at, poll);
                true
            }
            Brought::Poll(polled) => self.apply(number, polled, at, poll),
        };
        let node = &mut self.nodes[number];
        node.failed = if good { 0 } else { node.failed + 1 };
        let pollers = std::mem::take(&mut node.pollers);
        let (ended, later): (Vec<_>, Vec<_>) = pollers.into_iter().partition(|(wanted, _)| *wanted <= poll);
        node.pollers = later;
        self.note_mark(number);
        for (_, task) in ended {
            self.fresh(task, good);
        }
        self.settle(number);
        self.next_poll(number);
    }

    fn next_poll(&mut self, number: usize) {
        let due = self.number();
        let node = &mut self.nodes[number];
        node.due = due;
        let pace = if self.healed { IDLE } else { PACE };
        let delay = match node.failed {
            0 if node.pollers.is_empty() => pace,
            0 => 1,
            failed => (5_000 << (failed - 1).min(8)).min(1_000_000),
        };
        let life = node.life;
        self.after(delay, Event::PollDue(number, life, due));
    }

    fn follow_from(&mut self, number: usize, (epoch, position): (u64, Version), at: Tick, poll: u64) {
        self.say(|| format!("node {number} follows from {epoch}/{position}"));
        let node = &self.nodes[number];
        let doubt = node.doubt;
        node.cache
            .reset_but(epoch, position, at, || (poll <= doubt).then_some(UNFOLLOWED));
    }

    fn apply(&mut self, number: usize, polled: Polled, at: Tick, poll: u64) -> bool {
        match polled {
            Polled::Changes {
                since,
                changes,
                position,
            } => {
                self.say(|| format!("node {number} applies {} changes up to {position}", changes.len()));
                let node = &self.nodes[number];
                let doubt = node.doubt;
                let applied = node.cache.apply(Batch::<CiDomain> {
                    epoch: since.epoch.0,
                    since: since.version,
                    changes,
                    position,
                    polled_at: at,
                });
                if self.rates.has_tier && applied.dropped > 0 {
                    self.offer(number, Job::Dropped);
                }
                if matches!(applied.course, Course::Gap | Course::OtherEpoch) {
                    self.saw("feed: a batch was missing");
                    self.nodes[number].feed = None;
                    return false;
                }
                self.nodes[number].cache.resume_if(|| poll > doubt);
                true
            }
            Polled::NewEpoch { why, epoch, position } => {
                self.saw(match why {
                    EpochReason::Gap => "feed: gap",
                    _ => "feed: new epoch",
                });
                self.follow_from(number, (epoch.0, position), at, poll);
                true
            }
            Polled::Blind { .. } => {
                self.saw("feed: blind");
                self.nodes[number].cache.suspend("changes are not recorded");
                false
            }
        }
    }

    /// Somebody writes: a program past the nodes, or a caller of one.
    pub(crate) fn write_something(&mut self) {
        if self.healed {
            return;
        }
        let every = self.rates.writes;
        let delay = 1 + self.below(2 * every);
        self.after(delay, Event::Write);
        if !self.database.up {
            return;
        }
        let most = if self.chance(100) { 8 } else { 2 };
        let count = 1 + self.below(most);
        let writes: Vec<Write> = (0..count).map(|_| self.draw()).collect();
        let telling = match self.chance(self.rates.coarse) {
            true if self.below(4) == 0 => Telling::Everything,
            true => Telling::Tenant,
            false => Telling::Rows,
        };
        let Some(xid) = self.database.begin(self.estate, &writes, telling, self.now) else {
            return;
        };
        self.say(|| format!("transaction {xid} writes {writes:?}, told as {telling:?}"));
        let long = self.chance(self.rates.long_transaction);
        let end = 1 + self.below(if long { 60_000 } else { 2_000 });
        let epoch = self.database.epoch();
        if self.chance(self.rates.abort) {
            return self.after(end, Event::Abort(epoch, xid));
        }
        let slow = self.chance(self.rates.slow_commit);
        let unseen = 1 + self.below(if slow { 20_000 } else { 20 });
        let node = usize::try_from(self.below(2 * self.nodes.len() as u64)).unwrap();
        let caller = self
            .nodes
            .get(node)
            .filter(|node| node.alive)
            .map(|writer| (node, writer.life));
        self.after(end, Event::Commit(epoch, xid));
        self.after(end + unseen, Event::Show(epoch, xid, caller));
    }

    pub(crate) fn draw(&mut self) -> Write {
        let at = usize::try_from(self.below((CIS + EDGES.len() / 2) as u64)).unwrap();
        if at >= CIS {
            let edge = usize::try_from(self.below(EDGES.len() as u64)).unwrap();
            return Write::Edge(edge, self.below(3) > 0);
        }
        let mut row: Row = self.database.table().rows[at];
        let drawn = u8::try_from(self.below(3)).unwrap();
        match self.below(5) {
            0 | 1 => row.status = drawn,
            2 => row.owner = drawn % 2,
            3 => row.name = drawn,
            _ => row.deleted = !row.deleted,
        }
        Write::Row(at, row)
    }

    /// A transaction becomes visible.
    pub(crate) fn show(&mut self, epoch: u64, xid: u64, writer: Option<(usize, u64)>) {
        let is_there = epoch == self.database.epoch() && self.database.up;
        if !is_there || !self.database.show(xid, self.now) {
            return;
        }
        self.saw("commits");
        self.say(|| format!("transaction {xid} is visible"));
        let Some((node, _)) = writer.filter(|(node, life)| self.nodes[*node].life == *life) else {
            return;
        };
        let drawn = usize::try_from(self.below(2 * self.sessions.len() as u64)).unwrap();
        let written = Written {
            node,
            epoch,
            xid,
            session: (drawn < self.sessions.len()).then_some(drawn),
        };
        let task = self.number();
        self.tasks.insert(task, Task::Write(written));
        let delay = self.database_delay();
        self.after(delay, Event::Acknowledged(task));
    }

    /// The node hears of its commit, and waits for a poll that shows it.
    pub(crate) fn acknowledged(&mut self, task: u64) {
        if let Some(node) = self.tasks.get(&task).map(Task::node) {
            self.wait_for_poll(node, task);
        }
    }

    /// The poll has ended, and the write returns: from here on this node answers nothing from before it.
    pub(crate) fn written(&mut self, task: u64, good: bool) {
        let Some(Task::Write(write)) = self.tasks.remove(&task) else {
            return;
        };
        let node = &mut self.nodes[write.node];
        if !good {
            node.doubt = node.doubt.max(node.begun);
            node.cache.suspend(UNFOLLOWED);
            node.acknowledged.push((write.epoch, write.xid, self.now));
            return self.saw("write not followed");
        }
        node.acknowledged.push((write.epoch, write.xid, self.now));
        let Some(mark) = node.cache.mark() else {
            return;
        };
        let judge = Judge {
            database: &self.database,
            estate: self.estate,
        };
        if mark.epoch() == write.epoch && !judge.has(write.epoch, write.xid, mark.version()) {
            let (node, xid) = (write.node, write.xid);
            return self.objects(format!(
                "the token of write {xid} on node {node} does not include it"
            ));
        }
        let (epoch, version) = (mark.epoch(), mark.version().clone());
        self.saw("writes returned");
        if let Some(session) = write.session {
            self.sees(session, epoch, &version);
        }
    }

    /// A fault comes, and the next of its kind is drawn.
    pub(crate) fn strike(&mut self, fault: Fault, every: u64) {
        if self.healed {
            return;
        }
        let (delay, mut mend) = (1 + self.below(2 * every), 1 + self.below(25_000));
        if fault == Fault::StandbyCrash && self.below(4) > 0 {
            // Often it is back at once.
            mend = 1 + mend % 500;
        }
        self.after(delay, Event::Fault(fault, every));
        let number = usize::try_from(self.below(self.nodes.len() as u64)).unwrap();
        let query = usize::try_from(self.below(self.estate.queries.len() as u64)).unwrap();
        let struck = match fault {
            Fault::Crash | Fault::LoseCommits => std::mem::replace(&mut self.database.up, false),
            Fault::Restore => {
                let recovers = self.below(2) == 0 || !self.is_told_apart();
                let restored = self.database.up && self.database.restore(self.now, recovers);
                if restored {
                    self.leave_standby_behind();
                }
                restored
            }
            Fault::BackUp => {
                self.database.back_up();
                true
            }
            Fault::Blind => self.database.up && std::mem::replace(&mut self.database.records, false),
            Fault::Forget => {
                let before = self.now.saturating_sub(self.dice_age());
                self.database.forget(before);
                true
            }
            Fault::KillNode => self.kill(number),
            Fault::PauseNode => {
                self.nodes[number].paused_until = self.now + mend;
                true
            }
            Fault::Evict => self.nodes[number]
                .cache
                .invalidate(&self.estate.queries[query].key),
            Fault::ForgetByHand => {
                self.nodes[number].forget(self.now, self.law);
                true
            }
            Fault::FlushTier => {
                self.tier.flush();
                true
            }
            Fault::SaveTier => {
                self.tier.save();
                true
            }
            Fault::RollBackTier => self.tier.roll_back(self.now),
            Fault::SplitTier => {
                let whole = !self.tier.split;
                if whole {
                    self.tier.part();
                }
                whole
            }
            Fault::TierDown => std::mem::replace(&mut self.tier.up, false),
            Fault::DamageTier => self.tier.damage(query),
            Fault::Withdraw => self.withdraw(number, query),
            Fault::StandbyCrash | Fault::StandbyPaused | Fault::StandbyAway => {
                self.strike_standby(fault, mend)
            }
        };
        if struck {
            self.saw(fault.name());
            self.say(|| format!("{fault:?} (node {number}, question {query}), mended in {mend} us"));
            self.after(mend, Event::Mend(fault, number));
        }
        self.settle(number);
    }

    /// How old a change must be to be deleted.
    fn dice_age(&mut self) -> u64 {
        self.below(8_000)
    }

    /// Ends a node with all that is under way on it.
    fn kill(&mut self, number: usize) -> bool {
        if !self.nodes[number].alive {
            return false;
        }
        let holds = |task: &Task| matches!(task, Task::Read(read) if read.held.is_some());
        if self
            .tasks
            .values()
            .any(|task| task.node() == number && holds(task))
        {
            self.saw("lease: its holder died");
        }
        self.tasks.retain(|_, task| task.node() != number);
        let life = self.nodes[number].life + 1;
        self.nodes[number] = self.make(number, life);
        self.nodes[number].alive = false;
        true
    }

    /// What was broken works again.
    pub(crate) fn mend(&mut self, fault: Fault, number: usize) {
        match fault {
            Fault::Crash | Fault::LoseCommits if !self.database.up => {
                let lost = if fault == Fault::LoseCommits {
                    1 + self.below(4)
                } else {
                    0
                };
                self.database.recover(usize::try_from(lost).unwrap(), self.now);
                self.database.up = true;
                if lost > 0 {
                    self.leave_standby_behind();
                }
                self.say(|| format!("the database is up again, {lost} commits lost"));
            }
            Fault::Blind if !self.database.records => self.database.record_again(self.now),
            Fault::KillNode if !self.nodes[number].alive => {
                self.nodes[number].alive = true;
                self.join(number);
            }
            Fault::SplitTier => self.tier.join(number % 2, self.now),
            Fault::TierDown => self.tier.up = true,
            Fault::StandbyCrash => self.standby.up = true,
            _ => {}
        }
    }
}
