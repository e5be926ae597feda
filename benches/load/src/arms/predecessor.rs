//! The predecessor's way: no cache, one statement a step.

use std::collections::{HashSet, VecDeque};

use anyhow::{Context as _, bail};
use async_trait::async_trait;
use ci_benches::Loaded;
use ci_model::filter::{Condition, Operator, Value};
use ci_model::{
    Aggregate, CiRecord, CiRef, Expand, Filter, List, ListOrder, Question, RelationType, Search, TenantId,
};

use super::steps::{By, Cells, Connecting, Steps};
use super::{Arm, Outcome, Shown, names, write};
use crate::counted::{Counted, Counts};
use crate::operation::Operation;
use crate::plain::{Count, Plain, Row};

/// Asks step by step.
#[derive(Debug)]
pub struct Predecessor {
    steps: Steps,
    name: &'static str,
    /// Only writes go through our store: their cost is not what is compared.
    store: std::sync::Arc<Counted>,
}

impl Predecessor {
    /// With a pool of connections, which is better than it had.
    pub fn pooled(place: &Loaded) -> Self {
        Self::with(place, Connecting::Pooled, names::PREDECESSOR)
    }

    /// With a new connection for each statement, as it was.
    pub fn reconnecting(place: &Loaded) -> Self {
        Self::with(place, Connecting::Anew, names::RECONNECTING)
    }

    fn with(place: &Loaded, connecting: Connecting, name: &'static str) -> Self {
        Self {
            steps: Steps::new(place, connecting),
            name,
            store: Counted::around(std::sync::Arc::clone(&place.store)),
        }
    }

    async fn question(&self, tenant: &str, question: &Question) -> anyhow::Result<Plain> {
        match question {
            Question::Get(get) => {
                let found = match get.target() {
                    CiRef::Code(code) => self.steps.ci(tenant, By::Code(code.as_str())).await?,
                    CiRef::Id(id) => self.steps.ci(tenant, By::Id(&id.to_string())).await?,
                };
                Ok(Plain::Rows(found.into_iter().collect()))
            }
            Question::Search(search) => self.search(tenant, search).await,
            Question::List(list) => self.list(tenant, list).await,
            Question::Aggregate(aggregate) => self.counts(tenant, aggregate).await,
            Question::Expand(expand) => self.graph(tenant, expand).await,
            Question::Path(_) => bail!("no workload asks the predecessor for paths"),
        }
    }

    async fn search(&self, tenant: &str, search: &Search) -> anyhow::Result<Plain> {
        let selection = search.selection();
        let values = selection
            .filters()
            .iter()
            .map(equal)
            .collect::<anyhow::Result<Vec<_>>>()?;
        let rows = self
            .steps
            .search(tenant, selection.keywords(), &values, search.limit());
        Ok(Plain::Rows(rows.await?))
    }

    async fn list(&self, tenant: &str, list: &List) -> anyhow::Result<Plain> {
        let order = match list.order() {
            ListOrder::Updated => "updated_at",
            _ => "created_at",
        };
        Ok(Plain::Rows(self.steps.list(tenant, order, list.limit()).await?))
    }

    async fn counts(&self, tenant: &str, aggregate: &Aggregate) -> anyhow::Result<Plain> {
        let groups = match aggregate.group_by().first() {
            Some(field) => {
                let column = field.to_string();
                self.steps.counts(tenant, &column, aggregate.limit()).await?
            }
            None => self.steps.total(tenant).await?,
        };
        Ok(Plain::Counts(
            groups.into_iter().map(count).collect::<anyhow::Result<_>>()?,
        ))
    }

    /// CI by CI: its relations, then the row of each new one.
    async fn graph(&self, tenant: &str, expand: &Expand) -> anyhow::Result<Plain> {
        let root = match expand.roots() {
            [CiRef::Code(code)] => self.steps.ci(tenant, By::Code(code.as_str())).await?,
            [CiRef::Id(id)] => self.steps.ci(tenant, By::Id(&id.to_string())).await?,
            _ => bail!("the predecessor expands one CI"),
        };
        let Some(root) = root else {
            return Ok(Plain::Rows(Vec::new()));
        };
        let types: Vec<&str> = expand.rel_types().iter().map(RelationType::as_str).collect();
        let most = expand.max_nodes() as usize;
        let mut seen = HashSet::from([root.ci_id.clone()]);
        let mut queue = VecDeque::from([(root.ci_id.clone(), 0_u8)]);
        let mut rows: Vec<Row> = vec![root];
        while let Some((id, depth)) = queue.pop_front() {
            if depth == expand.depth() || rows.len() >= most {
                break;
            }
            for other in self.steps.neighbours(tenant, &id, &types).await? {
                if rows.len() >= most || !seen.insert(other.clone()) {
                    continue;
                }
                if let Some(row) = self.steps.ci(tenant, By::Id(&other)).await? {
                    rows.push(row);
                    queue.push_back((other, depth + 1));
                }
            }
        }
        Ok(Plain::Rows(rows))
    }
}

/// A filter as a column and the value that it must have: the workloads have no others.
fn equal(filter: &Filter) -> anyhow::Result<(String, String)> {
    match filter.condition() {
        Condition::Compare(Operator::Eq, value) => Ok((filter.field().to_string(), text(value)?)),
        _ => bail!("the workloads ask the predecessor for equal values only"),
    }
}

fn text(value: &Value) -> anyhow::Result<String> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        Value::Criticality(criticality) => Ok(criticality.get().to_string()),
        _ => bail!("the workloads compare texts and criticalities only"),
    }
}

fn count(cells: Cells) -> anyhow::Result<Count> {
    let mut cells = cells.into_iter();
    let value = cells.next().flatten();
    let count = cells.next().flatten().context("a count")?.parse()?;
    Ok(Count { value, count })
}

#[async_trait]
impl Arm for Predecessor {
    fn name(&self) -> &'static str {
        self.name
    }

    fn caches(&self) -> bool {
        false
    }

    async fn run(&self, tenant: &TenantId, operation: &Operation) -> anyhow::Result<Outcome> {
        let mut answers = Vec::new();
        for question in operation.questions() {
            answers.push(self.question(tenant.as_str(), &question).await?);
        }
        Ok(Outcome {
            hit: false,
            shown: Shown::Plain(answers),
        })
    }

    async fn forget(&self) -> anyhow::Result<()> {
        Ok(())
    }

    async fn write(&self, record: CiRecord) -> anyhow::Result<()> {
        write(&*self.store, record).await
    }

    fn counts(&self) -> Counts {
        Counts {
            statements: self.steps.asked(),
            ..Counts::default()
        }
    }
}
