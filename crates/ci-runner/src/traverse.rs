//! A traversal: an expansion and all columns of its CIs, at one state. It keeps the graph, and each CI as the answer to a get by its id; an
//! expansion alone does the same where the runner is told to ([`RunnerBuilder::prime`](crate::RunnerBuilder::prime)).

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ci_cache_core::coherence::{Loaded, Mark};
use ci_cache_core::{Lookup, Outcome};
use ci_model::{CiDetail, CiId, Expand, Get, Graph, Key, Question, QuestionKind, TenantId, Token, Version};
use tracing::Instrument;

use crate::answer::{Reply, Source, Traced};
use crate::load::{Got, failed};
use crate::observe::{Told, observed};
use crate::reading::{self, Place, Read};
use crate::record::Form;
use crate::runner::{Entry, Inner, Lead};
use crate::tally::Ended;
use crate::tier::{self, Tried};
use crate::{Error, Page, Result, Tenant};

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
        if self.inner().recorder.is_some() {
            self.recorded(Form::Traverse, &[Question::Expand(expand.clone())]);
        }
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
        } = self.uncounted_page(&questions).await?;
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
        let (begun, forgotten) = (inner.cache.now(), inner.forgotten.load(Ordering::SeqCst));
        // Without the duty to load there is no mark that somebody has read.
        let place = if leader.is_some() {
            Place::Any
        } else {
            Place::Primary
        };
        let (read, since) = match read(&inner, &tenant, &expand, place).await {
            Ok(read) => {
                let since = read.floor.as_ref().map_or(begun, Mark::polled_at);
                (read, since)
            }
            Err(error) => {
                if let Some(leader) = leader {
                    leader.fail(Error::clone(&error));
                }
                return Err(error);
            }
        };
        let Read {
            found: (graph, details),
            loaded,
            ..
        } = read;
        if let Some(leader) = leader {
            keep(
                &inner,
                &tenant,
                &expand,
                (graph.as_ref(), &details),
                (leader, &loaded),
                forgotten,
            )?;
        }
        Ok(Traversal {
            graph,
            details,
            source: if bypass { Source::Bypass } else { Source::Miss },
            as_of: Inner::token(loaded.epoch, &loaded.version),
            lag: Some(inner.cache.now().saturating_since(since)),
        })
    };
    tokio::spawn(task.in_current_span())
        .await
        .unwrap_or_else(|lost| Err(Error::lost(&lost)))
}

/// A graph and its CIs as they are kept.
type Shared = (Option<Arc<Graph>>, Vec<Arc<CiDetail>>);

/// Reads an expansion and its CIs in full from one snapshot.
async fn read(inner: &Inner, tenant: &TenantId, expand: &Expand, place: Place) -> Result<Read<Shared>> {
    let Read { found, loaded, floor } = reading::traverse(inner, tenant, expand, place).await?;
    let (graph, details) = found.map_or((None, Vec::new()), |(graph, details)| (Some(graph), details));
    let details = details.into_iter().map(Arc::new).collect();
    Ok(Read {
        found: (graph.map(Arc::new), details),
        loaded,
        floor,
    })
}

/// Keeps a graph, and each of its CIs as the answer to a get by its id, unless something was forgotten by hand since the load began:
///
/// ```text
/// a load                              somebody
/// reads the graph and its CIs
///                                     counts, forgets what shows one of them: the get of it is not under way
/// takes the duty to load the get
/// looks at the count, leaves it
/// ```
///
/// Whoever counts after that look finds the duty taken, and detaches it.
fn keep(
    inner: &Inner,
    tenant: &TenantId,
    expand: &Expand,
    (graph, details): (Option<&Arc<Graph>>, &[Arc<CiDetail>]),
    (leader, loaded): (Lead, &Loaded<Version>),
    forgotten: u64,
) -> Result<Entry> {
    let answer = |value| Traced { value, visited: None };
    // The CIs first: whoever waits for the graph asks for them next.
    for ci in details {
        let question = Question::Get(get_of(expand, ci.summary.ci_id));
        let key = Key::new(tenant, &question);
        // What is there already, or being loaded, is left alone.
        if let Lookup::Lead(leader) = inner.cache.lookup(tenant, &key, &question)
            && inner.forgotten.load(Ordering::SeqCst) == forgotten
        {
            let answer = answer(Reply::Ci(Some(Arc::clone(ci))));
            inner.publish(leader, tenant, question, answer, loaded.clone())?;
        }
    }
    let graph = answer(Reply::Graph(graph.map(Arc::clone)));
    inner.publish(
        leader,
        tenant,
        Question::Expand(expand.clone()),
        graph,
        loaded.clone(),
    )
}

/// Loads an expansion with its CIs in full, and keeps all of it. In a task of its own, as every load.
pub(crate) async fn load_primed(
    inner: &Arc<Inner>,
    tenant: &TenantId,
    expand: Expand,
    leader: Lead,
) -> Result<Got> {
    let (inner, tenant) = (Arc::clone(inner), tenant.clone());
    let task = async move {
        let question = Question::Expand(expand.clone());
        let (leader, _held) = match tier::read_one(&inner, &tenant, question, leader).await {
            Tried::Used(entry) => return Ok(Got::Shared(entry)),
            Tried::Missing(_, leader, held) => (leader, held),
        };
        let forgotten = inner.forgotten.load(Ordering::SeqCst);
        match read(&inner, &tenant, &expand, Place::Any).await {
            Ok(Read {
                found: (graph, details),
                loaded,
                floor,
            }) => {
                let kept = keep(
                    &inner,
                    &tenant,
                    &expand,
                    (graph.as_ref(), &details),
                    (leader, &loaded),
                    forgotten,
                );
                kept.map(|entry| Got::read(entry, floor.as_ref()))
            }
            Err(error) => failed(leader, error),
        }
    };
    tokio::spawn(task.in_current_span())
        .await
        .unwrap_or_else(|lost| Err(Error::lost(&lost)))
}
