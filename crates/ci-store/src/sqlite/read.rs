//! Snapshots: a read transaction on one of the reading connections.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use ci_model::{
    Aggregate, CiDetail, CiSummary, Epoch, Expand, Get, Graph, Groups, List, ListPage, Path, Question,
    Relation, Search, TenantId, Timestamp, Version,
};
use futures_util::TryStreamExt as _;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, AssertSqlSafe, Row as _, Sqlite, SqliteConnection, SqlitePool, Transaction};
use tempfile::TempDir;
use uuid::Uuid;

use super::SqliteStore;
use super::known::Known;
use crate::decode::corrupt;
use crate::source::{Cells, Source};
use crate::sql::{Argument, Dialect, Statement};
use crate::store::one_by_one;
use crate::{Error, Found, PathTrace, Result, Snapshot, answers, graph, path, together};

/// The state is that of the first read, so one is made at once.
const BEGIN: &str = "BEGIN; SELECT 1 FROM ci_meta LIMIT 1";
/// How many of the database engine's operations pass between two looks at the clock: about 0.1 ms.
const OPERATIONS: i32 = 10_000;

/// One state of the database. Dropping it ends the transaction, and a statement that still runs.
pub(super) struct SqliteSnapshot {
    transaction: Transaction<'static, Sqlite>,
    deadline: Arc<Deadline>,
    timeout: Duration,
    statements: u32,
    known: Arc<Known>,
    /// Keeps a database in memory until its last reader is done.
    _folder: Option<Arc<TempDir>>,
}

impl fmt::Debug for SqliteSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqliteSnapshot")
            .field("statements", &self.statements)
            .finish_non_exhaustive()
    }
}

/// When the running statement must end; shared with the engine, which asks while it works.
pub(super) struct Deadline {
    start: Instant,
    /// Microseconds after `start`; 0 once nobody waits for the statement.
    at: AtomicU64,
}

impl Deadline {
    pub(super) fn new() -> Self {
        Self {
            start: Instant::now(),
            at: AtomicU64::new(u64::MAX),
        }
    }

    pub(super) fn set(&self, timeout: Duration) {
        self.at.store(
            micros(self.start.elapsed().saturating_add(timeout)),
            Ordering::Relaxed,
        );
    }

    pub(super) fn abandon(&self) {
        self.at.store(0, Ordering::Relaxed);
    }

    /// Lets the engine ask, from now on, whether what runs on a connection goes on.
    pub(super) async fn watch(self: &Arc<Self>, connection: &mut SqliteConnection) -> Result<()> {
        let asked = Arc::clone(self);
        connection
            .lock_handle()
            .await?
            .set_progress_handler(OPERATIONS, move || asked.goes_on());
        Ok(())
    }

    fn goes_on(&self) -> bool {
        micros(self.start.elapsed()) < self.at.load(Ordering::Relaxed)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

impl Drop for SqliteSnapshot {
    fn drop(&mut self) {
        self.deadline.abandon();
    }
}

/// Begins a snapshot.
///
/// In a task of its own: when the caller goes away in the middle, the task still ends with a transaction that is begun
/// or not, and dropping its result cleans up.
pub(super) async fn begin(store: &SqliteStore) -> Result<SqliteSnapshot> {
    let (pool, folder, known) = (store.read.clone(), store.folder.clone(), Arc::clone(&store.known));
    let timeout = store.statement_timeout;
    let begun = tokio::spawn(async move { begin_on(pool, folder, known, timeout).await }).await;
    begun.unwrap_or_else(|_| Err(Error::Unavailable("the connection's task ended".into())))
}

async fn begin_on(
    pool: SqlitePool,
    folder: Option<Arc<TempDir>>,
    known: Arc<Known>,
    timeout: Duration,
) -> Result<SqliteSnapshot> {
    let mut transaction = pool.begin_with(BEGIN).await?;
    let deadline = Arc::new(Deadline::new());
    deadline.watch(&mut transaction).await?;
    Ok(SqliteSnapshot {
        transaction,
        deadline,
        timeout,
        statements: 0,
        known,
        _folder: folder,
    })
}

impl Source for SqliteSnapshot {
    const DIALECT: Dialect = Dialect::Sqlite;
    type Row = SqliteRow;

    async fn rows(&mut self, statement: Statement) -> Result<Vec<SqliteRow>> {
        self.statements += 1;
        self.deadline.set(self.timeout);
        let arguments = bind(statement.arguments)?;
        let query = sqlx::query_with(AssertSqlSafe(statement.text), arguments);
        Ok(query.fetch_all(&mut *self.transaction).await?)
    }

    async fn each<F>(&mut self, statement: Statement, mut take: F) -> Result<()>
    where
        F: FnMut(&SqliteRow) -> Result<()> + Send,
    {
        self.statements += 1;
        self.deadline.set(self.timeout);
        let arguments = bind(statement.arguments)?;
        let query = sqlx::query_with(AssertSqlSafe(statement.text), arguments);
        let mut rows = query.fetch(&mut *self.transaction);
        while let Some(row) = rows.try_next().await? {
            take(&row)?;
        }
        Ok(())
    }
}

/// A connection to read on as a snapshot does: that of a transaction that writes, or of one statement.
pub(super) struct Connected<'c>(pub(super) &'c mut SqliteConnection);

impl Source for Connected<'_> {
    const DIALECT: Dialect = Dialect::Sqlite;
    type Row = SqliteRow;

    async fn rows(&mut self, statement: Statement) -> Result<Vec<SqliteRow>> {
        let arguments = bind(statement.arguments)?;
        let query = sqlx::query_with(AssertSqlSafe(statement.text), arguments);
        Ok(query.fetch_all(&mut *self.0).await?)
    }

    async fn each<F>(&mut self, statement: Statement, take: F) -> Result<()>
    where
        F: FnMut(&SqliteRow) -> Result<()> + Send,
    {
        self.rows(statement).await?.iter().try_for_each(take)
    }
}

/// Ids and moments are texts in their canonical form, lists JSON arrays.
fn bind(values: Vec<Argument>) -> Result<SqliteArguments> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        let added = match value {
            Argument::Text(text) => arguments.add(text),
            Argument::Id(id) => arguments.add(id.hyphenated().to_string()),
            Argument::Integer(number) => arguments.add(number),
            Argument::Moment(moment) => arguments.add(moment.to_string()),
            Argument::Texts(texts) => arguments.add(json(&texts)),
            Argument::Integers(numbers) => arguments.add(json(&numbers)),
            Argument::Moments(moments) => arguments.add(json(&moments)),
            Argument::Ids(ids) => arguments.add(json(&ids)),
        };
        added.map_err(|_| Error::Database("a value could not be bound".into()))?;
    }
    Ok(arguments)
}

fn json<T: serde::Serialize>(values: &[T]) -> String {
    // Texts and numbers always have a JSON form.
    serde_json::to_string(values).unwrap_or_else(|_| "[]".into())
}

impl Cells for SqliteRow {
    fn text(&self, at: usize) -> Result<Option<String>> {
        Ok(self.try_get_unchecked(at)?)
    }

    fn integer(&self, at: usize) -> Result<Option<i64>> {
        Ok(self.try_get_unchecked(at)?)
    }

    fn id(&self, at: usize) -> Result<Option<Uuid>> {
        let text: Option<&str> = self.try_get_unchecked(at)?;
        text.map(Uuid::try_parse)
            .transpose()
            .map_err(|_| corrupt("ci_id"))
    }

    fn moment(&self, at: usize) -> Result<Option<Timestamp>> {
        let text: Option<&str> = self.try_get_unchecked(at)?;
        text.map(str::parse)
            .transpose()
            .map_err(|_| corrupt("of a moment"))
    }
}

#[async_trait]
impl Snapshot for SqliteSnapshot {
    async fn search(&mut self, tenant: &TenantId, search: &Search) -> Result<Vec<CiSummary>> {
        answers::search(self, tenant, search).await
    }

    async fn get_many(&mut self, tenant: &TenantId, gets: &[Get]) -> Result<Vec<Option<CiDetail>>> {
        answers::get_many(self, tenant, gets).await
    }

    async fn relations(
        &mut self,
        tenant: &TenantId,
        after: Option<&Relation>,
        limit: u32,
    ) -> Result<Vec<Relation>> {
        answers::relations(self, tenant, after, limit).await
    }

    async fn list(&mut self, tenant: &TenantId, list: &List) -> Result<ListPage> {
        answers::list(self, tenant, list).await
    }

    async fn aggregate(&mut self, tenant: &TenantId, aggregate: &Aggregate) -> Result<Groups> {
        answers::aggregate(self, tenant, aggregate).await
    }

    async fn expand(&mut self, tenant: &TenantId, expand: &Expand) -> Result<Option<Graph>> {
        graph::expand(self, tenant, expand).await
    }

    async fn traverse(
        &mut self,
        tenant: &TenantId,
        expand: &Expand,
    ) -> Result<Option<(Graph, Vec<CiDetail>)>> {
        graph::traverse(self, tenant, expand).await
    }

    async fn path(&mut self, tenant: &TenantId, path: &Path) -> Result<PathTrace> {
        path::path(self, tenant, path).await
    }

    async fn ask_all(&mut self, tenant: &TenantId, questions: &[Question]) -> Result<Vec<Found>> {
        if questions.len() == 1 {
            return one_by_one(self, tenant, questions).await;
        }
        together::ask_all(self, tenant, questions).await
    }

    async fn version(&mut self) -> Result<Option<(Epoch, Version)>> {
        self.deadline.set(self.timeout);
        self.known.version(&mut self.transaction).await
    }

    fn statements(&self) -> u32 {
        self.statements
    }
}
