//! One load for the fleet, step by step as the runner does it: who takes the lease loads, the others wait a little and look again.
//!
//! No answer depends on it. What has to hold is that nobody waits longer than the time that it has for that, whatever becomes of the holder.

use super::fleet::{Event, Fleet};
use super::laws::Law;
use super::node::{Read, Task};
use super::queueing::{Job, PATIENCE};

/// Between two looks, at first and at most.
const STEP: [u64; 2] = [2_000, 20_000];
/// What the last look may take beyond the time to wait: a pause, four calls at the longest, and a node's own steps.
const BEYOND: u64 = STEP[1] + 4 * PATIENCE + 40_000;

/// How a question waits for the load of another node.
#[derive(Debug)]
pub(crate) struct Leasing {
    since: u64,
    /// Until when it waits; none before it is known that another node loads.
    until: Option<u64>,
    step: u64,
    /// At the last look nobody had the lease.
    is_free: bool,
    /// It has looked for the last time.
    is_last: bool,
}

impl Fleet<'_> {
    /// Looks what the tier has for a question, and whether somebody loads it.
    pub(crate) fn ask_tier(&mut self, task: u64, read: Box<Read>) {
        let (stored, generation) = self.tier.get(read.node, read.query);
        let is_free = !self.tier.is_leased(read.node, Some(read.query), self.now);
        let delay = self.tier_delay();
        self.tasks.insert(task, Task::Read(read));
        if delay > PATIENCE || !self.tier.up {
            return self.after(delay.min(PATIENCE), Event::TierSilent(task));
        }
        self.after(delay, Event::TierAnswered(task, stored, generation, is_free));
    }

    /// It has not answered: nobody waits for it any more.
    pub(crate) fn tier_silent(&mut self, task: u64) {
        if let Some(read) = self.taken(task) {
            self.saw("tier: did not answer");
            self.load(task, read);
        }
    }

    /// It has answered; whether the lease was free then is known from now on.
    pub(crate) fn note_lease(read: &mut Read, is_free: bool) {
        if let Some(leasing) = &mut read.leasing {
            leasing.is_free = is_free;
        }
    }

    /// The tier has nothing that can be used: this node loads, or waits for who does.
    pub(crate) fn missed(&mut self, task: u64, mut read: Box<Read>) {
        let now = self.now;
        match &read.leasing {
            None if self.rates.tier_wait == 0 => self.load(task, read),
            None => {
                read.leasing = Some(Leasing {
                    since: now,
                    until: None,
                    step: STEP[0],
                    is_free: true,
                    is_last: false,
                });
                self.take_lease(task, read);
            }
            Some(leasing) if leasing.is_last => self.load(task, read),
            Some(leasing) if leasing.is_free && self.law != Law::WaitsForHolder => {
                self.saw("lease: found free");
                self.take_lease(task, read);
            }
            Some(_) => self.wait_for_holder(task, read),
        }
    }

    fn take_lease(&mut self, task: u64, mut read: Box<Read>) {
        let until = self.now + self.rates.tier_wait;
        let (node, name, delay) = (read.node, Some(read.query), self.tier_delay());
        let up = self.tier.up;
        let taken = up.then(|| self.tier.lease(node, name, self.now, until));
        let taken = taken.filter(|_| delay <= PATIENCE);
        read.held = taken.filter(|taken| *taken).map(|_| until);
        self.tasks.insert(task, Task::Read(read));
        self.after(delay.min(PATIENCE), Event::Leased(task, taken));
    }

    /// The tier has said who has the lease, or nothing.
    pub(crate) fn leased(&mut self, task: u64, taken: Option<bool>) {
        let Some(mut read) = self.taken(task) else {
            return;
        };
        let now = self.now;
        let Some(leasing) = &mut read.leasing else {
            return self.load(task, read);
        };
        match taken {
            Some(false) => {
                leasing.until.get_or_insert(now + self.rates.tier_wait);
                self.saw("lease: another has it");
                self.wait_for_holder(task, read);
            }
            // Whoever gave it back may have written the answer between our look and our taking it.
            Some(true) if leasing.until.is_some() => {
                leasing.is_last = true;
                self.saw("lease: taken after a wait");
                self.ask_tier(task, read);
            }
            Some(true) => {
                self.saw("lease: taken");
                self.load(task, read);
            }
            None => {
                self.saw("lease: no answer");
                self.load(task, read);
            }
        }
    }

    fn wait_for_holder(&mut self, task: u64, mut read: Box<Read>) {
        self.hold_to_wait(&read);
        let now = self.now;
        let Some(leasing) = &mut read.leasing else {
            return self.load(task, read);
        };
        if leasing.until.is_none_or(|until| until <= now) && self.law != Law::WaitsForHolder {
            self.saw("lease: waited in vain");
            return self.load(task, read);
        }
        let step = leasing.step;
        leasing.step = (step * 2).min(STEP[1]);
        self.tasks.insert(task, Task::Read(read));
        self.after(step, Event::LeaseLook(task));
    }

    pub(crate) fn look_again(&mut self, task: u64) {
        if let Some(read) = self.taken(task) {
            self.ask_tier(task, read);
        }
    }

    /// Nobody waits for another node's load longer than it has time for, unless its own node stands still.
    pub(crate) fn hold_to_wait(&mut self, read: &Read) {
        let Some(leasing) = &read.leasing else { return };
        let waited = self.now - leasing.since;
        let stood_still = self.nodes[read.node].paused_until > leasing.since;
        if waited > self.rates.tier_wait + BEYOND && !stood_still {
            self.objects(format!(
                "a question on node {} has waited {waited} us for the load of another",
                read.node
            ));
        }
    }

    /// A load has ended: its lease is given back, behind the answer if that is to be written.
    pub(crate) fn end_lease(&mut self, read: &mut Read) {
        read.leasing = None;
        let Some(until) = read.held.take() else { return };
        if self.now >= until {
            self.saw("lease: ended by itself");
        } else if !self.offer(read.node, Job::Release(read.query, until)) {
            self.saw("lease: not given back");
        }
    }
}
