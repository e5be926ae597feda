//! The one-step questions: get, list, aggregate, expand, path.

use std::sync::Arc;

use ci_cache_core::ci::Rows as _;
use ci_model::{
    Aggregate, CiCode, CiDetail, Expand, Get, Graph, Groups, List, ListPage, Path, PathAnswer, Question,
};

use crate::answer::{Answer, Cached};
use crate::observe::{Told, observed};
use crate::{Error, Result, Tenant};

impl Tenant {
    /// Gets one CI by id or code; nothing when the tenant has none. Both are cached.
    ///
    /// Cost: a look-up; gets that miss at about the same time share one statement, up to 500 of a tenant. Cancel safe: the load goes
    /// on for those who wait for it.
    ///
    /// # Errors
    /// [`Error::Store`] when the database fails.
    pub async fn get(&self, get: &Get) -> Result<Answer<Option<Arc<CiDetail>>>> {
        self.ask_one(Question::Get(get.clone()), |cached| match cached {
            Cached::Ci(ci) => Some(ci),
            _ => None,
        })
        .await
    }

    /// Gets one CI by its code; see [`get`](Self::get).
    ///
    /// # Errors
    /// [`Error::Invalid`] for a text that cannot be a code, [`Error::Store`] when the database fails.
    pub async fn get_by_code(&self, code: &str) -> Result<Answer<Option<Arc<CiDetail>>>> {
        self.get(&Get::new(CiCode::new(code)?)).await
    }

    /// Lists one page in the question's order, with the total.
    ///
    /// Cost: a look-up, or one statement. Cancel safe: the load goes on for those who wait for it.
    ///
    /// # Errors
    /// [`Error::Store`] when the database fails.
    pub async fn list(&self, list: &List) -> Result<Answer<Arc<ListPage>>> {
        self.ask_one(Question::List(list.clone()), |cached| match cached {
            Cached::List(page) => Some(page),
            _ => None,
        })
        .await
    }

    /// Counts CIs by group.
    ///
    /// Cost: a look-up, or one statement. Cancel safe: the load goes on for those who wait for it.
    ///
    /// # Errors
    /// [`Error::Store`] when the database fails.
    pub async fn aggregate(&self, aggregate: &Aggregate) -> Result<Answer<Arc<Groups>>> {
        self.ask_one(Question::Aggregate(aggregate.clone()), |cached| match cached {
            Cached::Groups(groups) => Some(groups),
            _ => None,
        })
        .await
    }

    /// Expands the graph around a CI; nothing when the root is not there.
    ///
    /// Cost: a look-up, or one statement on PostgreSQL and one for each level on SQLite. Cancel safe: the load goes on for those who wait for it.
    ///
    /// # Errors
    /// [`Error::Store`] when the database fails.
    pub async fn expand(&self, expand: &Expand) -> Result<Answer<Option<Arc<Graph>>>> {
        self.ask_one(Question::Expand(expand.clone()), |cached| match cached {
            Cached::Graph(graph) => Some(graph),
            _ => None,
        })
        .await
    }

    /// Finds a shortest path; nothing when one of its ends is not there.
    ///
    /// Cost: a look-up, or one statement for the ends, at most one per hop, and one for the result. Cancel safe: the load goes on for
    /// those who wait for it.
    ///
    /// # Errors
    /// [`Error::Store`] when the database fails.
    pub async fn path(&self, path: &Path) -> Result<Answer<Option<Arc<PathAnswer>>>> {
        self.ask_one(Question::Path(path.clone()), |cached| match cached {
            Cached::Path(path) => Some(path),
            _ => None,
        })
        .await
    }

    /// Answers a question inside its span and takes the kind of answer that it must have.
    async fn ask_one<T>(
        &self,
        question: Question,
        take: impl FnOnce(Cached) -> Option<T>,
    ) -> Result<Answer<T>> {
        let kind = question.kind().as_str();
        let told = |answer: &Answer<Cached>| Told::answer(answer, answer.value.rows());
        let answer = observed(kind, self.id(), self.answer(&question), told).await?;
        answer.filter_map(take).ok_or(Error::WrongKind)
    }
}
