//! What changes, told to whoever follows a tenant: the changes that the feed applied lately, in memory, and where to go on from.
//!
//! Each poll that brought something is a *batch*: its changes, and the state that includes them all, as a token. A follower begins at a token, or at
//! now, takes batch after batch, and may come back with the last token that it was given. It is told everything at least once: a batch
//! that it did not finish is told again. What cannot be told because it is too long ago, or because the history broke, is told as
//! [`News::Lost`]: read again what you hold, and go on from there.
//!
//! ```text
//! feed task                          follower
//! applies a batch to the cache
//!                                    (asks now: not answered from before the batch)
//! records it here, wakes followers
//!                                    is told the batch, asks: not answered from before it
//! ```

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use ci_model::{
    Change, CiChange, CiId, Effect, Epoch, Event, Image, RelationChange, RelationType, TenantId, Token,
    Version,
};
use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::watch;

use crate::Tenant;

/// Most batches that are kept, whatever they hold.
const BATCHES: usize = 4_096;
/// How many of them a follower looks through at a time.
const AT_ONCE: usize = 64;

/// One change of a tenant's CIs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
#[non_exhaustive]
pub enum TenantChange {
    /// Of a CI. A soft-deleted one is not there.
    Ci {
        /// What was done.
        effect: Effect,
        /// Which it is.
        ci_id: CiId,
        /// Its code, after the change or, if it is gone, before.
        ci_code: String,
        /// The code that it had before, if that was another one.
        #[serde(skip_serializing_if = "Option::is_none")]
        previous_code: Option<String>,
    },
    /// Of a relation.
    Relation {
        /// What was done.
        effect: Effect,
        /// Where it starts.
        from_id: CiId,
        /// Where it leads.
        to_id: CiId,
        /// Its type.
        rel_type: RelationType,
    },
    /// Several transactions wrote a CI between two polls, in an order that is not told: ask for it to know what it is, and whether it is.
    Unclear {
        /// Which it is.
        ci_id: CiId,
    },
    /// So much at once that it is not told apart: anything of the tenant may be different.
    Anything,
}

/// Changes of one tenant, and the state that includes them.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Changes {
    /// In no order.
    pub changes: Vec<TenantChange>,
    /// A state that includes them and all before: to go on from, and for [`Level::AtLeast`](crate::Level::AtLeast).
    pub token: Token,
}

/// What a follower is told.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum News {
    /// Changes.
    Changes(Changes),
    /// Changes since the follower's token may be missing, because it is older than what is remembered or of another history: read again
    /// what you hold, at least at this token, and go on from it.
    Lost(Token),
}

/// The batches of the last time. Shared by the feed task, which writes, and all followers.
#[derive(Debug)]
pub(crate) struct Recent {
    /// Most changes that are kept; 0 keeps nothing.
    most: usize,
    ring: Mutex<Ring>,
    /// Raised whenever there is something new.
    news: watch::Sender<u64>,
}

#[derive(Debug)]
struct Ring {
    epoch: Epoch,
    /// Everything before this state is forgotten.
    floor: Option<Version>,
    /// The state that the last poll told.
    position: Option<Version>,
    batches: VecDeque<Arc<Recorded>>,
    /// Changes in all batches.
    changes: usize,
    /// The number of the first batch: numbers are never used again.
    first: u64,
    /// Whether nothing will be told any more.
    closed: bool,
}

/// One batch: whose each change is; none for everybody's.
#[derive(Debug)]
struct Recorded {
    position: Version,
    changes: Vec<(Option<TenantId>, TenantChange)>,
}

impl Recent {
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most,
            ring: Mutex::new(Ring::new()),
            news: watch::Sender::new(0),
        }
    }

    /// Puts the changes of a batch into words, before they go to the cache.
    pub(crate) fn prepare(&self, changes: &[Change]) -> Prepared {
        let mut prepared = Prepared {
            changes: Vec::new(),
            is_empty: changes.is_empty(),
        };
        if self.most == 0 {
            return prepared;
        }
        // Of one CI the row and the documents are changed one after the other, by several writers in between perhaps: it is told once.
        let mut cis: HashMap<(&TenantId, CiId), usize> = HashMap::new();
        let mut all = Vec::with_capacity(changes.len());
        for change in changes {
            let whose = change.event.tenant().cloned();
            match &change.event {
                Event::Ci(change) => {
                    let at = *cis.entry((&change.tenant, change.id)).or_insert(all.len());
                    match all.get_mut(at) {
                        Some((_, draft @ Draft::Ci { .. })) => draft.go_on(change),
                        _ => all.push((whose, Draft::ci(change))),
                    }
                }
                Event::Relation(change) => {
                    all.extend(relation(change).map(|told| (whose, Draft::Done(told))));
                }
                Event::Tenant(_) | Event::Everything => {
                    all.push((whose, Draft::Done(TenantChange::Anything)));
                }
            }
        }
        let done = all
            .into_iter()
            .filter_map(|(whose, draft)| Some((whose, draft.done()?)));
        prepared.changes = done.collect();
        prepared
    }

    /// Nothing will be told any more.
    pub(crate) fn close(&self) {
        self.ring.lock().closed = true;
        self.news.send_modify(|news| *news += 1);
    }

    /// Keeps a batch that was applied.
    pub(crate) fn record(&self, prepared: Prepared, (epoch, since, position): (Epoch, Version, Version)) {
        let mut ring = self.ring.lock();
        let is_new = ring.epoch != epoch || ring.floor.is_none();
        if is_new {
            ring.restart(epoch, since);
        }
        ring.position = Some(position.clone());
        let Prepared { changes, is_empty } = prepared;
        if self.most == 0 && !is_empty {
            // What nobody remembers is lost to everybody.
            ring.restart(epoch, position);
            drop(ring);
            self.news.send_modify(|news| *news += 1);
            return;
        }
        if changes.is_empty() {
            drop(ring);
            if is_new {
                // Who came with a token of another history is told so now.
                self.news.send_modify(|news| *news += 1);
            }
            return;
        }
        ring.changes += changes.len();
        ring.batches.push_back(Arc::new(Recorded { position, changes }));
        // The last batch stays however large it is: who is up to date gets it.
        while ring.batches.len() > 1 && (ring.changes > self.most || ring.batches.len() > BATCHES) {
            let Some(gone) = ring.batches.pop_front() else {
                break;
            };
            ring.changes -= gone.changes.len();
            ring.first += 1;
            ring.floor = Some(gone.position.clone());
        }
        drop(ring);
        self.news.send_modify(|news| *news += 1);
    }

    /// The history goes on from a state, and nobody knows what was before.
    pub(crate) fn restart(&self, epoch: Epoch, from: Version) {
        self.ring.lock().restart(epoch, from);
        self.news.send_modify(|news| *news += 1);
    }
}

/// A change that is being put into words.
enum Draft {
    /// Of a CI: its code before and after, where it is to be seen.
    Ci {
        id: CiId,
        old: Option<String>,
        new: Option<String>,
        is_unclear: bool,
    },
    Done(TenantChange),
}

impl Draft {
    fn ci(change: &CiChange) -> Self {
        Self::Ci {
            id: change.id,
            old: code(change.old.as_ref()),
            new: code(change.new.as_ref()),
            is_unclear: false,
        }
    }

    /// Takes in the next change of the same CI. One that does not begin where the last one ended, or comes after the CI was gone, is one of
    /// those by which the feed tells that it does not know the order: it takes away and brings back every state that it has seen.
    fn go_on(&mut self, change: &CiChange) {
        if let Self::Ci { new, is_unclear, .. } = self {
            *is_unclear |= new.is_none() || *new != code(change.old.as_ref());
            *new = code(change.new.as_ref());
        }
    }

    /// None for what nobody can see, as of a CI that is soft-deleted before and after.
    fn done(self) -> Option<TenantChange> {
        let (ci_id, old, new) = match self {
            Self::Ci {
                id: ci_id,
                is_unclear: true,
                ..
            } => return Some(TenantChange::Unclear { ci_id }),
            Self::Ci { id, old, new, .. } => (id, old, new),
            Self::Done(told) => return Some(told),
        };
        let (effect, ci_code, previous_code) = match (old, new) {
            (None, Some(code)) => (Effect::Created, code, None),
            (Some(before), Some(code)) => {
                let previous = (before != code).then_some(before);
                (Effect::Updated, code, previous)
            }
            (Some(code), None) => (Effect::Deleted, code, None),
            (None, None) => return None,
        };
        Some(TenantChange::Ci {
            effect,
            ci_id,
            ci_code,
            previous_code,
        })
    }
}

/// The code of a CI that is to be seen.
fn code(image: Option<&Image>) -> Option<String> {
    let image = image.filter(|image| !image.deleted)?;
    Some(image.code.clone())
}

/// The changes of a batch in words.
pub(crate) struct Prepared {
    changes: Vec<(Option<TenantId>, TenantChange)>,
    /// Whether there was nothing to put into words.
    is_empty: bool,
}

impl Ring {
    fn new() -> Self {
        Self {
            epoch: Epoch(0),
            floor: None,
            position: None,
            batches: VecDeque::new(),
            changes: 0,
            first: 0,
            closed: false,
        }
    }

    fn restart(&mut self, epoch: Epoch, from: Version) {
        self.first += self.batches.len() as u64 + 1;
        self.batches.clear();
        self.changes = 0;
        self.epoch = epoch;
        self.floor = Some(from.clone());
        self.position = Some(from);
    }

    /// The number of the batch that comes next.
    fn end(&self) -> u64 {
        self.first + self.batches.len() as u64
    }

    fn token(&self, version: &Version) -> Token {
        Token {
            epoch: self.epoch,
            version: version.clone(),
        }
    }

    /// The number of the first batch that a state does not include; none if some that it does not include are forgotten.
    fn after(&self, token: &Token) -> Option<u64> {
        let floor = self.floor.as_ref()?;
        if token.epoch != self.epoch || !token.version.includes(floor) {
            return None;
        }
        let included = |batch: &&Arc<Recorded>| token.version.includes(&batch.position);
        Some(self.first + self.batches.iter().take_while(included).count() as u64)
    }
}

/// A few batches, and the epoch that they are of.
type Few = (Vec<Arc<Recorded>>, Epoch);

/// A tenant's changes, one batch after the other.
#[derive(Debug)]
pub struct Following {
    tenant: Tenant,
    news: watch::Receiver<u64>,
    /// The number of the next batch; none before the first look.
    next: Option<u64>,
    since: Option<Token>,
    /// The state that it began at, until it is told something.
    began: Option<Token>,
}

impl Tenant {
    /// Follows what changes in this tenant's CIs from a state on, or from now on (from the first state that the feed knows of, while it knows of
    /// none): changes by anybody, as the feed tells them. Each is applied to the cache before it is told, so an answer after it is not from before it.
    ///
    /// What is remembered is bounded ([`recent_changes`](crate::RunnerBuilder::recent_changes)); a follower holds nobody up. Where the store has
    /// no change feed nothing is ever told.
    pub fn follow(&self, since: Option<Token>) -> Following {
        let recent = &self.inner().follow.recent;
        let news = recent.news.subscribe();
        let ring = recent.ring.lock();
        let next = (since.is_none() && ring.position.is_some()).then(|| ring.end());
        Following {
            tenant: self.clone(),
            news,
            next,
            began: since.clone(),
            since,
        }
    }
}

impl Following {
    /// What there is to be told now; none when there is nothing new. Looks through the batches that came since the last call.
    pub fn try_next(&mut self) -> Option<News> {
        self.news.mark_unchanged();
        loop {
            let (batches, epoch) = match self.few()? {
                Ok(few) => few,
                Err(lost) => return Some(lost),
            };
            let next = self.next.filter(|_| !batches.is_empty())?;
            self.next = Some(next + batches.len() as u64);
            for (at, batch) in batches.iter().enumerate() {
                let mine =
                    |tenant: &Option<TenantId>| tenant.as_ref().is_none_or(|of| of == self.tenant.id());
                let changes: Vec<TenantChange> = batch
                    .changes
                    .iter()
                    .filter(|(tenant, _)| mine(tenant))
                    .map(|(_, told)| told.clone())
                    .collect();
                if !changes.is_empty() {
                    self.next = Some(next + at as u64 + 1);
                    self.began = None;
                    let version = batch.position.clone();
                    let token = Token { epoch, version };
                    return Some(News::Changes(Changes { changes, token }));
                }
            }
        }
    }

    /// The next few batches, from `self.next` on, or that what follows is lost; none before the feed has told any state. They are looked
    /// through without the lock, which the feed takes for each poll, and few at a time: one who is far behind must not copy all that is
    /// left for each piece of news in it.
    fn few(&mut self) -> Option<Result<Few, News>> {
        let ring = self.tenant.inner().follow.recent.ring.lock();
        let position = ring.position.as_ref()?;
        let next = match (self.next, self.since.take()) {
            (Some(next), _) if next >= ring.first => Some(next),
            (Some(_), _) => None,
            (None, Some(since)) => ring.after(&since),
            // It came before the feed had told any state.
            (None, None) => Some(ring.first),
        };
        let Some(next) = next else {
            self.next = Some(ring.end());
            self.began = None;
            return Some(Err(News::Lost(ring.token(position))));
        };
        self.next = Some(next);
        let skipped = usize::try_from(next - ring.first).unwrap_or(usize::MAX);
        let batches = ring.batches.iter().skip(skipped).take(AT_ONCE);
        Some(Ok((batches.map(Arc::clone).collect(), ring.epoch)))
    }

    /// Waits until there is something to be told; none when the runner was closed.
    ///
    /// Cancel safe: what was not returned comes with the next call.
    pub async fn next(&mut self) -> Option<News> {
        loop {
            if let Some(told) = self.try_next() {
                return Some(told);
            }
            if self.tenant.inner().follow.recent.ring.lock().closed {
                return None;
            }
            self.news.changed().await.ok()?;
        }
    }

    /// A state that includes everything that was told, to come back with; none before the feed has told anything.
    pub fn token(&self) -> Option<Token> {
        let ring = self.tenant.inner().follow.recent.ring.lock();
        let next = self.next?;
        // Before its next batch the follower has all that there is before that batch.
        let told = next
            .checked_sub(ring.first)
            .and_then(|ahead| usize::try_from(ahead).ok())?;
        let version = if told >= ring.batches.len() {
            ring.position.as_ref()
        } else if told == 0 {
            // It may know a later state than what is remembered begins with.
            return self
                .began
                .clone()
                .or_else(|| ring.floor.as_ref().map(|floor| ring.token(floor)));
        } else {
            ring.batches.get(told - 1).map(|batch| &batch.position)
        };
        version.map(|version| ring.token(version))
    }
}

/// A relation's change in words.
fn relation(change: &RelationChange) -> Option<TenantChange> {
    let (effect, image) = match (&change.old, &change.new) {
        (None, Some(new)) => (Effect::Created, new),
        (Some(_), Some(new)) => (Effect::Updated, new),
        (Some(old), None) => (Effect::Deleted, old),
        (None, None) => return None,
    };
    Some(TenantChange::Relation {
        effect,
        from_id: image.from,
        to_id: image.to,
        rel_type: image.rel_type.clone(),
    })
}
