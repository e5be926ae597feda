//! Our runner, as a service embeds it, with its defaults.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ci_model::{CiRecord, Question, TenantId};
use ci_runner::{Reply, Runner};
use ci_store::Store;

use super::{Arm, Outcome, Shown, names, write};
use crate::counted::{Counted, Counts};
use crate::operation::Operation;

/// The runner.
#[derive(Debug)]
pub struct Cached {
    store: Arc<Counted>,
    runner: Runner,
}

impl Cached {
    /// Over a store, with room for so many answers. Must be called within a runtime.
    ///
    /// # Errors
    /// For a capacity of 0.
    pub fn new(store: Arc<dyn Store>, capacity: usize) -> anyhow::Result<Self> {
        let store = Counted::around(store);
        let runner = Runner::builder(Arc::clone(&store) as Arc<dyn Store>).max_entries(capacity);
        let runner = runner.build()?;
        Ok(Self { store, runner })
    }

    /// The same, warm from a file if it is there, which it writes when it is closed.
    ///
    /// # Errors
    /// As above.
    pub fn warm(store: Arc<dyn Store>, file: &Path) -> anyhow::Result<Self> {
        let store = Counted::around(store);
        // A runner that is closed while it polls writes its file when that poll has ended: on a machine that stalls, after more than a second.
        let runner = Runner::builder(Arc::clone(&store) as Arc<dyn Store>)
            .poll_timeout(Duration::from_secs(60))
            .warm_file(file);
        let runner = runner.build()?;
        Ok(Self { store, runner })
    }

    /// A runner that is there; what reaches the database is told by the runner itself, without versions and polls.
    pub fn around(runner: Runner) -> Self {
        let store = Counted::around(runner.store());
        Self { store, runner }
    }

    /// The runner itself.
    pub fn runner(&self) -> &Runner {
        &self.runner
    }
}

#[async_trait]
impl Arm for Cached {
    fn name(&self) -> &'static str {
        names::RUNNER
    }

    async fn run(&self, tenant: &TenantId, operation: &Operation) -> anyhow::Result<Outcome> {
        let view = self.runner.tenant(tenant.clone());
        let (hit, shown) = match operation {
            Operation::One(question) => {
                let (reply, source) = match question {
                    Question::Get(get) => {
                        let answer = view.get(get).await?;
                        (Reply::Ci(answer.value), answer.source)
                    }
                    Question::Search(search) => {
                        let answer = view.search_strict(search).await?;
                        (Reply::Rows(answer.value.items), answer.source)
                    }
                    Question::List(list) => {
                        let answer = view.list(list).await?;
                        (Reply::List(answer.value), answer.source)
                    }
                    Question::Aggregate(aggregate) => {
                        let answer = view.aggregate(aggregate).await?;
                        (Reply::Groups(answer.value), answer.source)
                    }
                    Question::Expand(expand) => {
                        let answer = view.expand(expand).await?;
                        (Reply::Graph(answer.value), answer.source)
                    }
                    Question::Path(path) => {
                        let answer = view.path(path).await?;
                        (Reply::Path(answer.value), answer.source)
                    }
                };
                (source.is_hit(), Shown::Replies(vec![reply]))
            }
            Operation::Page(questions) => {
                let page = view.page(questions.clone()).await?;
                (page.source.is_hit(), Shown::Replies(page.answers))
            }
            Operation::Traverse(expand) => {
                let traversal = view.traverse(expand).await?;
                (
                    traversal.source.is_hit(),
                    Shown::Traversal(traversal.graph, traversal.details),
                )
            }
        };
        Ok(Outcome { hit, shown })
    }

    async fn forget(&self) -> anyhow::Result<()> {
        self.runner.clear();
        Ok(())
    }

    async fn write(&self, record: CiRecord) -> anyhow::Result<()> {
        write(&*self.runner.store(), record).await
    }

    fn counts(&self) -> Counts {
        self.store.counts()
    }

    async fn close(&self) {
        self.runner.close().await;
    }
}
