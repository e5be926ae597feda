//! Whole operations of an operations desk: a dashboard, a CI's page, a traversal. Each is true at one state of the database, takes
//! one or two statements when nothing is cached and none when all of it is.

use std::sync::Arc;
use std::time::Duration;

use ci_cache_core::{Lookup, Outcome};
use ci_model::{
    Aggregate, CiDetail, CiId, CiRef, CiSummary, Expand, Filter, Get, Graph, Groups, Key, List, ListOrder,
    ListPage, Question, QuestionKind, Search, Token, View,
};
use tracing::Instrument;

use crate::answer::{Reply, Source, Traced};
use crate::observe::{Told, observed};
use crate::reading::Reading;
use crate::runner::{Inner, Lead};
use crate::tally::Ended;
use crate::watch::Asked;
use crate::{Error, Page, Result, Tenant};

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
    /// The first 10 CIs of criticality 5, then 4, by code.
    pub critical: Vec<CiSummary>,
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

/// An expansion with all columns of its CIs, at one state.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Traversal {
    /// The graph; none when the root is not there.
    pub graph: Option<Arc<Graph>>,
    /// The CIs of the graph in full, in the order of its items.
    pub details: Vec<Arc<CiDetail>>,
    /// From memory, or from the database.
    pub source: Source,
    /// The state at which all of it is true; none where the store records no changes.
    pub as_of: Option<Token>,
    /// How far that state may be behind the database, at most.
    pub lag: Option<Duration>,
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
            rows: dashboard.critical.len() + dashboard.recent.items.len(),
        };
        observed("dashboard", self.id(), self.dashboard_of(), told).await
    }

    async fn dashboard_of(&self) -> Result<Dashboard> {
        let mut questions = vec![Aggregate::builder().build()?.into()];
        for field in COUNTED {
            questions.push(Aggregate::builder().group_by(field).build()?.into());
        }
        for criticality in CRITICAL {
            let filter = Filter::new("criticality", "=", &[criticality])?;
            questions.push(Search::builder().filter(filter).limit(SHOWN).build()?.into());
        }
        questions.push(latest()?);
        let mut page = self.page_of(questions).await?;
        let mut answers = std::mem::take(&mut page.answers).into_iter();
        let mut groups = || match answers.next() {
            Some(Reply::Groups(groups)) => Ok(groups),
            _ => Err(Error::WrongKind),
        };
        let total = groups()?.items.first().ok_or(Error::WrongKind)?.count;
        let (by_type, by_status, by_location, by_owner) = (groups()?, groups()?, groups()?, groups()?);
        let mut critical: Vec<CiSummary> = Vec::new();
        for _ in CRITICAL {
            let Some(Reply::Rows(rows)) = answers.next() else {
                return Err(Error::WrongKind);
            };
            let room = (SHOWN as usize).saturating_sub(critical.len());
            critical.extend(rows.iter().take(room).cloned());
        }
        Ok(Dashboard {
            total,
            by_type,
            by_status,
            by_location,
            by_owner,
            critical,
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
        let mut page = self.page_of(questions).await?;
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

    /// An expansion, and all columns of every CI in it.
    ///
    /// Cost: a look-up and one for each CI, or one statement on PostgreSQL and one for each level on SQLite. The graph is kept, and each
    /// CI as the answer to a get by its id. Cancel safe: the load goes on, and is kept.
    ///
    /// # Errors
    /// [`Error::Store`] when the database fails.
    pub async fn traverse(&self, expand: &Expand) -> Result<Traversal> {
        let told = |traversal: &Traversal| Told {
            hit: Some(traversal.source.is_hit()),
            rows: traversal.details.len(),
        };
        observed("traverse", self.id(), self.traversal(expand), told).await
    }

    async fn traversal(&self, expand: &Expand) -> Result<Traversal> {
        let traversal = self.uncounted_traversal(expand).await;
        let ended = traversal
            .as_ref()
            .map_or(Ended::Error, |traversal| traversal.source.into());
        self.count(QuestionKind::Expand, ended, 1);
        traversal
    }

    async fn uncounted_traversal(&self, expand: &Expand) -> Result<Traversal> {
        let question = Question::Expand(expand.clone());
        let inner = self.inner();
        inner.follow.ask(inner.cache.now());
        if !self.bypasses(QuestionKind::Expand)
            && !self.bypasses(QuestionKind::Get)
            && let Some(mark) = inner.footing(self.level()).await
        {
            let key = Key::new(self.id(), &question);
            let (entry, least) = match inner.cache.lookup(self.id(), &key, &question) {
                Lookup::Hit(found) if found.value.epoch() == mark.epoch() => (Some(found.value), Source::Hit),
                Lookup::Lead(leader) | Lookup::Stale(_, Some(leader)) => {
                    return load(inner, self, expand, Some(leader)).await;
                }
                Lookup::Wait(waiter) => match waiter.await {
                    Outcome::Loaded(entry) => (Some(entry), Source::Coalesced),
                    _ => (None, Source::Miss),
                },
                Lookup::Hit(_) | Lookup::Stale(_, None) => (None, Source::Miss),
            };
            if let Some(Reply::Graph(graph)) = entry.map(|entry| entry.value().answer().clone()) {
                let traversal = self.with_details(expand, graph.as_deref()).await?;
                return Ok(Traversal {
                    source: traversal.source.farther(least),
                    ..traversal
                });
            }
        }
        load(inner, self, expand, None).await
    }

    /// A graph that is in memory, and the CIs that it names: both at one state, as a page.
    async fn with_details(&self, expand: &Expand, graph: Option<&Graph>) -> Result<Traversal> {
        let items = graph.map_or(&[][..], |graph| &graph.items);
        let mut questions = vec![Question::Expand(expand.clone())];
        questions.extend(
            items
                .iter()
                .map(|node| Question::Get(get_of(expand, node.ci.ci_id))),
        );
        let Page {
            answers,
            source,
            as_of,
            lag,
        } = self.uncounted_page(questions).await?;
        let mut answers = answers.into_iter();
        let Some(Reply::Graph(now)) = answers.next() else {
            return Err(Error::WrongKind);
        };
        let details: Option<Vec<Arc<CiDetail>>> = answers
            .map(|answer| match answer {
                Reply::Ci(ci) => ci,
                _ => None,
            })
            .collect();
        let same = match (&now, graph) {
            (Some(now), Some(graph)) => ids(now).eq(ids(graph)),
            (now, graph) => now.is_none() && graph.is_none(),
        };
        match details.filter(|_| same) {
            Some(details) => Ok(Traversal {
                graph: now,
                details,
                source,
                as_of,
                lag,
            }),
            // The page found another graph than the one whose CIs were asked for.
            None => load(self.inner(), self, expand, None).await,
        }
    }
}

fn ids(graph: &Graph) -> impl Iterator<Item = CiId> {
    graph.items.iter().map(|node| node.ci.ci_id)
}

/// The question for a CI of a graph.
fn get_of(expand: &Expand, id: CiId) -> Get {
    Get::new(id).include_deleted(expand.includes_deleted())
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

/// Loads a traversal of one snapshot; with the duty to load its graph it keeps all that it can. In a task of its own, so that a caller
/// who goes away takes it from nobody who waits.
async fn load(
    inner: &Arc<Inner>,
    tenant: &Tenant,
    expand: &Expand,
    leader: Option<Lead>,
) -> Result<Traversal> {
    let kinds = [QuestionKind::Expand, QuestionKind::Get];
    let bypass = kinds.into_iter().any(|kind| tenant.bypasses(kind));
    let (inner, tenant, expand) = (Arc::clone(inner), tenant.id().clone(), expand.clone());
    let task = async move {
        let begun = inner.cache.now();
        let question = Question::Expand(expand.clone());
        let asked = async {
            let mut reading = Reading::begin(&inner, &tenant, Asked::One(&question)).await?;
            let found = reading.snapshot().traverse(&tenant, &expand).await;
            reading.end(found)
        };
        let (found, loaded) = match asked.await {
            Ok(asked) => asked,
            Err(error) => {
                if let Some(leader) = leader {
                    leader.fail(Error::clone(&error));
                }
                return Err(error);
            }
        };
        let (graph, details) = found.map_or((None, Vec::new()), |(graph, details)| (Some(graph), details));
        let graph = graph.map(Arc::new);
        let details: Vec<Arc<CiDetail>> = details.into_iter().map(Arc::new).collect();
        if let Some(leader) = leader {
            let answer = |value| Traced { value, visited: None };
            // The CIs first: whoever waits for the graph asks for them next.
            for ci in &details {
                let question = Question::Get(get_of(&expand, ci.summary.ci_id));
                let key = Key::new(&tenant, &question);
                // What is there already, or being loaded, is left alone.
                if let Lookup::Lead(leader) = inner.cache.lookup(&tenant, &key, &question) {
                    let answer = answer(Reply::Ci(Some(Arc::clone(ci))));
                    inner.publish(leader, &tenant, question, answer, loaded.clone())?;
                }
            }
            let graph = answer(Reply::Graph(graph.clone()));
            inner.publish(leader, &tenant, question, graph, loaded.clone())?;
        }
        Ok(Traversal {
            graph,
            details,
            source: if bypass { Source::Bypass } else { Source::Miss },
            as_of: Inner::token(loaded.epoch, &loaded.version),
            lag: Some(inner.cache.now().saturating_since(begun)),
        })
    };
    tokio::spawn(task.in_current_span())
        .await
        .unwrap_or(Err(Error::TaskLost))
}
