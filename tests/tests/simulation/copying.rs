//! A load from the standby, step by step as the runner does it: the floor, the epoch's name, the statement, the comparison with the floor, the wait
//! for the primary.
//!
//! Whatever goes wrong on the way is asked of the primary. What is left out is how long a standby that fails is left alone, on which no answer depends.

use std::collections::BTreeSet;

use ci_cache_core::coherence::Mark;
use ci_model::Version;

use super::database::Found;
use super::faults::Fault;
use super::fleet::{Event, Fleet};
use super::laws::Law;
use super::node::{Read, Source, Task};
use super::reads::AsOf;
use super::standby::{Snapshot, Told};

/// Until a standby that does not answer is given up.
const PATIENCE: u64 = 60_000;
/// The first pause between two looks at how far it is; each is twice the one before.
const LOOK: u64 = 1_000;
/// On a standby that follows another server, between two transactions from there.
const ELSEWHERE: u64 = 2_000;

/// A load from the standby under way.
pub(crate) struct Copying {
    /// What its answer has to include.
    floor: Mark<Version>,
    /// Messages with another number are of a load that was given up.
    id: u64,
    /// Only the state is asked for, to see how far it is.
    is_look: bool,
    /// Until when it waits for the standby, from its first look on, and its next pause.
    until: Option<u64>,
    pause: u64,
    before: Before,
    /// An answer that includes the floor, and waits for the primary.
    taken: Option<(Snapshot, Version)>,
}

/// What was known when a statement was sent.
#[derive(Default)]
struct Before {
    /// Of the standby.
    run: u64,
    /// Of the primary, in the epoch of the floor.
    timeline: u64,
    /// Transactions that were committed there.
    committed: BTreeSet<u64>,
}

/// What comes next.
pub(crate) enum CopyStep {
    /// The primary is asked to write down its epoch, and has answered.
    Name,
    Named(Result<u64, &'static str>),
    /// The standby takes a snapshot and reads, then tells of its state.
    Snapshot,
    Tell(Snapshot),
    Answered(Option<Told>),
    Look,
    /// The primary has not shown it in time.
    Late,
    /// Nobody has answered.
    Hung,
}

impl CopyStep {
    /// Whether it is the node that takes it.
    pub(crate) fn is_at_node(&self) -> bool {
        !matches!(self, Self::Name | Self::Snapshot | Self::Tell(_))
    }
}

/// What is the same a moment later.
fn is_final(why: &str) -> bool {
    !matches!(
        why,
        "standby: behind" | "standby: blurred" | "standby: another history"
    )
}

impl Fleet<'_> {
    /// The standby replays what it has got to by now.
    fn replay(&mut self) {
        if self.standby.is_away {
            while *self.standby.due.get_or_insert(self.now) <= self.now {
                let write = self.draw();
                self.standby.replay_elsewhere(write);
                self.standby.due = self.standby.due.map(|due| due + ELSEWHERE);
            }
            return;
        }
        while self.standby.up && self.standby.paused_until <= self.now {
            let Some(since) = self.standby.waits_since(&self.database) else {
                return;
            };
            let pace = if self.healed { 1 } else { self.rates.replay_pace };
            let drawn = self.standby.due;
            let due = drawn.unwrap_or_else(|| since + self.below(pace));
            self.standby.due = Some(due);
            if due > self.now {
                return;
            }
            self.standby.replay(&self.database, due);
        }
    }

    /// Whether nodes can tell a standby of what is restored from one of the history that they follow. They cannot where the copy is of that very epoch and goes on
    /// with its timeline, as long as they have not heard of the new one ("not told apart" in decision 28): that does not happen here.
    ///
    /// ```text
    /// a node                    the primary                          the standby
    /// its mark is 111 of E      E is written down, a copy is made
    /// (hears nothing more)      the copy's files are put back
    ///                           another 110 commits                  a copy of that: it shows E and 111
    /// takes its answer for one of E
    /// ```
    pub(crate) fn is_told_apart(&self) -> bool {
        let name = self.database.name_of_copy();
        let marks = self.nodes.iter().filter_map(|node| node.cache.mark());
        !marks.map(|mark| Some(mark.epoch())).any(|epoch| epoch == name)
    }

    /// The primary's history ends otherwise than in its log: after a while the standby is made anew.
    pub(crate) fn leave_standby_behind(&mut self) {
        if !self.rates.has_standby {
            return;
        }
        let present = self.database.histories.last();
        let present = present.map(|history| history.from.timeline);
        let streams = match self.below(3) {
            0 => None,
            1 => present,
            _ => self.standby.streams(),
        };
        self.standby.is_left_behind(streams);
        let delay = 1 + self.below(50_000);
        self.after(delay, Event::Rebuilt);
    }

    pub(crate) fn rebuild_standby(&mut self) {
        self.saw("standby: made anew");
        self.say(|| "the standby is made anew".to_owned());
        self.standby.rebuild(&self.database);
    }

    /// Something strikes the standby; says whether it did.
    pub(crate) fn strike_standby(&mut self, fault: Fault, mend: u64) -> bool {
        if !self.rates.has_standby {
            return false;
        }
        self.replay();
        match fault {
            Fault::StandbyCrash => {
                let back = usize::try_from(1 + self.below(4)).unwrap();
                self.standby.crash(&self.database, back)
            }
            Fault::StandbyPaused => {
                self.standby.paused_until = self.now + mend;
                true
            }
            Fault::StandbyAway if !self.standby.is_away => {
                let is_promoted = self.below(4) == 0;
                self.standby.leave(is_promoted);
                let delay = 1 + self.below(50_000);
                self.after(delay, Event::Rebuilt);
                true
            }
            _ => false,
        }
    }

    pub(crate) fn heal_standby(&mut self) {
        self.standby.up = true;
        self.standby.paused_until = 0;
        self.standby.rebuild(&self.database);
    }

    /// How long a message to the standby or back takes.
    fn standby_delay(&mut self) -> u64 {
        let slow = self.chance(self.rates.slow_standby);
        1 + self.below(if slow { 30_000 } else { 500 })
    }

    /// Begins to load from the standby, if it is known what its answer has to include.
    pub(crate) fn copy(&mut self, task: u64, mut read: Box<Read>) {
        let Some(floor) = self.nodes[read.node].floor(self.law) else {
            self.saw("standby: no mark");
            return self.load_of_primary(task, read);
        };
        let id = self.number();
        read.begun = self.now;
        read.copying = Some(Box::new(Copying {
            floor,
            id,
            is_look: false,
            until: None,
            pause: LOOK,
            before: Before::default(),
            taken: None,
        }));
        self.tasks.insert(task, Task::Read(read));
        self.after(PATIENCE, Event::Copy(task, id, CopyStep::Hung));
        self.send_to_standby(task, false);
    }

    fn copying(&mut self, task: u64) -> Option<(usize, &mut Copying)> {
        match self.tasks.get_mut(&task)? {
            Task::Read(read) => Some((read.node, read.copying.as_deref_mut()?)),
            Task::Write(_) => None,
        }
    }

    /// A step of a load that was not given up.
    pub(crate) fn copy_step(&mut self, task: u64, id: u64, step: CopyStep) {
        let Some((_, copying)) = self.copying(task).filter(|(_, copying)| copying.id == id) else {
            return;
        };
        let (epoch, is_taken) = (copying.floor.epoch(), copying.taken.is_some());
        match step {
            CopyStep::Name => {
                let named = if self.database.up {
                    let named = self.database.write_name(epoch, self.now);
                    named.ok_or("standby: another history")
                } else {
                    Err("standby: failed")
                };
                let delay = self.database_delay();
                self.after(delay, Event::Copy(task, id, CopyStep::Named(named)));
            }
            CopyStep::Named(named) => self.named(task, named),
            CopyStep::Snapshot => self.snapshot_there(task, id),
            CopyStep::Tell(snapshot) => {
                self.replay();
                let is_there = self.standby.up && self.standby.run == snapshot.run;
                let told = is_there.then(|| self.standby.tell(snapshot, self.law));
                let delay = self.standby_delay();
                self.after(delay, Event::Copy(task, id, CopyStep::Answered(told)));
            }
            CopyStep::Answered(told) => self.told(task, told),
            CopyStep::Look => self.send_to_standby(task, true),
            CopyStep::Late if is_taken => self.refuse_copy(task, "standby: ahead"),
            CopyStep::Late => {}
            CopyStep::Hung => self.refuse_copy(task, "standby: timed out"),
        }
    }

    /// Sends a statement, once the primary has written down its epoch.
    fn send_to_standby(&mut self, task: u64, is_look: bool) {
        let run = self.standby.run;
        let Some((node, copying)) = self.copying(task) else {
            return;
        };
        let (id, epoch) = (copying.id, copying.floor.epoch());
        copying.is_look = is_look;
        let named = self.nodes[node].named.filter(|(named, _)| *named == epoch);
        let Some((_, timeline)) = named else {
            let delay = self.database_delay();
            return self.after(delay, Event::Copy(task, id, CopyStep::Name));
        };
        let keeps = self.law == Law::RemembersOtherRuns;
        let seen = &mut self.nodes[node].committed;
        if seen.0 != run {
            // A new connection: what it was known to show then it may not show any more.
            seen.0 = run;
            if !keeps {
                seen.1.clear();
            }
        }
        let before = Before {
            run,
            timeline,
            committed: seen.1.clone(),
        };
        if let Some((_, copying)) = self.copying(task) {
            copying.before = before;
        }
        if self.chance(self.rates.lose_standby) {
            return;
        }
        let delay = self.standby_delay();
        self.after(delay, Event::Copy(task, id, CopyStep::Snapshot));
    }

    fn named(&mut self, task: u64, named: Result<u64, &'static str>) {
        let Some((node, copying)) = self.copying(task) else {
            return;
        };
        let (epoch, is_look) = (copying.floor.epoch(), copying.is_look);
        match named {
            Ok(timeline) => {
                self.saw("standby: the primary has its name written down");
                self.nodes[node].named = Some((epoch, timeline));
                self.send_to_standby(task, is_look);
            }
            Err(why) => self.wait_for_standby(task, why),
        }
    }

    fn snapshot_there(&mut self, task: u64, id: u64) {
        self.replay();
        let asked = self.copying(task).map(|(_, copying)| copying.before.run);
        if !self.standby.up || asked != Some(self.standby.run) {
            let delay = self.standby_delay();
            return self.after(delay, Event::Copy(task, id, CopyStep::Answered(None)));
        }
        let snapshot = self.standby.look();
        let step = self.step();
        self.after(step, Event::Copy(task, id, CopyStep::Tell(snapshot)));
    }

    /// The standby has answered: what it says of its state is held against what has to be so.
    fn told(&mut self, task: u64, told: Option<Told>) {
        let (law, run) = (self.law, self.standby.run);
        let Some((node, copying)) = self.copying(task) else {
            return;
        };
        let (epoch, is_look, before) = (
            copying.floor.epoch(),
            copying.is_look,
            std::mem::take(&mut copying.before),
        );
        let Some(told) = told else {
            return self.refuse_copy(task, "standby: failed");
        };
        let node = &mut self.nodes[node];
        let state = told.state(epoch, before.timeline, &before.committed, law);
        if state == Err("standby: another history") {
            node.named = None;
        }
        if before.run == run {
            node.note_committed(&told);
        }
        let Some((_, copying)) = self.copying(task) else {
            return;
        };
        match state {
            Ok(version) if version.includes(copying.floor.version()) || law == Law::TrustsWhatIsBehind => {
                if is_look {
                    return self.send_to_standby(task, false);
                }
                copying.taken = Some((told.snapshot, version));
                let (id, wait) = (copying.id, self.rates.standby_wait);
                self.after(wait, Event::Copy(task, id, CopyStep::Late));
                self.shown(task, true);
            }
            Ok(_) => self.wait_for_standby(task, "standby: behind"),
            Err(why) => self.wait_for_standby(task, why),
        }
    }

    /// Looks again after a pause, if what is wrong may pass and there is time.
    fn wait_for_standby(&mut self, task: u64, why: &'static str) {
        let (now, wait) = (self.now, self.rates.standby_wait);
        let Some((_, copying)) = self.copying(task) else {
            return;
        };
        let until = *copying.until.get_or_insert(now + wait);
        if is_final(why) || until <= now {
            return self.refuse_copy(task, why);
        }
        let (id, pause) = (copying.id, copying.pause.min(until - now));
        copying.pause *= 2;
        self.saw("standby: waited for");
        self.after(pause, Event::Copy(task, id, CopyStep::Look));
    }

    /// Uses an answer that the primary has shown, or waits for a poll that tells so.
    pub(crate) fn shown(&mut self, task: u64, good: bool) {
        let law = self.law;
        let Some((number, copying)) = self.copying(task) else {
            return;
        };
        let (epoch, Some((_, version))) = (copying.floor.epoch(), copying.taken.clone()) else {
            return;
        };
        let mark = self.nodes[number].cache.mark();
        let why = match mark {
            None => "standby: no mark",
            Some(mark) if mark.epoch() != epoch => "standby: another history",
            Some(mark) if mark.version().includes(&version) || law == Law::TrustsWhatIsAhead => {
                return self.use_copy(task);
            }
            Some(_) if good && self.rates.standby_wait > 0 => {
                self.saw("standby: waited for the primary");
                return self.wait_for_poll(number, task);
            }
            Some(_) => "standby: ahead",
        };
        self.refuse_copy(task, why);
    }

    /// Has the primary asked instead.
    fn refuse_copy(&mut self, task: u64, why: &'static str) {
        let Some(mut read) = self.taken(task) else {
            return;
        };
        self.saw(why);
        self.say(|| format!("node {} does not use the standby: {why}", read.node));
        read.copying = None;
        let pollers = &mut self.nodes[read.node].pollers;
        pollers.retain(|(_, waiting)| *waiting != task);
        self.load_of_primary(task, read);
    }

    /// Publishes an answer; it serves whoever read a mark that it includes.
    fn use_copy(&mut self, task: u64) {
        let Some(mut read) = self.taken(task) else {
            return;
        };
        let taken = read
            .copying
            .take()
            .and_then(|copying| Some((copying.floor, copying.taken?)));
        let (Some((floor, (snapshot, version))), Some(leader)) = (taken, read.leader.take()) else {
            return self.load_of_primary(task, read);
        };
        self.saw("standby: used");
        let (node, epoch) = (read.node, floor.epoch());
        // Its state says what it includes, not the moment at which it was read: a standby may show what the primary shows later.
        let read_at = self.database.complete_until(epoch, &version, self.now);
        let found = Found {
            epoch,
            version,
            table: snapshot.table,
            read_at,
        };
        let answer = self.estate.ask(&found.table, read.query);
        let entry = self.publish(&read, leader, &answer, &found);
        self.end_lease(&mut read);
        let serves = read.mark.as_ref().is_some_and(|mark| entry.is_as_new_as(mark));
        if self.law == Law::TrustsWhatIsBehind {
            let as_of = AsOf {
                epoch,
                version: &found.version,
                beside: None,
                lag: self.now - read.begun,
                source: Source::Standby,
            };
            self.answered(&read, &answer, &as_of, read_at);
        } else if serves {
            self.hit(&read, &entry, Source::Standby);
        } else {
            self.saw("standby: too old for its reader");
            self.again(task, read);
        }
        self.settle(node);
    }
}
