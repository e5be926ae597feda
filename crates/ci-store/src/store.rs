//! The seam between everything above and a database: [`Store`] and [`Snapshot`].
//!
//! Duties of an implementor:
//! - every read of a snapshot sees one state of the database, the same for all its reads;
//! - answers are those that [`ci_model`] defines, byte for byte the same as every other store's for the same rows:
//!   order, ties, folding, absence, truncation;
//! - no call crosses a tenant; a soft-deleted CI is there only for questions that ask for it;
//! - a failure is an [`Error`](crate::Error), never an empty answer;
//! - a write is one transaction: when its call returns `Ok` it is durable and visible to every later snapshot;
//! - dropping a future in the middle leaves no connection in a transaction that others then use.
//!
//! Duties of a caller: drop a snapshot soon (on PostgreSQL it holds back vacuum, on SQLite the checkpoint).

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ci_model::{
    Aggregate, CiDetail, CiId, CiOutcome, CiRecord, CiRef, CiSummary, Epoch, Expand, Get, Graph, Groups,
    List, ListPage, Path, PathAnswer, Precondition, Question, Rejection, Relation, RelationOutcome,
    RelationRecord, Search, TenantId, Timestamp, Version,
};

use crate::{Connections, Error, Feed, Replica, Result, StoreOptions};

/// What a batch does about rows whose form is right but which cannot be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnRejection {
    /// The whole batch fails with [`Error::Rejected`](crate::Error::Rejected) and nothing is written.
    #[default]
    Abort,
    /// The other rows are written; the outcome of that row is its [`Rejection`].
    Skip,
}

/// Options of a write.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct WriteOptions {
    /// The moment that new and changed rows are stamped with where they give none; the system's clock when absent.
    pub at: Option<Timestamp>,
    /// What to do about rows that cannot be written.
    pub on_rejection: OnRejection,
    /// What must hold of every CI of the batch, as it is when the write begins; nothing when absent. If it does not, nothing is written, whatever
    /// `on_rejection` says. Writes of relations take no notice of it.
    pub only_if: Option<Precondition>,
    /// Do everything but keep it: the outcomes are those of the write, and the database is as it was.
    pub dry_run: bool,
}

impl WriteOptions {
    /// Stamps rows with a given moment instead of the system's clock.
    pub fn at(mut self, at: Timestamp) -> Self {
        self.at = Some(at);
        self
    }

    /// Writes CIs only if this holds of each.
    pub fn only_if(mut self, precondition: Precondition) -> Self {
        self.only_if = Some(precondition);
        self
    }

    /// Does everything but keep it.
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        self.dry_run = dry_run;
        self
    }

    /// Chooses what to do about rows that cannot be written.
    pub fn on_rejection(mut self, on_rejection: OnRejection) -> Self {
        self.on_rejection = on_rejection;
        self
    }
}

/// A CMDB in a database. Shared by reference counting between all tasks of a process.
///
/// Every method may be cancelled by dropping its future. A read is then without effect; a write is either wholly done
/// or not at all, and the caller does not know which.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// Begins a read-only view of the database's present state.
    ///
    /// # Errors
    /// Transient ones when no connection is to be had.
    async fn snapshot(&self) -> Result<Box<dyn Snapshot>>;

    /// The answers to several questions at one state, and which state that is: the same as [`snapshot`](Self::snapshot),
    /// [`version`](Snapshot::version) and [`ask_all`](Snapshot::ask_all), for callers who want nothing else of that state. The stores of this
    /// crate answer one search, list or aggregate, or any number of gets, without a transaction, by one statement that also reads its own
    /// version: one round trip instead of three. On PostgreSQL they do so while a feed of theirs polls.
    ///
    /// # Errors
    /// As those three.
    async fn ask_all(&self, tenant: &TenantId, questions: &[Question]) -> Result<Answers> {
        let mut snapshot = self.snapshot().await?;
        ask_all_of(&mut *snapshot, tenant, questions).await
    }

    /// Creates or replaces CIs in one transaction; the outcomes are in the order of the records.
    ///
    /// A record with a given id replaces the CI with that id (and so may change its code); one without replaces the CI
    /// with its code. A record whose row is already as given writes nothing (its `updated_at` alone does not count).
    /// Of several records with one code the last wins.
    ///
    /// # Errors
    /// [`Error::Rejected`](crate::Error::Rejected) unless rejected rows are skipped, and when a precondition fails.
    async fn upsert_cis(
        &self,
        records: Vec<CiRecord>,
        options: WriteOptions,
    ) -> Result<Vec<Result<CiOutcome, Rejection>>>;

    /// Soft-deletes CIs in one transaction: they keep their row and relations, and an upsert brings them back.
    ///
    /// # Errors
    /// [`Error::Rejected`](crate::Error::Rejected) when a precondition fails.
    async fn delete_cis(
        &self,
        tenant: &TenantId,
        targets: Vec<CiRef>,
        options: WriteOptions,
    ) -> Result<Vec<CiOutcome>>;

    /// Creates relations in one transaction; the outcomes are in the order of the records.
    ///
    /// # Errors
    /// [`Error::Rejected`](crate::Error::Rejected) unless rejected rows are skipped.
    async fn upsert_relations(
        &self,
        records: Vec<RelationRecord>,
        options: WriteOptions,
    ) -> Result<Vec<Result<RelationOutcome, Rejection>>>;

    /// Removes relations for good, in one transaction.
    async fn delete_relations(
        &self,
        records: Vec<RelationRecord>,
        options: WriteOptions,
    ) -> Result<Vec<RelationOutcome>>;

    /// Lets the database count its rows anew, so that questions right after a large import are planned for it. Nothing
    /// to do where plans do not depend on it, as in SQLite. Reads a sample: about a second for a million CIs.
    async fn analyze(&self) -> Result<()> {
        Ok(())
    }

    /// A new consumer's view of what changes, from now on; none where the store does not record changes. It connects
    /// when it is used first.
    fn feed(&self) -> Option<Box<dyn Feed>> {
        None
    }

    /// Wakes the feeds of other processes, after a write. Only a matter of speed, so it has no result; nothing unless
    /// [`StoreOptions::doorbell`](crate::StoreOptions::doorbell) is on. PostgreSQL: a notification outside of any
    /// transaction, because one inside would make the commits of all writers queue.
    async fn ring(&self) {}

    /// Makes a state that is later than all before it, though nothing in it is another: where nobody writes, versions do not tell which of two loads was
    /// first. PostgreSQL: a transaction that takes a number and does nothing. Elsewhere nothing, as when it is not implemented.
    ///
    /// # Errors
    /// When the database does not answer, or takes no writes.
    async fn advance(&self) -> Result<()> {
        Ok(())
    }

    /// Forgets recorded changes that are older than this, a bounded number per call, and tells how many rows went: 0
    /// when there is nothing to do, or another process is at it. A feed that had not polled them gets a gap.
    ///
    /// To be called now and then (once a minute is plenty) by any number of processes.
    ///
    /// # Errors
    /// Transient ones when the database does not answer.
    async fn retain(&self, _older_than: Duration) -> Result<u64> {
        Ok(0)
    }

    /// A copy of this store's database to read from, by its address: a hot standby (PostgreSQL). With connections of its own, as many as the
    /// options say; it connects when it is used first.
    ///
    /// # Errors
    /// [`Error::Address`](crate::Error::Address) for an address that is not understood, and for a store that has no such thing.
    fn replica(&self, _address: &str, _options: &StoreOptions) -> Result<Arc<dyn Replica>> {
        Err(Error::Address(
            "only a PostgreSQL database has replicas to read from".into(),
        ))
    }

    /// Asks the database for a sign of life: one round trip.
    async fn ping(&self) -> Result<()>;

    /// How many connections questions use, and how many there may be; none where the store has no such thing. Reads counters, asks
    /// nobody. PostgreSQL: those of reads and writes, feeds not included; SQLite: those that read.
    fn connections(&self) -> Option<Connections> {
        None
    }

    /// The database's name for people and logs: `sqlite` or `postgres`.
    fn backend(&self) -> &'static str;

    /// Waits for running statements and closes every connection. Later calls fail.
    async fn close(&self);
}

/// Most CIs that [`PathTrace::visited`] names.
pub const TRACE_CIS: usize = 4_096;

/// A path's answer, and what it depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct PathTrace {
    /// The answer; none when one of the ends is not there.
    pub answer: Option<PathAnswer>,
    /// Every CI that the search reached from either end, those two included, in no order. A change that touches none of
    /// them, nor makes one of the two ends, leaves the answer as it is. `None` when there are more than [`TRACE_CIS`].
    pub visited: Option<Vec<CiId>>,
}

/// What a store found for a question of any kind.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// Of a get; none when there is no such CI.
    Ci(Option<Box<CiDetail>>),
    /// Of a search.
    Rows(Vec<CiSummary>),
    /// Of a list.
    List(ListPage),
    /// Of an aggregate.
    Groups(Groups),
    /// Of an expansion; none when no root is there.
    Graph(Option<Graph>),
    /// Of a path question.
    Path(PathTrace),
}

/// Answers of one state.
#[derive(Debug, Clone, PartialEq)]
pub struct Answers {
    /// What was found, in the order of the questions.
    pub found: Vec<Found>,
    /// The state that all of it is true at; none where [`Snapshot::version`] gives none. While a feed of this PostgreSQL store polls, the
    /// epoch may be one that has ended since its last poll: such an answer is true, and refused by a cache that knows of the end.
    pub version: Option<(Epoch, Version)>,
    /// Statements that it took, as [`Snapshot::statements`] counts them.
    pub statements: u32,
    /// Statements besides that read the version alone: none where those of the questions did.
    pub version_statements: u32,
}

/// One state of the database, for as long as it is held. All answers of one snapshot belong together.
///
/// One call is one statement, except `expand` on SQLite (one per level), `path` (one to find the two ends, then at most one per
/// hop, of several paths at most one more per hop, then one for the result) and `ask_all`.
#[async_trait]
pub trait Snapshot: Send {
    /// CIs by keywords and filters, in the question's order, at most its limit.
    async fn search(&mut self, tenant: &TenantId, search: &Search) -> Result<Vec<CiSummary>>;

    /// CIs by id or code, one answer per question in the same order; nothing where there is none.
    async fn get_many(&mut self, tenant: &TenantId, gets: &[Get]) -> Result<Vec<Option<CiDetail>>>;

    /// One page in the question's order, and the total.
    async fn list(&mut self, tenant: &TenantId, list: &List) -> Result<ListPage>;

    /// Counts by group.
    async fn aggregate(&mut self, tenant: &TenantId, aggregate: &Aggregate) -> Result<Groups>;

    /// The graph around one or several CIs; nothing when no root is there.
    async fn expand(&mut self, tenant: &TenantId, expand: &Expand) -> Result<Option<Graph>>;

    /// An expansion with all columns of its CIs, in the order of the graph's items; nothing when no root is there. The
    /// stores of this crate take no statement more for it.
    async fn traverse(
        &mut self,
        tenant: &TenantId,
        expand: &Expand,
    ) -> Result<Option<(Graph, Vec<CiDetail>)>> {
        let Some(graph) = self.expand(tenant, expand).await? else {
            return Ok(None);
        };
        let get = |node: &ci_model::Node| Get::new(node.ci.ci_id).include_deleted(expand.includes_deleted());
        let gets: Vec<Get> = graph.items.iter().map(get).collect();
        let details = self
            .get_many(tenant, &gets)
            .await?
            .into_iter()
            .collect::<Option<Vec<_>>>();
        let gone = || Error::Corrupt("a CI of the graph is not there".into());
        Ok(Some((graph, details.ok_or_else(gone)?)))
    }

    /// Relations of the tenant whose two ends are live, in an order of the store's own: at most `limit`, behind `after` or from the first. For those
    /// who read them all, page by page, in one snapshot.
    ///
    /// # Errors
    /// As every question; a store that does not list relations says so.
    async fn relations(
        &mut self,
        _tenant: &TenantId,
        _after: Option<&Relation>,
        _limit: u32,
    ) -> Result<Vec<Relation>> {
        Err(Error::Database("this store does not list relations".into()))
    }

    /// A shortest path or several (no answer when one of the ends is not there), and which CIs the search came by.
    async fn path(&mut self, tenant: &TenantId, path: &Path) -> Result<PathTrace>;

    /// The answers to several questions, in their order; the same as if each were asked by itself, in fewer statements where the
    /// store can. The stores of this crate take one for up to 16 questions, gets counted as one together and an expansion as four; on SQLite as many as the
    /// deepest expansion has levels; and those of each path search besides.
    ///
    /// # Errors
    /// As the single questions; then there is no answer to any.
    async fn ask_all(&mut self, tenant: &TenantId, questions: &[Question]) -> Result<Vec<Found>> {
        one_by_one(self, tenant, questions).await
    }

    /// The state that this snapshot is of, and the history that it belongs to; none where the store has no feed, or where states
    /// cannot be told apart now, because changes are not recorded.
    ///
    /// Read in the snapshot's own transaction: its answers are true at exactly this version. One statement of some
    /// 0.1 ms, not counted in [`statements`](Self::statements).
    async fn version(&mut self) -> Result<Option<(Epoch, Version)>> {
        Ok(None)
    }

    /// How many statements this snapshot has run, its own begin and end not counted.
    fn statements(&self) -> u32;
}

/// Asks a snapshot that is asked nothing else: its version first.
pub(crate) async fn ask_all_of(
    snapshot: &mut dyn Snapshot,
    tenant: &TenantId,
    questions: &[Question],
) -> Result<Answers> {
    let version = snapshot.version().await?;
    let found = snapshot.ask_all(tenant, questions).await?;
    Ok(Answers {
        found,
        version,
        statements: snapshot.statements(),
        version_statements: 1,
    })
}

/// Asks each question by itself.
pub(crate) async fn one_by_one<S: Snapshot + ?Sized>(
    snapshot: &mut S,
    tenant: &TenantId,
    questions: &[Question],
) -> Result<Vec<Found>> {
    let mut found = Vec::with_capacity(questions.len());
    for question in questions {
        found.push(match question {
            Question::Get(get) => {
                let cis = snapshot.get_many(tenant, std::slice::from_ref(get)).await?;
                Found::Ci(cis.into_iter().next().flatten().map(Box::new))
            }
            Question::Search(search) => Found::Rows(snapshot.search(tenant, search).await?),
            Question::List(list) => Found::List(snapshot.list(tenant, list).await?),
            Question::Aggregate(aggregate) => Found::Groups(snapshot.aggregate(tenant, aggregate).await?),
            Question::Expand(expand) => Found::Graph(snapshot.expand(tenant, expand).await?),
            Question::Path(path) => Found::Path(snapshot.path(tenant, path).await?),
        });
    }
    Ok(found)
}
