//! Applying: what the change feed brings, and what it fails to bring.

use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use hashbrown::HashMap;

use super::coherent::{Coherent, Feed, Inner, Shared};
use super::domain::{Domain, Reach, Version};
use super::log::{Fallen, Logged, Record};
use super::outcome::{Applied, Course};
use super::publish::record;
use super::state::{Hits, guarded};
use crate::clock::Tick;
use crate::listener::Garbage;
use crate::shim::lock;

/// Changes that are matched before the coherence lock is released for a moment.
const CHUNK: usize = 32;

/// What one poll of the feed brought.
pub struct Batch<D: Domain> {
    /// The history it belongs to.
    pub epoch: u64,
    /// The state that the changes go on from: all before it were told by earlier batches.
    pub since: D::Version,
    /// The changes, in any order.
    pub changes: Vec<D::Change>,
    /// A state that includes all of them and all changes before: where the feed goes on.
    pub position: D::Version,
    /// When the poll began, by a clock that readers can compare with.
    pub polled_at: Tick,
}

impl<D: Domain<Change: Clone>> Clone for Batch<D> {
    fn clone(&self) -> Self {
        Self {
            epoch: self.epoch,
            since: self.since.clone(),
            changes: self.changes.clone(),
            position: self.position.clone(),
            polled_at: self.polled_at,
        }
    }
}

impl<D: Domain> fmt::Debug for Batch<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("epoch", &self.epoch)
            .field("since", &self.since)
            .field("changes", &self.changes)
            .field("position", &self.position)
            .field("polled_at", &self.polled_at)
            .finish()
    }
}

/// What leaves while locks are held, to be told of and dropped without any.
struct Leavings<K, V, D: Domain, E> {
    garbage: Garbage<K, Shared<V, D>, E>,
    fallen: Vec<Fallen<D>>,
    hits: Hits<K, D>,
}

/// Clears the cache unless everything went well: after a panic in the middle (of a key's comparison, say) nobody knows what is left
/// in it that should be gone.
struct AllOrNothing<'a, F: Fn()>(Option<&'a F>);

impl<F: Fn()> Drop for AllOrNothing<'_, F> {
    fn drop(&mut self) {
        if let Some(clear) = self.0 {
            clear();
        }
    }
}

impl<K, V, D, E, S> Coherent<K, V, D, E, S>
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Send + Sync + 'static,
    D: Domain,
    S: BuildHasher + Send + Sync + 'static,
{
    /// Applies what a poll brought: logs the changes, drops what they touch, and then raises the mark.
    ///
    /// A batch without changes only moves the mark. A batch that was applied before does no harm. One that goes on from a state
    /// that was not reached, because the batch before it was lost, or whose position is neither before nor after the last one, proves
    /// that changes are missing: everything goes, and the mark is suspended.
    ///
    /// Entries whose version includes a change are not dropped by it. A change of a whole group, and more changes of one group than
    /// [`bulk`](super::CoherenceOptions::bulk), cost constant time whatever is cached; others a search each, with the coherence lock
    /// released after every 32. (The first batch after a reset is logged change by change while nothing is cached.) Batches wait for each other. The listener is told once the mark is raised.
    pub fn apply(&self, batch: Batch<D>) -> Applied {
        self.with_feed(|feed, leavings| self.apply_to(feed, batch, leavings))
    }

    /// Starts to follow a history from a position on, at the beginning or after a gap: everything goes, at one instant and
    /// in constant time, flights included; none that began before is ever kept. The mark is the position then.
    pub fn reset(&self, epoch: u64, position: D::Version, polled_at: Tick) {
        self.reset_but(epoch, position, polled_at, || None);
    }

    /// The same, with the mark hidden where `doubt` says why. It is asked within the step that shows the mark: what it says yes to is
    /// either known then, or followed by a [`suspend`](Self::suspend) that waits for this step.
    pub fn reset_but(
        &self,
        epoch: u64,
        position: D::Version,
        polled_at: Tick,
        doubt: impl FnOnce() -> Option<&'static str>,
    ) {
        self.with_feed(|feed, leavings| {
            let doubt = doubt();
            self.restart(feed, (epoch, position, polled_at), doubt, leavings);
        });
    }

    /// Hides the mark until [`resume`](Self::resume) or [`reset`](Self::reset): nobody knows what has changed. Entries stay, are found
    /// and are true at their own version; batches are applied all the same. `why` is for people.
    pub fn suspend(&self, why: &'static str) {
        self.with_feed(|feed, _| {
            feed.suspended = Some(why);
            self.inner.watermark.hide();
        });
    }

    /// Shows the mark again, where the last batch left it: nothing was missed. Does nothing before the first reset.
    pub fn resume(&self) {
        self.resume_if(|| true);
    }

    /// The same, if that is so. It is asked within the step that shows the mark, because what was true before need not be any more:
    ///
    /// ```text
    /// feed                                   writer
    /// nobody doubts
    ///                                        doubts, suspends
    /// resumes: the doubt is forgotten
    /// ```
    pub fn resume_if(&self, known: impl FnOnce() -> bool) {
        self.with_feed(|feed, _| {
            if feed.position.is_some() && known() {
                feed.suspended = None;
                self.inner.show(feed);
            }
        });
    }

    /// Does something under the feed's lock, and lets go of what that leaves without it.
    fn with_feed<R>(&self, act: impl FnOnce(&mut Feed<D::Version>, &mut Leavings<K, V, D, E>) -> R) -> R {
        let mut leavings = Leavings {
            garbage: Garbage::default(),
            fallen: Vec::new(),
            hits: Hits::new(),
        };
        let result = act(&mut lock(&self.inner.feed), &mut leavings);
        self.cache.core.tell(&leavings.garbage);
        result
    }

    fn apply_to(
        &self,
        feed: &mut Feed<D::Version>,
        batch: Batch<D>,
        leavings: &mut Leavings<K, V, D, E>,
    ) -> Applied {
        let Batch {
            epoch,
            since,
            changes,
            position,
            polled_at,
        } = batch;
        let mut applied = Applied::default();
        let goes_on = feed.epoch == Some(epoch) || self.inner.rules.mixes_epochs();
        let last = feed.position.as_ref().filter(|_| goes_on);
        let (course, position) = match last {
            None => (Course::OtherEpoch, None),
            Some(last) if !last.includes(&since) && !self.inner.rules.trusts_batches() => {
                let why = "a batch of the feed is missing";
                self.restart(feed, (epoch, position, polled_at), Some(why), leavings);
                (Course::Gap, None)
            }
            Some(last) if position.includes(last) => (Course::Follows, Some(position)),
            Some(last) if last.includes(&position) => (Course::Repeats, Some(last.clone())),
            Some(_) => {
                let why = "the feed's positions do not follow each other";
                self.restart(feed, (epoch, position, polled_at), Some(why), leavings);
                (Course::Gap, None)
            }
        };
        applied.course = course;
        let Some(position) = position else {
            return applied;
        };
        let clear = || self.cache.clear();
        let mut all = AllOrNothing(Some(&clear));
        feed.position = Some(position.clone());
        feed.polled_at = feed.polled_at.max(polled_at);
        if self.inner.rules.raises_mark_first() {
            self.inner.show(feed);
        }
        let replays =
            std::mem::take(&mut feed.anew) && self.inner.bulk > 0 && self.inner.lock().scopes.len() == 0;
        let logged = self.inner.logged(changes, position, polled_at, replays);
        self.apply_logged(&Arc::new(logged), leavings, &mut applied);
        self.inner.show(feed);
        all.0 = None;
        applied
    }

    /// Matches a batch, some changes at a time.
    fn apply_logged(
        &self,
        batch: &Arc<Logged<D>>,
        leavings: &mut Leavings<K, V, D, E>,
        applied: &mut Applied,
    ) {
        let inner = &*self.inner;
        let mut next = 0;
        loop {
            let mut state = inner.lock();
            if next == 0 {
                state.stats.batches += 1;
                if !batch.records.is_empty() {
                    // Before the first change is matched: a publication that registers from here on finds all of them.
                    leavings.fallen.push(state.log.push(Arc::clone(batch)));
                }
            }
            let end = batch.records.len().min(next + CHUNK);
            for at in next..end {
                state.apply((&inner.domain, &inner.rarity), batch, at, &mut leavings.hits);
            }
            drop(state);
            self.take_out(leavings, applied);
            next = end;
            if next == batch.records.len() {
                return;
            }
        }
    }

    /// Takes what was hit out of the cache.
    fn take_out(&self, leavings: &mut Leavings<K, V, D, E>, applied: &mut Applied) {
        let Leavings { garbage, hits, .. } = leavings;
        applied.poisoned += std::mem::take(&mut hits.poisoned);
        applied.floors += std::mem::take(&mut hits.floors);
        applied.dropped += hits.doomed.len();
        if std::mem::take(&mut hits.everything) {
            self.cache.clear();
        }
        for (key, ticket) in hits.doomed.drain(..) {
            let hash = self.cache.hash(&key);
            self.cache.core.write_untold(hash, garbage, |shard, config, out| {
                shard.remove_if(hash, &key, |entry| entry.ticket == ticket, config, out)
            });
        }
    }

    /// Forgets everything and goes on from a position.
    fn restart(
        &self,
        feed: &mut Feed<D::Version>,
        (epoch, position, polled_at): (u64, D::Version, Tick),
        suspended: Option<&'static str>,
        leavings: &mut Leavings<K, V, D, E>,
    ) {
        feed.epoch = Some(epoch);
        feed.position = Some(position.clone());
        feed.polled_at = polled_at;
        feed.suspended = suspended;
        feed.anew = true;
        // Between the two below a reader may hold the old mark and find nothing, or what was published since.
        let mut state = self.inner.lock();
        state.epoch = Some(epoch);
        leavings.fallen.push(state.log.restart(position));
        state.forget_all(&mut leavings.hits);
        drop(state);
        self.take_out(leavings, &mut Applied::default());
        self.inner.show(feed);
    }
}

impl<K, D: Domain> Inner<K, D> {
    /// Shows readers where the feed stands.
    fn show(&self, feed: &Feed<D::Version>) {
        match (feed.epoch, &feed.position, feed.suspended) {
            (Some(epoch), Some(position), None) => {
                self.watermark.raise(epoch, position.clone(), feed.polled_at);
            }
            _ => self.watermark.hide(),
        }
    }

    /// Makes log records of changes; those of a group that has too many become one, unless they are what a new log begins with: while nothing is cached they cost
    /// no search, and whoever brings a value from elsewhere wants to know which of them touch it.
    fn logged(
        &self,
        changes: Vec<D::Change>,
        position: D::Version,
        polled_at: Tick,
        replays: bool,
    ) -> Logged<D> {
        let crowded = if replays {
            HashMap::new()
        } else {
            self.crowded(&changes)
        };
        let mut records = Vec::with_capacity(changes.len());
        let mut bytes = 0;
        for change in changes {
            let in_crowd = guarded(|| match self.domain.reach(&change) {
                Reach::Some(group) => crowded.contains_key(group),
                Reach::Group(_) | Reach::Everything => false,
            });
            if in_crowd == Some(true) {
                continue;
            }
            bytes += guarded(|| self.domain.bytes(&change)).unwrap_or(size_of::<D::Change>());
            records.push(record(self, change));
        }
        for (group, ()) in crowded {
            records.push(Record::Group {
                hash: self.hash(&group),
                group,
                origin: None,
            });
        }
        Logged {
            bytes: bytes + records.len() * size_of::<Record<D>>(),
            records,
            position,
            polled_at,
        }
    }

    /// Finds the groups with too many changes.
    fn crowded(&self, changes: &[D::Change]) -> HashMap<D::Group, ()> {
        if changes.len() <= self.bulk {
            return HashMap::new();
        }
        let mut counts: HashMap<D::Group, usize> = HashMap::new();
        for change in changes {
            let group = guarded(|| match self.domain.reach(change) {
                Reach::Some(group) => Some(group.clone()),
                Reach::Group(_) | Reach::Everything => None,
            });
            if let Some(group) = group.flatten() {
                *counts.entry(group).or_default() += 1;
            }
        }
        counts.retain(|_, count| *count > self.bulk);
        counts.into_iter().map(|(group, _)| (group, ())).collect()
    }
}
