//! Writes of one tenant: checked, then through the store that follows them.

use ci_model::{
    CiDraft, CiOutcome, CiRef, Epoch, RelationDraft, RelationOutcome, RelationRecord, Token, limits,
};
use ci_store::{Store, WriteOptions};

use crate::observe::{Told, observed};
use crate::runner::Inner;
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
    pub async fn upsert_cis(&self, drafts: Vec<CiDraft>) -> Result<Written<CiOutcome>> {
        self.upsert_cis_with(drafts, WriteOptions::default()).await
    }

    /// The same with options: a precondition, a dry run, of which the outcomes are told and nothing is kept.
    ///
    /// # Errors
    /// Those of [`upsert_cis`](Self::upsert_cis), and [`Rejected`](ci_store::Error::Rejected) when a precondition fails.
    pub async fn upsert_cis_with(
        &self,
        drafts: Vec<CiDraft>,
        options: WriteOptions,
    ) -> Result<Written<CiOutcome>> {
        let write = async {
            let records = drafts
                .into_iter()
                .map(|draft| draft.check(self.id()))
                .collect::<Result<_, _>>()?;
            let begun = self.begun();
            let outcomes = all_written(self.writer().upsert_cis(records, options).await?)?;
            Ok(self.written(outcomes, begun).await)
        };
        observed("upsert_cis", self.id(), write, Told::written).await
    }

    /// Soft-deletes CIs in one transaction; outcomes in the order of the targets. At most 1,000. See
    /// [`upsert_cis`](Self::upsert_cis) for what holds when it returns.
    ///
    /// # Errors
    /// [`Error::Invalid`] for more than 1,000 targets, [`Error::Store`] when the database fails.
    pub async fn delete_cis(&self, targets: Vec<CiRef>) -> Result<Written<CiOutcome>> {
        self.delete_cis_with(targets, WriteOptions::default()).await
    }

    /// The same with options: a precondition, a dry run, of which the outcomes are told and nothing is kept.
    ///
    /// # Errors
    /// Those of [`delete_cis`](Self::delete_cis), and [`Rejected`](ci_store::Error::Rejected) when a precondition fails.
    pub async fn delete_cis_with(
        &self,
        targets: Vec<CiRef>,
        options: WriteOptions,
    ) -> Result<Written<CiOutcome>> {
        let write = async {
            bounded("CIs to delete", targets.len())?;
            let begun = self.begun();
            let outcomes = self.writer().delete_cis(self.id(), targets, options).await?;
            Ok(self.written(outcomes, begun).await)
        };
        observed("delete_cis", self.id(), write, Told::written).await
    }

    /// Creates relations, all or none, in one transaction; outcomes in the order of the drafts.
    ///
    /// # Errors
    /// Those of [`upsert_cis`](Self::upsert_cis).
    pub async fn upsert_relations(&self, drafts: Vec<RelationDraft>) -> Result<Written<RelationOutcome>> {
        self.upsert_relations_with(drafts, WriteOptions::default()).await
    }

    /// The same with options: a precondition, a dry run, of which the outcomes are told and nothing is kept.
    ///
    /// # Errors
    /// Those of [`upsert_relations`](Self::upsert_relations), and [`Rejected`](ci_store::Error::Rejected) when a precondition fails.
    pub async fn upsert_relations_with(
        &self,
        drafts: Vec<RelationDraft>,
        options: WriteOptions,
    ) -> Result<Written<RelationOutcome>> {
        let write = async {
            let records = self.checked(drafts)?;
            let begun = self.begun();
            let outcomes = self.writer().upsert_relations(records, options).await?;
            Ok(self.written(all_written(outcomes)?, begun).await)
        };
        observed("upsert_relations", self.id(), write, Told::written).await
    }

    /// Removes relations for good, in one transaction; outcomes in the order of the drafts.
    ///
    /// # Errors
    /// Those of [`upsert_cis`](Self::upsert_cis).
    pub async fn delete_relations(&self, drafts: Vec<RelationDraft>) -> Result<Written<RelationOutcome>> {
        self.delete_relations_with(drafts, WriteOptions::default()).await
    }

    /// The same with options: a precondition, a dry run, of which the outcomes are told and nothing is kept.
    ///
    /// # Errors
    /// Those of [`delete_relations`](Self::delete_relations), and [`Rejected`](ci_store::Error::Rejected) when a precondition fails.
    pub async fn delete_relations_with(
        &self,
        drafts: Vec<RelationDraft>,
        options: WriteOptions,
    ) -> Result<Written<RelationOutcome>> {
        let write = async {
            let (begun, records) = (self.begun(), self.checked(drafts)?);
            let outcomes = self.writer().delete_relations(records, options).await?;
            Ok(self.written(outcomes, begun).await)
        };
        observed("delete_relations", self.id(), write, Told::written).await
    }

    fn checked(&self, drafts: Vec<RelationDraft>) -> Result<Vec<RelationRecord>> {
        Ok(drafts
            .into_iter()
            .map(|draft| draft.check(self.id()))
            .collect::<Result<_, _>>()?)
    }

    /// The epoch in which a write begins, if anybody knows.
    fn begun(&self) -> Option<u64> {
        self.inner().cache.mark().map(|mark| mark.epoch())
    }

    /// A state that includes what was committed before: the mark, which the write's own poll has raised; else one that the
    /// database tells. None if that is of another epoch than the write began in:
    ///
    /// ```text
    /// writer                      database
    ///                             a copy is made
    /// commits
    ///                             is replaced by the copy
    /// polls: another epoch; its position is from before the write, or after it, or the write is in no state of it
    /// ```
    async fn written<T>(&self, outcomes: Vec<T>, begun: Option<u64>) -> Written<T> {
        let inner = self.inner();
        let token = match inner.cache.mark() {
            Some(mark) => Inner::token(mark.epoch(), mark.version()),
            None => match inner.store.snapshot().await {
                Ok(mut snapshot) => snapshot
                    .version()
                    .await
                    .ok()
                    .flatten()
                    .map(|(epoch, version)| Token { epoch, version }),
                Err(_) => None,
            },
        };
        let goes_on = |token: &Token| begun.is_none_or(|epoch| Epoch(epoch) == token.epoch);
        Written {
            outcomes,
            token: token.filter(goes_on),
        }
    }

    /// The store whose writes are followed.
    fn writer(&self) -> &dyn Store {
        &*self.inner().writer
    }
}

/// What became of a write.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Written<T> {
    /// In the order of what was given.
    pub outcomes: Vec<T>,
    /// A state that includes the write: give it to whoever must see it, on this node or another. None where the store records
    /// no changes, or the database did not tell it any more, or another history of the database began meanwhile (it was restarted, restored or
    /// failed over): whether the write is part of that, nobody can tell.
    pub token: Option<Token>,
}

impl<T> std::ops::Deref for Written<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.outcomes
    }
}

impl<T> AsRef<[T]> for Written<T> {
    fn as_ref(&self) -> &[T] {
        &self.outcomes
    }
}

impl<T> IntoIterator for Written<T> {
    type Item = T;
    type IntoIter = std::vec::IntoIter<T>;

    fn into_iter(self) -> Self::IntoIter {
        self.outcomes.into_iter()
    }
}

/// The outcomes of an all-or-nothing batch. A store that skipped a row all the same is reported, not hidden.
fn all_written<T>(outcomes: Vec<Result<T, ci_model::Rejection>>) -> Result<Vec<T>> {
    let row = |(index, outcome): (usize, Result<T, ci_model::Rejection>)| {
        outcome.map_err(|reason| Error::Store(ci_store::Error::Rejected { index, reason }))
    };
    outcomes.into_iter().enumerate().map(row).collect()
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
