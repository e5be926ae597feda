//! Writes of one tenant: checked, then through the invalidating store.

use ci_model::{CiDraft, CiOutcome, CiRef, RelationDraft, RelationOutcome, limits};
use ci_store::WriteOptions;
use tracing::Instrument;

use crate::observe::Observation;
use crate::{Error, Result, Tenant};

impl Tenant {
    /// Creates or replaces CIs, all or none, in one transaction; outcomes in the order of the drafts.
    ///
    /// When it returns, no look-up that starts later is answered from before the write. Dropping the future does not
    /// stop the write, nor its invalidation.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the first draft that does not fit; [`Error::Store`] with
    /// [`Rejected`](ci_store::Error::Rejected) for one that cannot be written. Nothing is written in both cases.
    pub async fn upsert_cis(&self, drafts: Vec<CiDraft>) -> Result<Vec<CiOutcome>> {
        let observation = Observation::named("upsert_cis", self.id());
        let span = observation.span();
        let written = async {
            let records = drafts
                .into_iter()
                .map(|draft| draft.check(self.id()))
                .collect::<Result<_, _>>()?;
            let outcomes = self
                .inner()
                .writer
                .upsert_cis(records, WriteOptions::default())
                .await?;
            all_written(outcomes)
        };
        let written = written.instrument(span).await;
        observation.finish(None, || count(&written));
        written
    }

    /// Soft-deletes CIs in one transaction; outcomes in the order of the targets. See
    /// [`upsert_cis`](Self::upsert_cis) for what holds when it returns.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than 1,000 targets, [`Error::Store`] when the database fails.
    pub async fn delete_cis(&self, targets: Vec<CiRef>) -> Result<Vec<CiOutcome>> {
        let observation = Observation::named("delete_cis", self.id());
        let span = observation.span();
        let written = async {
            bounded("CIs to delete", targets.len())?;
            Ok(self
                .inner()
                .writer
                .delete_cis(self.id(), targets, WriteOptions::default())
                .await?)
        };
        let written = written.instrument(span).await;
        observation.finish(None, || count(&written));
        written
    }

    /// Creates relations, all or none, in one transaction; outcomes in the order of the drafts.
    ///
    /// # Errors
    /// Those of [`upsert_cis`](Self::upsert_cis).
    pub async fn upsert_relations(&self, drafts: Vec<RelationDraft>) -> Result<Vec<RelationOutcome>> {
        let observation = Observation::named("upsert_relations", self.id());
        let span = observation.span();
        let written = async {
            let records = drafts
                .into_iter()
                .map(|draft| draft.check(self.id()))
                .collect::<Result<_, _>>()?;
            all_written(
                self.inner()
                    .writer
                    .upsert_relations(records, WriteOptions::default())
                    .await?,
            )
        };
        let written = written.instrument(span).await;
        observation.finish(None, || count(&written));
        written
    }

    /// Removes relations for good, in one transaction; outcomes in the order of the drafts.
    ///
    /// # Errors
    /// Those of [`upsert_cis`](Self::upsert_cis).
    pub async fn delete_relations(&self, drafts: Vec<RelationDraft>) -> Result<Vec<RelationOutcome>> {
        let observation = Observation::named("delete_relations", self.id());
        let span = observation.span();
        let written = async {
            let records = drafts
                .into_iter()
                .map(|draft| draft.check(self.id()))
                .collect::<Result<_, _>>()?;
            Ok(self.inner().writer.delete_relations(records).await?)
        };
        let written = written.instrument(span).await;
        observation.finish(None, || count(&written));
        written
    }
}

/// The outcomes of an all-or-nothing batch. A store that skipped a row all the same is reported, not hidden.
fn all_written<T>(outcomes: Vec<Result<T, ci_model::Rejection>>) -> Result<Vec<T>> {
    let row = |(index, outcome): (usize, Result<T, ci_model::Rejection>)| {
        outcome.map_err(|reason| Error::Store(ci_store::Error::Rejected { index, reason }))
    };
    outcomes.into_iter().enumerate().map(row).collect()
}

fn count<T>(written: &Result<Vec<T>>) -> Result<usize, String> {
    written.as_ref().map(Vec::len).map_err(ToString::to_string)
}

pub(crate) fn bounded(what: &'static str, actual: usize) -> Result<()> {
    if actual <= limits::BATCH_GET {
        Ok(())
    } else {
        Err(ci_model::Error::TooMany {
            what,
            max: limits::BATCH_GET,
            actual,
        }
        .into())
    }
}
