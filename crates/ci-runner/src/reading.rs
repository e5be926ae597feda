//! Every load reads one snapshot: its version first, then whatever is asked, watched from the wait for a connection to the end.

use ci_cache_core::coherence::{Loaded, Mark};
use ci_model::{Epoch, Expand, Question, TenantId, Version};
use ci_store::{Found, Snapshot};

use crate::replica::{self, Answered, Traversed};
use crate::runner::{Inner, OwnHistory};
use crate::watch::{Asked, Watch};
use crate::{Error, Result};

/// A snapshot that is read. Dropped without its [`end`](Self::end), by a panic or with its runtime, it is counted as over and not measured.
pub(crate) struct Reading<'a> {
    watch: Watch<'a>,
    snapshot: Box<dyn Snapshot>,
    loaded: Loaded<Version>,
}

/// Who may answer a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// The primary alone: what is answered must not be older than the call.
    Primary,
    /// A replica, too: whoever waits has read a mark, and what includes it will do.
    Any,
}

/// What a load read of one state.
#[derive(Debug)]
pub(crate) struct Read<T> {
    pub(crate) found: T,
    pub(crate) loaded: Loaded<Version>,
    /// The mark that a replica's answer includes; none when the primary answered, whose state is that of the load's beginning or later.
    pub(crate) floor: Option<Mark<Version>>,
}

/// Asks questions of one state that nothing else is wanted of: in one round trip where the store can.
pub(crate) async fn ask_all(
    inner: &Inner,
    tenant: &TenantId,
    asked: Asked<'_>,
    questions: &[Question],
    place: Place,
) -> Result<Read<Vec<Found>>> {
    let mut watch = Watch::begin(inner, tenant, asked);
    let all = replica::Asked::All(tenant, questions);
    if let Some(read) = of_replica(inner, place, all, Answered::all, &mut watch).await {
        watch.end(None);
        return Ok(read);
    }
    // Before the state: a write that is numbered later may or may not be in it.
    let own = inner.own.now();
    match inner.store.ask_all(tenant, questions).await {
        Ok(answers) => {
            watch.ran(answers.statements);
            watch.end(None);
            Ok(Read {
                found: answers.found,
                loaded: loaded(answers.version, own),
                floor: None,
            })
        }
        Err(error) => {
            let error = error.into();
            watch.end(Some(&error));
            Err(error)
        }
    }
}

/// Reads an expansion and its CIs in full of one state.
pub(crate) async fn traverse(
    inner: &Inner,
    tenant: &TenantId,
    expand: &Expand,
    place: Place,
) -> Result<Read<Traversed>> {
    let question = Question::Expand(expand.clone());
    let asked = Asked::One(&question);
    if place == Place::Any && inner.replica.is_some() {
        let mut watch = Watch::begin(inner, tenant, asked);
        let traversal = replica::Asked::Traversal(tenant, expand);
        if let Some(read) = of_replica(inner, place, traversal, Answered::traversal, &mut watch).await {
            watch.end(None);
            return Ok(read);
        }
    }
    let mut reading = Reading::begin(inner, tenant, asked).await?;
    let found = reading.snapshot().traverse(tenant, expand).await;
    let (found, loaded) = reading.end(found)?;
    Ok(Read {
        found,
        loaded,
        floor: None,
    })
}

/// What the replica answered, in the form that was asked for; none where the primary has to be asked.
async fn of_replica<T>(
    inner: &Inner,
    place: Place,
    asked: replica::Asked<'_>,
    form: fn(Answered) -> Option<T>,
    watch: &mut Watch<'_>,
) -> Option<Read<T>> {
    let replica = inner.replica.as_ref().filter(|_| place == Place::Any)?;
    let used = replica.ask(inner, asked).await?;
    let found = form(used.answered)?;
    watch.ran(used.statements);
    Some(Read {
        found,
        loaded: used.loaded,
        floor: used.floor,
    })
}

/// The version of a load: the store's, or where that has none the number of the runner's own writes.
pub(crate) fn loaded(version: Option<(Epoch, Version)>, own: Version) -> Loaded<Version> {
    let (epoch, version) = version.unwrap_or((OwnHistory::EPOCH, own));
    Loaded {
        epoch: epoch.0,
        version,
    }
}

impl<'a> Reading<'a> {
    /// Takes a snapshot and reads its version.
    pub(crate) async fn begin(inner: &'a Inner, tenant: &'a TenantId, asked: Asked<'a>) -> Result<Self> {
        let watch = Watch::begin(inner, tenant, asked);
        let begun = async {
            // Before the snapshot begins: a write that is numbered later may or may not be in it.
            let own = inner.own.now();
            let mut snapshot = inner.store.snapshot().await?;
            let loaded = loaded(snapshot.version().await?, own);
            Ok((snapshot, loaded))
        }
        .await;
        match begun {
            Ok((snapshot, loaded)) => Ok(Self {
                watch,
                snapshot,
                loaded,
            }),
            Err(error) => {
                watch.end(Some(&error));
                Err(error)
            }
        }
    }

    /// What to ask.
    pub(crate) fn snapshot(&mut self) -> &mut dyn Snapshot {
        &mut *self.snapshot
    }

    /// The version of all that is read.
    pub(crate) fn loaded(&self) -> &Loaded<Version> {
        &self.loaded
    }

    /// The database has been asked, well or in vain: counts it, and lets go of the snapshot.
    pub(crate) fn end<T>(mut self, found: Result<T, impl Into<Error>>) -> Result<(T, Loaded<Version>)> {
        let found = found.map_err(Into::into);
        self.watch.ran(self.snapshot.statements());
        self.watch.end(found.as_ref().err());
        Ok((found?, self.loaded))
    }
}
