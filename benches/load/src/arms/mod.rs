//! Who answers: five ways to put a service in front of a CMDB, each as its users would write it well.

mod predecessor;
mod redis_aside;
mod runner;
mod steps;
mod store;
mod ttl;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ci_benches::Loaded;
use ci_model::{CiDetail, CiRecord, Graph, Question, TenantId};
use ci_runner::Reply;
use ci_store::{Found, Store};

use crate::counted::Counts;
use crate::operation::Operation;
use crate::place::Servers;
use crate::plain::Plain;

pub use predecessor::Predecessor;
pub use redis_aside::RedisAside;
pub use runner::Cached;
pub use store::Uncached;
pub use ttl::Ttl;

/// Answers of the caches with a capacity: none of the workloads but the scan fills it.
pub const CAPACITY: usize = 100_000;

/// What an operation came to.
#[derive(Debug)]
pub struct Outcome {
    /// All of it was in the cache, and no database was asked.
    pub hit: bool,
    /// The answers.
    pub shown: Shown,
}

/// Answers, as the arm has them.
#[derive(Debug)]
pub enum Shown {
    /// Shared with the cache.
    Replies(Vec<Reply>),
    /// A graph with its CIs in full.
    Traversal(Option<Arc<Graph>>, Vec<Arc<CiDetail>>),
    /// The caller's own.
    Plain(Vec<Plain>),
}

/// A way to answer operations. Shared by all tasks of a run.
///
/// Duties: every call of `run` answers the whole operation; what is counted is everything that reaches the database for it; after
/// `forget` nothing is cached.
#[async_trait]
pub trait Arm: Send + Sync {
    /// Its name in a run file.
    fn name(&self) -> &'static str;

    /// Whether it keeps answers: whoever asks the database each time needs no warming up and serves nothing stale.
    fn caches(&self) -> bool {
        true
    }

    /// Answers an operation.
    async fn run(&self, tenant: &TenantId, operation: &Operation) -> anyhow::Result<Outcome>;

    /// Empties the cache.
    async fn forget(&self) -> anyhow::Result<()>;

    /// Writes a CI, as the same service does, and drops from the cache what such a service drops.
    async fn write(&self, record: CiRecord) -> anyhow::Result<()>;

    /// What has reached the database so far.
    fn counts(&self) -> Counts;

    /// Ends what the arm runs in the background.
    async fn close(&self) {}
}

/// The names of the arms, as run files have them.
pub mod names {
    /// No cache, a statement a step, a sequential scan.
    pub const PREDECESSOR: &str = "predecessor";
    /// The same, with a new connection for each statement.
    pub const RECONNECTING: &str = "predecessor, connecting";
    /// Our store without a cache.
    pub const STORE: &str = "store";
    /// A cache with times to live of 60 s.
    pub const TTL: &str = "moka, 60 s";
    /// A cache with times to live of 1 s.
    pub const SHORT_TTL: &str = "moka, 1 s";
    /// Redis cache-aside.
    pub const REDIS: &str = "redis, 60 s";
    /// Our runner.
    pub const RUNNER: &str = "runner";
}

/// What is compared in a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// Everybody, the predecessor with both ways to connect.
    Everybody,
    /// Everybody who caches.
    Caches,
}

/// Makes the arms over a database. Must be called within a runtime.
///
/// # Errors
/// When a server does not answer.
pub async fn field(place: &Loaded, servers: &Servers, field: Field) -> anyhow::Result<Vec<Arc<dyn Arm>>> {
    if field == Field::Caches {
        return caches(&place.store, servers).await;
    }
    let mut arms: Vec<Arc<dyn Arm>> = vec![
        Arc::new(Predecessor::pooled(place)),
        Arc::new(Predecessor::reconnecting(place)),
        Arc::new(Uncached::new(Arc::clone(&place.store))),
    ];
    let mut caching = caches(&place.store, servers).await?;
    // Cold and warm do not depend on how long an entry would be kept.
    caching.retain(|arm| arm.name() != names::SHORT_TTL);
    arms.append(&mut caching);
    Ok(arms)
}

/// Makes the arms that cache. Must be called within a runtime.
///
/// # Errors
/// When a server does not answer.
pub async fn caches(store: &Arc<dyn Store>, servers: &Servers) -> anyhow::Result<Vec<Arc<dyn Arm>>> {
    let store = || Arc::clone(store);
    let short = Duration::from_secs(1);
    let mut arms: Vec<Arc<dyn Arm>> = Vec::new();
    arms.push(Arc::new(Ttl::new(
        names::TTL,
        store(),
        Duration::from_secs(60),
        CAPACITY,
    )));
    arms.push(Arc::new(Ttl::new(names::SHORT_TTL, store(), short, CAPACITY)));
    if let Some(server) = &servers.redis {
        arms.push(Arc::new(RedisAside::connect(server, store(), 60).await?));
    }
    arms.push(Arc::new(Cached::new(store(), CAPACITY)?));
    Ok(arms)
}

/// A found answer as the caches share it.
fn reply(found: Found) -> Reply {
    match found {
        Found::Ci(ci) => Reply::Ci(ci.map(Arc::from)),
        Found::Rows(rows) => Reply::Rows(rows.into()),
        Found::List(page) => Reply::List(Arc::new(page)),
        Found::Groups(groups) => Reply::Groups(Arc::new(groups)),
        Found::Graph(graph) => Reply::Graph(graph.map(Arc::new)),
        Found::Path(trace) => Reply::Path(trace.answer.map(Arc::new)),
    }
}

/// Asks the store questions of one state, the fastest way that it has for them where their version is not wanted.
async fn found(store: &dyn Store, tenant: &TenantId, questions: &[Question]) -> ci_store::Result<Vec<Found>> {
    match questions {
        // One statement without a transaction.
        [Question::Get(_) | Question::Search(_) | Question::List(_) | Question::Aggregate(_)] => {
            Ok(store.ask_all(tenant, questions).await?.found)
        }
        _ => store.snapshot().await?.ask_all(tenant, questions).await,
    }
}

/// Asks the store an operation of one state.
async fn ask(store: &dyn Store, tenant: &TenantId, operation: &Operation) -> anyhow::Result<Shown> {
    Ok(match operation {
        Operation::One(question) => {
            let found = found(store, tenant, std::slice::from_ref(question)).await?;
            Shown::Replies(found.into_iter().map(reply).collect())
        }
        Operation::Page(questions) => {
            let found = found(store, tenant, questions).await?;
            Shown::Replies(found.into_iter().map(reply).collect())
        }
        Operation::Traverse(expand) => {
            let (graph, details) = store
                .snapshot()
                .await?
                .traverse(tenant, expand)
                .await?
                .map_or((None, Vec::new()), |(graph, details)| {
                    (Some(Arc::new(graph)), details)
                });
            Shown::Traversal(graph, details.into_iter().map(Arc::new).collect())
        }
    })
}

/// Writes one CI to a store.
async fn write(store: &dyn Store, record: CiRecord) -> anyhow::Result<()> {
    store
        .upsert_cis(vec![record], ci_store::WriteOptions::default())
        .await?;
    Ok(())
}
