//! What a node writes to the tier, step by step as the runner does it: a bounded queue that one task works off in batches, in order, call by call.
//!
//! Each call has a time. One that takes longer is given up, and what it was to do may be done later all the same; one that fails may have been done in
//! part. No answer depends on the order, and in some runs values and deletes of a batch change places. Only the delete of a value that was found
//! to be wrong has to come behind the value itself, for that the log does not speak against.

use std::collections::VecDeque;

use ci_cache_core::ci::CiShared;
use ci_cache_core::coherence::Mark;
use ci_model::{Key, Version};

use super::estate::Shown;
use super::fleet::{Event, Fleet};
use super::laws::Law;
use super::tier::{Put, Stored};

/// Until a call to the tier is given up.
pub(crate) const PATIENCE: u64 = 25_000;
/// Before a wrong value is deleted that could not be.
const AGAIN: u64 = 10_000;
/// How long a node may confirm before others do.
const CONFIRMING: u64 = 2_000;

/// Something to do.
#[derive(Debug, Clone)]
pub(crate) enum Job {
    /// A loaded answer is kept; the tier's generation at the miss goes along.
    Put(Stored, Option<u64>),
    /// An answer of the tier is kept: at which state, and at which it was loaded.
    Adopted(usize, Version, Version),
    /// Changes have dropped answers.
    Dropped,
    /// The value of a question is wrong, whatever the log says; the load is named for the judge.
    Delete(usize, u64),
    /// A load has ended, and its lease is given back, unless it has ended by itself.
    Release(usize, u64),
    /// Confirms what is used.
    Refresh,
}

/// A call to be made, or something to be noted between two.
pub(crate) enum Call {
    Put(Vec<(Stored, Put)>),
    /// Changes have dropped answers: which, is asked when it is their turn.
    Drops,
    DeleteAll(Vec<usize>),
    Delete(usize, u64),
    Release(Vec<(usize, u64)>),
    Remember(usize, Version, Version),
    Refresh,
    /// Confirming: who does it, which entries, and whether they are still there.
    Lease(Confirming),
    Look(Vec<Stored>),
}

/// What was read before it is known who confirms.
pub(crate) enum Confirming {
    /// The mark; the entries are next.
    Marked(Mark<Version>),
    /// The entries; the mark is next: the broken rule.
    Read(Vec<(Key, CiShared<Shown>)>),
}

/// How a call ended for the node that made it.
pub(crate) enum Called {
    /// It failed, or was given up: what it was to do.
    Failed(Call),
    Put(Vec<(Stored, Put)>),
    Deleted(usize, u64),
    Done,
    Leased(Confirming, bool),
    Looked(Vec<Stored>, u64),
}

impl Fleet<'_> {
    /// Has something done, if there is room; says whether there is.
    pub(crate) fn offer(&mut self, number: usize, job: Job) -> bool {
        let room = self.rates.jobs;
        let node = &mut self.nodes[number];
        if node.todo.jobs.len() >= room {
            self.saw("queue: full");
            return false;
        }
        node.todo.jobs.push_back(job);
        if !std::mem::replace(&mut node.todo.is_busy, true) {
            let life = node.life;
            let step = self.step();
            self.after(step, Event::Work(number, life));
        }
        true
    }

    /// Has a value deleted that is wrong, as soon as there is room, however long that takes.
    pub(crate) fn owe(&mut self, (number, life): (usize, u64), query: usize, load: u64) {
        if self.nodes[number].life == life && !self.offer(number, Job::Delete(query, load)) {
            self.saw("queue: a delete waits for room");
            self.after(1_000, Event::Owed(number, life, query, load));
        }
    }

    /// The next call of the batch, or the next batch.
    pub(crate) fn work(&mut self, number: usize, life: u64) {
        if self.nodes[number].life != life {
            return;
        }
        while let Some(call) = self.nodes[number].todo.calls.pop_front() {
            if self.is_called(number, call) {
                return;
            }
        }
        let node = &mut self.nodes[number];
        if node.todo.jobs.is_empty() {
            node.todo.is_busy = false;
            return;
        }
        let most = node.todo.jobs.len().min(self.rates.batch);
        let batch: Vec<Job> = node.todo.jobs.drain(..most).collect();
        let calls = self.planned(batch);
        self.nodes[number].todo.calls = calls;
        let step = self.step();
        self.after(step, Event::Work(number, life));
    }

    /// The calls of a batch, in the order in which its jobs came: what was dropped after it was written must not be there afterwards.
    fn planned(&mut self, batch: Vec<Job>) -> VecDeque<Call> {
        let (mut calls, mut puts, mut released) = (VecDeque::new(), Vec::new(), Vec::new());
        let reorders = self.chance(self.rates.reorder);
        let overtakes = self.law == Law::DeletesOvertake;
        for job in batch {
            match job {
                Job::Put(stored, lease) => puts.push((stored, Put::Loaded(lease))),
                Job::Dropped if reorders => {
                    self.saw("queue: deletes before values");
                    calls.push_back(Call::Drops);
                }
                Job::Dropped => {
                    calls.push_back(Call::Put(std::mem::take(&mut puts)));
                    calls.push_back(Call::Drops);
                }
                Job::Delete(query, load) if overtakes => calls.push_front(Call::Delete(query, load)),
                Job::Delete(query, load) => {
                    calls.push_back(Call::Put(std::mem::take(&mut puts)));
                    calls.push_back(Call::Delete(query, load));
                }
                Job::Adopted(query, kept, loaded) => calls.push_back(Call::Remember(query, kept, loaded)),
                Job::Release(query, until) => released.push((query, until)),
                Job::Refresh => calls.push_back(Call::Refresh),
            }
        }
        calls.push_back(Call::Put(puts));
        calls.push_back(Call::Release(released));
        calls
    }

    /// Makes a call; says whether there is something to wait for.
    fn is_called(&mut self, number: usize, call: Call) -> bool {
        let now = self.now;
        let call = match call {
            Call::Put(values) if values.is_empty() => return false,
            Call::Remember(query, kept, loaded) => {
                self.nodes[number].known.insert(query, (kept, loaded));
                return false;
            }
            Call::Release(held) => {
                let held: Vec<_> = held.into_iter().filter(|(_, until)| now < *until).collect();
                if held.is_empty() {
                    return false;
                }
                Call::Release(held)
            }
            Call::Drops => {
                let dropped = self.dropped(number);
                dropped.iter().for_each(|_| self.saw("dropped by a change"));
                Call::DeleteAll(dropped)
            }
            Call::Refresh => match self.confirming(number) {
                Some(confirming) => Call::Lease(confirming),
                None => return false,
            },
            call => call,
        };
        self.call(number, call);
        true
    }

    fn call(&mut self, number: usize, call: Call) {
        let life = self.nodes[number].life;
        let delay = self.tier_delay();
        if delay > PATIENCE && !self.healed {
            self.saw("queue: a call was given up");
            let owed = match call {
                Call::Delete(query, load) => Some((query, load)),
                _ => None,
            };
            self.after(PATIENCE, Event::GivenUp(number, life, owed));
        }
        self.after(delay, Event::Call(number, life, call, delay > PATIENCE));
    }

    /// The tier does what it is asked to, as far as it goes. Nobody waits any more for what is late.
    pub(crate) fn called(&mut self, number: usize, life: u64, call: Call, is_late: bool) {
        let called = self.done_there(number, call, is_late);
        if !is_late {
            self.after(1, Event::Called(number, life, called));
        }
    }

    fn done_there(&mut self, number: usize, call: Call, is_late: bool) -> Called {
        if !self.tier.up {
            return Called::Failed(call);
        }
        match call {
            Call::Put(mut values) => {
                let is_lost = self.chance(self.rates.lose_put);
                if is_lost {
                    self.saw("queue: a batch was lost in part");
                    let stored = usize::try_from(self.below(values.len() as u64 + 1)).unwrap();
                    values.truncate(stored);
                }
                for (stored, put) in &values {
                    self.put(number, stored.clone(), *put, is_late);
                }
                if is_lost {
                    Called::Failed(Call::Put(values))
                } else {
                    Called::Put(values)
                }
            }
            Call::DeleteAll(queries) => {
                for query in queries {
                    if self.chance(self.rates.lose_delete) {
                        self.saw("tier: delete lost");
                    } else {
                        self.tier.delete(number, query);
                    }
                }
                Called::Done
            }
            Call::Delete(query, load) => {
                if self.chance(self.rates.lose_delete) {
                    self.saw("tier: delete lost");
                    return Called::Failed(Call::Delete(query, load));
                }
                self.tier.delete(number, query);
                Called::Deleted(query, load)
            }
            Call::Release(held) => {
                for (query, _) in held {
                    self.saw("lease: given back");
                    self.tier.give_back(number, Some(query));
                }
                Called::Done
            }
            Call::Lease(confirming) => {
                let until = self.now + CONFIRMING;
                let taken = self.tier.lease(number, None, self.now, until);
                Called::Leased(confirming, taken)
            }
            Call::Look(wanted) => {
                let there = |stored: &Stored| self.tier.get(number, stored.query).0;
                let found: Vec<Option<Stored>> = wanted.iter().map(there).collect();
                let still = wanted.into_iter().zip(found);
                let still = still.filter(|(stored, there)| self.is_still_there(stored, there.as_ref()));
                Called::Looked(still.map(|(stored, _)| stored).collect(), self.now)
            }
            call @ (Call::Remember(..) | Call::Refresh | Call::Drops) => Called::Failed(call),
        }
    }

    /// The node hears how its call ended.
    pub(crate) fn call_ended(&mut self, number: usize, life: u64, called: Called) {
        if self.nodes[number].life != life {
            return;
        }
        match called {
            Called::Put(values) => self.remember(number, values),
            Called::Deleted(query, load) => {
                self.saw("queue: a wrong value was deleted");
                self.say(|| format!("node {number} has had the value of {query} deleted"));
                self.withdrawn.insert((number, load));
                self.nodes[number].todo.owed -= 1;
            }
            Called::Failed(Call::Delete(query, load)) => {
                self.saw("queue: a delete is owed");
                self.after(AGAIN, Event::Owed(number, life, query, load));
            }
            Called::Leased(confirming, true) => return self.confirm(number, confirming),
            Called::Leased(_, false) => self.saw("tier: another node confirms"),
            Called::Looked(values, at) if !values.is_empty() => {
                let values = values.into_iter().map(|stored| (stored, Put::Confirmed(at)));
                return self.call(number, Call::Put(values.collect()));
            }
            Called::Failed(_) | Called::Done | Called::Looked(..) => {}
        }
        self.work(number, life);
    }

    /// The node has waited long enough for a call. A delete that has to be done is done again.
    pub(crate) fn gave_up(&mut self, number: usize, life: u64, owed: Option<(usize, u64)>) {
        let failed = owed.map(|(query, load)| Called::Failed(Call::Delete(query, load)));
        self.call_ended(number, life, failed.unwrap_or(Called::Done));
    }

    /// The questions whose answers changes have dropped since this was asked last.
    fn dropped(&mut self, number: usize) -> Vec<usize> {
        let (drops, told) = self.nodes[number].cache.dropped_since(self.nodes[number].told);
        self.nodes[number].told = told;
        let keys = drops.into_iter().filter_map(|drop| drop.key);
        keys.filter_map(|key| self.estate.query_of(&key)).collect()
    }

    /// The tier stores a value.
    fn put(&mut self, node: usize, mut stored: Stored, put: Put, is_late: bool) {
        if self.law == Law::StampsWhenStored
            && let Some(mark) = self.nodes[node]
                .cache
                .mark()
                .filter(|mark| mark.epoch() == stored.epoch)
        {
            stored.validated = mark.version().clone();
        }
        self.say(|| {
            format!(
                "the tier stores {} of node {node}, true at {}",
                stored.query, stored.validated
            )
        });
        if let Put::Loaded(_) = put
            && self.withdrawn.contains(&(node, stored.load))
        {
            if !is_late {
                let query = stored.query;
                self.objects(format!(
                    "node {node} writes the wrong value of {query}, which it has had deleted"
                ));
            }
            self.saw("queue: a value came late, after its delete");
        }
        let there = self.tier.get(node, stored.query).0;
        let is_other = there.filter(|there| !there.is_of_load(&stored));
        if let (Put::Confirmed(looked_at), Some(there)) = (put, is_other) {
            if there.since < looked_at && self.law != Law::ConfirmsWhatItHad {
                let query = stored.query;
                self.objects(format!(
                    "node {node} confirms its value of {query} over another load's"
                ));
            }
            self.saw("tier: confirmed over what came between look and write");
        }
        self.tier.put(node, stored, put, self.now);
    }

    /// What a node has written it may confirm.
    fn remember(&mut self, number: usize, values: Vec<(Stored, Put)>) {
        for (stored, put) in values {
            if let Put::Loaded(_) = put {
                let known = (stored.loaded.clone(), stored.loaded);
                self.nodes[number].known.insert(stored.query, known);
            } else {
                self.saw("tier: validity renewed");
            }
        }
    }

    /// Begins to confirm: the mark, before the entries.
    fn confirming(&mut self, number: usize) -> Option<Confirming> {
        let cache = &self.nodes[number].cache;
        if self.law == Law::ConfirmsAtLaterMark {
            return Some(Confirming::Read(cache.entries(usize::MAX)));
        }
        cache.mark().map(Confirming::Marked)
    }

    /// What a node has in memory after it has read the mark is true at the mark.
    fn confirm(&mut self, number: usize, confirming: Confirming) {
        let life = self.nodes[number].life;
        let cache = &self.nodes[number].cache;
        let (mark, entries) = match confirming {
            Confirming::Marked(mark) => (Some(mark), cache.entries(usize::MAX)),
            Confirming::Read(entries) => (cache.mark(), entries),
        };
        let Some(mark) = mark else {
            return self.work(number, life);
        };
        let mut confirmed = Vec::new();
        for (key, entry) in entries {
            let Some(query) = self.estate.query_of(&key) else {
                continue;
            };
            let known = self.nodes[number].known.get(&query);
            let known = known.filter(|(kept, _)| kept == entry.version());
            let loaded = if self.law == Law::ConfirmsWhatItHad {
                Some(entry.version().clone())
            } else {
                known.map(|(_, loaded)| loaded.clone())
            };
            let (epoch, validated) = mark.as_of(&entry);
            let Some(loaded) = loaded.filter(|_| entry.epoch() == epoch) else {
                continue;
            };
            let shown = entry.value().answer();
            confirmed.push(Stored {
                epoch,
                query,
                loaded,
                validated: validated.clone(),
                answer: shown.answer.clone(),
                loaded_at: shown.loaded_at,
                load: shown.load,
                since: 0,
                damaged: false,
            });
        }
        self.call(number, Call::Look(confirmed));
    }

    /// Whether the tier still has the very load, confirmed at an earlier state.
    fn is_still_there(&mut self, stored: &Stored, there: Option<&Stored>) -> bool {
        let is_it = there.is_some_and(|there| {
            there.is_of_load(stored) && !there.damaged && !there.validated.includes(&stored.validated)
        });
        if !is_it {
            self.saw("tier: another load is there");
        }
        is_it || matches!(self.law, Law::ConfirmsWhatItHad | Law::ConfirmsOverOthers)
    }

    /// A node confirms now and then.
    pub(crate) fn refresh(&mut self, number: usize, life: u64) {
        if self.healed || self.nodes[number].life != life {
            return;
        }
        let again = 1 + self.below(2 * self.rates.confirm);
        self.after(again, Event::Refresh(number, life));
        self.offer(number, Job::Refresh);
    }

    /// An auditor finds an answer wrong that a node has: it is forgotten there, what the node was told before is not believed any more, and the tier's value is
    /// deleted, which is owed.
    pub(crate) fn withdraw(&mut self, number: usize, query: usize) -> bool {
        let waiting = self.nodes[number].todo.jobs.iter().find_map(|job| match job {
            Job::Put(stored, _) => Some(stored.query),
            _ => None,
        });
        // That which is about to be written is the one to look at.
        let query = waiting.filter(|_| self.below(2) == 0).unwrap_or(query);
        let key = &self.estate.queries[query].key;
        let entries = self.nodes[number].cache.entries(usize::MAX);
        let found = entries.iter().find(|(there, _)| there == key);
        let (Some((_, entry)), true) = (found, self.nodes[number].alive) else {
            return false;
        };
        let load = entry.value().answer().load;
        let (now, law) = (self.now, self.law);
        let node = &mut self.nodes[number];
        node.forget_elsewhere(now, law);
        node.cache.invalidate(key);
        node.withdrawn_at.insert(query, now);
        if self.rates.has_tier {
            node.todo.owed += 1;
            let life = node.life;
            self.owe((number, life), query, load);
        }
        true
    }
}
