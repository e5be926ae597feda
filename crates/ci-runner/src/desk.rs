//! Whole operations of an operations desk: a dashboard and a CI's page (a traversal is in `traverse.rs`). Each is true at one state of the
//! database, takes one or two statements when nothing is cached and none when all of it is.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use ci_model::{
    Aggregate, CiDetail, CiRef, CiSummary, Expand, Filter, Get, Graph, Groups, List, ListOrder, ListPage,
    Question, Search, Token, View,
};

use crate::answer::{Reply, Source};
use crate::observe::{Told, observed};
use crate::{Error, Result, Tenant};

/// How many of the most critical and of the latest CIs are shown.
const SHOWN: u32 = 10;
/// The criticalities that count as high, the highest first.
const CRITICAL: [&str; 2] = ["5", "4"];
/// By what a dashboard counts.
const COUNTED: [&str; 4] = ["ci_type", "status", "location", "owner"];

/// What a tenant has, at one state.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Dashboard {
    /// How many CIs there are.
    pub total: u64,
    /// How many of each type.
    pub by_type: Arc<Groups>,
    /// And of each status,
    pub by_status: Arc<Groups>,
    /// at each location,
    pub by_location: Arc<Groups>,
    /// and of each owner.
    pub by_owner: Arc<Groups>,
    /// The first 10 CIs of criticality 5, and those of 4, by code.
    pub most_critical: [Arc<[CiSummary]>; 2],
    /// The 10 CIs that were changed last, the latest first.
    pub recent: Arc<ListPage>,
    /// From memory, or from the database.
    pub source: Source,
    /// The state at which all of it is true; none where the store records no changes.
    pub as_of: Option<Token>,
    /// How far that state may be behind the database, at most.
    pub lag: Option<Duration>,
}

/// All about one CI, at one state.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct CiPage {
    /// The CI in full; none when the tenant has none of that id or code, and then the graphs are none, too.
    pub detail: Option<Arc<CiDetail>>,
    /// Its neighbours, both ways.
    pub neighbours: Option<Arc<Graph>>,
    /// What it is composed of.
    pub composition: Option<Arc<Graph>>,
    /// What is affected when it fails.
    pub impact: Option<Arc<Graph>>,
    /// The tenant's 10 CIs that were changed last: whether it, or something around it, is among them.
    pub recent: Arc<ListPage>,
    /// From memory, or from the database.
    pub source: Source,
    /// The state at which all of it is true; none where the store records no changes.
    pub as_of: Option<Token>,
    /// How far that state may be behind the database, at most.
    pub lag: Option<Duration>,
}

impl Dashboard {
    /// The first 10 CIs of criticality 5, then 4, by code.
    pub fn critical(&self) -> impl Iterator<Item = &CiSummary> {
        self.most_critical
            .iter()
            .flat_map(|rows| rows.iter())
            .take(SHOWN as usize)
    }
}

impl Tenant {
    /// Counts by type, status, location and owner, the most critical CIs and those that were changed last.
    ///
    /// Cost: eight look-ups, or one statement for what is missing: it reads the CIs once for all counts. Its answers are kept one by one, so a write drops only those that it
    /// changes. Cancel safe: the load goes on, and is kept.
    ///
    /// # Errors
    /// [`Error::Store`] when the database fails.
    pub async fn dashboard(&self) -> Result<Dashboard> {
        let told = |dashboard: &Dashboard| Told {
            hit: Some(dashboard.source.is_hit()),
            rows: dashboard.critical().count() + dashboard.recent.items.len(),
        };
        observed("dashboard", self.id(), self.dashboard_of(), told).await
    }

    async fn dashboard_of(&self) -> Result<Dashboard> {
        static QUESTIONS: LazyLock<Result<Vec<Question>>> = LazyLock::new(dashboard_questions);
        let questions = QUESTIONS.as_ref().map_err(Error::clone)?;
        let mut page = self.page_of(questions).await?;
        let mut answers = std::mem::take(&mut page.answers).into_iter();
        let mut groups = || match answers.next() {
            Some(Reply::Groups(groups)) => Ok(groups),
            _ => Err(Error::WrongKind),
        };
        let total = groups()?.items.first().ok_or(Error::WrongKind)?.count;
        let (by_type, by_status, by_location, by_owner) = (groups()?, groups()?, groups()?, groups()?);
        let mut rows = || match answers.next() {
            Some(Reply::Rows(rows)) => Ok(rows),
            _ => Err(Error::WrongKind),
        };
        let most_critical = [rows()?, rows()?];
        Ok(Dashboard {
            total,
            by_type,
            by_status,
            by_location,
            by_owner,
            most_critical,
            recent: list(answers.next())?,
            source: page.source,
            as_of: page.as_of,
            lag: page.lag,
        })
    }

    /// One CI with its neighbours, its composition, its impact (each by its view's defaults) and what was changed last.
    ///
    /// Cost: five look-ups, or for what is missing one statement on PostgreSQL and two on SQLite. Its answers are kept one by one.
    /// Cancel safe: the load goes on, and is kept.
    ///
    /// # Errors
    /// [`Error::Store`] when the database fails.
    pub async fn ci_page(&self, ci: impl Into<CiRef>) -> Result<CiPage> {
        let told = |page: &CiPage| Told {
            hit: Some(page.source.is_hit()),
            rows: usize::from(page.detail.is_some()),
        };
        observed("ci_page", self.id(), self.ci_page_of(ci.into()), told).await
    }

    async fn ci_page_of(&self, ci: CiRef) -> Result<CiPage> {
        let mut questions = vec![Question::Get(Get::new(ci.clone()))];
        for view in [View::Neighbors, View::Composition, View::Impact] {
            questions.push(Expand::builder(ci.clone(), view).build()?.into());
        }
        questions.push(latest()?);
        let mut page = self.page_of(&questions).await?;
        let mut answers = std::mem::take(&mut page.answers).into_iter();
        let Some(Reply::Ci(detail)) = answers.next() else {
            return Err(Error::WrongKind);
        };
        let mut graph = || match answers.next() {
            Some(Reply::Graph(graph)) => Ok(graph),
            _ => Err(Error::WrongKind),
        };
        let (neighbours, composition, impact) = (graph()?, graph()?, graph()?);
        Ok(CiPage {
            detail,
            neighbours,
            composition,
            impact,
            recent: list(answers.next())?,
            source: page.source,
            as_of: page.as_of,
            lag: page.lag,
        })
    }
}

/// What a dashboard asks: the same for everybody, so it is worked out once.
fn dashboard_questions() -> Result<Vec<Question>> {
    let mut questions = vec![Aggregate::builder().build()?.into()];
    for field in COUNTED {
        questions.push(Aggregate::builder().group_by(field).build()?.into());
    }
    for criticality in CRITICAL {
        let filter = Filter::new("criticality", "=", &[criticality])?;
        questions.push(Search::builder().filter(filter).limit(SHOWN).build()?.into());
    }
    questions.push(latest()?);
    Ok(questions)
}

/// The question for what was changed last.
fn latest() -> Result<Question> {
    let list = List::builder().order(ListOrder::Updated).limit(SHOWN);
    Ok(list.total(false).build()?.into())
}

fn list(answer: Option<Reply>) -> Result<Arc<ListPage>> {
    match answer {
        Some(Reply::List(page)) => Ok(page),
        _ => Err(Error::WrongKind),
    }
}
