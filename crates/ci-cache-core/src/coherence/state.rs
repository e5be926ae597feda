//! What the coherence lock guards, and what is done under it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::domain::{Anchor, Domain, Version};
use super::entry::Loaded;
use super::history::History;
use super::index::{Index, Ticket};
use super::log::{Log, Logged, Origin, Record};
use super::options::CoherenceOptions;
use super::outcome::{Published, Why};
use super::rarity::Rarity;
use super::rules::ProtocolRules;
use super::stats::CoherenceStats;
use crate::scope::Stamp;
use crate::scopes::Scopes;

/// Of so many changes one is counted in the sketch of rarities.
const SAMPLED: u64 = 4;

/// What the index keeps of an entry, or of one that is about to be.
pub(super) struct Registration<K, D: Domain> {
    pub(super) dependency: Arc<D::Dependency>,
    /// Hash of its group.
    pub(super) group: u64,
    pub(super) stage: Stage<D::Reason>,
    pub(super) version: D::Version,
    /// The group's generation from before the check.
    pub(super) stamp: Stamp,
    pub(super) key: K,
}

/// The life of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage<R> {
    /// Its publication is being checked; the cache does not have it yet.
    Pending,
    /// So it was, and a change hit it meanwhile: it must not be kept.
    Poisoned(Why<R>),
    /// The cache has it, or had it a moment ago.
    Ready,
}

/// See the module's page.
pub(super) struct State<K, D: Domain> {
    /// The history that is followed; none before the first reset.
    pub(super) epoch: Option<u64>,
    pub(super) log: Log<D>,
    pub(super) index: Index<Registration<K, D>, D::Hint>,
    /// What entries are stamped with, to go together with everything of their group.
    pub(super) scopes: Scopes<D::Group>,
    pub(super) history: History<K, D>,
    pub(super) stats: CoherenceStats,
    /// Run the brute-force matcher beside the index.
    compare: bool,
    scratch: Scratch<D>,
}

/// Room for one search, kept to be used again.
struct Scratch<D: Domain> {
    anchors: Vec<Anchor>,
    slots: Vec<u32>,
    found: Vec<(u32, D::Reason)>,
    /// Means nothing; it keeps the glances from being left out.
    glanced: usize,
}

/// What changes hit, to be taken out of the cache once the lock is released.
pub(super) struct Hits<K, D: Domain> {
    /// Entries, out of the index already.
    pub(super) doomed: Vec<(K, Ticket)>,
    /// Everything.
    pub(super) everything: bool,
    pub(super) poisoned: usize,
    pub(super) floors: usize,
    /// What is to be dropped without the lock.
    pub(super) leavings: Vec<Index<Registration<K, D>, D::Hint>>,
    /// Registrations to be dropped without the lock.
    pub(super) gone: Vec<Arc<D::Dependency>>,
}

impl<K, D: Domain> Hits<K, D> {
    pub(super) fn new() -> Self {
        Self {
            doomed: Vec::new(),
            everything: false,
            poisoned: 0,
            floors: 0,
            leavings: Vec::new(),
            gone: Vec::new(),
        }
    }
}

/// Runs code of the domain's; nothing if it panicked.
pub(super) fn guarded<R>(act: impl FnOnce() -> R) -> Option<R> {
    catch_unwind(AssertUnwindSafe(act)).ok()
}

impl<K: Clone, D: Domain> State<K, D> {
    pub(super) fn new(options: &CoherenceOptions) -> Self {
        Self {
            epoch: None,
            log: Log::new(options.log_changes, options.log_bytes),
            index: Index::new(),
            scopes: Scopes::new(),
            history: History::new(options.history),
            stats: CoherenceStats::default(),
            compare: options.compare,
            scratch: Scratch {
                anchors: Vec::new(),
                slots: Vec::new(),
                found: Vec::new(),
                glanced: 0,
            },
        }
    }

    /// Applies one record of a batch that is in the log already.
    pub(super) fn apply(
        &mut self,
        (domain, rarity): (&D, &Rarity),
        batch: &Arc<Logged<D>>,
        at: usize,
        hits: &mut Hits<K, D>,
    ) {
        self.stats.changes += 1;
        match batch.records.get(at) {
            None => {}
            Some(Record::Change {
                change,
                origin,
                group,
            }) => {
                let sampled = self.stats.changes.is_multiple_of(SAMPLED);
                let searched = guarded(|| {
                    self.search(domain, change, *group);
                });
                if sampled {
                    let anchors = &self.scratch.anchors;
                    anchors.iter().for_each(|&anchor| rarity.observe(anchor));
                }
                match searched {
                    Some(()) => self.hit_found(*origin, batch, at, hits),
                    None => self.fault(domain, change, batch, at, hits),
                }
            }
            Some(Record::Group { group, .. }) => self.raise(group, Why::Group, batch, at, hits),
            Some(Record::Everything { .. }) => self.drop_everything(batch, at, hits),
        }
    }

    /// Finds what a change touches by the index; the result is in the scratch.
    pub(super) fn search(&mut self, domain: &D, change: &D::Change, group: u64) {
        let Scratch {
            anchors,
            slots,
            found,
            glanced,
        } = &mut self.scratch;
        anchors.clear();
        slots.clear();
        found.clear();
        domain.probe(change, anchors);
        let sight = domain.sight(change);
        self.index
            .candidates(anchors, |hint| domain.may_touch(&sight, hint), slots);
        self.stats.candidates += slots.len() as u64;
        // First a glance at all of them: slots and dependencies lie all over the memory, and glances need not wait for each other as
        // tests do.
        let mut glances = 0_usize;
        slots.retain(|&slot| {
            let registration = self
                .index
                .at(slot)
                .filter(|registration| registration.group == group);
            glances += registration.map_or(0, |registration| Arc::strong_count(&registration.dependency));
            registration.is_some()
        });
        *glanced = glances;
        for &slot in &*slots {
            if let Some(registration) = self.index.at(slot)
                && let Some(reason) = domain.touches(change, &registration.dependency)
            {
                found.push((slot, reason));
            }
        }
        self.stats.verified += found.len() as u64;
        if self.compare {
            self.search_by_force(domain, change, group);
        }
    }

    /// Looks at every registration, and adds what the index did not lead to.
    fn search_by_force(&mut self, domain: &D, change: &D::Change, group: u64) {
        let found = &mut self.scratch.found;
        let led_to = found.len();
        for (slot, registration) in self.index.slots() {
            if registration.group == group
                && !found[..led_to].iter().any(|&(known, _)| known == slot)
                && let Some(reason) = domain.touches(change, &registration.dependency)
            {
                found.push((slot, reason));
            }
        }
        self.stats.missed += (found.len() - led_to) as u64;
    }

    /// Tells what the last search found.
    pub(super) fn found(&self) -> &[(u32, D::Reason)] {
        &self.scratch.found
    }

    /// Takes out of the index what the last search found, and poisons what is not kept yet, unless it includes the change.
    fn hit_found(&mut self, origin: Origin<D>, batch: &Arc<Logged<D>>, at: usize, hits: &mut Hits<K, D>) {
        let mut found = std::mem::take(&mut self.scratch.found);
        for (slot, reason) in found.drain(..) {
            let Some(ticket) = self.index.ticket(slot) else {
                continue;
            };
            let Some(registration) = self.index.get_mut(ticket) else {
                continue;
            };
            if registration.version.covers(origin) {
                self.stats.included += 1;
                continue;
            }
            if !registration.stamp.is_live() {
                // It went with its group, and the cache will say so when it meets it.
                continue;
            }
            let why = Why::Touches(reason);
            match registration.stage {
                Stage::Poisoned(_) => {}
                Stage::Pending => {
                    registration.stage = Stage::Poisoned(why);
                    self.stats.poisoned += 1;
                    hits.poisoned += 1;
                    self.history.add(Some(&registration.key), batch, at, why);
                }
                Stage::Ready => {
                    if let Some(gone) = self.index.remove(ticket) {
                        self.stats.dropped += 1;
                        self.history.add(Some(&gone.key), batch, at, why);
                        hits.doomed.push((gone.key, ticket));
                        hits.gone.push(gone.dependency);
                    }
                }
            }
        }
        self.scratch.found = found;
    }

    /// The domain panicked over a change: nobody knows what it touches.
    fn fault(
        &mut self,
        domain: &D,
        change: &D::Change,
        batch: &Arc<Logged<D>>,
        at: usize,
        hits: &mut Hits<K, D>,
    ) {
        let group = guarded(|| match domain.reach(change) {
            super::Reach::Some(group) | super::Reach::Group(group) => Some(group.clone()),
            super::Reach::Everything => None,
        });
        match group.flatten() {
            Some(group) => self.raise(&group, Why::Fault, batch, at, hits),
            None => self.drop_everything(batch, at, hits),
        }
    }

    /// Makes everything of a group go, kept or about to be, in constant time.
    fn raise(
        &mut self,
        group: &D::Group,
        why: Why<D::Reason>,
        batch: &Arc<Logged<D>>,
        at: usize,
        hits: &mut Hits<K, D>,
    ) {
        self.scopes.invalidate(group);
        hits.floors += 1;
        self.stats.hit(&why);
        self.history.add(None, batch, at, why);
    }

    fn drop_everything(&mut self, batch: &Arc<Logged<D>>, at: usize, hits: &mut Hits<K, D>) {
        self.history.add(None, batch, at, Why::Everything);
        self.forget_all(hits);
    }

    /// Forgets all registrations; the cache is to be cleared before the mark is raised.
    pub(super) fn forget_all(&mut self, hits: &mut Hits<K, D>) {
        self.stats.hit(&Why::<D::Reason>::Everything);
        hits.leavings.push(self.index.take_all());
        hits.everything = true;
    }
}

impl<K: Clone, D: Domain> State<K, D> {
    /// Collects what was logged that a load may not include.
    ///
    /// # Errors
    /// The load is of another epoch, or older than the log.
    pub(super) fn late(
        &self,
        loaded: &Loaded<D::Version>,
        rules: ProtocolRules,
    ) -> Result<Vec<Arc<Logged<D>>>, Published<D::Reason>> {
        if self.epoch != Some(loaded.epoch) && !rules.mixes_epochs() {
            Err(Published::Epoch)
        } else if self.log.reaches(&loaded.version) || rules.ignores_floor() {
            Ok(self.log.since(&loaded.version))
        } else {
            Err(Published::Floor)
        }
    }

    /// Makes a pending registration ready, if nothing hit it.
    ///
    /// # Errors
    /// What hit it.
    pub(super) fn confirm(&mut self, ticket: Ticket, rules: ProtocolRules) -> Result<(), Why<D::Reason>> {
        let Some(registration) = self.index.get_mut(ticket) else {
            return if rules.forgets_poison() {
                Ok(())
            } else {
                Err(Why::Everything)
            };
        };
        match registration.stage {
            Stage::Poisoned(why) if !rules.forgets_poison() => return Err(why),
            _ if !registration.stamp.is_live() && !rules.forgets_poison() => return Err(Why::Group),
            _ => registration.stage = Stage::Ready,
        }
        Ok(())
    }

    /// Counts the ready registrations.
    pub(super) fn ready(&self) -> usize {
        let stages = self.index.slots().map(|(_, registration)| registration.stage);
        stages.filter(|stage| *stage == Stage::Ready).count()
    }

    /// Tells whether an entry is registered as ready.
    pub(super) fn is_ready(&mut self, ticket: Ticket) -> bool {
        let registration = self.index.get_mut(ticket);
        registration.is_some_and(|registration| registration.stage == Stage::Ready)
    }
}
