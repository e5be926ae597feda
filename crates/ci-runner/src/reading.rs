//! Every load reads one snapshot: its version first, then whatever is asked, watched from the wait for a connection to the end.

use ci_cache_core::coherence::Loaded;
use ci_model::{Epoch, Question, TenantId, Version};
use ci_store::{Found, Snapshot};

use crate::runner::{Inner, OwnHistory};
use crate::watch::{Asked, Watch};
use crate::{Error, Result};

/// A snapshot that is read. Dropped without its [`end`](Self::end), by a panic or with its runtime, it is counted as over and not measured.
pub(crate) struct Reading<'a> {
    watch: Watch<'a>,
    snapshot: Box<dyn Snapshot>,
    loaded: Loaded<Version>,
}

/// Asks questions of one state that nothing else is wanted of: in one round trip where the store can.
pub(crate) async fn ask_all(
    inner: &Inner,
    tenant: &TenantId,
    asked: Asked<'_>,
    questions: &[Question],
) -> Result<(Vec<Found>, Loaded<Version>)> {
    let mut watch = Watch::begin(inner, tenant, asked);
    // Before the state: a write that is numbered later may or may not be in it.
    let own = inner.own.now();
    match inner.store.ask_all(tenant, questions).await {
        Ok(answers) => {
            watch.ran(answers.statements);
            watch.end(None);
            Ok((answers.found, loaded(answers.version, own)))
        }
        Err(error) => {
            let error = error.into();
            watch.end(Some(&error));
            Err(error)
        }
    }
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
