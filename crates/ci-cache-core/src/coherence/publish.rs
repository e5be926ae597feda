//! Publishing: a load becomes an entry unless a change overtook it.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use super::coherent::{Coherent, CoherentLeader, Inner, Shared};
use super::domain::{Anchor, Domain, Reach, Version};
use super::entry::{Entry, Loaded};
use super::index::Ticket;
use super::log::{Logged, Record};
use super::outcome::{Publication, Published, Why};
use super::state::{Registration, Stage, guarded};
use crate::expiry::Ttl;
use crate::scope::Stamp;
use crate::shard::Landing;

/// How a publication of a domain's ends.
type Ending<D> = Published<<D as Domain>::Reason>;

/// A dependency, ready to be registered.
struct Filed<D: Domain> {
    dependency: Arc<D::Dependency>,
    group: u64,
    anchors: Vec<Anchor>,
    /// What a change must have besides.
    also: Vec<Anchor>,
    hint: D::Hint,
}

/// A registration that is being checked. Dropped by a panic, it is unregistered.
struct Pending<'a, K, D: Domain> {
    inner: &'a Inner<K, D>,
    ticket: Ticket,
    stamp: Stamp,
    /// What was logged that the load may not include.
    late: Vec<Arc<Logged<D>>>,
}

impl<K, D: Domain> Drop for Pending<'_, K, D> {
    fn drop(&mut self) {
        if self.ticket != Ticket::NONE {
            self.inner.retired.push(self.ticket);
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
    /// Ends a load: those who wait get the value with the state it was loaded at, and the cache keeps it unless a change overtook
    /// it. `loaded` is the state as it was read in the transaction that read the value, before the value; `dependency` what the
    /// value was made of. The entry lives as long as the look-up asked for that began the flight.
    ///
    /// Cost: the coherence lock twice for a moment and three shard locks; between them, without a lock, one test of the domain for
    /// each change of the group that came since `loaded`.
    ///
    /// # Why it registers before it checks
    ///
    /// ```text
    /// publisher                              feed
    /// checks the log: nothing
    ///                                        logs a change, finds nobody that it touches
    /// registers, is kept
    /// serves the old value for ever
    /// ```
    ///
    /// Registered first, the change either is in the log that is checked, or meets the registration and poisons it.
    pub fn publish(
        &self,
        leader: CoherentLeader<K, V, D, E>,
        value: V,
        loaded: Loaded<D::Version>,
        dependency: D::Dependency,
    ) -> Publication<V, D::Version, D::Reason> {
        self.publish_as(leader, value, loaded, dependency, None)
    }

    /// Publishes with a time to live of its own; see [`publish`](Self::publish).
    pub fn publish_with(
        &self,
        leader: CoherentLeader<K, V, D, E>,
        value: V,
        loaded: Loaded<D::Version>,
        dependency: D::Dependency,
        ttl: impl Into<Ttl>,
    ) -> Publication<V, D::Version, D::Reason> {
        self.publish_as(leader, value, loaded, dependency, Some(ttl.into()))
    }

    fn publish_as(
        &self,
        leader: CoherentLeader<K, V, D, E>,
        value: V,
        loaded: Loaded<D::Version>,
        dependency: D::Dependency,
        ttl: Option<Ttl>,
    ) -> Publication<V, D::Version, D::Reason> {
        let prepared = match (leader.key(), self.inner.file(dependency)) {
            (None, _) => Err(Published::Detached),
            (_, None) => Err(Published::Unfiled),
            (Some(key), Some(filed)) => Ok((key, filed)),
        };
        let (key, filed) = match prepared {
            Ok(prepared) => prepared,
            Err(ending) => {
                self.inner.lock().stats.published(&ending);
                return answer(leader, Entry::new(value, loaded, Ticket::NONE), ending);
            }
        };
        if self.inner.rules.registers_after_check()
            && let Err(ending) = self.inner.check_unregistered(&loaded, &filed)
        {
            return answer(leader, Entry::new(value, loaded, Ticket::NONE), ending);
        }
        let dependency = Arc::clone(&filed.dependency);
        let group = filed.group;
        let pending = match self.inner.register(key, &loaded, filed) {
            Ok(pending) => pending,
            Err(ending) => return answer(leader, Entry::new(value, loaded, Ticket::NONE), ending),
        };
        let entry = Arc::new(Entry::new(value, loaded, pending.ticket));
        let overtaken = self
            .inner
            .overtaken(&pending.late, entry.version(), &dependency, group);
        let overtaken = overtaken.filter(|_| !self.inner.rules.registers_after_check());
        if let Some(why) = overtaken {
            let ending = self.inner.give_up(pending, Published::Overtaken(why));
            return answer(leader, entry, ending);
        }
        let ending = self.land(pending, leader, &entry, ttl);
        Publication { entry, ending }
    }

    /// Gives the entry to the cache, under the lock that the feed takes too, unless the registration was hit.
    ///
    /// # Why under the lock
    ///
    /// ```text
    /// publisher                              feed
    /// is not poisoned, becomes ready
    ///                                        hits the entry, finds nothing to drop, raises the mark
    /// the cache keeps the entry
    /// ```
    fn land(
        &self,
        mut pending: Pending<'_, K, D>,
        leader: CoherentLeader<K, V, D, E>,
        entry: &Arc<Entry<V, D::Version>>,
        ttl: Option<Ttl>,
    ) -> Ending<D> {
        let mut state = self.inner.lock();
        let hit = if state.epoch == Some(entry.epoch()) || self.inner.rules.mixes_epochs() {
            state
                .confirm(pending.ticket, self.inner.rules)
                .err()
                .map(Published::Overtaken)
        } else {
            Some(Published::Epoch)
        };
        if let Some(ending) = hit {
            drop(state);
            let ending = self.inner.give_up(pending, ending);
            leader.answer_version(Arc::clone(entry), |one, other| one.outdates(other));
            return ending;
        }
        let rules = self.inner.rules;
        let outdates =
            |one: &Shared<V, D>, other: &Shared<V, D>| one.outdates(other) && !rules.keeps_the_last();
        if rules.inserts_unlocked() {
            drop(state);
            let (landing, landed) = leader.land(Arc::clone(entry), outdates, ttl, pending.stamp.clone());
            landed.finish();
            state = self.inner.lock();
            pending.ticket = Ticket::NONE;
            drop(state);
            return if landing == Landing::Kept {
                Published::Kept
            } else {
                Published::Detached
            };
        }
        let (landing, landed) = leader.land(Arc::clone(entry), outdates, ttl, pending.stamp.clone());
        let ending = match landing {
            Landing::Kept => {
                pending.ticket = Ticket::NONE;
                Published::Kept
            }
            Landing::Refused => Published::Rejected,
            Landing::Detached => Published::Detached,
        };
        state.stats.published(&ending);
        drop(state);
        drop(pending);
        landed.finish();
        ending
    }

    /// Tells whether a value that was true at a state is true now as well, as far as changes were applied: for values that are kept
    /// elsewhere, in a shared tier.
    ///
    /// # Errors
    /// How a publication of it would end: [`Published::Epoch`], [`Published::Floor`], [`Published::Overtaken`] or
    /// [`Published::Unfiled`].
    ///
    /// Cost: the coherence lock once, and one test of the domain for each change of the group that came since.
    pub fn check(&self, loaded: &Loaded<D::Version>, dependency: D::Dependency) -> Result<(), Ending<D>> {
        let filed = self.inner.file(dependency).ok_or(Published::Unfiled)?;
        self.inner.check_unregistered(loaded, &filed)
    }
}

/// Answers those who wait.
fn answer<K: Eq, V, S: Version, E, R>(
    leader: crate::Leader<K, Arc<Entry<V, S>>, E>,
    entry: impl Into<Arc<Entry<V, S>>>,
    ending: Published<R>,
) -> Publication<V, S, R> {
    let entry = entry.into();
    leader.answer_version(Arc::clone(&entry), |one, other| one.outdates(other));
    Publication { entry, ending }
}

impl<K: Clone, D: Domain> Inner<K, D> {
    /// Asks the domain where a dependency belongs; nothing if it does not know.
    fn file(&self, dependency: D::Dependency) -> Option<Filed<D>> {
        let dependency = Arc::new(dependency);
        let (mut anchors, mut also) = (Vec::new(), Vec::new());
        let group = guarded(|| {
            self.domain.file(&dependency, &self.rarity, &mut anchors);
            self.domain.also(&dependency, &self.rarity, &mut also);
            let hint = self.domain.hint(&dependency);
            (self.hash(self.domain.group(&dependency)), hint)
        });
        let (group, hint) = group.filter(|_| !anchors.is_empty())?;
        Some(Filed {
            dependency,
            group,
            anchors,
            also,
            hint,
        })
    }

    /// Registers a load as pending, and collects what has to be checked, in one step.
    fn register(
        &self,
        key: K,
        loaded: &Loaded<D::Version>,
        mut filed: Filed<D>,
    ) -> Result<Pending<'_, K, D>, Ending<D>> {
        let group = guarded(|| self.domain.group(&filed.dependency).clone());
        let mut state = self.lock();
        let registered = match (state.late(loaded, self.rules), group) {
            (Err(ending), _) => Err(ending),
            (_, None) => Err(Published::Unfiled),
            (Ok(late), Some(group)) => {
                let stamp = state.scopes.stamp(&group);
                let registration = Registration {
                    dependency: filed.dependency,
                    group: filed.group,
                    stage: Stage::Pending,
                    version: loaded.version.clone(),
                    stamp: stamp.clone(),
                    key,
                };
                let ticket = state
                    .index
                    .insert(&mut filed.anchors, (&filed.also, filed.hint), registration);
                ticket
                    .map(|ticket| (ticket, stamp, late))
                    .ok_or(Published::Unfiled)
            }
        };
        if let Err(ending) = &registered {
            state.stats.published(ending);
        }
        let (ticket, stamp, late) = registered?;
        Ok(Pending {
            inner: self,
            ticket,
            stamp,
            late,
        })
    }

    /// Ends a registration that is not kept.
    fn give_up(&self, pending: Pending<'_, K, D>, ending: Ending<D>) -> Ending<D> {
        drop(pending);
        self.lock().stats.published(&ending);
        ending
    }

    /// Checks a load without registering it.
    fn check_unregistered(&self, loaded: &Loaded<D::Version>, filed: &Filed<D>) -> Result<(), Ending<D>> {
        let late = self.lock().late(loaded, self.rules)?;
        match self.overtaken(&late, &loaded.version, &filed.dependency, filed.group) {
            Some(why) => Err(Published::Overtaken(why)),
            None => Ok(()),
        }
    }

    /// Looks for a logged change that a version does not include and that hits a dependency. Without any lock.
    fn overtaken(
        &self,
        late: &[Arc<Logged<D>>],
        version: &D::Version,
        dependency: &D::Dependency,
        group: u64,
    ) -> Option<Why<D::Reason>> {
        if self.rules.skips_log() {
            return None;
        }
        let records = late.iter().flat_map(|batch| &batch.records);
        let hit = |record: &Record<D>| match record {
            Record::Change {
                change, group: of, ..
            } if *of == group => match guarded(|| self.domain.touches(change, dependency)) {
                Some(reason) => reason.map(Why::Touches),
                None => Some(Why::Fault),
            },
            Record::Change { .. } => None,
            Record::Group { hash, .. } => (*hash == group).then_some(Why::Group),
            Record::Everything { .. } => Some(Why::Everything),
        };
        // What it hits is asked first: most changes do not, and then it does not matter whether they are included.
        records
            .into_iter()
            .find_map(|record| hit(record).filter(|_| !record.is_covered_by(version)))
    }
}

/// Names what a change reaches, as the log has it.
pub(super) fn record<K, D: Domain>(inner: &Inner<K, D>, change: D::Change) -> Record<D> {
    enum Reached<G> {
        Some(u64),
        Group(G),
        Everything,
    }
    let domain = &inner.domain;
    let origin = guarded(|| domain.origin(&change));
    let reached = guarded(|| match domain.reach(&change) {
        Reach::Some(group) if origin.is_some() => Reached::Some(inner.hash(group)),
        Reach::Some(group) | Reach::Group(group) => Reached::Group(group.clone()),
        Reach::Everything => Reached::Everything,
    });
    match (reached, origin) {
        (Some(Reached::Some(group)), Some(origin)) => Record::Change {
            change,
            origin,
            group,
        },
        (Some(Reached::Group(group)), origin) => Record::Group {
            hash: inner.hash(&group),
            group,
            origin,
        },
        (_, origin) => Record::Everything { origin },
    }
}
